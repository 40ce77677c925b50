/* Whose word counts: a promise or a vote is worth something only among those who see the same holders of all
 * shards (decision 025). Voters come and go by elections, so two majorities of different voters need not
 * meet. Three rules make them:
 *
 *   same view   a promise and a vote carry a digest of (voter, config epoch) of all voters; they count only
 *               where the digest is the same. Those who differ tell each other what they know (UPDATE). Who
 *               takes slots says what the others see: they are its own.
 *   disputes    who has voted for c in the place of h disputes h until it knows the end: h has an epoch that
 *               is no smaller, its own or by c's election (ownership_depose()), or c says that it was not
 *               elected. Open votes travel with promises and votes: nobody counts h beside somebody who
 *               disputes it, and who is elected disputes what its voters did. Whoever knows the end of a vote
 *               that is open for another tells it.
 *   renewal     a living h whose dispute does not end, since c is gone, is elected anew in its own place
 *               (election.c).
 *
 * A holder that votes for its own replacement disputes itself: it promises nothing and counts nowhere, but
 * that vote does. With one or two voters every majority is all of them, and disputes exclude nobody. */
#include "cluster/machine_internal.h"

#include "base/hash.h"

enum { ENTRY = 2 * NODE_ID + 8, TELLS = 4, ALL_MEET = 2 };

/* ---- our own votes ------------------------------------------------------------------------------------- */

static bool is_open(const struct machine *m, const struct node_dispute *d)
{
    const struct node *about = slotmap_find(&m->map, &d->about), *by = slotmap_find(&m->map, &d->by);
    if (about == NULL || about->config_epoch >= d->epoch)
        return false;
    if (by != NULL && by->config_epoch >= d->epoch &&
        (!node_is(about, NODE_PRIMARY) || failure_is_mixed(m) || MUTANT(KEEP_REPLACED)))
        return false; /* elected, it seems, and `about` says that it follows; or nobody will say more */
    /* Another was elected in its place since. */
    return node_votes(about) || about->primary == NULL || about->primary->config_epoch <= d->epoch;
}

static void drop(struct machine *m, unsigned i)
{
    m->votes[i] = m->votes[--m->nvotes];
    machine_dirty(m);
}

static void drop_closed(struct machine *m)
{
    for (unsigned i = m->nvotes; i-- > 0;)
        if (!is_open(m, &m->votes[i]))
            drop(m, i);
}

static void note(struct machine *m, const struct node_dispute *d)
{
    unsigned i = 0;
    drop_closed(m);
    while (i < m->nvotes &&
           !(node_id_eq(&m->votes[i].about, &d->about) && node_id_eq(&m->votes[i].by, &d->by)))
        i++;
    if (i == NODE_DISPUTES_MAX)
        return; /* electorate_is_barred() from now on */
    if (i == m->nvotes)
        m->votes[m->nvotes++] = *d;
    else if (m->votes[i].epoch < d->epoch)
        m->votes[i].epoch = d->epoch;
    machine_dirty(m);
}

void electorate_vote(struct machine *m, const struct node *about, const struct node *by, uint64_t epoch)
{
    note(m, &(struct node_dispute){.about = about->id, .by = by->id, .epoch = epoch});
}

bool electorate_disputes(const struct machine *m, const struct node *n)
{
    for (unsigned i = 0; i < m->nvotes; i++)
        if (node_id_eq(&m->votes[i].about, &n->id) && is_open(m, &m->votes[i]))
            return true;
    return false;
}

void electorate_move(struct machine *m, const struct node *from, const struct node *to, uint64_t epoch)
{
    drop_closed(m); /* note() moves none of them from now on */
    for (unsigned i = 0, n = m->nvotes; i < n; i++) {
        struct node_dispute d = m->votes[i]; /* `by` may be unknown by now: forgotten */
        if (!node_id_eq(&d.about, &from->id) || d.epoch <= epoch || node_id_eq(&d.by, &to->id))
            continue;
        d.about = to->id;
        note(m, &d);
    }
}

static uint64_t own_epoch(const struct frame *f)
{
    struct str said;
    if (node_id_none(&f->h.primary))
        return f->h.config_epoch;
    return frame_ext_find(f, EXT_OWN_EPOCH, 8, &said) ? frame_get_u64(said.p) : UINT64_MAX; /* not said */
}

/* It follows whom it would have replaced, still. Where it follows another it may have been elected, and have
 * lost the place again: then its own epoch says so, which never falls. */
