/* Random commands on sets against arrays of flags: small sets that change their encoding all the time, and
 * large ones whose pages are shared by copies. LARDER_MODEL_STEPS and LARDER_MODEL_SEED make it longer and
 * other (scripts/model). */
#include "harness.h"

#include "base/buf.h"
#include "base/num.h"
#include "store/shard.h"
#include "value/set.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 6, MEMBERS_MAX = 3000, NAME_MAX_ = 80, NUMBER_SPAN = 4096, LONG_TTL = 100000 };

struct model_set {
    bool in[MEMBERS_MAX];
    int64_t expire_ms; /* 0: never */
};

static struct harness h;
static struct rng rng;
static uint32_t members; /* that come up in this run */
static struct model_set sets[KEYS];
static struct str words[MEMBERS_MAX + 8];
static uint32_t nwords;
static char names[MEMBERS_MAX][NAME_MAX_];
static const char *const key_names[KEYS] = {"s0", "s1", "s2", "{t}s3", "{t}s4", "{t}s5"};

/* A member's number can be read from its name: numbers of all widths, and short and long words. */
static void name_members(void)
{
    static const int64_t beyond[] = {0, 0, 100, 1 << 20, (int64_t)1 << 40};
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (i % 2 == 0)
            snprintf(names[i], NAME_MAX_, "%lld", (long long)(i + NUMBER_SPAN * beyond[i / 2 % 5]));
        else
            snprintf(names[i], NAME_MAX_, i % 31 == 0 ? "m%u-%060u" : "m%u", i, 0);
    }
}

static uint32_t number_of(struct str name)
{
    char text[NAME_MAX_];
    assert_true(name.n < sizeof text);
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    uint32_t i = text[0] == 'm' ? (uint32_t)atoi(text + 1) : (uint32_t)(atoll(text) % NUMBER_SPAN);
    assert_true(i < members && strcmp(text, names[i]) == 0);
    return i;
}

static uint32_t below(uint32_t n)
{
    return (uint32_t)rng_below(&rng, n);
}

static void forget(uint32_t k)
{
    memset(&sets[k], 0, sizeof sets[k]);
}

static uint32_t count(uint32_t k)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < members; i++)
        n += sets[k].in[i];
    return n;
}

static void settle(uint32_t k)
{
    if (count(k) == 0)
        forget(k);
}

/* ---- asking ------------------------------------------------------------------------------------- */

static void word(struct str s)
{
    assert_true(nwords < ARRAY_LEN(words));
    words[nwords++] = s;
}

static void begin(const char *command)
{
    nwords = 0;
    word(str_of(command));
}

static void key(uint32_t k)
{
    word(str_of(key_names[k]));
}

static void member(uint32_t i)
{
    word(str_of(names[i]));
}

static struct str ask(void)
{
    arena_reset(&h.arena);
    return harness_run(&h, words, nwords);
}

static void expect_int(int64_t n)
{
    char text[32];
    snprintf(text, sizeof text, ":%lld\r\n", (long long)n);
    struct str got = ask();
    if (!str_eq(got, str_of(text)))
        fail_msg("%.*s: expected %lld, got %.*s", (int)words[0].n, words[0].p, (long long)n, (int)got.n,
                 got.p);
}

/* The number behind this mark, taken off the front. */
static int64_t take_head(struct str *in, char mark)
{
    assert_true(in->n > 2 && in->p[0] == mark);
    const char *end = memchr(in->p, '\n', in->n);
    assert_non_null(end);
    int64_t n;
    assert_true(num_parse_i64((struct str){in->p + 1, (size_t)(end - in->p) - 2}, &n));
    in->n -= (size_t)(end + 1 - in->p);
    in->p = end + 1;
    return n;
}

static struct str take_bulk(struct str *in)
{
    struct str s = {NULL, 0};
    int64_t n = take_head(in, '$');
    if (n < 0)
        return s;
    s = (struct str){in->p, (size_t)n};
    in->p += n + 2;
    in->n -= (size_t)n + 2;
    return s;
}

/* How often each member is in a reply's array. */
static uint32_t take_members(struct str *in, uint32_t *times)
{
    uint32_t n = (uint32_t)take_head(in, '*');
    for (uint32_t i = 0; i < n; i++)
        times[number_of(take_bulk(in))]++;
    return n;
}

/* ---- what others do while a command that has let go of its keys goes on ---- */

