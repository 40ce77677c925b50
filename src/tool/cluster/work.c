#include "tool/cluster/work.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/num.h"
#include "os/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int work_fail(const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "larder cluster: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    return 1;
}

int work_fail_of_slots(const struct map_node *n)
{
    return work_fail(
        "%s:%d has failed and still owns %u slots: start it again, let a replica take over (CLUSTER FAILOVER "
        "TAKEOVER), or give its slots away with redis-cli --cluster fix.",
        n->host, n->port, n->slots);
}

static struct link *open_link(struct work *w, const char *host, int port)
{
    struct link *l = mem_must(mem_zalloc(sizeof *l));
    if (link_open(l, host, port, &w->secret) == 0)
        return l;
    work_fail("%s", l->error);
    link_release(l);
    mem_free(l);
    return NULL;
}

static void close_link(struct link *l)
{
    if (l == NULL)
        return;
    link_release(l);
    mem_free(l);
}

void work_unlink(struct work *w, uint32_t node)
{
    close_link(w->links[node]);
    w->links[node] = NULL;
}

void work_release(struct work *w)
{
    for (uint32_t i = 0; i < MAP_NODES_MAX; i++)
        work_unlink(w, i);
}

bool work_look(struct work *w, uint32_t i)
{
    char host[LINK_HOST_MAX];
    int port;
    if (!link_parse_address(w->words[i], host, &port)) {
        work_fail("'%s' is no address; it looks like 127.0.0.1:6379", w->words[i]);
        return false;
    }
    work_release(w);
    struct link *l = open_link(w, host, port);
    if (l == NULL)
        return false;
    bool ok = map_read(&w->map, l) == 0;
    if (ok) {
        w->links[w->map.me] = l;
        return true;
    }
    work_fail("%s", l->error);
    if (strstr(l->error, "cluster support disabled") != NULL)
        work_fail("start the node with 'cluster-enabled yes'");
    close_link(l);
    return false;
}

bool work_is_empty(const struct map *m, struct link *l)
{
    struct reader_value reply;
    if (m->n > 1 || m->uncovered != MAP_SLOTS)
        return work_fail("%s:%d knows other nodes or has slots already. To make it forget them: CLUSTER "
                         "RESET there.",
                         l->host, l->port) == 0;
    if (link_say(l, &reply, "DBSIZE") != 0)
        return work_fail("%s", l->error) == 0;
    if (reply.integer != 0)
        return work_fail("%s:%d holds %lld keys; only an empty node can join. To drop them: FLUSHALL there.",
                         l->host, l->port, (long long)reply.integer) == 0;
    return true;
}

struct link *work_link(struct work *w, uint32_t node)
{
    if (w->links[node] == NULL)
        w->links[node] = open_link(w, w->map.nodes[node].host, w->map.nodes[node].port);
    return w->links[node];
}

/* ---- agreement ------------------------------------------------------------------------------------- */

static bool same_view(const struct map *a, const struct map *b)
{
    for (uint32_t i = 0; i < MAP_SLOTS; i++) {
        bool x = a->owner[i] != MAP_NOBODY, y = b->owner[i] != MAP_NOBODY;
        if (x != y || (x && strcmp(a->nodes[a->owner[i]].id, b->nodes[b->owner[i]].id) != 0))
            return false;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t k = map_find(b, a->nodes[i].id);
        if (k == MAP_NOBODY || a->nodes[i].replica != b->nodes[k].replica ||
            strcmp(a->nodes[i].primary_id, b->nodes[k].primary_id) != 0)
            return false;
    }
    return true;
}

static bool is_calm(const struct map *m, uint32_t nodes)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (m->nodes[i].unknown)
            return false;
    return m->n == nodes;
}

/* A node that has just come back, or joined, does not serve at once. */
static bool serves(struct link *l, const struct map *m)
{
    struct reader_value reply;
    if (m->uncovered > 0)
        return true; /* nobody does */
    return link_say(l, &reply, "CLUSTER INFO") == 0 &&
           memmem(reply.text.p, reply.text.n, "cluster_state:ok", 16) != NULL;
}

