#include "cache/budget.h"

#include "base/assert.h"

#include <string.h>

void budgets_clear(struct budgets *b)
{
    memset(b, 0, sizeof *b);
}

void budgets_add(struct budgets *b, struct str prefix, uint64_t max)
{
    ASSERT(b->n < BUDGETS_MAX && prefix.n > 0 && prefix.n <= BUDGET_PREFIX_MAX);
    struct budget *one = &b->list[b->n++];
    memcpy(one->prefix, prefix.p, prefix.n);
    one->n = (uint32_t)prefix.n;
    one->max = max;
}

static struct budget *at(struct budgets *b, uint16_t number)
{
    ASSERT(number > BUDGET_NONE && number <= b->n);
    return &b->list[number - 1];
}

uint16_t budget_of(const struct budgets *b, struct str key)
{
    uint32_t longest = 0;
    uint16_t found = BUDGET_NONE;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct budget *one = &b->list[i];
        if (one->n > longest && key.n >= one->n && memcmp(key.p, one->prefix, one->n) == 0) {
            longest = one->n;
            found = (uint16_t)(i + 1);
        }
    }
    return found;
}

bool budget_take(struct budgets *b, uint16_t number)
{
    if (number == BUDGET_NONE)
        return true;
    struct budget *one = at(b, number);
    uint64_t out = atomic_load_explicit(&one->out, memory_order_relaxed);
    while (out < one->max)
        if (atomic_compare_exchange_weak_explicit(&one->out, &out, out + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    atomic_fetch_add_explicit(&one->refused, 1, memory_order_relaxed);
    return false;
}

void budget_give(struct budgets *b, uint16_t number)
{
    if (number == BUDGET_NONE)
        return;
    uint64_t before = atomic_fetch_sub_explicit(&at(b, number)->out, 1, memory_order_relaxed);
    ASSERT(before > 0);
}

void budget_recount(struct budgets *b, uint16_t number)
{
    if (number != BUDGET_NONE)
        atomic_fetch_add_explicit(&at(b, number)->out, 1, memory_order_relaxed);
}
