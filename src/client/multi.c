/* Many keys: one small command a key, all submitted before anything is sent, so that each node gets
 * its share in one write and all nodes work at once.
 *
 * Rejected: MGET and MSET of the caller's keys as commands. In a cluster keys of one command must share a
 * slot, on a ring a key whose node fails has a stand-in of its own, and one command cannot say which of its
 * keys went wrong. Outside of clusters GETs are merged on their way (engine_merge.c). */
#include "client/calls.h"
#include "client/digests.h"
#include "client/error.h"

enum { MANY_ARGS = 3 };

/* One key on its way. */
struct one {
    struct cmd cmd;
    struct larder_item *item;
    struct str argv[MANY_ARGS];
    struct ring_place place;
};

struct many {
    larder *l;
    enum reader_kind wanted; /* of an answer */
    struct larder_item *items;
    size_t n;
    struct one *all;          /* of the items, in their order */
    struct larder_error *err; /* of the first that failed */
    int status;
};

/* What a GET, a SET or a DEL was answered: a value or none, a status, a number. */
static int take_answer(const struct many *m, struct larder_item *item, const struct reader_value *v)
{
    if (v->kind == READ_NULL)
        return LARDER_MISS;
    if (v->kind != m->wanted)
        return LARDER_ERR_PROTOCOL;
    if (v->kind == READ_INT)
        return v->integer == 0 ? LARDER_MISS : LARDER_OK;
    return v->kind == READ_BULK ? take_value(&item->found, v) : LARDER_OK;
}

static void one_done(struct cmd *cmd, const struct cmd_result *r)
{
    struct many *m = cmd->arg;
    struct larder_item *item = container_of(cmd, struct one, cmd)->item;
    item->status = r->status;
    if (r->status == LARDER_OK)
        item->status = take_answer(m, item, r->value);
    else if ((cmd->flags & CMD_MERGES) != 0 && r->status == LARDER_ERR_SERVER &&
             str_begins(r->value->text, STR("WRONGTYPE")))
        item->status = LARDER_MISS; /* as MGET has it */
    if (item->status >= 0 || m->status != 0)
        return;
    if (r->err != NULL)
        m->status = fail(m->err, item->status, "%s", r->err->text);
    else if (item->status == LARDER_ERR_MEMORY)
        m->status = fail(m->err, item->status, "out of memory");
    else
        m->status = odd_reply(m->l, r->node, cmd->argv[0].p, m->err);
}

/* On a ring the places of the keys, computed a few at a time. */
static void place_all(const struct many *m)
{
    struct str keys[DIGESTS_LANES];
    struct ring_place places[DIGESTS_LANES];
    if (m->l->topo.kind != LARDER_TOPOLOGY_RING)
        return;
    for (size_t at = 0; at < m->n; at += DIGESTS_LANES) {
        size_t few = m->n - at < DIGESTS_LANES ? m->n - at : DIGESTS_LANES;
        for (size_t i = 0; i < few; i++)
            keys[i] = m->all[at + i].argv[1];
        ring_places(m->l->topo.ring, keys, few, places);
        for (size_t i = 0; i < few; i++) {
            m->all[at + i].place = places[i];
            m->all[at + i].cmd.place = &m->all[at + i].place;
        }
    }
}

/* like: the command that all of them are, but for their keys and values. */
static void prepare(struct many *m, struct str name, const struct cmd *like)
{
    for (size_t i = 0; i < m->n; i++) {
        struct one *one = &m->all[i];
        one->item = &m->items[i];
        one->argv[0] = name;
        one->argv[1] = str_from(one->item->key);
        one->argv[2] = str_from(one->item->value);
        one->cmd = *like;
        one->cmd.argv = one->argv;
        one->cmd.next = i + 1 < m->n ? &m->all[i + 1].cmd : NULL;
    }
    place_all(m);
}

static int run_many(larder *l, struct larder_item *items, size_t n, struct str name, enum reader_kind wanted,
                    unsigned flags, int64_t ttl_ms, struct larder_error *err)
{
    struct many m = {.l = l, .wanted = wanted, .items = items, .n = n, .err = err};
    struct cmd like = {.argc = ttl_ms != 0 ? 3 : 2, .key = 1, .node = -1, .flags = flags, .ttl_ms = ttl_ms};
    struct engine *e = NULL;
    int64_t deadline_ns;
    if (n > ENGINE_LIVE_MAX)
        return fail(err, LARDER_ERR_ARGUMENT, "too many keys at once: at most %d", ENGINE_LIVE_MAX);
    if (n == 0)
        return LARDER_OK;
    like.done = one_done;
    like.arg = &m;
    int status = handle_borrow(l, &e, &deadline_ns, err);
    if (status == 0 && (m.all = arena_alloc(&e->calls, n * sizeof *m.all)) == NULL)
        status = fail(err, LARDER_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        items[i].found = (struct larder_value){NULL, 0};
        items[i].status = status;
    }
    if (status == 0) {
        prepare(&m, name, &like);
        handle_drive(e, &m.all[0].cmd, deadline_ns);
        status = m.status;
    }
    if (e != NULL)
        handle_give_back(l, e);
    return status;
}

int larder_mget(larder *l, struct larder_item *items, size_t n, struct larder_error *err)
{
    return run_many(l, items, n, STR("GET"), READ_BULK, CMD_GET_FLAGS | CMD_MERGES, 0, err);
}

int larder_mset(larder *l, struct larder_item *items, size_t n, int64_t ttl_ms, struct larder_error *err)
{
    int64_t ttl;
    int status = resolve_ttl(l, ttl_ms, &ttl, err);
    return status < 0 ? status : run_many(l, items, n, STR("SET"), READ_STATUS, CMD_WRITE_FLAGS, ttl, err);
}

int larder_mdel(larder *l, struct larder_item *items, size_t n, struct larder_error *err)
{
    return run_many(l, items, n, STR("DEL"), READ_INT, CMD_WRITE_FLAGS, 0, err);
}

void larder_items_release(struct larder_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        larder_value_free(&items[i].found);
}
