/* All nodes end and come back, one after the other, and the cluster serves all the while: replicas first,
 * then each primary, once a replica has taken over from it.
 *
 *      replica   SHUTDOWN ── somebody starts it ── another run id ── all agree, links are up
 *      primary   CLUSTER FAILOVER on its replica ── it is a replica itself ── as above
 *
 * Starting is left to whatever supervises the nodes (systemd, a container's runtime), or to --command, since
 * this tool need not run where they do. What is done is known by when a node was started, so that a run that
 * was cut goes on with --since. */
#include "tool/cluster/work.h"

#include "base/alloc.h"
#include "os/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUN_ID_MAX = 64, EXIT_INTERRUPTED = 130 };

/* What INFO says of one node. */
struct sight {
    char run_id[RUN_ID_MAX];
    int64_t started_s; /* by its own clock */
    bool link_up;
    int64_t offset;
};

static bool look_at(struct link *l, struct sight *s)
{
    struct reader_value reply;
    if (link_say(l, &reply, "INFO") != 0)
        return false;
    struct str id = work_field(reply.text, "run_id");
    snprintf(s->run_id, sizeof s->run_id, "%.*s", (int)id.n, id.p);
    s->started_s =
        work_number(reply.text, "server_time_usec") / 1000000 - work_number(reply.text, "uptime_in_seconds");
    s->link_up = str_is(work_field(reply.text, "master_link_status"), "up");
    s->offset = work_number(reply.text, "slave_repl_offset");
    return true;
}

static bool look_anew(struct work *w, uint32_t node, struct sight *s)
{
    struct link l;
    bool ok =
        link_open(&l, w->map.nodes[node].host, w->map.nodes[node].port, &w->secret) == 0 && look_at(&l, s);
    link_release(&l);
    return ok;
}

/* The replica that is best fit to take over. MAP_NOBODY: none. */
static uint32_t best_replica(struct work *w, uint32_t primary)
{
    uint32_t best = MAP_NOBODY;
    int64_t offset = -1;
    for (uint32_t i = 0; i < w->map.n; i++) {
        struct sight s;
        if (w->map.nodes[i].primary == primary && !w->map.nodes[i].failed && look_anew(w, i, &s) &&
            s.link_up && s.offset > offset) {
            best = i;
            offset = s.offset;
        }
    }
    return best;
}

static int go_on_with(const struct work *w, int code)
{
    bool more = w->command != NULL || w->secret.password != NULL;
    fprintf(stderr, "To go on where it was%s: larder cluster rolling-restart %s --since %" PRId64 "\n",
            more ? ", with the other options as before" : "", w->words[0], w->since);
    return code;
}

static bool is_over(int64_t until_ms)
{
    usleep(WORK_LOOK_MS * 1000);
    return os_mono_ns() / 1000000 > until_ms;
}

/* ---- one node -------------------------------------------------------------------------------------- */

/* Until the node is a replica, in its own eyes. */
static bool hand_over(struct work *w, uint32_t node, uint32_t heir)
{
    int64_t until_ms = os_mono_ns() / 1000000 + WORK_AGREE_MS;
    struct reader_value reply;
    struct link *l = work_link(w, heir);
    if (l == NULL || link_say(l, &reply, "CLUSTER FAILOVER") != 0) {
        if (l != NULL)
            work_fail("%s", l->error);
        return false;
    }
    do {
        l = work_link(w, node);
        if (l != NULL && link_say(l, &reply, "INFO replication") == 0 &&
            str_is(work_field(reply.text, "role"), "slave"))
            return true;
    } while (!is_over(until_ms));
    work_fail("%s:%d has not handed over within %d s; its log says why", w->map.nodes[node].host,
              w->map.nodes[node].port, WORK_AGREE_MS / 1000);
    return false;
}

/* A shell runs --command, with $HOST and $PORT. It is not to inherit that SIGINT is blocked here: what it
 * starts may live for long. */
