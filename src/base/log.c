/* The sink is a descriptor number that never changes while the log is open: a new
 * file is put under the same number by dup3(), so neither a writer on another
 * thread nor the crash handler can meet a closed one.
 *
 * A file that was renamed away or removed (logrotate without a hook, as Debian sets
 * it up for Redis) is opened anew before the next line: one stat() a line, which is
 * cheap against the write. */
#include "base/log.h"

#include "base/assert.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LEVELS = LOG_NOTHING, LEVEL_AT_START = LOG_NOTICE, LINE_BYTES = 2048 };

/* From here on LOG_DEBUG and its like are syslog's priorities. */
#include <syslog.h>

static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING};
_Static_assert(sizeof priorities / sizeof priorities[0] == LEVELS, "one priority a level");

static struct {
    _Atomic int level;
    _Atomic char role;
    _Atomic bool to_syslog;
    _Atomic int fd;
    pthread_mutex_t lock; /* guards path and ident, and orders reopening and writing */
    char path[4096];      /* "" = stdout */
    char ident[64];       /* openlog() keeps the pointer */
} sink = {.level = LEVEL_AT_START, .role = 'M', .fd = STDOUT_FILENO, .lock = PTHREAD_MUTEX_INITIALIZER};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

/* Make `fd` the sink's file. Caller holds sink.lock. */
static int use_file(int fd)
{
    int now = atomic_load(&sink.fd);
    if (now == STDOUT_FILENO) {
        atomic_store(&sink.fd, fd);
        return 0;
    }
    int moved = dup3(fd, now, O_CLOEXEC);
    close(fd);
    return moved < 0 ? ERR_IO : 0;
}

int log_open(const char *path)
{
    if (path == NULL)
        path = "";
    size_t n = strlen(path);
    if (n >= sizeof sink.path) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    int fd = n > 0 ? open_file(path) : -1;
    if (n > 0 && fd < 0)
        return ERR_IO;
    int err = 0;
    pthread_mutex_lock(&sink.lock);
    if (n > 0)
        err = use_file(fd);
    else
        atomic_store(&sink.fd, STDOUT_FILENO); /* the old descriptor stays open for who is using it */
    if (err == 0)
        memcpy(sink.path, path, n + 1);
    pthread_mutex_unlock(&sink.lock);
    return err;
}

void log_set_level(enum log_level level)
{
    atomic_store(&sink.level, (int)level);
}

enum log_level log_level_now(void)
{
    return (enum log_level)atomic_load_explicit(&sink.level, memory_order_relaxed);
}

void log_set_role(char role)
{
    atomic_store(&sink.role, role);
}

void log_set_syslog(bool on, const char *ident, int facility)
{
    pthread_mutex_lock(&sink.lock);
    closelog();
    if (on) {
        snprintf(sink.ident, sizeof sink.ident, "%s", ident != NULL ? ident : "larder");
        openlog(sink.ident, LOG_PID | LOG_NDELAY | LOG_NOWAIT, facility);
    }
    atomic_store(&sink.to_syslog, on);
    pthread_mutex_unlock(&sink.lock);
}

static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t wrote = write(fd, p, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return; /* a log that cannot be written has nobody to tell */
        p += wrote;
        n -= (size_t)wrote;
    }
}

/* Caller holds sink.lock. */
static void follow_rotation(void)
{
    struct stat named, opened;
    if (sink.path[0] == '\0' || fstat(atomic_load(&sink.fd), &opened) < 0)
        return;
    if (stat(sink.path, &named) == 0 && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev)
        return;
    int fd = open_file(sink.path);
    if (fd >= 0)
        (void)use_file(fd);
}

static size_t put_head(char *line, size_t room, enum log_level level)
{
    struct timespec now;
    struct tm tm;
    char date[64];
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    strftime(date, sizeof date, "%d %b %Y %H:%M:%S", &tm);
    int n = snprintf(line, room, "%d:%c %s.%03d %c ", (int)getpid(), (char)atomic_load(&sink.role), date,
                     (int)(now.tv_nsec / 1000000), ".-*#"[level]);
    return (size_t)n;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if ((int)level < atomic_load_explicit(&sink.level, memory_order_relaxed) || (int)level >= LEVELS)
        return;
    int saved = errno;
    char line[LINE_BYTES];
    size_t head = put_head(line, sizeof line, level), n;
    va_list ap;
    va_start(ap, fmt);
    errno = saved; /* for %m */
    int wanted = vsnprintf(line + head, sizeof line - head - 1, fmt, ap);
    va_end(ap);
    if (wanted < 0)
        return;
    n = head + strnlen(line + head, sizeof line - head - 1);
    for (size_t i = head; i < n; i++) /* what clients sent may be in it: one event stays one line */
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    if (atomic_load(&sink.to_syslog))
        syslog(priorities[level], "%s", line + head);
    line[n++] = '\n';
    pthread_mutex_lock(&sink.lock);
    follow_rotation();
    write_all(atomic_load(&sink.fd), line, n);
    pthread_mutex_unlock(&sink.lock);
    errno = saved;
}

void log_raw(const char *p, unsigned long n)
{
    write_all(atomic_load(&sink.fd), p, n);
}
