#include "server/pages.h"

#include "os/clock.h"
#include "os/thread.h"
#include "server/crash.h"
#include "store/store.h"

#include <errno.h>

/* True when it is to end. */
static bool nap(struct pages *p, int ms)
{
    struct timespec until;
    int64_t ns = os_mono_ns() + (int64_t)ms * 1000000;
    until = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    int rc;
    do {
        rc = sem_clockwait(&p->end, CLOCK_MONOTONIC, &until);
    } while (rc != 0 && errno == EINTR);
    return rc == 0;
}

static void *pages_main(void *arg)
{
    struct pages *p = arg;
    int ms = PAGES_NAP_MAX_MS;
    pthread_setname_np(pthread_self(), "pages");
    crash_thread_begin();
    os_thread_give_way();
    while (!nap(p, ms)) {
        bool busy = store_prepare(p->store);
        ms = busy ? PAGES_NAP_MIN_MS : ms < PAGES_NAP_MAX_MS ? 2 * ms : PAGES_NAP_MAX_MS;
    }
    crash_thread_end();
    return NULL;
}

int pages_start(struct pages *p, struct store *s)
{
    p->store = s;
    sem_init(&p->end, 0, 0);
    return os_thread_start(&p->thread, &p->started, pages_main, p);
}

void pages_end(struct pages *p)
{
    if (!p->started)
        return;
    sem_post(&p->end);
    pthread_join(p->thread, NULL);
    sem_destroy(&p->end);
    p->started = false;
}
