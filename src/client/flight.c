#include "client/flight.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/random.h"

#include <errno.h>
#include <signal.h>

struct flight {
    struct flight *next; /* in its list */
    unsigned members;
    bool listed, done;
    struct flight_end end;
    pthread_cond_t finished;
    struct str key;
    char bytes[]; /* the key's */
};

static void init_cond(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

void flights_init(struct flights *fs)
{
    *fs = (struct flights){.threads = 0};
    os_random(&fs->seed, sizeof fs->seed);
    pthread_mutex_init(&fs->lock, NULL);
    init_cond(&fs->quiet);
}

void flights_release(struct flights *fs)
{
    pthread_mutex_lock(&fs->lock);
    while (fs->threads > 0)
        pthread_cond_wait(&fs->quiet, &fs->lock);
    pthread_mutex_unlock(&fs->lock);
    for (int i = 0; i < FLIGHT_LISTS; i++)
        ASSERT(fs->lists[i] == NULL); /* a call is under way in another thread */
    pthread_cond_destroy(&fs->quiet);
    pthread_mutex_destroy(&fs->lock);
}

static struct flight **list_of(struct flights *fs, struct str key)
{
    return &fs->lists[hash_seeded(key.p, key.n, &fs->seed) % FLIGHT_LISTS];
}

static struct flight **find(struct flights *fs, struct str key)
{
    struct flight **at = list_of(fs, key);
    while (*at != NULL && !str_eq((*at)->key, key))
        at = &(*at)->next;
    return at;
}

static void unlist(struct flight **at)
{
    struct flight *f = *at;
    *at = f->next;
    f->next = NULL;
    f->listed = false;
}

/* Listed, with one member. */
static struct flight *begin(struct flights *fs, struct str key)
{
    struct flight *f = mem_zalloc(sizeof *f + key.n);
    if (f == NULL)
        return NULL;
    init_cond(&f->finished);
    if (key.n > 0)
        memcpy(f->bytes, key.p, key.n);
    f->key = (struct str){f->bytes, key.n};
    f->members = 1;
    f->listed = true;
    struct flight **head = list_of(fs, key);
    f->next = *head;
    *head = f;
    return f;
}

struct flight *flight_join(struct flights *fs, struct str key, bool *leads)
{
    pthread_mutex_lock(&fs->lock);
    struct flight *f = *find(fs, key);
    *leads = f == NULL;
    if (f != NULL)
        f->members++;
    else
        f = begin(fs, key);
    pthread_mutex_unlock(&fs->lock);
    return f;
}

struct flight *flight_lead(struct flights *fs, struct str key)
{
    pthread_mutex_lock(&fs->lock);
    struct flight **at = find(fs, key);
    if (*at != NULL)
        unlist(at);
    struct flight *f = begin(fs, key);
    pthread_mutex_unlock(&fs->lock);
    return f;
}

struct str flight_key(const struct flight *f)
{
    return f->key;
}

struct flight *flight_get(struct flights *fs, struct flight *f)
{
    pthread_mutex_lock(&fs->lock);
    f->members++;
    pthread_mutex_unlock(&fs->lock);
    return f;
}

void flight_put(struct flights *fs, struct flight *f)
{
    if (f == NULL)
        return;
    pthread_mutex_lock(&fs->lock);
    ASSERT(f->members > 0);
    bool last = --f->members == 0;
    pthread_mutex_unlock(&fs->lock);
    if (!last)
        return;
    ASSERT(!f->listed);
    larder_value_free(&f->end.value);
    pthread_cond_destroy(&f->finished);
    mem_free(f);
}

static void close_locked(struct flights *fs, struct flight *f)
{
    if (!f->listed)
        return;
    struct flight **at = find(fs, f->key);
    ASSERT(*at == f);
    unlist(at);
}

void flight_close(struct flights *fs, struct flight *f)
{
    pthread_mutex_lock(&fs->lock);
    close_locked(fs, f);
    pthread_mutex_unlock(&fs->lock);
}

void flight_forget(struct flights *fs, struct str key)
{
    pthread_mutex_lock(&fs->lock);
    struct flight **at = find(fs, key);
    if (*at != NULL)
        unlist(at);
    pthread_mutex_unlock(&fs->lock);
}

void flight_forget_all(struct flights *fs)
{
    pthread_mutex_lock(&fs->lock);
    for (size_t i = 0; i < FLIGHT_LISTS; i++)
        while (fs->lists[i] != NULL)
            unlist(&fs->lists[i]);
    pthread_mutex_unlock(&fs->lock);
}

void flight_finish(struct flights *fs, struct flight *f, const struct flight_end *end)
{
    pthread_mutex_lock(&fs->lock);
    ASSERT(!f->done);
    close_locked(fs, f);
    f->end = *end;
    f->done = true;
    pthread_cond_broadcast(&f->finished);
    pthread_mutex_unlock(&fs->lock);
}

const struct flight_end *flight_wait(struct flights *fs, struct flight *f, int64_t until_ns)
{
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    int waited = 0;
    pthread_mutex_lock(&fs->lock);
    while (!f->done && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&f->finished, &fs->lock, &until);
    bool done = f->done;
    pthread_mutex_unlock(&fs->lock);
    return done ? &f->end : NULL;
}

/* ---- threads ---- */

struct errand {
    struct flights *fs;
    void (*work)(void *arg);
    void *arg;
};

static void one_less(struct flights *fs)
{
    pthread_mutex_lock(&fs->lock);
    ASSERT(fs->threads > 0);
    if (--fs->threads == 0)
        pthread_cond_broadcast(&fs->quiet);
    pthread_mutex_unlock(&fs->lock);
}

static void *run(void *arg)
{
    struct errand e = *(struct errand *)arg;
    mem_free(arg);
    e.work(e.arg);
    one_less(e.fs);
    return NULL;
}

int flight_thread(struct flights *fs, void (*work)(void *arg), void *arg)
{
    struct errand *e = mem_alloc(sizeof *e);
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    if (e == NULL)
        return ENOMEM;
    *e = (struct errand){fs, work, arg};
    pthread_mutex_lock(&fs->lock);
    fs->threads++;
    pthread_mutex_unlock(&fs->lock);
    sigfillset(&all); /* handlers are the program's, and belong on its own threads */
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&thread, &attr, run, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (err != 0) {
        one_less(fs);
        mem_free(e);
    }
    return err;
}
