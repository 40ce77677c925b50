/* An array of nodes, an array of owners, and the nodes in buckets by the hash of their id: among 1,000 nodes
 * each frame tells of 100. The buckets are a fixed number of short lists; nothing has to grow or may fail. */
#include "cluster/slotmap.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/hash.h"

_Static_assert(NODE_ID % sizeof(uint64_t) == 0, "an id is hashed by words");

void slotmap_init(struct slotmap *m)
{
    memset(m, 0, sizeof(*m));
}

static void node_free(struct node *n)
{
    mem_free(n->reports);
    mem_free(n);
}

void slotmap_release(struct slotmap *m)
{
    for (unsigned i = 0; i < m->n; i++)
        node_free(m->nodes[i]);
    mem_free(m->nodes);
    slotmap_init(m);
}

bool node_id_eq(const struct node_id *a, const struct node_id *b)
{
    return memcmp(a->c, b->c, NODE_ID) == 0;
}

int node_id_cmp(const struct node_id *a, const struct node_id *b)
{
    return memcmp(a->c, b->c, NODE_ID);
}

bool node_id_valid(struct str text)
{
    if (text.n != NODE_ID)
        return false;
    /* Eight at a time. Below 128, adding 128 - x carries into a byte's highest bit if it is at least x. */
    const uint64_t ones = 0x0101010101010101, high = 0x80 * ones;
    uint64_t ok = high, v;
    for (size_t i = 0; i < NODE_ID; i += sizeof v) {
        memcpy(&v, text.p + i, sizeof v);
        uint64_t low = v & ~high;
        uint64_t digit = (low + (0x80 - '0') * ones) & ~(low + (0x80 - '9' - 1) * ones);
        uint64_t letter = (low + (0x80 - 'a') * ones) & ~(low + (0x80 - 'f' - 1) * ones);
        ok &= (digit | letter) & ~v;
    }
    return ok == high;
}

struct str node_id_str(const struct node_id *id)
{
    return (struct str){id->c, NODE_ID};
}

static uint64_t hash_of(const struct node_id *id)
{
    uint64_t h = 0, v;
    for (size_t i = 0; i < NODE_ID; i += sizeof v) {
        memcpy(&v, id->c + i, sizeof v);
        h = hash_mix64(h ^ v);
    }
    return h;
}

static struct node **bucket(struct slotmap *m, const struct node *n)
{
    return &m->by_id[n->id_hash % SLOTMAP_BUCKETS];
}

static void enter(struct slotmap *m, struct node *n, const struct node_id *id)
{
    n->id = *id;
    n->id_hash = hash_of(id);
    n->same_bucket = *bucket(m, n);
    *bucket(m, n) = n;
}

static void leave(struct slotmap *m, const struct node *n)
{
    struct node **at = bucket(m, n);
    while (*at != n)
        at = &(*at)->same_bucket;
    *at = n->same_bucket;
}

struct node *slotmap_find(const struct slotmap *m, const struct node_id *id)
{
    struct node *n = m->by_id[hash_of(id) % SLOTMAP_BUCKETS];
    while (n != NULL && !node_id_eq(&n->id, id))
        n = n->same_bucket;
    return n;
}

int slotmap_add(struct slotmap *m, const struct node_id *id, uint32_t flags, struct node **out)
{
    if (slotmap_find(m, id) != NULL)
        return ERR_EXISTS;
    if (m->n == SLOTMAP_NODES_MAX)
        return ERR_FULL;
    if (m->n == m->cap) {
        unsigned cap = m->cap == 0 ? 16 : m->cap * 2;
        struct node **more = mem_realloc(m->nodes, cap * sizeof(struct node *));
        if (more == NULL)
            return ERR_OOM;
        m->nodes = more;
        m->cap = cap;
    }
    struct node *n = mem_zalloc(sizeof(*n));
    if (n == NULL)
        return ERR_OOM;
    enter(m, n, id);
    n->flags = flags;
    m->nodes[m->n++] = n;
    *out = n;
    return 0;
}