static bool was_not_elected(const struct frame *f, const struct node_dispute *d)
{
    return node_id_eq(&f->h.primary, &d->about) || own_epoch(f) < d->epoch;
}

/* A Redis does not say it: it counts what comes in so long. */
static bool asks(const struct machine *m, const struct node *n, const struct frame *f)
{
    return f->h.larder.is ? f->h.larder.asks : m->now_ms - n->asked_ms <= election_collect_ms(m);
}

/* It asks no more in that epoch: not at all, or in a later one. */
static bool asks_no_more(const struct machine *m, const struct node *n, const struct frame *f, uint64_t epoch)
{
    return asks(m, n, f) ? f->h.type == FRAME_AUTH_REQUEST && f->h.current_epoch > epoch
                         : f->h.current_epoch >= epoch;
}

void electorate_heard(struct machine *m, const struct node *n, const struct frame *f)
{
    for (unsigned i = m->nvotes; i-- > 0;)
        if (node_id_eq(&m->votes[i].by, &n->id) && asks_no_more(m, n, f, m->votes[i].epoch) &&
            was_not_elected(f, &m->votes[i]))
            drop(m, i);
}

/* Votes about others by n are copies, from electorate_move(): n has not replaced these. */
void electorate_elected(struct machine *m, const struct node *n, struct node *was)
{
    bool voted = false;
    for (unsigned i = m->nvotes; i-- > 0;) {
        const struct node_dispute *d = &m->votes[i];
        if (!node_id_eq(&d->by, &n->id) || d->epoch != n->config_epoch || MUTANT(KEEP_REPLACED))
            continue;
        if (node_id_eq(&d->about, &was->id))
            voted = true;
        else
            drop(m, i);
    }
    if (voted)
        ownership_depose(m, was, n->config_epoch);
}

/* No place for another vote: what is closed goes with the next. */
static bool is_full(const struct machine *m)
{
    unsigned open = 0;
    for (unsigned i = 0; i < m->nvotes; i++)
        open += is_open(m, &m->votes[i]);
    return open == NODE_DISPUTES_MAX;
}

bool electorate_is_barred(const struct machine *m)
{
    return is_full(m) ||
           (slotmap_voters(&m->map) > ALL_MEET && electorate_disputes(m, m->self) && !MUTANT(VOTE_ON));
}

/* ---- what is said -------------------------------------------------------------------------------------- */

static uint64_t digest(const struct machine *m)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (!taking_votes(m, n))
            continue;
        sum += hash_mix64(n->id_hash ^ n->config_epoch);
    }
    return sum;
}

void electorate_put(const struct machine *m, struct frame_writer *w)
{
    char p[8 + NODE_DISPUTES_MAX * ENTRY], *at = p + 8;
    frame_put_u64(p, digest(m));
    for (unsigned i = 0; i < m->nvotes; i++) {
        if (!is_open(m, &m->votes[i]))
            continue;
        memcpy(at, m->votes[i].about.c, NODE_ID);
        memcpy(at + NODE_ID, m->votes[i].by.c, NODE_ID);
        frame_put_u64(at + 2 * (size_t)NODE_ID, m->votes[i].epoch);
        at += ENTRY;
    }
    frame_put_ext(w, EXT_ELECTORATE, (struct str){p, (size_t)(at - p)});
}

static void tell_epoch(struct machine *m, const struct node *to, uint64_t epoch, bool voters)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n != to && n->config_epoch == epoch && node_votes(n) == voters)
            bus_update(m, n, to->out);
    }
}

/* The newest claims first, some with each frame, until it sees what we see. With each goes who has none since
 * that epoch: it may be a voter there still. */
static void tell(struct machine *m, struct node *to)
{
    for (unsigned k = 0; k < TELLS && to->out_up && !MUTANT(NO_UPDATE); k++) {
        uint64_t next = 0;
        for (unsigned i = 0; i < m->map.n; i++) {
            const struct node *n = m->map.nodes[i];
            if (n != to && n->config_epoch > next &&
                (to->told_epoch == 0 || n->config_epoch < to->told_epoch))
                next = n->config_epoch;
        }
        to->told_epoch = next;
        if (next == 0)
            return;
        tell_epoch(m, to, next, true);
        tell_epoch(m, to, next, false);
    }
}

