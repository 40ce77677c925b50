/* Names and values of a peer: the hottest first, then all that SCAN lists; or those of a list alone. */
#include "base/err.h"
#include "cache/cache.h"
#include "cache/state.h"
#include "ds/topk.h"
#include "os/sock.h"
#include "repl/unit.h"
#include "server/server.h"
#include "server/warm_internal.h"

#include <string.h>
#include <unistd.h>

/* The walk with what only a peer needs. */
struct visit {
    struct walk *k;
    struct talk t;
    struct buf out;
};

/* What a peer says, as far as it fits. */
static int shown(struct str s)
{
    return s.n < 100 ? (int)s.n : 100;
}

static bool put_words(struct visit *v, const struct str *argv, uint32_t argc)
{
    return unit_put_command(&v->out, argv, argc) == 0 || warm_fail(v->k, "out of memory");
}

static bool send_out(struct visit *v)
{
    bool ok = talk_send(&v->t, buf_str(&v->out));
    buf_clear(&v->out);
    return ok || warm_fail(v->k, "the peer does not listen");
}

static bool read_one(struct visit *v, struct reader_value *r)
{
    return talk_read(&v->t, WARM_REPLY_MAX, r) ||
           warm_fail(v->k, "the peer does not answer, or not in Redis's protocol");
}

static bool is_strange(struct visit *v)
{
    return warm_fail(v->k, "the peer lists keys as no larder does");
}

/* ---- values ---- */

static bool fetch(struct visit *v)
{
    struct walk *k = v->k;
    for (uint32_t i = 0; i < k->nitems; i++) {
        const struct str dump[] = {STR("CACHE.DUMP"), {k->names.p + k->items[i].at, k->items[i].n}};
        if (k->items[i].token != 0 && !put_words(v, dump, ARRAY_LEN(dump)))
            return false;
    }
    return v->out.n == 0 || send_out(v);
}

static bool is_a_value(const struct reader_value *r)
{
    return r->kind == READ_ARRAY && r->n == 3 && r->children[0].kind == READ_INT &&
           r->children[1].kind == READ_BULK && r->children[2].kind == READ_BULK;
}

/* The next reply is about this one. False: nothing more comes. */
static bool take_one(struct visit *v, struct warm_item *it, bool talks)
{
    struct reader_value r;
    struct warm_value value;
    talks = talks && read_one(v, &r);
    bool has = talks && is_a_value(&r);
    if (has)
        value = (struct warm_value){r.children[0].integer, r.children[1].text, r.children[2].text};
    bool refused = talks && reader_is_error(&r) && str_begins(r.text, STR("ERR unknown command"));
    warm_settle(v->k, it, has ? &value : NULL);
    if (refused)
        warm_fail(v->k, "the peer is no larder");
    return talks;
}

/* The names at hand. Each lease that was taken is settled, also when nothing comes any more. */
static void run_batch(struct visit *v)
{
    struct walk *k = v->k;
    bool open = warm_claim(k), talks = open && fetch(v);
    for (uint32_t i = 0; i < k->nitems && open; i++)
        if (k->items[i].token != 0)
            talks = take_one(v, &k->items[i], talks);
    warm_end_batch(k);
}

/* False: that was enough. */
static bool add_name(struct visit *v, struct str name)
{
    struct walk *k = v->k;
    uint64_t top = k->w->request.top;
    if (top != 0 && k->w->counts.seen + k->nitems >= top)
        return false;
    if (!warm_add_item(k, name, 0))
        return false;
    if (k->nitems == WARM_BATCH)
        run_batch(v);
    return !warm_is_over(k);
}

/* ---- names ---- */

/* Names are copied first: run_batch() reads other replies. */
static bool add_names(struct visit *v, struct buf *list)
{
    bool more = true;
    for (size_t at = 0; at < list->n && more;) {
        uint32_t n;
        memcpy(&n, list->p + at, sizeof n);
        more = add_name(v, (struct str){list->p + at + sizeof n, n});
        at += sizeof n + n;
    }
    if (!warm_is_over(v->k))
        run_batch(v);
    return more && !warm_is_over(v->k);
}

static bool keep_name(struct visit *v, struct buf *list, const struct reader_value *r)
{
    uint32_t n = (uint32_t)r->text.n;
    if (r->kind != READ_BULK)
        return is_strange(v);
    return (buf_append(list, (const char *)&n, sizeof n) == 0 && buf_append(list, r->text.p, n) == 0) ||
           warm_fail(v->k, "out of memory");
}

/* A list is asked for: its reply, if it is one. */
static bool read_array(struct visit *v, struct reader_value *r)
{
    if (!read_one(v, r))
        return false;
    if (reader_is_error(r))
        return warm_fail(v->k, "the peer answers %.*s", shown(r->text), r->text.p);
    return r->kind == READ_ARRAY || is_strange(v);
}

