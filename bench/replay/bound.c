/* The size-aware bound relaxes the problem until sorting solves it (PFOO-L: Berger,
 * Beckmann and Harchol-Balter, "Practical bounds on optimal caching with variable object
 * sizes", SIGMETRICS 2018):
 *
 *      requests   a  b  a  c  b  a        a hit is an interval between two requests of a
 *      a          [=====)                 key, during which its bytes must be kept; it costs
 *      b             [========)           bytes x length. A cache of C bytes can spend at
 *      a                [========)        most C x (all requests) in all.
 *
 * Whoever may spend that freely, rather than C at each moment, takes the cheapest
 * intervals first, and no real cache can have more hits. Sharpened where it is free: an
 * interval longer than its TTL is never a hit, and no cache beats one without limits. An
 * object counts with the smallest value its key ever has, so the bound holds for traces
 * whose sizes change, too.
 *
 * Rejected: the min-cost flow that PFOO relaxes (days for millions of requests), and its
 * upper bound PFOO-U (says what is reachable, not what is impossible). */
#include "bench/replay/bound.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "bench/replay/stats.h"

#include <stdlib.h>
#include <string.h>

#define NEVER UINT32_MAX

/* ---- exact LRU ----------------------------------------------------------------------- */

/* A ring through all resident keys and a sentinel behind them: next is colder. */
struct lru {
    uint32_t *colder, *warmer;
    uint32_t *stored; /* request that stored it, NEVER: not resident */
    uint32_t end;
    uint64_t bytes;
};

static void lru_unlink(struct lru *l, uint32_t key)
{
    l->colder[l->warmer[key]] = l->colder[key];
    l->warmer[l->colder[key]] = l->warmer[key];
}

static void lru_link(struct lru *l, uint32_t key)
{
    l->warmer[key] = l->end;
    l->colder[key] = l->colder[l->end];
    l->warmer[l->colder[key]] = key;
    l->colder[l->end] = key;
}

static void lru_drop(struct lru *l, const struct trace *t, uint32_t key)
{
    lru_unlink(l, key);
    l->bytes -= trace_object_bytes(t, &t->requests[l->stored[key]]);
    l->stored[key] = NEVER;
}

static void lru_store(struct lru *l, const struct trace *t, uint32_t i, uint64_t capacity)
{
    const struct trace_request *r = &t->requests[i];
    if (trace_object_bytes(t, r) > capacity)
        return;
    l->bytes += trace_object_bytes(t, r);
    while (l->bytes > capacity)
        lru_drop(l, t, l->warmer[l->end]);
    l->stored[r->key] = i;
    lru_link(l, r->key);
}

uint64_t bound_lru(const struct trace *t, uint64_t capacity)
{
    struct lru l = {.end = (uint32_t)t->keys};
    uint64_t misses = 0;
    l.colder = mem_must(mem_alloc((t->keys + 1) * sizeof *l.colder));
    l.warmer = mem_must(mem_alloc((t->keys + 1) * sizeof *l.warmer));
    l.stored = mem_must(mem_alloc(t->keys * sizeof *l.stored));
    memset(l.stored, 0xff, t->keys * sizeof *l.stored);
    l.colder[l.end] = l.warmer[l.end] = l.end;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct trace_request *r = &t->requests[i];
        uint32_t stored = l.stored[r->key];
        if (stored != NEVER && trace_alive(&t->requests[stored], r)) {
            lru_unlink(&l, r->key);
            lru_link(&l, r->key);
            continue;
        }
        misses++;
        if (stored != NEVER)
            lru_drop(&l, t, r->key);
        lru_store(&l, t, i, capacity);
    }
    mem_free(l.colder);
    mem_free(l.warmer);
    mem_free(l.stored);
    return misses;
}

/* ---- Belady ---------------------------------------------------------------------------- */

