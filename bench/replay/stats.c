/* One pass with a note for each key. Which TTLs are common is counted over keys, as their
 * first request tells it, by sorting. */
#include "bench/replay/stats.h"

#include "base/alloc.h"

#include <stdlib.h>

struct note {
    uint32_t count, bytes_max;
    uint32_t stored; /* the request that stored what is there now */
};

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void count_ttl(struct stats *s, uint32_t ttl, double share)
{
    unsigned at = s->nttls < STATS_TTLS ? s->nttls++ : STATS_TTLS - 1;
    if (at == STATS_TTLS - 1 && share <= s->ttl_share[at])
        return;
    for (; at > 0 && s->ttl_share[at - 1] < share; at--) {
        s->ttl[at] = s->ttl[at - 1];
        s->ttl_share[at] = s->ttl_share[at - 1];
    }
    s->ttl[at] = ttl;
    s->ttl_share[at] = share;
}

static void count_ttls(struct stats *s, uint32_t *ttls)
{
    qsort(ttls, s->keys, sizeof *ttls, by_value);
    for (uint64_t i = 0, end; i < s->keys; i = end) {
        for (end = i; end < s->keys && ttls[end] == ttls[i];)
            end++;
        count_ttl(s, ttls[i], (double)(end - i) / (double)s->keys);
    }
}

void stats_of(const struct trace *t, struct stats *out)
{
    struct note *notes = mem_must(mem_zalloc(t->keys * sizeof *notes));
    uint32_t *ttls = mem_must(mem_zalloc(t->keys * sizeof *ttls));
    double value_sum = 0;
    *out = (struct stats){.requests = t->n, .keys = t->keys};
    for (uint64_t i = 0; i < t->n; i++) {
        const struct trace_request *r = &t->requests[i];
        struct note *note = &notes[r->key];
        if (note->count == 0) {
            ttls[r->key] = r->ttl_s;
            out->first++;
        } else if (!trace_alive(&t->requests[note->stored], r)) {
            out->expired++;
        }
        if (note->count == 0 || !trace_alive(&t->requests[note->stored], r))
            note->stored = (uint32_t)i;
        note->count++;
        if (r->bytes > note->bytes_max)
            note->bytes_max = r->bytes;
    }
    for (uint64_t k = 0; k < t->keys; k++) {
        out->one_hit_keys += notes[k].count == 1;
        out->footprint += t->key_bytes + notes[k].bytes_max;
        value_sum += notes[k].bytes_max;
    }
    out->value_mean = value_sum / (double)t->keys;
    out->seconds = t->requests[t->n - 1].at_ms / 1000.0;
    count_ttls(out, ttls);
    mem_free(notes);
    mem_free(ttls);
}
