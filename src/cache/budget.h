/* How many leases may be outstanding for keys with a prefix: what an origin can bear.
 *
 *      cache-origin-budget user: 50 page: 10
 *
 * The longest prefix that a key begins with is the one that counts. A lease takes its place when it is
 * granted and gives it back when it is void, for whatever reason; places are the node's, so they are counted
 * without a lock.
 *
 * The list is written under the gate; leases note their budget's number, and are counted anew with a new
 * list. */
#ifndef LARDER_CACHE_BUDGET_H
#define LARDER_CACHE_BUDGET_H

#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum budget_limits { BUDGETS_MAX = 32, BUDGET_PREFIX_MAX = 64, BUDGET_NONE = 0 };

struct budget {
    char prefix[BUDGET_PREFIX_MAX];
    uint32_t n; /* bytes of it */
    uint64_t max;
    _Atomic uint64_t out;     /* leases outstanding */
    _Atomic uint64_t refused; /* grants that would have been one too many */
};

struct budgets {
    struct budget list[BUDGETS_MAX];
    uint32_t n;
};

/* Gate. prefix: 1 to BUDGET_PREFIX_MAX bytes. */
void budgets_clear(struct budgets *b);
void budgets_add(struct budgets *b, struct str prefix, uint64_t max);

/* The number of the budget that the key counts in, BUDGET_NONE if there is none. */
uint16_t budget_of(const struct budgets *b, struct str key);
/* False: it is used up, and that is counted. BUDGET_NONE is never used up. */
bool budget_take(struct budgets *b, uint16_t number);
void budget_give(struct budgets *b, uint16_t number);
/* Gate: a lease that was granted before the list was new; it may be one too many. */
void budget_recount(struct budgets *b, uint16_t number);

#endif
