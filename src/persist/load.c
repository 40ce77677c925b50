#include "persist/load.h"

#include "base/bytes.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>

void load_init(struct load *l, rdb_read_fn *read, void *arg, const struct object_options *objects)
{
    memset(l, 0, sizeof *l);
    rdb_reader_init(&l->reader, read, arg, objects);
}

void load_release(struct load *l)
{
    if (l->pending && l->item.object != NULL)
        object_put(l->item.object);
    rdb_reader_release(&l->reader);
}

/* What is not in the store is nobody's. */
static void drop_object(const struct access *a, const struct rdb_item *item)
{
    if (item->object != NULL)
        store_release_object(a->store, item->object);
}

static bool is_extended(const struct load *l, const struct rdb_item *item)
{
    return item->extra.p != NULL && item->object == NULL && l->put_extra != NULL;
}

/* Stands at the end of an extension: grace is over later than freshness. */
static int64_t end_of(const struct load *l, const struct rdb_item *item)
{
    return is_extended(l, item) && item->extra.n >= sizeof(int64_t)
               ? (int64_t)bytes_get_le(item->extra.p + item->extra.n - sizeof(int64_t), sizeof(int64_t))
               : item->expire_ms;
}

static int put(const struct load *l, const struct access *a, const struct rdb_item *item)
{
    struct key k;
    key_make(a->store, &k, item->key, item->db);
    uint32_t shard = key_shard(&k);
    bool locked = store_lock_one(a->store, shard);
    if (!locked && !a->lane)
        return ERR_AGAIN;
    int err = is_extended(l, item)   ? l->put_extra(a, &k, item->value, item->extra)
              : item->object != NULL ? store_put_object(a, &k, item->object, item->expire_ms, 0)
                                     : store_put_string(a, &k, item->value, NULL, item->expire_ms, 0);
    if (err == 0 && store_keeps_clocks(a->store))
        store_set_access(a, &k, item->idle_s, item->freq);
    if (locked)
        store_unlock_one(a->store, shard);
    return err;
}

static int load_key(struct load *l, const struct access *a, uint32_t databases)
{
    const struct rdb_item *item = &l->item;
    if (item->state.p != NULL) {
        if (l->put_state != NULL)
            l->put_state(a, item->state);
        return 0;
    }
    if (item->db >= databases) {
        snprintf(l->text, sizeof l->text,
                 "it has keys in database %u, but there are only %u: raise 'databases'", item->db, databases);
        return ERR_RANGE;
    }
    bool keep = l->keep_expired || (l->keep_in_history && l->reader.repl_id[0] != '\0');
    if (item->hidden && l->put_extra == NULL)
        return 0;
    int64_t end_ms = end_of(l, item);
    if (end_ms != 0 && end_ms <= a->now_ms && !keep) {
        drop_object(a, item);
        l->expired++;
        return 0;
    }
    int err = put(l, a, item);
    if (err == 0)
        l->loaded++;
    else if (err != ERR_AGAIN)
        snprintf(l->text, sizeof l->text, "there is not enough memory for its keys");
    return err;
}

int load_step(struct load *l, const struct access *a, uint32_t databases, uint32_t keys)
{
    for (uint32_t i = 0; i < keys; i++) {
        int rc = l->pending ? 0 : rdb_read(&l->reader, &l->item);
        if (rc != 0) {
            memcpy(l->text, l->reader.text, sizeof l->text);
            return rc;
        }
        rc = load_key(l, a, databases);
        l->pending = rc == ERR_AGAIN;
        if (rc != 0 && !l->pending)
            drop_object(a, &l->item);
        if (rc != 0)
            return rc;
    }
    return 0;
}
