#include "value/set_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "ds/intset.h"
#include "ds/listpack.h"

#include <string.h>

enum {
    SCAN_ALL = INT32_MAX,
    COPY_LEAF_NS = 20,   /* a reference taken, out of the cache */
    COPY_MEMBERS = 4000, /* members behind one of them */
};

/* ---- making ---------------------------------------------------------------------------- */

static void head_init(struct object *o, enum set_encoding encoding)
{
    *o = (struct object){.kind = OBJECT_SET, .encoding = (uint8_t)encoding, .large = encoding == SET_HASHED};
    atomic_init(&o->refs, 1);
}

struct object *set_small_new(enum set_encoding encoding, size_t bytes)
{
    struct set_small *s = mem_alloc(sizeof *s + bytes);
    if (s == NULL)
        return NULL;
    head_init(&s->head, encoding);
    return &s->head;
}

struct object *set_large_new(const struct object_options *opt)
{
    struct set_large *s = mem_alloc(sizeof *s);
    if (s == NULL)
        return NULL;
    head_init(&s->head.head, SET_HASHED);
    s->head.next = NULL;
    /* Another order in every set: see strset_init(). */
    struct hash_seed seed = {opt->seed.k0 ^ hash_mix64((uintptr_t)s), opt->seed.k1};
    strset_init(&s->s, &seed);
    return &s->head.head;
}

static struct object *new_intset(void)
{
    struct object *o = set_small_new(SET_INTSET, INTSET_EMPTY);
    if (o != NULL)
        intset_init(set_data_of(o));
    return o;
}

static struct object *new_listpack(void)
{
    struct object *o = set_small_new(SET_LISTPACK, LISTPACK_EMPTY);
    if (o != NULL)
        listpack_init(set_data_of(o));
    return o;
}

static uint64_t intset_max(const struct object_options *opt)
{
    return opt->set_max_intset_entries < INTSET_COUNT_MAX ? opt->set_max_intset_entries : INTSET_COUNT_MAX;
}

struct object *set_new(const struct object_options *opt, struct str first, uint64_t expected)
{
    int64_t number;
    if ((first.p == NULL || num_parse_i64(first, &number)) && expected <= intset_max(opt))
        return new_intset();
    return expected <= opt->set_max_listpack_entries ? new_listpack() : set_large_new(opt);
}

/* ---- visiting ---------------------------------------------------------------------------- */

static bool visit_intset(const char *is, set_visit_fn *visit, void *arg)
{
    char text[NUM_I64_TEXT_MAX];
    for (uint32_t i = 0, n = intset_count(is); i < n; i++)
        if (!visit(arg, (struct str){text, num_put_i64(text, intset_at(is, i))}))
            return false;
    return true;
}

static bool visit_listpack(const char *lp, set_visit_fn *visit, void *arg)
{
    char text[NUM_I64_TEXT_MAX];
    for (size_t at = listpack_first(lp); at != 0; at = listpack_next(lp, at))
        if (!visit(arg, listpack_get(lp, at, text)))
            return false;
    return true;
}

bool set_visit(const struct object *o, set_visit_fn *visit, void *arg)
{
    if (o->encoding == SET_INTSET)
        return visit_intset(set_data(o), visit, arg);
    if (o->encoding == SET_LISTPACK)
        return visit_listpack(set_data(o), visit, arg);
    const struct strset *s = set_strset(o);
    for (uint32_t i = 0; i < s->npages; i++)
        if (!strset_visit_page(s, i, visit, arg))
            return false;
    return true;
}

void set_scan(const struct object *o, uint64_t *cursor, uint64_t count, set_visit_fn *visit, void *arg)
{
    if (o->encoding == SET_HASHED) {
        strset_scan(set_strset(o), cursor, count, visit, arg);
        return;
    }
    *cursor = 0;
    (void)set_visit(o, visit, arg);
}

struct itemiser {
    object_visit_fn *visit;
    void *arg;
    uint64_t seen;
};

