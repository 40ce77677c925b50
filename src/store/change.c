#include "store/change.h"

#include "store/shard.h"
#include "store/store.h"

void store_observe(struct appender *app, change_removed_fn *removed, void *listener)
{
    app->removed = removed;
    app->listener = listener;
}

uint64_t store_changes(const struct store *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->nthreads; i++)
        n += atomic_load_explicit(&s->appenders[i]->changes, memory_order_relaxed);
    return n;
}

uint64_t store_changes_here(const struct access *a)
{
    return atomic_load_explicit(&a->app->changes, memory_order_relaxed);
}

/* SELECT's number of a database id that is in use. */
static bool number_of(const struct store *s, uint32_t id, uint32_t *db)
{
    for (*db = 0; *db < s->databases; ++*db)
        if (s->id_of[*db] == id)
            return true;
    return false; /* flushed: nobody can name it any more */
}

void store_announce_removed(const struct access *a, uint32_t id, struct str key, enum change_reason why)
{
    uint32_t db;
    if (number_of(a->store, id, &db))
        a->app->removed(a->app->listener, a, db, key, why);
}
