/* From empty nodes to a cluster: slots to the primaries, epochs so that no two are the same, everybody meets
 * the first one, and when all know all, the replicas are told whose they are. */
#include "tool/cluster/work.h"

#include "base/alloc.h"
#include "os/sock.h"

#include <stdio.h>
#include <string.h>

struct member {
    char host[LINK_HOST_MAX];
    int port, bus_port; /* the latter is the node's own business: it says */
    char id[MAP_ID + 1];
    struct link link;
    bool open;
};

static bool say(struct member *m, struct reader_value *reply, const char *line)
{
    if (link_say(&m->link, reply, "%s", line) == 0)
        return true;
    work_fail("%s", m->link.error);
    return false;
}

static bool is_empty(struct work *w, struct member *m)
{
    struct map *map = &w->map;
    if (map_read(map, &m->link) != 0) {
        work_fail("%s%s", m->link.error,
                  strstr(m->link.error, "support disabled") != NULL ? "; start it with 'cluster-enabled yes'"
                                                                    : "");
        return false;
    }
    if (!work_is_empty(map, &m->link))
        return false;
    memcpy(m->id, map->nodes[map->me].id, sizeof m->id);
    m->bus_port = map->nodes[map->me].bus_port;
    return true;
}

static bool look_at(struct work *w, struct member *members, uint32_t i)
{
    struct member *m = &members[i];
    if (!link_parse_address(w->words[i], m->host, &m->port)) {
        work_fail("'%s' is no address; it looks like 127.0.0.1:6379", w->words[i]);
        return false;
    }
    m->open = true;
    if (link_open(&m->link, m->host, m->port, &w->secret) != 0) {
        work_fail("%s", m->link.error);
        return false;
    }
    sock_peer_ip(m->link.fd, m->host, sizeof m->host); /* a number: CLUSTER MEET wants one */
    if (!is_empty(w, m))
        return false;
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(members[k].id, m->id) == 0) {
            work_fail("%s and %s are the same node", w->words[k], w->words[i]);
            return false;
        }
    return true;
}

/* The replica that stands `k`-th behind the primaries: the next primary, but one on another host if there is
 * one. */
static uint32_t primary_of(const struct member *members, uint32_t k, uint32_t primaries, uint32_t round)
{
    uint32_t i = (k + 1 + round) % primaries;
    for (uint32_t tries = 0; tries < primaries; tries++, i = (i + 1) % primaries)
        if (strcmp(members[i].host, members[primaries + round * primaries + k].host) != 0)
            return i;
    return k;
}

static void show(const struct work *w, const struct member *members, uint32_t primaries)
{
    for (uint32_t i = 0; i < primaries; i++)
        printf("primary %s  slots %u-%u\n", w->words[i], plan_cut(i, primaries),
               plan_cut(i + 1, primaries) - 1);
    for (uint32_t i = primaries; i < w->nwords; i++)
        printf("replica %s  of %s\n", w->words[i],
               w->words[primary_of(members, (i - primaries) % primaries, primaries,
                                   (i - primaries) / primaries)]);
}

static bool make_primary(struct member *members, uint32_t i, uint32_t primaries)
{
    char line[128];
    struct reader_value reply;
    snprintf(line, sizeof line, "CLUSTER ADDSLOTSRANGE %u %u", plan_cut(i, primaries),
             plan_cut(i + 1, primaries) - 1);
    if (!say(&members[i], &reply, line))
        return false;
    snprintf(line, sizeof line, "CLUSTER SET-CONFIG-EPOCH %u", i + 1);
    return say(&members[i], &reply, line);
}

static bool meet_first(struct member *members, uint32_t i)
{
    struct reader_value reply;
    const struct member *first = &members[0];
    int rc = link_say(&members[i].link, &reply, "CLUSTER MEET %s %d %d", first->host, first->port,
                      first->bus_port);
    if (rc != 0)
        work_fail("%s", members[i].link.error);
    return rc == 0;
}

static bool follow(struct member *members, uint32_t i, uint32_t primary)
{
    struct reader_value reply;
    char line[128];
    snprintf(line, sizeof line, "CLUSTER REPLICATE %s", members[primary].id);
    return say(&members[i], &reply, line);
}

static bool make_it(struct work *w, struct member *members, uint32_t primaries)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < primaries; i++)
        ok = make_primary(members, i, primaries);
    for (uint32_t i = 1; ok && i < w->nwords; i++)
        ok = meet_first(members, i);
    printf("Waiting until all nodes know each other ...\n");
    ok = ok && work_look(w, 0) && work_agree(w, w->nwords);
    for (uint32_t i = primaries; ok && i < w->nwords; i++)
        ok = follow(members, i,
                    primary_of(members, (i - primaries) % primaries, primaries, (i - primaries) / primaries));
    return ok && work_agree(w, w->nwords);
}

int cluster_create(struct work *w)
{
    uint32_t primaries = w->nwords / (w->replicas + 1);
    int rc = 1;
    if (primaries == 0)
        return work_fail("%u nodes are too few for a primary with %u replicas", w->nwords, w->replicas);
    if (primaries * (w->replicas + 1) != w->nwords)
        return work_fail("%u nodes cannot be primaries with %u replicas each; give %u or %u nodes", w->nwords,
                         w->replicas, primaries * (w->replicas + 1), (primaries + 1) * (w->replicas + 1));
    if (primaries < 3)
        fprintf(stderr,
                "Note: with fewer than 3 primaries nobody can replace a primary that dies: a majority of "
                "them must agree.\n");
    struct member *members = mem_must(mem_zalloc(w->nwords * sizeof *members));
    bool ok = true;
    for (uint32_t i = 0; ok && i < w->nwords; i++)
        ok = look_at(w, members, i);
    if (ok)
        show(w, members, primaries);
    if (ok && !work_confirmed(w))
        rc = w->dry_run ? 0 : 1;
    else if (ok && make_it(w, members, primaries)) {
        printf("The cluster serves: %u primaries, %u replicas.\n", primaries, w->nwords - primaries);
        rc = 0;
    }
    for (uint32_t i = 0; i < w->nwords; i++)
        if (members[i].open)
            link_release(&members[i].link);
    mem_free(members);
    return rc;
}
