/* Reading twice is harmless, and so is writing the same value twice: such commands are in the table.
 * What counts, pops or appends is not, and a command that is missing here is not repeated, which is
 * the safe mistake. */
#include "client/known.h"

#include "base/annotate.h"
#include "client/error.h"

enum { KEYLESS = 0, FIRST = 1, SECOND = 2, NUMBERED = 3 }; /* NUMBERED: EVAL script numkeys key */

struct known {
    struct str name;
    uint8_t key;
    uint8_t flags; /* enum cmd_flags */
};

enum { READS = CMD_IDEMPOTENT | CMD_READ };
#define ROW(word, key, flags)                                                                                \
    {                                                                                                        \
        {word, sizeof(word) - 1}, key, flags                                                                 \
    }

static const struct known commands[] = {
    ROW("GET", FIRST, READS | CMD_STANDIN),
    ROW("EXISTS", FIRST, READS),
    ROW("STRLEN", FIRST, READS),
    ROW("GETRANGE", FIRST, READS),
    ROW("MGET", FIRST, READS),
    ROW("TTL", FIRST, READS),
    ROW("PTTL", FIRST, READS),
    ROW("EXPIRETIME", FIRST, READS),
    ROW("PEXPIRETIME", FIRST, READS),
    ROW("TYPE", FIRST, READS),
    ROW("GETBIT", FIRST, READS),
    ROW("BITCOUNT", FIRST, READS),
    ROW("BITPOS", FIRST, READS),
    ROW("BITFIELD_RO", FIRST, READS),
    ROW("DUMP", FIRST, READS),
    ROW("HGET", FIRST, READS),
    ROW("HMGET", FIRST, READS),
    ROW("HGETALL", FIRST, READS),
    ROW("HKEYS", FIRST, READS),
    ROW("HVALS", FIRST, READS),
    ROW("HLEN", FIRST, READS),
    ROW("HEXISTS", FIRST, READS),
    ROW("HSTRLEN", FIRST, READS),
    ROW("HSCAN", FIRST, READS),
    ROW("LRANGE", FIRST, READS),
    ROW("LLEN", FIRST, READS),
    ROW("LINDEX", FIRST, READS),
    ROW("LPOS", FIRST, READS),
    ROW("SMEMBERS", FIRST, READS),
    ROW("SISMEMBER", FIRST, READS),
    ROW("SMISMEMBER", FIRST, READS),
    ROW("SCARD", FIRST, READS),
    ROW("SRANDMEMBER", FIRST, READS),
    ROW("SSCAN", FIRST, READS),
    ROW("SINTER", FIRST, READS),
    ROW("SUNION", FIRST, READS),
    ROW("SDIFF", FIRST, READS),
    ROW("ZRANGE", FIRST, READS),
    ROW("ZRANGEBYSCORE", FIRST, READS),
    ROW("ZREVRANGE", FIRST, READS),
    ROW("ZSCORE", FIRST, READS),
    ROW("ZMSCORE", FIRST, READS),
    ROW("ZRANK", FIRST, READS),
    ROW("ZREVRANK", FIRST, READS),
    ROW("ZCARD", FIRST, READS),
    ROW("ZCOUNT", FIRST, READS),
    ROW("ZSCAN", FIRST, READS),
    ROW("PFCOUNT", FIRST, READS),
    ROW("XLEN", FIRST, READS),
    ROW("XRANGE", FIRST, READS),
    ROW("GEOPOS", FIRST, READS),
    ROW("GEODIST", FIRST, READS),
    ROW("GEOSEARCH", FIRST, READS),
    ROW("OBJECT", SECOND, READS),
    ROW("MEMORY", SECOND, READS),
    ROW("DEL", FIRST, CMD_IDEMPOTENT),
    ROW("UNLINK", FIRST, CMD_IDEMPOTENT),
    ROW("SETEX", FIRST, CMD_IDEMPOTENT),
    ROW("PSETEX", FIRST, CMD_IDEMPOTENT),
    ROW("MSET", FIRST, CMD_IDEMPOTENT),
    ROW("EXPIRE", FIRST, CMD_IDEMPOTENT),
    ROW("PEXPIRE", FIRST, CMD_IDEMPOTENT),
    ROW("EXPIREAT", FIRST, CMD_IDEMPOTENT),
    ROW("PEXPIREAT", FIRST, CMD_IDEMPOTENT),
    ROW("PERSIST", FIRST, CMD_IDEMPOTENT),
    ROW("HSET", FIRST, CMD_IDEMPOTENT),
    ROW("HDEL", FIRST, CMD_IDEMPOTENT),
    ROW("SADD", FIRST, CMD_IDEMPOTENT),
    ROW("SREM", FIRST, CMD_IDEMPOTENT),
    ROW("ZREM", FIRST, CMD_IDEMPOTENT),
    ROW("SETBIT", FIRST, CMD_IDEMPOTENT),
    ROW("SETRANGE", FIRST, CMD_IDEMPOTENT),
    ROW("LSET", FIRST, CMD_IDEMPOTENT),
    ROW("PFADD", FIRST, CMD_IDEMPOTENT),
    ROW("BITOP", SECOND, CMD_IDEMPOTENT),
    ROW("CACHE.GET", FIRST, CMD_IDEMPOTENT),
    ROW("CACHE.SET", FIRST, CMD_IDEMPOTENT),
    ROW("CACHE.FAIL", FIRST, CMD_IDEMPOTENT),
    ROW("CACHE.INVALIDATE", FIRST, CMD_IDEMPOTENT),
    ROW("CACHE.INSPECT", FIRST, READS),
    ROW("CACHE.MGET", SECOND, CMD_IDEMPOTENT),
    ROW("CACHE.PURGE", KEYLESS, CMD_IDEMPOTENT),
    ROW("CACHE.JOB", KEYLESS, 0),
    ROW("CACHE.WARM", KEYLESS, 0),
    ROW("CACHE.HOT", KEYLESS, CMD_IDEMPOTENT),
    ROW("CACHE.STATS", KEYLESS, CMD_IDEMPOTENT),
    ROW("EVAL", NUMBERED, 0),
    ROW("EVALSHA", NUMBERED, 0),
    ROW("EVAL_RO", NUMBERED, READS),
    ROW("EVALSHA_RO", NUMBERED, READS),
    ROW("FCALL", NUMBERED, 0),
    ROW("FCALL_RO", NUMBERED, READS),
    ROW("XGROUP", SECOND, 0),
    ROW("XINFO", SECOND, READS),
    ROW("PING", KEYLESS, CMD_IDEMPOTENT),
    ROW("ECHO", KEYLESS, CMD_IDEMPOTENT),
    ROW("INFO", KEYLESS, CMD_IDEMPOTENT),
    ROW("TIME", KEYLESS, CMD_IDEMPOTENT),
    ROW("DBSIZE", KEYLESS, CMD_IDEMPOTENT),
    ROW("SCAN", KEYLESS, CMD_IDEMPOTENT),
    ROW("KEYS", KEYLESS, CMD_IDEMPOTENT),
    ROW("RANDOMKEY", KEYLESS, CMD_IDEMPOTENT),
    ROW("COMMAND", KEYLESS, CMD_IDEMPOTENT),
    ROW("CONFIG", KEYLESS, 0),
    ROW("CLIENT", KEYLESS, 0),
    ROW("CLUSTER", KEYLESS, 0),
    ROW("SCRIPT", KEYLESS, 0),
    ROW("FUNCTION", KEYLESS, 0),
    ROW("FLUSHALL", KEYLESS, 0),
    ROW("FLUSHDB", KEYLESS, 0),
    ROW("PUBLISH", KEYLESS, 0),
    ROW("WAIT", KEYLESS, 0),
    ROW("SLOWLOG", KEYLESS, 0),
    ROW("LATENCY", KEYLESS, 0),
    ROW("DEBUG", KEYLESS, 0),
    ROW("LASTSAVE", KEYLESS, 0),
    ROW("BGSAVE", KEYLESS, 0),
};