void slotmap_remove(struct slotmap *m, struct node *n)
{
    ASSERT(!node_is(n, NODE_MYSELF));
    slotmap_drop_all(m, n);
    unsigned at = m->n;
    for (unsigned i = 0; i < m->n; i++) {
        struct node *other = m->nodes[i];
        if (other == n)
            at = i;
        if (other->primary == n)
            other->primary = NULL;
        for (unsigned r = 0; r < other->nreports; r++) {
            if (node_id_eq(&other->reports[r].by, &n->id))
                other->reports[r--] = other->reports[--other->nreports];
        }
    }
    ASSERT(at < m->n);
    leave(m, n);
    m->nodes[at] = m->nodes[--m->n];
    node_free(n);
}

void slotmap_rename(struct slotmap *m, struct node *n, const struct node_id *id)
{
    leave(m, n);
    enter(m, n, id);
}

void slotmap_assign(struct slotmap *m, unsigned slot, struct node *n)
{
    ASSERT(slot < SLOT_COUNT);
    struct node *old = m->owner[slot];
    if (old == n)
        return;
    if (old != NULL) {
        slots_set(old->slots, slot, false);
        old->nslots--;
        m->assigned--;
    }
    if (n != NULL) {
        slots_set(n->slots, slot, true);
        n->nslots++;
        m->assigned++;
    }
    m->owner[slot] = n;
}

void slotmap_drop_all(struct slotmap *m, struct node *n)
{
    for (unsigned slot = 0; n->nslots > 0 && slot < SLOT_COUNT; slot++) {
        if (m->owner[slot] == n)
            slotmap_assign(m, slot, NULL);
    }
    ASSERT(n->nslots == 0);
}

bool slotmap_run(const struct slotmap *m, unsigned *at, unsigned *first, unsigned *last, struct node **owner)
{
    unsigned i = *at;
    while (i < SLOT_COUNT && m->owner[i] == NULL)
        i++;
    if (i == SLOT_COUNT)
        return false;
    *first = i;
    *owner = m->owner[i];
    while (i < SLOT_COUNT && m->owner[i] == *owner)
        i++;
    *last = i - 1;
    *at = i;
    return true;
}

bool slots_run(const uint8_t *bits, unsigned *at, unsigned *first, unsigned *last)
{
    unsigned i = *at;
    while (i < SLOT_COUNT && !slots_has(bits, i))
        i += bits[i / 8] == 0 && i % 8 == 0 ? 8 : 1;
    if (i >= SLOT_COUNT)
        return false;
    *first = i;
    while (i < SLOT_COUNT && slots_has(bits, i))
        i += bits[i / 8] == 0xff && i % 8 == 0 ? 8 : 1;
    *last = i - 1;
    *at = i;
    return true;
}

unsigned slotmap_voters(const struct slotmap *m)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->n; i++)
        n += node_votes(m->nodes[i]);
    return n;
}

unsigned slotmap_replicas(const struct slotmap *m, const struct node *n, bool living)
{
    unsigned found = 0;
    for (unsigned i = 0; i < m->n; i++) {
        const struct node *r = m->nodes[i];
        found += r->primary == n && !(living && node_is(r, NODE_PFAIL | NODE_FAIL));
    }
    return found;
}

void slotmap_count_living(struct slotmap *m)
{
    for (unsigned i = 0; i < m->n; i++)
        m->nodes[i]->living = 0;
    for (unsigned i = 0; i < m->n; i++) {
        const struct node *r = m->nodes[i];
        if (r->primary != NULL && !node_is(r, NODE_PFAIL | NODE_FAIL))
            r->primary->living++;
    }
}

bool slotmap_check(const struct slotmap *m)
{
    unsigned assigned = 0, total = 0;
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        assigned += m->owner[s] != NULL;
        if (m->owner[s] != NULL && !slots_has(m->owner[s]->slots, s))
            return false;
    }
    for (unsigned i = 0; i < m->n; i++) {
        unsigned own = 0;
        for (unsigned b = 0; b < SLOT_BYTES; b++)
            own += (unsigned)__builtin_popcount(m->nodes[i]->slots[b]);
        if (own != m->nodes[i]->nslots || slotmap_find(m, &m->nodes[i]->id) != m->nodes[i])
            return false;
        total += own;
    }
    return assigned == m->assigned && total == assigned;
}
