/* Slots that move at one moment, between larder nodes:
 *
 *      source: CLUSTER MIGRATESLOTS, then GETSLOTMIGRATIONS until it is over
 *
 * The nodes do the work; a run that is cut leaves them to it, and the next one waits for that first. Whatever
 * is in the way (a node that is not larder or does not log in to the other, a replica that has failed) is no
 * reason to stop: those slots move the other way.
 *
 * But never while the nodes may still be at it, who refuse that: not before both say that nothing moves
 * between them. A node that does not say is asked again, then the run stops. */
#include "base/err.h"
#include "base/num.h"
#include "os/clock.h"
#include "tool/cluster/work.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    RANGES_TEXT = WORK_PIECE * sizeof "16383-16383 ",
    LOOK_MS = 20,
    ASKS = 5, /* of a node that does not answer ... */
    ASK_AGAIN_MS = 1000,
};

/* ---- what a node says of its moves ----------------------------------------------------------- */

/* A field of one of GETSLOTMIGRATIONS' maps, or "". */
static struct str field(const struct reader_value *move, const char *name)
{
    for (uint64_t i = 0; i + 1 < move->n; i += 2)
        if (str_eq_nocase(move->children[i].text, str_of(name)))
            return move->children[i + 1].text;
    return STR("");
}

static bool is_over(const struct reader_value *move)
{
    struct str state = field(move, "state");
    return str_is(state, "success") || str_is(state, "failed") || str_is(state, "cancelled");
}

/* False after saying that it does not answer. The answer is good until the node's next one. */
static bool ask_moves(struct work *w, uint32_t node, struct reader_value *moves)
{
    const struct map_node *n = &w->map.nodes[node];
    for (unsigned i = 0; i < ASKS; i++) {
        struct link *l = work_link(w, node);
        if (l != NULL && link_say(l, moves, "CLUSTER GETSLOTMIGRATIONS") == 0)
            return true;
        work_unlink(w, node);
        usleep(ASK_AGAIN_MS * 1000);
    }
    work_fail("%s:%d does not say which slots it moves. Nothing more is done, because they may be under way. "
              "'CLUSTER GETSLOTMIGRATIONS' there shows them.",
              n->host, n->port);
    return false;
}

/* *moving: is a move in this direction ("EXPORT", "IMPORT") under way there? `source` NULL: any; else those
 * from that node. False as above. */
static bool ask_moving(struct work *w, uint32_t node, const char *operation, const char *source, bool *moving)
{
    struct reader_value moves;
    if (!ask_moves(w, node, &moves))
        return false;
    *moving = false;
    for (uint64_t i = 0; i < moves.n && !*moving; i++) {
        const struct reader_value *m = &moves.children[i];
        *moving = str_eq_nocase(field(m, "operation"), str_of(operation)) && !is_over(m) &&
                  (source == NULL || str_eq_nocase(field(m, "source_node"), str_of(source)));
    }
    return true;
}

static bool is_larder(struct work *w, uint32_t node)
{
    struct reader_value info;
    struct link *l = work_link(w, node);
    return l != NULL && link_say(l, &info, "INFO server") == 0 &&
           work_field(info.text, "larder_version").n > 0;
}

/* ---- a piece --------------------------------------------------------------------------------- */

uint32_t work_piece(const struct plan *p, uint32_t at)
{
    const struct plan_move *all = p->moves, *first = &all[at];
    uint32_t n = 1;
    while (n < WORK_PIECE && at + n < p->n && all[at + n].from == first->from && all[at + n].to == first->to)
        n++;
    return n;
}

/* Slots that follow each other. */
struct run {
    uint16_t first, last;
};

static uint32_t runs_of(const struct plan_move *mv, uint32_t n, struct run runs[WORK_PIECE])
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (k == 0 || runs[k - 1].last + 1 != mv[i].slot)
            runs[k++].first = mv[i].slot;
        runs[k - 1].last = mv[i].slot;
    }
    return k;
}

static int begin(struct work *w, const struct plan_move *mv, const struct run *runs, uint32_t n)
{
    char numbers[2 * WORK_PIECE][NUM_I64_TEXT_MAX];
    struct str argv[8 + 2 * WORK_PIECE] = {STR("CLUSTER"), STR("MIGRATESLOTS"), STR("SLOTSRANGE")};
    uint32_t argc = 3;
    struct reader_value reply;
    for (uint32_t i = 0; i < 2 * n; i++)
        argv[argc++] = (struct str){
            numbers[i], num_put_u64(numbers[i], i % 2 == 0 ? runs[i / 2].first : runs[i / 2].last)};
    argv[argc++] = STR("NODE");
    argv[argc++] = str_of(w->map.nodes[mv->to].id);
    return link_call(work_link(w, mv->from), &reply, argv, argc);
}

/* As the source shows them. */
static void ranges_text(const struct run *runs, uint32_t n, char text[RANGES_TEXT])
{
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, RANGES_TEXT - at, "%s%u-%u", i == 0 ? "" : " ", runs[i].first,
                               runs[i].last);
}

