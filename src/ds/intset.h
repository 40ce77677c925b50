/* Intset: a sorted set of integers in one run of bytes, in the format of Redis, so that it
 * is dumped and loaded as it lies.
 *
 *      u32 width: 2, 4 or 8 | u32 count | count numbers of that width, ascending       (little endian)
 *
 * The widest number decides the width of all. The memory is the caller's: intset_room()
 * says how much an addition needs. Finding takes log2(n) steps, changing moves n / 2
 * numbers on average. */
#ifndef LARDER_DS_INTSET_H
#define LARDER_DS_INTSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum intset_limits {
    INTSET_EMPTY = 8,           /* bytes of one without numbers */
    INTSET_COUNT_MAX = 1 << 27, /* 1 GB of the widest */
};

void intset_init(char *is); /* INTSET_EMPTY bytes */
size_t intset_bytes(const char *is);
uint32_t intset_count(const char *is);
int64_t intset_at(const char *is, uint32_t i); /* i < count */

bool intset_has(const char *is, int64_t v);
/* Bytes in all after v has been added. */
size_t intset_room(const char *is, int64_t v);
/* There is memory for intset_room(). False when it is there already. */
bool intset_add(char *is, int64_t v);
bool intset_remove(char *is, int64_t v); /* false: was not there */

/* Does p[0..n) hold a sound intset, ascending and without repetition, and nothing else? */
bool intset_validate(const char *p, size_t n);

#endif
