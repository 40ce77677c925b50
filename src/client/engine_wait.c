/* How a synchronous call waits: in recv(), on one connection after the other in the order in which they were
 * sent to, as long as replies come soon; in ppoll() on all of them once one is late, while connections open,
 * and when something else is due.
 *
 *      send()   A B C D E F
 *      recv()               A B C D E F      a system call a node; what A is waited for has mostly come for B
 *
 * The call needs every reply, so it does not matter which it waits for. While it is in recv() it sees neither
 * the other connections nor what is due, but for no longer than CONN_LATE_MS at a time: deadlines hold, and a
 * retry waits no longer than that for a node that is slow. Rejected: ppoll() before each reply, which is half
 * of the client's time at six nodes; recv() with the command's own timeout, with which one node that is
 * stopped holds up the retries of all others. */
#include "client/engine.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/clock.h"

#include <poll.h>

enum { POLL_ON_STACK = 64 };
/* The longest that recv() may look away: its timeout is counted in ticks, which may be 10 ms, and one more.
 */
#define LOOK_AWAY_NS ((int64_t)(CONN_LATE_MS + 20) * 1000 * 1000)

/* Receive once from each connection. False when that is not to be done, or not to be gone on with. */
static bool wait_in_recv(struct engine *e, int64_t now_ns)
{
    int64_t until_ns = engine_next_event(e) - LOOK_AWAY_NS;
    for (struct conn *c = e->active; c != NULL; c = c->next_active)
        if (!conn_may_wait(c))
            return false;
    for (struct conn *c = e->active; c != NULL; c = c->next_active) {
        struct engine_delivery d = {e, now_ns};
        if (now_ns > until_ns)
            return false;
        c->stepping = true;
        int err = conn_wait_reply(c, now_ns, engine_deliver, &d);
        c->stepping = false;
        now_ns = os_mono_ns();
        if (err < 0)
            engine_conn_lost(e, c, now_ns);
        else if (err > 0)
            return false;
    }
    return e->active != NULL;
}

static void wait_in_poll(struct engine *e)
{
    struct pollfd on_stack[POLL_ON_STACK], *fds = on_stack;
    nfds_t n = 0, count = 0;
    for (struct conn *c = e->active; c != NULL; c = c->next_active)
        count++;
    if (count > POLL_ON_STACK) {
        fds = mem_alloc(count * sizeof *fds);
        if (fds == NULL) { /* look at some of them, then at others */
            fds = on_stack;
            count = POLL_ON_STACK;
        }
    }
    for (struct conn *c = e->active; c != NULL && n < count; c = c->next_active)
        fds[n++] = (struct pollfd){.fd = conn_fd(c), .events = (short)conn_wants(c)};
    int64_t now_ns = os_mono_ns(), wait_ns = engine_next_event(e) - now_ns;
    wait_ns = wait_ns > 0 ? wait_ns : 0;
    struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    int ready = ppoll(fds, n, &wait, NULL);
    struct conn *c = e->active;
    now_ns = os_mono_ns();
    for (nfds_t i = 0; i < n && ready > 0; i++, c = c->next_active)
        if (fds[i].revents != 0)
            engine_step(e, c, now_ns);
    if (fds != on_stack)
        mem_free(fds);
}

void engine_run(struct engine *e)
{
    ASSERT(e->waits);
    for (;;) {
        int64_t now_ns = os_mono_ns();
        engine_settle(e, now_ns);
        if (e->live == 0)
            return;
        if (e->delayed != NULL && e->delayed->due_ns <= now_ns)
            continue;
        if (!wait_in_recv(e, now_ns))
            wait_in_poll(e);
    }
}