static void lose_a_member(const struct key *k, uint32_t number)
{
    struct entry *e = store_find(&h.ctx.a, k);
    for (uint32_t m = 0; e != NULL && m < members; m++) {
        if (!sets[number].in[m])
            continue;
        struct object *from = entry_object(e), *o = set_type.copy(from);
        size_t before = set_type.bytes(from);
        assert_int_equal(set_remove(&o, str_of(names[m])), 1);
        store_object_changed(&h.ctx.a, k, e, o, before);
        store_release_object(h.store, from);
        sets[number].in[m] = false;
        return;
    }
}

static void meddle(struct cmd_ctx *c)
{
    struct key at;
    uint32_t k = below(KEYS);
    c->let_go = NULL;
    key_make(h.store, &at, str_of(key_names[k]), 0);
    if (below(3) == 0) {
        assert_int_equal(store_delete(&h.ctx.a, &at), count(k) > 0);
        forget(k);
    } else {
        lose_a_member(&at, k);
        settle(k);
    }
    for (int i = 0; i < 20; i++)
        (void)store_maintain(&h.ctx.a, 100);
}

/* As the lane does; what the next command finds is as of its beginning. */
static void let_others_in(void)
{
    h.ctx.let_go = below(2) == 0 ? meddle : NULL;
}

/* ---- one set -------------------------------------------------------------------------------------- */

static uint32_t few(void)
{
    return 1 + (below(8) == 0 ? below(members / 2) : below(5));
}

static void step_add(void)
{
    uint32_t k = below(KEYS), n = few(), fresh = 0;
    begin("SADD");
    key(k);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t m = below(members);
        member(m);
        fresh += !sets[k].in[m];
        sets[k].in[m] = true;
    }
    expect_int(fresh);
}

static void step_remove(void)
{
    uint32_t k = below(KEYS), n = few(), gone = 0;
    begin("SREM");
    key(k);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t m = below(members);
        member(m);
        gone += sets[k].in[m];
        sets[k].in[m] = false;
    }
    expect_int(gone);
    settle(k);
}

static void step_look(void)
{
    uint32_t k = below(KEYS), m = below(members);
    begin("SISMEMBER");
    key(k);
    member(m);
    expect_int(sets[k].in[m]);
    begin("SCARD");
    key(k);
    expect_int(count(k));
}

static void step_members(void)
{
    static uint32_t times[MEMBERS_MAX];
    uint32_t k = below(KEYS);
    memset(times, 0, sizeof times);
    static struct model_set want;
    want = sets[k];
    begin("SMEMBERS");
    key(k);
    let_others_in();
    struct str got = ask();
    h.ctx.let_go = NULL;
    take_members(&got, times);
    for (uint32_t i = 0; i < members; i++)
        assert_int_equal(times[i], want.in[i]);
}

/* All different, all from the set, as many as asked for or all there are. */
static void draw(const char *command, bool remove)
{
    static uint32_t times[MEMBERS_MAX];
    char text[16];
    uint32_t k = below(KEYS), have = count(k), n = below(4) == 0 ? below(members) : below(8);
    memset(times, 0, sizeof times);
    begin(command);
    key(k);
    snprintf(text, sizeof text, "%u", n);
    word(str_of(text));
    struct str got = ask();
    assert_int_equal(take_members(&got, times), n < have ? n : have);
    for (uint32_t i = 0; i < members; i++) {
        assert_true(times[i] <= sets[k].in[i]);
        if (remove && times[i] > 0)
            sets[k].in[i] = false;
    }
    settle(k);
}

static void step_pop(void)
{
    draw("SPOP", true);
}

static void step_random(void)
{
    draw("SRANDMEMBER", false);
}

/* While it is scanned, others come and go; those that stay are seen, and nothing that never was. */
static void step_scan(void)
{
    static uint32_t times[MEMBERS_MAX];
    static struct model_set stay, ever;
    char cursor[32] = "0";
    uint32_t k = below(KEYS), calls = 0;
    memset(times, 0, sizeof times);
    stay = ever = sets[k];
    do {
        begin("SSCAN");
        key(k);
        word(str_of(cursor));
        word(STR("COUNT"));
        word(STR("7"));
        struct str got = ask();
        assert_int_equal(take_head(&got, '*'), 2);
        struct str next = take_bulk(&got);
        memcpy(cursor, next.p, next.n);
        cursor[next.n] = '\0';
        take_members(&got, times);
        for (uint32_t i = 0, n = below(8); i < n; i++) {
            uint32_t m = below(members);
            begin(sets[k].in[m] ? "SREM" : "SADD");
            key(k);
            member(m);
            expect_int(1);
            sets[k].in[m] = !sets[k].in[m];
            stay.in[m] = false;
            ever.in[m] = true;
            settle(k); /* now: who joins an empty set makes a new one, without a deadline */
        }
        assert_true(++calls < 100000);
    } while (strcmp(cursor, "0") != 0);
    for (uint32_t i = 0; i < members; i++) {
        assert_true(!stay.in[i] || times[i] > 0);
        assert_true(times[i] == 0 || ever.in[i]);
    }
}

