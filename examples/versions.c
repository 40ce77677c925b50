/* Values by version: nothing is ever invalidated, since whoever changes a row makes readers ask for a new
 * version.
 *
 *      cc versions.c $(pkg-config --cflags --libs larder sqlite3) && ./a.out 127.0.0.1:6379
 *
 * The version is what is cheap to know: here a small column, elsewhere a message, a link, a token of the
 * session. */
#include <larder/cache.h>
#include <sqlite3.h>
#include <stdio.h>

/* Column 0 of the one row, as text that sqlite3_free() frees; NULL: an error. */
static char *ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *select = NULL;
    char *text = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &select, NULL) == SQLITE_OK && sqlite3_step(select) == SQLITE_ROW)
        text = sqlite3_mprintf("%s", sqlite3_column_text(select, 0));
    sqlite3_finalize(select);
    return text;
}

/* The page at the version that the database is at. */
static int show(larder *cache, sqlite3 *db)
{
    struct larder_bytes key = larder_text("page:1");
    struct larder_value value;
    struct larder_error err;
    char *number = ask(db, "SELECT version FROM pages"), *body = NULL;
    sqlite3_uint64 version = 0;
    if (number == NULL || sscanf(number, "%llu", &version) != 1)
        return fprintf(stderr, "%s\n", sqlite3_errmsg(db)), 1;
    sqlite3_free(number);
    int status = larder_get_version(cache, key, version, &value, &err);
    if (status == LARDER_MISS && (body = ask(db, "SELECT body FROM pages")) != NULL)
        status = larder_set_version(cache, key, version, larder_text(body), 60000, &err);
    if (status < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    printf("version %llu, from the %s: %s\n", version, body != NULL ? "database" : "cache",
           body != NULL ? body : value.p);
    sqlite3_free(body);
    larder_value_free(&value);
    return 0;
}

int main(int argc, char **argv)
{
    sqlite3 *db;
    larder *cache;
    struct larder_error err;
    int failed;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
        sqlite3_exec(db,
                     "CREATE TABLE pages(body TEXT, version INTEGER); INSERT INTO pages VALUES('draft', 1)",
                     NULL, NULL, NULL) != SQLITE_OK)
        return fprintf(stderr, "%s\n", sqlite3_errmsg(db)), 1;
    if (larder_connect(argc > 1 ? argv[1] : "127.0.0.1:6379", &cache, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    failed = show(cache, db) | show(cache, db);
    sqlite3_exec(db, "UPDATE pages SET body = 'final', version = version + 1", NULL, NULL, NULL);
    failed |= show(cache, db) | show(cache, db);
    larder_close(cache);
    sqlite3_close(db);
    return failed;
}
