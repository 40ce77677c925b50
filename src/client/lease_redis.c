/* Plain Redis and Valkey: scripts, each on one key, so that each is one step for everybody else.
 *
 * The lease lies in the value's own envelope and not under a key of its own. So it shares the value's
 * slot whatever the key looks like, needs no second name on a ring, and is void with the first DEL, SET
 * or expiry by anybody, as the cache commands promise. The price is that while a cold key is loaded
 * EXISTS says 1 (docs/decisions/014).
 *
 * A lease must not end with the value it refreshes: taking one stretches the key's life to that of the
 * lease, and notes by how much (extra), so that nobody takes the stretch for grace. Readers compare
 * PTTL with the durations in the envelope: no clock but the server's is ever asked. They ask PTTL before
 * GET; if the value changes in between it looks staler than it is, which a script then puts right. */
#include "client/envelope.h"
#include "client/lease.h"

#include "base/buf.h"
#include "base/num.h"
#include "client/error.h"
#include "client/reply.h"
#include "os/random.h"

/* ---- the scripts ---- */

/* v: the value, mine: it has an envelope. cut(): a number of it. */
#define LUA_BEGIN                                                                                            \
    "local k=KEYS[1] local v=redis.call('GET',k)"                                                            \
    " local mine=v and #v>=116 and v:sub(1,8)=='larder1:'"                                                   \
    " local function cut(a,b) return tonumber(v:sub(a,b)) end"                                               \
    " local function pad(n) return string.format('%016.0f',n) end"                                           \
    " local none=string.rep('0',16)"
#define LUA_NOW " local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)"

/* ARGV: token, lock ms, 1 = although it is fresh, lowest version. Replies what happened, the value, its
 * PTTL, and for how long somebody else has the lease. */
static const char take_script[] = LUA_BEGIN LUA_NOW
    " local lock=tonumber(ARGV[2])"
    " if not v then"
    "  redis.call('SET',k,'larder1:l:'..string.rep('0',20)..':'..none..':'..none..':'..none..':'"
    "   ..pad(now+lock)..':'..ARGV[1]..'\\n','PX',lock)"
    "  return {'lease',false,-2,0} end"
    " local left=redis.call('PTTL',k)"
    " if not mine then return {'there',v,left,0} end"
    " local kind,grace,extra=v:sub(9,9),cut(32,47),cut(49,64)"
    " local fresh=(kind=='v' or kind=='n') and v:sub(11,30)>=ARGV[4] and (left<0 or left>grace)"
    " if fresh and ARGV[3]=='0' then return {'there',v,left,0} end"
    " local token=v:sub(100,115)"
    " if token~=ARGV[1] and token~=none and cut(83,98)>now then return {'busy',v,left,cut(83,98)-now} end"
    " if left>=0 and left<lock then"
    "  grace=grace+lock-left extra=extra+lock-left redis.call('PEXPIRE',k,lock) end"
    " redis.call('SETRANGE',k,31,pad(grace)..':'..pad(extra))"
    " redis.call('SETRANGE',k,82,pad(now+lock)..':'..ARGV[1])"
    " return {'lease',v,left,0}";

/* ARGV: token or nothing, version, envelope, value, life in ms or 0. */
static const char fill_script[] =
    LUA_BEGIN " if ARGV[1]~='' and not (mine and v:sub(100,115)==ARGV[1]) then return 'LEASELOST' end"
              " if mine and tonumber(ARGV[2])>0 and ARGV[2]<v:sub(11,30) then"
              "  redis.call('SETRANGE',k,82,none..':'..none) return 'OLDVERSION' end"
              " if ARGV[5]=='0' then redis.call('SET',k,ARGV[3]..ARGV[4])"
              " else redis.call('SET',k,ARGV[3]..ARGV[4],'PX',ARGV[5]) end"
              " return 'OK'";

/* ARGV: token, back-off in ms. The stretch is taken back; until the back-off ends the lease is nobody's. */
static const char fail_script[] =
    LUA_BEGIN LUA_NOW " if not (mine and v:sub(100,115)==ARGV[1]) then return 'LEASELOST' end"
                      " local retry,left,extra=tonumber(ARGV[2]),redis.call('PTTL',k),cut(49,64)"
                      " local nobody=pad(now+retry)..':'..string.rep('f',16)"
                      " if v:sub(9,9)=='l' or (left>=0 and left<=extra) then"
                      "  if retry==0 then redis.call('DEL',k)"
                      "  else "
                      "redis.call('SET',k,'larder1:l:'..v:sub(11,30)..':'..none..':'..none..':'..none..':'.."
                      "nobody..'\\n','PX',retry) end"
                      "  return 'OK' end"
                      " redis.call('SETRANGE',k,31,pad(cut(32,47)-extra)..':'..none)"
                      " redis.call('SETRANGE',k,82,nobody)"
                      " if left>=0 then redis.call('PEXPIRE',k,left-extra) end"
                      " return 'OK'";

