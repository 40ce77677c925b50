/* LATENCY: spikes above latency-monitor-threshold, by event, the last 160 of each. Mutex-guarded;
 * taken only when something was slow. */
#ifndef LARDER_SERVER_LATENCY_H
#define LARDER_SERVER_LATENCY_H

#include <pthread.h>
#include <stdint.h>

enum latency_limits { LATENCY_SAMPLES = 160 };

enum latency_event {
    LATENCY_COMMAND,
    LATENCY_FAST_COMMAND, /* one of those that are O(1) */
    LATENCY_EXPIRE_CYCLE, /* a slice of the store's upkeep */
    LATENCY_GATE,         /* the wait until all workers stood still */
    LATENCY_EVENTS,
};

struct latency_series {
    uint32_t next, n;
    uint32_t max_ms;
    struct {
        int64_t at_s;
        uint32_t ms;
    } sample[LATENCY_SAMPLES];
};

struct latency {
    pthread_mutex_t mutex; /* leaf */
    struct latency_series series[LATENCY_EVENTS];
};

void latency_init(struct latency *l);
/* Keeps one sample a second and event, the worst. */
void latency_add(struct latency *l, enum latency_event event, int64_t wall_s, uint64_t ms);
const char *latency_event_name(enum latency_event event);

#endif
