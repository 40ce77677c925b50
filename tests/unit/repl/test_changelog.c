/* The change log by itself, one thread: places, holes, SELECT, the backlog, the file, the ends. */
#include "spill.h"

#include "base/alloc.h"

#include <stdio.h>

enum { BACKLOG = 32 * 1024, CHUNK = 16 * 1024, SELECT_BYTES = 23 };

static const char select0[] = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
static const char select7[] = "*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n";

struct fixture {
    struct changelog *l;
    struct fake_spill spill;
};

static int setup(void **state)
{
    static struct fixture f;
    struct changelog_spill spill = fake_spill_of(&f.spill);
    f.l = mem_aligned(64, sizeof *f.l);
    changelog_init(f.l, 4, BACKLOG, &spill);
    changelog_start(f.l, 1000);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    changelog_release(f->l);
    mem_free(f->l);
    return 0;
}

static void put(struct changelog *l, uint32_t writer, uint32_t db, const void *p, size_t n)
{
    struct changelog_place pl;
    changelog_reserve(l, writer, db, db, n, &pl);
    changelog_begin_write(l, db, n, &pl);
    changelog_write(l, &pl, p, n);
    changelog_publish(l, writer, &pl);
}

static void expect(struct changelog *l, struct changelog_reader *r, const char *want)
{
    char got[512];
    int64_t n = changelog_read(l, r, got, sizeof got);
    assert_true(n >= 0);
    assert_str(((struct str){got, (size_t)n}), str_of(want));
}

static void test_selects_when_the_database_changes(void **state)
{
    struct changelog *l = ((struct fixture *)*state)->l;
    struct changelog_reader r;
    char want[200];
    assert_int_equal(changelog_reader_open(l, &r, 1000), 0);
    put(l, 0, 0, "one", 3);
    put(l, 1, 0, "two", 3);
    put(l, 0, 7, "three", 5);
    snprintf(want, sizeof want, "%sonetwo%sthree", select0, select7);
    expect(l, &r, want);
    changelog_forget_db(l);
    put(l, 0, 7, "four", 4);
    snprintf(want, sizeof want, "%sfour", select7);
    expect(l, &r, want);
    assert_int_equal(changelog_head(l), 1000 + 3 * SELECT_BYTES + 15);
    changelog_reader_close(l, &r);
}

static void test_a_unit_may_end_elsewhere(void **state)
{
    struct changelog *l = ((struct fixture *)*state)->l;
    struct changelog_place pl;
    put(l, 0, 0, "x", 1);
    changelog_reserve(l, 0, 0, 7, 2, &pl);
    assert_int_equal(pl.end - pl.start, 2);
    changelog_begin_write(l, 0, 2, &pl);
    changelog_write(l, &pl, "ab", 2);
    changelog_publish(l, 0, &pl);
    changelog_reserve(l, 0, 7, 7, 1, &pl); /* selected already */
    assert_int_equal(pl.end - pl.start, 1);
    changelog_begin_write(l, 7, 1, &pl);
    changelog_write(l, &pl, "c", 1);
    changelog_publish(l, 0, &pl);
}

static void test_readers_stop_at_a_hole(void **state)
{
    struct changelog *l = ((struct fixture *)*state)->l;
    struct changelog_place first, second;
    struct changelog_reader r;
    put(l, 0, 0, "", 0);
    uint64_t from = changelog_head(l);
    assert_int_equal(changelog_reader_open(l, &r, from), 0);
    changelog_reserve(l, 0, 0, 0, 3, &first);
    changelog_reserve(l, 1, 0, 0, 3, &second);
    changelog_begin_write(l, 0, 3, &second);
    changelog_write(l, &second, "two", 3);
    changelog_publish(l, 1, &second);
    expect(l, &r, "");
    assert_int_equal(changelog_published(l), from);
    changelog_write(l, &first, "o", 1);
    expect(l, &r, "");
    changelog_write(l, &first, "ne", 2);
    changelog_publish(l, 0, &first);
    expect(l, &r, "onetwo");
    changelog_reader_close(l, &r);
}

/* Bytes that tell their offset. */
static void put_pattern(struct changelog *l, size_t n)
{
    char bytes[4096];
    for (uint64_t at = changelog_head(l), end = at + n; at < end;) {
        size_t k = end - at < sizeof bytes ? end - at : sizeof bytes;
        for (size_t i = 0; i < k; i++)
            bytes[i] = (char)((at + i) * 31 >> 3);
        changelog_append(l, 0, bytes, k);
        at += k;
    }
}

static void read_pattern(struct changelog *l, struct changelog_reader *r, size_t n)
{
    char bytes[5000];
    for (uint64_t at = r->at, end = at + n; at < end;) {
        int64_t k = changelog_read(l, r, bytes, end - at < sizeof bytes ? end - at : sizeof bytes);
        assert_true(k > 0);
        for (int64_t i = 0; i < k; i++, at++)
            assert_int_equal(bytes[i], (char)(at * 31 >> 3));
    }
}

