/* A request as bytes with holes: encoded once, filled in for every request.
 *
 *      *3\r\n$3\r\nSET\r\n$16\r\nkey:0000000000__\r\n$100\r\nxxxx...\r\n
 *                                            ^ digits patched in place
 *
 * Templates are read-only once made, and shared by all threads. */
#ifndef LARDER_TOOL_BENCH_TEMPLATE_H
#define LARDER_TOOL_BENCH_TEMPLATE_H

#include "base/rng.h"
#include "base/str.h"
#include "tool/bench/keydist.h"
#include "tool/bench/spread.h"

#include <stdint.h>

enum template_limits {
    TEMPLATE_KEY_MAX = 64 * 1024,
    TEMPLATE_VALUE_MAX = 16 * 1024 * 1024,
    TEMPLATE_WORDS_MAX = 1024,
};

/* What fills the holes. Borrows everything, for as long as the template lives. */
struct template_fill {
    struct str key_prefix;
    unsigned key_size; /* bytes of a key: prefix, then digits with leading zeros */
    struct spread value_size;
    struct spread ttl_s; /* high == 0: requests carry none */
    const char *bytes;   /* what values are made of: value_size.high bytes */
};

struct template;

/* Return owned, or NULL when memory is short. With a TTL, SET carries EX <ttl>. */
struct template *template_resp_get(const struct template_fill *f);
struct template *template_resp_set(const struct template_fill *f);
struct template *template_memcached_get(const struct template_fill *f);
struct template *template_memcached_set(const struct template_fill *f);

/* From words such as "HSET h __key__ __value__": each __key__, also inside a word,
 * becomes a key of its own draw; each __value__ a value; a word shares one size. */
struct template *template_resp_command(const struct template_fill *f, const struct str *words, uint32_t n);

void template_free(struct template *t);

/* The longest that a filled-in request can be. */
size_t template_size_max(const struct template *t);

/* Write one request to dst (room for template_size_max()), return its end. */
char *template_render(const struct template *t, char *dst, struct keydist *keys, struct rng *rng);

#endif
