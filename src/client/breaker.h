/* A node's circuit breaker: pure, the time is an argument.
 *
 * Closed, it lets everything through. So many failures in a row open it: then one attempt an
 * interval passes (the probe), the interval doubling with each that fails. The first success closes
 * it. The caller holds what guards the node. */
#ifndef LARDER_CLIENT_BREAKER_H
#define LARDER_CLIENT_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_limits { BREAKER_DOUBLINGS_MAX = 5 };

struct breaker {
    unsigned failures;  /* in a row */
    unsigned doublings; /* of the interval */
    int64_t probe_ns;   /* open: the next attempt may be made then */
    bool open;
};

struct breaker_rule {
    unsigned failures_max; /* 0 = never opens */
    int64_t interval_ns;
};

/* May an attempt be made? While open, saying yes uses up the probe of this interval. */
bool breaker_allows(struct breaker *b, const struct breaker_rule *rule, int64_t now_ns);
/* The same without using anything up. */
bool breaker_would_allow(const struct breaker *b, int64_t now_ns);
void breaker_succeeded(struct breaker *b);
void breaker_failed(struct breaker *b, const struct breaker_rule *rule, int64_t now_ns);

#endif
