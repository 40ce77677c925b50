#include "unit/unit.h"

#include "base/annotate.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/larder-log-XXXXXX";
static char path[64], moved[64];

static int setup(void **state)
{
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(moved, sizeof moved, "%s/log.1", folder);
    return 0;
}

static int teardown(void **state)
{
    log_open(NULL);
    unlink(path);
    unlink(moved);
    return rmdir(folder);
}

static size_t read_file(const char *name, char *dst, size_t room)
{
    int fd = open(name, O_RDONLY);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, dst, room - 1);
    close(fd);
    dst[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&re, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match %s", text, pattern);
    regfree(&re);
}

#define HEAD "^[0-9]+:M [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} "

static void a_line_has_the_documented_shape(void **state)
{
    char text[4096], pid[32];
    unlink(path);
    assert_int_equal(log_open(path), 0);
    log_notice("Ready on %s port %d", "tcp", 6379);
    read_file(path, text, sizeof text);
    assert_matches(text, HEAD "\\* Ready on tcp port 6379\n$");
    snprintf(pid, sizeof pid, "%d:M ", (int)getpid());
    assert_memory_equal(text, pid, strlen(pid));
}

static void levels_mark_and_filter(void **state)
{
    static const char *const want[] = {".d-v*n#w", "-v*n#w", "*n#w", "#w", ""};
    for (int level = LOG_DEBUG; level <= LOG_NOTHING; level++) {
        char text[4096], marks[16] = "";
        unlink(path);
        assert_int_equal(log_open(path), 0);
        log_set_level((enum log_level)level);
        assert_int_equal(log_level_now(), level);
        log_debug("d");
        log_verbose("v");
        log_notice("n");
        log_warning("w");
        log_write(LOG_NOTHING, "never");
        read_file(path, text, sizeof text);
        for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
            size_t n = strlen(line), at = strlen(marks);
            assert_true(n > 3 && at + 3 <= sizeof marks);
            marks[at] = line[n - 3];
            marks[at + 1] = line[n - 1];
            marks[at + 2] = '\0';
        }
        assert_string_equal(marks, want[level]);
    }
    log_set_level(LOG_NOTICE);
}

static void the_role_is_in_the_line(void **state)
{
    char text[4096];
    unlink(path);
    assert_int_equal(log_open(path), 0);
    log_set_role('S');
    log_notice("x");
    log_set_role('M');
    read_file(path, text, sizeof text);
    assert_matches(text, "^[0-9]+:S ");
}

static void an_event_stays_one_line(void **state)
{
    char text[8192], large[5000];
    unlink(path);
    assert_int_equal(log_open(path), 0);
    log_notice("bad name 'a\nb\r\n\x1b[31m' from a client");
    size_t n = read_file(path, text, sizeof text);
    assert_ptr_equal(strchr(text, '\n'), text + n - 1);
    assert_matches(text, "'a b   \\[31m' from a client\n$");

    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    unlink(path);
    log_notice("%s", large);
    n = read_file(path, text, sizeof text);
    assert_in_range(n, 1000, 2048);
    assert_ptr_equal(strchr(text, '\n'), text + n - 1);
}

static void errno_survives_and_can_be_named(void **state)
{
    char text[4096];
    unlink(path);
    assert_int_equal(log_open(path), 0);
    errno = ENOSPC;
    log_warning("cannot write: %m");
    assert_int_equal(errno, ENOSPC);
    read_file(path, text, sizeof text);
    assert_matches(text, "# cannot write: No space left on device\n$");
}

static void a_rotated_file_is_opened_anew(void **state)
{
    char text[4096];
    unlink(path);
    assert_int_equal(log_open(path), 0);
    log_notice("one");
    assert_int_equal(rename(path, moved), 0);
    log_notice("two");
    read_file(moved, text, sizeof text);
    assert_matches(text, HEAD "\\* one\n$");
    read_file(path, text, sizeof text);
    assert_matches(text, HEAD "\\* two\n$");
    log_raw("raw\n", 4);
    read_file(path, text, sizeof text);
    assert_matches(text, "two\nraw\n$");
}

