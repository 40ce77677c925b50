/* A set in RDB files and DUMP payloads.
 *
 *      2    count, members as strings          what every Redis reads
 *      11   an intset as one string
 *      20   a listpack as one string           Redis 7.2 (RDB version 11) and later
 *
 * What is read may come from an enemy: structure, order and repetitions are all checked. */
#include "value/set_internal.h"

#include "base/assert.h"
#include "base/err.h"
#include "ds/intset.h"
#include "ds/listpack.h"
#include "value/rdb_string.h"

#include <string.h>

enum {
    VERSION_LISTPACK = 11, /* the first with RDB_TYPE_SET_LISTPACK */
    STRING_MAX = 512 << 20,
};

uint8_t set_rdb_type(const struct object *o, uint32_t version)
{
    if (o->encoding == SET_INTSET)
        return RDB_TYPE_SET_INTSET;
    return o->encoding == SET_LISTPACK && version >= VERSION_LISTPACK ? RDB_TYPE_SET_LISTPACK : RDB_TYPE_SET;
}

/* ---- writing ----------------------------------------------------------------------------- */

static bool put_string(void *arg, struct str s)
{
    struct buf *out = arg;
    if (buf_reserve(out, rdb_string_room(s.n)) != 0)
        return false;
    out->n += rdb_string_put(out->p + out->n, s, true);
    return true;
}

static bool put_count(const struct object *o, struct buf *out)
{
    if (buf_reserve(out, RDB_LEN_BYTES_MAX) != 0)
        return false;
    out->n += rdb_len_put(out->p + out->n, set_count(o));
    return true;
}

static bool put_pages(const struct strset *s, struct object_walk *w, size_t end, struct buf *out)
{
    while (w->at < s->npages && out->n < end)
        if (!strset_visit_page(s, (uint32_t)w->at++, put_string, out))
            return false;
    return true;
}

static bool put_step(const struct object *o, uint8_t type, struct object_walk *w, size_t end, struct buf *out)
{
    const char *data = set_data(o);
    if (type == RDB_TYPE_SET_INTSET)
        return put_string(out, (struct str){data, intset_bytes(data)});
    if (type == RDB_TYPE_SET_LISTPACK)
        return put_string(out, (struct str){data, listpack_bytes(data)});
    if (!w->begun && !put_count(o, out))
        return false;
    w->begun = true;
    return o->encoding == SET_HASHED ? put_pages(set_strset(o), w, end, out) : set_visit(o, put_string, out);
}

int set_dump(const struct object *o, uint32_t version, struct object_walk *w, size_t most, struct buf *out)
{
    const struct object_walk before = *w;
    size_t n = out->n;
    if (!put_step(o, set_rdb_type(o, version), w, n + most, out)) {
        *w = before;
        out->n = n;
        return ERR_OOM;
    }
    return o->encoding == SET_HASHED && w->at < set_strset(o)->npages;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int more(struct object_source *src)
{
    return src->more != NULL ? src->more(src) : ERR_AGAIN;
}

static int next_string(struct object_source *src, size_t max, struct rdb_string *out)
{
    int err;
    while ((err = rdb_string_get(&src->in, max, out)) == ERR_AGAIN && (err = more(src)) == 0)
        ;
    return err;
}

static int next_count(struct object_source *src, uint64_t *n)
{
    int err;
    bool encoded;
    while ((err = rdb_len_get(&src->in, n, &encoded)) == ERR_AGAIN && (err = more(src)) == 0)
        ;
    return err == 0 && encoded ? ERR_CORRUPT : err;
}

/* The string's bytes: where they lie, or unpacked into scratch. */
static int string_bytes(const struct rdb_string *s, struct buf *scratch, struct str *out)
{
    *out = rdb_string_bytes(s);
    if (out->p != NULL)
        return 0;
    buf_clear(scratch);
    int err = buf_reserve(scratch, s->n);
    if (err == 0)
        err = rdb_string_unpack(s, scratch->p);
    *out = (struct str){scratch->p, s->n};
    return err;
}

static int next_member(struct object_source *src, const struct object_options *opt, struct buf *scratch,
                       struct str *out, struct rdb_string *s)
{
    int err = next_string(src, opt->string_max != 0 ? opt->string_max : STRING_MAX, s);
    return err != 0 ? err : string_bytes(s, scratch, out);
}

static int load_members(struct object_source *src, const struct object_options *opt, struct object **out)
{
    struct buf scratch;
    struct object *o = NULL;
    struct rdb_string s;
    struct str member;
    uint64_t n;
    buf_init(&scratch);
    int err = next_count(src, &n);
    if (err == 0 && n == 0)
        err = ERR_NOTFOUND;
    for (uint64_t i = 0; err == 0 && i < n; i++) {
        err = next_member(src, opt, &scratch, &member, &s);
        if (err == 0 && o == NULL && (o = set_new(opt, member, n)) == NULL)
            err = ERR_OOM;
        if (err == 0) {
            int rc = set_add(&o, opt, member);
            err = rc == 1 ? 0 : rc == 0 ? ERR_CORRUPT : rc;
        }
    }
    buf_release(&scratch);
    if (err != 0 && o != NULL)
        object_put(o);
    *out = o;
    return err;
}

/* A blob with a packed set in it, copied into an object before anybody looks at it. */
static int load_blob(struct object_source *src, enum set_encoding encoding, struct object **out)
{
    struct rdb_string s;
    int err = next_string(src, LISTPACK_BYTES_MAX, &s);
    if (err != 0)
        return err;
    if (s.n < LISTPACK_EMPTY)
        return ERR_CORRUPT;
    struct object *o = set_small_new(encoding, s.n);
    if (o == NULL)
        return ERR_OOM;
    uint32_t count = 0;
    char *data = set_data_of(o);
    bool sound = rdb_string_unpack(&s, data) == 0;
    if (encoding == SET_LISTPACK)
        sound = sound && listpack_validate(data, s.n, &count);
    else
        sound = sound && intset_validate(data, s.n);
    err = !sound ? ERR_CORRUPT : set_count(o) == 0 ? ERR_NOTFOUND : 0;
    if (err != 0)
        object_put(o);
    *out = o;
    return err;
}

/* Takes o; gives it or a hashed set of the same members. */
static int load_listpack(struct object *o, const struct object_options *opt, struct object **out)
{
    uint32_t n = listpack_count(set_data(o));
    struct object *hashed = set_hashed_from(o, opt); /* also says whether all members are different */
    int err = hashed == NULL ? ERR_OOM : set_count(hashed) != n ? ERR_CORRUPT : 0;
    bool keep = n <= opt->set_max_listpack_entries;
    if (hashed != NULL && (keep || err != 0))
        object_put(hashed);
    if (!keep || err != 0)
        object_put(o);
    *out = keep ? o : hashed;
    return err;
}

int set_load(uint8_t rdb_type, struct object_source *src, const struct object_options *opt,
             struct object **out)
{
    struct object *o;
    if (rdb_type == RDB_TYPE_SET)
        return load_members(src, opt, out);
    int err = load_blob(src, rdb_type == RDB_TYPE_SET_INTSET ? SET_INTSET : SET_LISTPACK, &o);
    if (err != 0)
        return err;
    if (rdb_type == RDB_TYPE_SET_LISTPACK)
        return load_listpack(o, opt, out);
    set_expect(&o, opt, set_count(o));
    *out = o;
    return 0;
}
