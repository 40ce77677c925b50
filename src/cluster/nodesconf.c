/* A line is cut into words at spaces; each word has its parser. A file that was cut short anywhere is refused
 * rather than half-believed: it ends with its `vars` line. */
#include "cluster/nodesconf.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"

struct flag_name {
    uint32_t flag;
    const char *name;
};

static const struct flag_name flag_names[] = {
    {NODE_MYSELF, "myself"}, {NODE_PRIMARY, "master"},
    {NODE_REPLICA, "slave"}, {NODE_PFAIL, "fail?"},
    {NODE_FAIL, "fail"},     {NODE_HANDSHAKE, "handshake"},
    {NODE_NOADDR, "noaddr"}, {NODE_NOFAILOVER, "nofailover"},
    {0, "noflags"},
};

static bool next_word(struct str *line, struct str *word)
{
    while (line->n > 0 && *line->p == ' ')
        *line = (struct str){line->p + 1, line->n - 1};
    size_t n = 0;
    while (n < line->n && line->p[n] != ' ')
        n++;
    *word = (struct str){line->p, n};
    *line = (struct str){line->p + n, line->n - n};
    return n > 0;
}

/* What stands before `c`, which is passed over; all of it if c is not there. */
static bool cut(struct str *s, char c, struct str *head)
{
    const char *at = s->n == 0 ? NULL : memchr(s->p, c, s->n);
    size_t n = at == NULL ? s->n : (size_t)(at - s->p);
    *head = (struct str){s->p, n};
    *s = at == NULL ? (struct str){s->p + n, 0} : (struct str){at + 1, s->n - n - 1};
    return at != NULL;
}

static bool copy_text(char *dst, size_t cap, struct str s)
{
    if (s.n >= cap)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    }
    memset(dst, 0, cap);
    if (s.n > 0)
        memcpy(dst, s.p, s.n);
    return true;
}

static bool get_port(struct str s, uint16_t *out)
{
    uint64_t v;
    if (!num_parse_u64(s, &v) || v > 65535)
        return false;
    *out = (uint16_t)v;
    return true;
}

static bool read_aux(struct node *n, struct str aux)
{
    struct str key;
    if (!cut(&aux, '=', &key))
        return false;
    if (str_eq(key, STR("shard-id"))) {
        if (!node_id_valid(aux))
            return false;
        memcpy(n->shard.c, aux.p, NODE_ID);
        return true;
    }
    if (str_eq(key, STR("nodename")))
        return copy_text(n->name, NODE_HOST_MAX, aux);
    if (str_eq(key, STR("tls-port")) || str_eq(key, STR("tcp-port")))
        return get_port(aux, str_eq(key, STR("tls-port")) ? &n->tls_port : &n->port);
    return true; /* a newer peer's */
}

/* ip:port@cport[,host[,key=value...]]; an IPv6 address has colons of its own. */
static bool read_address(struct node *n, struct str word)
{
    struct str address, port, part;
    bool more = cut(&word, ',', &address);
    size_t colon = address.n;
    while (colon > 0 && address.p[colon - 1] != ':')
        colon--;
    if (colon == 0 || !copy_text(n->ip, NODE_IP_MAX, (struct str){address.p, colon - 1}))
        return false;
    struct str rest = {address.p + colon, address.n - colon};
    bool bus = cut(&rest, '@', &port);
    if (!get_port(port, &n->port) || (bus && !get_port(rest, &n->cport)))
        return false;
    if (!bus)
        n->cport = (uint16_t)(n->port + 10000);
    if (!more)
        return true;
    more = cut(&word, ',', &part);
    if (!copy_text(n->host, NODE_HOST_MAX, part))
        return false;
    while (more) {
        more = cut(&word, ',', &part);
        if (!read_aux(n, part))
            return false;
    }
    return true;
}

