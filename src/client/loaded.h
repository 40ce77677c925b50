/* What a loader or writer has filled in, and storing it. */
#ifndef LARDER_CLIENT_LOADED_H
#define LARDER_CLIENT_LOADED_H

#include "base/buf.h"
#include "larder/cache.h"

struct larder_loaded {
    struct buf bytes;
    bool there; /* a value was put */
    uint64_t version;
    int64_t ttl_ms; /* LARDER_TTL_DEFAULT: the options' */
};

void loaded_init(struct larder_loaded *v);
void loaded_release(struct larder_loaded *v);

/* Copies as much of the caller's options as both know, over the defaults. False: not from _init(). */
bool loaded_take_options(void *out, const void *given, size_t size, size_t size_min);

#endif
