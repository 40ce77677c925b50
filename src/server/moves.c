/* Which slots move, and what has become of each move: records for whoever asks, and the thread that carries
 * out one after the other. */
#include "server/moves.h"

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"
#include "server/crash.h"
#include "server/server.h"

#include <stdio.h>
#include <string.h>

void move_slots(const struct move *mv, uint8_t slots[SLOT_BYTES])
{
    memset(slots, 0, SLOT_BYTES);
    for (uint32_t i = 0; i < mv->nranges; i++)
        for (uint32_t s = mv->ranges[i].first; s <= mv->ranges[i].last; s++)
            slots_set(slots, s, true);
}

/* ---- records: the mutex ---------------------------------------------------------------------- */

/* A free place, or that of the oldest that is over. */
static struct move *place(struct moves *m)
{
    struct move *oldest = NULL;
    for (unsigned i = 0; i < MOVES_RECORDS; i++) {
        struct move *mv = &m->records[i];
        if (mv->number == 0)
            return mv;
        if (move_is_over(mv->state) && (oldest == NULL || mv->number < oldest->number))
            oldest = mv;
    }
    return oldest;
}

struct move *moves_add(struct moves *m, const struct move *mv)
{
    struct move *at = place(m);
    if (at == NULL)
        return NULL;
    *at = *mv;
    at->number = ++m->last_number;
    at->created_s = at->updated_s = at->acked_s = os_wall_ms() / 1000;
    if (at->name[0] == '\0')
        os_random_hex(at->name, MOVES_NAME);
    pthread_cond_signal(&m->more);
    return at;
}

static struct move *find(struct moves *m, uint64_t number)
{
    for (unsigned i = 0; i < MOVES_RECORDS; i++)
        if (m->records[i].number == number)
            return &m->records[i];
    return NULL;
}

void moves_note(struct moves *m, uint64_t number, enum move_state state, const char *text)
{
    pthread_mutex_lock(&m->mutex);
    struct move *mv = find(m, number);
    if (mv != NULL) {
        mv->state = state;
        mv->updated_s = mv->acked_s = os_wall_ms() / 1000;
        if (text != NULL)
            snprintf(mv->text, sizeof mv->text, "%s", text);
    }
    pthread_mutex_unlock(&m->mutex);
}

void moves_note_left(struct moves *m, uint64_t number, uint64_t left)
{
    pthread_mutex_lock(&m->mutex);
    struct move *mv = find(m, number);
    if (mv != NULL) {
        mv->left = left;
        mv->acked_s = os_wall_ms() / 1000;
    }
    pthread_mutex_unlock(&m->mutex);
}

static bool has_slot(const struct move *mv, uint32_t slot)
{
    for (uint32_t i = 0; i < mv->nranges; i++)
        if (mv->ranges[i].first <= slot && slot <= mv->ranges[i].last)
            return true;
    return false;
}

bool moves_slot(struct moves *m, uint32_t slot, bool *arrives)
{
    bool found = false;
    pthread_mutex_lock(&m->mutex);
    for (unsigned i = 0; i < MOVES_RECORDS && !found; i++) {
        const struct move *mv = &m->records[i];
        found = mv->number != 0 && !move_is_over(mv->state) && has_slot(mv, slot);
        *arrives = found && mv->arrives;
    }
    pthread_mutex_unlock(&m->mutex);
    return found;
}

static void put_id(struct buf *out, const char *id)
{
    for (size_t at = 0; at < out->n; at += VIEW_ID)
        if (memcmp(out->p + at, id, VIEW_ID) == 0)
            return;
    (void)buf_append(out, id, VIEW_ID);
}

void moves_targets(struct moves *m, const struct cluster_view *v, struct buf *out)
{
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++)
        if (v->to[slot] != VIEW_NOBODY)
            put_id(out, v->nodes[v->to[slot]].id);
    pthread_mutex_lock(&m->mutex);
    for (unsigned k = 0; k < MOVES_RECORDS; k++) {
        const struct move *mv = &m->records[k];
        if (mv->number != 0 && !mv->arrives && !move_is_over(mv->state))
            put_id(out, mv->target);
    }
    pthread_mutex_unlock(&m->mutex);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static struct move *first_waiting(struct moves *m)
{
    struct move *first = NULL;
    for (unsigned i = 0; i < MOVES_RECORDS; i++) {
        struct move *mv = &m->records[i];
        if (mv->number != 0 && mv->state == MOVE_WAITS && (first == NULL || mv->number < first->number))
            first = mv;
    }
    return first;
}

static void *mover_main(void *arg)
{
    struct moves *m = arg;
    pthread_setname_np(pthread_self(), "mover");
    crash_thread_begin();
    pthread_mutex_lock(&m->mutex);
    while (!atomic_load(&m->stop)) {
        struct move *mv = first_waiting(m);
        if (mv == NULL) {
            pthread_cond_wait(&m->more, &m->mutex);
            continue;
        }
        mv->state = MOVE_CONNECTS;
        struct move copy = *mv;
        atomic_store(&m->ends, false);
        pthread_mutex_unlock(&m->mutex);
        moves_send(m, &copy);
        pthread_mutex_lock(&m->mutex);
    }
    pthread_mutex_unlock(&m->mutex);
    crash_thread_end();
    return NULL;
}

int moves_init(struct moves *m, struct server *s)
{
    m->server = s;
    pthread_mutex_init(&m->mutex, NULL);
    pthread_cond_init(&m->more, NULL);
    if (!s->config.cluster_enabled)
        return 0;
    m->records = mem_zalloc(MOVES_RECORDS * sizeof *m->records);
    return m->records != NULL ? 0 : ERR_OOM;
}

int moves_start(struct moves *m)
{
    if (m->records == NULL)
        return 0;
    return os_thread_start(&m->thread, &m->running, mover_main, m);
}

void moves_end(struct moves *m)
{
    if (!m->running)
        return;
    pthread_mutex_lock(&m->mutex);
    atomic_store(&m->stop, true);
    atomic_store(&m->ends, true);
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->mutex);
    pthread_join(m->thread, NULL);
    m->running = false;
}

void moves_release(struct moves *m)
{
    if (m->server == NULL)
        return;
    mem_free(m->records);
    pthread_mutex_destroy(&m->mutex);
    pthread_cond_destroy(&m->more);
}
