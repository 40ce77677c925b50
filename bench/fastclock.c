/* A clock that runs faster, for a server that is preloaded with this library.
 *
 *      LD_PRELOAD=libfastclock.so LARDER_CLOCK_RATE=100 redis-server ...
 *
 * A trace of a day is replayed in minutes, but Redis's LRU ticks in seconds, its LFU decays in minutes
 * and memcached's TTLs are whole seconds: at a replay's pace they would see no time go by,
 * and be judged for it. So the server's own clock is made to run at the pace of the trace,
 * the same for every server, and TTLs need no scaling.
 *
 * Clocks read start + (now - start) * rate; what waits for a time waits as much shorter (a
 * timeout in milliseconds at least one). CPU clocks and the TSC are left alone: they
 * measure work. Nothing but the functions below is touched; raw system calls are not seen. */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define NS INT64_C(1000000000)

static double rate = 1;
static int64_t start_ns[CLOCK_TAI + 1];

static int64_t real_ns(clockid_t id)
{
    struct timespec ts;
    syscall(SYS_clock_gettime, id, &ts);
    return ts.tv_sec * NS + ts.tv_nsec;
}

static bool runs_fast(clockid_t id)
{
    return id >= 0 && id <= CLOCK_TAI && id != CLOCK_PROCESS_CPUTIME_ID && id != CLOCK_THREAD_CPUTIME_ID;
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("LARDER_CLOCK_RATE");
    double given = text ? strtod(text, NULL) : 1;
    for (clockid_t id = 0; id <= CLOCK_TAI; id++)
        start_ns[id] = real_ns(id);
    if (given >= 1)
        rate = given;
}

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NS, .tv_nsec = ns % NS};
}

static int64_t of_timespec(const struct timespec *ts)
{
    return ts->tv_sec * NS + ts->tv_nsec;
}

static int64_t fast_ns(clockid_t id)
{
    /* before begin() has run, time stands still */
    return start_ns[id] + (int64_t)((double)(real_ns(id) - start_ns[id]) * rate);
}

/* The real moment at which a fast clock shows `ns`. */
static int64_t real_of(clockid_t id, int64_t ns)
{
    return start_ns[id] + (int64_t)((double)(ns - start_ns[id]) / rate);
}

static struct timespec shorter(const struct timespec *ts)
{
    return to_timespec((int64_t)((double)of_timespec(ts) / rate));
}

static int shorter_ms(int ms)
{
    if (ms <= 0)
        return ms;
    int less = (int)(ms / rate);
    return less > 0 ? less : 1;
}

/* ---- reading ------------------------------------------------------------------------- */

EXPORT int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (!runs_fast(id))
        return (int)syscall(SYS_clock_gettime, id, ts);
    *ts = to_timespec(fast_ns(id));
    return 0;
}

EXPORT int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    int64_t ns = fast_ns(CLOCK_REALTIME);
    (void)zone;
    *tv = (struct timeval){.tv_sec = ns / NS, .tv_usec = ns % NS / 1000};
    return 0;
}

EXPORT time_t time(time_t *out)
{
    time_t now = fast_ns(CLOCK_REALTIME) / NS;
    if (out != NULL)
        *out = now;
    return now;
}

/* ---- waiting ------------------------------------------------------------------------- */

EXPORT int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    return epoll_pwait(fd, events, max, timeout, NULL);
}

EXPORT int epoll_pwait(int fd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
    return (int)syscall(SYS_epoll_pwait, fd, events, max, shorter_ms(timeout), mask, _NSIG / 8);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    struct timespec limit = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000L};
    limit = shorter(&limit);
    return (int)syscall(SYS_ppoll, fds, n, timeout < 0 ? NULL : &limit, NULL, _NSIG / 8);
}

EXPORT int select(int n, fd_set *restrict in, fd_set *restrict out, fd_set *restrict other,
                  struct timeval *restrict limit)
{
    struct timespec ts = {0};
    if (limit != NULL) {
        ts = (struct timespec){.tv_sec = limit->tv_sec, .tv_nsec = limit->tv_usec * 1000};
        ts = shorter(&ts);
    }
    return (int)syscall(SYS_pselect6, n, in, out, other, limit ? &ts : NULL, NULL);
}

EXPORT int nanosleep(const struct timespec *wish, struct timespec *left)
{
    struct timespec ts = shorter(wish);
    return (int)syscall(SYS_nanosleep, &ts, left);
}

EXPORT int usleep(useconds_t us)
{
    struct timespec ts = to_timespec((int64_t)us * 1000);
    return nanosleep(&ts, NULL);
}

EXPORT int clock_nanosleep(clockid_t id, int flags, const struct timespec *wish, struct timespec *left)
{
    struct timespec ts = *wish;
    if (runs_fast(id))
        ts = flags & TIMER_ABSTIME ? to_timespec(real_of(id, of_timespec(wish))) : shorter(wish);
    return syscall(SYS_clock_nanosleep, id, flags, &ts, left) < 0 ? errno : 0;
}

EXPORT int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info,
                        const struct timespec *restrict limit)
{
    struct timespec ts = limit ? shorter(limit) : (struct timespec){0};
    return (int)syscall(SYS_rt_sigtimedwait, set, info, limit ? &ts : NULL, _NSIG / 8);
}

EXPORT int timerfd_settime(int fd, int flags, const struct itimerspec *wish, struct itimerspec *old)
{
    struct itimerspec ts = {.it_interval = shorter(&wish->it_interval), .it_value = shorter(&wish->it_value)};
    if (flags & TFD_TIMER_ABSTIME && of_timespec(&wish->it_value) != 0)
        ts.it_value = to_timespec(real_of(CLOCK_MONOTONIC, of_timespec(&wish->it_value)));
    return (int)syscall(SYS_timerfd_settime, fd, flags, &ts, old);
}

/* Waits until a moment of the fast clock. Which clock that is was decided when the condition was made; a
 * moment nearer to the real-time clock than to the monotonic one belongs to the former. */
EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                                  const struct timespec *restrict until)
{
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    int64_t ns = of_timespec(until);
    clockid_t id = ns > fast_ns(CLOCK_REALTIME) / 2 ? CLOCK_REALTIME : CLOCK_MONOTONIC;
    struct timespec ts = to_timespec(real_of(id, ns));
    if (next == NULL)
        *(void **)&next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (next == NULL) /* other architectures know one version only */
        *(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return next(cond, mutex, &ts);
}
