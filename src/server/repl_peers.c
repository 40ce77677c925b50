#include "server/repl_peers.h"

#include "server/repl.h"
#include "server/repl_feed.h"

void repl_peer_init(struct repl_peer *p, int fd, uint64_t id, bool is_primary, int64_t now_ms)
{
    *p = (struct repl_peer){.is_primary = is_primary, .id = id, .fd = fd, .since_ms = now_ms};
    sock_peer_name(fd, p->addr);
    sock_local_name(fd, p->laddr);
}

/* As in Redis, a primary counts as one only once the stream flows. */
static void visit_primary(struct repl *r, repl_peer_fn *fn, void *arg)
{
    struct repl_peer_state st = {.heard_ms = atomic_load(&r->shown.heard_ms)};
    if (atomic_load(&r->link_up) && r->primary.id != 0 && fn(arg, &r->primary, &st))
        atomic_store(&r->kill_primary, r->primary.id);
}

void repl_each_peer(struct repl *r, repl_peer_fn *fn, void *arg)
{
    pthread_mutex_lock(&r->mutex);
    visit_primary(r, fn, arg);
    for (struct feed *f = r->feeds; f != NULL; f = f->next) {
        struct repl_peer_state st = {.heard_ms = atomic_load(&f->ack_ms), .unsent = atomic_load(&f->unsent)};
        if (feed_state(f) == FEED_GONE || !fn(arg, &f->peer, &st))
            continue;
        atomic_store(&f->kill, true);
        atomic_store(&r->kill_feeds, true);
    }
    pthread_mutex_unlock(&r->mutex);
    if (atomic_load(&r->kill_feeds) || atomic_load(&r->kill_primary) != 0)
        repl_wake(r);
}

void repl_peers_kill(struct repl *r)
{
    if (atomic_exchange(&r->kill_feeds, false))
        repl_feeds_kill(r);
    uint64_t id = atomic_exchange(&r->kill_primary, 0);
    if (id != 0 && id == r->primary.id)
        repl_link_drop(r, "killed by CLIENT KILL");
}
