/* nodes.conf, which Redis reads and writes too:
 *
 *      id ip:port@cport[,hostname[,name=value...]] flags primary|- ping pong epoch link slots... [slot->-id]
 * [slot-<-id] vars currentEpoch N lastVoteEpoch N
 *
 * A file is read whole or not at all: whoever calls starts anew or not. */
#include "gossip/gossip_internal.h"

#include "base/annotate.h"
#include "base/err.h"
#include "base/num.h"

#include <string.h>

enum { NODE_WORDS = 8 };

static const struct {
    const char *name;
    uint32_t flag;
} flag_names[] = {
    {"myself", NODE_MYSELF}, {"master", NODE_PRIMARY},
    {"slave", NODE_REPLICA}, {"fail?", NODE_PFAIL},
    {"fail", NODE_FAIL},     {"handshake", NODE_HANDSHAKE},
    {"noaddr", NODE_NOADDR}, {"nofailover", NODE_NOFAILOVER},
    {"noflags", 0},
};

/* ---- writing ------------------------------------------------------------------------------------------ */

static void put_flags(struct buf *b, uint32_t flags)
{
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (!(flags & flag_names[i].flag))
            continue;
        buf_printf(b, "%s%s", any ? "," : "", flag_names[i].name);
        any = true;
    }
    if (!any)
        buf_puts(b, STR("noflags"));
}

static void put_slots(const struct gossip *g, const struct node *n, struct buf *b)
{
    for (uint32_t i = 0; i < PACKET_SLOTS; i++) {
        uint32_t first = i;
        if (g->owner[i] != n)
            continue;
        while (i + 1 < PACKET_SLOTS && g->owner[i + 1] == n)
            i++;
        buf_printf(b, first == i ? " %u" : " %u-%u", first, i);
    }
    for (uint32_t i = 0; n == g->myself && i < PACKET_SLOTS; i++) {
        if (g->to[i] != NULL)
            buf_printf(b, " [%u->-%s]", i, g->to[i]->id);
        else if (g->from[i] != NULL)
            buf_printf(b, " [%u-<-%s]", i, g->from[i]->id);
    }
}

