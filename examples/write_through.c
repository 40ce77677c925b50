/* Write-through: the database commits first, then the cache holds the new row, and never the old one again.
 *
 *      cc write_through.c $(pkg-config --cflags --libs larder sqlite3) && ./a.out 127.0.0.1:6379 */
#include <larder/cache.h>
#include <sqlite3.h>
#include <stdio.h>

struct change {
    sqlite3 *db;
    const char *name;
};

/* Runs while no loader can store what it read before. The version is told before the commit, so that it
 * is known even if the commit's outcome is not. */
static int rename_user(void *arg, struct larder_bytes key, larder_loaded *out)
{
    struct change *change = arg;
    sqlite3_stmt *update = NULL;
    int status = LARDER_ERR_LOAD;
    if (sqlite3_exec(change->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return LARDER_ERR_UNAVAILABLE;
    if (sqlite3_prepare_v2(change->db,
                           "UPDATE users SET name = ?, version = version + 1 WHERE key = ? RETURNING version",
                           -1, &update, NULL) == SQLITE_OK) {
        sqlite3_bind_text(update, 1, change->name, -1, SQLITE_STATIC);
        sqlite3_bind_text(update, 2, key.p, (int)key.n, SQLITE_STATIC);
        if (sqlite3_step(update) == SQLITE_ROW) {
            larder_loaded_version(out, (uint64_t)sqlite3_column_int64(update, 0));
            status = larder_loaded_value(out, change->name, strlen(change->name));
        }
    }
    sqlite3_finalize(update);
    const char *end = status == LARDER_OK ? "COMMIT" : "ROLLBACK";
    if (sqlite3_exec(change->db, end, NULL, NULL, NULL) != SQLITE_OK)
        status = LARDER_ERR_TIMEOUT; /* nobody knows: the cache keeps older versions out for a while */
    return status;
}

static int not_needed(void *arg, struct larder_bytes key, larder_loaded *out)
{
    (void)arg, (void)key, (void)out;
    return LARDER_ERR_LOAD; /* whoever reads finds the new row in the cache */
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"Ada Byron", "Ada King", "Ada Lovelace"};
    struct change change;
    larder *cache;
    struct larder_error err;
    if (sqlite3_open(":memory:", &change.db) != SQLITE_OK ||
        sqlite3_exec(change.db,
                     "CREATE TABLE users(key TEXT PRIMARY KEY, name TEXT, version INTEGER);"
                     "INSERT INTO users VALUES('user:7', 'Ada', 1)",
                     NULL, NULL, NULL) != SQLITE_OK)
        return fprintf(stderr, "%s\n", sqlite3_errmsg(change.db)), 1;
    if (larder_connect(argc > 1 ? argv[1] : "127.0.0.1:6379", &cache, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct larder_fetched user;
        change.name = names[i];
        if (larder_write_through(cache, larder_text("user:7"), rename_user, &change, NULL, &err) < 0 ||
            larder_fetch(cache, larder_text("user:7"), not_needed, NULL, NULL, &user, &err) < 0)
            return fprintf(stderr, "%s\n", err.text), 1;
        printf("version %llu: %s\n", (unsigned long long)user.version, user.value.p);
        larder_value_free(&user.value);
    }
    larder_close(cache);
    sqlite3_close(change.db);
    return 0;
}
