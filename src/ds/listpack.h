/* Listpack: a sequence of strings and integers in one run of bytes, in the format of
 * Redis 7, so that a small collection can be dumped and loaded as it lies.
 *
 *      u32 bytes in all | u16 entries, 65535 = count them | entries ... | 0xff       (little endian)
 *
 *      entry:  0xxxxxxx                        0 .. 127
 *              10nnnnnn bytes                  string of up to 63
 *              110xxxxx x8                     -4096 .. 4095
 *              1110nnnn n8 bytes               string of up to 4,095
 *              11110000 n32 bytes              longer string
 *              11110001 .. 11110100            int16, int24, int32, int64
 *      and behind each its own length, 7 bits a byte, to be read backwards.
 *
 * A string that is the text of a 64-bit integer is kept as the integer. Entries are
 * named by their offset, which is good until something before it changes; 0 is "none".
 *
 * The memory is the caller's: a function that adds says before how many bytes it needs.
 * Nothing here trusts a listpack from outside before listpack_validate() has seen it.
 * Finding and counting take about a nanosecond an entry. */
#ifndef LARDER_DS_LISTPACK_H
#define LARDER_DS_LISTPACK_H

#include "base/num.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum listpack_limits {
    LISTPACK_EMPTY = 7,           /* bytes of one without entries */
    LISTPACK_BYTES_MAX = 1 << 30, /* as in Redis: nobody lets one grow beyond */
};

/* An entry's value: the bytes where they lie, or p NULL and a number. */
struct listpack_value {
    struct str bytes;
    int64_t number;
};

void listpack_init(char *lp); /* LISTPACK_EMPTY bytes */
size_t listpack_bytes(const char *lp);
uint32_t listpack_count(const char *lp);

/* Walking. next() of the last entry and prev() of the first give 0. */
size_t listpack_first(const char *lp);
size_t listpack_last(const char *lp);
size_t listpack_next(const char *lp, size_t at);
size_t listpack_prev(const char *lp, size_t at);
/* Entry number i, negative from the end; 0 when there are not so many. */
size_t listpack_seek(const char *lp, int64_t i);

struct listpack_value listpack_value(const char *lp, size_t at);
/* As text: borrowed from the listpack, or written to `text`. */
struct str listpack_get(const char *lp, size_t at, char text[NUM_I64_TEXT_MAX]);

/* The first entry at or after `at` (0: none) that equals s, looking at every (skip + 1)-th. */
size_t listpack_find(const char *lp, size_t at, struct str s, uint32_t skip);

/* Bytes that an entry for s takes. */
size_t listpack_room(struct str s);
/* Put s before the entry at `at`, or at the end (at 0). There is memory for listpack_room(s) more bytes
 * behind listpack_bytes(). s must not lie in lp. Returns where it is. */
size_t listpack_insert(char *lp, size_t at, struct str s);
/* Take out n entries from `at` on. Returns where what followed them is now, 0 = nothing did. */
size_t listpack_remove(char *lp, size_t at, uint32_t n);

/* Does p[0..n) hold a listpack whose every entry is sound, and nothing else? *count: its entries. */
bool listpack_validate(const char *p, size_t n, uint32_t *count);

#endif
