/* The order of things that leaves nobody out:
 *
 *   writer               publish; then read `n`, or hand                   (seq_cst)
 *   replication thread   upto = 0; n = n + 1; then read what is published  (seq_cst, the lock held)
 *
 * Either the writer sees the new link, or the link is handed what the writer has published. */
#include "server/repl_hand.h"

#include "base/assert.h"
#include "base/err.h"
#include "os/sock.h"
#include "server/repl_feed.h"
#include "server/server.h"

enum hand_pace {
    HAND_TRIES = 100,   /* some microseconds: as long as a send() takes */
    HAND_HOLDS_MAX = 7, /* then all of it is sent */
};

/* All that is published, to one link. False: it keeps up no more. Lock held. A process that dies with
 * something unread in a socket resets the connection, and what is held back is gone. */
static bool hand_to(struct repl *r, struct feed *f, bool more)
{
    DEBUG_ASSERT(f->out.n == 0 && f->out.cap >= REPL_READ_SIZE);
    int64_t n;
    more = more && !sock_has_input(f->fd);
    do {
        n = changelog_read(&r->log, &f->reader, f->out.p, REPL_READ_SIZE);
        f->out.n = n > 0 ? (size_t)n : 0;
        if (n < 0 || (n > 0 && feed_send(r, f, more) != 0))
            return false;
    } while (n == REPL_READ_SIZE);
    return true;
}

static void unlist(struct hand *h, struct feed **at)
{
    struct feed *f = *at;
    *at = f->hand_next;
    atomic_store_explicit(&h->n, atomic_load_explicit(&h->n, memory_order_relaxed) - 1, memory_order_seq_cst);
    atomic_store_explicit(&f->keeps_up, false, memory_order_release);
}

/* Lock held. */
static void push_locked(struct hand *h)
{
    for (struct feed *f = h->feeds; f != NULL; f = f->hand_next)
        sock_set_nodelay(f->fd);
    atomic_store_explicit(&h->holds, 0, memory_order_relaxed);
}

/* Lock held. True: some link has left the list, and the replication thread must know. */
static bool hand_locked(struct repl *r, bool more)
{
    struct hand *h = &r->hand;
    uint32_t holds = atomic_load_explicit(&h->holds, memory_order_relaxed);
    more = more && holds < HAND_HOLDS_MAX;
    uint64_t upto = UINT64_MAX;
    bool left = false, all_sent = true;
    for (struct feed **at = &h->feeds; *at != NULL;) {
        struct feed *f = *at;
        uint64_t from = f->reader.at;
        if (!hand_to(r, f, more)) {
            unlist(h, at);
            left = true;
            continue;
        }
        upto = f->reader.at < upto ? f->reader.at : upto;
        all_sent &= f->reader.at > from; /* that takes along what was held back */
        at = &f->hand_next;
    }
    atomic_store_explicit(&h->upto, upto, memory_order_release);
    atomic_store_explicit(&h->holds, more ? holds + 1 : all_sent ? 0 : holds, memory_order_relaxed);
    return left;
}

bool repl_hand(struct repl *r, uint64_t end, bool more)
{
    struct hand *h = &r->hand;
    uint64_t head = changelog_head(&r->log);
    if (end > head)
        end = head; /* it was of another history, before the role changed */
    for (int i = 0; i < HAND_TRIES && !hand_is_done(h, end); i++) {
        if (!lock_try(&h->lock)) {
            cpu_relax();
            continue;
        }
        bool left = hand_locked(r, more);
        lock_release(&h->lock);
        if (left)
            repl_wake(r);
    }
    return hand_is_done(h, end);
}

bool repl_push(struct repl *r)
{
    struct hand *h = &r->hand;
    if (!hand_holds(h))
        return true;
    if (!lock_try(&h->lock))
        return false;
    push_locked(h);
    lock_release(&h->lock);
    return true;
}

void repl_hand_add(struct repl *r, struct feed *f)
{
    struct hand *h = &r->hand;
    ASSERT(!feed_keeps_up(f) && f->out.n == 0);
    lock_hold(&h->lock);
    atomic_store_explicit(&h->upto, 0, memory_order_release);
    f->hand_next = h->feeds;
    h->feeds = f;
    atomic_store_explicit(&f->keeps_up, true, memory_order_release);
    atomic_store_explicit(&h->n, atomic_load_explicit(&h->n, memory_order_relaxed) + 1, memory_order_seq_cst);
    bool left = hand_locked(r, false);
    lock_release(&h->lock);
    if (left)
        repl_wake(r);
}

void repl_hand_remove(struct repl *r, struct feed *f)
{
    struct hand *h = &r->hand;
    lock_hold(&h->lock);
    for (struct feed **at = &h->feeds; *at != NULL; at = &(*at)->hand_next) {
        if (*at == f) {
            unlist(h, at);
            break;
        }
    }
    lock_release(&h->lock);
}
