/* The reader against files that are cut at every byte, changed at every byte, and brought in small pieces. */
#include "unit/unit.h"

#include "base/err.h"
#include "persist/rdb.h"
#include "persist/rdb_read.h"
#include "value/set.h"

#include <string.h>

static const struct object_options options = {
    .set_max_intset_entries = 512, .set_max_listpack_entries = 128, .set_max_listpack_value = 64};

struct feed {
    struct str in;
    size_t piece;
};

static int64_t give(void *arg, char *p, size_t n)
{
    struct feed *f = arg;
    n = n < f->piece ? n : f->piece;
    n = n < f->in.n ? n : f->in.n;
    memcpy(p, f->in.p, n);
    f->in = (struct str){f->in.p + n, f->in.n - n};
    return (int64_t)n;
}

/* Strings of all kinds, a set, two databases, an extension, a field that nobody knows. */
static void put_file(struct buf *b)
{
    struct object *set = set_new(&options, STR("1"), 3);
    struct object_walk w = {0};
    assert_int_equal(rdb_put_header(b, 10), 0);
    rdb_put_aux(b, STR("redis-ver"), STR("7.0.15"));
    rdb_put_aux(b, STR("repl-id"), STR("0123456789abcdef0123456789abcdef01234567"));
    rdb_put_aux(b, STR("repl-offset"), STR("4711"));
    rdb_put_aux(b, STR("repl-stream-db"), STR("3"));
    rdb_put_select(b, 0);
    rdb_put_resize(b, 3, 1);
    rdb_put_extra(b, STR("about the key"));
    rdb_put_use(b, 77777, 200);
    rdb_put_key(b, 1234567890123, RDB_STRING, STR("number"), true);
    rdb_put_string(b, STR("12345"), true);
    rdb_put_key(b, 0, RDB_STRING, STR("packed"), true);
    rdb_put_string(b, STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), true);
    rdb_put_aux(b, STR("unknown"), STR("ignored"));
    rdb_put_select(b, 3);
    assert_int_equal(set_add(&set, &options, STR("1")), 1);
    assert_int_equal(set_add(&set, &options, STR("member")), 1);
    rdb_put_key(b, 0, object_type(set)->rdb_type(set, 10), STR("set"), true);
    assert_int_equal(object_type(set)->dump(set, 10, &w, 1 << 20, b), 0);
    object_put(set);
    rdb_put_aux(b, RDB_STATE_NAME, STR("about all keys"));
    rdb_put_end(b);
    rdb_put_sum(b, hash_crc64(0, b->p, b->n));
}

/* Returns what the reader said last; *keys counts. */
static int read_all(struct str file, size_t piece, uint32_t *keys)
{
    struct feed f = {file, piece};
    struct rdb_reader r;
    struct rdb_item item;
    int rc;
    rdb_reader_init(&r, give, &f, &options);
    *keys = 0;
    while ((rc = rdb_read(&r, &item)) == 0) {
        if (item.state.p != NULL)
            continue;
        ++*keys;
        assert_true(item.key.p != NULL && (item.object != NULL || item.value.p != NULL));
        if (str_eq(item.key, STR("number")) && rc == 0)
            assert_true(item.extra.p == NULL || item.extra.n <= file.n);
        if (item.object != NULL)
            object_put(item.object);
    }
    assert_true(rc == 1 || (rc < 0 && r.text[0] != '\0'));
    if (rc == 1)
        assert_int_equal(rdb_offset(&r), file.n);
    rdb_reader_release(&r);
    return rc;
}

static void test_whole(void **state)
{
    struct buf b;
    uint32_t keys;
    buf_init(&b);
    put_file(&b);
    for (size_t piece = 1; piece <= b.n; piece++) {
        assert_int_equal(read_all(buf_str(&b), piece, &keys), 1);
        assert_int_equal(keys, 3);
    }
    buf_release(&b);
}

static void test_cut(void **state)
{
    struct buf b;
    uint32_t keys;
    buf_init(&b);
    put_file(&b);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(read_all((struct str){b.p, n}, 7, &keys), ERR_CORRUPT);
    buf_release(&b);
}

