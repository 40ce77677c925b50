#include "tool/doctor/report.h"

#include "base/annotate.h"
#include "base/num.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct str report_field(struct str info, const char *name)
{
    size_t n = strlen(name);
    while (info.n > 0) {
        const char *end = memchr(info.p, '\n', info.n);
        struct str line = {info.p, end != NULL ? (size_t)(end - info.p) : info.n};
        size_t step = line.n + (end != NULL);
        info = (struct str){info.p + step, info.n - step};
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n > n && line.p[n] == ':' && memcmp(line.p, name, n) == 0)
            return (struct str){line.p + n + 1, line.n - n - 1};
    }
    return (struct str){NULL, 0};
}

static int64_t number_of(struct str s, int64_t dflt)
{
    int64_t v;
    return s.p != NULL && num_parse_i64(s, &v) ? v : dflt;
}

static int64_t number(struct str info, const char *name, int64_t dflt)
{
    return number_of(report_field(info, name), dflt);
}

/* "name=value" among others with commas between. */
static struct str part(struct str line, const char *name)
{
    size_t n = strlen(name);
    while (line.n > 0) {
        const char *comma = memchr(line.p, ',', line.n);
        struct str one = {line.p, comma != NULL ? (size_t)(comma - line.p) : line.n};
        size_t step = one.n + (comma != NULL);
        line = (struct str){line.p + step, line.n - step};
        if (one.n > n && one.p[n] == '=' && memcmp(one.p, name, n) == 0)
            return (struct str){one.p + n + 1, one.n - n - 1};
    }
    return (struct str){"", 0};
}

struct human {
    char text[32];
};

static struct human human(int64_t bytes)
{
    struct human h;
    unsigned n = num_put_human(h.text, bytes > 0 ? (uint64_t)bytes : 0);
    h.text[n] = '\0';
    return h;
}
#define HUMAN(bytes) (human(bytes).text)
#define TEXT(s) (int)((s).n < 200 ? (s).n : 200), (s).p != NULL ? (s).p : ""

enum grade { OK, LOOK, BAD };

static void say(struct report *r, enum grade g, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void say(struct report *r, enum grade g, const char *fmt, ...)
{
    static const char *const words[] = {"ok    ", "look  ", "BAD   "};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < ' ')
            *p = '?'; /* what a node says must not move the cursor */
    buf_printf(r->out, "%s%s\n", words[g], text);
    r->warnings += g == LOOK;
    r->troubles += g == BAD;
}

/* ---- replication ---------------------------------------------------------------------------------- */

static void one_replica(struct report *r, struct str info, struct str line)
{
    struct str ip = part(line, "ip"), port = part(line, "port"), state = part(line, "state");
    int64_t head = number(info, "master_repl_offset", 0), lag = number_of(part(line, "lag"), 0);
    int64_t behind = head - number_of(part(line, "offset"), head);
    int64_t backlog = number(info, "repl_backlog_size", 0);
    if (str_eq(state, STR("wait_bgsave")))
        say(r, LOOK, "Replica %.*s:%.*s waits for its full copy.", TEXT(ip), TEXT(port));
    else if (str_eq(state, STR("send_bulk")))
        say(r, LOOK, "Replica %.*s:%.*s is being given its full copy.", TEXT(ip), TEXT(port));
    else if (!str_eq(state, STR("online")))
        say(r, LOOK, "Replica %.*s:%.*s is in the state '%.*s'.", TEXT(ip), TEXT(port), TEXT(state));
    else if (lag > REPORT_LAG_S)
        say(r, BAD,
            "Replica %.*s:%.*s was last heard %lld s ago. Is it alive, and the network between? After "
            "repl-timeout "
            "it is disconnected; it comes back by itself.",
            TEXT(ip), TEXT(port), (long long)lag);
    else if (backlog > 0 && behind > backlog)
        say(r, BAD,
            "Replica %.*s:%.*s is %s behind, more than repl-backlog-size (%s): if its link breaks now it "
            "needs a full "
            "copy. Raise repl-backlog-size; look for a slow network, disk or machine there.",
            TEXT(ip), TEXT(port), HUMAN(behind), HUMAN(backlog));
    else
        say(r, behind > REPORT_BEHIND ? LOOK : OK, "Replica %.*s:%.*s is %s, %s behind, heard %lld s ago.",
            TEXT(ip), TEXT(port), behind > REPORT_BEHIND ? "following" : "in step", HUMAN(behind),
            (long long)lag);
}

