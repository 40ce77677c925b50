/* WATCH: one list a shard, since few keys are watched at a time and a write looks at
 * its shard's list head anyway (it lies beside the lock that the write holds). */
#include "store/shard.h"
#include "store/store.h"

#include <string.h>

void store_watch(const struct access *a, struct watch *w)
{
    struct shard *sh = shard_of_slot(a->store, w->slot);
    struct key k;
    key_make(a->store, &k, (struct str){w->p, w->n}, w->db);
    const struct entry *e = store_peek(a, &k);
    w->seen = e != NULL;
    w->expire_ms = e != NULL ? entry_deadline(e) : 0;
    lock_hold(&sh->watch_lock);
    w->prev = NULL;
    w->next = atomic_load_explicit(&sh->watches, memory_order_relaxed);
    if (w->next != NULL)
        w->next->prev = w;
    atomic_store_explicit(&sh->watches, w, memory_order_relaxed);
    atomic_fetch_or_explicit(&sh->notice, NOTICE_WATCHED, memory_order_relaxed);
    lock_release(&sh->watch_lock);
}

void store_unwatch(struct store *s, struct watch *w)
{
    struct shard *sh = shard_of_slot(s, w->slot);
    lock_hold(&sh->watch_lock);
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        atomic_store_explicit(&sh->watches, w->next, memory_order_relaxed);
    if (atomic_load_explicit(&sh->watches, memory_order_relaxed) == NULL)
        atomic_fetch_and_explicit(&sh->notice, ~(uint32_t)NOTICE_WATCHED, memory_order_relaxed);
    if (w->next != NULL)
        w->next->prev = w->prev;
    lock_release(&sh->watch_lock);
    w->next = w->prev = NULL;
}

bool store_watch_gone(const struct access *a, const struct watch *w)
{
    struct key k;
    if (!w->seen || deadline_passed(w->expire_ms, a->now_ms))
        return w->seen;
    key_make(a->store, &k, (struct str){w->p, w->n}, w->db);
    return store_peek(a, &k) == NULL;
}

void store_touch_watches(const struct access *a, const struct key *k)
{
    ext_tell_touched(a, k);
    store_flag_watches(a, k);
}

void store_flag_watches(const struct access *a, const struct key *k)
{
    struct shard *sh = shard_of_slot(a->store, k->slot);
    if (!(atomic_load_explicit(&sh->notice, memory_order_relaxed) & NOTICE_WATCHED))
        return;
    lock_hold(&sh->watch_lock);
    struct watch *w = atomic_load_explicit(&sh->watches, memory_order_relaxed);
    for (; w != NULL; w = w->next)
        if (w->slot == k->slot && w->n == k->n && a->store->id_of[w->db] == k->db &&
            memcmp(w->p, k->p, k->n) == 0)
            atomic_store_explicit(w->flag, true, memory_order_relaxed);
    lock_release(&sh->watch_lock);
}

typedef bool (*watch_test)(const struct access *a, const struct watch *w, const void *arg);

static void flag_where(const struct access *a, watch_test test, const void *arg)
{
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        struct shard *sh = &a->store->shards[i];
        if (atomic_load_explicit(&sh->watches, memory_order_relaxed) == NULL)
            continue;
        lock_hold(&sh->watch_lock);
        struct watch *w = atomic_load_explicit(&sh->watches, memory_order_relaxed);
        for (; w != NULL; w = w->next)
            if (test(a, w, arg))
                atomic_store_explicit(w->flag, true, memory_order_relaxed);
        lock_release(&sh->watch_lock);
    }
}

struct matching {
    uint32_t id;
    struct str glob;
};

static bool matches(const struct access *a, const struct watch *w, const void *arg)
{
    const struct matching *m = arg;
    return w->seen && a->store->id_of[w->db] == m->id && str_glob(m->glob, (struct str){w->p, w->n}, false);
}

void store_flag_matches(const struct access *a, uint32_t id, struct str glob)
{
    flag_where(a, matches, &(struct matching){id, glob});
}

static bool watched_key_exists(const struct access *a, const struct watch *w, uint32_t db)
{
    struct key k;
    struct table_pos pos;
    key_make(a->store, &k, (struct str){w->p, w->n}, db);
    struct entry *e =
        table_find(&a->app->tm, table_of(a->store, &k), k.hash, (struct str){k.p, k.n}, k.db, &pos);
    return e != NULL && !deadline_passed(entry_expire(e), a->now_ms) && !entry_is_hidden(a, e);
}

struct databases {
    int64_t db, other;
};

static bool is_touched(const struct access *a, const struct watch *w, const void *arg)
{
    const struct databases *d = arg;
    if (d->db >= 0 && w->db != d->db)
        return false;
    return watched_key_exists(a, w, w->db) || (d->other >= 0 && watched_key_exists(a, w, (uint32_t)d->other));
}

void store_touch_db(const struct access *a, int64_t db, int64_t other)
{
    flag_where(a, is_touched, &(struct databases){db, other});
}
