#include "store/shadow.h"

#include "base/assert.h"
#include "store/region.h"
#include "store/segment.h"

#include <string.h>

enum {
    MEMORY_SHARE = 64, /* of maxmemory, at the most */
    NODES_MIN = 512,   /* fewer tell nothing */
    NODES_MAX = 8192,
    RATE_MOST = 4,     /* one key in so many at first */
    SPARSE_SHARE = 8,  /* fewer nodes in use than 1/8: twice the sample */
    WINDOW_SHARE = 2,  /* counts are halved after 1/2 miss for each node: what matters may change soon */
    LARGEST_SHARE = 4, /* what takes more than 1/4 of the shadow is not played */
    SURE = 3,          /* standard deviations */
    ENOUGH = 32,       /* differing requests, before anything is concluded */
    GAIN_SHARE = 100,  /* 1/100 of the misses must be saved */
    HITS_MAX = 3,      /* as in an entry */
};

/* The first is in force until another has proved better: nothing is as seldom much worse. */
static const struct shadow_way ways[SHADOW_WAYS] = {
    {80, 1, true}, {40, 1, true}, {10, 2, true}, {80, 1, false}};

/* GHOST: evicted from SMALL lately. */
enum queue { NOWHERE, SMALL, MAIN, GHOST, QUEUES };

/* Of one node in one way's queues; by node number, 0 = none. */
struct seat {
    uint16_t newer, older;
    uint16_t at; /* misses so far when it came there */
    uint8_t queue, hits;
};

struct node {
    uint64_t hash;
    uint32_t bytes, deadline_s;
    uint16_t chain; /* the next of its hash chain, or free node */
    struct seat seat[SHADOW_WAYS];
};

struct line {
    uint16_t newest, oldest, n;
    uint64_t bytes;
};

struct shadow_book {
    uint32_t nodes, used; /* nodes[0] is none */
    uint16_t free;
    unsigned classes;  /* of sizes, as the cache that is shadowed tells them apart */
    uint64_t real;     /* bytes of the cache that is shadowed */
    uint64_t capacity; /* of each shadow */
    uint64_t misses;   /* since the counts were halved, of any way */
    uint64_t lost[SHADOW_WAYS];
    uint64_t differ[SHADOW_WAYS][SHADOW_WAYS]; /* [i][j]: i missed, j had it */
    uint16_t now;                              /* misses so far */
    uint64_t held[SHADOW_WAYS];                /* bytes, but ghosts' */
    struct line line[SHADOW_WAYS][SEGMENT_CLASSES][QUEUES];
    uint16_t *heads; /* as many as nodes */
    struct node node[];
};

/* ---- memory ---- */

static uint32_t nodes_for(uint64_t maxmemory)
{
    uint64_t n = maxmemory / MEMORY_SHARE / (sizeof(struct node) + sizeof(uint16_t));
    return (uint32_t)(n < NODES_MIN ? NODES_MIN : n > NODES_MAX ? NODES_MAX : n);
}

static uint64_t bytes_for(uint32_t nodes)
{
    return sizeof(struct shadow_book) + (uint64_t)nodes * (sizeof(struct node) + sizeof(uint16_t));
}

uint64_t shadows_bytes(const struct shadows *sh)
{
    return atomic_load_explicit(&sh->bytes, memory_order_relaxed);
}

void shadows_resize(struct shadows *sh, uint64_t maxmemory)
{
    uint32_t nodes = maxmemory != 0 ? nodes_for(maxmemory) : 0;
    if (sh->book != NULL && sh->book->nodes == nodes)
        return;
    if (sh->book != NULL)
        region_unmap(sh->book, bytes_for(sh->book->nodes));
    sh->book = nodes != 0 ? region_map(bytes_for(nodes)) : NULL;
    atomic_store_explicit(&sh->below, 0, memory_order_relaxed);
    atomic_store_explicit(&sh->way, 0, memory_order_relaxed);
    atomic_store_explicit(&sh->bytes, sh->book != NULL ? bytes_for(nodes) : 0, memory_order_relaxed);
    if (sh->book == NULL)
        return;
    sh->book->nodes = nodes;
    sh->book->heads = (uint16_t *)&sh->book->node[nodes];
    for (uint32_t i = nodes - 1; i > 0; i--) {
        sh->book->node[i].chain = sh->book->free;
        sh->book->free = (uint16_t)i;
    }
}

