#include "server/cluster.h"

#include "base/log.h"
#include "os/clock.h"
#include "os/thread.h"
#include "server/cluster_core.h"
#include "server/crash.h"
#include "server/exec.h"
#include "server/handlers.h"

#include <string.h>

enum { HANDING_MAX_MS = 5000 };

/* ---- where the bus listens ------------------------------------------------------------------- */

int cluster_bus_port(const struct config *cfg)
{
    return (int)(cfg->cluster_port != 0 ? cfg->cluster_port : cfg->port + CLUSTER_PORT_STEP);
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

/* Whoever reaches the bus can take the cluster over: nobody is asked for a password there. So it is open to
 * this machine alone, unless somebody has said that the network is trusted. */
static const char *allowed(const struct config *cfg, const char *host)
{
    if (cfg->cluster_bus_open || !cfg->protected_mode || is_loopback(host))
        return host;
    if (strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0)
        return "127.0.0.1";
    if (strcmp(host, "::*") == 0 || strcmp(host, "::") == 0)
        return "::1";
    return NULL;
}

static int listen_bus(struct cluster *cl)
{
    const struct config *cfg = &cl->server->config;
    int port = cluster_bus_port(cfg), rc = 0;
    bool closed = false;
    if (cfg->port == 0 || port > 65535) {
        log_warning("A cluster needs 'port', and 'port' + %d or 'cluster-port' for its bus; %d is no port.",
                    CLUSTER_PORT_STEP, port);
        return ERR_RANGE;
    }
    for (uint32_t i = 0; rc == 0 && i < cfg->bind.n; i++) {
        const char *written = cfg->bind.v[i] + (cfg->bind.v[i][0] == '-');
        const char *host = allowed(cfg, written);
        closed |= host != written;
        if (host != NULL)
            rc = bus_wire_listen(cl->core->wire, host, port, host != cfg->bind.v[i]);
    }
    if (closed)
        log_warning("The cluster bus listens to this machine only, because it asks nobody for a password. "
                    "For nodes on other "
                    "machines: make sure that only they reach port %d, and set 'cluster-bus-open yes'.",
                    port);
    return rc;
}

#define SHUTTING_DOWN "ERR The server is shutting down"

/* ---- requests -------------------------------------------------------------------------------- */

/* With `why`: instead of their replies. */
static void send_home(struct lane_job *jobs, const char *why)
{
    while (jobs != NULL) {
        struct lane_job *job = jobs;
        jobs = job->next;
        job->next = NULL;
        if (why != NULL) {
            reply_clear(&job->reply);
            reply_error(&job->reply, why);
        }
        lane_send_home(job);
    }
}

void cluster_send(struct cmd_ctx *c)
{
    struct server *s = ctx_server(c);
    struct conn *conn = ctx_conn(c);
    if (!s->config.cluster_enabled) {
        reply_error(c->reply, "ERR This instance has cluster support disabled");
        return;
    }
    if (c->cmd->fn == cmd_exec && !exec_all(c->session, CMD_CLUSTER)) {
        reply_error(c->reply,
                    "ERR CLUSTER subcommands about nodes cannot share a transaction with other commands");
        return;
    }
    struct lane_job *job = lane_job_new(conn, c->cmd, c->argv, c->argc, LANE_PLAIN);
    if (job == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    job->began = os_ticks();
    job->exec = c->cmd->fn == cmd_exec;
    conn_park(conn, PARK_LANE);
    if (job_queue_put(&s->cluster.jobs, job)) {
        loop_wake(s->cluster.core->loop);
        return;
    }
    send_home(job, SHUTTING_DOWN);
}

static void execute(struct cluster *cl, struct lane_job *job)
{
    const struct txn *t = &job->conn->session.txn;
    struct cmd_ctx c = {.argv = job->argv,
                        .argc = job->argc,
                        .reply = &job->reply,
                        .cmd = job->cmd,
                        .session = &job->conn->session,
                        .arena = &job->arena,
                        .limits = &cl->server->limits};
    if (job->exec)
        reply_array(&job->reply, t->ncommands);
    else
        cluster_execute(&c, cl->core);
    for (uint32_t i = 0; job->exec && i < t->ncommands; i++) {
        c.cmd = t->commands[i].cmd;
        c.argv = t->commands[i].argv;
        c.argc = t->commands[i].argc;
        cluster_execute(&c, cl->core);
    }
}

bool cluster_call(struct cluster *cl, void (*fn)(struct cluster_core *core, void *arg), void *arg)
{
    pthread_mutex_lock(&cl->mutex);
    ASSERT(cl->call == NULL);
    cl->call = fn;
    cl->call_arg = arg;
    loop_wake(cl->core->loop);
    while (cl->call != NULL && !cl->ended)
        pthread_cond_wait(&cl->called, &cl->mutex);
    bool ok = cl->call == NULL && cl->call_ok;
    cl->call = NULL;
    pthread_mutex_unlock(&cl->mutex);
    return ok;
}

static bool run_call(struct cluster *cl)
{
    pthread_mutex_lock(&cl->mutex);
    void (*fn)(struct cluster_core * core, void *arg) = cl->call;
    void *arg = cl->call_arg;
    pthread_mutex_unlock(&cl->mutex);
    if (fn != NULL)
        fn(cl->core, arg);
    return fn != NULL;
}

static void answer_call(struct cluster *cl, bool ok)
{
    pthread_mutex_lock(&cl->mutex);
    cl->call = NULL;
    cl->call_ok = ok;
    pthread_cond_broadcast(&cl->called);
    pthread_mutex_unlock(&cl->mutex);
}

static void answer_all(struct cluster *cl)
{
    send_home(cl->settled, NULL);
    cl->settled = NULL;
    cl->settled_tail = &cl->settled;
    if (cl->call_ran)
        answer_call(cl, true);
    cl->call_ran = false;
}

/* Whatever is queued, then one write of the file and one new view for all of it; the replies when it is in
 * force, and what it gives this node to serve may be written. */
static void execute_all(struct cluster *cl)
{
    struct lane_job *job, *done = NULL, **tail = &done;
    uint64_t seq = cl->core->file_seq;
    while ((job = job_queue_take(&cl->jobs, false)) != NULL) {
        execute(cl, job);
        *tail = job;
        tail = &job->next;
    }
    cl->core->todo.put |= cl->core->file_seq != seq;
    bool called = !cl->call_ran && run_call(cl);
    if (!cluster_core_settle(cl->core)) {
        send_home(done, "ERR the file of the cluster's state cannot be written; see the log");
        if (called)
            answer_call(cl, false);
        return;
    }
    cl->call_ran |= called;
    *cl->settled_tail = done;
    if (done != NULL)
        cl->settled_tail = tail;
    cluster_forget_views(cl->core);
    if (!cl->core->writes && cluster_is_in_force(cl->core) && !machine_awaits_promises(&cl->core->machine))
        answer_all(cl);
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* With the mutex. */
static bool is_handing_over(const struct cluster *cl)
{
    return cl->handing_ended != cl->handing_asked;
}

bool cluster_hands_over(struct cluster *cl, uint32_t *turn)
{
    bool begins = false;
    if (!cl->running)
        return false;
    pthread_mutex_lock(&cl->mutex);
    if (*turn == 0) {
        begins = !is_handing_over(cl);
        cl->handing_asked += begins;
        *turn = cl->handing_asked;
    }
    if (cl->handing_ended >= *turn)
        *turn = 0;
    pthread_mutex_unlock(&cl->mutex);
    if (begins)
        loop_wake(cl->core->loop);
    return *turn != 0;
}

static void handing_done(struct cluster *cl)
{
    cl->handing_until_ms = 0;
    cl->handing_begun = false;
    pthread_mutex_lock(&cl->mutex);
    cl->handing_ended = cl->handing_asked;
    pthread_mutex_unlock(&cl->mutex);
    workers_wake(cl->server);
}

static void begin_to_hand_over(struct cluster *cl)
{
    uint64_t limit_ms = (uint64_t)cl->server->config.shutdown_timeout * 1000;
    pthread_mutex_lock(&cl->mutex);
    bool asked = is_handing_over(cl) && !cl->handing_begun;
    pthread_mutex_unlock(&cl->mutex);
    if (!asked)
        return;
    if (cl->handing_until_ms == 0)
        cl->handing_until_ms = os_boot_ms() + (limit_ms < HANDING_MAX_MS ? limit_ms : HANDING_MAX_MS);
    cl->handing_begun = cluster_core_hand_over(cl->core);
    if (!cl->handing_begun)
        handing_done(cl);
}

/* What tells the others that we follow has been sent by now. The replica may have gone: then another. */
static void end_handing_over(struct cluster *cl)
{
    const struct machine *m = &cl->core->machine;
    if (!cl->handing_begun)
        return;
    if (machine_handed_over(m)) {
        log_notice("A replica has taken over the slots of this node.");
        handing_done(cl);
    } else if (os_boot_ms() >= cl->handing_until_ms) {
        log_warning("No replica has taken over the slots of this node in time; one will be elected.");
        handing_done(cl);
    } else if (m->manual == MANUAL_NONE && node_is(m->self, NODE_PRIMARY)) {
        cl->handing_begun = false;
    }
}

static void *cluster_main(void *arg)
{
    struct cluster *cl = arg;
    struct lane_job *job;
    pthread_setname_np(pthread_self(), "cluster");
    crash_thread_begin();
    while (!atomic_load_explicit(&cl->stop, memory_order_acquire)) {
        int n = loop_wait(cl->core->loop, cluster_core_timeout(cl->core) * 1000LL);
        for (int i = 0; i < n; i++) {
            struct loop_event ev = loop_event(cl->core->loop, i);
            if (ev.tag != NULL)
                cluster_core_event(cl->core, &ev);
        }
        cluster_core_tick(cl->core);
        begin_to_hand_over(cl);
        execute_all(cl);
        end_handing_over(cl);
    }
    send_home(cl->settled, SHUTTING_DOWN);
    while ((job = job_queue_take(&cl->jobs, false)) != NULL)
        send_home(job, SHUTTING_DOWN);
    pthread_mutex_lock(&cl->mutex);
    cl->ended = true;
    pthread_cond_broadcast(&cl->called);
    pthread_mutex_unlock(&cl->mutex);
    crash_thread_end();
    return NULL;
}

void cluster_follow_options(struct cluster *cl)
{
    if (cl->core == NULL)
        return;
    atomic_store(&cl->core->options_changed, true);
    loop_wake(cl->core->loop);
}

static int options_changed(void *ctx, struct config *cfg, struct config_error *e)
{
    cluster_follow_options(ctx);
    return 0;
}

int cluster_init(struct cluster *cl, struct server *s)
{
    cl->server = s;
    job_queue_init(&cl->jobs);
    cl->settled_tail = &cl->settled;
    pthread_mutex_init(&cl->mutex, NULL);
    pthread_cond_init(&cl->called, NULL);
    atomic_store(&s->lease_until_ms, UINT64_MAX);
    if (!s->config.cluster_enabled)
        return 0;
    if (s->config.replicaof[0] != '\0') {
        log_warning(
            "'replicaof' and 'cluster-enabled yes' exclude each other: in a cluster, CLUSTER REPLICATE says "
            "whose replica a node is.");
        return ERR_SYNTAX;
    }
    int rc = cluster_core_new(&cl->core, s);
    if (rc == 0)
        rc = listen_bus(cl);
    if (rc == 0)
        config_hook(&s->config, CONFIG_CLUSTER, options_changed, cl);
    return rc;
}

int cluster_take_role(struct cluster *cl)
{
    if (cl->core == NULL)
        return 0;
    server_care_set(cl->server, CARE_CLUSTER, true);
    return cluster_core_begin(cl->core);
}

int cluster_start(struct cluster *cl)
{
    if (cl->core == NULL)
        return 0;
    int rc = cluster_disk_start(&cl->core->disk);
    return rc != 0 ? rc : os_thread_start(&cl->thread, &cl->running, cluster_main, cl);
}

void cluster_end(struct cluster *cl)
{
    if (!cl->running)
        return;
    job_queue_close(&cl->jobs);
    atomic_store_explicit(&cl->stop, true, memory_order_release);
    loop_wake(cl->core->loop);
    pthread_join(cl->thread, NULL);
    cl->running = false;
}

void cluster_release(struct cluster *cl)
{
    if (cl->server == NULL)
        return;
    cluster_core_free(cl->core);
    cluster_view_free(cl->server->view);
    cl->server->view = NULL;
    job_queue_release(&cl->jobs);
    pthread_mutex_destroy(&cl->mutex);
    pthread_cond_destroy(&cl->called);
}