/* For each request the next one of its key, or NEVER. Returned owned. */
static uint32_t *next_uses(const struct trace *t)
{
    uint32_t *next = mem_must(mem_alloc(t->n * sizeof *next));
    uint32_t *last = mem_must(mem_alloc(t->keys * sizeof *last));
    memset(last, 0xff, t->keys * sizeof *last);
    for (uint64_t i = t->n; i-- > 0;) {
        next[i] = last[t->requests[i].key];
        last[t->requests[i].key] = (uint32_t)i;
    }
    mem_free(last);
    return next;
}

/* A heap of next uses, the farthest on top. A request index names its key, so the index is
 * all it holds; those that have come to pass sink to the bottom and are never looked at. */
struct heap {
    uint32_t *at;
    uint64_t n;
};

static void heap_push(struct heap *h, uint32_t v)
{
    uint64_t i = h->n++;
    for (; i > 0 && h->at[(i - 1) / 2] < v; i = (i - 1) / 2)
        h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = v;
}

static uint32_t heap_pop(struct heap *h)
{
    ASSERT(h->n > 0);
    uint32_t top = h->at[0], v = h->at[--h->n];
    uint64_t i = 0;
    for (uint64_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->at[child + 1] > h->at[child])
            child++;
        if (h->at[child] <= v)
            break;
        h->at[i] = h->at[child];
    }
    h->at[i] = v;
    return top;
}

uint64_t bound_belady(const struct trace *t, uint64_t objects)
{
    uint32_t *next = next_uses(t);
    uint32_t *stored = mem_must(mem_alloc(t->keys * sizeof *stored));
    struct heap heap = {.at = mem_must(mem_alloc(t->n * sizeof *heap.at))};
    uint64_t misses = 0, resident = 0;
    memset(stored, 0xff, t->keys * sizeof *stored);
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t key = t->requests[i].key;
        if (stored[key] == NEVER) {
            misses++;
            stored[key] = i;
            resident++;
        }
        if (next[i] == NEVER || !trace_alive(&t->requests[stored[key]], &t->requests[next[i]])) {
            stored[key] = NEVER;
            resident--;
            continue;
        }
        heap_push(&heap, next[i]);
        if (resident > objects) {
            stored[t->requests[heap_pop(&heap)].key] = NEVER;
            resident--;
        }
    }
    mem_free(next);
    mem_free(stored);
    mem_free(heap.at);
    return misses;
}

/* ---- sizes ----------------------------------------------------------------------------- */

static int by_cost(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t *smallest_values(const struct trace *t)
{
    uint32_t *smallest = mem_must(mem_alloc(t->keys * sizeof *smallest));
    memset(smallest, 0xff, t->keys * sizeof *smallest);
    for (uint64_t i = 0; i < t->n; i++)
        if (t->requests[i].bytes < smallest[t->requests[i].key])
            smallest[t->requests[i].key] = t->requests[i].bytes;
    return smallest;
}

/* What each interval that could be a hit costs, sorted. Returned owned. */
static uint64_t *interval_costs(const struct trace *t, uint64_t *n)
{
    uint64_t *costs = mem_must(mem_alloc(t->n * sizeof *costs));
    uint32_t *next = next_uses(t), *smallest = smallest_values(t);
    *n = 0;
    for (uint64_t i = 0; i < t->n; i++)
        if (next[i] != NEVER && trace_alive(&t->requests[i], &t->requests[next[i]]))
            costs[(*n)++] = (next[i] - i) * ((uint64_t)t->key_bytes + smallest[t->requests[i].key]);
    mem_free(next);
    mem_free(smallest);
    qsort(costs, *n, sizeof *costs, by_cost);
    return costs;
}

void bound_sized(const struct trace *t, const uint64_t *capacity, unsigned n, uint64_t *misses)
{
    struct stats stats;
    uint64_t intervals, *costs = interval_costs(t, &intervals);
    stats_of(t, &stats);
    for (unsigned c = 0; c < n; c++) {
        unsigned __int128 left = (unsigned __int128)capacity[c] * t->n;
        uint64_t hits = 0;
        for (; hits < intervals && costs[hits] <= left; hits++)
            left -= costs[hits];
        misses[c] = t->n - hits;
        if (misses[c] < stats_unavoidable(&stats))
            misses[c] = stats_unavoidable(&stats);
    }
    mem_free(costs);
}