static bool read_flags(struct node *n, struct str word, uint64_t now_ms)
{
    bool more = true;
    while (more) {
        struct str name;
        bool known = false;
        more = cut(&word, ',', &name);
        for (size_t i = 0; i < sizeof(flag_names) / sizeof(*flag_names); i++) {
            if (str_eq(name, str_of(flag_names[i].name))) {
                n->flags |= flag_names[i].flag;
                known = true;
            }
        }
        if (!known)
            return false;
    }
    if (node_is(n, NODE_FAIL))
        n->fail_ms = now_ms;
    return true;
}

/* The node of this id; made if a line before its own speaks of it. */
static int node_of(struct slotmap *map, struct str id, struct node **out)
{
    struct node_id key;
    if (!node_id_valid(id))
        return ERR_CORRUPT;
    memcpy(key.c, id.p, NODE_ID);
    *out = slotmap_find(map, &key);
    return *out != NULL ? 0 : slotmap_add(map, &key, 0, out);
}

static int read_move(struct nodesconf *c, struct str word)
{
    struct str text = {word.p + 1, word.n - 1}, slot;
    uint64_t number;
    if (text.n == 0 || text.p[text.n - 1] != ']' || !cut(&text, '-', &slot) ||
        !num_parse_u64(slot, &number) || number >= SLOT_COUNT || text.n != 1 + 1 + NODE_ID + 1 ||
        text.p[1] != '-' || (text.p[0] != '>' && text.p[0] != '<') ||
        !node_id_valid((struct str){text.p + 2, NODE_ID}) || c->nmoves == SLOT_COUNT)
        return ERR_CORRUPT;
    struct slot_move *more = mem_realloc(c->moves, (c->nmoves + 1) * sizeof(*more));
    if (more == NULL)
        return ERR_OOM;
    c->moves = more;
    struct slot_move *m = &c->moves[c->nmoves++];
    *m = (struct slot_move){.slot = (uint16_t)number, .importing = text.p[0] == '<'};
    memcpy(m->id.c, text.p + 2, NODE_ID);
    return 0;
}

static int read_slots(struct nodesconf *c, struct node *n, struct str line)
{
    struct str word, first;
    while (next_word(&line, &word)) {
        uint64_t from, to;
        if (*word.p == '[') {
            int err = read_move(c, word);
            if (err != 0)
                return err;
            continue;
        }
        bool range = cut(&word, '-', &first);
        if (!num_parse_u64(first, &from) || (range && !num_parse_u64(word, &to)))
            return ERR_CORRUPT;
        if (!range)
            to = from;
        if (from > to || to >= SLOT_COUNT)
            return ERR_CORRUPT;
        for (uint64_t s = from; s <= to; s++)
            slotmap_assign(c->map, (unsigned)s, n);
    }
    return 0;
}

static int read_node(struct nodesconf *c, struct str line, uint64_t now_ms)
{
    struct str w[8];
    struct node *n, *primary;
    for (int i = 0; i < 8; i++) {
        if (!next_word(&line, &w[i]))
            return ERR_CORRUPT;
    }
    int err = node_of(c->map, w[0], &n);
    if (err != 0)
        return err;
    if (n->flags != 0 || !read_address(n, w[1]) || !read_flags(n, w[2], now_ms) ||
        !num_parse_u64(w[6], &n->config_epoch))
        return ERR_CORRUPT;
    if (node_is(n, NODE_MYSELF)) {
        if (c->self != NULL)
            return ERR_CORRUPT;
        c->self = n;
    }
    if (!str_eq(w[3], STR("-"))) {
        err = node_of(c->map, w[3], &primary);
        if (err != 0 || primary == n || node_is(n, NODE_PRIMARY))
            return err != 0 ? err : ERR_CORRUPT;
        n->primary = primary;
    }
    return read_slots(c, n, line);
}

/* larderVoted-<about>-<by> <epoch>, larderEnded-<by>-<from> <epoch> */
static const char voted_key[] = "larderVoted-", ended_key[] = "larderEnded-";

