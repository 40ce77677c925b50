/* Slots name shards, shards name nodes; a table of 32 KB, read by index.
 *
 * CLUSTER SHARDS says more (health, roles by name), CLUSTER SLOTS is older and known everywhere.
 * Both say "no host" for "the one that you asked". */
#include "client/slotmap.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"

int slotmap_init(struct slotmap *m)
{
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        m->of_slot[i] = SLOTMAP_NONE;
    m->shards = NULL;
    m->nshards = 0;
    return 0;
}

void slotmap_release(struct slotmap *m)
{
    mem_free(m->shards);
    slotmap_init(m);
}

static int add_shard(struct slotmap *m, uint32_t primary, uint16_t *index)
{
    if (m->nshards == SLOTMAP_SHARDS_MAX)
        return ERR_FULL;
    if ((m->nshards & (m->nshards - 1)) == 0) { /* full at powers of two */
        struct slotmap_shard *more =
            mem_realloc(m->shards, (m->nshards > 0 ? m->nshards * 2 : 1) * sizeof *more);
        if (more == NULL)
            return ERR_OOM;
        m->shards = more;
    }
    m->shards[m->nshards] = (struct slotmap_shard){.primary = primary};
    *index = (uint16_t)m->nshards++;
    return 0;
}

static int shard_of(struct slotmap *m, uint32_t primary, uint16_t *index)
{
    for (uint32_t i = 0; i < m->nshards; i++) {
        if (m->shards[i].primary == primary) {
            *index = (uint16_t)i;
            return 0;
        }
    }
    return add_shard(m, primary, index);
}

static void add_replica(struct slotmap_shard *shard, uint32_t node)
{
    for (uint32_t i = 0; i < shard->nreplicas; i++)
        if (shard->replicas[i] == node)
            return;
    if (node != shard->primary && shard->nreplicas < SLOTMAP_REPLICAS_MAX)
        shard->replicas[shard->nreplicas++] = node;
}

static bool is_number(const struct reader_value *v, int64_t min, int64_t max)
{
    return v->kind == READ_INT && v->integer >= min && v->integer <= max;
}

static bool is_text(const struct reader_value *v)
{
    return v->kind == READ_BULK || v->kind == READ_STATUS || v->kind == READ_VERBATIM;
}

static int assign(struct slotmap *m, const struct reader_value *first, const struct reader_value *last,
                  uint16_t shard)
{
    if (!is_number(first, 0, SLOT_COUNT - 1) || !is_number(last, first->integer, SLOT_COUNT - 1))
        return ERR_PROTO;
    for (int64_t slot = first->integer; slot <= last->integer; slot++)
        m->of_slot[slot] = shard;
    return 0;
}

/* What stands for "ask me where I am": null, "" and, for a node that does not know itself, "?". */
static struct str host_of(const struct reader_value *v)
{
    return is_text(v) && !str_is(v->text, "?") ? v->text : (struct str){NULL, 0};
}

/* [first, last, [host, port, id, ...], replicas like it...] */
static int read_slots_row(struct slotmap *m, const struct reader_value *row, slotmap_intern intern, void *arg)
{
    uint16_t shard = SLOTMAP_NONE;
    if (row->kind != READ_ARRAY || row->n < 3)
        return ERR_PROTO;
    for (uint64_t i = 2; i < row->n; i++) {
        const struct reader_value *node = &row->children[i];
        if (node->kind != READ_ARRAY || node->n < 2 || !is_number(&node->children[1], 0, 65535))
            return ERR_PROTO;
        int number = intern(arg, host_of(&node->children[0]), node->children[1].integer);
        if (number < 0)
            return ERR_FULL;
        if (i > 2) {
            add_replica(&m->shards[shard], (uint32_t)number);
            continue;
        }
        int err = shard_of(m, (uint32_t)number, &shard);
        if (err < 0)
            return err;
    }
    return assign(m, &row->children[0], &row->children[1], shard);
}

int slotmap_from_slots(struct slotmap *m, const struct reader_value *reply, slotmap_intern intern, void *arg)
{
    if (reply->kind != READ_ARRAY)
        return ERR_PROTO;
    for (uint64_t i = 0; i < reply->n; i++) {
        int err = read_slots_row(m, &reply->children[i], intern, arg);
        if (err < 0)
            return err;
    }
    return 0;
}

/* The value of a field, in a map or in RESP2's flat array. */
static const struct reader_value *field(const struct reader_value *map, struct str name)
{
    if ((map->kind != READ_MAP && map->kind != READ_ARRAY) || map->n % 2 != 0)
        return NULL;
    for (uint64_t i = 0; i < map->n; i += 2)
        if (is_text(&map->children[i]) && str_eq(map->children[i].text, name))
            return &map->children[i + 1];
    return NULL;
}

