#include "tool/bench/plan.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/rng.h"

#include <string.h>

/* Letters and digits that do not repeat, so that neither compression nor a
 * lucky comparison makes a value cheaper than it is. */
static char *make_bytes(uint64_t n, uint64_t seed)
{
    static const char alphabet[64] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    struct rng rng;
    char *bytes = mem_alloc(n ? n : 1);
    rng_init(&rng, seed);
    for (uint64_t i = 0; bytes && i < n; i++)
        bytes[i] = alphabet[rng_below(&rng, sizeof alphabet)];
    return bytes;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

int plan_init(struct plan *p, const struct options *o)
{
    *p = (struct plan){.options = o, .bytes = make_bytes(o->value_size.high, o->seed)};
    p->fill = (struct template_fill){
        .key_prefix = str_of(o->key_prefix),
        .key_size = (unsigned)o->key_size,
        .value_size = o->value_size,
        .ttl_s = o->ttl_s,
        .bytes = p->bytes,
    };
    if (p->bytes != NULL) {
        bool memcached = o->protocol == SCAN_MEMCACHED;
        p->write = memcached ? template_memcached_set(&p->fill) : template_resp_set(&p->fill);
        p->read = o->command  ? template_resp_command(&p->fill, o->words, o->nwords)
                  : memcached ? template_memcached_get(&p->fill)
                              : template_resp_get(&p->fill);
    }
    if (p->read == NULL || p->write == NULL) {
        plan_release(p);
        return ERR_OOM;
    }
    size_t write = template_size_max(p->write), fits = PLAN_LOAD_BYTES / write;
    p->load_batch = fits < 1 ? 1 : fits < PLAN_LOAD_BATCH ? (uint32_t)fits : PLAN_LOAD_BATCH;
    p->batch_bytes =
        max_size(p->load_batch * write, o->pipeline * max_size(write, template_size_max(p->read)));
    return 0;
}

void plan_release(struct plan *p)
{
    template_free(p->read);
    template_free(p->write);
    mem_free(p->bytes);
    *p = (struct plan){0};
}