void gossip_put_conf(const struct gossip *g, struct buf *b)
{
    for (const struct node *n = g->nodes; n != NULL; n = n->next) {
        if (n->flags & NODE_HANDSHAKE)
            continue;
        buf_printf(b, "%s %s:%u@%u%s%s ", n->id, n->ip, n->port, n->cport, n->hostname[0] != '\0' ? "," : "",
                   n->hostname);
        put_flags(b, n->flags);
        buf_printf(b, " %s %lld %lld %llu %s", n->primary != NULL ? n->primary->id : "-",
                   (long long)n->ping_ms, (long long)n->pong_ms, (unsigned long long)n->config_epoch,
                   n->link_up || n == g->myself ? "connected" : "disconnected");
        put_slots(g, n, b);
        buf_putc(b, '\n');
    }
    buf_printf(b, "vars currentEpoch %llu lastVoteEpoch %llu\n", (unsigned long long)g->current_epoch,
               (unsigned long long)g->voted_epoch);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static struct str next_word(struct str *line)
{
    while (line->n > 0 && (line->p[0] == ' ' || line->p[0] == '\r'))
        *line = (struct str){line->p + 1, line->n - 1};
    size_t n = 0;
    while (n < line->n && line->p[n] != ' ' && line->p[n] != '\r')
        n++;
    struct str w = {line->p, n};
    *line = (struct str){line->p + n, line->n - n};
    return w;
}

static bool get_number(struct str w, int64_t min, int64_t max, int64_t *out)
{
    return num_parse_i64(w, out) && *out >= min && *out <= max;
}

static bool is_id(struct str w)
{
    for (size_t i = 0; i < w.n; i++)
        if (!((w.p[i] >= '0' && w.p[i] <= '9') || (w.p[i] >= 'a' && w.p[i] <= 'f')))
            return false;
    return w.n == PACKET_ID;
}

/* The node of this id, made if it is the first time that it is named. NULL: no id, or no memory. */
static struct node *named(struct gossip *g, struct str w)
{
    char id[PACKET_ID + 1];
    if (!is_id(w))
        return NULL;
    memcpy(id, w.p, PACKET_ID);
    id[PACKET_ID] = '\0';
    struct node *n = gossip_find(g, id);
    return n != NULL ? n : node_add(g, id, 0);
}

static bool get_address(struct node *n, struct str w)
{
    const char *comma = memchr(w.p, ',', w.n);
    struct str address = {w.p, comma != NULL ? (size_t)(comma - w.p) : w.n};
    if (comma != NULL) {
        struct str name = {comma + 1, w.n - address.n - 1};
        const char *end = memchr(name.p, ',', name.n);
        name.n = end != NULL ? (size_t)(end - name.p) : name.n;
        if (name.n >= sizeof n->hostname)
            return false;
        if (memchr(name.p, '=', name.n) == NULL)
            memcpy(n->hostname, name.p, name.n);
    }
    const char *at = memchr(address.p, '@', address.n);
    struct str host = {address.p, at != NULL ? (size_t)(at - address.p) : address.n};
    const char *colon = memrchr(host.p, ':', host.n);
    int64_t port, cport;
    if (colon == NULL || (size_t)(colon - host.p) >= sizeof n->ip ||
        !get_number((struct str){colon + 1, host.n - (size_t)(colon + 1 - host.p)}, 0, 65535, &port))
        return false;
    cport = port + 10000;
    if (at != NULL && !get_number((struct str){at + 1, address.n - host.n - 1}, 0, 65535, &cport))
        return false;
    memcpy(n->ip, host.p, (size_t)(colon - host.p));
    n->port = (uint16_t)port;
    n->cport = (uint16_t)cport;
    return true;
}

static bool get_flags(struct gossip *g, struct node *n, struct str w)
{
    while (w.n > 0) {
        const char *comma = memchr(w.p, ',', w.n);
        size_t length = comma != NULL ? (size_t)(comma - w.p) : w.n, i = 0;
        while (i < ARRAY_LEN(flag_names) && !str_eq((struct str){w.p, length}, str_of(flag_names[i].name)))
            i++;
        if (i == ARRAY_LEN(flag_names))
            return false;
        n->flags |= flag_names[i].flag;
        length += comma != NULL;
        w = (struct str){w.p + length, w.n - length};
    }
    if (n->flags & NODE_FAIL)
        n->fail_ms = g->now_ms;
    if (n->flags & NODE_MYSELF) {
        if (g->myself != NULL)
            return false;
        g->myself = n;
    }
    n->flags &= ~(uint32_t)NODE_PFAIL;
    return true;
}

/* "[5->-id" or "[5-<-id", the bracket cut off. */
static bool get_moving(struct gossip *g, struct str w)
{
    const char *dash = memchr(w.p, '-', w.n);
    int64_t slot;
    if (dash == NULL || w.n - (size_t)(dash - w.p) < 3 || dash[2] != '-' ||
        !get_number((struct str){w.p, (size_t)(dash - w.p)}, 0, PACKET_SLOTS - 1, &slot))
        return false;
    struct node *other = named(g, (struct str){dash + 3, w.n - (size_t)(dash + 3 - w.p)});
    if (other == NULL || (dash[1] != '>' && dash[1] != '<'))
        return false;
    if (dash[1] == '>')
        g->to[slot] = other;
    else
        g->from[slot] = other;
    return true;
}

static bool get_slots(struct gossip *g, struct node *n, struct str w)
{
    int64_t first, last;
    if (w.p[0] == '[')
        return w.n > 2 && w.p[w.n - 1] == ']' && get_moving(g, (struct str){w.p + 1, w.n - 2});
    const char *dash = memchr(w.p, '-', w.n);
    struct str a = {w.p, dash != NULL ? (size_t)(dash - w.p) : w.n};
    struct str b = dash != NULL ? (struct str){dash + 1, w.n - a.n - 1} : a;
    if (!get_number(a, 0, PACKET_SLOTS - 1, &first) || !get_number(b, first, PACKET_SLOTS - 1, &last))
        return false;
    for (int64_t i = first; i <= last; i++)
        slot_give(g, (uint32_t)i, n);
    return true;
}

static bool get_vars(struct gossip *g, struct str line)
{
    int64_t v;
    for (struct str name; (name = next_word(&line)).n > 0;) {
        if (!get_number(next_word(&line), 0, INT64_MAX, &v))
            return false;
        if (str_eq(name, STR("currentEpoch")))
            g->current_epoch = (uint64_t)v;
        else if (str_eq(name, STR("lastVoteEpoch")))
            g->voted_epoch = (uint64_t)v;
    }
    return true;
}

static bool get_line(struct gossip *g, struct str line)
{
    struct str w = next_word(&line);
    int64_t v;
    if (w.n == 0)
        return true;
    if (str_eq(w, STR("vars")))
        return get_vars(g, line);
    struct node *n = named(g, w);
    if (n == NULL || n->flags != 0 || !get_address(n, next_word(&line)) || !get_flags(g, n, next_word(&line)))
        return false;
    w = next_word(&line);
    if (!str_eq(w, STR("-")) && (n->primary = named(g, w)) == NULL)
        return false;
    if (!get_number(next_word(&line), 0, INT64_MAX, &v)) /* a ping from before is no ping any more */
        return false;
    if (!get_number(next_word(&line), 0, INT64_MAX, &n->pong_ms) ||
        !get_number(next_word(&line), 0, INT64_MAX, &v))
        return false;
    n->config_epoch = (uint64_t)v;
    if (next_word(&line).n == 0)
        return false;
    while ((w = next_word(&line)).n > 0)
        if (!get_slots(g, n, w))
            return false;
    return true;
}

static bool is_sound(const struct gossip *g)
{
    for (const struct node *n = g->nodes; n != NULL; n = n->next)
        if (n->flags == 0 || n->primary == n || (n->primary != NULL && is_primary(n)))
            return false;
    return g->myself != NULL && !(is_primary(g->myself) && is_replica(g->myself));
}

int gossip_load(struct gossip *g, struct str text, uint32_t *line)
{
    for (*line = 1; text.n > 0; ++*line) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        if (!get_line(g, (struct str){text.p, n}))
            return ERR_SYNTAX;
        n += end != NULL;
        text = (struct str){text.p + n, text.n - n};
    }
    if (!is_sound(g))
        return ERR_SYNTAX;
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (n->primary != NULL)
            n->primary->flags |= NODE_MIGRATE_TO;
        if (n->config_epoch > g->current_epoch)
            g->current_epoch = n->config_epoch;
    }
    memset(g->todo.lost, 0, sizeof g->todo.lost);
    g->todo = (struct gossip_todo){.view = true, .role = true};
    return 0;
}
