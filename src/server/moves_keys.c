#include "server/moves_keys.h"

#include "base/err.h"
#include "cache/move.h"
#include "cmd/dump.h"
#include "repl/unit.h"
#include "server/moves_pace.h"

struct moves_ref {
    uint32_t at, n; /* of `names` */
};

void moves_keys_init(struct moves_keys *k, struct hash_seed seed)
{
    *k = (struct moves_keys){.seed = seed};
    buf_init(&k->names);
    buf_init(&k->refs);
}

void moves_keys_release(struct moves_keys *k)
{
    buf_release(&k->names);
    buf_release(&k->refs);
}

void moves_keys_clear(struct moves_keys *k)
{
    if (k->n > 0)
        memset(k->table, 0, sizeof k->table);
    buf_clear(&k->names);
    buf_clear(&k->refs);
    k->n = k->at = 0;
}

static struct str name_of(const struct moves_keys *k, uint32_t i)
{
    struct moves_ref r;
    memcpy(&r, k->refs.p + i * sizeof r, sizeof r);
    return (struct str){k->names.p + r.at, r.n};
}

/* Its place in the table, or a free one. */
static uint32_t *find(struct moves_keys *k, struct str name)
{
    uint64_t h = hash_seeded(name.p, name.n, &k->seed);
    uint32_t *at = &k->table[h % MOVES_KEYS_TABLE];
    while (*at != 0 && !str_eq(name_of(k, *at - 1), name))
        at = at + 1 < k->table + MOVES_KEYS_TABLE ? at + 1 : k->table;
    return at;
}

int moves_keys_add(struct moves_keys *k, struct str name)
{
    if (k->n > 0 && k->n % (MOVES_KEYS_TABLE / 2) == 0) /* one huge unit: some names may stand here twice */
        memset(k->table, 0, sizeof k->table);
    uint32_t *at = find(k, name);
    struct moves_ref r = {(uint32_t)k->names.n, (uint32_t)name.n};
    if (*at != 0)
        return 0;
    if (k->names.n + name.n > UINT32_MAX || buf_append(&k->names, name.p, name.n) != 0 ||
        buf_append(&k->refs, &r, sizeof r) != 0)
        return ERR_OOM;
    *at = ++k->n;
    return 0;
}

static int put_del(struct str name, struct buf *out)
{
    const struct str del[] = {STR("DEL"), name};
    return unit_put_command(out, del, ARRAY_LEN(del)) == 0 ? 1 : ERR_OOM;
}

/* As it is now. Its shard is locked. The number of replies, or an error. */
static int put_value(const struct moves_keys *k, const struct access *a, const struct entry *e,
                     struct str name, struct buf *out)
{
    struct buf value;
    char ttl[NUM_I64_TEXT_MAX], extra[MOVE_EXTRA_MAX];
    uint32_t nextra = cache_pack(a, e, extra), argc = 4;
    int64_t end = nextra != 0 ? entry_expire(e) : entry_deadline(e), left = end == 0 ? 0 : end - a->now_ms;
    /* A version there that is greater than this one is of a value that has been removed here since. */
    int replies = k->again && nextra != 0 ? put_del(name, out) : 0;
    if (end != 0 && left < 1)
        left = 1;
    buf_init(&value);
    int rc = replies < 0 ? replies : dump_value(e, &value);
    struct str argv[6] = {nextra != 0 ? STR("CACHE.RESTORE") : STR("RESTORE"),
                          name,
                          {ttl, num_put_i64(ttl, left)},
                          buf_str(&value)};
    if (nextra != 0)
        argv[argc++] = (struct str){extra, nextra};
    argv[argc++] = STR("REPLACE");
    if (rc == 0)
        rc = unit_put_command(out, argv, argc);
    buf_release(&value);
    return rc == 0 ? replies + 1 : rc;
}

static int put_key(const struct moves_keys *k, const struct access *a, const struct key *key, struct buf *out)
{
    struct str name = {key->p, key->n};
    const struct entry *e = store_peek_any(a, key);
    return e != NULL && cache_may_travel(a, e) ? put_value(k, a, e, name, out) : put_del(name, out);
}

int moves_keys_put(struct moves_keys *k, const struct access *a, uint32_t most, struct buf *out)
{
    size_t before = out->n;
    int replies = 0;
    for (uint32_t n = 0; n < most && k->at < k->n && out->n - before < (size_t)most * MOVES_KEY_BYTES; n++) {
        struct lockset ls;
        struct key key;
        key_make(a->store, &key, name_of(k, k->at), 0);
        lockset_init(&ls);
        lockset_add(&ls, key_shard(&key));
        if (!store_lock(a->store, &ls))
            break;
        int rc = put_key(k, a, &key, out);
        store_unlock(a->store, &ls);
        if (rc < 0)
            return rc;
        replies += rc;
        k->at++;
    }
    k->sent += out->n - before;
    return replies;
}
