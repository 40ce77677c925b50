#include "tool/cluster/map.h"

#include "base/err.h"
#include "base/num.h"
#include "os/sock.h"

#include <stdio.h>
#include <string.h>

/* The next word of *line. */
static struct str word(struct str *line)
{
    const char *space = memchr(line->p, ' ', line->n);
    size_t n = space != NULL ? (size_t)(space - line->p) : line->n;
    struct str w = {line->p, n};
    n += space != NULL;
    *line = (struct str){line->p + n, line->n - n};
    return w;
}

static bool copy(char *dst, size_t room, struct str s)
{
    if (s.n >= room)
        return false;
    memcpy(dst, s.p, s.n);
    dst[s.n] = '\0';
    return true;
}

/* ip:port@bus_port[,hostname] */
static bool parse_address(struct map_node *n, struct str w)
{
    const char *at = memchr(w.p, '@', w.n);
    const char *colon = at != NULL ? memrchr(w.p, ':', (size_t)(at - w.p)) : NULL;
    int64_t port, bus;
    if (colon == NULL)
        return false;
    struct str rest = {at + 1, (size_t)(w.p + w.n - at) - 1};
    const char *comma = memchr(rest.p, ',', rest.n);
    if (comma != NULL)
        rest.n = (size_t)(comma - rest.p);
    if (!copy(n->host, sizeof n->host, (struct str){w.p, (size_t)(colon - w.p)}) ||
        !num_parse_i64((struct str){colon + 1, (size_t)(at - colon) - 1}, &port) ||
        !num_parse_i64(rest, &bus))
        return false;
    n->port = (int)port;
    n->bus_port = (int)bus;
    n->unknown |= n->host[0] == '\0' || port < 1 || port > 65535;
    return true;
}

static void parse_flags(struct map *m, struct map_node *n, struct str w)
{
    while (w.n > 0) {
        const char *comma = memchr(w.p, ',', w.n);
        size_t length = comma != NULL ? (size_t)(comma - w.p) : w.n;
        struct str f = {w.p, length};
        n->replica |= str_is(f, "slave");
        n->failed |= str_is(f, "fail");
        n->suspected |= str_is(f, "fail?");
        n->unknown |= str_is(f, "handshake") || str_is(f, "noaddr");
        if (str_is(f, "myself"))
            m->me = (uint32_t)(n - m->nodes);
        length += comma != NULL;
        w = (struct str){w.p + length, w.n - length};
    }
}

static uint32_t find_id(const struct map *m, const char *id)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->nodes[i].id, id) == 0)
            return i;
    return MAP_NOBODY;
}

/* [5->-id], [5-<-id]: half open. */
static bool parse_open(struct map *m, struct str w)
{
    const char *dash = memchr(w.p, '-', w.n);
    int64_t slot;
    char id[MAP_ID + 1];
    if (dash == NULL || !num_parse_i64((struct str){w.p + 1, (size_t)(dash - w.p) - 1}, &slot) || slot < 0 ||
        slot >= MAP_SLOTS || w.p + w.n - dash != MAP_ID + 4 || w.p[w.n - 1] != ']')
        return false;
    (void)copy(id, sizeof id, (struct str){dash + 3, MAP_ID});
    uint32_t other = find_id(m, id);
    (dash[1] == '>' ? m->to : m->from)[slot] = other == MAP_NOBODY ? MAP_STRANGER : (uint16_t)other;
    m->open++;
    return true;
}

/* 5, 5-10; those that are half open wait until all ids are known. */
static bool parse_slots(struct map *m, uint32_t node, struct str w)
{
    int64_t first, last;
    const char *dash = memchr(w.p, '-', w.n);
    if (w.n > 0 && w.p[0] == '[')
        return true;
    struct str a = {w.p, dash != NULL ? (size_t)(dash - w.p) : w.n};
    struct str b = dash != NULL ? (struct str){dash + 1, w.n - a.n - 1} : a;
    if (!num_parse_i64(a, &first) || !num_parse_i64(b, &last) || first < 0 || last >= MAP_SLOTS ||
        first > last)
        return false;
    for (int64_t i = first; i <= last; i++)
        m->owner[i] = (uint16_t)node;
    m->nodes[node].slots += (uint32_t)(last - first + 1);
    return true;
}