/* Is the key `name`, an id, and a second one if that is not NULL? True, with none of them: it is another's.
 * False: it is wrong. */
static bool read_ids(struct str key, const char *name, struct node_id *first, struct node_id *second)
{
    const size_t at = strlen(name), two = second == NULL ? 0 : NODE_ID + 1;
    *first = (struct node_id){{0}};
    if (key.n < at || memcmp(key.p, name, at) != 0)
        return true;
    const char *ids = key.p + at;
    if (key.n != at + NODE_ID + two || !node_id_valid((struct str){ids, NODE_ID}) ||
        (second != NULL && !node_id_valid((struct str){ids + two, NODE_ID})))
        return false;
    memcpy(first->c, ids, NODE_ID);
    if (second != NULL)
        memcpy(second->c, ids + two, NODE_ID);
    return true;
}

static bool read_voted(struct nodesconf *c, struct str key, uint64_t epoch)
{
    struct node_dispute d = {.epoch = epoch};
    if (!read_ids(key, voted_key, &d.about, &d.by))
        return false;
    if (node_id_none(&d.about))
        return true;
    if (c->nvotes == NODE_DISPUTES_MAX)
        return false;
    c->votes[c->nvotes++] = d;
    return true;
}

static bool read_ended(struct nodesconf *c, struct str key, uint64_t epoch)
{
    struct node_claim e = {.epoch = epoch};
    if (!read_ids(key, ended_key, &e.by, &e.from))
        return false;
    if (node_id_none(&e.by))
        return true;
    if (c->nended == NODE_ENDED_MAX)
        return false;
    c->ended[c->nended++] = e;
    return true;
}

/* larderGivesOf-<of> 1 */
static const char of_key[] = "larderGivesOf-";

static bool read_giver(struct nodesconf *c, struct str key)
{
    struct node_id of;
    if (!read_ids(key, of_key, &of, NULL))
        return false;
    if (!node_id_none(&of) && c->gift != NULL)
        c->gift->of = of;
    return true;
}

/* Of slots, <key><id>-<first> <last>: with whom. */
static const char ready_key[] = "larderReady-", takes_key[] = "larderTakes-", gives_key[] = "larderGives-",
                  lost_key[] = "larderLost-";

/* Is the key `name`, and is anybody interested? h: read so far. False: it is wrong. */
static bool read_handover(struct handover *h, const char *name, struct str key, uint64_t last)
{
    const size_t at = strlen(name);
    uint64_t first;
    if (key.n < at || memcmp(key.p, name, at) != 0 || h == NULL)
        return true; /* another's */
    struct str with = {key.p + at, NODE_ID};
    if (key.n < at + NODE_ID + 2 || !node_id_valid(with) || last >= SLOT_COUNT ||
        !num_parse_u64((struct str){with.p + NODE_ID + 1, key.n - at - NODE_ID - 1}, &first) || first > last)
        return false;
    if (h->on && memcmp(h->with.c, with.p, NODE_ID) != 0)
        return false;
    h->on = true;
    memcpy(h->with.c, with.p, NODE_ID);
    for (uint64_t s = first; s <= last; s++)
        slots_set(h->slots, (unsigned)s, true);
    return true;
}

static void put_handover(struct buf *out, const char *key, const struct handover *h)
{
    unsigned at = 0, first, last;
    while (slots_run(h->slots, &at, &first, &last))
        buf_printf(out, " %s%.*s-%u %u", key, NODE_ID, h->with.c, first, last);
}

static void put_claim(struct buf *out, const char *key, const char *epoch_key, const struct handover *h)
{
    if (h == NULL || !h->on)
        return;
    put_handover(out, key, h);
    buf_printf(out, " %s %llu", epoch_key, (unsigned long long)h->epoch);
}

