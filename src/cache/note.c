#include "cache/note.h"

#include "base/err.h"
#include "cache/cache_internal.h"
#include "cache/state.h"

#define MAGIC STR("larder.cache.1:")

struct writer {
    char *p;
    uint32_t n;
};

static void put(struct writer *w, const void *p, size_t n)
{
    memcpy(w->p + w->n, p, n);
    w->n += (uint32_t)n;
}

static struct writer begin(char *out, char kind)
{
    struct writer w = {out, 0};
    put(&w, MAGIC.p, MAGIC.n);
    put(&w, &kind, 1);
    return w;
}

uint32_t note_entry(const struct meta *m, int64_t expire_ms, char out[NOTE_MAX])
{
    struct writer w = begin(out, m->flags & META_NEGATIVE ? 'N' : 'E');
    put(&w, &expire_ms, sizeof expire_ms);
    return w.n + meta_write(m, out + w.n);
}

static void put_hold(struct writer *w, const struct note_hold *hold)
{
    put(w, &hold->version, sizeof hold->version);
    put(w, &hold->until_ms, sizeof hold->until_ms);
}

uint32_t note_stale(int64_t fresh_ms, int64_t expire_ms, const struct note_hold *hold, char out[NOTE_MAX])
{
    struct writer w = begin(out, 'S');
    put(&w, &fresh_ms, sizeof fresh_ms);
    put(&w, &expire_ms, sizeof expire_ms);
    if (hold != NULL)
        put_hold(&w, hold);
    return w.n;
}

uint32_t note_version(const struct note_hold *hold, char out[NOTE_MAX])
{
    struct writer w = begin(out, 'V');
    put_hold(&w, hold);
    return w.n;
}

uint32_t note_purge(uint64_t tag, uint64_t seq, bool soft, char out[NOTE_MAX])
{
    struct writer w = begin(out, 'T');
    put(&w, &tag, sizeof tag);
    put(&w, &seq, sizeof seq);
    put(&w, &soft, 1);
    return w.n;
}

uint32_t note_ban(struct str glob, uint64_t seq, bool soft, uint64_t rate, char out[NOTE_MAX])
{
    struct writer w = begin(out, 'M');
    ASSERT(glob.n <= BAN_GLOB_MAX);
    put(&w, &seq, sizeof seq);
    put(&w, &rate, sizeof rate);
    put(&w, &soft, 1);
    put(&w, glob.p, glob.n);
    return w.n;
}

int note_state(struct str piece, struct buf *out)
{
    int err = buf_puts(out, MAGIC);
    if (err == 0)
        err = buf_putc(out, 'H');
    return err == 0 ? buf_puts(out, piece) : err;
}

/* ---- reading ------------------------------------------------------------------------------------ */

bool note_is(struct str bytes)
{
    return bytes.n > MAGIC.n && memcmp(bytes.p, MAGIC.p, MAGIC.n) == 0;
}

static char kind_of(struct str note)
{
    return note.p[MAGIC.n];
}

static struct str body_of(struct str note)
{
    return (struct str){note.p + MAGIC.n + 1, note.n - MAGIC.n - 1};
}

static uint64_t get_u64(struct str body, size_t at)
{
    uint64_t v;
    memcpy(&v, body.p + at, sizeof v);
    return v;
}

bool note_is_ban(struct str note)
{
    return kind_of(note) == 'M';
}

/* seq and rate, or tag and seq, and whether it is soft. */
enum { ALONE_HEAD = 17 };

int note_apply_alone(struct cache *c, const struct access *a, uint32_t db, struct str note)
{
    struct str body = body_of(note);
    if (kind_of(note) == 'H') {
        cache_take_state(a, body);
        return 1;
    }
    if (kind_of(note) != 'T' && kind_of(note) != 'M')
        return 0;
    if (body.n < ALONE_HEAD || body.p[16] < 0 || body.p[16] > 1)
        return 1;
    uint64_t first = get_u64(body, 0), second = get_u64(body, 8);
    bool soft = body.p[16] != 0;
    struct str glob = {body.p + ALONE_HEAD, body.n - ALONE_HEAD};
    if (kind_of(note) == 'T' && glob.n == 0)
        cache_purge_at(c, first, second, soft);
    if (kind_of(note) == 'M' && glob.n <= BAN_GLOB_MAX &&
        cache_ban_at(c, a, db, glob, first, soft, second) != 0)
        return ERR_OOM;
    return 1;
}

enum { TIMES = 16, HOLD = 16 }; /* of a stale entry; what is held, which may follow */

bool note_apply_instead(struct cache *c, const struct access *a, const struct key *k, struct str note)
{
    struct str body = body_of(note);
    return kind_of(note) == 'S' && (body.n == TIMES || body.n == TIMES + HOLD) &&
           cache_soften(c, a, k, (int64_t)get_u64(body, 0), (int64_t)get_u64(body, 8));
}

static void apply_hold(struct cache *c, const struct access *a, const struct key *k, struct str hold)
{
    cache_hold(c, k, get_u64(hold, 0), (int64_t)get_u64(hold, 8), a->now_ms);
}

void note_apply(struct cache *c, const struct access *a, const struct key *k, struct str note)
{
    struct str body = body_of(note);
    if (kind_of(note) == 'E' && body.n > 8)
        (void)cache_extend(c, a, k, (int64_t)get_u64(body, 0), (struct str){body.p + 8, body.n - 8});
    else if (kind_of(note) == 'N' && body.n > 8)
        (void)cache_put_negative(c, a, k, (int64_t)get_u64(body, 0), (struct str){body.p + 8, body.n - 8});
    else if (kind_of(note) == 'S' && body.n == TIMES + HOLD)
        apply_hold(c, a, k, (struct str){body.p + TIMES, HOLD});
    else if (kind_of(note) == 'V' && body.n == HOLD)
        apply_hold(c, a, k, body);
}
