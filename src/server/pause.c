#include "server/pause.h"

#include "base/assert.h"
#include "server/server.h"

static bool is_on(const struct pause *p, int64_t now_ms)
{
    return p->until_ms > now_ms;
}

/* Only ever lowers bits: of two workers, the one whose look at the clock is older must not raise what the
 * other has lowered. */
void pause_tick(struct server *s, int64_t now_ms)
{
    uint32_t what = 0;
    for (int i = 0; i < PAUSE_REASONS; i++)
        if (is_on(&s->pauses[i], now_ms))
            what |= s->pauses[i].what;
    uint32_t over = atomic_load_explicit(&s->care, memory_order_relaxed) & CARE_PAUSE & ~what;
    if (over == 0)
        return;
    server_care_set(s, over, false);
    lane_retry_held(&s->lane);
    workers_wake(s);
}

void pause_begin(struct server *s, enum pause_reason why, uint32_t what, int64_t now_ms, int64_t until_ms)
{
    ASSERT(what == CARE_PAUSE_WRITE || what == CARE_PAUSE_ALL);
    struct pause *p = &s->pauses[why];
    if (is_on(p, now_ms)) {
        what |= p->what;
        until_ms = until_ms > p->until_ms ? until_ms : p->until_ms;
    }
    *p = (struct pause){until_ms, what};
    if (is_on(p, now_ms))
        server_care_set(s, what, true);
    workers_wake(s);
}

void pause_end(struct server *s, enum pause_reason why)
{
    s->pauses[why] = (struct pause){0};
    pause_tick(s, 0);
}

bool pause_is_on(const struct server *s, enum pause_reason why)
{
    return is_on(&s->pauses[why], os_wall_ms());
}

int64_t pause_next_ms(const struct server *s, int64_t now_ms)
{
    int64_t next = PAUSE_FOR_EVER;
    for (int i = 0; i < PAUSE_REASONS; i++)
        if (is_on(&s->pauses[i], now_ms) && s->pauses[i].until_ms < next)
            next = s->pauses[i].until_ms;
    return next;
}
