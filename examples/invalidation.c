/* Invalidation: what to say after the database has changed behind the cache's back.
 *
 *      cc invalidation.c $(pkg-config --cflags --libs larder sqlite3) && ./a.out 127.0.0.1:6379 */
#include <larder/cache.h>
#include <sqlite3.h>
#include <stdio.h>

static int load_price(void *arg, struct larder_bytes key, larder_loaded *out)
{
    sqlite3_stmt *select = NULL;
    int status = LARDER_ERR_LOAD;
    if (sqlite3_prepare_v2(arg, "SELECT price, version FROM items WHERE key = ?", -1, &select, NULL) ==
        SQLITE_OK) {
        sqlite3_bind_text(select, 1, key.p, (int)key.n, SQLITE_STATIC);
        if (sqlite3_step(select) == SQLITE_ROW) {
            larder_loaded_version(out, (uint64_t)sqlite3_column_int64(select, 1));
            status = larder_loaded_value(out, sqlite3_column_text(select, 0),
                                         (size_t)sqlite3_column_bytes(select, 0));
        }
    }
    sqlite3_finalize(select);
    return status;
}

static int show(larder *cache, sqlite3 *db, const char *what, const char *key)
{
    struct larder_fetched price;
    struct larder_error err;
    struct larder_fetch_options options;
    struct larder_bytes tag = larder_text("prices");
    larder_fetch_options_init(&options);
    options.tags = &tag;
    options.ntags = 1;
    if (larder_fetch(cache, larder_text(key), load_price, db, &options, &price, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    printf("%-16s %s = %s\n", what, key, price.value.p);
    larder_value_free(&price.value);
    return 0;
}

static void change(sqlite3 *db, const char *price)
{
    char *sql = sqlite3_mprintf("UPDATE items SET price = %Q, version = version + 1", price);
    sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
}

int main(int argc, char **argv)
{
    sqlite3 *db;
    larder *cache;
    struct larder_error err;
    uint64_t count;
    int failed;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
        sqlite3_exec(db,
                     "CREATE TABLE items(key TEXT PRIMARY KEY, price TEXT, version INTEGER);"
                     "INSERT INTO items VALUES('item:1', '10', 1), ('item:2', '10', 1)",
                     NULL, NULL, NULL) != SQLITE_OK)
        return fprintf(stderr, "%s\n", sqlite3_errmsg(db)), 1;
    if (larder_connect(argc > 1 ? argv[1] : "127.0.0.1:6379", &cache, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    failed = show(cache, db, "loaded", "item:1");
    change(db, "11");
    failed |= show(cache, db, "not yet told", "item:1");
    if (larder_invalidate(cache, larder_text("item:1"), &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    failed |= show(cache, db, "by key", "item:1");
    change(db, "12");
    /* Whoever has read version 2 and is slow cannot put it back for a minute. */
    if (larder_invalidate_version(cache, larder_text("item:1"), 3, 60000, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    failed |= show(cache, db, "by version", "item:1");
    failed |= show(cache, db, "loaded", "item:2");
    change(db, "13");
    if (larder_invalidate_pattern(cache, "item:*", &count, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    failed |= show(cache, db, "by pattern", "item:1");
    failed |= show(cache, db, "by pattern", "item:2");
    change(db, "14");
    if (larder_invalidate_tag(cache, larder_text("prices"), &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    failed |= show(cache, db, "by tag", "item:1");
    failed |= show(cache, db, "by tag", "item:2");
    printf("%llu keys matched\n", (unsigned long long)count);
    larder_close(cache);
    sqlite3_close(db);
    return failed;
}
