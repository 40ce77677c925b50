/* nodes.conf and its journal on a disk on which anything may fail, or be cut off in the middle. The file code
 * is built with its system calls replaced by those below. */
#include "cluster_file_calls.h"
#include "server/cluster_file.h"
#include "unit.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum call { OPEN, PWRITE, FSYNC, FDATASYNC, RENAME, READ, CALLS };

/* The nth of these from now on fails; of a write half is done, as when the power fails. 0: none. */
static unsigned failing[CALLS], calls[CALLS];

static bool fails(enum call c)
{
    calls[c]++;
    return failing[c] > 0 && --failing[c] == 0 && (errno = EIO) != 0;
}

int try_open(const char *path, int flags, ...)
{
    return fails(OPEN) ? -1 : open(path, flags, 0600);
}

ssize_t try_pwrite(int fd, const void *p, size_t n, off_t at)
{
    if (!fails(PWRITE))
        return pwrite(fd, p, n > 7 ? n - 7 : n, at); /* a short one is gone on with */
    assert_true(pwrite(fd, p, n / 2, at) == (ssize_t)(n / 2));
    return -1;
}

ssize_t try_read(int fd, void *p, size_t n)
{
    return fails(READ) ? -1 : read(fd, p, n);
}

int try_fsync(int fd)
{
    return fails(FSYNC) ? -1 : fsync(fd);
}

int try_fdatasync(int fd)
{
    return fails(FDATASYNC) ? -1 : fdatasync(fd);
}

int try_rename(const char *from, const char *to)
{
    return fails(RENAME) ? -1 : rename(from, to);
}

/* ---- what is on the disk ----------------------------------------------------------------------------------
 */

#define CONF "nodes.conf"
#define JOURNAL "nodes.conf.journal"

static struct cluster_file file;

static struct str text_of(const char *what)
{
    static char text[256];
    snprintf(text, sizeof text, "%s\nvars currentEpoch 1\n", what);
    return str_of(text);
}

/* As by a process that starts now. */
static enum cluster_file_found found_by(const char *what)
{
    struct cluster_file f;
    struct buf b;
    enum cluster_file_found found;
    buf_init(&b);
    assert_int_equal(cluster_file_open(&f, CONF, &b, &found), 0);
    assert_true(what == NULL ? b.n == 0 : b.n >= strlen(what) && memcmp(b.p, what, strlen(what)) == 0);
    assert_true(what == NULL || b.p[b.n - 1] == '\n');
    cluster_file_release(&f);
    buf_release(&b);
    return found;
}

static void put_file(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static size_t get_file(const char *path, char *text, size_t room)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, room, f);
    fclose(f);
    return n;
}