/* ---- queues ---- */

/* Ghosts of all sizes stand in one. */
static struct line *line_of(struct shadow_book *b, unsigned way, uint16_t n, unsigned queue)
{
    unsigned class = queue == GHOST ? 0 : segment_class(b->node[n].bytes) * b->classes / SEGMENT_CLASSES;
    return &b->line[way][class][queue];
}

static void enter(struct shadow_book *b, unsigned way, uint16_t n, enum queue queue)
{
    struct line *l = line_of(b, way, n, queue);
    struct seat *s = &b->node[n].seat[way];
    *s = (struct seat){.older = l->newest, .at = b->now, .queue = (uint8_t)queue, .hits = s->hits};
    if (l->newest != 0)
        b->node[l->newest].seat[way].newer = n;
    else
        l->oldest = n;
    l->newest = n;
    l->n++;
    l->bytes += b->node[n].bytes;
    b->held[way] += queue == GHOST ? 0 : b->node[n].bytes;
}

static void leave(struct shadow_book *b, unsigned way, uint16_t n)
{
    struct seat *s = &b->node[n].seat[way];
    struct line *l = line_of(b, way, n, s->queue);
    if (s->newer != 0)
        b->node[s->newer].seat[way].older = s->older;
    else
        l->newest = s->older;
    if (s->older != 0)
        b->node[s->older].seat[way].newer = s->newer;
    else
        l->oldest = s->newer;
    l->n--;
    l->bytes -= b->node[n].bytes;
    b->held[way] -= s->queue == GHOST ? 0 : b->node[n].bytes;
    s->queue = NOWHERE;
}

static bool holds(const struct node *n, unsigned way)
{
    return n->seat[way].queue == SMALL || n->seat[way].queue == MAIN;
}

/* ---- nodes ---- */

static uint16_t *head_of(struct shadow_book *b, uint64_t hash)
{
    return &b->heads[(uint32_t)hash % b->nodes];
}

static uint16_t find(struct shadow_book *b, uint64_t hash)
{
    uint16_t n = *head_of(b, hash);
    while (n != 0 && b->node[n].hash != hash)
        n = b->node[n].chain;
    return n;
}

static void forget(struct shadow_book *b, uint16_t n)
{
    uint16_t *at = head_of(b, b->node[n].hash);
    for (unsigned way = 0; way < SHADOW_WAYS; way++)
        if (b->node[n].seat[way].queue != NOWHERE)
            leave(b, way, n);
    while (*at != n)
        at = &b->node[*at].chain;
    *at = b->node[n].chain;
    b->node[n] = (struct node){.chain = b->free};
    b->free = n;
    b->used--;
}

static void forget_unseated(struct shadow_book *b, uint16_t n)
{
    for (unsigned way = 0; way < SHADOW_WAYS; way++)
        if (b->node[n].seat[way].queue != NOWHERE)
            return;
    forget(b, n);
}

static void forget_all(struct shadow_book *b, unsigned classes)
{
    for (uint32_t n = 1; n < b->nodes; n++)
        if (b->node[n].hash != 0)
            forget(b, (uint16_t)n);
    b->classes = classes;
}

/* ---- one way's cache ---- */

static double idle_of(const struct shadow_book *b, unsigned way, uint16_t n)
{
    return (uint16_t)(b->now - b->node[n].seat[way].at);
}

/* As evict.c weighs a class: how long its tail has been idle, times how large its entries are. */
static double weight(const struct shadow_book *b, unsigned way, unsigned class)
{
    const struct line *small = &b->line[way][class][SMALL], *main = &b->line[way][class][MAIN];
    double idle = main->bytes > small->bytes
                      ? idle_of(b, way, main->oldest)
                      : idle_of(b, way, small->oldest) * (double)(small->bytes + main->bytes) /
                            (double)(small->bytes + 1);
    double size = (double)(small->bytes + main->bytes) / (small->n + main->n);
    return (idle + 1) * (ways[way].by_size ? size : 1);
}