/* *mine: the slots of the node whose view it is. */
static int parse_line(struct map *m, struct str line, struct str *mine)
{
    if (m->n == MAP_NODES_MAX)
        return ERR_FULL;
    struct map_node *n = &m->nodes[m->n];
    int64_t epoch;
    memset(n, 0, sizeof *n);
    n->primary = MAP_NOBODY;
    struct str id = word(&line), address = word(&line), flags = word(&line), primary = word(&line);
    word(&line); /* ping and pong */
    word(&line);
    struct str number = word(&line);
    word(&line); /* link */
    if (id.n != MAP_ID || !copy(n->id, sizeof n->id, id) ||
        !copy(n->primary_id, sizeof n->primary_id, primary) || !num_parse_i64(number, &epoch) ||
        !parse_address(n, address))
        return ERR_SYNTAX;
    n->epoch = (uint64_t)epoch;
    parse_flags(m, n, flags);
    if (m->me == m->n)
        *mine = line;
    while (line.n > 0)
        if (!parse_slots(m, m->n, word(&line)))
            return ERR_SYNTAX;
    m->n++;
    return 0;
}

int map_parse(struct map *m, struct str text)
{
    struct str mine = STR("");
    m->n = m->me = m->open = 0;
    memset(m->owner, 0xff, sizeof m->owner);
    memset(m->to, 0xff, sizeof m->to);
    memset(m->from, 0xff, sizeof m->from);
    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        struct str line = {text.p, n > 0 && text.p[n - 1] == '\r' ? n - 1 : n};
        int rc = line.n > 0 ? parse_line(m, line, &mine) : 0;
        if (rc != 0)
            return rc;
        n += end != NULL;
        text = (struct str){text.p + n, text.n - n};
    }
    for (uint32_t i = 0; i < m->n; i++)
        if (m->nodes[i].replica)
            m->nodes[i].primary = (uint16_t)find_id(m, m->nodes[i].primary_id);
    while (mine.n > 0) {
        struct str w = word(&mine);
        if (w.n > 0 && w.p[0] == '[' && !parse_open(m, w))
            return ERR_SYNTAX;
    }
    m->uncovered = 0;
    for (uint32_t i = 0; i < MAP_SLOTS; i++)
        m->uncovered += m->owner[i] == MAP_NOBODY;
    return m->n > 0 ? 0 : ERR_SYNTAX;
}

int map_read(struct map *m, struct link *l)
{
    struct reader_value reply;
    int rc = link_say(l, &reply, "CLUSTER NODES");
    if (rc != 0)
        return rc;
    rc = map_parse(m, reply.text);
    if (rc != 0) {
        snprintf(l->error, sizeof l->error, "%s:%d: CLUSTER NODES: the reply is not understood", l->host,
                 l->port);
        return ERR_IO;
    }
    if (m->nodes[m->me].host[0] == '\0') { /* a node that nobody has met does not know its address */
        sock_peer_ip(l->fd, m->nodes[m->me].host, sizeof m->nodes[m->me].host);
        m->nodes[m->me].unknown = false;
    }
    return 0;
}

uint32_t map_find(const struct map *m, const char *name)
{
    uint32_t found = MAP_NOBODY;
    size_t n = strlen(name);
    for (uint32_t i = 0; i < m->n; i++) {
        char address[LINK_HOST_MAX + 16];
        snprintf(address, sizeof address, "%s:%d", m->nodes[i].host, m->nodes[i].port);
        if (strncmp(m->nodes[i].id, name, n) != 0 && strcmp(address, name) != 0)
            continue;
        if (found != MAP_NOBODY)
            return MAP_NOBODY;
        found = i;
    }
    return found;
}