struct shard_node {
    int number;
    bool primary, usable;
};

static int read_shard_node(const struct reader_value *v, slotmap_intern intern, void *arg,
                           struct shard_node *out)
{
    const struct reader_value *port = field(v, STR("port")), *host = field(v, STR("endpoint"));
    const struct reader_value *role = field(v, STR("role")), *health = field(v, STR("health"));
    if (port == NULL)
        port = field(v, STR("tls-port"));
    if (host == NULL)
        host = field(v, STR("ip"));
    if (port == NULL || !is_number(port, 0, 65535) || host == NULL || role == NULL || !is_text(role))
        return ERR_PROTO;
    out->primary = str_is(role->text, "master") || str_is(role->text, "primary");
    out->usable = health == NULL || (is_text(health) && str_is(health->text, "online"));
    out->number = intern(arg, host_of(host), port->integer);
    return out->number < 0 ? ERR_FULL : 0;
}

/* The nodes of a shard: the primary first, even one that fails; of the replicas those online. */
static int read_shard(struct slotmap *m, const struct reader_value *nodes, slotmap_intern intern, void *arg,
                      uint16_t *shard)
{
    *shard = SLOTMAP_NONE;
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t i = 0; i < nodes->n; i++) {
            struct shard_node node;
            int err = read_shard_node(&nodes->children[i], intern, arg, &node);
            if (err == 0 && pass == 0 && node.primary && (*shard == SLOTMAP_NONE || node.usable))
                err = shard_of(m, (uint32_t)node.number, shard);
            if (err < 0)
                return err;
            if (pass == 1 && !node.primary && node.usable && *shard != SLOTMAP_NONE)
                add_replica(&m->shards[*shard], (uint32_t)node.number);
        }
    }
    return 0;
}

int slotmap_from_shards(struct slotmap *m, const struct reader_value *reply, slotmap_intern intern, void *arg)
{
    if (reply->kind != READ_ARRAY)
        return ERR_PROTO;
    for (uint64_t i = 0; i < reply->n; i++) {
        const struct reader_value *slots = field(&reply->children[i], STR("slots"));
        const struct reader_value *nodes = field(&reply->children[i], STR("nodes"));
        uint16_t shard;
        if (slots == NULL || nodes == NULL || slots->kind != READ_ARRAY || nodes->kind != READ_ARRAY ||
            slots->n % 2 != 0)
            return ERR_PROTO;
        if (slots->n == 0)
            continue;
        int err = read_shard(m, nodes, intern, arg, &shard);
        for (uint64_t s = 0; s < slots->n && err == 0 && shard != SLOTMAP_NONE; s += 2)
            err = assign(m, &slots->children[s], &slots->children[s + 1], shard);
        if (err < 0)
            return err;
    }
    return 0;
}

int slotmap_move(struct slotmap *m, uint16_t slot, uint32_t primary)
{
    uint16_t shard;
    ASSERT(slot < SLOT_COUNT);
    int err = shard_of(m, primary, &shard);
    if (err == 0)
        m->of_slot[slot] = shard;
    return err;
}

const struct slotmap_shard *slotmap_find(const struct slotmap *m, uint16_t slot)
{
    ASSERT(slot < SLOT_COUNT);
    return m->of_slot[slot] == SLOTMAP_NONE ? NULL : &m->shards[m->of_slot[slot]];
}

bool slotmap_parse_redirect(struct str text, bool *ask, uint16_t *slot, struct str *host, int64_t *port)
{
    int64_t number;
    size_t skip = text.n > 6 && memcmp(text.p, "MOVED ", 6) == 0 ? 6 : 4;
    if (skip == 4 && (text.n < 4 || memcmp(text.p, "ASK ", 4) != 0))
        return false;
    *ask = skip == 4;
    const char *p = text.p + skip, *end = text.p + text.n, *space = memchr(p, ' ', (size_t)(end - p));
    if (space == NULL || !num_parse_i64((struct str){p, (size_t)(space - p)}, &number) || number < 0 ||
        number >= SLOT_COUNT)
        return false;
    const char *colon = memrchr(space, ':', (size_t)(end - space));
    if (colon == NULL)
        return false;
    *slot = (uint16_t)number;
    *host = (struct str){space + 1, (size_t)(colon - space) - 1};
    return num_parse_i64((struct str){colon + 1, (size_t)(end - colon) - 1}, port) && *port > 0 &&
           *port <= 65535;
}