/* Every bit of every byte: the checksum sees it, if nothing before it does. */
static void test_changed(void **state)
{
    struct buf b;
    uint32_t keys;
    buf_init(&b);
    put_file(&b);
    for (size_t at = 0; at < b.n; at++)
        for (int bit = 0; bit < 8; bit++) {
            b.p[at] ^= (char)(1 << bit);
            assert_true(read_all(buf_str(&b), 4096, &keys) < 0);
            b.p[at] ^= (char)(1 << bit);
        }
    buf_release(&b);
}

static int read_one(struct str file, struct rdb_reader *r, struct rdb_item *item)
{
    static struct feed f;
    f = (struct feed){file, 7};
    rdb_reader_init(r, give, &f, &options);
    return rdb_read(r, item);
}

/* A field on its own: no key, and no word about the next one. */
static void test_entry(void **state)
{
    struct buf b;
    struct rdb_reader r;
    struct rdb_item item;
    buf_init(&b);
    rdb_put_header(&b, 10);
    rdb_put_select(&b, 3);
    assert_int_equal(rdb_put_entry(&b, STR("key"), STR("extension"), 5), 0);
    buf_puts(&b, STR("value"));
    rdb_put_key(&b, 0, RDB_STRING, STR("next"), false);
    rdb_put_string(&b, STR("1"), false);
    assert_int_equal(read_one(buf_str(&b), &r, &item), 0);
    assert_true(item.hidden && item.db == 3 && item.object == NULL && item.state.p == NULL);
    assert_true(str_eq(item.key, STR("key")) && str_eq(item.extra, STR("extension")));
    assert_true(str_eq(item.value, STR("value")) && item.expire_ms == 0);
    assert_int_equal(rdb_read(&r, &item), 0);
    assert_true(!item.hidden && item.extra.p == NULL && str_eq(item.key, STR("next")));
    rdb_reader_release(&r);
    buf_release(&b);
}

static void test_hostile_entries(void **state)
{
    static const struct str bad[] = {
        STR(""),
        STR("\1\0\0\0\0\0\0"),
        STR("\1\0\0\0\0\0\0\0"),
        STR("\1\0\0\0\1\0\0\0k"),
        STR("\377\377\377\377\377\377\377\377kx"),
        STR("\1\0\0\0\377\377\377\377kx"),
        STR("\370\377\377\377\10\0\0\0kx"),
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf b;
        struct rdb_reader r;
        struct rdb_item item;
        buf_init(&b);
        rdb_put_header(&b, 10);
        rdb_put_aux(&b, RDB_ENTRY_NAME, bad[i]);
        rdb_put_end(&b);
        assert_int_equal(read_one(buf_str(&b), &r, &item), ERR_CORRUPT);
        assert_non_null(strstr(r.text, "an entry"));
        rdb_reader_release(&r);
        buf_release(&b);
    }
}

static void test_extension(void **state)
{
    struct buf b;
    struct rdb_reader r;
    struct rdb_item item;
    buf_init(&b);
    put_file(&b);
    struct feed f = {buf_str(&b), 5};
    rdb_reader_init(&r, give, &f, &options);
    assert_int_equal(rdb_read(&r, &item), 0);
    assert_true(str_eq(item.extra, STR("about the key")) && item.expire_ms == 1234567890123);
    assert_true(item.idle_s == 77777 && item.freq == 200);
    assert_int_equal(rdb_read(&r, &item), 0);
    assert_true(item.extra.p == NULL && item.expire_ms == 0 && item.idle_s == -1 && item.freq == -1);
    rdb_reader_release(&r);
    buf_release(&b);
}

static void test_place_and_state(void **state)
{
    struct buf b;
    struct rdb_reader r;
    struct rdb_item item;
    uint32_t states = 0;
    buf_init(&b);
    put_file(&b);
    struct feed f = {buf_str(&b), 5};
    rdb_reader_init(&r, give, &f, &options);
    assert_true(r.repl_id[0] == '\0' && r.repl_offset == -1 && r.stream_db == -1);
    while (rdb_read(&r, &item) == 0) {
        assert_string_equal(r.repl_id, "0123456789abcdef0123456789abcdef01234567");
        assert_true(r.repl_offset == 4711 && r.stream_db == 3);
        states += item.state.p != NULL;
        assert_true(item.state.p == NULL || str_eq(item.state, STR("about all keys")));
        if (item.object != NULL)
            object_put(item.object);
    }
    assert_true(states == 1 && r.done);
    rdb_reader_release(&r);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_place_and_state),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_extension),
        cmocka_unit_test(test_entry),
        cmocka_unit_test(test_hostile_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