static const char soften_script[] =
    LUA_BEGIN " if not v then return 0 end"
              " if mine and v:sub(9,9)=='t' then redis.call('SETRANGE',k,82,none..':'..none) return 0 end"
              " local left,grace,extra=redis.call('PTTL',k),0,0"
              " if mine then grace=cut(32,47) extra=cut(49,64) end"
              " left=math.min(left,grace)-extra"
              " if not mine or v:sub(9,9)~='v' or left<=0 then redis.call('DEL',k) return 1 end"
              " redis.call('SETRANGE',k,31,pad(left)..':'..none)"
              " redis.call('SETRANGE',k,82,none..':'..none)"
              " redis.call('PEXPIRE',k,left)"
              " return 1";

/* ARGV: version, envelope of what holds it, for how long. */
static const char hold_script[] = LUA_BEGIN
    " local there=(v and not (mine and (v:sub(9,9)=='t' or v:sub(9,9)=='l'))) and 1 or 0"
    " if mine and v:sub(11,30)>ARGV[1] then redis.call('SETRANGE',k,82,none..':'..none) return 0 end"
    " if ARGV[3]=='0' then redis.call('DEL',k) else redis.call('SET',k,ARGV[2],'PX',ARGV[3]) end"
    " return there";

static int run_script(larder *l, const char *script, struct str key, const struct str *args, uint32_t n,
                      larder_reply **reply, struct larder_error *err)
{
    enum { ARGS_MAX = 5, BEFORE = 4 };
    struct str argv[BEFORE + ARGS_MAX] = {STR("EVAL"), str_of(script), STR("1"), key};
    for (uint32_t i = 0; i < n && i < ARGS_MAX; i++)
        argv[BEFORE + i] = args[i];
    return lease_run(l, argv, BEFORE + n, BEFORE - 1, 0, reply, err);
}

/* ---- reading ---- */

static double dice(void)
{
    uint32_t r;
    os_random(&r, sizeof r);
    return ((double)r + 1) / 4294967296.0;
}

/* What the value and its PTTL mean. A value without an envelope is fresh. */
static int read_value(const larder_reply *value, int64_t pttl_ms, const struct lease_ask *ask,
                      struct lease_answer *out, struct larder_error *err)
{
    struct larder_bytes bytes = larder_reply_text(value);
    struct envelope e;
    struct str rest;
    out->state = LEASE_MISS;
    if (larder_reply_kind(value) == LARDER_NULL)
        return LARDER_OK;
    if (larder_reply_kind(value) != LARDER_STRING)
        return lease_odd_reply("GET", err);
    if (!envelope_read((struct str){bytes.p, bytes.n}, &e, &rest)) {
        out->state = LEASE_FRESH;
        return lease_copy_value(&out->value, bytes, err);
    }
    bool fresh = envelope_is_fresh(&e, pttl_ms, ask->min_version);
    if (e.kind == ENVELOPE_NEGATIVE && fresh)
        out->state = LEASE_NEGATIVE;
    if (e.kind != ENVELOPE_VALUE || !envelope_is_usable(&e, pttl_ms))
        return LARDER_OK;
    out->state = fresh ? LEASE_FRESH : LEASE_STALE;
    out->early = fresh && envelope_is_early(&e, pttl_ms, ask->beta, dice());
    out->version = e.version;
    return lease_copy_value(&out->value, larder_bytes(rest.p, rest.n), err);
}

struct look {
    struct cmd cmds[2];
    larder_reply *replies[2];
    struct larder_error *err;
    int status;
};

static void look_done(struct cmd *cmd, const struct cmd_result *r)
{
    struct look *look = cmd->arg;
    if (r->status < 0 && look->status == 0)
        look->status = fail(look->err, r->status, "%s", r->err->text);
    else if (r->status == 0 && (look->replies[cmd - look->cmds] = reply_copy(r->value)) == NULL)
        look->status = fail(look->err, LARDER_ERR_MEMORY, "out of memory");
}

int lease_redis_look(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
                     struct larder_error *err)
{
    struct str pttl[] = {STR("PTTL"), key}, get[] = {STR("GET"), key};
    struct look look = {.err = err};
    out->retry_ms = -1;
    for (int i = 0; i < 2; i++) {
        look.cmds[i] = (struct cmd){.argv = i == 0 ? pttl : get, .argc = 2, .key = 1, .node = -1};
        look.cmds[i].flags = CMD_IDEMPOTENT;
        look.cmds[i].done = look_done;
        look.cmds[i].arg = &look;
    }
    look.cmds[0].next = &look.cmds[1];
    int status = handle_run(l, &look.cmds[0], err);
    if (status == 0)
        status = look.status;
    if (status == 0)
        status = read_value(look.replies[1], larder_reply_integer(look.replies[0]), ask, out, err);
    larder_reply_free(look.replies[0]);
    larder_reply_free(look.replies[1]);
    return status;
}

