#include "store/ban.h"

#include "base/alloc.h"
#include "base/err.h"
#include "store/ban_internal.h"
#include "store/shard.h"

#include <string.h>

enum { LOOK_PLAIN = ENTRY_TTL | ENTRY_EXT, LOOK_ALL = LOOK_PLAIN | ENTRY_KIND_MASK, FIRST_ROOM = 8 };

struct ban {
    uint64_t number;
    uint32_t generation, id;
    bool soft;
    uint64_t rate;
    _Atomic uint64_t removed;
    _Atomic bool over; /* no entry is left that it bans */
    uint32_t n;
    char glob[];
};

static bool is_over(const struct ban *b)
{
    return atomic_load_explicit(&b->over, memory_order_relaxed);
}

static struct str glob_of(const struct ban *b)
{
    return (struct str){b->glob, b->n};
}

/* ---- life ---- */

void bans_init(struct bans *bs)
{
    atomic_store_explicit(&bs->look, LOOK_PLAIN, memory_order_relaxed);
}

void bans_release(struct bans *bs)
{
    for (uint32_t i = 0; i < bs->n; i++)
        mem_free(bs->list[i]);
    mem_free(bs->list);
}

/* What follows from the list: how readers look, and how fast sweeps go. */
static void bans_changed(struct bans *bs)
{
    uint32_t active = 0;
    uint64_t rate = 0;
    bool bounded = true;
    for (uint32_t i = 0; i < bs->n; i++) {
        const struct ban *b = bs->list[i];
        if (is_over(b))
            continue;
        active++;
        bounded &= b->rate != 0;
        rate = b->rate > rate ? b->rate : rate;
    }
    atomic_store_explicit(&bs->rate, bounded ? rate : 0, memory_order_relaxed);
    if (!bounded)
        atomic_store_explicit(&bs->due_ms, 0, memory_order_relaxed);
    atomic_store_explicit(&bs->active, active, memory_order_relaxed);
    atomic_store_explicit(&bs->look, active != 0 ? LOOK_ALL : LOOK_PLAIN, memory_order_relaxed);
}

/* Gate: nobody reads the list. */
static void forget_those_over(struct bans *bs)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < bs->n; i++) {
        if (is_over(bs->list[i]))
            mem_free(bs->list[i]);
        else
            bs->list[n++] = bs->list[i];
    }
    bs->n = n;
}

static bool make_room(struct bans *bs)
{
    if (bs->n < bs->room)
        return true;
    uint32_t room = bs->room != 0 ? 2 * bs->room : FIRST_ROOM;
    struct ban **list = mem_realloc(bs->list, room * sizeof *list);
    if (list == NULL)
        return false;
    bs->list = list;
    bs->room = room;
    return true;
}

int store_ban(const struct access *a, uint32_t db, struct str glob, uint64_t number, bool soft, uint64_t rate)
{
    struct store *s = a->store;
    struct bans *bs = &s->bans;
    struct ban *b = mem_zalloc(sizeof *b + glob.n);
    forget_those_over(bs);
    if (b == NULL || !make_room(bs)) {
        mem_free(b);
        return ERR_OOM;
    }
    for (uint32_t i = 0; i < s->nthreads; i++) {
        sweep_abort(s, s->appenders[i]);
        segment_seal_all(&s->segs, &s->appenders[i]->writer);
    }
    b->number = number;
    b->generation = atomic_fetch_add_explicit(&s->segs.purge, 1, memory_order_relaxed) + 1;
    b->id = s->id_of[db];
    b->soft = soft;
    b->rate = rate;
    b->n = (uint32_t)glob.n;
    memcpy(b->glob, glob.p, glob.n);
    for (uint32_t i = 0; i < bs->n; i++)
        if (bs->list[i]->id == b->id && str_eq(glob_of(bs->list[i]), glob) && (!soft || bs->list[i]->soft))
            atomic_store_explicit(&bs->list[i]->over, true, memory_order_relaxed);
    bs->list[bs->n++] = b;
    bs->newest = b->generation;
    bans_changed(bs);
    store_flag_matches(a, b->id,
                       glob); /* MIGRATE has such a watch, too, and takes back what the target has */
    s->sweep.next_pass_ms = 0;
    return 0;
}

void store_set_follower(struct store *s, bool on)
{
    s->bans.follower = on;
}

/* ---- looking ---- */

