#include "server/process.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define DEFAULT_PIDFILE "/var/run/larder.pid" /* of a daemon that names none */

/* ---- title ------------------------------------------------------------------------------- */

/* The kernel lays arguments and environment side by side, each string behind the one before. Whatever
 * of that is contiguous is room for the title, once the environment has moved to the heap. */
void process_init(struct process *p, int argc, char **argv)
{
    memset(p, 0, sizeof *p);
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    p->executable = mem_must(n > 0 ? mem_strndup(path, (size_t)n) : mem_strndup(argv[0], strlen(argv[0])));
    p->supervisor = SUPERVISED_NO;
    char *end = argv[0];
    for (int i = 0; i < argc && argv[i] == end; i++)
        end += strlen(argv[i]) + 1;
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **copy = mem_must(mem_zalloc((count + 1) * sizeof *copy));
    for (size_t i = 0; i < count; i++) {
        size_t bytes = strlen(environ[i]);
        copy[i] = mem_must(mem_strndup(environ[i], bytes));
        if (environ[i] == end)
            end += bytes + 1;
    }
    environ = copy;
    p->title = argv[0];
    p->title_room = (size_t)(end - argv[0]);
}

static void put_listen_addr(struct buf *b, const struct config *cfg)
{
    if (cfg->port != 0)
        buf_printf(b, "%s:%lld", cfg->bind.n > 0 ? cfg->bind.v[0] : "*", (long long)cfg->port);
    else
        buf_puts(b, str_of(cfg->unixsocket));
}

static void put_variable(struct buf *b, struct str name, const struct process *p, const struct config *cfg)
{
    if (str_eq(name, STR("title")))
        buf_puts(b, str_of(p->executable));
    else if (str_eq(name, STR("listen-addr")))
        put_listen_addr(b, cfg);
    else if (str_eq(name, STR("port")))
        buf_printf(b, "%lld", (long long)cfg->port);
    else if (str_eq(name, STR("tls-port")))
        buf_putc(b, '0');
    else if (str_eq(name, STR("unixsocket")))
        buf_puts(b, str_of(cfg->unixsocket));
    else if (str_eq(name, STR("config-file")))
        buf_puts(b, str_of(config_path(cfg) != NULL ? config_path(cfg) : ""));
    else if (str_eq(name, STR("server-mode")) && cfg->cluster_enabled)
        buf_puts(b, STR("[cluster]"));
}

static void put_title(struct buf *b, const struct process *p, const struct config *cfg)
{
    const char *at = cfg->proc_title_template, *open;
    while ((open = strchr(at, '{')) != NULL) {
        const char *close = strchr(open, '}'); /* the option's check has seen to that */
        buf_append(b, at, (size_t)(open - at));
        put_variable(b, (struct str){open + 1, (size_t)(close - open - 1)}, p, cfg);
        at = close + 1;
    }
    buf_puts(b, str_of(at));
    while (b->n > 0 && b->p[b->n - 1] == ' ')
        b->n--;
}

void process_set_title(struct process *p, const struct config *cfg)
{
    struct buf b;
    if (!cfg->set_proc_title)
        return;
    buf_init(&b);
    put_title(&b, p, cfg);
    if (!b.oom) {
        size_t n = b.n < p->title_room - 1 ? b.n : p->title_room - 1;
        memset(p->title, 0, p->title_room);
        memcpy(p->title, b.p, n);
    }
    buf_release(&b);
}

/* ---- background and supervisor -------------------------------------------------------------- */

static void daemonize(void)
{
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "larder-server: cannot daemonize: %s\n", strerror(errno));
        exit(1);
    }
    if (pid != 0)
        _exit(0);
    setsid();
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
}

static enum config_supervised find_supervisor(const struct config *cfg)
{
    bool upstart = getenv("UPSTART_JOB") != NULL, systemd = getenv("NOTIFY_SOCKET") != NULL;
    if (upstart && (cfg->supervised == SUPERVISED_UPSTART || cfg->supervised == SUPERVISED_AUTO))
        return SUPERVISED_UPSTART;
    if (systemd && (cfg->supervised == SUPERVISED_SYSTEMD || cfg->supervised == SUPERVISED_AUTO))
        return SUPERVISED_SYSTEMD;
    return SUPERVISED_NO;
}

void process_detach(struct process *p, const struct config *cfg)
{
    p->supervisor = find_supervisor(cfg);
    if (cfg->daemonize && p->supervisor == SUPERVISED_NO)
        daemonize();
}

void process_log_supervisor(const struct process *p, const struct config *cfg)
{
    if (p->supervisor == SUPERVISED_SYSTEMD) {
        log_notice("Supervised by systemd. Give TimeoutStartSec and TimeoutStopSec of the unit enough time.");
        sd_notify(0, "STATUS=larder is starting");
    } else if (p->supervisor == SUPERVISED_UPSTART) {
        log_notice("Supervised by upstart: the process stops itself to say that it is ready.");
    } else if (cfg->supervised == SUPERVISED_SYSTEMD) {
        log_warning("'supervised systemd', but NOTIFY_SOCKET is not set: nobody is told when the server is "
                    "ready. Start it from a unit with Type=notify.");
    } else if (cfg->supervised == SUPERVISED_UPSTART) {
        log_warning("'supervised upstart', but UPSTART_JOB is not set: nobody is told when the server is "
                    "ready. Start it from a job with 'expect stop'.");
    }
}

/* ---- from ready to ended --------------------------------------------------------------------- */

static const char *pidfile_of(const struct config *cfg)
{
    return cfg->pidfile[0] == '\0' && cfg->daemonize ? DEFAULT_PIDFILE : cfg->pidfile;
}

static void write_pidfile(struct process *p, const char *path)
{
    char absolute[PATH_MAX];
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        log_warning("Cannot write the pid file %s: %s. Check 'pidfile' and the rights on its directory.",
                    path, strerror(errno));
        return;
    }
    fprintf(f, "%d\n", (int)getpid());
    fclose(f);
    if (realpath(path, absolute) != NULL)
        p->pidfile = mem_strndup(absolute, strlen(absolute));
}

void process_ready(struct process *p, const struct config *cfg)
{
    if (pidfile_of(cfg)[0] != '\0')
        write_pidfile(p, pidfile_of(cfg));
    if (p->supervisor == SUPERVISED_SYSTEMD)
        sd_notify(0, "READY=1\nSTATUS=Ready to accept connections");
    else if (p->supervisor == SUPERVISED_UPSTART)
        raise(SIGSTOP);
}

void process_stopping(const struct process *p)
{
    if (p->supervisor == SUPERVISED_SYSTEMD)
        sd_notify(0, "STOPPING=1\nSTATUS=Shutting down");
}

void process_ended(const struct process *p)
{
    if (p->pidfile != NULL)
        unlink(p->pidfile);
}

void process_release(struct process *p)
{
    mem_free(p->executable);
    mem_free(p->pidfile);
}

const char *process_supervisor_name(const struct process *p)
{
    static const char *const names[] = {
        [SUPERVISED_UPSTART] = "upstart", [SUPERVISED_SYSTEMD] = "systemd", [SUPERVISED_NO] = "no"};
    return names[p->supervisor];
}
