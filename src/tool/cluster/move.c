/* Moving slots. Between larder nodes some at a time, whole (move_whole.c); else the way that every node
 * understands, one by one:
 *
 *      target: SETSLOT IMPORTING     source: SETSLOT MIGRATING
 *      source: GETKEYSINSLOT, MIGRATE, until the slot is empty
 *      target, source, then the other primaries: SETSLOT NODE
 *
 * A slot that was cut in the middle is found half open by the next run (open.c), and moved on: each step may
 * be done twice. */
#include "tool/cluster/work.h"

#include "base/err.h"
#include "os/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int set_slot(struct work *w, uint32_t at, uint32_t slot, const char *what, uint32_t node)
{
    struct reader_value reply;
    struct link *l = work_link(w, at);
    if (l == NULL)
        return ERR_IO;
    int rc = link_say(l, &reply, "CLUSTER SETSLOT %u %s %s", slot, what, w->map.nodes[node].id);
    if (rc != 0)
        work_fail("%s", l->error);
    return rc;
}

/* Some keys of the slot to the target; *left: whether there were any. */
static int move_keys(struct work *w, const struct plan_move *mv, bool *left)
{
    struct reader_value keys, reply;
    struct link *l = work_link(w, mv->from);
    const struct map_node *to = &w->map.nodes[mv->to];
    char port[16], timeout[16];
    struct str argv[WORK_BATCH + 16];
    uint32_t n = 0;
    if (l == NULL || link_say(l, &keys, "CLUSTER GETKEYSINSLOT %u %d", mv->slot, WORK_BATCH) != 0)
        return l == NULL ? ERR_IO : work_fail("%s", l->error);
    *left = keys.n > 0;
    if (!*left)
        return 0;
    snprintf(port, sizeof port, "%d", to->port);
    snprintf(timeout, sizeof timeout, "%d", LINK_MIGRATE_MS);
    argv[n++] = STR("MIGRATE");
    argv[n++] = str_of(to->host);
    argv[n++] = str_of(port);
    argv[n++] = STR("");
    argv[n++] = STR("0");
    argv[n++] = str_of(timeout);
    argv[n++] = STR("REPLACE");
    if (w->secret.password != NULL) {
        argv[n++] = STR("AUTH2");
        argv[n++] = str_of(w->secret.user != NULL ? w->secret.user : "default");
        argv[n++] = str_of(w->secret.password);
    }
    argv[n++] = STR("KEYS");
    for (uint64_t i = 0; i < keys.n && i < WORK_BATCH; i++)
        argv[n++] = keys.children[i].text;
    /* The keys lie in the link's buffer, which the request is made from before the reply comes. */
    l->timeout_ms = LINK_LONG_MS;
    int rc = link_call(l, &reply, argv, n);
    l->timeout_ms = LINK_TIMEOUT_MS;
    return rc != 0 ? work_fail("%s", l->error) : 0;
}

/* The target has the slot; another node is told now rather than by the bus. One that has just lost its last
 * slot may have become a replica meanwhile: then it knows already. */
static int tell(struct work *w, uint32_t node, const struct plan_move *mv)
{
    struct reader_value reply;
    struct link *l = work_link(w, node);
    if (l == NULL)
        return ERR_IO;
    int rc = link_say(l, &reply, "CLUSTER SETSLOT %u NODE %s", mv->slot, w->map.nodes[mv->to].id);
    if (rc == 0 || strstr(l->error, "use SETSLOT only with masters") != NULL)
        return 0;
    work_fail("%s", l->error);
    return rc;
}

static int tell_everybody(struct work *w, const struct plan_move *mv)
{
    int rc = set_slot(w, mv->to, mv->slot, "NODE", mv->to);
    if (rc == 0)
        rc = tell(w, mv->from, mv);
    for (uint32_t i = 0; rc == 0 && i < w->map.n; i++) {
        const struct map_node *n = &w->map.nodes[i];
        if (i != mv->to && i != mv->from && !n->replica && !n->failed && !n->unknown)
            rc = tell(w, i, mv);
    }
    return rc;
}

static int move_slot(struct work *w, const struct plan_move *mv)
{
    bool left = true;
    int rc = set_slot(w, mv->to, mv->slot, "IMPORTING", mv->from);
    if (rc == 0)
        rc = set_slot(w, mv->from, mv->slot, "MIGRATING", mv->to);
    while (rc == 0 && left)
        rc = move_keys(w, mv, &left);
    return rc == 0 ? tell_everybody(w, mv) : rc;
}

static void show_progress(uint32_t done, uint32_t all, int64_t began_ms)
{
    enum { WIDTH = 40 };
    char bar[WIDTH + 1], left[32] = "";
    int64_t spent = os_mono_ns() / 1000000 - began_ms;
    if (!isatty(STDERR_FILENO))
        return;
    if (done > 0)
        snprintf(left, sizeof left, ", %lld s to go", (long long)(spent * (all - done) / done / 1000));
    uint32_t full = all > 0 ? WIDTH * done / all : WIDTH;
    memset(bar, '.', WIDTH);
    memset(bar, '#', full);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %u of %u slots%s ", bar, done, all, left);
}

/* Those between the same two nodes follow each other. */
static int by_nodes(const void *left, const void *right)
{
    const struct plan_move *a = left, *b = right;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    if (a->to != b->to)
        return a->to < b->to ? -1 : 1;
    return a->slot < b->slot ? -1 : 1;
}

int work_move(struct work *w, struct plan *p, bool singly)
{
    sigset_t set, before;
    int64_t began = os_mono_ns() / 1000000;
    uint32_t done = 0, by_hand = singly ? p->n : 0; /* by_hand: moves below it go one by one */
    bool interrupted = false;
    int rc = 0;
    qsort(p->moves, p->n, sizeof *p->moves, by_nodes);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, &before);
    while (done < p->n && rc == 0 && !interrupted) {
        show_progress(done, p->n, began);
        if (done < by_hand) {
            rc = move_slot(w, &p->moves[done]);
            done += rc == 0;
            interrupted = work_interrupted(&set);
            continue;
        }
        uint32_t n = work_piece(p, done);
        enum whole how = work_move_whole(w, &p->moves[done], n, &set);
        rc = how == WHOLE_UNKNOWN ? ERR_IO : 0;
        interrupted = how == WHOLE_LAST || how == WHOLE_CANCELLED;
        by_hand = how == WHOLE_NOT ? done + n : by_hand;
        done += how == WHOLE_DONE || how == WHOLE_LAST ? n : 0;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    show_progress(done, p->n, began);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\n");
    printf("%u of %u slots moved.\n", done, p->n);
    if (rc != 0)
        return work_fail("stopped at slot %u; run the same command again to go on.", p->moves[done].slot);
    if (interrupted && (singly || done < p->n)) {
        work_fail(
            "interrupted between two slots, nothing is half done; run the same command again to go on.");
        return 130;
    }
    return 0;
}
