/* Purges that other nodes have asked for: which are known, and those that this node carries on when whoever
 * was asked does not say that all have them. Bounded: what finds no place is remembered and not carried on.
 */
#include "base/alloc.h"
#include "server/purge.h"
#include "server/repl.h"
#include "server/server.h"

#include <string.h>

/* ---- ids ---- */

static struct purge_seen *find_seen(struct purges *ps, const char *id)
{
    for (uint32_t i = 0; ps->seen != NULL && i < PURGE_SEEN; i++)
        if (strcmp(ps->seen[i].id, id) == 0)
            return &ps->seen[i];
    return NULL;
}

static struct purge **find_in(struct purge **at, const char *id)
{
    while (*at != NULL && strcmp((*at)->id, id) != 0)
        at = &(*at)->next;
    return at;
}

void purge_recall(struct purges *ps, struct purge *p)
{
    const struct purge *own = *find_in(&ps->first, p->id);
    if (own != NULL && own->applied)
        purge_remember(ps, own);
    const struct purge_seen *s = find_seen(ps, p->id);
    if (s == NULL)
        return;
    p->applied = true;
    p->turn = s->turn;
    p->offset = s->offset;
    p->replicas = s->replicas;
    p->number = s->number;
    p->arrivals = s->arrivals;
    p->departed = s->departed;
    p->confirmed = s->confirmed;
}

/* Without memory, or once it is forgotten, it purges again when it is asked again: too much, never too
 * little. */
void purge_remember(struct purges *ps, const struct purge *p)
{
    if (ps->seen == NULL)
        ps->seen = mem_zalloc(PURGE_SEEN * sizeof *ps->seen);
    if (ps->seen == NULL || !p->applied)
        return;
    struct purge_seen *s = find_seen(ps, p->id);
    if (s == NULL)
        s = &ps->seen[ps->next_seen++ % PURGE_SEEN];
    *s = (struct purge_seen){.turn = p->turn,
                             .offset = p->offset,
                             .replicas = p->replicas,
                             .number = p->number,
                             .arrivals = p->arrivals,
                             .departed = p->departed,
                             .confirmed = p->confirmed};
    memcpy(s->id, p->id, sizeof s->id);
}

/* ---- those that may have to be carried on ---- */

static struct purge *take(struct purges *ps, struct purge **at)
{
    struct purge *p = *at;
    *at = p->next;
    ps->nknown--;
    ps->known_bytes -= p->command.n;
    return p;
}

void purge_keep(struct purges *ps, struct purge *p)
{
    int64_t adopt_ms = ps->repl->now_ms + PURGE_ADOPT_MS;
    struct purge *same = *find_in(&ps->known, p->id);
    bool is_open = *find_in(&ps->first, p->id) != NULL;
    if (same != NULL)
        same->until_ms = adopt_ms; /* whoever asks is there still */
    if (same != NULL || is_open || !p->applied || p->dryrun || server_view(ps->repl->server) == NULL ||
        ps->nknown >= PURGE_OPEN_MAX || ps->known_bytes + p->command.n > PURGE_OPEN_BYTES) {
        purge_free(p);
        return;
    }
    p->until_ms = adopt_ms;
    p->next = ps->known;
    ps->known = p;
    ps->nknown++;
    ps->known_bytes += p->command.n;
}

void purge_forget(struct purges *ps, const char *id)
{
    struct purge **at = find_in(&ps->known, id);
    if (*at != NULL)
        purge_free(take(ps, at));
    at = find_in(&ps->first, id);
    struct purge *p = *at;
    if (p == NULL || !p->adopted)
        return;
    *at = p->next;
    purge_give_room(ps, p);
    purge_free(p);
}

int64_t purges_adopt_due(const struct purges *ps)
{
    int64_t due = INT64_MAX;
    for (const struct purge *p = ps->known; p != NULL; p = p->next)
        due = p->until_ms < due ? p->until_ms : due;
    return due;
}

/* From now on it is as if a client had asked this node for it, under the same id; nobody waits for an answer.
 */
static void adopt(struct purges *ps, struct purge *p)
{
    p->spread = p->adopted = true;
    p->confirm = p->confirmed = false;
    purge_ask_anew(ps, p);
    p->next = ps->first;
    ps->first = p;
    ps->follow_ms = 0;
    atomic_fetch_add(&ps->nopen, 1);
    atomic_fetch_add(&ps->open_bytes, p->command.n);
}

void purges_adopt(struct purges *ps)
{
    struct repl *r = ps->repl;
    for (struct purge **at = &ps->known; *at != NULL;) {
        if ((*at)->until_ms > r->now_ms) {
            at = &(*at)->next;
            continue;
        }
        struct purge *p = take(ps, at);
        if (r->is_replica) /* its primary has it from the stream, or asks for it */
            purge_free(p);
        else
            adopt(ps, p);
    }
}

void purges_forget_all(struct purges *ps)
{
    while (ps->known != NULL)
        purge_free(take(ps, &ps->known));
    mem_free(ps->seen);
    ps->seen = NULL;
}