static unsigned worst_class(const struct shadow_book *b, unsigned way)
{
    unsigned worst = 0;
    double most = -1;
    for (unsigned class = 0; class < b->classes; class ++) {
        const struct line *line = b->line[way][class];
        if (line[SMALL].oldest == 0 && line[MAIN].oldest == 0)
            continue;
        double w = weight(b, way, class);
        if (w > most) {
            most = w;
            worst = class;
        }
    }
    return worst;
}

static void evict_one(struct shadow_book *b, unsigned way)
{
    struct line *line = b->line[way][worst_class(b, way)];
    uint64_t all = line[SMALL].bytes + line[MAIN].bytes;
    bool small = line[SMALL].bytes * 100 > all * ways[way].small_percent || line[MAIN].oldest == 0;
    uint16_t n = line[small ? SMALL : MAIN].oldest;
    struct seat *s = &b->node[n].seat[way];
    leave(b, way, n);
    if (small && s->hits >= ways[way].promote_at) {
        s->hits = 0;
        enter(b, way, n, MAIN);
    } else if (small) {
        enter(b, way, n, GHOST);
    } else if (s->hits > 0) {
        s->hits--;
        enter(b, way, n, MAIN);
    } else {
        forget_unseated(b, n);
    }
}

static void make_room_in(struct shadow_book *b, unsigned way)
{
    const struct line *ghosts = &b->line[way][0][GHOST];
    while (b->held[way] > b->capacity)
        evict_one(b, way);
    while (ghosts->bytes > b->capacity) {
        uint16_t n = ghosts->oldest;
        leave(b, way, n);
        forget_unseated(b, n);
    }
}

static void make_room(struct shadow_book *b)
{
    for (unsigned way = 0; way < SHADOW_WAYS; way++)
        make_room_in(b, way);
}

/* ---- the sample ---- */

/* The shadows' size goes with the cache's and with the sample. */
static void fit(const struct shadows *sh)
{
    uint64_t below = atomic_load_explicit(&sh->below, memory_order_relaxed);
    sh->book->capacity = (uint64_t)((double)sh->book->real * (double)below / 4294967296.0);
    make_room(sh->book);
}

static void sample(struct shadows *sh, uint32_t below)
{
    atomic_store_explicit(&sh->below, below, memory_order_relaxed);
    fit(sh);
}

void shadows_begin(struct shadows *sh, uint64_t bytes, unsigned classes)
{
    if (sh->book == NULL || !lock_try(&sh->lock))
        return;
    ASSERT(classes > 0 && classes <= SEGMENT_CLASSES);
    sh->book->real = bytes;
    if (sh->book->classes != classes)
        forget_all(sh->book, classes);
    if (atomic_load_explicit(&sh->below, memory_order_relaxed) == 0)
        sample(sh, UINT32_MAX / RATE_MOST + 1);
    else
        fit(sh);
    lock_release(&sh->lock);
}

/* Half the keys are sampled no more. */
static void thin_out(struct shadows *sh)
{
    struct shadow_book *b = sh->book;
    uint32_t below = atomic_load_explicit(&sh->below, memory_order_relaxed) / 2;
    sample(sh, below > 0 ? below : 1);
    for (uint32_t n = 1; n < b->nodes; n++)
        if (b->node[n].hash != 0 && !shadows_want(sh, b->node[n].hash))
            forget(b, (uint16_t)n);
}

static uint16_t add(struct shadows *sh, const struct shadow_event *ev)
{
    struct shadow_book *b = sh->book;
    if (b->free == 0)
        thin_out(sh);
    uint16_t n = b->free, *head = head_of(b, ev->hash);
    if (n == 0 || !shadows_want(sh, ev->hash) || ev->hash == 0)
        return 0;
    b->free = b->node[n].chain;
    b->node[n] = (struct node){.hash = ev->hash, .chain = *head};
    *head = n;
    b->used++;
    return n;
}

/* ---- playing ---- */

/* In another class it begins at the young end: so does an entry that is written anew. */
static void resize_node(struct shadow_book *b, uint16_t n, uint32_t bytes)
{
    struct node *node = &b->node[n];
    unsigned queue[SHADOW_WAYS];
    if (node->bytes == bytes)
        return;
    for (unsigned way = 0; way < SHADOW_WAYS; way++)
        if ((queue[way] = node->seat[way].queue) != NOWHERE)
            leave(b, way, n);
    node->bytes = bytes;
    for (unsigned way = 0; way < SHADOW_WAYS; way++)
        if (queue[way] != NOWHERE)
            enter(b, way, n, queue[way]);
}

