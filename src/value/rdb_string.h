/* A string as RDB files and DUMP payloads write it.
 *
 *      length, bytes                     any string
 *      11|000000  int8                   "7": the text of a small number
 *      11|000001  int16 little endian
 *      11|000010  int32 little endian
 *      11|000011  clen, n, LZF bytes     compressed
 *
 * A length is 00|6 bits, 01|14 bits, 0x80 and 32 bits or 0x81 and 64 bits, big endian.
 *
 * Everything read here may come from an enemy: no length is believed before it has
 * been compared with the bytes that are there. */
#ifndef LARDER_VALUE_RDB_STRING_H
#define LARDER_VALUE_RDB_STRING_H

#include "base/num.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rdb_string_limits {
    RDB_LEN_BYTES_MAX = 9,
    RDB_COMPRESS_MIN = 21, /* shorter strings are never compressed, as in Redis */
};

/* Room that rdb_string_put() may need for a string of n bytes. */
size_t rdb_string_room(size_t n);

/* Write s to dst, return the bytes used. Compression takes about 3 ns a byte and 256 KB of stack. */
size_t rdb_string_put(char *dst, struct str s, bool compress);

/* Length prefix alone; RDB_LEN_BYTES_MAX bytes of room. */
size_t rdb_len_put(char *dst, uint64_t n);

/* A string that has been recognised but not copied. */
struct rdb_string {
    size_t n;          /* length of the value */
    struct str stored; /* plain or compressed bytes, borrowed from the input; p NULL for a number */
    bool compressed;
    char text[NUM_I64_TEXT_MAX]; /* number */
};

/* Take one string off the front of *in. Returns 0; ERR_AGAIN when *in ends too early, ERR_CORRUPT
 * when no string looks like this or the value would be longer than `max`; then *in is unchanged. */
int rdb_string_get(struct str *in, size_t max, struct rdb_string *out);

/* The value where it lies (plain, number), or p NULL when it must be unpacked first. */
struct str rdb_string_bytes(const struct rdb_string *s);
/* Write the value's s->n bytes to dst. Returns 0 or ERR_CORRUPT, having written anything. */
int rdb_string_unpack(const struct rdb_string *s, char *dst);

/* Takes a length off the front of *in. *encoded: it is no length but a kind of string (above). */
int rdb_len_get(struct str *in, uint64_t *n, bool *encoded);

#endif
