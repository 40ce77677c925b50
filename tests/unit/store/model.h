/* A keyspace so simple that it is obviously right, to hold the store against: an
 * array of keys for each database, each with its bytes and its deadline. */
#ifndef LARDER_TESTS_STORE_MODEL_H
#define LARDER_TESTS_STORE_MODEL_H

#include "unit/unit.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/rng.h"
#include "store/shard.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_DBS = 4 };

struct model_value {
    bool exists;
    char *p; /* owned */
    size_t n;
    int64_t expire_ms;
};

struct model {
    struct store *s;
    struct access a; /* of appender 0 */
    struct rng rng;
    uint32_t keys;
    struct model_value *db[MODEL_DBS]; /* by SELECT's number, then by key number */
    char *names;                       /* MODEL_NAME_MAX bytes a key */
    uint32_t *name_n;
    bool busy; /* lock shards around operations */
};

enum { MODEL_NAME_MAX = 400 };

static inline struct hash_seed model_seed(uint64_t x)
{
    return (struct hash_seed){hash_mix64(x + 1), hash_mix64(x + 2)};
}

/* An odd seed makes a store whose slots are CRC16, as in a cluster. */
static inline struct store *model_store(uint64_t maxmemory, uint32_t threads, uint64_t seed)
{
    struct store *s;
    struct store_options o = {.maxmemory = maxmemory,
                              .databases = MODEL_DBS,
                              .threads = threads,
                              .seed = model_seed(seed),
                              .cluster = seed % 2};
    ASSERT(store_new(&s, &o) == 0);
    return s;
}

/* Most names are short, some share a slot by a hash tag, a few do not fit the short form of an entry. */
static inline void model_name(struct model *m, uint32_t i)
{
    char *p = m->names + (size_t)i * MODEL_NAME_MAX;
    int n;
    if (i % 3 == 0)
        n = snprintf(p, MODEL_NAME_MAX, "{t%u}:%u", i % 2, i);
    else if (i % 101 == 1)
        n = snprintf(p, MODEL_NAME_MAX, "long:%0300u", i);
    else
        n = snprintf(p, MODEL_NAME_MAX, "key:%u", i);
    m->name_n[i] = (uint32_t)n;
}

static inline void model_init(struct model *m, struct store *s, uint32_t keys, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    m->s = s;
    m->a = (struct access){.store = s, .app = store_appender(s, 0), .now_ms = 1000000};
    rng_init(&m->rng, seed);
    m->keys = keys;
    for (int d = 0; d < MODEL_DBS; d++)
        m->db[d] = calloc(keys, sizeof *m->db[d]);
    m->names = malloc((size_t)keys * MODEL_NAME_MAX);
    m->name_n = malloc(keys * sizeof *m->name_n);
    for (uint32_t i = 0; i < keys; i++)
        model_name(m, i);
}

static inline void model_set(struct model_value *v, const void *p, size_t n, int64_t expire_ms)
{
    char *copy = malloc(n + 1);
    memcpy(copy, p, n);
    free(v->p);
    *v = (struct model_value){true, copy, n, expire_ms};
}

static inline void model_drop(struct model_value *v)
{
    free(v->p);
    *v = (struct model_value){0};
}

static inline void model_release(struct model *m)
{
    for (int d = 0; d < MODEL_DBS; d++) {
        for (uint32_t i = 0; i < m->keys; i++)
            free(m->db[d][i].p);
        free(m->db[d]);
    }
    free(m->names);
    free(m->name_n);
}

/* What a client would see. */
static inline struct model_value *model_get(struct model *m, uint32_t db, uint32_t i)
{
    struct model_value *v = &m->db[db][i];
    if (v->exists && v->expire_ms != 0 && v->expire_ms <= m->a.now_ms)
        model_drop(v);
    return v->exists ? v : NULL;
}

static inline struct str model_key_name(const struct model *m, uint32_t i)
{
    return (struct str){m->names + (size_t)i * MODEL_NAME_MAX, m->name_n[i]};
}

static inline struct key model_key(const struct model *m, uint32_t db, uint32_t i)
{
    struct key k;
    key_make(m->s, &k, model_key_name(m, i), db);
    return k;
}

/* Compare one key. */
static inline void model_compare(struct model *m, uint32_t db, uint32_t i)
{
    struct key k = model_key(m, db, i);
    struct entry *e = store_find(&m->a, &k);
    struct model_value *v = model_get(m, db, i);
    ASSERT((e != NULL) == (v != NULL));
    if (e == NULL)
        return;
    struct block *b;
    struct str got = entry_string(e, &b);
    ASSERT(got.n == v->n && memcmp(got.p, v->p, v->n) == 0);
    ASSERT(entry_expire(e) == v->expire_ms);
    ASSERT(str_eq(entry_key(e), model_key_name(m, i)));
}

static inline void model_compare_all(struct model *m)
{
    for (uint32_t d = 0; d < MODEL_DBS; d++) {
        uint64_t keys = 0, expires = 0;
        for (uint32_t i = 0; i < m->keys; i++) {
            model_compare(m, d, i);
            keys += m->db[d][i].exists;
            expires += m->db[d][i].exists && m->db[d][i].expire_ms != 0;
        }
        ASSERT(store_db_keys(m->s, d) == keys);
        ASSERT(store_db_expires(m->s, d) == expires);
    }
    store_check(m->s);
}

#endif
