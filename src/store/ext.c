#include "store/ext.h"

#include "store/ban_internal.h"
#include "store/shard.h"

void store_set_seam(struct store *s, const struct store_seam *seam)
{
    s->seam = *seam;
}

void store_sweep_dead(struct store *s)
{
    atomic_store_explicit(&s->sweep_dead, true, memory_order_relaxed);
}

void *store_seam_arg(const struct store *s)
{
    return s->seam.arg;
}

void store_notice(struct store *s, uint32_t shard, bool on)
{
    struct shard *sh = &s->shards[shard];
    if (on)
        atomic_fetch_or_explicit(&sh->notice, NOTICE_SEAM, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&sh->notice, ~(uint32_t)NOTICE_SEAM, memory_order_relaxed);
}

bool store_is_noticed(const struct store *s, uint32_t shard)
{
    return (atomic_load_explicit(&s->shards[shard].notice, memory_order_relaxed) & NOTICE_SEAM) != 0;
}

void **store_thread_debts(const struct access *a)
{
    return &a->app->debts;
}

struct ext entry_ext(const struct entry *e)
{
    struct str x = entry_extension(e);
    return (struct ext){(char *)(uintptr_t)x.p, (uint32_t)x.n};
}

bool ext_hides(const struct store *s, const struct entry *e, int64_t now_ms)
{
    const struct store_seam *seam = &s->seam;
    if (!(entry_word(e) & ENTRY_EXT))
        return entry_is_banned(s, e);
    struct ext x = entry_ext(e);
    if ((entry_load_u32(x.p + EXT_FLAGS_AT) & EXT_HIDDEN) || deadline_passed(entry_deadline(e), now_ms))
        return true;
    if (store_ban_effect(s, e) != BAN_NONE)
        return true;
    return seam->valid != NULL && !seam->valid(seam->arg, e);
}

bool ext_is_dead(const struct store *s, const struct entry *e)
{
    const struct store_seam *seam = &s->seam;
    return seam->dead != NULL && seam->dead(seam->arg, e);
}

bool ext_soften(const struct access *a, const struct key *k, struct entry *e)
{
    const struct store_seam *seam = &a->store->seam;
    return seam->soften != NULL && seam->soften(seam->arg, a, k, e);
}

void ext_tell_touched(const struct access *a, const struct key *k)
{
    const struct store_seam *seam = &a->store->seam;
    if (store_is_noticed(a->store, key_shard(k)) && seam->touched != NULL)
        seam->touched(seam->arg, a, k);
}

void store_before_change(const struct access *a, const struct key *k)
{
    store_save_first(a, k);
}

void store_note_change(const struct access *a, const struct key *k)
{
    store_touch(a, k);
}

void store_key_of(const struct store *s, const struct entry *e, struct key *out)
{
    key_set(s, out, entry_key(e), entry_db(e));
}

void ext_tell_dying(const struct access *a, const struct entry *e)
{
    const struct store_seam *seam = &a->store->seam;
    struct key k;
    if (seam->dying == NULL)
        return;
    store_key_of(a->store, e, &k);
    seam->dying(seam->arg, a, &k, e);
}

void ext_tell_flushed(const struct access *a, bool all)
{
    const struct store_seam *seam = &a->store->seam;
    if (seam->flushed != NULL)
        seam->flushed(seam->arg, a, all);
}
