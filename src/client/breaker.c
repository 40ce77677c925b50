#include "client/breaker.h"

#include "base/assert.h"

static int64_t interval(const struct breaker *b, const struct breaker_rule *rule)
{
    ASSERT(b->doublings <= BREAKER_DOUBLINGS_MAX);
    return rule->interval_ns << b->doublings;
}

bool breaker_would_allow(const struct breaker *b, int64_t now_ns)
{
    return !b->open || now_ns >= b->probe_ns;
}

/* A probe that nobody reports on (its caller ran out of time) must not stay the last one: the next
 * is due an interval later, whatever becomes of this one. */
bool breaker_allows(struct breaker *b, const struct breaker_rule *rule, int64_t now_ns)
{
    if (!b->open)
        return true;
    if (now_ns < b->probe_ns)
        return false;
    b->probe_ns = now_ns + interval(b, rule);
    return true;
}

void breaker_succeeded(struct breaker *b)
{
    *b = (struct breaker){0};
}

void breaker_failed(struct breaker *b, const struct breaker_rule *rule, int64_t now_ns)
{
    if (b->failures < UINT32_MAX)
        b->failures++;
    if (rule->failures_max == 0 || b->failures < rule->failures_max)
        return;
    /* Failures of attempts that began before it opened say nothing new. */
    if (b->open && b->doublings < BREAKER_DOUBLINGS_MAX && now_ns + interval(b, rule) / 2 < b->probe_ns)
        return;
    if (b->open && b->doublings < BREAKER_DOUBLINGS_MAX)
        b->doublings++;
    b->open = true;
    b->probe_ns = now_ns + interval(b, rule);
}