static bool find(const struct frame *f, struct str *out)
{
    return frame_ext_find(f, EXT_ELECTORATE, 8, out) && (out->n - 8) % ENTRY == 0 &&
           (out->n - 8) / ENTRY <= NODE_DISPUTES_MAX;
}

static unsigned entries(struct str said)
{
    return (unsigned)((said.n - 8) / ENTRY);
}

static struct node_dispute entry(struct str said, unsigned i)
{
    const char *p = said.p + 8 + (size_t)i * ENTRY;
    struct node_dispute d = {.epoch = frame_get_u64(p + 2 * (size_t)NODE_ID)};
    memcpy(d.about.c, p, NODE_ID);
    memcpy(d.by.c, p + NODE_ID, NODE_ID);
    return d;
}

/* How a vote ended that is open for it. */
static void tell_ends(struct machine *m, const struct node *to, struct str said)
{
    for (unsigned i = 0; i < entries(said) && to->out_up; i++) {
        struct node_dispute d = entry(said, i);
        const struct node *about = slotmap_find(&m->map, &d.about);
        if (about != NULL && about->config_epoch >= d.epoch)
            bus_update(m, about, to->out);
    }
}

bool electorate_read(struct machine *m, struct node *sender, const struct frame *f)
{
    struct str said;
    if (!find(f, &said))
        return false;
    tell_ends(m, sender, said);
    if (frame_get_u64(said.p) != digest(m) && !MUTANT(ANY_VIEW)) {
        tell(m, sender); /* what it disputed when it promised holds as long as that promise */
        return false;
    }
    unsigned had = sender->ndisputes;
    sender->ndisputes = entries(said);
    if (had + sender->ndisputes > 0)
        machine_view(m); /* who counts for our lease may be others */
    for (unsigned i = 0; i < sender->ndisputes; i++)
        sender->disputes[i] = entry(said, i);
    sender->told_epoch = 0;
    return true;
}

/* ---- what counts --------------------------------------------------------------------------------------- */

static void leave_out(struct electorate *e, const struct machine *m, const struct node_dispute *d,
                      uint64_t epoch)
{
    /* By this very election: the vote of whom it replaces counts. */
    if (d->epoch == epoch || !is_open(m, d))
        return;
    e->full |= e->n == ELECTORATE_OUT_MAX;
    if (!e->full)
        e->out[e->n++] = slotmap_find(&m->map, &d->about);
}

void electorate_hear(struct electorate *e, const struct machine *m, electorate_says *says, uint64_t at,
                     uint64_t epoch)
{
    *e = (struct electorate){.n = 0};
    if (slotmap_voters(&m->map) <= ALL_MEET || MUTANT(NO_DISPUTE))
        return;
    for (unsigned i = 0; i < m->nvotes; i++)
        leave_out(e, m, &m->votes[i], epoch);
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        for (unsigned k = 0; k < n->ndisputes && node_votes(n) && says(m, n, at); k++)
            leave_out(e, m, &n->disputes[k], epoch);
    }
}

bool electorate_counts(const struct electorate *e, const struct node *n)
{
    for (unsigned i = 0; i < e->n; i++)
        if (e->out[i] == n)
            return false;
    return !e->full;
}

struct tally electorate_tally(const struct machine *m, electorate_says *says, uint64_t at, uint64_t epoch)
{
    struct electorate e;
    struct tally t = {.counted = 0};
    electorate_hear(&e, m, says, at, epoch);
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (!node_votes(n) || !says(m, n, at))
            continue;
        bool counts = electorate_counts(&e, n);
        t.said++;
        t.counted += counts;
        if (!counts && (t.first_out == NULL || node_id_cmp(&n->id, &t.first_out->id) < 0))
            t.first_out = n;
    }
    return t;
}

/* It is ours from now on. */
static void adopt(struct machine *m, const struct node_dispute *d)
{
    if (!node_id_eq(&d->by, &m->self->id) && is_open(m, d) && !MUTANT(NO_ADOPTION))
        note(m, d);
}

void electorate_inherit(struct machine *m, const struct frame *f)
{
    struct str said;
    for (unsigned i = 0; find(f, &said) && i < entries(said); i++) {
        struct node_dispute d = entry(said, i);
        adopt(m, &d);
        machine_view(m);
    }
}

void electorate_adopt(struct machine *m, electorate_says *says, uint64_t at)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        for (unsigned k = 0; k < n->ndisputes && node_votes(n) && says(m, n, at); k++)
            adopt(m, &n->disputes[k]);
    }
}
