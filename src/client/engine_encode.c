/* A command as bytes. What goes to a stand-in is renamed after the outage, so that nobody finds it at
 * the next one, and gets a short life. */
#include "client/engine.h"

#include "base/err.h"
#include "base/num.h"
#include "client/greet.h"

#include <stdio.h>

static const char standin_prefix[] = "larder:standin:";
enum { OUTAGE_DIGITS = 16 };

static int put_standin_key(struct buf *b, struct str key, uint64_t outage)
{
    char prefix[sizeof standin_prefix + OUTAGE_DIGITS + 1];
    int n = snprintf(prefix, sizeof prefix, "%s%016llx:", standin_prefix, (unsigned long long)outage);
    if (put_header(b, '$', (size_t)n + key.n) < 0 || buf_append(b, prefix, (size_t)n) < 0 ||
        buf_puts(b, key) < 0)
        return ERR_OOM;
    return buf_append(b, "\r\n", 2);
}

static int put_ttl(struct buf *b, int64_t ttl_ms)
{
    char number[NUM_I64_TEXT_MAX];
    int err = put_bulk(b, STR("PX"));
    return err < 0 ? err : put_bulk(b, (struct str){number, num_put_i64(number, ttl_ms)});
}

static int put_command(struct buf *b, const struct cmd *cmd, const struct topo_route *route, int64_t ttl_ms)
{
    bool other = route->standin && cmd->standin_argv != NULL;
    const struct str *argv = other ? cmd->standin_argv : cmd->argv;
    uint32_t argc = other ? cmd->standin_argc : cmd->argc;
    int err = cmd->asking ? put_request(b, (struct str[]){STR("ASKING")}, 1) : 0;
    if (err == 0)
        err = put_header(b, '*', argc + (ttl_ms > 0 ? 2 : 0));
    for (uint32_t i = 0; i < argc && err == 0; i++)
        err = route->standin && (int32_t)i == cmd->key ? put_standin_key(b, argv[i], route->outage)
                                                       : put_bulk(b, argv[i]);
    return err == 0 && ttl_ms > 0 ? put_ttl(b, ttl_ms) : err;
}

int engine_encode(struct conn *c, const struct cmd *cmd, const struct topo_route *route,
                  const struct settings *set)
{
    size_t before = c->out.n;
    int64_t ttl_ms = cmd->ttl_ms, most = set->o.standin_ttl_ms;
    /* Only SET writes to a stand-in, and it says so by having a ttl, none (-1) included. */
    if (route->standin && ttl_ms != 0 && (ttl_ms < 0 || ttl_ms > most))
        ttl_ms = most;
    int err = put_command(&c->out, cmd, route, ttl_ms);
    if (err < 0)
        c->out.n = before;
    else
        c->encoded += c->out.n - before;
    return err;
}
