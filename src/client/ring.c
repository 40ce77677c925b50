/* A sorted array of points, and an index by the first bits of a place.
 *
 *      points  [ 03.. n2 | 1a.. n0 | 1f.. n1 | ...... | f7.. n0 ]     sorted by (high, low, name)
 *      index   [ 0 | 1 | 3 | ... ]                                   the first point of each arc
 *      nodes   [ n0 name weight | n1 | n2 ]
 *
 * There are at least as many arcs as points, so a search looks at a point or two. Ten nodes of 150 points
 * are 44 KB. Adding and removing sorts anew, which costs a millisecond and happens when somebody changes
 * the fleet. Points that coincide are ordered by name, so that the order of adding never matters.
 * Rejected: a tree, which is slower to search and changes faster than anybody needs; halving the array,
 * whose ten steps the processor guesses wrong half of the time. */
#include "client/ring.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "client/digests.h"

#include <math.h>
#include <md5.h>
#include <stdio.h>
#include <stdlib.h>

enum { POINT_NAME_MAX = LARDER_RING_NAME_MAX + 16, KETAMA_DIGESTS = 40, KETAMA_PARTS = 4 };

struct ring_node {
    char *name; /* owned */
    unsigned weight, tag;
};

struct point {
    struct ring_place at;
    const struct ring_node *node;
};

struct larder_ring {
    enum larder_placement placement;
    unsigned points_a_node;
    struct ring_node **nodes; /* owned, in no order */
    size_t nnodes;
    struct point *points; /* owned, sorted */
    size_t npoints;
    uint32_t *index;     /* owned, 2^index_bits; NULL without points */
    unsigned index_bits; /* at least 1 */
};

static uint64_t load_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static uint64_t load_le32(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
}

static void digest(const void *p, size_t n, uint8_t out[MD5_DIGEST_LENGTH])
{
    MD5_CTX md5;
    MD5Init(&md5);
    MD5Update(&md5, p, n);
    MD5Final(out, &md5);
}

static inline int compare_places(const struct ring_place *a, const struct ring_place *b)
{
    if (a->high != b->high)
        return a->high < b->high ? -1 : 1;
    return a->low == b->low ? 0 : a->low < b->low ? -1 : 1;
}

static int compare_points(const void *left, const void *right)
{
    const struct point *a = left, *b = right;
    int order = compare_places(&a->at, &b->at);
    return order != 0 ? order : strcmp(a->node->name, b->node->name);
}

/* How many digests a node contributes. libketama computes in float, and so must we. */
static size_t digests_of(const larder_ring *r, const struct ring_node *node, unsigned total_weight)
{
    if (r->placement == LARDER_PLACEMENT_MD5)
        return (size_t)r->points_a_node * node->weight;
    float share = (float)node->weight / (float)total_weight;
    return (size_t)floorf((float)((double)share * KETAMA_DIGESTS * (double)r->nnodes));
}

static struct point *put_points(const larder_ring *r, const struct ring_node *node, size_t digests,
                                struct point *at)
{
    char name[POINT_NAME_MAX];
    uint8_t sum[MD5_DIGEST_LENGTH];
    bool ketama = r->placement == LARDER_PLACEMENT_KETAMA;
    for (size_t i = 0; i < digests; i++) {
        int n = snprintf(name, sizeof name, ketama ? "%s-%zu" : "%s:%zu", node->name, i);
        digest(name, (size_t)n, sum);
        if (!ketama) {
            *at++ = (struct point){{load_be64(sum), load_be64(sum + 8)}, node};
            continue;
        }
        for (int part = 0; part < KETAMA_PARTS; part++)
            *at++ = (struct point){{load_le32(sum + 4 * part), 0}, node};
    }
    return at;
}

/* The arc of the circle that a place is in. Ketama's places have 32 bits. */
static inline size_t arc_of(const larder_ring *r, const struct ring_place *place)
{
    uint64_t high = r->placement == LARDER_PLACEMENT_KETAMA ? place->high << 32 : place->high;
    return (size_t)(high >> (64 - r->index_bits));
}

static void fill_index(larder_ring *r)
{
    size_t arcs = (size_t)1 << r->index_bits, arc = 0;
    for (size_t i = 0; i < r->npoints; i++)
        while (arc <= arc_of(r, &r->points[i].at))
            r->index[arc++] = (uint32_t)i;
    while (arc < arcs)
        r->index[arc++] = (uint32_t)r->npoints;
}

