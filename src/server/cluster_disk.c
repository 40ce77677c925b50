#include "server/cluster_disk.h"

#include "base/assert.h"
#include "os/clock.h"
#include "os/thread.h"
#include "server/crash.h"

#include <errno.h>
#include <time.h>

void cluster_disk_init(struct cluster_disk *d, struct loop *loop)
{
    pthread_condattr_t attr;
    *d = (struct cluster_disk){.file = {.journal = -1}, .loop = loop};
    buf_init(&d->text);
    pthread_mutex_init(&d->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &attr);
    pthread_condattr_destroy(&attr);
}

static void write_it(struct cluster_disk *d)
{
    struct str text = buf_str(&d->text);
    d->ok = d->how == DISK_KEEP ? cluster_file_keep(&d->file, text)
                                : cluster_file_write(&d->file, text, d->how == DISK_SYNC);
    d->error = errno;
}

static void *disk_main(void *arg)
{
    struct cluster_disk *d = arg;
    pthread_setname_np(pthread_self(), "cluster-disk");
    crash_thread_begin();
    pthread_mutex_lock(&d->mutex);
    while (!d->stop) {
        if (d->state != DISK_WRITES) {
            pthread_cond_wait(&d->changed, &d->mutex);
            continue;
        }
        pthread_mutex_unlock(&d->mutex);
        write_it(d);
        pthread_mutex_lock(&d->mutex);
        d->state = DISK_HAS_WRITTEN;
        pthread_cond_broadcast(&d->changed);
        if (d->wakes)
            loop_wake(d->loop);
    }
    pthread_mutex_unlock(&d->mutex);
    crash_thread_end();
    return NULL;
}

int cluster_disk_start(struct cluster_disk *d)
{
    return os_thread_start(&d->thread, &d->runs, disk_main, d);
}

bool cluster_disk_put(struct cluster_disk *d, struct str text, enum cluster_disk_how how, uint64_t seq)
{
    ASSERT(d->state == DISK_RESTS);
    buf_clear(&d->text);
    if (buf_append(&d->text, text.p, text.n) != 0) {
        d->text.oom = false;
        errno = ENOMEM;
        return false;
    }
    d->how = how;
    d->seq = seq;
    d->wakes = false;
    if (!d->runs) {
        write_it(d);
        d->state = DISK_HAS_WRITTEN;
        return true;
    }
    pthread_mutex_lock(&d->mutex);
    d->state = DISK_WRITES;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    return true;
}

bool cluster_disk_done(struct cluster_disk *d, int ms)
{
    int64_t until_ns = os_mono_ns() + ms * 1000000LL;
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    pthread_mutex_lock(&d->mutex);
    int rc = ms == 0 ? ETIMEDOUT : 0;
    while (d->state == DISK_WRITES && rc == 0)
        rc = pthread_cond_timedwait(&d->changed, &d->mutex, &until);
    bool done = d->state == DISK_HAS_WRITTEN;
    d->wakes = !done;
    if (done)
        d->state = DISK_RESTS;
    pthread_mutex_unlock(&d->mutex);
    return done;
}

void cluster_disk_end(struct cluster_disk *d)
{
    if (!d->runs)
        return;
    pthread_mutex_lock(&d->mutex);
    d->stop = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    pthread_join(d->thread, NULL);
    d->runs = false;
}

void cluster_disk_release(struct cluster_disk *d)
{
    ASSERT(!d->runs);
    cluster_file_release(&d->file);
    buf_release(&d->text);
    pthread_mutex_destroy(&d->mutex);
    pthread_cond_destroy(&d->changed);
}
