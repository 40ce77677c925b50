/* A trace: who asked for what, when. In memory as an array of requests, on disk as
 *
 *      "LTRACE1\n"  requests  keys  key_bytes        8 bytes each, host order
 *      { at_ms, key, bytes, ttl_s } x requests       4 bytes each
 *
 * which is mapped and replayed without parsing. Keys are numbered 0 .. keys - 1 in the
 * order of their first request. The text form is a line a request,
 * "seconds,key,value_bytes,ttl_seconds" with ttl 0 for none. */
#ifndef LARDER_BENCH_REPLAY_TRACE_H
#define LARDER_BENCH_REPLAY_TRACE_H

#include "base/annotate.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum trace_limits {
    TRACE_KEY_BYTES_MIN = 10, /* digits of the largest key number */
    TRACE_KEY_BYTES_MAX = 250,
    TRACE_VALUE_MAX = 1024 * 1024, /* longer values are cut to this */
    TRACE_ERR_MAX = 160,
};

struct trace_request {
    uint32_t at_ms; /* since the first request */
    uint32_t key;
    uint32_t bytes; /* of the value that a miss stores */
    uint32_t ttl_s; /* 0: none */
};

struct trace {
    struct trace_request *requests;
    uint64_t n, keys;
    uint32_t key_bytes; /* how long each key is on the wire and in the accounts */
    void *mapped;       /* trace_load(): the file, and its length */
    size_t mapped_bytes;
};

struct trace_err {
    char text[TRACE_ERR_MAX];
};

/* All return 0, or a negative error with err filled. The trace is released by the caller after
 * success, and empty after an error.
 *
 * Text lines must be in the order of time. Requests of one second are spread evenly over it. A key
 * may be any text without a comma; numbers and texts are told apart by what they are. */
int trace_read_text(FILE *from, uint32_t key_bytes, struct trace *out, struct trace_err *err) MUST_CHECK;
int trace_load(const char *path, struct trace *out, struct trace_err *err) MUST_CHECK;
int trace_save(const struct trace *t, const char *path, struct trace_err *err) MUST_CHECK;
void trace_release(struct trace *t);

/* Bytes that a request's object occupies where nothing else is paid for: key and value. */
static inline uint64_t trace_object_bytes(const struct trace *t, const struct trace_request *r)
{
    return (uint64_t)t->key_bytes + r->bytes;
}

/* Can an object stored at `stored` still be served at `now`? */
static inline int trace_alive(const struct trace_request *stored, const struct trace_request *now)
{
    return stored->ttl_s == 0 || (uint64_t)now->at_ms < stored->at_ms + (uint64_t)stored->ttl_s * 1000;
}

#endif
