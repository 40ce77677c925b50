/* Cache-aside: rows of a database, read through the cache. One call does it all: the row is read once
 * however many ask for it, a missing one is remembered too, an old one serves while it is refreshed.
 *
 *      cc cache_aside.c $(pkg-config --cflags --libs larder sqlite3) && ./a.out 127.0.0.1:6379 */
#include <larder/cache.h>
#include <sqlite3.h>
#include <stdio.h>

static int queries;

/* LARDER_OK with the row, LARDER_MISS without one, an error when the database has one. */
static int load_user(void *arg, struct larder_bytes key, larder_loaded *out)
{
    sqlite3_stmt *select = NULL;
    int status = LARDER_ERR_LOAD;
    queries++;
    if (sqlite3_prepare_v2(arg, "SELECT name, version FROM users WHERE key = ?", -1, &select, NULL) ==
        SQLITE_OK) {
        sqlite3_bind_text(select, 1, key.p, (int)key.n, SQLITE_STATIC);
        int step = sqlite3_step(select);
        if (step == SQLITE_ROW) {
            larder_loaded_version(out, (uint64_t)sqlite3_column_int64(select, 1));
            status = larder_loaded_value(out, sqlite3_column_text(select, 0),
                                         (size_t)sqlite3_column_bytes(select, 0));
        } else if (step == SQLITE_DONE) {
            status = LARDER_MISS;
        }
    }
    sqlite3_finalize(select);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const keys[] = {"user:1", "user:2", "user:1", "user:9", "user:9", "user:1"};
    static const char *const from[] = {"the cache", "the cache, stale", "the database"};
    sqlite3 *db;
    larder *cache;
    struct larder_error err;
    struct larder_fetch_options options;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
        sqlite3_exec(db,
                     "CREATE TABLE users(key TEXT PRIMARY KEY, name TEXT, version INTEGER);"
                     "INSERT INTO users VALUES('user:1', 'Ada', 1), ('user:2', 'Grace', 1)",
                     NULL, NULL, NULL) != SQLITE_OK)
        return fprintf(stderr, "%s\n", sqlite3_errmsg(db)), 1;
    if (larder_connect(argc > 1 ? argv[1] : "127.0.0.1:6379", &cache, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    larder_fetch_options_init(&options);
    options.ttl_ms = 60 * 1000;        /* fresh for a minute, */
    options.grace_ms = 10 * 60 * 1000; /* then good enough while somebody refreshes it */
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct larder_fetched user;
        int status = larder_fetch(cache, larder_text(keys[i]), load_user, db, &options, &user, &err);
        if (status < 0)
            return fprintf(stderr, "%s\n", err.text), 1;
        printf("%s: %s, from %s\n", keys[i], status == LARDER_OK ? user.value.p : "no such user",
               from[user.freshness]);
        larder_value_free(&user.value);
    }
    printf("%d queries\n", queries);
    larder_close(cache);
    sqlite3_close(db);
    return 0;
}
