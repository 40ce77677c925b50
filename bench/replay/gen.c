/* Every key draws its own times, and sorting them all makes the trace: a 64-bit number a
 * request, time above key. Exact counts rather than draws from a distribution, so that a
 * trace of any length has the statistics asked for. */
#include "bench/replay/gen.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/rng.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum {
    VALUE_MAX = 64 * 1024,
    POPULAR = 1000, /* keys with so many requests live throughout */
    BISECTIONS = 60,
};

static const double core_share = 0.1;             /* of the other keys that live throughout, too */
static const double life_min = 0.1, life_max = 3; /* of a key's TTL */
static const double forever_min = 0.02;           /* of the trace, for keys without a TTL */

static const char *parse_ttl(const char *p, struct gen_ttl *out)
{
    char *end;
    errno = 0;
    unsigned long low = strtoul(p, &end, 10), high = low;
    if (end == p || errno != 0)
        return NULL;
    if (*end == '-') {
        p = end + 1;
        high = strtoul(p, &end, 10);
        if (end == p)
            return NULL;
    }
    if (*end != ':' || high < low || high > UINT32_MAX)
        return NULL;
    p = end + 1;
    double share = strtod(p, &end);
    if (end == p || !(share > 0))
        return NULL;
    *out = (struct gen_ttl){(uint32_t)low, (uint32_t)high, share};
    return end;
}

int gen_parse_ttls(const char *text, struct gen_shape *out)
{
    out->nttls = 0;
    while (out->nttls < GEN_TTLS_MAX) {
        text = parse_ttl(text, &out->ttl[out->nttls]);
        if (text == NULL)
            return ERR_SYNTAX;
        out->nttls++;
        if (*text == 0)
            return 0;
        if (*text++ != ',')
            return ERR_SYNTAX;
    }
    return ERR_SYNTAX;
}

/* How often each of n keys is asked for: max(2, c k^-theta), c such that the sum is `total`. */
static void share_out(uint32_t *count, uint64_t n, uint64_t total, double theta)
{
    double *weight = mem_must(mem_alloc(n * sizeof *weight));
    double low = 0, high = (double)total, carry = 0;
    for (uint64_t k = 0; k < n; k++)
        weight[k] = pow((double)(k + 1), -theta);
    for (int i = 0; i < BISECTIONS; i++) {
        double c = (low + high) / 2, sum = 0;
        for (uint64_t k = 0; k < n; k++)
            sum += fmax(2, c * weight[k]);
        if (sum < (double)total)
            low = c;
        else
            high = c;
    }
    for (uint64_t k = 0; k < n; k++) {
        double exact = fmax(2, high * weight[k]) + carry;
        count[k] = exact > 2 ? (uint32_t)exact : 2;
        carry = exact - count[k]; /* what rounding has cut goes to the next */
    }
    mem_free(weight);
}

static double between(struct rng *r, double low, double high)
{
    return low + (high - low) * rng_unit(r);
}

static double between_log(struct rng *r, double low, double high)
{
    return exp(between(r, log(low), log(high)));
}

static double normal(struct rng *r)
{
    return sqrt(-2 * log(1 - rng_unit(r))) * cos(2 * M_PI * rng_unit(r));
}

static uint32_t draw_ttl(const struct gen_shape *s, struct rng *r)
{
    double all = 0;
    for (unsigned i = 0; i < s->nttls; i++)
        all += s->ttl[i].share;
    double at = all * rng_unit(r);
    unsigned i = 0;
    while (i + 1 < s->nttls && at >= s->ttl[i].share)
        at -= s->ttl[i++].share;
    return s->ttl[i].low_s + (uint32_t)rng_below(r, (uint64_t)s->ttl[i].high_s - s->ttl[i].low_s + 1);
}

static uint32_t draw_bytes(const struct gen_shape *s, struct rng *r)
{
    double median = s->value_mean * exp(-s->value_sigma * s->value_sigma / 2);
    double v = round(median * exp(s->value_sigma * normal(r)));
    return v < 1 ? 1 : v > VALUE_MAX ? VALUE_MAX : (uint32_t)v;
}

struct object {
    uint32_t bytes, ttl_s;
};