static int read_vars(struct nodesconf *c, struct str line)
{
    struct str key, value;
    while (next_word(&line, &key)) {
        uint64_t v;
        if (!next_word(&line, &value) || !num_parse_u64(value, &v))
            return ERR_CORRUPT;
        if (str_eq(key, STR("currentEpoch")))
            c->current_epoch = v;
        else if (str_eq(key, STR("lastVoteEpoch")))
            c->vote_epoch = v;
        else if (str_eq(key, STR("larderDataEpoch")))
            c->data_epoch = v;
        else if (str_eq(key, STR("larderTakesIn")) && c->taking != NULL)
            c->taking->epoch = v;
        else if (str_eq(key, STR("larderReadyIn")) && c->ready != NULL)
            c->ready->epoch = v;
        else if (str_eq(key, STR("larderLostIn")) && c->lost != NULL)
            c->lost->epoch = v;
        else if (str_eq(key, STR("larderOffers")))
            c->offers_epoch = v;
        else if (!read_voted(c, key, v) || !read_ended(c, key, v) || !read_giver(c, key) ||
                 !read_handover(c->ready, ready_key, key, v) ||
                 !read_handover(c->taking, takes_key, key, v) || !read_handover(c->gift, gives_key, key, v) ||
                 !read_handover(c->lost, lost_key, key, v))
            return ERR_CORRUPT;
    }
    return 0;
}

/* Every id that a line spoke of has a line of its own, and one of them is ours. */
static int complete(struct nodesconf *c, bool vars)
{
    if (c->map->n == 0)
        return ERR_NOTFOUND;
    if (c->self == NULL || !vars)
        return ERR_CORRUPT;
    for (unsigned i = 0; i < c->map->n; i++) {
        struct node *n = c->map->nodes[i];
        if (!node_is(n, NODE_PRIMARY | NODE_REPLICA | NODE_NOADDR | NODE_FAIL) && n->port == 0)
            return ERR_CORRUPT;
        if (n->config_epoch > c->current_epoch)
            c->current_epoch = n->config_epoch;
    }
    return 0;
}

int nodesconf_read(struct str text, uint64_t now_ms, struct nodesconf *c, unsigned *line)
{
    bool vars = false;
    int err = 0;
    ASSERT(c->map->n == 0);
    *c = (struct nodesconf){
        .map = c->map, .taking = c->taking, .ready = c->ready, .gift = c->gift, .lost = c->lost};
    for (*line = 1; text.n > 0 && err == 0; ++*line) {
        struct str row, head, rest;
        bool whole = cut(&text, '\n', &row);
        rest = row;
        if (!next_word(&rest, &head))
            continue;
        if (!whole || vars)
            err = ERR_CORRUPT;
        else if (str_eq(head, STR("vars")))
            err = read_vars(c, rest), vars = true;
        else
            err = read_node(c, row, now_ms);
    }
    if (err == 0)
        err = complete(c, vars);
    if (err != 0) {
        --*line;
        slotmap_release(c->map);
        mem_free(c->moves);
        c->moves = NULL;
        c->nmoves = 0;
        c->self = NULL;
    }
    return err;
}

static void put_flags(struct buf *out, const struct node *n)
{
    bool some = false;
    for (size_t i = 0; i < sizeof(flag_names) / sizeof(*flag_names); i++) {
        if (!(n->flags & flag_names[i].flag))
            continue;
        buf_printf(out, "%s%s", some ? "," : "", flag_names[i].name);
        some = true;
    }
    if (!some)
        buf_puts(out, STR("noflags"));
}

static void put_address(struct buf *out, const struct node *n, bool full)
{
    buf_printf(out, " %s:%u@%u", n->ip, n->port, n->cport);
    bool aux = full && !node_id_none(&n->shard);
    if (n->host[0] != '\0' || aux)
        buf_printf(out, ",%s", n->host);
    if (!aux)
        return;
    if (n->name[0] != '\0')
        buf_printf(out, ",nodename=%s", n->name);
    if (n->tls_port != 0)
        buf_printf(out, ",tls-port=%u", n->tls_port);
    buf_printf(out, ",shard-id=%.*s", NODE_ID, n->shard.c);
}