static unsigned bits_for(size_t npoints)
{
    unsigned bits = 1;
    while ((size_t)1 << bits < npoints)
        bits++;
    return bits;
}

/* All points anew. On LARDER_ERR_MEMORY the old ones stay. */
static int place_all(larder_ring *r)
{
    unsigned total_weight = 0;
    size_t digests = 0;
    for (size_t i = 0; i < r->nnodes; i++)
        total_weight += r->nodes[i]->weight;
    for (size_t i = 0; i < r->nnodes; i++)
        digests += digests_of(r, r->nodes[i], total_weight);
    size_t n = r->placement == LARDER_PLACEMENT_KETAMA ? digests * KETAMA_PARTS : digests;
    unsigned bits = bits_for(n);
    struct point *points = n <= UINT32_MAX ? mem_alloc(n * sizeof *points) : NULL, *at = points;
    uint32_t *index = points != NULL ? mem_alloc(sizeof *index << bits) : NULL;
    if (index == NULL) {
        mem_free(points);
        return LARDER_ERR_MEMORY;
    }
    for (size_t i = 0; i < r->nnodes; i++)
        at = put_points(r, r->nodes[i], digests_of(r, r->nodes[i], total_weight), at);
    ASSERT((size_t)(at - points) == n);
    qsort(points, n, sizeof *points, compare_points);
    mem_free(r->points);
    mem_free(r->index);
    r->points = points;
    r->npoints = n;
    r->index = index;
    r->index_bits = bits;
    fill_index(r);
    return 0;
}

larder_ring *larder_ring_new(enum larder_placement placement, unsigned points)
{
    if (points > LARDER_RING_POINTS_MAX ||
        (placement != LARDER_PLACEMENT_MD5 && placement != LARDER_PLACEMENT_KETAMA))
        return NULL;
    larder_ring *r = mem_zalloc(sizeof *r);
    if (r != NULL) {
        r->placement = placement;
        r->points_a_node = points > 0 ? points : LARDER_RING_POINTS;
    }
    return r;
}

static void free_node(struct ring_node *node)
{
    if (node != NULL)
        mem_free(node->name);
    mem_free(node);
}

void larder_ring_free(larder_ring *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->nnodes; i++)
        free_node(r->nodes[i]);
    mem_free(r->nodes);
    mem_free(r->points);
    mem_free(r->index);
    mem_free(r);
}

static size_t find_node(const larder_ring *r, const char *name)
{
    size_t i = 0;
    while (i < r->nnodes && strcmp(r->nodes[i]->name, name) != 0)
        i++;
    return i;
}

int ring_add(larder_ring *r, const char *name, unsigned weight, unsigned tag)
{
    size_t n = strlen(name);
    if (n == 0 || n > LARDER_RING_NAME_MAX || weight == 0 || weight > LARDER_RING_WEIGHT_MAX ||
        r->nnodes == LARDER_RING_NODES_MAX)
        return LARDER_ERR_ARGUMENT;
    if (find_node(r, name) < r->nnodes)
        return LARDER_ERR_EXISTS;
    struct ring_node **nodes = mem_realloc(r->nodes, (r->nnodes + 1) * sizeof(struct ring_node *));
    if (nodes == NULL)
        return LARDER_ERR_MEMORY;
    r->nodes = nodes;
    struct ring_node *node = mem_zalloc(sizeof *node);
    if (node == NULL)
        return LARDER_ERR_MEMORY;
    *node = (struct ring_node){mem_strndup(name, n), weight, tag};
    if (node->name == NULL)
        goto fail;
    r->nodes[r->nnodes++] = node;
    if (place_all(r) == 0)
        return 0;
    r->nnodes--;
fail:
    free_node(node);
    return LARDER_ERR_MEMORY;
}

int larder_ring_add(larder_ring *r, const char *name, unsigned weight)
{
    return ring_add(r, name, weight, 0);
}

/* Leave out the points of a node: no memory is needed for what shrinks. */
static void drop_points(larder_ring *r, const struct ring_node *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->npoints; i++)
        if (r->points[i].node != node)
            r->points[kept++] = r->points[i];
    r->npoints = kept;
    fill_index(r);
}

int larder_ring_remove(larder_ring *r, const char *name)
{
    size_t i = find_node(r, name);
    if (i == r->nnodes)
        return LARDER_ERR_NOT_FOUND;
    struct ring_node *node = r->nodes[i];
    r->nodes[i] = r->nodes[--r->nnodes];
    if (r->placement == LARDER_PLACEMENT_MD5 || r->nnodes == 0) {
        drop_points(r, node);
    } else if (place_all(r) < 0) { /* with ketama the others' shares change */
        r->nodes[r->nnodes++] = node;
        return LARDER_ERR_MEMORY;
    }
    free_node(node);
    return 0;
}

