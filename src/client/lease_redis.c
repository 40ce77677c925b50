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
 * GET; if the value changes in between it looks staler than it is, which a script then puts right.
 *
 * The tags stand behind the envelope (tags.h). Whether they still hold is not known to a script, whose only
 * key is the value's: it is told which tags are overtaken, and compares. */
#include "client/lease.h"
#include "client/tags.h"

#include "base/num.h"
#include "client/error.h"
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

/* ARGV: token, lock ms, 1 = although it is fresh, lowest version, tags that are overtaken. Replies what
 * happened, the value, its PTTL, and for how long somebody else has the lease. */
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
    " if ARGV[5]~='' and v:sub(117,116+#ARGV[5])==ARGV[5] then fresh=false end"
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

enum { ARGS_MAX = 5, ARGS_AT = 4 }; /* EVAL script 1 key args */

struct script {
    const char *text;
    struct str key, args[ARGS_MAX], standin_args[ARGS_MAX];
    uint32_t n;
    bool stand_in, differs; /* a stand-in gets other arguments */
};

static int run_script(larder *l, const struct script *s, larder_reply **reply, struct larder_error *err)
{
    struct str argv[2][ARGS_AT + ARGS_MAX];
    for (int other = 0; other < 2; other++) {
        argv[other][0] = STR("EVAL");
        argv[other][1] = str_of(s->text);
        argv[other][2] = STR("1");
        argv[other][3] = s->key;
        memcpy(argv[other] + ARGS_AT, other ? s->standin_args : s->args, sizeof s->args);
    }
    struct lease_command c = {.argv = argv[0], .argc = ARGS_AT + s->n, .at = 3, .stand_in = s->stand_in};
    c.standin_argv = s->differs ? argv[1] : NULL;
    c.standin_argc = c.argc;
    return lease_run(l, &c, reply, err);
}

/* ---- reading ---- */

static double dice(void)
{
    uint32_t r;
    os_random(&r, sizeof r);
    return ((double)r + 1) / 4294967296.0;
}

/* Was one of the tags invalidated? Then the block is noted, by which lease_take() knows the value again. */
static int judge_tags(larder *l, struct str key, struct str block, const struct lease_ask *ask,
                      const struct tag_lookup *known, struct lease_answer *out, struct larder_error *err)
{
    bool current = false;
    int status = LARDER_OK;
    if (!str_eq(block, ask->overtaken))
        status = tags_are_current(l, key, block, known, &current, err);
    if (status == LARDER_OK && !current)
        status = lease_copy_value(&out->overtaken, larder_bytes(block.p, block.n), err);
    return status;
}