static bool visit_item(void *arg, struct str member)
{
    struct itemiser *t = arg;
    struct object_item item = {.name = member};
    t->seen++;
    return t->visit(t->arg, &item);
}

static bool each_member(const struct object *o, struct object_walk *w, uint64_t most, object_visit_fn *visit,
                        void *arg)
{
    struct itemiser t = {.visit = visit, .arg = arg};
    if (o->encoding != SET_HASHED) {
        (void)set_visit(o, visit_item, &t);
        return false;
    }
    const struct strset *s = set_strset(o);
    while (w->at < s->npages && t.seen < most)
        if (!strset_visit_page(s, (uint32_t)w->at++, visit_item, &t))
            return false;
    return w->at < s->npages;
}

/* ---- looking ------------------------------------------------------------------------------ */

uint64_t set_count(const struct object *o)
{
    switch ((enum set_encoding)o->encoding) {
    case SET_INTSET: return intset_count(set_data(o));
    case SET_LISTPACK: return listpack_count(set_data(o));
    case SET_HASHED: break;
    }
    return set_strset(o)->count;
}

bool set_has(const struct object *o, struct str member)
{
    int64_t number;
    const char *data = set_data(o);
    switch ((enum set_encoding)o->encoding) {
    case SET_INTSET: return num_parse_i64(member, &number) && intset_has(data, number);
    case SET_LISTPACK: return listpack_find(data, listpack_first(data), member, 0) != 0;
    case SET_HASHED: break;
    }
    return strset_has(set_strset(o), member);
}

struct set_at set_random(const struct object *o, struct rng *rng)
{
    if (o->encoding != SET_HASHED)
        return (struct set_at){0, (uint32_t)rng_below(rng, set_count(o))};
    struct strset_at at = strset_random(set_strset(o), rng);
    return (struct set_at){at.page, at.index};
}

struct str set_member(const struct object *o, struct set_at at, char text[NUM_I64_TEXT_MAX])
{
    const char *data = set_data(o);
    switch ((enum set_encoding)o->encoding) {
    case SET_INTSET: return (struct str){text, num_put_i64(text, intset_at(data, at.index))};
    case SET_LISTPACK: return listpack_get(data, listpack_seek(data, at.index), text);
    case SET_HASHED: break;
    }
    return strset_member(set_strset(o), (struct strset_at){at.page, at.index});
}

/* ---- from one encoding to the next ---------------------------------------------------------- */

struct adder {
    struct strset *to;
    bool oom;
};

static bool add_to_strset(void *arg, struct str member)
{
    struct adder *a = arg;
    a->oom = strset_add(a->to, member) < 0;
    return !a->oom;
}

struct object *set_hashed_from(const struct object *o, const struct object_options *opt)
{
    struct object *to = set_large_new(opt);
    if (to == NULL)
        return NULL;
    struct adder a = {.to = set_strset_of(to)};
    if (set_visit(o, add_to_strset, &a))
        return to;
    object_put(to);
    return NULL;
}

static int to_hashed(struct object **o, const struct object_options *opt)
{
    struct object *to = set_hashed_from(*o, opt);
    if (to == NULL)
        return ERR_OOM;
    object_put(*o);
    *o = to;
    return 0;
}

/* Room for n bytes of data in a small set. */
static int grow_small(struct object **o, size_t n)
{
    size_t all = sizeof(struct set_small) + n;
    if (all <= mem_usable(*o))
        return 0;
    struct object *grown = mem_realloc(*o, all);
    if (grown == NULL)
        return ERR_OOM;
    *o = grown;
    return 0;
}

static int listpack_put(struct object **o, struct str member)
{
    size_t bytes = listpack_bytes(set_data(*o));
    if (grow_small(o, bytes + listpack_room(member)) != 0)
        return ERR_OOM;
    listpack_insert(set_data_of(*o), 0, member);
    return 1;
}

