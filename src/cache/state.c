/* The steps of a walk: the sequence, tags STATE_BUCKETS at a time, two pieces a group of tombstones, slots of
 * which that is not known. */
#include "cache/state.h"

#include "base/bytes.h"
#include "base/err.h"
#include "cache/cache_internal.h"
#include "os/clock.h"

enum {
    TAG_STEPS = TAG_BUCKETS / STATE_BUCKETS,
    AT_TAGS = 1,
    AT_FLOORS = AT_TAGS + TAG_STEPS,
    AT_GROUPS = AT_FLOORS + TAG_STEPS,
    AT_UNKNOWN = AT_GROUPS + 2 * TOMB_GROUPS,
    AT_END = AT_UNKNOWN + 1,
    WORD = 8,
    TRIPLE = 3 * WORD,
    HEAD = 1 + WORD,
};

/* ---- writing ---- */

static int put_words(struct buf *b, const uint64_t *words, unsigned n)
{
    char bytes[TRIPLE];
    for (unsigned i = 0; i < n; i++)
        bytes_put_le(bytes + (size_t)i * WORD, words[i], WORD);
    return buf_append(b, bytes, (size_t)n * WORD);
}

static int put_head(struct buf *b, char kind, uint64_t of)
{
    int err = buf_append(b, &kind, 1);
    return err == 0 ? put_words(b, &of, 1) : err;
}

/* A triple, with the head before the first of them. */
static int put_triple(struct buf *b, char kind, uint64_t of, uint64_t x, uint64_t y, uint64_t z)
{
    const uint64_t words[] = {x, y, z};
    int err = b->n == 0 ? put_head(b, kind, of) : 0;
    return err == 0 ? put_words(b, words, 3) : err;
}

struct tag_walk {
    struct buf *out;
    int err;
};

static void put_tag(void *arg, uint64_t tag, struct tag_purged p)
{
    struct tag_walk *w = arg;
    if (w->err == 0)
        w->err = put_triple(w->out, 'T', 0, tag, p.hard, p.soft);
}

static void put_floor(void *arg, uint64_t bucket, struct tag_purged p)
{
    struct tag_walk *w = arg;
    if (w->err == 0)
        w->err = put_triple(w->out, 'B', TAG_BUCKETS, bucket, p.hard, p.soft);
}

static int put_tags(struct cache *c, uint32_t step, struct buf *out)
{
    bool floors = step >= AT_FLOORS;
    uint32_t from = (step - (floors ? AT_FLOORS : AT_TAGS)) * STATE_BUCKETS;
    struct tag_walk w = {out, 0};
    if (step == AT_TAGS) {
        struct tag_purged all = tags_purged(&c->tags, 0);
        if (all.hard != 0 || all.soft != 0)
            put_tag(&w, 0, all);
    }
    tags_each(&c->tags, from, from + STATE_BUCKETS, floors ? NULL : put_tag, floors ? put_floor : NULL, &w);
    return w.err;
}

/* slots: a bit each, NULL: of all. */
static bool is_wanted(const struct tomb *t, bool floors, const uint8_t *slots)
{
    uint32_t slot = tomb_slot(t->hash);
    return t->version != 0 && (floors || slots == NULL || slots_has(slots, slot));
}

static int put_tombs(const struct tombs *t, uint32_t group, bool floors, const uint8_t *slots,
                     struct buf *out)
{
    const struct tomb *list = floors ? t->floors : t->list;
    uint32_t n = floors ? TOMB_FLOORS : t->n;
    int err = 0;
    for (uint32_t i = 0; i < n && err == 0; i++)
        if (is_wanted(&list[i], floors, slots))
            err = put_triple(out, floors ? 'F' : 'V', group, floors ? i : list[i].hash, list[i].version,
                             (uint64_t)list[i].until_ms);
    return err;
}

static int put_group(struct cache *c, uint32_t step, const uint8_t *slots, struct buf *out)
{
    uint32_t group = step / 2;
    struct tomb_group *g = &c->held.groups[group];
    lock_hold(&g->lock);
    int err = put_tombs(&g->tombs, group, step % 2 != 0, slots, out);
    lock_release(&g->lock);
    return err;
}

static int put_seq(struct cache *c, struct buf *out)
{
    uint64_t seq = atomic_load(&c->seq);
    if (seq == 0)
        return 0;
    return put_head(out, 'S', seq);
}

static int put_unknown(const struct cache *c, struct buf *out)
{
    uint64_t words[SLOT_WORDS], any = 0;
    int64_t now_ms = os_wall_ms();
    for (uint32_t i = 0; i < SLOT_WORDS; i++)
        any |= words[i] = cache_unknown(c, i, now_ms);
    int err = any != 0 ? put_head(out, 'U', 0) : 0;
    for (uint32_t i = 0; i < SLOT_WORDS && any != 0 && err == 0; i++)
        err = put_words(out, &words[i], 1);
    return err;
}