/* What the value and its PTTL mean. A value without an envelope is fresh. */
static int read_value(larder *l, struct str key, const larder_reply *value, int64_t pttl_ms,
                      const struct lease_ask *ask, const struct tag_lookup *known, struct lease_answer *out,
                      struct larder_error *err)
{
    struct larder_bytes bytes = larder_reply_text(value);
    struct envelope e;
    struct str rest;
    int status = LARDER_OK;
    out->state = LEASE_MISS;
    if (larder_reply_kind(value) == LARDER_NULL)
        return LARDER_OK;
    if (larder_reply_kind(value) != LARDER_STRING)
        return lease_odd_reply(l, key, "GET", err);
    if (!envelope_read((struct str){bytes.p, bytes.n}, &e, &rest)) {
        out->state = LEASE_FRESH;
        return lease_copy_value(&out->value, bytes, err);
    }
    if (e.tags.n > 0)
        status = judge_tags(l, key, e.tags, ask, known, out, err);
    if (status < 0 || out->overtaken.p != NULL)
        return status;
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

int lease_redis_look(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
                     struct larder_error *err)
{
    struct batch b;
    struct tag_lookup known;
    batch_init(&b, l);
    out->retry_ms = -1;
    for (int i = 0; i < 2; i++) {
        struct cmd *cmd = batch_add(&b, 2);
        cmd->flags |= ask->stand_in ? CMD_STANDIN : 0;
        b.argv[i][0] = i == 0 ? STR("PTTL") : STR("GET");
        b.argv[i][1] = key;
    }
    tags_ask(&known, &b, key, ask->tags, ask->ntags);
    int status = batch_run(&b, err);
    if (status == LARDER_OK) {
        tags_read(&known, &b);
        status = read_value(l, key, b.replies[1], larder_reply_integer(b.replies[0]), ask, &known, out, err);
    }
    batch_release(&b);
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
    struct script s = {.text = take_script, .key = key, .n = 5, .stand_in = ask->stand_in};
    s.args[0] = str_of(token);
    s.args[1] = lease_number(lock, ask->lock_ms);
    s.args[2] = ask->early ? STR("1") : STR("0");
    s.args[3] = str_of(version);
    s.args[4] = ask->overtaken;
    int status = run_script(l, &s, &reply, err);
    if (status == LARDER_OK) {
        const char *what = larder_reply_text(larder_reply_child(reply, 0)).p;
        int64_t busy_ms = larder_reply_integer(larder_reply_child(reply, 3));
        status = larder_reply_count(reply) != 4
                     ? lease_odd_reply(l, key, "EVAL", err)
                     : read_value(l, key, larder_reply_child(reply, 1),
                                  larder_reply_integer(larder_reply_child(reply, 2)), ask, NULL, out, err);
        out->retry_ms = strcmp(what, "busy") == 0 ? busy_ms : out->overtaken.p != NULL ? 0 : -1;
        out->by_script = true;
        if (status == LARDER_OK && strcmp(what, "lease") == 0)
            memcpy(out->token, token, sizeof token);
    }
    larder_reply_free(reply);
    return status;
}

/* ---- writing ---- */

static int read_fill(larder *l, struct str key, const larder_reply *reply, enum lease_fill *out,
                     struct larder_error *err)
{
    const char *text = larder_reply_text(reply).p;
    *out = strcmp(text, "OK") == 0 ? LEASE_STORED : strcmp(text, "OLDVERSION") == 0 ? LEASE_OLD : LEASE_LOST;
    return larder_reply_kind(reply) == LARDER_STRING ? LARDER_OK : lease_odd_reply(l, key, "EVAL", err);
}

/* The envelope, its tags, and the life of both in ms. A stand-in keeps it for a short while, without grace.
 */
static int put_head(struct buf *head, const struct lease_value *v, int64_t most_ms, int64_t *life_ms)
{
    char text[LARDER_ENVELOPE_BYTES + 1];
    int64_t grace_ms = v->ttl_ms > 0 && !v->negative ? v->grace_ms : 0;
    *life_ms = v->ttl_ms > 0 ? v->ttl_ms + grace_ms : 0;
    if (most_ms > 0 && (*life_ms == 0 || *life_ms > most_ms)) {
        *life_ms = v->ttl_ms > 0 && v->ttl_ms < most_ms ? v->ttl_ms : most_ms;
        grace_ms = 0;
    }
    struct envelope e = {.kind = v->negative ? ENVELOPE_NEGATIVE : ENVELOPE_VALUE,
                         .version = v->version,
                         .grace_ms = grace_ms,
                         .delta_ms = v->cost_ms,
                         .tags = v->tag_block};
    envelope_put(text, &e);
    int err = buf_append(head, text, LARDER_ENVELOPE_BYTES);
    return err == 0 ? buf_puts(head, v->tag_block) : err;
}

int lease_redis_fill(larder *l, struct str key, const struct lease_value *v, enum lease_fill *out,
                     struct larder_error *err)
{
    char life[2][NUM_I64_TEXT_MAX], version[21];
    larder_reply *reply = NULL;
    struct buf head, standin_head;
    int64_t life_ms, standin_life_ms;
    buf_init(&head);
    buf_init(&standin_head);
    envelope_put_version(version, v->version);
    int status = put_head(&head, v, 0, &life_ms) < 0 ||
                         put_head(&standin_head, v, l->set.o.standin_ttl_ms, &standin_life_ms) < 0
                     ? fail(err, LARDER_ERR_MEMORY, "out of memory")
                     : LARDER_OK;
    if (status == LARDER_OK) {
        struct script s = {.text = fill_script, .key = key, .n = 5, .stand_in = v->stand_in, .differs = true};
        s.args[0] = s.standin_args[0] = str_of(v->token);
        s.args[1] = s.standin_args[1] = str_of(version);
        s.args[2] = buf_str(&head);
        s.standin_args[2] = buf_str(&standin_head);
        s.args[3] = s.standin_args[3] = v->bytes;
        s.args[4] = lease_number(life[0], life_ms);
        s.standin_args[4] = lease_number(life[1], standin_life_ms);
        status = run_script(l, &s, &reply, err);
    }
    if (status == LARDER_OK)
        status = read_fill(l, key, reply, out, err);
    larder_reply_free(reply);
    buf_release(&head);
    buf_release(&standin_head);
    return status;
}

int lease_redis_fail(larder *l, struct str key, const char *token, int64_t retry_ms, bool stand_in,
                     struct larder_error *err)
{
    char number[NUM_I64_TEXT_MAX];
    larder_reply *reply;
    struct script s = {.text = fail_script, .key = key, .n = 2, .stand_in = stand_in};
    s.args[0] = str_of(token);
    s.args[1] = lease_number(number, retry_ms);
    int status = run_script(l, &s, &reply, err);
    larder_reply_free(reply);
    return status;
}

int lease_redis_invalidate(larder *l, struct str key, const struct lease_invalidation *i,
                           struct larder_error *err)
{
    char head[LARDER_ENVELOPE_BYTES + 1], version[21], hold[NUM_I64_TEXT_MAX];
    larder_reply *reply = NULL;
    struct str del[] = {STR("DEL"), key};
    struct script s = {.text = i->has_version ? hold_script : soften_script, .key = key};
    if (i->has_version) {
        envelope_put(head, &(struct envelope){.kind = ENVELOPE_HELD, .version = i->version});
        envelope_put_version(version, i->version);
        s.n = 3;
        s.args[0] = str_of(version);
        s.args[1] = (struct str){head, LARDER_ENVELOPE_BYTES};
        s.args[2] = lease_number(hold, i->hold_ms);
    }
    int status = i->has_version || i->soft
                     ? run_script(l, &s, &reply, err)
                     : lease_run(l, &(struct lease_command){.argv = del, .argc = 2, .at = 1}, &reply, err);
    if (status == LARDER_OK && larder_reply_integer(reply) == 0)
        status = LARDER_MISS;
    larder_reply_free(reply);
    return status;
}
