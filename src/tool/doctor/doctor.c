#include "tool/doctor/doctor.h"

#include "base/annotate.h"
#include "base/num.h"
#include "tool/cluster/link.h"
#include "tool/doctor/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: larder doctor [HOST:PORT] [option ...]\n"
    "\n"
    "Says how a node of larder or Redis is: replication, memory, persistence, clients; and what to do.\n"
    "Lines begin with ok, look (worth a look) or BAD (needs you).\n"
    "\n"
    "  -h, --host NAME      (127.0.0.1)\n"
    "  -p, --port N         (6379)\n"
    "      --user NAME      for AUTH\n"
    "  -a, --password WORD  better: in the environment as REDISCLI_AUTH\n"
    "      --help\n"
    "\n"
    "Exit code: 0 when nothing is BAD, 1 when something is or the node cannot be reached, 2 for wrong "
    "options.\n";

struct wish {
    char host[LINK_HOST_MAX];
    int port;
    struct link_secret secret;
};

static int misused(const char *fmt, ...) PRINTF_LIKE(1, 2);
static int misused(const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "larder doctor: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry 'larder doctor --help'.\n");
    return EXIT_USAGE;
}

static int set_host(struct wish *w, const char *v)
{
    if (v[0] == '\0' || strlen(v) >= sizeof w->host)
        return misused("'%s' is no host", v);
    snprintf(w->host, sizeof w->host, "%s", v);
    return 0;
}

static int set_port(struct wish *w, const char *v)
{
    int64_t n;
    if (!num_parse_i64(str_of(v), &n) || n < 1 || n > 65535)
        return misused("--port wants a number from 1 to 65535, not '%s'", v);
    w->port = (int)n;
    return 0;
}

static int set_option(struct wish *w, const char *name, const char *v)
{
    if (strcmp(name, "-h") == 0 || strcmp(name, "--host") == 0)
        return set_host(w, v);
    if (strcmp(name, "-p") == 0 || strcmp(name, "--port") == 0)
        return set_port(w, v);
    if (strcmp(name, "--user") == 0)
        w->secret.user = v;
    else if (strcmp(name, "-a") == 0 || strcmp(name, "--password") == 0)
        w->secret.password = v;
    else
        return misused("there is no option '%s'", name);
    return 0;
}

static int parse(struct wish *w, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') {
            if (!link_parse_address(argv[i], w->host, &w->port))
                return misused("'%s' is no HOST:PORT", argv[i]);
            continue;
        }
        if (i + 1 == argc)
            return misused("there is no option '%s', or it lacks its value", argv[i]);
        int rc = set_option(w, argv[i], argv[i + 1]);
        if (rc != 0)
            return rc;
        i++;
    }
    return 0;
}

static int examine(struct link *l, const struct wish *w)
{
    struct reader_value info;
    struct buf out;
    struct report r = {.out = &out};
    if (link_open(l, w->host, w->port, &w->secret) != 0 || link_say(l, &info, "INFO everything") != 0) {
        fprintf(stderr, "larder doctor: %s\n", l->error);
        return 1;
    }
    if (info.kind != READ_BULK && info.kind != READ_VERBATIM) {
        fprintf(stderr, "larder doctor: %s:%d: INFO is answered with something else than text\n", w->host,
                w->port);
        return 1;
    }
    buf_init(&out);
    report_write(&r, info.text);
    if (out.oom)
        fprintf(stderr, "larder doctor: out of memory\n");
    fwrite(out.p, 1, out.n, stdout);
    int rc = r.troubles > 0 || out.oom;
    printf("%s:%d: %u bad, %u worth a look.\n", w->host, w->port, r.troubles, r.warnings);
    buf_release(&out);
    return rc;
}

int doctor_main(int argc, char **argv)
{
    struct wish w = {.host = "127.0.0.1", .port = 6379, .secret = {.password = getenv("REDISCLI_AUTH")}};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            return 0;
        }
    }
    int rc = parse(&w, argc, argv);
    if (rc != 0)
        return rc;
    struct link l;
    rc = examine(&l, &w);
    link_release(&l);
    return rc;
}