size_t larder_ring_count(const larder_ring *r)
{
    return r->nnodes;
}

static struct ring_place place_at(const larder_ring *r, const uint8_t sum[MD5_DIGEST_LENGTH])
{
    if (r->placement == LARDER_PLACEMENT_KETAMA)
        return (struct ring_place){load_le32(sum), 0};
    return (struct ring_place){load_be64(sum), load_be64(sum + 8)};
}

static struct ring_place place_of(const larder_ring *r, struct str key)
{
    uint8_t sum[MD5_DIGEST_LENGTH];
    digest(key.p, key.n, sum);
    return place_at(r, sum);
}

void ring_places(const larder_ring *r, const struct str *keys, size_t n, struct ring_place *out)
{
    _Static_assert(DIGESTS_BYTES == MD5_DIGEST_LENGTH, "they are the same digests");
    struct str texts[DIGESTS_LANES];
    struct ring_place *places[DIGESTS_LANES];
    uint8_t sums[DIGESTS_LANES][DIGESTS_BYTES];
    unsigned filled = 0;
    for (size_t i = 0; i < n; i++) {
        if (keys[i].n > DIGESTS_TEXT_MAX) {
            out[i] = place_of(r, keys[i]);
        } else {
            texts[filled] = keys[i];
            places[filled++] = &out[i];
        }
        if (filled == 0 || (filled < DIGESTS_LANES && i + 1 < n))
            continue;
        digests_of_short(texts, filled, sums);
        for (; filled > 0; filled--)
            *places[filled - 1] = place_at(r, sums[filled - 1]);
    }
}

/* The first point above the key's place (ketama: or at it), wrapping. The ring is not empty. */
static size_t first_point(const larder_ring *r, const struct ring_place *place)
{
    int least = r->placement == LARDER_PLACEMENT_KETAMA ? 0 : 1;
    size_t i = r->index[arc_of(r, place)];
    while (i < r->npoints && compare_places(&r->points[i].at, place) < least)
        i++;
    return i == r->npoints ? 0 : i;
}

/* Walk the circle from a place on, each node once. */
static size_t walk(const larder_ring *r, const struct ring_place *place, const struct ring_node **out,
                   size_t max)
{
    size_t found = 0, limit = max < r->nnodes ? max : r->nnodes, at;
    if (r->npoints == 0 || limit == 0)
        return 0;
    at = first_point(r, place);
    for (size_t step = 0; step < r->npoints && found < limit; step++) {
        const struct ring_node *node = r->points[at].node;
        size_t i = 0;
        while (i < found && out[i] != node)
            i++;
        if (i == found)
            out[found++] = node;
        at = at + 1 < r->npoints ? at + 1 : 0;
    }
    return found;
}

enum { WALK_MAX = 64 };

size_t ring_lookup(const larder_ring *r, struct str key, const struct ring_place *place, unsigned *tags,
                   size_t max)
{
    const struct ring_node *nodes[WALK_MAX];
    struct ring_place own;
    if (place == NULL) {
        own = place_of(r, key);
        place = &own;
    }
    size_t n = walk(r, place, nodes, max < WALK_MAX ? max : WALK_MAX);
    for (size_t i = 0; i < n; i++)
        tags[i] = nodes[i]->tag;
    return n;
}

const char *larder_ring_get(const larder_ring *r, struct larder_bytes key)
{
    const struct ring_node *node;
    struct ring_place place = place_of(r, (struct str){key.p, key.n});
    return walk(r, &place, &node, 1) == 1 ? node->name : NULL;
}

size_t larder_ring_get_n(const larder_ring *r, struct larder_bytes key, const char **out, size_t max)
{
    if (max == 0 || r->npoints == 0)
        return 0;
    struct ring_place place = place_of(r, (struct str){key.p, key.n});
    size_t limit = max < r->nnodes ? max : r->nnodes;
    const struct ring_node **nodes = mem_alloc(limit * sizeof *nodes);
    if (nodes == NULL)
        return 0;
    size_t n = walk(r, &place, nodes, limit);
    for (size_t i = 0; i < n; i++)
        out[i] = nodes[i]->name;
    mem_free((void *)nodes);
    return n;
}