/* They change what a connection is, and connections are shared: there are other ways, or none yet. */
static const struct str refused[] = {
    {"SUBSCRIBE", 9}, {"PSUBSCRIBE", 10}, {"SSUBSCRIBE", 10}, {"MONITOR", 7}, {"MULTI", 5},
    {"EXEC", 4},      {"WATCH", 5},       {"SELECT", 6},      {"HELLO", 5},   {"RESET", 5},
    {"QUIT", 4},      {"PSYNC", 5},       {"SYNC", 4},        {"ASKING", 6},  {"READONLY", 8},
    {"READWRITE", 9}, {"AUTH", 4},        {"DISCARD", 7},     {"UNWATCH", 7},
};

static const struct known *find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq_nocase(name, commands[i].name))
            return &commands[i];
    return NULL;
}

static bool is_refused(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (str_eq_nocase(name, refused[i]))
            return true;
    return false;
}

/* SET alone writes the same thing twice; with NX, XX, GET or an absolute or kept TTL it may not. */
static bool is_plain_set(const struct cmd *cmd)
{
    if (!str_is(cmd->argv[0], "SET") || cmd->argc < 3)
        return false;
    for (uint32_t i = 3; i < cmd->argc; i++)
        if (str_is(cmd->argv[i], "NX") || str_is(cmd->argv[i], "XX") || str_is(cmd->argv[i], "GET"))
            return false;
    return true;
}