/* One byte of the journal is another. */
static void spoil(off_t at)
{
    int fd = open(JOURNAL, O_RDWR);
    char c;
    assert_int_equal(pread(fd, &c, 1, at), 1);
    c ^= 1;
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

/* nodes.conf says "first", on the disk, and there is a journal. */
static int begin(void **state)
{
    struct buf b;
    enum cluster_file_found found;
    memset(failing, 0, sizeof failing);
    unlink(CONF);
    unlink(JOURNAL);
    buf_init(&b);
    assert_int_equal(cluster_file_open(&file, CONF, &b, &found), 0);
    assert_int_equal(found, FOUND_NOTHING);
    buf_release(&b);
    assert_true(cluster_file_begin_journal(&file));
    assert_true(cluster_file_write(&file, text_of("first"), true));
    return 0;
}

static int end(void **state)
{
    cluster_file_release(&file);
    return 0;
}

static void the_newer_of_the_two_counts(void **state)
{
    assert_int_equal(found_by("first"), FOUND_FILE);
    assert_true(cluster_file_keep(&file, text_of("second")));
    assert_int_equal(found_by("second"), FOUND_JOURNAL);
    assert_true(cluster_file_keep(&file, text_of("third")));
    assert_true(cluster_file_keep(&file, text_of("fourth")));
    assert_int_equal(found_by("fourth"), FOUND_JOURNAL);
    assert_true(cluster_file_write(&file, text_of("fifth"), false));
    assert_int_equal(found_by("fifth"), FOUND_FILE);
}

static void to_keep_takes_one_flush_and_no_name(void **state)
{
    memset(calls, 0, sizeof calls);
    assert_true(cluster_file_keep(&file, text_of("second")));
    assert_int_equal(calls[FDATASYNC], 1);
    assert_int_equal(calls[FSYNC] + calls[OPEN] + calls[RENAME], 0);
    struct stat st;
    assert_int_equal(stat(JOURNAL, &st), 0);
    assert_int_equal(st.st_size, 2 * CLUSTER_JOURNAL_HALF);
    assert_true(st.st_blocks * 512 >= st.st_size);
}

/* Whatever byte of the newest text is wrong, the one before it counts. */
static void a_torn_text_is_none(void **state)
{
    assert_true(cluster_file_keep(&file, text_of("second")));
    assert_true(cluster_file_keep(&file, text_of("third")));
    const size_t n = file.text.n - 1;
    for (size_t i = 0; i < n; i++) {
        spoil((off_t)(CLUSTER_JOURNAL_HALF + i));
        assert_int_equal(found_by("second"), FOUND_JOURNAL);
        spoil((off_t)(CLUSTER_JOURNAL_HALF + i));
    }
    assert_int_equal(found_by("third"), FOUND_JOURNAL);
}

/* The longer text that stood there before does not become part of a shorter one. */
static void a_shorter_text_ends_where_it_ends(void **state)
{
    assert_true(cluster_file_keep(&file, text_of("a text that is a good deal longer than what follows it")));
    assert_true(cluster_file_keep(&file, text_of("b")));
    assert_true(cluster_file_keep(&file, text_of("c")));
    assert_int_equal(found_by("c\n"), FOUND_JOURNAL);
}

static void a_write_that_is_cut_off_costs_nothing_older(void **state)
{
    for (int i = 0; i < 3; i++) {
        assert_true(cluster_file_keep(&file, text_of("before")));
        failing[PWRITE] = 1;
        failing[OPEN] = 1; /* nor can nodes.conf be written instead */
        assert_false(cluster_file_keep(&file, text_of("lost")));
        assert_int_equal(errno, EIO);
        assert_int_equal(found_by("before"), FOUND_JOURNAL);
    }
}

/* Each call that fails: nodes.conf is made to last instead; if that fails too, whoever asks is told, and
 * finds what there was or what it wanted to keep, whole. */
static void without_the_journal_nodes_conf_is_made_to_last(void **state)
{
    static const enum call other[] = {OPEN, PWRITE, FSYNC, RENAME};
    failing[FDATASYNC] = 1;
    assert_true(cluster_file_keep(&file, text_of("second")));
    assert_int_equal(found_by("second"), FOUND_FILE);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        assert_true(cluster_file_write(&file, text_of("old"), true));
        failing[FDATASYNC] = 1;
        failing[other[i]] = other[i] == PWRITE ? 20 : 1; /* the journal's writes come first */
        bool ok = cluster_file_keep(&file, text_of("new"));
        assert_true(ok == (other[i] == PWRITE));
        memset(failing, 0, sizeof failing);
        struct buf b;
        struct cluster_file f;
        enum cluster_file_found found;
        buf_init(&b);
        assert_int_equal(cluster_file_open(&f, CONF, &b, &found), 0);
        assert_true(memcmp(b.p, "new\n", 4) == 0 || memcmp(b.p, "old\n", 4) == 0);
        buf_release(&b);
        cluster_file_release(&f);
        assert_true(cluster_file_keep(&file, text_of("later")));
        assert_int_equal(found_by("later"), FOUND_JOURNAL);
    }
}

static void nodes_conf_is_the_old_one_when_a_call_fails(void **state)
{
    static const enum call each[] = {OPEN, PWRITE, FSYNC, RENAME};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        failing[each[i]] = 1;
        assert_false(cluster_file_write(&file, text_of("new"), true));
        assert_int_equal(errno, EIO);
        assert_int_equal(found_by("first"), FOUND_FILE);
    }
    failing[FSYNC] = 2; /* the folder's: the name may be lost, the file is there */
    assert_false(cluster_file_write(&file, text_of("new"), true));
    assert_int_equal(found_by("new"), FOUND_FILE);
}

static void there_is_no_journal_when_it_cannot_be_made(void **state)
{
    static const enum call each[] = {OPEN, PWRITE, FSYNC};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        cluster_file_end_journal(&file);
        failing[each[i]] = 1;
        assert_false(cluster_file_begin_journal(&file));
        assert_int_equal(errno, EIO);
        assert_true(cluster_file_keep(&file, text_of("second")));
        assert_int_equal(found_by("second"), FOUND_FILE);
    }
}

static void a_text_that_is_too_long_goes_into_nodes_conf(void **state)
{
    struct buf b;
    buf_init(&b);
    while (b.n < CLUSTER_JOURNAL_HALF)
        buf_puts(&b, STR("a line of some node\n"));
    assert_true(cluster_file_keep(&file, buf_str(&b)));
    buf_release(&b);
    assert_int_equal(found_by("a line of some node\n"), FOUND_FILE);
    assert_true(cluster_file_keep(&file, text_of("short")));
    assert_int_equal(found_by("short"), FOUND_JOURNAL);
}

/* ---- what people do
 * ---------------------------------------------------------------------------------------- */

static void an_edited_nodes_conf_counts(void **state)
{
    char text[512];
    size_t n = get_file(CONF, text, sizeof text);
    assert_true(cluster_file_keep(&file, text_of("second")));
    text[0] = 'F';
    put_file(CONF, text, n);
    assert_int_equal(found_by("Fir"), FOUND_FILE);
    put_file(CONF, "by Redis\nvars currentEpoch 3 lastVoteEpoch 0\n", 45);
    assert_int_equal(found_by("by Redis"), FOUND_FILE);
}

