/* larder-server: one node. Reads its configuration, becomes a daemon if asked, starts the
 * threads, and then waits for signals; the main thread does nothing else. */
#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/proc.h"
#include "server/boot.h"
#include "server/commands.h"
#include "server/crash.h"
#include "server/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HAND_OVER_LOOK_NS = 2 * 1000 * 1000 };

static void print_and_exit(int (*text)(struct buf *))
{
    struct buf b;
    buf_init(&b);
    if (text(&b) == 0)
        fwrite(b.p, 1, b.n, stdout);
    buf_release(&b);
    exit(0);
}

static void handle_plain_options(int argc, char **argv)
{
    if (argc != 2)
        return;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        print_and_exit(config_help_text);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0)
        print_and_exit(config_version_text);
    if (strcmp(argv[1], "--dump-config-docs") == 0)
        print_and_exit(config_docs_text);
}

static void read_config(struct config *cfg, int argc, char **argv)
{
    static struct config_error e; /* large */
    if (config_init(cfg) != 0) {
        fprintf(stderr, "larder-server: out of memory\n");
        exit(1);
    }
    if (config_apply_args(cfg, argc - 1, argv + 1, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    if (config_enter_dir(cfg) != 0) {
        fprintf(stderr, "larder-server: cannot change to the directory '%s' (option 'dir'): %s\n", cfg->dir,
                strerror(errno));
        exit(1);
    }
}

static void open_log(const struct config *cfg)
{
    if (log_open(cfg->logfile) != 0) {
        fprintf(stderr, "larder-server: cannot open the log file '%s': %s\n", cfg->logfile, strerror(errno));
        exit(1);
    }
    log_set_level((enum log_level)cfg->loglevel);
    if (cfg->syslog_enabled)
        log_set_syslog(true, cfg->syslog_ident, cfg->syslog_facility);
}

/* What an operator should know at the start. */
static void warn_about_system(const struct server *s)
{
    if (proc_says("/proc/sys/vm/overcommit_memory", "2"))
        log_warning("vm.overcommit_memory is 2: the store's address space may be refused. Set it to 0 or 1 "
                    "(sysctl vm.overcommit_memory=1). larder never forks, so 0 is as good as 1.");
    int64_t most;
    if (proc_number("/proc/sys/net/core/somaxconn", 0, &most) == 0 && most < s->config.tcp_backlog)
        log_warning("tcp-backlog %lld is cut to %lld by /proc/sys/net/core/somaxconn. Raise that "
                    "(sysctl net.core.somaxconn=%lld).",
                    (long long)s->config.tcp_backlog, (long long)most, (long long)s->config.tcp_backlog);
}

static void log_config_warnings(struct config *cfg)
{
    struct buf b;
    buf_init(&b);
    if (config_take_warnings(cfg, &b) == 0 && b.n > 0 && buf_putc(&b, '\0') == 0) {
        char *save = NULL;
        for (char *line = strtok_r(b.p, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
            log_warning("%s", line);
    }
    buf_release(&b);
}

static void show_logo(const struct server *s)
{
    const struct config *cfg = &s->config;
    const char *mode = cfg->cluster_enabled ? "cluster" : "standalone";
    bool terminal = cfg->logfile[0] == '\0' && !cfg->daemonize && isatty(STDOUT_FILENO);
    if (!terminal && !cfg->always_show_logo) {
        log_notice("Running mode=%s, port=%lld.", mode, (long long)cfg->port);
        return;
    }
    char text[512];
    int n = snprintf(text, sizeof text,
                     "\n   _______________\n"
                     "  |  _   _   ___  |   larder %s\n"
                     "  |_|_|_(_)_|___|_|   mode: %s\n"
                     "  |  ___   _   _  |   port: %lld\n"
                     "  |_|___|_(_)_|_|_|   pid: %d\n\n",
                     LARDER_VERSION, mode, (long long)cfg->port, (int)getpid());
    log_raw(text, (size_t)n);
}

static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

/* A primary's slots go to a replica first, if one takes them in time; another signal ends the wait. */
static void hand_over(struct server *s, int sig, const sigset_t *set)
{
    static const struct timespec moment = {0, HAND_OVER_LOOK_NS};
    const struct config *cfg = &s->config;
    uint32_t turn = 0;
    int how = sig == SIGINT ? cfg->shutdown_on_sigint : cfg->shutdown_on_sigterm;
    if ((how & SHUTDOWN_NOW) || cfg->shutdown_timeout == 0)
        return;
    while (cluster_hands_over(&s->cluster, &turn) && sigtimedwait(set, NULL, &moment) < 0)
        ;
}

/* A signal: what is to be saved must be saved first. */
static bool may_end(struct server *s, int sig, const sigset_t *set)
{
    hand_over(s, sig, set);
    if (saver_part(&s->saver, sig == SIGINT))
        return true;
    log_warning("The data could not be saved, so this node stays. To end it all the same: SHUTDOWN NOSAVE.");
    return false;
}

/* Ten times a second: rates for INFO. Everything else is the workers' own business. */
static void wait_for_stop(struct server *s, const sigset_t *set)
{
    static const struct timespec tick = {0, 100 * 1000 * 1000};
    siginfo_t info;
    int sig;
    do {
        while ((sig = sigtimedwait(set, &info, &tick)) < 0)
            stats_sample(s);
    } while (info.si_code != SI_QUEUE && !may_end(s, sig, set));
    const char *why = info.si_code == SI_QUEUE ? "SHUTDOWN" : sig == SIGINT ? "SIGINT" : "SIGTERM";
    log_notice(
        "%s: shutting down. Clients get the replies they are owed and are disconnected. Another signal ends "
        "the process at once.",
        why);
}

/* While the threads end: has somebody lost patience? */
static bool is_in_a_hurry(void *arg)
{
    static const struct timespec now = {0, 0};
    siginfo_t info;
    return sigtimedwait(arg, &info, &now) >= 0 && info.si_code != SI_QUEUE;
}

static void serve(struct server *s, sigset_t *signals)
{
    process_ready(&s->process, &s->config);
    wait_for_stop(s, signals);
    process_stopping(&s->process);
    if (!server_join(s, is_in_a_hurry, signals)) {
        log_warning("A second signal: exiting at once.");
        process_ended(&s->process);
        _exit(1);
    }
    process_ended(&s->process);
    log_notice("larder is now ready to exit, bye bye...");
}

int main(int argc, char **argv)
{
    static struct server server; /* zero; large */
    struct server *s = &server;
    sigset_t signals;
    umask(077);
    handle_plain_options(argc, argv);
    read_config(&s->config, argc, argv);
    if (commands_init(&s->config) != 0)
        return 1;
    process_init(&s->process, argc, argv);
    process_detach(&s->process, &s->config);
    open_log(&s->config);
    block_signals(&signals);
    crash_install(s->config.crash_log_enabled);
    crash_thread_begin();
    os_ticks_calibrate();
    log_notice("larder %s starting: pid=%d, %lld workers, %s", LARDER_VERSION, (int)getpid(),
               (long long)s->config.workers,
               config_path(&s->config) != NULL ? config_path(&s->config) : "no configuration file");
    process_log_supervisor(&s->process, &s->config);
    log_config_warnings(&s->config);
    warn_about_system(s);
    show_logo(s);
    process_set_title(&s->process, &s->config);
    int rc = server_init(s);
    if (rc == 0)
        rc = server_start(s);
    if (rc == 0)
        serve(s, &signals);
    server_release(s);
    process_release(&s->process);
    config_release(&s->config);
    crash_thread_end();
    return rc == 0 ? atomic_load(&s->exit_code) : 1;
}