/* A listpack that has all of the intset and the member. */
static int intset_to_listpack(struct object **o, struct str member)
{
    char text[NUM_I64_TEXT_MAX];
    const char *is = set_data(*o);
    struct object *to = new_listpack();
    int rc = to == NULL ? ERR_OOM : 1;
    for (uint32_t i = 0; rc > 0 && i < intset_count(is); i++)
        rc = listpack_put(&to, (struct str){text, num_put_i64(text, intset_at(is, i))});
    if (rc > 0)
        rc = listpack_put(&to, member);
    if (rc < 0) {
        if (to != NULL)
            object_put(to);
        return rc;
    }
    object_put(*o);
    *o = to;
    return 1;
}

static unsigned digits(int64_t v)
{
    char text[NUM_I64_TEXT_MAX];
    return num_put_i64(text, v);
}

static bool fits_listpack(const char *is, const struct object_options *opt, struct str member)
{
    uint32_t n = intset_count(is);
    size_t longest = member.n;
    for (uint32_t end = 0; n > 0 && end < 2; end++) {
        unsigned len = digits(intset_at(is, end == 0 ? 0 : n - 1));
        longest = len > longest ? len : longest;
    }
    return n < opt->set_max_listpack_entries && longest <= opt->set_max_listpack_value &&
           member.n < LISTPACK_BYTES_MAX / 2;
}

/* ---- changing --------------------------------------------------------------------------------- */

static int add_hashed(struct object **o, const struct object_options *opt, struct str member)
{
    int err = to_hashed(o, opt);
    return err != 0 ? err : strset_add(set_strset_of(*o), member);
}

static int add_number(struct object **o, const struct object_options *opt, int64_t number)
{
    const char *is = set_data(*o);
    if (intset_has(is, number))
        return 0;
    if (intset_count(is) >= intset_max(opt)) {
        char text[NUM_I64_TEXT_MAX];
        return add_hashed(o, opt, (struct str){text, num_put_i64(text, number)});
    }
    if (grow_small(o, intset_room(is, number)) != 0)
        return ERR_OOM;
    return intset_add(set_data_of(*o), number);
}

static int add_listed(struct object **o, const struct object_options *opt, struct str member)
{
    const char *lp = set_data(*o);
    if (listpack_find(lp, listpack_first(lp), member, 0) != 0)
        return 0;
    if (listpack_count(lp) < opt->set_max_listpack_entries && member.n <= opt->set_max_listpack_value &&
        listpack_bytes(lp) + listpack_room(member) <= LISTPACK_BYTES_MAX)
        return listpack_put(o, member);
    return add_hashed(o, opt, member);
}

int set_add(struct object **o, const struct object_options *opt, struct str member)
{
    int64_t number;
    DEBUG_ASSERT(object_is_private(*o));
    switch ((enum set_encoding)(*o)->encoding) {
    case SET_INTSET:
        if (num_parse_i64(member, &number))
            return add_number(o, opt, number);
        if (fits_listpack(set_data(*o), opt, member))
            return intset_to_listpack(o, member);
        return add_hashed(o, opt, member);
    case SET_LISTPACK: return add_listed(o, opt, member);
    case SET_HASHED: break;
    }
    return strset_add(set_strset_of(*o), member);
}

void set_expect(struct object **o, const struct object_options *opt, uint64_t members)
{
    uint64_t max = (*o)->encoding == SET_INTSET     ? intset_max(opt)
                   : (*o)->encoding == SET_LISTPACK ? opt->set_max_listpack_entries
                                                    : UINT64_MAX;
    if (members > max)
        (void)to_hashed(o, opt);
}

static bool add_to_intset(void *arg, struct str member)
{
    struct object **to = arg;
    int64_t number;
    if (!num_parse_i64(member, &number) || grow_small(to, intset_room(set_data(*to), number)) != 0)
        return false;
    return intset_add(set_data_of(*to), number);
}