/* ---- several sets ----------------------------------------------------------------------------------- */

static void step_move(void)
{
    uint32_t from = below(KEYS), to = below(KEYS), m = below(members);
    bool had = sets[from].in[m];
    begin("SMOVE");
    key(from);
    key(to);
    member(m);
    expect_int(had);
    if (had) {
        sets[from].in[m] = false;
        sets[to].in[m] = true;
    }
    settle(from);
}

static void step_copy(void)
{
    uint32_t from = below(KEYS), to = below(KEYS), n = count(from);
    bool copy = below(2) == 0;
    if (from == to)
        return;
    begin(copy ? "COPY" : "RENAME");
    key(from);
    key(to);
    if (copy)
        word(STR("REPLACE"));
    struct str got = ask();
    assert_true((got.p[0] == ':' ? got.p[1] == '1' : got.p[0] == '+') == (n > 0));
    if (n == 0)
        return;
    sets[to] = sets[from];
    if (!copy)
        forget(from);
}

/* The model's result of INTER, UNION, DIFF over these keys. */
static void combine(char op, const uint32_t *of, uint32_t n, struct model_set *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < members; i++) {
        bool in = sets[of[0]].in[i];
        for (uint32_t j = 1; j < n; j++) {
            bool other = sets[of[j]].in[i];
            in = op == 'I' ? in && other : op == 'U' ? in || other : in && !other;
        }
        out->in[i] = in;
    }
}

static uint32_t taken_back, changed_between;

static void take_back(struct cmd_ctx *c)
{
    taken_back++;
}

/* What is stored is of the sets as they are when it takes its place. */
static void store_combined(char op, uint32_t to, const uint32_t *of, uint32_t n)
{
    static struct model_set before, after;
    combine(op, of, n, &before);
    let_others_in();
    h.ctx.take_back = take_back;
    struct str got = ask();
    int64_t stored = take_head(&got, ':');
    h.ctx.let_go = NULL;
    combine(op, of, n, &after);
    changed_between += memcmp(&before, &after, sizeof after) != 0;
    sets[to] = after;
    assert_int_equal(stored, count(to));
}

static void step_combine(void)
{
    static const char *const plain[] = {"SINTER", "SUNION", "SDIFF"};
    static const char *const storing[] = {"SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"};
    static uint32_t times[MEMBERS_MAX];
    static struct model_set want;
    uint32_t op = below(3), n = 1 + below(3), to = below(KEYS), of[3] = {0};
    bool store = below(2) == 0;
    begin(store ? storing[op] : plain[op]);
    if (store)
        key(to);
    for (uint32_t i = 0; i < n; i++) {
        of[i] = below(KEYS);
        key(of[i]);
    }
    combine("IUD"[op], of, n, &want);
    if (store) {
        store_combined("IUD"[op], to, of, n);
        return;
    }
    memset(times, 0, sizeof times);
    let_others_in();
    struct str got = ask();
    h.ctx.let_go = NULL;
    take_members(&got, times);
    for (uint32_t i = 0; i < members; i++)
        assert_int_equal(times[i], want.in[i]);
}

static void step_intercard(void)
{
    static struct model_set want;
    uint32_t of[2] = {below(KEYS), below(KEYS)}, limit = below(10), n = 0;
    char text[16];
    begin("SINTERCARD");
    word(STR("2"));
    key(of[0]);
    key(of[1]);
    word(STR("LIMIT"));
    snprintf(text, sizeof text, "%u", limit);
    word(str_of(text));
    combine('I', of, 2, &want);
    for (uint32_t i = 0; i < members; i++)
        n += want.in[i];
    let_others_in();
    expect_int(limit != 0 && limit < n ? limit : n);
    h.ctx.let_go = NULL;
}

