#include "server/clients.h"

#include "base/log.h"
#include "server/server.h"

/* ---- accounts ------------------------------------------------------------------------------- */

static void note_recent(struct counter *largest, uint64_t bytes)
{
    if (bytes > counter_read(largest))
        counter_set(largest, bytes);
}

void clients_tick(struct worker *w, int64_t now_ms)
{
    int64_t now_s = now_ms / 1000, passed = now_s - w->clients_s;
    if (likely(passed == 0))
        return;
    if (passed < 0 || passed > CLIENTS_RECENT_S)
        passed = CLIENTS_RECENT_S;
    for (int64_t i = 0; i < passed; i++) {
        unsigned slot = (unsigned)((now_s - i) % CLIENTS_RECENT_S);
        counter_set(&w->clients.recent_in[slot], 0);
        counter_set(&w->clients.recent_out[slot], 0);
    }
    w->clients_s = now_s;
}

void clients_note(struct conn *c)
{
    size_t bytes = conn_memory(c);
    if (likely(bytes == c->mem_noted))
        return;
    struct worker *w = c->worker;
    counter_add(&w->clients.bytes, bytes - c->mem_noted); /* wraps round and back when it is less */
    c->mem_noted = bytes;
    clients_tick(w, w->now_ms); /* or the next tick would forget what is noted before it in a new second */
    unsigned slot = (unsigned)(w->now_ms / 1000 % CLIENTS_RECENT_S);
    note_recent(&w->clients.recent_in[slot], c->in.cap);
    note_recent(&w->clients.recent_out[slot], conn_unsent(c));
}

void clients_forget(struct conn *c)
{
    counter_add(&c->worker->clients.bytes, 0 - c->mem_noted);
    c->mem_noted = 0;
}

uint64_t clients_memory(const struct server *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->nworkers; i++)
        sum += counter_read(&s->workers[i].clients.bytes);
    return sum;
}

void clients_recent(const struct server *s, uint64_t *in, uint64_t *out)
{
    *in = *out = 0;
    for (uint32_t i = 0; i < s->nworkers; i++) {
        const struct clients *cl = &s->workers[i].clients;
        for (unsigned k = 0; k < CLIENTS_RECENT_S; k++) {
            uint64_t a = counter_read(&cl->recent_in[k]), b = counter_read(&cl->recent_out[k]);
            *in = a > *in ? a : *in;
            *out = b > *out ? b : *out;
        }
    }
}

/* ---- eviction --------------------------------------------------------------------------------- */

uint64_t clients_memory_limit(const struct config *cfg)
{
    uint64_t limit = (uint64_t)cfg->maxmemory_clients;
    if (cfg->maxmemory_clients < 0)
        limit = cfg->maxmemory / 100 * (uint64_t)-cfg->maxmemory_clients;
    if (limit == 0)
        return 0;
    return limit < CLIENTS_LIMIT_MIN ? CLIENTS_LIMIT_MIN : limit;
}

static struct conn *find_biggest(struct worker *w)
{
    struct conn *biggest = NULL;
    for (struct conn *c = w->conns; c != NULL; c = c->next)
        if (!c->session.no_evict && (biggest == NULL || c->mem_noted > biggest->mem_noted))
            biggest = c;
    counter_set(&w->clients.biggest, biggest != NULL ? biggest->mem_noted : 0);
    return biggest;
}

/* The worker that has published the biggest connection. */
static struct worker *find_worst(struct worker *w)
{
    struct server *s = w->server;
    struct worker *worst = w;
    for (uint32_t i = 0; i < s->nworkers; i++)
        if (counter_read(&s->workers[i].clients.biggest) > counter_read(&worst->clients.biggest))
            worst = &s->workers[i];
    return worst;
}

static void evict(struct worker *w, struct conn *c)
{
    char peer[ADDRESS_TEXT];
    conn_peer_text(c, peer);
    log_notice("Evicting client id=%llu addr=%s: its %zu bytes are the most of all, and all clients together "
               "are beyond maxmemory-clients.",
               (unsigned long long)c->session.id, peer, c->mem_noted);
    counter_add(&w->metrics.evicted_clients, 1);
    conn_close(c, "evicted: maxmemory-clients");
}

/* Relief's mutex held. False when there is nothing more to do here. */
static bool evict_one(struct worker *w)
{
    struct server *s = w->server;
    if (clients_memory(s) <= s->clients_max_mem)
        return false;
    struct conn *c = find_biggest(w);
    struct worker *worst = find_worst(w);
    if (worst != w)
        loop_wake(worst->loop);
    else if (c != NULL)
        evict(w, c);
    return worst == w && c != NULL;
}

void clients_relieve(struct worker *w)
{
    struct server *s = w->server;
    if (likely(s->clients_max_mem == 0) || clients_memory(s) <= s->clients_max_mem)
        return;
    pthread_mutex_lock(&s->relief);
    unsigned n = 0;
    while (n < CLIENTS_EVICT_A_ROUND && evict_one(w))
        n++;
    pthread_mutex_unlock(&s->relief);
    if (n == CLIENTS_EVICT_A_ROUND)
        loop_wake(w->loop); /* more of it in the next round */
}