int cache_put_state(void *cache, uint32_t *at, struct buf *out)
{
    struct cache *c = cache;
    ASSERT(out->n == 0 && *at <= AT_END);
    for (unsigned i = 0; i < STATE_GROUPS && *at < AT_END && out->n == 0; i++) {
        int err = *at >= AT_UNKNOWN  ? put_unknown(c, out)
                  : *at >= AT_GROUPS ? put_group(c, *at - AT_GROUPS, NULL, out)
                  : *at >= AT_TAGS   ? put_tags(c, *at, out)
                                     : put_seq(c, out);
        if (err != 0)
            return err;
        ++*at;
    }
    return *at == AT_END;
}

int cache_put_held(struct cache *c, const uint8_t *slots, uint32_t *at, struct buf *out)
{
    _Static_assert(STATE_HELD_END == AT_UNKNOWN - AT_GROUPS, "all groups");
    ASSERT(out->n == 0 && *at <= STATE_HELD_END);
    for (unsigned i = 0; i < STATE_HELD_STEP && *at < STATE_HELD_END && out->n == 0; i++) {
        int err = put_group(c, *at, slots, out);
        if (err != 0)
            return err;
        ++*at;
    }
    return *at == STATE_HELD_END;
}

/* ---- reading ---- */

static uint64_t word_at(struct str s, size_t i)
{
    return bytes_get_le(s.p + i * WORD, WORD);
}

static void take_tags(struct cache *c, struct str triples)
{
    for (size_t i = 0; i + 3 <= triples.n / WORD; i += 3) {
        for (unsigned soft = 0; soft < 2; soft++)
            if (word_at(triples, i + 1 + soft) != 0)
                cache_purge_at(c, word_at(triples, i), word_at(triples, i + 1 + soft), soft != 0);
    }
}

/* Of as many buckets as there are here, or else of all. */
static void take_floors(struct cache *c, uint64_t buckets, struct str triples)
{
    for (size_t i = 0; i + 3 <= triples.n / WORD; i += 3) {
        struct tag_purged p = {word_at(triples, i + 1), word_at(triples, i + 2)};
        cache_count_on(c, p.hard > p.soft ? p.hard : p.soft);
        if (buckets == TAG_BUCKETS && word_at(triples, i) < buckets) {
            tags_raise_floor(&c->tags, (uint32_t)word_at(triples, i), p);
        } else {
            tags_purge(&c->tags, 0, p.hard, false);
            tags_purge(&c->tags, 0, p.soft, true);
        }
    }
}

static void take_tombs(struct cache *c, int64_t now_ms, uint64_t group, bool floors, struct str triples)
{
    if (group >= TOMB_GROUPS)
        return;
    struct tomb_group *g = &c->held.groups[group];
    lock_hold(&g->lock);
    for (size_t i = 0; i + 3 <= triples.n / WORD; i += 3) {
        uint64_t which = word_at(triples, i), version = word_at(triples, i + 1);
        int64_t until_ms = (int64_t)word_at(triples, i + 2), latest_ms = now_ms + CACHE_MS_MAX;
        if (until_ms <= now_ms)
            continue;
        until_ms = until_ms < latest_ms ? until_ms : latest_ms; /* nobody can ask for more */
        if (floors)
            tombs_raise_floor(&g->tombs, which, version, until_ms, now_ms);
        else if (held_group(&c->held, which) == g)
            tombs_hold(&g->tombs, which, version, until_ms, now_ms);
    }
    lock_release(&g->lock);
}

static void take_unknown(struct cache *c, int64_t now_ms, struct str words)
{
    if (words.n != SLOT_WORDS * WORD)
        return;
    for (uint32_t i = 0; i < SLOT_WORDS; i++)
        atomic_fetch_or_explicit(&c->copied[i], word_at(words, i), memory_order_relaxed);
    atomic_store_explicit(&c->copied_until_ms, now_ms + cache_patience_ms(c), memory_order_release);
}

void cache_take_state(const struct access *a, struct str piece)
{
    struct cache *c = store_seam_arg(a->store);
    if (c == NULL || piece.n < HEAD)
        return;
    uint64_t of = bytes_get_le(piece.p + 1, WORD);
    struct str triples = {piece.p + HEAD, piece.n - HEAD};
    switch (piece.p[0]) {
    case 'S': cache_count_on(c, of); break;
    case 'T': take_tags(c, triples); break;
    case 'B': take_floors(c, of, triples); break;
    case 'V': take_tombs(c, a->now_ms, of, false, triples); break;
    case 'F': take_tombs(c, a->now_ms, of, true, triples); break;
    case 'U': take_unknown(c, a->now_ms, triples); break;
    default: break; /* of a later version */
    }
}