static void test_keeps_the_backlog_and_no_more(void **state)
{
    struct changelog *l = ((struct fixture *)*state)->l;
    struct changelog_reader r;
    put_pattern(l, 10 * BACKLOG);
    changelog_trim(l);
    assert_in_range(changelog_memory(l), BACKLOG, BACKLOG + CHUNK);
    assert_in_range(changelog_head(l) - changelog_begin(l), BACKLOG, BACKLOG + CHUNK);
    assert_int_equal(changelog_spilled(l), 0);
    assert_int_equal(changelog_reader_open(l, &r, changelog_begin(l) - 1), ERR_NOTFOUND);
    assert_int_equal(changelog_reader_open(l, &r, changelog_head(l) + 1), ERR_NOTFOUND);
    assert_int_equal(changelog_reader_open(l, &r, changelog_begin(l)), 0);
    read_pattern(l, &r, changelog_head(l) - r.at);
    changelog_reader_close(l, &r);
}

static void test_a_slow_reader_reads_the_file(void **state)
{
    struct fixture *f = *state;
    struct changelog_reader slow, fast;
    assert_int_equal(changelog_reader_open(f->l, &slow, 1000), 0);
    assert_int_equal(changelog_reader_open(f->l, &fast, 1000), 0);
    for (int i = 0; i < 20; i++) {
        put_pattern(f->l, BACKLOG);
        read_pattern(f->l, &fast, BACKLOG);
        if (i % 4 == 3)
            read_pattern(f->l, &slow, BACKLOG / 2);
        changelog_trim(f->l);
        assert_in_range(changelog_memory(f->l), 0, BACKLOG + CHUNK);
    }
    assert_true(f->spill.written > 10 * BACKLOG);
    assert_in_range(changelog_begin(f->l), slow.at - CHUNK,
                    slow.at); /* whoever comes may use the file, too */
    read_pattern(f->l, &slow, changelog_head(f->l) - slow.at);
    changelog_trim(f->l);
    assert_int_equal(f->spill.dropped, f->spill.written);
    assert_int_equal(changelog_spilled(f->l), 0);
    changelog_reader_close(f->l, &slow);
    put_pattern(f->l, 4 * BACKLOG);
    changelog_trim(f->l); /* only the fast one is left, and is far behind now */
    read_pattern(f->l, &fast, 4 * BACKLOG);
    changelog_reader_close(f->l, &fast);
}

static void test_a_full_disk_cuts_who_needs_it(void **state)
{
    struct fixture *f = *state;
    struct changelog_reader slow, fast;
    char byte;
    f->spill.full = true;
    assert_int_equal(changelog_reader_open(f->l, &slow, 1000), 0);
    put_pattern(f->l, 4 * BACKLOG);
    assert_int_equal(changelog_reader_open(f->l, &fast, changelog_head(f->l) - 10), 0);
    changelog_trim(f->l);
    assert_int_equal(changelog_read(f->l, &slow, &byte, 1), ERR_CORRUPT);
    read_pattern(f->l, &fast, 10);
    changelog_reader_close(f->l, &slow);
    changelog_reader_close(f->l, &fast);
}

static void test_a_new_history_cuts_everybody(void **state)
{
    struct changelog *l = ((struct fixture *)*state)->l;
    struct changelog_reader r;
    char byte;
    put_pattern(l, 100);
    assert_int_equal(changelog_reader_open(l, &r, 1000), 0);
    changelog_start(l, 5);
    assert_int_equal(changelog_read(l, &r, &byte, 1), ERR_CORRUPT);
    changelog_reader_close(l, &r);
    assert_int_equal(changelog_reader_open(l, &r, 1000), ERR_NOTFOUND);
    put_pattern(l, 3 * CHUNK);
    assert_int_equal(changelog_reader_open(l, &r, 5), 0);
    read_pattern(l, &r, 3 * CHUNK);
    changelog_reader_close(l, &r);
    changelog_stop(l);
    assert_int_equal(changelog_reader_open(l, &r, changelog_head(l)), ERR_NOTFOUND);
}

#ifdef LARDER_DEBUG
static void test_no_memory_breaks_it(void **state)
{
    struct changelog *l = ((struct fixture *)*state)->l;
    struct changelog_reader r;
    char byte;
    assert_int_equal(changelog_reader_open(l, &r, 1000), 0);
    alloc_fail_after(1);
    changelog_append(l, 0, "lost", 4);
    alloc_fail_after(0);
    assert_true(changelog_is_broken(l));
    assert_int_equal(changelog_read(l, &r, &byte, 1), ERR_CORRUPT);
    changelog_reader_close(l, &r);
    changelog_start(l, 1004);
    assert_false(changelog_is_broken(l));
    put_pattern(l, 10);
    assert_int_equal(changelog_reader_open(l, &r, 1004), 0);
    read_pattern(l, &r, 10);
    changelog_reader_close(l, &r);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_selects_when_the_database_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_unit_may_end_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readers_stop_at_a_hole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keeps_the_backlog_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_slow_reader_reads_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk_cuts_who_needs_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_history_cuts_everybody, setup, teardown),
#ifdef LARDER_DEBUG
        cmocka_unit_test_setup_teardown(test_no_memory_breaks_it, setup, teardown),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