uint32_t store_bans(const struct store *s)
{
    return atomic_load_explicit(&s->bans.active, memory_order_relaxed);
}

bool store_ban_look(const struct store *s, uint64_t number, uint64_t *removed)
{
    for (uint32_t i = 0; i < s->bans.n; i++) {
        const struct ban *b = s->bans.list[i];
        if (b->number != number)
            continue;
        *removed = atomic_load_explicit(&b->removed, memory_order_relaxed);
        return !is_over(b);
    }
    return false;
}

static bool is_hit(const struct ban *b, struct str key, uint32_t id)
{
    return b->id == id && !is_over(b) && str_glob(glob_of(b), key, false);
}

bool store_ban_since(const struct store *s, struct str key, uint32_t id, uint64_t since)
{
    if (store_bans(s) == 0)
        return false;
    for (uint32_t i = 0; i < s->bans.n; i++) {
        const struct ban *b = s->bans.list[i];
        if (b->number > since && is_hit(b, key, id))
            return true;
    }
    return false;
}

static bool is_before(uint32_t generation, uint32_t other)
{
    return (int32_t)(generation - other) < 0;
}

/* The hardest that bans a key in a segment that is clean of what came up to `clean`. */
static struct ban *hardest(const struct store *s, uint32_t clean, struct str key, uint32_t id)
{
    struct ban *found = NULL;
    if (!is_before(clean, s->bans.newest))
        return NULL;
    for (uint32_t i = 0; i < s->bans.n; i++) {
        struct ban *b = s->bans.list[i];
        if (!is_before(clean, b->generation) || !is_hit(b, key, id))
            continue;
        if (!b->soft)
            return b;
        found = b;
    }
    return found;
}

static uint32_t clean_of(const struct store *s, const struct entry *e)
{
    return atomic_load_explicit(&segment_of(&s->segs, e)->purged, memory_order_relaxed);
}

enum ban_effect ban_judge(const struct store *s, const struct entry *e)
{
    const struct ban *b = hardest(s, clean_of(s, e), entry_key(e), entry_db(e));
    if (b == NULL)
        return BAN_NONE;
    return b->soft && (entry_word(e) & ENTRY_EXT) ? BAN_SOFT : BAN_HARD;
}

enum ban_effect store_ban_of(const struct store *s, const struct entry *e)
{
    return store_ban_effect(s, e);
}

bool ban_may_hit(const struct store *s, const struct segment *seg, struct str key, uint32_t id)
{
    return store_bans(s) != 0 &&
           hardest(s, atomic_load_explicit(&seg->purged, memory_order_relaxed), key, id) != NULL;
}

/* ---- removing ---- */

void ban_remove(const struct access *a, const struct key *k, const struct table_pos *pos, struct entry *e)
{
    struct ban *b = hardest(a->store, clean_of(a->store, e), (struct str){k->p, k->n}, k->db);
    ASSERT(b != NULL);
    atomic_fetch_add_explicit(&b->removed, 1, memory_order_relaxed);
    store_remove_dead(a, k, pos, e);
}

/* ---- for sweeps ---- */

bool bans_due(const struct access *a)
{
    const struct bans *bs = &a->store->bans;
    return store_bans(a->store) != 0 && ban_may_remove(a) &&
           atomic_load_explicit(&bs->due_ms, memory_order_relaxed) <= a->now_ms;
}

void bans_pace(const struct access *a, uint64_t removed)
{
    struct bans *bs = &a->store->bans;
    uint64_t rate = atomic_load_explicit(&bs->rate, memory_order_relaxed);
    if (rate == 0 || removed == 0)
        return;
    int64_t due = atomic_load_explicit(&bs->due_ms, memory_order_relaxed);
    int64_t from = due > a->now_ms ? due : a->now_ms;
    atomic_store_explicit(&bs->due_ms, from + (int64_t)(removed * 1000 / rate) + 1, memory_order_relaxed);
}

void bans_end(struct store *s, uint32_t clean)
{
    bool changed = false;
    for (uint32_t i = 0; i < s->bans.n; i++) {
        struct ban *b = s->bans.list[i];
        if (is_over(b) || is_before(clean, b->generation) ||
            (s->seam.settled != NULL && !s->seam.settled(s->seam.arg, b->number)))
            continue;
        atomic_store_explicit(&b->over, true, memory_order_relaxed);
        changed = true;
    }
    if (changed)
        bans_changed(&s->bans);
}