static void a_sink_that_does_not_open_changes_nothing(void **state)
{
    char text[4096], deep[128];
    unlink(path);
    assert_int_equal(log_open(path), 0);
    snprintf(deep, sizeof deep, "%s/none/log", folder);
    assert_int_equal(log_open(deep), ERR_IO);
    assert_int_equal(errno, ENOENT);
    log_notice("still here");
    read_file(path, text, sizeof text);
    assert_matches(text, "still here\n$");
    static char endless[8000];
    memset(endless, 'x', sizeof endless - 1);
    assert_int_equal(log_open(endless), ERR_IO);
    assert_int_equal(errno, ENAMETOOLONG);
}

static void stdout_is_the_sink_without_a_path(void **state)
{
    char text[4096];
    unlink(path);
    fflush(stdout);
    int keep = dup(STDOUT_FILENO), fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(dup2(fd, STDOUT_FILENO) >= 0);
    assert_int_equal(log_open(""), 0);
    log_notice("to the terminal");
    dup2(keep, STDOUT_FILENO);
    close(keep);
    close(fd);
    read_file(path, text, sizeof text);
    assert_matches(text, "\\* to the terminal\n$");
}

/* The C library's calls, taken over by this program's own. */
static struct {
    char ident[64], text[256];
    int facility, priority, calls;
} syslogged;

void openlog(const char *ident, int option, int facility);
void syslog(int priority, const char *fmt, ...);

void openlog(const char *ident, int option, int facility)
{
    snprintf(syslogged.ident, sizeof syslogged.ident, "%s", ident);
    syslogged.facility = facility;
}

void syslog(int priority, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(syslogged.text, sizeof syslogged.text, fmt, ap);
    va_end(ap);
    syslogged.priority = priority;
    syslogged.calls++;
}

static void syslog_gets_the_text_and_its_priority(void **state)
{
    enum { LOCAL0 = 16 << 3 };
    static const int priorities[] = {7, 6, 5, 4}; /* debug, info, notice, warning: RFC 5424 */
    unlink(path);
    assert_int_equal(log_open(path), 0);
    log_set_level(LOG_DEBUG);
    log_set_syslog(true, "larder-test", LOCAL0);
    assert_string_equal(syslogged.ident, "larder-test");
    assert_int_equal(syslogged.facility, LOCAL0);
    for (int level = LOG_DEBUG; level <= LOG_WARNING; level++) {
        log_write((enum log_level)level, "level %d 100%%", level);
        assert_int_equal(syslogged.priority, priorities[level]);
        assert_matches(syslogged.text, "^level [0-9] 100%$");
    }
    log_set_level(LOG_NOTICE);
    log_debug("below the level");
    log_set_syslog(false, NULL, 0);
    log_notice("to the file only");
    assert_int_equal(syslogged.calls, 4);
}

enum { THREADS = 4, LINES = 500 };

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_notice("thread %d line %d end", (int)(intptr_t)arg, i);
    return NULL;
}

/* While the file is rotated under them: no line is lost, torn or mixed. */
static void threads_write_whole_lines(void **state)
{
    pthread_t threads[THREADS];
    int seen = 0;
    unlink(path);
    assert_int_equal(log_open(path), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, (void *)(intptr_t)i), 0);
    rename(path, moved);
    log_notice("main");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int file = 0; file < 2; file++) {
        FILE *f = fopen(file ? path : moved, "r");
        char line[256];
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            if (strstr(line, " main\n") == NULL) {
                assert_matches(line, HEAD "\\* thread [0-9] line [0-9]+ end\n$");
                seen++;
            }
        }
        if (f != NULL)
            fclose(f);
    }
    assert_int_equal(seen, THREADS * LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_the_documented_shape),
        cmocka_unit_test(levels_mark_and_filter),
        cmocka_unit_test(the_role_is_in_the_line),
        cmocka_unit_test(an_event_stays_one_line),
        cmocka_unit_test(errno_survives_and_can_be_named),
        cmocka_unit_test(a_rotated_file_is_opened_anew),
        cmocka_unit_test(a_sink_that_does_not_open_changes_nothing),
        cmocka_unit_test(stdout_is_the_sink_without_a_path),
        cmocka_unit_test(syslog_gets_the_text_and_its_priority),
        cmocka_unit_test(threads_write_whole_lines),
    };
    return cmocka_run_group_tests_name("log", tests, setup, teardown);
}
