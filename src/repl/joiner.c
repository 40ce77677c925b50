#include "repl/joiner.h"

#include "base/err.h"
#include "base/num.h"
#include "proto/request.h"

#include <string.h>

/* An address goes into lines of INFO, fields of CLIENT LIST and the log: nothing may end or split those. */
static bool can_be_shown(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == ',' || s.p[i] == '=')
            return false;
    return true;
}

static enum joiner_fault learn_ip(struct joiner *a, struct str ip)
{
    if (ip.n >= sizeof a->ip)
        return JOINER_TOO_LONG;
    if (!can_be_shown(ip))
        return JOINER_UNPRINTABLE;
    memcpy(a->ip, ip.p, ip.n);
    a->ip[ip.n] = '\0';
    return JOINER_FINE;
}

static bool number(struct str s, int64_t max, int64_t *out)
{
    return num_parse_i64(s, out) && *out >= 0 && *out <= max;
}

enum joiner_fault joiner_learn(struct joiner *a, struct str option, struct str value)
{
    int64_t n;
    if (str_is(option, "listening-port")) {
        if (!number(value, UINT16_MAX, &n))
            return JOINER_NOT_NUMBER;
        a->port = (uint16_t)n;
    } else if (str_is(option, "ip-address")) {
        return learn_ip(a, value);
    } else if (str_is(option, "capa")) {
        a->knows_psync2 |= str_is(value, "psync2");
        a->knows_eof |= str_is(value, "eof");
    } else if (str_is(option, "rdb-only")) {
        if (!number(value, 1, &n))
            return JOINER_NOT_NUMBER;
        a->rdb_only = n == 1;
    } else if (!str_is(option, "version")) {
        return JOINER_UNKNOWN;
    }
    return JOINER_FINE;
}

int joiner_wish(struct joiner_wish *w, const struct str *argv, uint32_t argc)
{
    *w = (struct joiner_wish){.has_history = history_id_ok(argv[0])};
    if (!num_parse_i64(argv[1], &w->from))
        return ERR_CORRUPT;
    w->failover = argc > 2 && str_is(argv[2], "FAILOVER");
    if (w->has_history)
        memcpy(w->id, argv[0].p, HISTORY_ID);
    return 0;
}

bool joiner_goes_on(const struct joiner_wish *w, const struct history *h, struct changelog *log,
                    struct changelog_reader *reader)
{
    return w->has_history && w->from >= 1 && changelog_is_on(log) &&
           history_covers(h, str_of(w->id), w->from) &&
           changelog_reader_open(log, reader, (uint64_t)w->from - 1) == 0;
}

/* False: not an acknowledgement at all. */
static bool take_ack(const struct request *req, struct joiner_ack *out)
{
    int64_t offset, fsynced = 0;
    if (req->argc < 3 || !str_is(req->argv[0], "REPLCONF") || !str_is(req->argv[1], "ACK") ||
        !number(req->argv[2], INT64_MAX, &offset))
        return false;
    if (req->argc >= 5 && str_is(req->argv[3], "FACK") && !number(req->argv[4], INT64_MAX, &fsynced))
        fsynced = 0;
    *out = (struct joiner_ack){true, (uint64_t)offset, (uint64_t)fsynced};
    return true;
}

int joiner_acks(struct str in, uint64_t head, struct arena *arena, struct joiner_ack *out, size_t *used)
{
    struct request_parser rp = {.bulk_max = JOINER_INPUT_MAX, .authenticated = true};
    struct request req;
    int rc = 0;
    *out = (struct joiner_ack){.any = false};
    for (*used = 0; *used < in.n; *used += req.bytes) {
        arena_reset(arena);
        rc = request_parse(&rp, (struct str){in.p + *used, in.n - *used}, arena, &req);
        if (rc != 0)
            break;
        if (take_ack(&req, out) && (out->offset > head || out->fsynced > head))
            return ERR_RANGE;
    }
    return rc == ERR_AGAIN ? 0 : rc;
}