static void by_table(struct cmd *cmd)
{
    const struct known *row = find(cmd->argv[0]);
    uint32_t key = FIRST;
    if (row != NULL) {
        cmd->flags |= row->flags;
        key = row->key;
    } else if (is_plain_set(cmd)) {
        cmd->flags |= CMD_IDEMPOTENT;
    }
    if (key == NUMBERED)
        key = cmd->argc > 3 && !str_is(cmd->argv[2], "0") ? 3 : KEYLESS;
    cmd->key = key > 0 && key < cmd->argc ? (int32_t)key : -1;
}

static int by_call(struct topo *t, struct cmd *cmd, const struct larder_call *call, struct larder_error *err)
{
    struct address a;
    struct str rest;
    if (call->flags & LARDER_COMMAND_IDEMPOTENT)
        cmd->flags |= CMD_IDEMPOTENT;
    if (call->flags & LARDER_COMMAND_READ)
        cmd->flags |= READS;
    if (call->flags & LARDER_COMMAND_NO_KEY)
        cmd->key = -1;
    if (call->flags & LARDER_COMMAND_KEY_AT) {
        if (call->key_index >= cmd->argc)
            return fail(err, LARDER_ERR_ARGUMENT, "key_index %u: there are %u arguments", call->key_index,
                        cmd->argc);
        cmd->key = (int32_t)call->key_index;
    }
    if (call->timeout_ms > 0)
        cmd->timeout_ns = (int64_t)call->timeout_ms * 1000000;
    if (!(call->flags & LARDER_COMMAND_NODE))
        return 0;
    rest = call->node != NULL ? str_of(call->node) : STR("");
    int status = address_next(&rest, &a, err);
    cmd->node = status == 0 ? topo_find(t, a.name) : -1;
    if (status == 0 && cmd->node < 0)
        return fail(err, LARDER_ERR_NOT_FOUND, "%s: no such node", a.name);
    return status;
}

int known_fill(struct topo *t, struct cmd *cmd, const struct larder_call *call, struct larder_error *err)
{
    cmd->node = -1;
    cmd->key = -1;
    if (cmd->argc == 0)
        return fail(err, LARDER_ERR_ARGUMENT, "a command without a name");
    if (is_refused(cmd->argv[0]))
        return fail(err, LARDER_ERR_ARGUMENT, "%.*s: changes the state of a connection, and these are shared",
                    (int)cmd->argv[0].n, cmd->argv[0].p);
    by_table(cmd);
    return call != NULL ? by_call(t, cmd, call, err) : 0;
}
