#include "client/loaded.h"

void loaded_init(struct larder_loaded *v)
{
    *v = (struct larder_loaded){.ttl_ms = LARDER_TTL_DEFAULT};
    buf_init(&v->bytes);
}

void loaded_release(struct larder_loaded *v)
{
    buf_release(&v->bytes);
}

int larder_loaded_value(larder_loaded *out, const void *p, size_t n)
{
    buf_clear(&out->bytes);
    out->there = buf_append(&out->bytes, p, n) == 0;
    return out->there ? LARDER_OK : LARDER_ERR_MEMORY;
}

void larder_loaded_version(larder_loaded *out, uint64_t version)
{
    out->version = version;
}

void larder_loaded_ttl(larder_loaded *out, int64_t ttl_ms)
{
    out->ttl_ms = ttl_ms;
}

bool loaded_take_options(void *out, const void *given, size_t size, size_t size_min)
{
    size_t has = *(const size_t *)given; /* the first member of every struct of options */
    if (has < size_min)
        return false;
    memcpy(out, given, has < size ? has : size);
    return true;
}