/* The newest is listed first. NULL: there is none. */
static const struct reader_value *find(const struct reader_value *moves, const char *target,
                                       const char *ranges)
{
    for (uint64_t i = 0; i < moves->n; i++) {
        const struct reader_value *m = &moves->children[i];
        if (str_is(field(m, "operation"), "EXPORT") &&
            str_eq_nocase(field(m, "target_node"), str_of(target)) &&
            str_eq_nocase(field(m, "slot_ranges"), str_of(ranges)))
            return m;
    }
    return NULL;
}

/* Who has all of them in the eyes of that node, by number in w->map; MAP_NOBODY: nobody, or it is not known.
 */
static uint32_t owner_of_all(struct work *w, uint32_t node, const struct plan_move *mv, uint32_t n)
{
    struct link *l = work_link(w, node);
    if (l == NULL || map_read(&w->other, l) != 0)
        return MAP_NOBODY;
    uint16_t owner = w->other.owner[mv->slot];
    for (uint32_t i = 1; i < n; i++)
        if (w->other.owner[mv[i].slot] != owner)
            return MAP_NOBODY;
    return owner == MAP_NOBODY ? MAP_NOBODY : map_find(&w->map, w->other.nodes[owner].id);
}

/* It has failed, or it is not known what has become of it: when nothing moves there any more, the owner says.
 */
static enum whole end_of(struct work *w, const struct plan_move *mv, uint32_t n, const char *why,
                         const sigset_t *interrupts)
{
    const char *from = w->map.nodes[mv->from].id;
    for (;;) {
        bool leaves, arrives;
        if (!ask_moving(w, mv->from, "EXPORT", NULL, &leaves) ||
            !ask_moving(w, mv->to, "IMPORT", from, &arrives))
            return WHOLE_UNKNOWN;
        if (!leaves && !arrives)
            break;
        if (work_interrupted(interrupts))
            return WHOLE_CANCELLED;
        usleep(LOOK_MS * 1000);
    }
    uint32_t owner = owner_of_all(w, mv->from, mv, n);
    if (owner == mv->to)
        return WHOLE_DONE;
    if (owner != mv->from) {
        work_fail("slots %u to %u are not where they were: %s.", mv->slot, mv[n - 1].slot, why);
        return WHOLE_UNKNOWN;
    }
    fprintf(stderr, "larder cluster: slots %u to %u do not move whole (%s); they move one by one.\n",
            mv->slot, mv[n - 1].slot, why);
    return WHOLE_NOT;
}

enum whole work_move_whole(struct work *w, const struct plan_move *mv, uint32_t n, const sigset_t *interrupts)
{
    struct run runs[WORK_PIECE];
    char ranges[RANGES_TEXT], why[LINK_ERR_MAX];
    uint32_t nruns = runs_of(mv, n, runs);
    struct reader_value moves, reply;
    const struct reader_value *m;
    bool cancelled = false;
    if (!is_larder(w, mv->from) || !is_larder(w, mv->to))
        return WHOLE_NOT;
    if (begin(w, mv, runs, nruns) != 0) {
        snprintf(why, sizeof why, "%s", work_link(w, mv->from)->error);
        return end_of(w, mv, n, why, interrupts);
    }
    ranges_text(runs, nruns, ranges);
    do {
        usleep(LOOK_MS * 1000);
        struct link *l = work_link(w, mv->from);
        if (l != NULL && !cancelled && work_interrupted(interrupts)) {
            cancelled = true;
            (void)link_say(l, &reply, "CLUSTER CANCELSLOTMIGRATIONS"); /* refused: it is over */
        }
        if (!ask_moves(w, mv->from, &moves))
            return WHOLE_UNKNOWN;
        m = find(&moves, w->map.nodes[mv->to].id, ranges);
    } while (m != NULL && !is_over(m));
    if (m != NULL && str_is(field(m, "state"), "success"))
        return cancelled ? WHOLE_LAST : WHOLE_DONE;
    if (cancelled)
        return WHOLE_CANCELLED;
    struct str said = m != NULL ? field(m, "message") : STR("the node has forgotten it");
    snprintf(why, sizeof why, "%.*s", said.n < sizeof why ? (int)said.n : (int)sizeof why, said.p);
    return end_of(w, mv, n, why, interrupts);
}

/* ---- before anything is planned -------------------------------------------------------------- */

bool work_await_moves(struct work *w)
{
    for (uint32_t i = 0; i < w->map.n; i++) {
        const struct map_node *n = &w->map.nodes[i];
        bool said = false, moving = true;
        if (n->replica || n->failed || n->unknown || n->slots == 0 || !is_larder(w, i))
            continue;
        for (;;) {
            if (!ask_moving(w, i, "EXPORT", NULL, &moving))
                return false;
            if (!moving)
                break;
            if (!said)
                printf("%s:%d is still moving slots by itself: that is waited for. (CLUSTER "
                       "CANCELSLOTMIGRATIONS "
                       "there ends it.)\n",
                       n->host, n->port);
            said = true;
            usleep(WORK_LOOK_MS * 1000);
        }
    }
    return true;
}
