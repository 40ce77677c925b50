/* Many writers, several readers, one trimmer: every unit arrives whole, once, at every reader, and the units
 * of one key in the order in which its lock was held. For ThreadSanitizer above all. */
#include "spill.h"

#include "base/alloc.h"
#include "base/lock.h"
#include "base/num.h"
#include "base/rng.h"
#include "proto/request.h"
#include "repl/unit.h"

#include <pthread.h>
#include <stdio.h>

enum { WRITERS = 6, READERS = 3, KEYS = 40, UNITS = 4000, BACKLOG = 64 * 1024 };

static struct stress {
    struct changelog log;
    struct changelog_reader
        reader[READERS]; /* opened before anything is written, or trim may be ahead of them */
    struct fake_spill spill;
    struct lock lock[KEYS];
    uint64_t version[KEYS]; /* under its lock */
    _Atomic uint32_t writing;
    _Atomic bool stop;
} st;

/* "SET key version filler", on database key % 3; some of two commands. */
static void *write_units(void *arg)
{
    uint32_t writer = (uint32_t)(uintptr_t)arg;
    struct unit u;
    struct rng rng;
    char key[8], version[24], filler[3000];
    unit_init(&u, &st.log, writer);
    rng_init(&rng, writer + 1);
    memset(filler, 'f', sizeof filler);
    for (int i = 0; i < UNITS; i++) {
        uint64_t k = rng_below(&rng, KEYS);
        struct str name = {key, (size_t)snprintf(key, sizeof key, "%u", (unsigned)k)};
        lock_hold(&st.lock[k]);
        struct str number = {
            version, (size_t)snprintf(version, sizeof version, "%llu", (unsigned long long)++st.version[k])};
        size_t n = rng_below(&rng, 20) == 0 ? rng_below(&rng, sizeof filler) : rng_below(&rng, 40);
        const struct str set[] = {STR("set"), name, number, {filler, n}}, touch[] = {STR("touch"), name};
        unit_open(&u);
        if (rng_below(&rng, 4) == 0)
            unit_add(&u, (uint32_t)k % 3, touch, 2);
        unit_add_request(&u, (uint32_t)k % 3, STR("SET"), set, 4);
        unit_reserve(&u);
        lock_release(&st.lock[k]);
        unit_publish(&u);
        if (rng_below(&rng, 50) == 0)
            unit_add(&u, 1, touch, 2); /* a removal outside of any command */
    }
    unit_release(&u);
    atomic_fetch_sub(&st.writing, 1);
    return NULL;
}

struct checker {
    uint64_t version[KEYS], sets;
    uint32_t db, depth;
};

static void check(struct checker *c, const struct request *r)
{
    int64_t n, k;
    if (str_eq(r->argv[0], STR("SELECT"))) {
        assert_true(num_parse_i64(r->argv[1], &n));
        c->db = (uint32_t)n;
    } else if (str_eq(r->argv[0], STR("MULTI"))) {
        assert_int_equal(c->depth++, 0);
    } else if (str_eq(r->argv[0], STR("EXEC"))) {
        assert_int_equal(c->depth--, 1);
    } else if (str_eq(r->argv[0], STR("SET"))) {
        assert_true(num_parse_i64(r->argv[1], &k));
        assert_true(num_parse_i64(r->argv[2], &n));
        assert_int_equal(n, ++c->version[k]);
        assert_int_equal(c->db, k % 3);
        for (size_t i = 0; i < r->argv[3].n; i++)
            assert_int_equal(r->argv[3].p[i], 'f');
        c->sets++;
    } else {
        assert_str(r->argv[0], STR("touch"));
    }
}

static size_t check_all(struct checker *c, struct str in, struct arena *arena)
{
    struct request_parser rp = {.bulk_max = 1 << 20, .authenticated = true};
    struct request r;
    size_t used = 0;
    int rc;
    while ((rc = request_parse(&rp, (struct str){in.p + used, in.n - used}, arena, &r)) == 0) {
        check(c, &r);
        used += r.bytes;
        arena_reset(arena);
    }
    assert_int_equal(rc, ERR_AGAIN);
    return used;
}

static void *read_units(void *arg)
{
    uint32_t index = (uint32_t)(uintptr_t)arg;
    struct changelog_reader *r = &st.reader[index];
    struct checker c = {0};
    struct rng rng;
    struct arena arena;
    struct buf in;
    rng_init(&rng, 99 + index);
    arena_init(&arena);
    buf_init(&in);
    while (c.sets < (uint64_t)WRITERS * UNITS) {
        size_t max = 1 + rng_below(&rng, index == 0 ? 700 : 20000);
        assert_int_equal(buf_reserve(&in, max), 0);
        int64_t n = changelog_read(&st.log, r, in.p + in.n, max);
        assert_true(n >= 0);
        in.n += (size_t)n;
        buf_consume(&in, check_all(&c, buf_str(&in), &arena));
    }
    changelog_reader_close(&st.log, r);
    buf_release(&in);
    arena_release(&arena);
    return NULL;
}

static void *trim(void *arg)
{
    while (!atomic_load(&st.stop))
        changelog_trim(&st.log);
    return NULL;
}

static void test_loses_and_reorders_nothing(void **state)
{
    pthread_t writer[WRITERS], reader[READERS], trimmer;
    struct changelog_spill spill = fake_spill_of(&st.spill);
    changelog_init(&st.log, WRITERS, BACKLOG, &spill);
    changelog_start(&st.log, 0);
    atomic_store(&st.writing, WRITERS);
    for (uintptr_t i = 0; i < READERS; i++) {
        assert_int_equal(changelog_reader_open(&st.log, &st.reader[i], 0), 0);
        pthread_create(&reader[i], NULL, read_units, (void *)i);
    }
    pthread_create(&trimmer, NULL, trim, NULL);
    for (uintptr_t i = 0; i < WRITERS; i++)
        pthread_create(&writer[i], NULL, write_units, (void *)i);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writer[i], NULL);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(reader[i], NULL);
    atomic_store(&st.stop, true);
    pthread_join(trimmer, NULL);
    assert_int_equal(changelog_published(&st.log), changelog_head(&st.log));
    changelog_release(&st.log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_loses_and_reorders_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