static bool differs(struct work *w, const struct map_node *n)
{
    snprintf(w->last, sizeof w->last, "%s:%d", n->host, n->port);
    return false;
}

/* w->map is the view of the first one, once all of them have been asked; w->last, who did not say the same.
 */
static bool all_agree(struct work *w, uint32_t nodes)
{
    struct map *other = &w->other;
    struct link *first = w->links[w->map.me];
    if (first == NULL || map_read(&w->map, first) != 0 || !is_calm(&w->map, nodes) || !serves(first, &w->map))
        return differs(w, &w->map.nodes[w->map.me]);
    for (uint32_t i = 0; i < w->map.n; i++) {
        if (w->map.nodes[i].failed || i == w->map.me)
            continue;
        struct link l;
        bool ok = link_open(&l, w->map.nodes[i].host, w->map.nodes[i].port, &w->secret) == 0 &&
                  map_read(other, &l) == 0 && is_calm(other, nodes) && same_view(&w->map, other) &&
                  serves(&l, other);
        link_release(&l);
        if (!ok)
            return differs(w, &w->map.nodes[i]);
    }
    return true;
}

/* A primary that has failed without anybody to take over: the cluster does not come back by waiting. */
static const struct map_node *find_lost(const struct map *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        bool heir = !m->nodes[i].failed || m->nodes[i].slots == 0;
        for (uint32_t k = 0; k < m->n && !heir; k++)
            heir = m->nodes[k].primary == i && !m->nodes[k].failed;
        if (!heir)
            return &m->nodes[i];
    }
    return NULL;
}

/* Numbers of nodes may change from one reading to the next, so no link is kept but the first. */
static void keep_first_link(struct work *w)
{
    struct link *first = w->links[w->map.me];
    w->links[w->map.me] = NULL;
    work_release(w);
    w->links[w->map.me] = first;
}

static void move_first_link(struct work *w, uint32_t from)
{
    struct link *first = w->links[from];
    w->links[from] = NULL;
    w->links[w->map.me] = first;
}

bool work_agree(struct work *w, uint32_t nodes)
{
    int64_t until = os_mono_ns() / 1000000 + WORK_AGREE_MS;
    keep_first_link(w);
    for (;;) {
        uint32_t me = w->map.me;
        bool ok = all_agree(w, nodes);
        move_first_link(w, me);
        if (ok)
            return true;
        const struct map_node *lost = find_lost(&w->map);
        if (lost != NULL)
            return work_fail_of_slots(lost) == 0;
        if (os_mono_ns() / 1000000 > until)
            break;
        usleep(WORK_LOOK_MS * 1000);
    }
    work_fail(
        "the nodes do not agree, or do not serve, after %d s; %s is one that does not. Can every node reach "
        "every other on its port + 10000? 'larder cluster status %s' shows what it sees.",
        WORK_AGREE_MS / 1000, w->last, w->last);
    return false;
}

/* ---- Ctrl-C ---------------------------------------------------------------------------------------- */

bool work_interrupted(const sigset_t *set)
{
    const struct timespec now = {0, 0};
    return sigtimedwait(set, NULL, &now) == SIGINT;
}

/* ---- INFO ------------------------------------------------------------------------------------------ */

struct str work_field(struct str text, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = text.p; at != NULL && at < text.p + text.n;) {
        size_t left = (size_t)(text.p + text.n - at);
        const char *end = memchr(at, '\r', left);
        size_t length = end != NULL ? (size_t)(end - at) : left;
        if (length > n && memcmp(at, name, n) == 0 && at[n] == ':')
            return (struct str){at + n + 1, length - n - 1};
        at = end != NULL && left > length + 2 ? end + 2 : NULL;
    }
    return STR("");
}

int64_t work_number(struct str text, const char *name)
{
    int64_t v;
    return num_parse_i64(work_field(text, name), &v) ? v : 0;
}

bool work_confirmed(const struct work *w)
{
    char answer[16] = "";
    if (w->dry_run) {
        printf("Nothing was changed (--dry-run).\n");
        return false;
    }
    if (w->yes)
        return true;
    printf("Do it? (yes/no) ");
    fflush(stdout);
    return fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0;
}
