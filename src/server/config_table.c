/* The table itself: options.def made into rows, with the words, rules and notes that
 * its rows name, and finding a row by name.
 *
 * Two hundred names are searched one after the other: it happens at boot and in
 * CONFIG, never for a command. */
#include "base/log.h"
#include "server/config_internal.h"

#include <arpa/inet.h>
#include <limits.h>
#include <string.h>

/* ---- words ------------------------------------------------------------------------- */

static const struct choice supervised_choices[] = {
    {"upstart", SUPERVISED_UPSTART},
    {"systemd", SUPERVISED_SYSTEMD},
    {"auto", SUPERVISED_AUTO},
    {"no", SUPERVISED_NO},
    {NULL, 0},
};
static const struct choice loglevel_choices[] = {
    {"debug", LOG_DEBUG},
    {"verbose", LOG_VERBOSE},
    {"notice", LOG_NOTICE},
    {"warning", LOG_WARNING},
    {NULL, 0},
};
/* The values of <syslog.h>, whose names clash with those of base/log.h. */
static const struct choice facility_choices[] = {
    {"user", 1 << 3},    {"local0", 16 << 3}, {"local1", 17 << 3}, {"local2", 18 << 3}, {"local3", 19 << 3},
    {"local4", 20 << 3}, {"local5", 21 << 3}, {"local6", 22 << 3}, {"local7", 23 << 3}, {NULL, 0},
};
static const struct choice policy_choices[] = {
    {"volatile-lru", POLICY_VOLATILE_LRU},
    {"volatile-lfu", POLICY_VOLATILE_LFU},
    {"volatile-random", POLICY_VOLATILE_RANDOM},
    {"volatile-ttl", POLICY_VOLATILE_TTL},
    {"allkeys-lru", POLICY_ALLKEYS_LRU},
    {"allkeys-lfu", POLICY_ALLKEYS_LFU},
    {"allkeys-random", POLICY_ALLKEYS_RANDOM},
    {"noeviction", POLICY_NOEVICTION},
    {"allkeys-auto", POLICY_ALLKEYS_AUTO},
    {"volatile-auto", POLICY_VOLATILE_AUTO},
    {NULL, 0},
};
static const struct choice guard_choices[] = {
    {"no", GUARD_NO}, {"yes", GUARD_YES}, {"local", GUARD_LOCAL}, {NULL, 0}};
static const struct choice shutdown_choices[] = {
    {"default", 0},        {"save", SHUTDOWN_SAVE},   {"nosave", SHUTDOWN_NOSAVE},
    {"now", SHUTDOWN_NOW}, {"force", SHUTDOWN_FORCE}, {NULL, 0},
};
/* Accepted for later: nothing reads these values yet, so they have no names of their own. */
static const struct choice oom_choices[] = {
    {"no", 0}, {"yes", 1}, {"relative", 1}, {"absolute", 2}, {NULL, 0}};
static const struct choice acl_pubsub_choices[] = {{"allchannels", 1}, {"resetchannels", 0}, {NULL, 0}};
static const struct choice sanitize_choices[] = {{"no", 0}, {"yes", 1}, {"clients", 2}, {NULL, 0}};
static const struct choice fsync_choices[] = {{"everysec", 1}, {"always", 2}, {"no", 0}, {NULL, 0}};
static const struct choice diskless_choices[] = {
    {"disabled", 0}, {"on-empty-db", 1}, {"swapdb", 2}, {NULL, 0}};
static const struct choice propagation_choices[] = {
    {"ignore", 0}, {"panic", 1}, {"panic-on-replicas", 2}, {NULL, 0}};
static const struct choice endpoint_choices[] = {
    {"ip", 0}, {"hostname", 1}, {"unknown-endpoint", 2}, {NULL, 0}};
static const struct choice tls_auth_choices[] = {{"no", 0}, {"yes", 1}, {"optional", 2}, {NULL, 0}};

/* ---- rules for strings --------------------------------------------------------------- */

static bool check_not_empty(const struct option *o, const char *value, struct config_error *e)
{
    if (value[0] != '\0')
        return true;
    config_fail(e, ERR_SYNTAX, "%s can't be empty", o->name);
    return false;
}

static bool check_file_name(const struct option *o, const char *value, struct config_error *e)
{
    if (strchr(value, '/') == NULL)
        return true;
    config_fail(e, ERR_SYNTAX, "%s can't be a path, just a filename", o->name);
    return false;
}

static bool check_file_name_set(const struct option *o, const char *value, struct config_error *e)
{
    return check_not_empty(o, value, e) && check_file_name(o, value, e);
}

static bool check_dir_name_set(const struct option *o, const char *value, struct config_error *e)
{
    if (!check_not_empty(o, value, e))
        return false;
    if (strchr(value, '/') == NULL)
        return true;
    config_fail(e, ERR_SYNTAX, "%s can't be a path, just a dirname", o->name);
    return false;
}