int lease_redis_take(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
                     struct larder_error *err)
{
    char token[ENVELOPE_TOKEN + 1], lock[NUM_I64_TEXT_MAX], version[21];
    larder_reply *reply;
    os_random_hex(token, ENVELOPE_TOKEN);
    token[0] = '1'; /* neither nobody's, all zeros, nor a back-off's, all f */
    envelope_put_version(version, ask->min_version);
    struct str args[] = {str_of(token), lease_number(lock, ask->lock_ms), ask->early ? STR("1") : STR("0"),
                         str_of(version)};
    int status = run_script(l, take_script, key, args, ARRAY_LEN(args), &reply, err);
    if (status == LARDER_OK) {
        const char *what = larder_reply_text(larder_reply_child(reply, 0)).p;
        int64_t busy_ms = larder_reply_integer(larder_reply_child(reply, 3));
        status = larder_reply_count(reply) != 4
                     ? lease_odd_reply("EVAL", err)
                     : read_value(larder_reply_child(reply, 1),
                                  larder_reply_integer(larder_reply_child(reply, 2)), ask, out, err);
        out->retry_ms = strcmp(what, "busy") == 0 ? busy_ms : -1;
        if (status == LARDER_OK && strcmp(what, "lease") == 0)
            memcpy(out->token, token, sizeof token);
    }
    larder_reply_free(reply);
    return status;
}

/* ---- writing ---- */

static int read_fill(const larder_reply *reply, enum lease_fill *out, struct larder_error *err)
{
    const char *text = larder_reply_text(reply).p;
    *out = strcmp(text, "OK") == 0 ? LEASE_STORED : strcmp(text, "OLDVERSION") == 0 ? LEASE_OLD : LEASE_LOST;
    return larder_reply_kind(reply) == LARDER_STRING ? LARDER_OK : lease_odd_reply("EVAL", err);
}

int lease_redis_fill(larder *l, struct str key, const struct lease_value *v, enum lease_fill *out,
                     struct larder_error *err)
{
    char head[LARDER_ENVELOPE_BYTES + 1], life[NUM_I64_TEXT_MAX], version[21];
    larder_reply *reply;
    if (v->ntags > 0)
        return fail(err, LARDER_ERR_UNSUPPORTED, "tags: the node has no CACHE.SET");
    int64_t grace_ms = v->ttl_ms > 0 && !v->negative ? v->grace_ms : 0;
    struct envelope e = {.kind = v->negative ? ENVELOPE_NEGATIVE : ENVELOPE_VALUE,
                         .version = v->version,
                         .grace_ms = grace_ms,
                         .delta_ms = v->cost_ms};
    envelope_put(head, &e);
    envelope_put_version(version, v->version);
    struct str args[] = {str_of(v->token),
                         str_of(version),
                         {head, LARDER_ENVELOPE_BYTES},
                         v->bytes,
                         lease_number(life, v->ttl_ms > 0 ? v->ttl_ms + grace_ms : 0)};
    int status = run_script(l, fill_script, key, args, ARRAY_LEN(args), &reply, err);
    if (status == LARDER_OK)
        status = read_fill(reply, out, err);
    larder_reply_free(reply);
    return status;
}

int lease_redis_fail(larder *l, struct str key, const char *token, int64_t retry_ms, struct larder_error *err)
{
    char number[NUM_I64_TEXT_MAX];
    larder_reply *reply;
    struct str args[] = {str_of(token), lease_number(number, retry_ms)};
    int status = run_script(l, fail_script, key, args, ARRAY_LEN(args), &reply, err);
    larder_reply_free(reply);
    return status;
}

int lease_redis_invalidate(larder *l, struct str key, const struct lease_invalidation *i,
                           struct larder_error *err)
{
    char head[LARDER_ENVELOPE_BYTES + 1], version[21], hold[NUM_I64_TEXT_MAX];
    larder_reply *reply = NULL;
    struct str del[] = {STR("DEL"), key};
    int status;
    if (i->has_version) {
        envelope_put(head, &(struct envelope){.kind = ENVELOPE_HELD, .version = i->version});
        envelope_put_version(version, i->version);
        struct str args[] = {str_of(version), {head, LARDER_ENVELOPE_BYTES}, lease_number(hold, i->hold_ms)};
        status = run_script(l, hold_script, key, args, ARRAY_LEN(args), &reply, err);
    } else if (i->soft) {
        status = run_script(l, soften_script, key, NULL, 0, &reply, err);
    } else {
        status = lease_run(l, del, ARRAY_LEN(del), 1, 0, &reply, err);
    }
    if (status == LARDER_OK && larder_reply_integer(reply) == 0)
        status = LARDER_MISS;
    larder_reply_free(reply);
    return status;
}