static int run_command(const struct work *w, const struct map_node *n)
{
    char port[12];
    char *argv[] = {"sh", "-c", (char *)w->command, NULL};
    posix_spawnattr_t attr;
    sigset_t none;
    pid_t pid;
    int status = -1;
    snprintf(port, sizeof port, "%d", n->port);
    setenv("HOST", n->host, 1);
    setenv("PORT", port, 1);
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    if (posix_spawn(&pid, "/bin/sh", NULL, &attr, argv, environ) == 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    posix_spawnattr_destroy(&attr);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Ask it to end, or whoever --command names to restart it. */
static bool end(struct work *w, uint32_t node)
{
    struct reader_value reply;
    const struct map_node *n = &w->map.nodes[node];
    struct link *l = work_link(w, node);
    if (l == NULL)
        return false;
    if (w->command == NULL) {
        l->timeout_ms = LINK_LONG_MS;          /* it may have to save first */
        (void)link_say(l, &reply, "SHUTDOWN"); /* it hangs up instead of answering */
        return true;
    }
    int code = run_command(w, n);
    if (code != 0)
        work_fail("--command ended with %d for %s:%d", code, n->host, n->port);
    return code == 0;
}

/* Until another run of it answers and, as a replica, has its primary's data. */
static bool is_back(struct work *w, uint32_t node, const struct sight *before)
{
    const struct map_node n = w->map.nodes[node];
    int64_t until_ms = os_mono_ns() / 1000000 + WORK_AGREE_MS;
    struct sight s;
    bool came = false;
    do {
        if (!look_anew(w, node, &s) || strcmp(s.run_id, before->run_id) == 0)
            continue;
        came = true;
        if (s.link_up || !n.replica)
            return true;
    } while (!is_over(until_ms));
    if (came)
        work_fail("%s:%d is back, but not in step with its primary after %d s; its log says why", n.host,
                  n.port, WORK_AGREE_MS / 1000);
    else
        work_fail(
            "%s:%d has not come back within %d s. Does something start it again (systemd: Restart=always)? "
            "If not, give --command, or start it yourself.",
            n.host, n.port, WORK_AGREE_MS / 1000);
    return false;
}

static bool restart(struct work *w, const char *id, uint32_t number, uint32_t of)
{
    struct sight before;
    uint32_t node = map_find(&w->map, id);
    if (node == MAP_NOBODY || !look_anew(w, node, &before)) {
        work_fail("the node %.8s does not answer any more", id);
        return false;
    }
    const struct map_node *n = &w->map.nodes[node];
    printf("[%u/%u] %s:%d ", number, of, n->host, n->port);
    fflush(stdout);
    if (before.started_s >= w->since) {
        printf("has been restarted already\n");
        return true;
    }
    if (!n->replica && n->slots > 0) {
        uint32_t heir = best_replica(w, node);
        if (heir == MAP_NOBODY) {
            work_fail("%s:%d has no replica that could take over", n->host, n->port);
            return false;
        }
        printf("hands over to %s:%d, ", w->map.nodes[heir].host, w->map.nodes[heir].port);
        fflush(stdout);
        if (!hand_over(w, node, heir))
            return false;
        w->map.nodes[node].replica = true;
    }
    printf("restarts, ");
    fflush(stdout);
    uint32_t nodes = w->map.n;
    if (!end(w, node) || !is_back(w, node, &before) || !work_look(w, 0) || !work_agree(w, nodes))
        return false;
    printf("is back\n");
    return true;
}

/* ---- all of them ----------------------------------------------------------------------------------- */

/* Their ids, replicas first. False after saying why it cannot be done. */
static bool plan(struct work *w, char (*ids)[MAP_ID + 1])
{
    uint32_t n = 0;
    for (int primaries = 0; primaries < 2; primaries++) {
        for (uint32_t i = 0; i < w->map.n; i++) {
            const struct map_node *node = &w->map.nodes[i];
            if (node->replica == (primaries == 1))
                continue;
            memcpy(ids[n++], node->id, MAP_ID + 1);
            bool hands = !node->replica && node->slots > 0;
            if (node->failed || (hands && best_replica(w, i) == MAP_NOBODY)) {
                work_fail(
                    node->failed
                        ? "%s:%d has failed; start it or remove it first"
                        : "%s:%d has no replica in step that could take over, so its slots would be away; "
                          "give it one: larder cluster add NEW ADDR --replica-of NODE",
                    node->host, node->port);
                return false;
            }
            printf("%s:%d %s\n", node->host, node->port, hands ? "hands over and restarts" : "restarts");
        }
    }
    return true;
}

static int restart_all(struct work *w, char (*ids)[MAP_ID + 1])
{
    sigset_t set, old;
    uint32_t of = w->map.n;
    int rc = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, &old);
    for (uint32_t i = 0; i < of && rc == 0; i++) {
        if (work_interrupted(&set))
            rc = go_on_with(w, EXIT_INTERRUPTED);
        else if (!restart(w, ids[i], i + 1, of))
            rc = go_on_with(w, 1);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        printf("All %u nodes have been restarted.\n", of);
    return rc;
}

int cluster_rolling_restart(struct work *w)
{
    if (w->since == 0)
        w->since = os_wall_ms() / 1000;
    if (!work_look(w, 0) || !work_agree(w, w->map.n))
        return 1;
    char(*ids)[MAP_ID + 1] = mem_must(mem_alloc(w->map.n * sizeof *ids));
    int rc = plan(w, ids) ? 0 : 1;
    if (rc == 0)
        rc = work_confirmed(w) ? restart_all(w, ids) : w->dry_run ? 0 : 1;
    mem_free(ids);
    return rc;
}
