/* Looking at the replicas that this node feeds: who is there, how far they are. */
#include "server/repl.h"
#include "server/repl_feed.h"

bool repl_feeds_any(const struct repl *r)
{
    for (const struct feed *f = r->feeds; f != NULL; f = f->next)
        if (feed_state(f) != FEED_GONE)
            return true;
    return false;
}

const struct feed *repl_feed_find(const struct repl *r, struct str host, int64_t port)
{
    for (const struct feed *f = r->feeds; f != NULL; f = f->next)
        if (feed_state(f) != FEED_GONE && f->joiner.port == port && str_eq_nocase(host, str_of(f->ip)))
            return f;
    return NULL;
}

const struct feed *repl_feed_in_step(const struct repl *r, const char *host, int port)
{
    const struct feed *one = host[0] != '\0' ? repl_feed_find(r, str_of(host), port) : NULL;
    for (const struct feed *f = r->feeds; f != NULL; f = f->next)
        if (feed_state(f) == FEED_STREAM && atomic_load(&f->ack) == repl_offset(r) &&
            (host[0] == '\0' || f == one))
            return f;
    return NULL;
}

uint32_t repl_feeds_acked(struct repl *r, uint64_t offset, int64_t since_ms)
{
    uint32_t n = 0;
    pthread_mutex_lock(&r->mutex);
    for (const struct feed *f = r->feeds; f != NULL; f = f->next)
        n += feed_state(f) == FEED_STREAM && atomic_load(&f->ack) >= offset &&
             atomic_load(&f->ack_ms) >= since_ms;
    pthread_mutex_unlock(&r->mutex);
    return n;
}

uint32_t repl_feeds_fsynced(struct repl *r, uint64_t offset)
{
    uint32_t n = 0;
    pthread_mutex_lock(&r->mutex);
    for (const struct feed *f = r->feeds; f != NULL; f = f->next)
        n += feed_state(f) == FEED_STREAM && atomic_load(&f->fack) >= offset;
    pthread_mutex_unlock(&r->mutex);
    return n;
}

bool repl_feeds_lag(struct repl *r, uint64_t offset)
{
    bool lag = false;
    pthread_mutex_lock(&r->mutex);
    for (const struct feed *f = r->feeds; f != NULL; f = f->next)
        lag |= feed_state(f) >= FEED_LOAD && atomic_load(&f->ack) < offset;
    pthread_mutex_unlock(&r->mutex);
    return lag;
}

const char *feed_state_name(const struct feed *f)
{
    static const char *const names[] = {"wait_bgsave", "wait_bgsave", "send_bulk", "send_bulk", "online"};
    return names[feed_state(f)];
}
