/* The retry budget: a failing node must not be met with a multiple of its usual load.
 *
 * Every call earns a share of a retry, every retry spends a whole one. What is earned is kept up to
 * a few, so that a handle that was just opened, or is used rarely, may retry too. Pure; the caller
 * holds what guards it. Counted in hundredths. */
#ifndef LARDER_CLIENT_BUDGET_H
#define LARDER_CLIENT_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

enum budget_limits { BUDGET_RETRY = 100, BUDGET_START = 10 * BUDGET_RETRY, BUDGET_MAX = 100 * BUDGET_RETRY };

struct budget {
    uint32_t held, percent;
};

static inline void budget_init(struct budget *b, uint32_t percent)
{
    *b = (struct budget){.held = percent > 0 ? BUDGET_START : 0, .percent = percent};
}

static inline void budget_earn(struct budget *b)
{
    b->held = b->held + b->percent < BUDGET_MAX ? b->held + b->percent : BUDGET_MAX;
}

static inline bool budget_spend(struct budget *b)
{
    if (b->held < BUDGET_RETRY)
        return false;
    b->held -= BUDGET_RETRY;
    return true;
}

/* How long to wait before retry number `attempt` (0 = the first): up to base doubled that often, at
 * most max; `unit` from [0, 1) says how much of it ("full jitter"). */
static inline int64_t budget_backoff_ns(int64_t base_ns, int64_t max_ns, unsigned attempt, double unit)
{
    int64_t most = base_ns;
    for (unsigned i = 0; i < attempt && most < max_ns; i++)
        most *= 2;
    return (int64_t)((double)(most < max_ns ? most : max_ns) * unit);
}

#endif