/* Who of them is right only somebody who knows what happened can say. */
static void came_back_with_less(struct report *r, struct str info)
{
    if (number(info, "larder_replicas_ahead_refused", 0) > 0)
        say(r, BAD,
            "This node was restarted and came back with less than a replica has, which it refuses to "
            "overwrite "
            "(NOMASTERLINK). To have all of it: REPLICAOF NO ONE on that replica, REPLICAOF to it here. To "
            "give "
            "up what it has more: REPLICAOF NO ONE here.");
    else if (number(info, "larder_restarted_behind", 0) != 0)
        say(r, LOOK,
            "This node was restarted and came back with less than it had. A replica that has more is left "
            "alone: make this node its replica. If there is none: REPLICAOF NO ONE here.");
}

static void as_primary(struct report *r, struct str info)
{
    came_back_with_less(r, info);
    int64_t n = number(info, "connected_slaves", 0);
    struct str failover = report_field(info, "master_failover_state");
    if (n == 0)
        say(r, LOOK,
            "This node is a primary without a replica: if its machine is lost, so are the data. To have one: "
            "REPLICAOF <this host> <port> on another node.");
    else
        say(r, OK, "This node is a primary with %lld replica%s.", (long long)n, n == 1 ? "" : "s");
    for (int64_t i = 0; i < n && i < REPORT_REPLICAS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "slave%lld", (long long)i);
        struct str line = report_field(info, name);
        if (line.p != NULL)
            one_replica(r, info, line);
    }
    if (failover.p != NULL && !str_eq(failover, STR("no-failover")))
        say(r, LOOK, "A FAILOVER goes on (%.*s) and writes wait. FAILOVER ABORT ends it.", TEXT(failover));
    int64_t good = number(info, "min_slaves_good_slaves", -1);
    if (good == 0)
        say(r, BAD,
            "No replica is good enough for min-replicas-to-write: writes may be refused (NOREPLICAS).");
}

static void link_is_down(struct report *r, struct str info)
{
    struct str host = report_field(info, "master_host"), port = report_field(info, "master_port");
    struct str stage = report_field(info, "larder_master_link_stage");
    int64_t total = number(info, "master_sync_total_bytes", 0),
            got = number(info, "master_sync_read_bytes", 0);
    if (number(info, "master_sync_in_progress", 0) != 0)
        say(r, LOOK,
            "A full copy comes from the primary %.*s:%.*s: %s of %s. The data here are not served, or old, "
            "until "
            "it is loaded.",
            TEXT(host), TEXT(port), HUMAN(got), total > 0 ? HUMAN(total) : "an unknown size");
    else
        say(r, BAD,
            "The link to the primary %.*s:%.*s has been down for %lld s (stage: %.*s). The log says why. "
            "Does the "
            "primary run, is host and port right (CONFIG GET replicaof), does it accept masterauth? To take "
            "its place: "
            "REPLICAOF NO ONE here.",
            TEXT(host), TEXT(port), (long long)number(info, "master_link_down_since_seconds", 0),
            TEXT(stage));
}