static void step_dump(void)
{
    uint32_t from = below(KEYS), to = below(KEYS);
    begin("DUMP");
    key(from);
    struct str got = ask(), payload = take_bulk(&got);
    assert_int_equal(payload.p != NULL, count(from) > 0);
    if (payload.p == NULL)
        return;
    struct buf copy; /* the reply's memory is used again */
    buf_init(&copy);
    assert_int_equal(buf_puts(&copy, payload), 0);
    begin("RESTORE");
    key(to);
    word(STR("0"));
    word(buf_str(&copy));
    word(STR("REPLACE"));
    assert_str(ask(), STR("+OK\r\n"));
    buf_release(&copy);
    sets[to] = sets[from];
    sets[to].expire_ms = 0;
}

static void step_delete(void)
{
    uint32_t k = below(KEYS);
    if (below(6) != 0)
        return;
    begin("DEL");
    key(k);
    expect_int(count(k) > 0);
    forget(k);
}

static void step_expire(void)
{
    char text[16];
    uint32_t k = below(KEYS), ms = 1 + below(LONG_TTL);
    if (below(4) != 0)
        return;
    begin("PEXPIRE");
    key(k);
    snprintf(text, sizeof text, "%u", ms);
    word(str_of(text));
    expect_int(count(k) > 0);
    if (count(k) > 0)
        sets[k].expire_ms = h.ctx.a.now_ms + ms;
}

static void pass_time(void)
{
    h.ctx.a.now_ms += below(200);
    for (uint32_t k = 0; k < KEYS; k++)
        if (sets[k].expire_ms != 0 && sets[k].expire_ms <= h.ctx.a.now_ms)
            forget(k);
    (void)store_maintain(&h.ctx.a, 200);
}

/* The account of heap values, down to the last byte. */
static int64_t heap_account(void)
{
    return (int64_t)atomic_load(&h.store->heap) + h.ctx.a.app->heap_unseen;
}

static void check_all(void)
{
    int64_t bytes = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        struct key at;
        key_make(h.store, &at, str_of(key_names[k]), 0);
        const struct entry *e = store_peek(&h.ctx.a, &at);
        assert_int_equal(e != NULL, count(k) > 0);
        if (e != NULL) {
            set_check(entry_object(e));
            bytes += (int64_t)object_type(entry_object(e))->bytes(entry_object(e));
        }
        assert_int_equal(e != NULL ? entry_expire(e) : 0, sets[k].expire_ms);
    }
    assert_int_equal(heap_account(), bytes);
    store_check(h.store);
}

static void run(uint32_t universe, uint64_t steps, uint64_t seed)
{
    static void (*const step[])(void) = {step_add,    step_add,     step_add,     step_remove,    step_remove,
                                         step_look,   step_members, step_pop,     step_random,    step_move,
                                         step_copy,   step_combine, step_combine, step_intercard, step_dump,
                                         step_delete, step_expire,  step_scan};
    struct store_memory mem;
    members = universe;
    memset(sets, 0, sizeof sets);
    rng_init(&rng, seed);
    harness_start(&h);
    h.limits.objects.set_max_intset_entries = universe / 5;
    h.limits.objects.set_max_listpack_entries = universe / 6;
    h.limits.objects.set_max_listpack_value = 40;
    for (uint64_t n = 1; n <= steps; n++) {
        step[below(ARRAY_LEN(step))]();
        if (n % 16 == 0)
            pass_time();
        if (n % 512 == 0)
            check_all();
    }
    for (uint32_t k = 0; k < KEYS; k++) {
        begin("DEL");
        key(k);
        expect_int(count(k) > 0);
    }
    for (int i = 0; i < 1000 && store_maintain(&h.ctx.a, 100000) == 0; i++)
        ;
    store_memory(h.store, &mem);
    assert_int_equal(mem.keys, 0);
    assert_int_equal(heap_account(), 0);
    assert_int_equal(mem.live, 0);
    assert_int_equal(mem.doomed, 0);
    harness_stop(&h);
}

static void small_sets(void **state)
{
    taken_back = changed_between = 0;
    run(60, unit_model_steps(40000), unit_model_seed(1));
    assert_true(taken_back > 100 && changed_between > 10);
}

static void large_sets(void **state)
{
    run(MEMBERS_MAX, unit_model_steps(40000) / 20, unit_model_seed(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_sets),
        cmocka_unit_test(large_sets),
    };
    name_members();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
