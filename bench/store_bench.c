/* What the store costs without a server around it: bytes and nanoseconds a key.
 *
 *      store_bench [keys [value bytes [ttl seconds, 0 = none [operations]]]]
 *
 * Keys have 16 bytes. Memory is VmHWM after loading less VmRSS before. Times are for
 * one thread working in batches of 16 with prefetch, as a worker does with a pipeline:
 * hashing, locking, searching, copying. Numbers to compare within one machine. */
#include "base/rng.h"
#include "os/clock.h"
#include "os/random.h"
#include "proto/slot.h"
#include "store/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 16, BATCH = 16, VALUE_MAX = 1 << 20 };

struct bench {
    struct store *s;
    struct access a;
    uint64_t keys;
    size_t value;
    int64_t ttl_ms;
    struct rng rng;
    char *bytes;
};

static uint64_t status_kb(const char *field)
{
    char line[256];
    uint64_t kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            kb = strtoull(line + strlen(field) + 1, NULL, 10);
    if (f != NULL)
        fclose(f);
    return kb;
}

static void name_of(char *p, uint64_t i)
{
    memcpy(p, "key:", 4);
    for (int at = KEY_BYTES - 1; at >= 4; at--, i /= 10)
        p[at] = (char)('0' + i % 10);
}

struct batch {
    char name[BATCH][KEY_BYTES];
    struct key key[BATCH];
};

static void make_batch(struct bench *b, struct batch *ba)
{
    for (int i = 0; i < BATCH; i++) {
        key_make(b->s, &ba->key[i], (struct str){ba->name[i], KEY_BYTES}, 0);
        store_approach_begin(b->s, &ba->key[i]);
    }
    for (int step = 0; step < STORE_APPROACH_STEPS; step++)
        for (int i = 0; i < BATCH; i++)
            store_approach(b->s, &ba->key[i]);
}

static void put_batch(struct bench *b, struct batch *ba)
{
    make_batch(b, ba);
    for (int i = 0; i < BATCH; i++) {
        uint32_t shard = key_shard(&ba->key[i]);
        int64_t expire = b->ttl_ms != 0 ? b->a.now_ms + b->ttl_ms : 0;
        store_lock_one(b->s, shard);
        if (store_put_string(&b->a, &ba->key[i], (struct str){b->bytes, b->value}, NULL, expire, 0) != 0)
            abort();
        store_unlock_one(b->s, shard);
    }
}

static uint64_t find_batch(struct bench *b, struct batch *ba)
{
    static char out[VALUE_MAX];
    uint64_t found = 0;
    make_batch(b, ba);
    for (int i = 0; i < BATCH; i++) {
        uint32_t shard = key_shard(&ba->key[i]);
        store_lock_one(b->s, shard);
        struct entry *e = store_find(&b->a, &ba->key[i]);
        if (e != NULL) {
            struct block *block;
            struct str v = entry_string(e, &block);
            memcpy(out, v.p, v.n);
            found++;
        }
        store_unlock_one(b->s, shard);
    }
    return found;
}

/* CPU time of this thread: the wall clock would count the neighbours, too. */
static double cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

enum what { FIND, PUT, NOTHING };

/* ns a key over n keys drawn from [first, first + range), or in order when range is 0. */
static double run_once(struct bench *b, uint64_t first, uint64_t range, uint64_t n, enum what what)
{
    struct batch ba;
    double start = cpu_ns();
    for (uint64_t done = 0; done < n; done += BATCH) {
        for (int i = 0; i < BATCH; i++)
            name_of(ba.name[i], first + (range != 0 ? rng_below(&b->rng, range) : done + (uint64_t)i));
        if (what == PUT)
            put_batch(b, &ba);
        else if (what == FIND)
            (void)find_batch(b, &ba);
        if (done % 4096 == 0) {
            store_round_begin(b->s, b->a.app);
            store_maintain(&b->a, 10);
        }
    }
    return (cpu_ns() - start) / (double)n;
}

static double run(struct bench *b, uint64_t first, uint64_t range, uint64_t n, enum what what)
{
    double t = run_once(b, first, range, n, what);
    return t - run_once(b, first, range, n < 1000000 ? n : 1000000, NOTHING);
}

static double hash_cost(struct bench *b, uint64_t n)
{
    struct key k;
    char name[KEY_BYTES];
    name_of(name, 1);
    uint64_t sum = 0;
    double t = cpu_ns();
    for (uint64_t i = 0; i < n; i++) {
        memcpy(name, &i, 4);
        key_make(b->s, &k, (struct str){name, KEY_BYTES}, 0);
        sum += k.hash;
    }
    t = cpu_ns() - t;
    if (sum == 0)
        puts("");
    return t / (double)n;
}

static void print_tables(struct bench *b)
{
    struct table_stats st = {0};
    for (uint32_t i = 0; i < STORE_SLOTS; i++)
        table_stats_add(&b->a.app->tm, &b->s->slots[i], &st);
    struct store_memory m;
    store_memory(b->s, &m);
    double n = (double)st.keys;
    printf("  tables: %.2f B/key in buckets and directories + %.2f in slot headers; %.3f bucket reads a hit; "
           "%.1f keys a bucket, %.0f a page; pool %.2f B/key\n",
           (double)st.bytes / n, (double)STORE_SLOTS * sizeof(struct table) / n, (double)st.hit_reads / n,
           n / (double)st.buckets, n / (double)st.pages, (double)(m.tables) / n);
    printf("  segments: %.2f B/key, live %.2f\n", (double)m.segments / n, (double)m.live / n);
}

int main(int argc, char **argv)
{
    struct bench b = {.keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000,
                      .value = argc > 2 ? strtoull(argv[2], NULL, 10) : 16,
                      .ttl_ms = argc > 3 ? strtoll(argv[3], NULL, 10) * 1000 : 0};
    struct store_options o = {.databases = 16, .threads = 4, .seed = {1, 2}};
    b.bytes = calloc(1, b.value + 1);
    rng_init(&b.rng, 1);
    if (b.value > VALUE_MAX || store_new(&b.s, &o) != 0)
        return 1;
    b.a = (struct access){.store = b.s, .app = store_appender(b.s, 0), .now_ms = os_wall_ms()};
    store_round_begin(b.s, b.a.app);
    uint64_t before = status_kb("VmRSS:");
    double load = run(&b, 0, 0, b.keys, PUT);
    uint64_t after = status_kb("VmHWM:");
    double bytes = (double)(after - before) * 1024 / (double)b.keys;
    printf("%llu keys of %d + %zu bytes%s: %.2f B/key, %.2f beyond the data; insert %.0f ns\n",
           (unsigned long long)b.keys, KEY_BYTES, b.value, b.ttl_ms != 0 ? " with TTL" : "", bytes,
           bytes - KEY_BYTES - (double)b.value, load);
    print_tables(&b);
    uint64_t n = argc > 4 ? strtoull(argv[4], NULL, 10) : 4000000, warm = 1000;
    printf("  key_make %.1f ns\n", hash_cost(&b, n));
    printf("  find + copy: %.1f ns warm (%llu keys), %.1f ns over all\n", run(&b, 0, warm, n, FIND),
           (unsigned long long)warm, run(&b, 0, b.keys, n, FIND));
    printf("  find, absent: %.1f ns\n", run(&b, b.keys, b.keys, n, FIND));
    printf("  overwrite in place: %.1f ns warm, %.1f ns over all\n", run(&b, 0, warm, n, PUT),
           run(&b, 0, b.keys, n, PUT));
    store_free(b.s);
    free(b.bytes);
    return 0;
}