static void as_replica(struct report *r, struct str info)
{
    struct str host = report_field(info, "master_host"), port = report_field(info, "master_port");
    int64_t heard = number(info, "master_last_io_seconds_ago", 0);
    if (!str_eq(report_field(info, "master_link_status"), STR("up")))
        link_is_down(r, info);
    else
        say(r, heard > 2 * REPORT_LAG_S ? LOOK : OK,
            "This node is a replica of %.*s:%.*s; the link is up, the primary was heard %lld s ago.",
            TEXT(host), TEXT(port), (long long)heard);
    if (number(info, "slave_read_only", 1) == 0)
        say(r, LOOK,
            "Clients may write here (replica-read-only is no): what they write is on no other node.");
    int64_t n = number(info, "connected_slaves", 0);
    if (n > 0)
        say(r, OK, "It feeds %lld replica%s of its own.", (long long)n, n == 1 ? "" : "s");
}

static void replication(struct report *r, struct str info)
{
    struct str role = report_field(info, "role");
    if (str_eq(role, STR("master")))
        as_primary(r, info);
    else if (str_eq(role, STR("slave")))
        as_replica(r, info);
    if (number(info, "repl_backlog_active", 0) != 0)
        say(r, OK, "The log holds %s of history: a replica that comes back within it needs no full copy.",
            HUMAN(number(info, "repl_backlog_histlen", 0)));
}

/* ---- memory, persistence, clients -------------------------------------------------------------------- */

static void memory(struct report *r, struct str info)
{
    int64_t used = number(info, "used_memory", -1), max = number(info, "maxmemory", 0);
    struct str policy = report_field(info, "maxmemory_policy");
    if (used < 0)
        return;
    bool full = max > 0 && (double)used * 100 >= (double)max * REPORT_FULL_PERCENT;
    if (max == 0)
        say(r, LOOK,
            "%s of memory are used, and there is no maxmemory: the system may kill the process when it has "
            "none "
            "left. CONFIG SET maxmemory.",
            HUMAN(used));
    else if (full && str_eq(policy, STR("noeviction")))
        say(r, BAD,
            "Memory is full (%s of %s) and the policy is noeviction: writes are refused. If this is a cache, "
            "CONFIG "
            "SET maxmemory-policy; else raise maxmemory or delete.",
            HUMAN(used), HUMAN(max));
    else
        say(r, OK, "%s of %s of memory are used (%.*s).", HUMAN(used), HUMAN(max), TEXT(policy));
}

static void persistence(struct report *r, struct str info)
{
    struct str rdb = report_field(info, "rdb_last_bgsave_status"),
               aof = report_field(info, "aof_last_write_status");
    if (number(info, "loading", 0) != 0)
        say(r, LOOK, "The node is loading its data and answers -LOADING.");
    if (rdb.p != NULL && !str_eq(rdb, STR("ok")))
        say(r, BAD, "The last snapshot failed. The log says why: is the disk full, may 'dir' be written?");
    if (number(info, "aof_enabled", 0) != 0 && aof.p != NULL && !str_eq(aof, STR("ok")))
        say(r, BAD, "The append-only file could not be written. The log says why.");
    int64_t changes = number(info, "rdb_changes_since_last_save", -1);
    if (changes > 0 && number(info, "aof_enabled", 0) == 0)
        say(r, OK,
            "%lld changes are in memory only since the last snapshot: a restart loses them unless a replica "
            "takes "
            "over.",
            (long long)changes);
}

static void clients(struct report *r, struct str info)
{
    int64_t n = number(info, "connected_clients", -1), max = number(info, "maxclients", 0);
    int64_t refused = number(info, "rejected_connections", 0);
    if (n >= 0)
        say(r, max > 0 && n * 10 >= max * 9 ? BAD : OK, "%lld clients are connected, of %lld at most.",
            (long long)n, (long long)max);
    if (refused > 0)
        say(r, LOOK, "%lld connections were refused because of maxclients since the statistics were reset.",
            (long long)refused);
}

void report_write(struct report *r, struct str info)
{
    replication(r, info);
    memory(r, info);
    persistence(r, info);
    clients(r, info);
}
