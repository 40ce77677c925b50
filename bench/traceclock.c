/* A server's clock, moved by whoever replays a trace to it. Preloaded:
 *
 *      LD_PRELOAD=libtraceclock.so LARDER_CLOCK_FILE=/path redis-server ...
 *
 * A trace of a day is replayed in a minute, but Redis's LRU ticks in seconds, its LFU decays in
 * minutes and memcached's TTLs are whole seconds: by a real clock they would see no time
 * go by, and be judged for it. Compressing the TTLs does not help the other two. So the
 * server's clock shows the time of the trace: the file holds one 64-bit number, nanoseconds
 * by which all clocks are ahead, which only grows.
 *
 * What waits for a moment looks every millisecond whether it has come. CPU clocks and the
 * TSC are left alone: they measure work. Raw system calls are not seen. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define NS INT64_C(1000000000)
#define LOOK_NS INT64_C(1000000)

static const int64_t *ahead; /* NULL: the clocks are the real ones */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("LARDER_CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p != MAP_FAILED)
        ahead = p;
    if (fd >= 0)
        close(fd);
}

static bool is_moved(clockid_t id)
{
    return ahead != NULL && id >= 0 && id <= CLOCK_TAI && id != CLOCK_PROCESS_CPUTIME_ID &&
           id != CLOCK_THREAD_CPUTIME_ID;
}

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NS, .tv_nsec = ns % NS};
}

static int64_t of_timespec(const struct timespec *ts)
{
    return ts->tv_sec * NS + ts->tv_nsec;
}

static int64_t real_ns(clockid_t id)
{
    struct timespec ts;
    syscall(SYS_clock_gettime, id, &ts);
    return of_timespec(&ts);
}

static int64_t now_ns(clockid_t id)
{
    return real_ns(id) + (is_moved(id) ? __atomic_load_n(ahead, __ATOMIC_RELAXED) : 0);
}

/* ---- reading ------------------------------------------------------------------------- */

EXPORT int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (!is_moved(id))
        return (int)syscall(SYS_clock_gettime, id, ts);
    *ts = to_timespec(now_ns(id));
    return 0;
}

EXPORT int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    int64_t ns = now_ns(CLOCK_REALTIME);
    (void)zone;
    *tv = (struct timeval){.tv_sec = ns / NS, .tv_usec = ns % NS / 1000};
    return 0;
}

EXPORT time_t time(time_t *out)
{
    time_t now = now_ns(CLOCK_REALTIME) / NS;
    if (out != NULL)
        *out = now;
    return now;
}

/* ---- waiting ------------------------------------------------------------------------- */

/* Event loops ask the clock themselves when they wake, so for them a short wait is enough. */
static struct timespec glance(int64_t ns)
{
    return to_timespec(ahead != NULL && ns > LOOK_NS ? LOOK_NS : ns);
}

EXPORT int epoll_pwait(int fd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
    if (ahead != NULL && timeout > 1)
        timeout = 1;
    return (int)syscall(SYS_epoll_pwait, fd, events, max, timeout, mask, _NSIG / 8);
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    return epoll_pwait(fd, events, max, timeout, NULL);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    struct timespec limit = glance(timeout * LOOK_NS);
    return (int)syscall(SYS_ppoll, fds, n, timeout < 0 ? NULL : &limit, NULL, _NSIG / 8);
}

EXPORT int select(int n, fd_set *restrict in, fd_set *restrict out, fd_set *restrict other,
                  struct timeval *restrict limit)
{
    struct timespec ts = glance(limit ? limit->tv_sec * NS + limit->tv_usec * 1000 : 0);
    return (int)syscall(SYS_pselect6, n, in, out, other, limit ? &ts : NULL, NULL);
}

EXPORT int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info,
                        const struct timespec *restrict limit)
{
    struct timespec ts = glance(limit ? of_timespec(limit) : 0);
    return (int)syscall(SYS_rt_sigtimedwait, set, info, limit ? &ts : NULL, _NSIG / 8);
}

EXPORT int clock_nanosleep(clockid_t id, int flags, const struct timespec *wish, struct timespec *left)
{
    if (!is_moved(id))
        return syscall(SYS_clock_nanosleep, id, flags, wish, left) < 0 ? errno : 0;
    int64_t until = of_timespec(wish) + (flags & TIMER_ABSTIME ? 0 : now_ns(id)), wait;
    while ((wait = until - now_ns(id)) > 0) {
        struct timespec ts = glance(wait);
        if (syscall(SYS_nanosleep, &ts, NULL) < 0) {
            if (left != NULL)
                *left = to_timespec(wait);
            return errno;
        }
    }
    return 0;
}

EXPORT int nanosleep(const struct timespec *wish, struct timespec *left)
{
    int rc = clock_nanosleep(CLOCK_MONOTONIC, 0, wish, left);
    errno = rc != 0 ? rc : errno;
    return rc != 0 ? -1 : 0;
}

EXPORT int usleep(useconds_t us)
{
    struct timespec ts = to_timespec((int64_t)us * 1000);
    return nanosleep(&ts, NULL);
}

typedef int timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

static timedwait *real_timedwait(void)
{
    void *p = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* the older one is another type */
    return (timedwait *)(p ? p : dlsym(RTLD_NEXT, "pthread_cond_timedwait"));
}

/* A wait that ends early is a spurious wake-up, which every caller must expect. Which clock it
 * goes by was decided when the condition was made; a moment nearer to the real-time clock than to the
 * monotonic one belongs to the former. */
EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                                  const struct timespec *restrict until)
{
    static timedwait *next;
    if (next == NULL)
        next = real_timedwait();
    if (ahead == NULL)
        return next(cond, mutex, until);
    int64_t ns = of_timespec(until);
    clockid_t id = ns > real_ns(CLOCK_REALTIME) / 2 ? CLOCK_REALTIME : CLOCK_MONOTONIC;
    int64_t wait = ns - now_ns(id);
    if (wait <= 0)
        return ETIMEDOUT;
    struct timespec ts = to_timespec(real_ns(id) + (wait < LOOK_NS ? wait : LOOK_NS));
    int rc = next(cond, mutex, &ts);
    return rc == ETIMEDOUT && now_ns(id) < ns ? 0 : rc;
}