void set_prefer_intset(struct object **o, const struct object_options *opt)
{
    if ((*o)->encoding == SET_INTSET || set_count(*o) > intset_max(opt))
        return;
    struct object *to = new_intset();
    if (to == NULL)
        return;
    if (set_visit(*o, add_to_intset, &to)) {
        object_put(*o);
        *o = to;
    } else {
        object_put(to);
    }
}

bool set_is_plain(const struct object *o)
{
    return object_is_private(o) && (o->encoding != SET_HASHED || !strset_is_shared(set_strset(o)));
}

int set_remove(struct object **o, struct str member)
{
    int64_t number;
    char *data = set_data_of(*o);
    size_t at;
    DEBUG_ASSERT(object_is_private(*o));
    switch ((enum set_encoding)(*o)->encoding) {
    case SET_INTSET: return num_parse_i64(member, &number) && intset_remove(data, number);
    case SET_LISTPACK:
        at = listpack_find(data, listpack_first(data), member, 0);
        if (at != 0)
            listpack_remove(data, at, 1);
        return at != 0;
    case SET_HASHED: break;
    }
    return strset_remove(set_strset_of(*o), member);
}

int set_remove_at(struct object **o, struct set_at at)
{
    char *data = set_data_of(*o);
    DEBUG_ASSERT(object_is_private(*o));
    switch ((enum set_encoding)(*o)->encoding) {
    case SET_INTSET: return intset_remove(data, intset_at(data, at.index));
    case SET_LISTPACK: listpack_remove(data, listpack_seek(data, at.index), 1); return 1;
    case SET_HASHED: break;
    }
    return strset_remove_at(set_strset_of(*o), (struct strset_at){at.page, at.index});
}

/* ---- what any collection can -------------------------------------------------------------------- */

static const char *encoding_name(const struct object *o)
{
    static const char *const names[] = {"intset", "listpack", "hashtable"};
    return names[o->encoding];
}

static size_t heap_bytes(const struct object *o)
{
    size_t n = mem_usable((void *)(uintptr_t)o);
    return o->encoding == SET_HASHED ? n + set_strset(o)->bytes : n;
}

static struct object *copy(struct object *o)
{
    if (o->encoding != SET_HASHED) {
        size_t n = o->encoding == SET_INTSET ? intset_bytes(set_data(o)) : listpack_bytes(set_data(o));
        struct object *to = set_small_new(o->encoding, n);
        if (to != NULL)
            memcpy(set_data_of(to), set_data(o), n);
        return to;
    }
    struct set_large *to = mem_alloc(sizeof *to);
    if (to == NULL)
        return NULL;
    head_init(&to->head.head, SET_HASHED);
    to->head.next = NULL;
    if (strset_copy(&to->s, set_strset_of(o)) == 0)
        return &to->head.head;
    mem_free(to);
    return NULL;
}

static uint64_t copy_cost(const struct object *o)
{
    return o->encoding == SET_HASHED ? set_count(o) / COPY_MEMBERS * COPY_LEAF_NS : 0;
}

static bool free_step(struct object *o, uint64_t *budget)
{
    if (o->encoding == SET_HASHED && !strset_free_step(set_strset_of(o), budget))
        return false;
    if (*budget > 0)
        --*budget;
    mem_free(o);
    return true;
}

const struct object_type set_type = {
    .name = "set",
    .encoding = encoding_name,
    .count = set_count,
    .bytes = heap_bytes,
    .copy = copy,
    .copy_cost = copy_cost,
    .free_step = free_step,
    .each = each_member,
    .rdb_type = set_rdb_type,
    .dump = set_dump,
};

void set_check(const struct object *o)
{
#ifdef LARDER_DEBUG
    uint32_t n;
    ASSERT(o->kind == OBJECT_SET && atomic_load(&o->refs) > 0);
    if (o->encoding == SET_HASHED)
        strset_check(set_strset(o));
    else if (o->encoding == SET_INTSET)
        ASSERT(intset_validate(set_data(o), intset_bytes(set_data(o))));
    else
        ASSERT(listpack_validate(set_data(o), listpack_bytes(set_data(o)), &n));
#endif
}
