#include "server/latency.h"

#include "base/annotate.h"

#include <string.h>

static const char *const names[LATENCY_EVENTS] = {
    [LATENCY_COMMAND] = "command",
    [LATENCY_FAST_COMMAND] = "fast-command",
    [LATENCY_EXPIRE_CYCLE] = "expire-cycle",
    [LATENCY_GATE] = "gate",
};

void latency_init(struct latency *l)
{
    memset(l, 0, sizeof *l);
    pthread_mutex_init(&l->mutex, NULL);
}

const char *latency_event_name(enum latency_event event)
{
    return names[event];
}

void latency_add(struct latency *l, enum latency_event event, int64_t wall_s, uint64_t ms)
{
    uint32_t v = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
    pthread_mutex_lock(&l->mutex);
    struct latency_series *s = &l->series[event];
    uint32_t last = (s->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES;
    if (v > s->max_ms)
        s->max_ms = v;
    if (s->n > 0 && s->sample[last].at_s == wall_s) {
        if (v > s->sample[last].ms)
            s->sample[last].ms = v;
    } else {
        s->sample[s->next].at_s = wall_s;
        s->sample[s->next].ms = v;
        s->next = (s->next + 1) % LATENCY_SAMPLES;
        if (s->n < LATENCY_SAMPLES)
            s->n++;
    }
    pthread_mutex_unlock(&l->mutex);
}