/* Hits are noted; where it is missing it is put, if the real cache has it. Returns who missed it, a bit a
 * way. */
static unsigned play(struct shadow_book *b, uint16_t n, const struct shadow_event *ev)
{
    unsigned missed = 0;
    for (unsigned way = 0; way < SHADOW_WAYS; way++) {
        struct seat *s = &b->node[n].seat[way];
        if (holds(&b->node[n], way)) {
            if (!ev->put && s->hits < HITS_MAX)
                s->hits++;
            continue;
        }
        if (ev->bytes == 0)
            continue;
        missed |= 1u << way;
        bool again = s->queue == GHOST;
        if (again)
            leave(b, way, n);
        s->hits = 0;
        enter(b, way, n, again ? MAIN : SMALL);
    }
    return missed;
}

/* ---- who is best ---- */

static void fade(struct shadows *sh)
{
    struct shadow_book *b = sh->book;
    uint32_t below = atomic_load_explicit(&sh->below, memory_order_relaxed);
    if (b->misses < b->nodes / WINDOW_SHARE)
        return;
    b->misses /= 2;
    for (unsigned i = 0; i < SHADOW_WAYS; i++) {
        b->lost[i] /= 2;
        for (unsigned j = 0; j < SHADOW_WAYS; j++)
            b->differ[i][j] /= 2;
    }
    if (b->used < b->nodes / SPARSE_SHARE && below <= UINT32_MAX / RATE_MOST / 2 + 1)
        sample(sh, below * 2);
}

static void count(struct shadow_book *b, unsigned missed)
{
    b->misses++;
    b->now++;
    for (unsigned i = 0; i < SHADOW_WAYS; i++) {
        if (!(missed & 1u << i))
            continue;
        b->lost[i]++;
        for (unsigned j = 0; j < SHADOW_WAYS; j++)
            b->differ[i][j] += !(missed & 1u << j);
    }
}

static bool beats(const struct shadow_book *b, unsigned better, unsigned worse)
{
    uint64_t saves = b->differ[worse][better], costs = b->differ[better][worse];
    if (saves <= costs || saves + costs < ENOUGH)
        return false;
    uint64_t gain = saves - costs;
    return gain * gain > SURE * SURE * (saves + costs) && gain * GAIN_SHARE > b->lost[worse];
}

static bool choose(struct shadows *sh)
{
    uint32_t now = atomic_load_explicit(&sh->way, memory_order_relaxed), best = now;
    for (unsigned way = 0; way < SHADOW_WAYS; way++)
        if (beats(sh->book, way, best))
            best = way;
    atomic_store_explicit(&sh->way, best, memory_order_relaxed);
    return best != now;
}

/* Under the lock. */
static bool note(struct shadows *sh, const struct shadow_event *ev)
{
    struct shadow_book *b = sh->book;
    uint16_t n = find(b, ev->hash);
    if (n != 0 && b->node[n].deadline_s != 0 && b->node[n].deadline_s <= ev->now_s) {
        forget(b, n);
        n = 0;
    }
    if (ev->bytes > b->capacity / LARGEST_SHARE || ev->bytes > UINT32_MAX) {
        if (n != 0)
            forget(b, n);
        b->misses++; /* nothing but such: the sample must grow */
        fade(sh);
        return false;
    }
    if (n == 0 && (ev->bytes == 0 || (n = add(sh, ev)) == 0))
        return false;
    if (ev->bytes != 0) {
        resize_node(b, n, (uint32_t)ev->bytes);
        b->node[n].deadline_s = ev->deadline_s;
    }
    unsigned missed = play(b, n, ev);
    make_room(b);
    if (missed == 0)
        return false;
    count(b, missed);
    fade(sh);
    return choose(sh);
}

bool shadows_note(struct shadows *sh, const struct shadow_event *ev)
{
    if (sh->book == NULL || !lock_try(&sh->lock))
        return false;
    bool changed = note(sh, ev);
    lock_release(&sh->lock);
    return changed;
}

struct shadow_way shadows_way(const struct shadows *sh)
{
    return ways[atomic_load_explicit(&sh->way, memory_order_relaxed)];
}