/* [[key, name, db, number, ...], ...]; long names may be cut, and come with the rest. */
static bool read_hot(struct visit *v, struct buf *list)
{
    struct reader_value r;
    if (!read_array(v, &r))
        return false;
    for (uint64_t i = 0; i < r.n; i++) {
        const struct reader_value *it = &r.children[i];
        if (it->kind != READ_ARRAY || it->n < 4 || it->children[3].kind != READ_INT)
            return is_strange(v);
        if (it->children[3].integer == 0 && it->children[1].text.n < TOPK_NAME &&
            !keep_name(v, list, &it->children[1]))
            return false;
    }
    return true;
}

static bool hottest(struct visit *v, struct buf *list)
{
    char count[NUM_I64_TEXT_MAX];
    const struct str hot[] = {STR("CACHE.HOT"), STR("COUNT"), {count, num_put_i64(count, WARM_HOT)}};
    return put_words(v, hot, ARRAY_LEN(hot)) && send_out(v) && read_hot(v, list) && add_names(v, list);
}

static bool read_scan(struct visit *v, struct buf *list, uint64_t *cursor)
{
    struct reader_value r;
    uint64_t next;
    if (!read_array(v, &r))
        return false;
    if (r.n != 2 || r.children[0].kind != READ_BULK || !num_parse_u64(r.children[0].text, &next) ||
        r.children[1].kind != READ_ARRAY)
        return is_strange(v);
    if (next != 0 && next == *cursor)
        return warm_fail(v->k, "the peer's SCAN does not go on");
    *cursor = next;
    for (uint64_t i = 0; i < r.children[1].n; i++)
        if (!keep_name(v, list, &r.children[1].children[i]))
            return false;
    return true;
}

static bool the_rest(struct visit *v, struct buf *list)
{
    uint64_t cursor = 0;
    do {
        char text[NUM_I64_TEXT_MAX], count[NUM_I64_TEXT_MAX];
        const struct str scan[] = {STR("SCAN"),
                                   {text, num_put_u64(text, cursor)},
                                   STR("COUNT"),
                                   {count, num_put_i64(count, WARM_BATCH)}};
        buf_clear(list);
        if (!put_words(v, scan, ARRAY_LEN(scan)) || !send_out(v) || !read_scan(v, list, &cursor) ||
            !add_names(v, list))
            return false;
    } while (cursor != 0);
    return true;
}

/* ---- the peer ---- */

/* That it asks for no password, or knows no cluster, is no matter: it may be a replica. */
static bool greet(struct visit *v)
{
    const struct str readonly[] = {STR("READONLY")};
    struct reader_value r;
    uint32_t nwords;
    if (!talk_put_auth_by_lane(v->k->w->server, &v->out, &nwords))
        return warm_fail(v->k, "the node ends");
    if (!put_words(v, readonly, 1) || !send_out(v))
        return false;
    for (nwords++; nwords > 0; nwords--)
        if (!read_one(v, &r))
            return false;
    return true;
}

/* Which versions it holds of what is gone, so that no loader puts an older one here. One that serves slots of
 * a cluster does not say, nor does Redis: no matter. */
static bool held_versions(struct visit *v)
{
    char slots[SLOT_BYTES], text[NUM_I64_TEXT_MAX];
    int64_t at = 0, next;
    memset(slots, 0xff, sizeof slots);
    do {
        const struct str held[] = {STR("CACHE.HELD"), {slots, sizeof slots}, {text, num_put_i64(text, at)}};
        struct reader_value r;
        if (!put_words(v, held, ARRAY_LEN(held)) || !send_out(v) || !read_one(v, &r))
            return false;
        if (r.kind != READ_ARRAY || r.n != 2 || r.children[0].kind != READ_INT ||
            r.children[1].kind != READ_BULK)
            return true;
        next = r.children[0].integer;
        if (next != 0 && next <= at)
            return is_strange(v);
        at = next;
        warm_take_held(v->k, r.children[1].text);
    } while (at != 0 && !warm_is_over(v->k));
    return !warm_is_over(v->k);
}

static void take_listed(struct visit *v)
{
    struct name_list list;
    if (warm_read_list(v->k, &list)) {
        bool more = true;
        for (size_t i = 0; i < list.n && more; i++)
            more = add_name(v, list.names[i]);
        if (!warm_is_over(v->k))
            run_batch(v);
    }
    warm_release_list(&list);
}

static void take_all(struct visit *v)
{
    struct buf list;
    buf_init(&list);
    if (greet(v) && held_versions(v)) {
        if (v->k->w->request.list[0] != '\0')
            take_listed(v);
        else if (hottest(v, &list))
            (void)the_rest(v, &list);
    }
    buf_release(&list);
}

void warm_from_peer(struct walk *k)
{
    struct visit v = {.k = k};
    struct sock_err err;
    const struct warm_request *q = &k->w->request;
    int fd = sock_connect_tcp(q->name, q->port, WARM_TIMEOUT_MS, true, &err);
    if (fd < 0) {
        warm_fail(k, "cannot connect: %s", err.text);
        return;
    }
    buf_init(&v.out);
    talk_begin(&v.t, fd, WARM_TIMEOUT_MS, &k->w->halt);
    take_all(&v);
    talk_end(&v.t);
    buf_release(&v.out);
    close(fd);
}