/* Every {name} is known, every { is closed, and something is left to show. */
static bool check_title(const struct option *o, const char *value, struct config_error *e)
{
    static const char *const known[] = {"title",    "listen-addr", "server-mode", "port",
                                        "tls-port", "unixsocket",  "config-file"};
    bool ok = value[0] != '\0';
    for (const char *at = strchr(value, '{'); ok && at != NULL; at = strchr(at + 1, '{')) {
        const char *end = strchr(at, '}');
        ok = false;
        for (size_t i = 0; end != NULL && i < ARRAY_LEN(known); i++)
            ok |= str_eq((struct str){at + 1, (size_t)(end - at - 1)}, str_of(known[i]));
    }
    if (!ok)
        config_fail(e, ERR_SYNTAX, "template format is invalid or contains unknown variables");
    return ok;
}

static bool check_hostname(const struct option *o, const char *value, struct config_error *e)
{
    if (strlen(value) >= 256) {
        config_fail(e, ERR_RANGE, "Hostnames must be less than 256 characters");
        return false;
    }
    for (const char *p = value; *p != '\0'; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (!letter && !(*p >= '0' && *p <= '9') && *p != '-' && *p != '.') {
            config_fail(e, ERR_SYNTAX, "Hostnames may only contain alphanumeric characters, hyphens or dots");
            return false;
        }
    }
    return true;
}

static bool check_address(const struct option *o, const char *value, struct config_error *e)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    if (value[0] == '\0' || inet_pton(AF_INET, value, bytes) == 1 || inet_pton(AF_INET6, value, bytes) == 1)
        return true;
    config_fail(e, ERR_SYNTAX, "%s must be an IPv4 or IPv6 address, not a name", o->name);
    return false;
}

/* The name becomes a field of nodes.conf, where these would end it. */
static bool check_node_name(const struct option *o, const char *value, struct config_error *e)
{
    for (const char *p = value; *p != '\0'; p++) {
        if (*p <= ' ' || *p > '~' || strchr("!#$%&()*+,:;<=>?@[]^{|}~\"'", *p) != NULL) {
            config_fail(e, ERR_SYNTAX, "Announced human node name contained invalid character");
            return false;
        }
    }
    return true;
}

/* ---- what accepted and refused rows say ------------------------------------------------ */

#define NOTE_CPULIST "start larder under taskset or CPUAffinity=: its workers follow the affinity mask"
#define NOTE_ACL "users and their rights are not in this version yet"
#define NOTE_SAMPLES "larder's eviction does not draw samples"
#define NOTE_LAZY "values are always freed the way that holds nobody up"
#define NOTE_ALLOC "larder decides itself when memory goes back to the system"
#define NOTE_DEFRAG "segments are compacted as part of the sweep, all the time"
#define NOTE_HASH "hashes are not in this version yet"
#define NOTE_LIST "lists are not in this version yet"
#define NOTE_ZSET "sorted sets are not in this version yet"
#define NOTE_STREAM "streams are not in this version yet"
#define NOTE_AOF "the append-only file is not in this version yet"
#define NOTE_REPL "replication does without it in this version"
#define NOTE_TLS "TLS is not in this version yet"
#define NOTE_TLS_REFUSED "TLS is not in this version yet, and traffic that should be secret would not be"

/* ---- the rows ------------------------------------------------------------------------- */

#define ANY .min = 0
#define BETWEEN(min_, max_) .min = (min_), .max = (max_)
#define BETWEEN_MOVED(min_, max_, low_, high_) .min = (min_), .max = (max_), .low = (low_), .high = (high_)
#define ONE_OF(list) .choices = (list)
#define CHECK(function) .check = (function)
#define IMPLEMENTED .status = OPTION_IMPLEMENTED
#define ACCEPTED(text) .status = OPTION_ACCEPTED, .note = text
#define REFUSED(text) .status = OPTION_REFUSED, .note = text

#define SECTION(title) {.help = title},
#define OPTION(type_, field_, name_, alias_, dflt_, range_, group_, flags_, status_, help_)                  \
    {.name = name_,                                                                                          \
     .alias = alias_,                                                                                        \
     .dflt = dflt_,                                                                                          \
     .help = help_,                                                                                          \
     .offset = offsetof(struct config, field_),                                                              \
     .type = OPTION_##type_,                                                                                 \
     .flags = flags_,                                                                                        \
     .group = CONFIG_##group_,                                                                               \
     range_,                                                                                                 \
     status_},

const struct option option_table[] = {
#include "server/options.def"
};
const uint32_t option_count = ARRAY_LEN(option_table);

_Static_assert(sizeof(struct config) < UINT16_MAX, "offsets of fields have 16 bits");

const struct option *option_find(struct str name)
{
    for (const struct option *o = option_table; o < option_table + option_count; o++) {
        if (o->name == NULL)
            continue;
        if (str_eq_nocase(name, str_of(o->name)) ||
            (o->alias != NULL && str_eq_nocase(name, str_of(o->alias))))
            return o;
    }
    return NULL;
}

bool config_is_sensitive(struct str name)
{
    const struct option *o = option_find(name);
    return o != NULL && (o->flags & SENSITIVE) != 0;
}
