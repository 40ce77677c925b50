/* Sets, as SADD and its family know them.
 *
 *      intset      head | ds/intset.h      all members are integers, and they are few
 *      listpack    head | ds/listpack.h    few and short members
 *      hashtable   head | ds/strset.h      everything else
 *
 * The first two are one allocation; a set changes from one encoding to the next when it outgrows
 * the limits of struct object_options, and never back. Functions that change a set may move it and
 * want it private (object_is_private()), but removing from one that is not `set_is_plain()` may
 * fail: commands that must remove several members or none work on a copy then. */
#ifndef LARDER_VALUE_SET_H
#define LARDER_VALUE_SET_H

#include "base/num.h"
#include "base/rng.h"
#include "value/object.h"

enum set_encoding { SET_INTSET, SET_LISTPACK, SET_HASHED };
enum set_rdb_type { RDB_TYPE_SET = 2, RDB_TYPE_SET_INTSET = 11, RDB_TYPE_SET_LISTPACK = 20 };

extern const struct object_type set_type;

/* An empty set for about `expected` members, the first of which is `first` (p NULL: unknown); it must not
 * stay empty in the store. Returned owned, NULL when memory is short. */
struct object *set_new(const struct object_options *opt, struct str first, uint64_t expected);

uint64_t set_count(const struct object *o);
bool set_has(const struct object *o, struct str member);

/* 1: added, 0: was there, ERR_OOM: as it was. member must not lie in the set. */
int set_add(struct object **o, const struct object_options *opt, struct str member);
/* So many members are about to be added: choose the encoding that can hold them. Best effort. */
void set_expect(struct object **o, const struct object_options *opt, uint64_t members);
/* When all members are integers and few: hold them as such. Best effort. */
void set_prefer_intset(struct object **o, const struct object_options *opt);

/* 1: removed, 0: was not there, ERR_OOM: as it was, only if not plain. The set may be empty then. */
int set_remove(struct object **o, struct str member);
/* Is removing certain to succeed? */
bool set_is_plain(const struct object *o);

/* A place; good until the set changes. */
struct set_at {
    uint32_t page, index;
};
struct set_at set_random(const struct object *o, struct rng *rng); /* all members alike; not empty */
/* The member there: borrowed from the set, or a number written to text. */
struct str set_member(const struct object *o, struct set_at at, char text[NUM_I64_TEXT_MAX]);
int set_remove_at(struct object **o, struct set_at at); /* 1, or ERR_OOM if not plain */

typedef bool set_visit_fn(void *arg, struct str member); /* false stops */
/* All members; an intset's in ascending order. False: visit() said so. */
bool set_visit(const struct object *o, set_visit_fn *visit, void *arg);
/* A step of SSCAN, as strset_scan(); small sets are visited whole. */
void set_scan(const struct object *o, uint64_t *cursor, uint64_t count, set_visit_fn *visit, void *arg);
/* For object.c. */
int set_load(uint8_t rdb_type, struct object_source *src, const struct object_options *opt,
             struct object **out);

/* Every invariant; debug builds. */
void set_check(const struct object *o);

#endif
