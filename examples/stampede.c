/* A stampede, and what becomes of it: many threads want the same cold row at once, first with get and set
 * as everybody writes them by hand, then with larder_fetch().
 *
 *      cc stampede.c $(pkg-config --cflags --libs larder sqlite3) -lpthread && ./a.out 127.0.0.1:6379 200 */
#include <larder/cache.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS_MAX = 1000, STACK_BYTES = 512 * 1024, TEXT_MAX = 64 };

struct shop {
    larder *cache;
    sqlite3 *db;
    pthread_mutex_t lock;   /* of the connection to the database */
    pthread_barrier_t open; /* the doors */
    int queries, wrong;
    int with_fetch;
};

/* A report that takes the database a while. */
static int ask(struct shop *shop, char *text, size_t size)
{
    sqlite3_stmt *select = NULL;
    int status = LARDER_ERR_LOAD;
    pthread_mutex_lock(&shop->lock);
    shop->queries++;
    if (sqlite3_prepare_v2(shop->db,
                           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
                           " SELECT sum(i) FROM n",
                           -1, &select, NULL) == SQLITE_OK &&
        sqlite3_step(select) == SQLITE_ROW) {
        snprintf(text, size, "%s", (const char *)sqlite3_column_text(select, 0));
        status = LARDER_OK;
    }
    sqlite3_finalize(select);
    pthread_mutex_unlock(&shop->lock);
    return status;
}

/* Get; on a miss ask the database and set. */
static int by_hand(struct shop *shop, char *text, size_t size, struct larder_error *err)
{
    struct larder_value v;
    int status = larder_get(shop->cache, larder_text("report:by-hand"), &v, err);
    if (status == LARDER_OK)
        snprintf(text, size, "%s", v.p);
    larder_value_free(&v);
    if (status == LARDER_MISS)
        status = ask(shop, text, size);
    else
        return status;
    return status < 0 ? status
                      : larder_set(shop->cache, larder_text("report:by-hand"), larder_text(text), 60000, err);
}

static int load_report(void *arg, struct larder_bytes key, larder_loaded *out)
{
    char text[TEXT_MAX];
    int status = ask(arg, text, sizeof text);
    (void)key;
    return status < 0 ? status : larder_loaded_value(out, text, strlen(text));
}

static int by_fetch(struct shop *shop, char *text, size_t size, struct larder_error *err)
{
    struct larder_fetched report;
    int status = larder_fetch(shop->cache, larder_text("report"), load_report, shop, NULL, &report, err);
    if (status == LARDER_OK)
        snprintf(text, size, "%s", report.value.p);
    larder_value_free(&report.value);
    return status;
}

static void *customer(void *arg)
{
    struct shop *shop = arg;
    struct larder_error err = {0, ""};
    char text[TEXT_MAX] = "";
    pthread_barrier_wait(&shop->open);
    int status =
        shop->with_fetch ? by_fetch(shop, text, sizeof text, &err) : by_hand(shop, text, sizeof text, &err);
    if (status != LARDER_OK || strcmp(text, "1250025000") != 0) {
        fprintf(stderr, "%s\n", err.text);
        pthread_mutex_lock(&shop->lock);
        shop->wrong++;
        pthread_mutex_unlock(&shop->lock);
    }
    return NULL;
}

static void open_the_doors(struct shop *shop, int n)
{
    static pthread_t threads[THREADS_MAX];
    pthread_attr_t attr;
    int started = 0;
    shop->queries = 0;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_barrier_init(&shop->open, NULL, (unsigned)n);
    for (; started < n; started++)
        if (pthread_create(&threads[started], &attr, customer, shop) != 0)
            exit(1);
    while (started > 0)
        pthread_join(threads[--started], NULL);
    pthread_barrier_destroy(&shop->open);
    pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
    static struct shop shop = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct larder_error err;
    struct larder_options options;
    int n = argc > 2 ? atoi(argv[2]) : 200;
    n = n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : n;
    larder_options_init(&options);
    options.deadline_ms = 60000;
    if (sqlite3_open(":memory:", &shop.db) != SQLITE_OK)
        return fprintf(stderr, "%s\n", sqlite3_errmsg(shop.db)), 1;
    if (larder_open(argc > 1 ? argv[1] : "127.0.0.1:6379", &options, &shop.cache, &err) < 0)
        return fprintf(stderr, "%s\n", err.text), 1;
    larder_delete(shop.cache, larder_text("report"), NULL);
    larder_delete(shop.cache, larder_text("report:by-hand"), NULL);
    printf("%d threads want one cold report\n", n);
    open_the_doors(&shop, n);
    printf("get and set by hand: %d queries of the database\n", shop.queries);
    shop.with_fetch = 1;
    open_the_doors(&shop, n);
    printf("larder_fetch():      %d queries of the database\n", shop.queries);
    larder_close(shop.cache);
    sqlite3_close(shop.db);
    return shop.wrong > 0;
}
