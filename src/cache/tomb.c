#include "cache/tomb.h"

#include "base/alloc.h"
#include "base/err.h"

#include <string.h>

enum { CAP_MIN = 8 };

void tombs_release(struct tombs *t)
{
    mem_free(t->list);
    *t = (struct tombs){0};
}

/* Where `hash` is, or would be. */
static uint32_t place_of(const struct tombs *t, uint64_t hash)
{
    uint32_t low = 0, high = t->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (t->list[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const struct tomb *find(const struct tombs *t, uint64_t hash)
{
    uint32_t at = place_of(t, hash);
    return at < t->n && t->list[at].hash == hash ? &t->list[at] : NULL;
}

static struct tomb *floor_of(const struct tombs *t, uint64_t hash)
{
    return (struct tomb *)&t->floors[hash % TOMB_FLOORS];
}

/* Both at least so high; an old one whose time is over counts for nothing. */
static void raise(struct tomb *to, uint64_t version, int64_t until_ms, int64_t now_ms)
{
    if (to->until_ms <= now_ms)
        to->version = 0;
    to->version = version > to->version ? version : to->version;
    to->until_ms = until_ms > to->until_ms ? until_ms : to->until_ms;
}

static void drop_ended(struct tombs *t, int64_t now_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->list[i].until_ms > now_ms)
            t->list[kept++] = t->list[i];
    t->n = kept;
}

static void bury_first_to_end(struct tombs *t, int64_t now_ms)
{
    uint32_t first = 0;
    for (uint32_t i = 1; i < t->n; i++)
        if (t->list[i].until_ms < t->list[first].until_ms)
            first = i;
    struct tomb gone = t->list[first];
    memmove(&t->list[first], &t->list[first + 1], (t->n - first - 1) * sizeof gone);
    t->n--;
    t->overflows++;
    raise(floor_of(t, gone.hash), gone.version, gone.until_ms, now_ms);
}

/* Room for one more. False: there is no memory for it. */
static bool make_room(struct tombs *t, int64_t now_ms)
{
    if (t->n < t->cap)
        return true;
    drop_ended(t, now_ms);
    if (t->n < t->cap)
        return true;
    if (t->cap == TOMBS_MAX) {
        bury_first_to_end(t, now_ms);
        return true;
    }
    uint32_t cap = t->cap != 0 ? 2 * t->cap : CAP_MIN;
    struct tomb *list = mem_realloc(t->list, cap * sizeof *list);
    if (list == NULL)
        return false;
    t->list = list;
    t->cap = cap;
    return true;
}

void tombs_hold(struct tombs *t, uint64_t hash, uint64_t version, int64_t until_ms, int64_t now_ms)
{
    struct tomb *known = (struct tomb *)find(t, hash);
    if (known != NULL) {
        raise(known, version, until_ms, now_ms);
        return;
    }
    if (!make_room(t, now_ms)) {
        t->overflows++;
        raise(floor_of(t, hash), version, until_ms, now_ms);
        return;
    }
    uint32_t at = place_of(t, hash);
    memmove(&t->list[at + 1], &t->list[at], (t->n - at) * sizeof t->list[0]);
    t->list[at] = (struct tomb){hash, version, until_ms};
    t->n++;
}

void tombs_raise_floor(struct tombs *t, uint64_t hash, uint64_t version, int64_t until_ms, int64_t now_ms)
{
    raise(floor_of(t, hash), version, until_ms, now_ms);
}

uint64_t tombs_version(const struct tombs *t, uint64_t hash, int64_t now_ms)
{
    const struct tomb *known = find(t, hash), *floor = floor_of(t, hash);
    uint64_t version = known != NULL && known->until_ms > now_ms ? known->version : 0;
    return floor->until_ms > now_ms && floor->version > version ? floor->version : version;
}

/* ---- all of a node's ---- */

int held_init(struct held *h)
{
    h->groups = mem_zalloc(TOMB_GROUPS * sizeof *h->groups);
    return h->groups != NULL ? 0 : ERR_OOM;
}

void held_clear(struct held *h)
{
    for (uint32_t i = 0; i < TOMB_GROUPS; i++) {
        lock_hold(&h->groups[i].lock);
        tombs_release(&h->groups[i].tombs);
        lock_release(&h->groups[i].lock);
    }
}

void held_release(struct held *h)
{
    if (h->groups != NULL)
        held_clear(h);
    mem_free(h->groups);
    h->groups = NULL;
}

uint64_t held_version(const struct held *h, uint64_t hash, int64_t now_ms)
{
    struct tomb_group *g = held_group(h, hash);
    lock_hold(&g->lock);
    uint64_t version = tombs_version(&g->tombs, hash, now_ms);
    lock_release(&g->lock);
    return version;
}

void held_hold(struct held *h, uint64_t hash, uint64_t version, int64_t until_ms, int64_t now_ms)
{
    struct tomb_group *g = held_group(h, hash);
    lock_hold(&g->lock);
    tombs_hold(&g->tombs, hash, version, until_ms, now_ms);
    lock_release(&g->lock);
}