static void put_slots(struct buf *out, const struct nodesconf *c, const struct node *n)
{
    unsigned at = 0, first, last;
    while (slots_run(n->slots, &at, &first, &last)) {
        if (first == last)
            buf_printf(out, " %u", first);
        else
            buf_printf(out, " %u-%u", first, last);
    }
    for (unsigned i = 0; n == c->self && i < c->nmoves; i++) {
        const struct slot_move *m = &c->moves[i];
        buf_printf(out, " [%u-%c-%.*s]", m->slot, m->importing ? '<' : '>', NODE_ID, m->id.c);
    }
}

static uint64_t wall(uint64_t ms, int64_t offset)
{
    return ms == 0 ? 0 : (uint64_t)((int64_t)ms + offset);
}

int nodesconf_put_node(struct buf *out, const struct nodesconf *c, const struct node *n, bool full,
                       int64_t wall_offset_ms)
{
    const struct node *from = node_is(n, NODE_REPLICA) && n->primary != NULL ? n->primary : n;
    buf_printf(out, "%.*s", NODE_ID, n->id.c);
    put_address(out, n, full);
    buf_putc(out, ' ');
    put_flags(out, n);
    if (n->primary != NULL)
        buf_printf(out, " %.*s", NODE_ID, n->primary->id.c);
    else
        buf_puts(out, STR(" -"));
    /* A replica shows its primary's epoch, but only where people look: the file keeps its own. */
    buf_printf(out, " %llu %llu %llu %s", (unsigned long long)wall(n->ping_sent_ms, wall_offset_ms),
               (unsigned long long)wall(n->pong_ms, wall_offset_ms),
               (unsigned long long)(full ? n->config_epoch : from->config_epoch),
               n == c->self || n->out_up ? "connected" : "disconnected");
    put_slots(out, c, n);
    return out->oom ? ERR_OOM : 0;
}

int nodesconf_write(const struct nodesconf *c, struct buf *out)
{
    for (unsigned i = 0; i < c->map->n; i++) {
        if (node_is(c->map->nodes[i], NODE_HANDSHAKE))
            continue;
        nodesconf_put_node(out, c, c->map->nodes[i], true, 0);
        buf_putc(out, '\n');
    }
    buf_printf(out, "vars currentEpoch %llu lastVoteEpoch %llu larderDataEpoch %llu",
               (unsigned long long)c->current_epoch, (unsigned long long)c->vote_epoch,
               (unsigned long long)c->data_epoch);
    put_claim(out, ready_key, "larderReadyIn", c->ready);
    if (c->taking != NULL && c->taking->epoch != 0) {
        put_handover(out, takes_key, c->taking);
        if (!c->taking->elected)
            buf_printf(out, " larderTakesIn %llu", (unsigned long long)c->taking->epoch);
    }
    if (c->gift != NULL && c->offers_epoch != 0) {
        put_handover(out, gives_key, c->gift);
        buf_printf(out, " %s%.*s 1", of_key, NODE_ID, c->gift->of.c);
    }
    if (c->offers_epoch != 0)
        buf_printf(out, " larderOffers %llu", (unsigned long long)c->offers_epoch);
    put_claim(out, lost_key, "larderLostIn", c->lost);
    for (unsigned i = 0; i < c->nvotes; i++)
        buf_printf(out, " %s%.*s-%.*s %llu", voted_key, NODE_ID, c->votes[i].about.c, NODE_ID,
                   c->votes[i].by.c, (unsigned long long)c->votes[i].epoch);
    for (unsigned i = 0; i < c->nended; i++)
        buf_printf(out, " %s%.*s-%.*s %llu", ended_key, NODE_ID, c->ended[i].by.c, NODE_ID,
                   c->ended[i].from.c, (unsigned long long)c->ended[i].epoch);
    buf_putc(out, '\n');
    return out->oom ? ERR_OOM : 0;
}