/* The times of a key's requests, into `times`. */
static void live(const struct gen_shape *s, struct rng *r, uint32_t count, uint32_t ttl_s, double *times)
{
    bool throughout = count >= POPULAR || rng_unit(r) < core_share;
    double life = s->seconds;
    if (!throughout && ttl_s != 0)
        life = fmin(life, ttl_s * between_log(r, life_min, life_max));
    else if (!throughout)
        life *= between_log(r, forever_min, 1);
    double birth = between(r, 0, s->seconds - life);
    for (uint32_t i = 0; i < count; i++) {
        double u = rng_unit(r);
        times[i] = birth + life * (throughout ? u : u * sqrt(u)); /* denser when young */
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Requests as time << 32 | key, sorted. Returned owned, *n of them. */
static uint64_t *schedule(const struct gen_shape *s, struct rng *r, const uint32_t *count, uint64_t keys,
                          struct object *objects, uint64_t *n)
{
    uint64_t at = 0, most = 0;
    *n = 0;
    for (uint64_t k = 0; k < keys; k++) {
        *n += count[k];
        most = count[k] > most ? count[k] : most;
    }
    uint64_t *order = mem_must(mem_alloc(*n * sizeof *order));
    double *times = mem_must(mem_alloc(most * sizeof *times));
    for (uint64_t k = 0; k < keys; k++) {
        objects[k] = (struct object){draw_bytes(s, r), draw_ttl(s, r)};
        live(s, r, count[k], objects[k].ttl_s, times);
        for (uint32_t i = 0; i < count[k]; i++)
            order[at++] = (uint64_t)(times[i] * 1000) << 32 | k;
    }
    mem_free(times);
    qsort(order, *n, sizeof *order, by_value);
    return order;
}

/* Numbers keys anew by their first request, so that a number says nothing about popularity. */
static void write_requests(struct trace *t, const uint64_t *order, const struct object *objects)
{
    uint32_t *number = mem_must(mem_zalloc(t->keys * sizeof *number)), used = 0;
    uint64_t first_ms = order[0] >> 32;
    for (uint64_t i = 0; i < t->n; i++) {
        uint32_t k = (uint32_t)order[i];
        if (number[k] == 0)
            number[k] = ++used;
        t->requests[i] = (struct trace_request){
            .at_ms = (uint32_t)((order[i] >> 32) - first_ms),
            .key = number[k] - 1,
            .bytes = objects[k].bytes,
            .ttl_s = objects[k].ttl_s,
        };
    }
    mem_free(number);
}

static int refuse(struct trace_err *err, const char *what)
{
    snprintf(err->text, sizeof err->text, "%s", what);
    return ERR_RANGE;
}

int gen_make(const struct gen_shape *s, struct trace *out, struct trace_err *err)
{
    struct rng rng;
    *out = (struct trace){.key_bytes = s->key_bytes};
    if (s->nttls == 0 || !(s->value_mean >= 1) || !(s->value_sigma >= 0) || !(s->theta > 0))
        return refuse(err, "a shape has TTLs, a mean value of at least 1 byte, and theta > 0");
    if (!(s->seconds >= 1 && s->seconds < (double)UINT32_MAX / 1000))
        return refuse(err, "a trace lasts from a second to 49 days");
    if (!(s->one_hit >= 0 && s->one_hit < 1) || !(s->accesses >= s->one_hit + 2 * (1 - s->one_hit)))
        return refuse(err,
                      "keys that are asked for more than once are asked for at least twice: raise the mean");
    uint64_t keys = (uint64_t)round((double)s->requests / s->accesses);
    uint64_t single = (uint64_t)round((double)keys * s->one_hit);
    if (keys < single + 1 || keys > UINT32_MAX - 1 || s->requests > UINT32_MAX - 1)
        return refuse(err, "so many requests do not make a key that is asked for twice, or far too many");
    uint32_t *count = mem_must(mem_alloc(keys * sizeof *count));
    struct object *objects = mem_must(mem_alloc(keys * sizeof *objects));
    share_out(count, keys - single, s->requests - single, s->theta);
    for (uint64_t k = keys - single; k < keys; k++)
        count[k] = 1;
    rng_init(&rng, s->seed);
    uint64_t *order = schedule(s, &rng, count, keys, objects, &out->n);
    out->keys = keys;
    out->requests = mem_must(mem_alloc(out->n * sizeof *out->requests));
    write_requests(out, order, objects);
    mem_free(order);
    mem_free(objects);
    mem_free(count);
    return 0;
}