/* What comes after that is newer than the journal, which is there still. */
static void what_follows_an_edit_is_newer_than_the_journal(void **state)
{
    struct cluster_file f;
    struct buf b;
    enum cluster_file_found found;
    for (int i = 0; i < 5; i++)
        assert_true(cluster_file_keep(&file, text_of("second")));
    put_file(CONF, "edited\nvars currentEpoch 3\n", 27);
    buf_init(&b);
    assert_int_equal(cluster_file_open(&f, CONF, &b, &found), 0);
    assert_true(cluster_file_write(&f, buf_str(&b), true));
    assert_int_equal(found_by("edited"), FOUND_FILE);
    assert_true(cluster_file_begin_journal(&f));
    assert_true(cluster_file_keep(&f, text_of("after")));
    assert_int_equal(found_by("after"), FOUND_JOURNAL);
    cluster_file_release(&f);
    buf_release(&b);
}

static void a_nodes_conf_that_was_removed_is_a_new_node(void **state)
{
    assert_true(cluster_file_keep(&file, text_of("second")));
    assert_int_equal(unlink(CONF), 0);
    assert_int_equal(found_by(NULL), FOUND_NOTHING);
}

/* As some file systems leave it. */
static void a_nodes_conf_without_an_end_gives_way(void **state)
{
    put_file(CONF, "", 0);
    assert_int_equal(found_by(NULL), FOUND_NOTHING);
    assert_true(cluster_file_keep(&file, text_of("second")));
    assert_int_equal(found_by("second"), FOUND_JOURNAL);
    put_file(CONF, "fir", 3);
    assert_int_equal(found_by("second"), FOUND_JOURNAL);
    put_file(CONF, "first\n\0\0\0\0", 10);
    assert_int_equal(found_by("second"), FOUND_JOURNAL);
}

/* Of an older larder, or cut short: whatever is not a whole text is none. */
static void a_journal_of_another_kind_is_none(void **state)
{
    char whole[1024];
    assert_true(cluster_file_keep(&file, text_of("second")));
    size_t n = get_file(JOURNAL, whole, sizeof whole), ends = strlen(whole);
    assert_int_equal(n, sizeof whole);
    for (size_t i = 0; i <= ends; i++) {
        put_file(JOURNAL, whole, i);
        assert_int_equal(found_by(i < ends ? "first" : "second"), i < ends ? FOUND_FILE : FOUND_JOURNAL);
    }
    put_file(JOURNAL, "larderSaved larderSum  larderSum 5\n", 35);
    assert_int_equal(found_by("first"), FOUND_FILE);
    cluster_file_release(&file);
    file.journal = -1;
    assert_true(cluster_file_begin_journal(&file)); /* a short one is filled up */
    assert_true(cluster_file_keep(&file, text_of("third")));
    assert_int_equal(found_by("third"), FOUND_JOURNAL);
}

static void an_orderly_end_leaves_nodes_conf_alone(void **state)
{
    assert_true(cluster_file_keep(&file, text_of("second")));
    assert_true(cluster_file_write(&file, text_of("last"), true));
    cluster_file_end_journal(&file);
    assert_int_equal(access(JOURNAL, F_OK), -1);
    assert_int_equal(found_by("last"), FOUND_FILE);
}

static void what_cannot_be_read_is_an_error(void **state)
{
    struct cluster_file f;
    struct buf b;
    enum cluster_file_found found;
    for (unsigned i = 1; i <= 2; i++) { /* the file, the journal */
        buf_init(&b);
        failing[OPEN] = i;
        assert_int_equal(cluster_file_open(&f, CONF, &b, &found), ERR_IO);
        cluster_file_release(&f);
        failing[READ] = i == 1 ? 1 : 3;
        b.n = 0;
        assert_int_equal(cluster_file_open(&f, CONF, &b, &found), ERR_IO);
        cluster_file_release(&f);
        buf_release(&b);
    }
}

int main(void)
{
    char folder[] = "/tmp/larder-unit-XXXXXX";
    if (mkdtemp(folder) == NULL || chdir(folder) != 0)
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(the_newer_of_the_two_counts),
        TEST(to_keep_takes_one_flush_and_no_name),
        TEST(a_torn_text_is_none),
        TEST(a_shorter_text_ends_where_it_ends),
        TEST(a_write_that_is_cut_off_costs_nothing_older),
        TEST(without_the_journal_nodes_conf_is_made_to_last),
        TEST(nodes_conf_is_the_old_one_when_a_call_fails),
        TEST(there_is_no_journal_when_it_cannot_be_made),
        TEST(a_text_that_is_too_long_goes_into_nodes_conf),
        TEST(an_edited_nodes_conf_counts),
        TEST(what_follows_an_edit_is_newer_than_the_journal),
        TEST(a_nodes_conf_that_was_removed_is_a_new_node),
        TEST(a_nodes_conf_without_an_end_gives_way),
        TEST(a_journal_of_another_kind_is_none),
        TEST(an_orderly_end_leaves_nodes_conf_alone),
        TEST(what_cannot_be_read_is_an_error),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(CONF);
    unlink(CONF ".new");
    unlink(JOURNAL);
    if (chdir("/") != 0 || rmdir(folder) != 0)
        return 1;
    return rc;
}
