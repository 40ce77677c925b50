/* Which data set this node has, and in which epoch: kept with the data, said to replicas, held against
 * copies. */
#include "server/repl.h"

#include "os/random.h"

static void draw_id(char id[LINEAGE_ID + 1])
{
    os_random_hex(id, LINEAGE_ID);
}

void repl_lineage_init(struct repl *r)
{
    char id[LINEAGE_ID + 1];
    draw_id(id);
    lineage_begin(&r->lineage, id);
}

void repl_lineage_set(struct repl *r, const struct lineage *l)
{
    pthread_mutex_lock(&r->mutex);
    r->lineage = *l;
    pthread_mutex_unlock(&r->mutex);
}

void repl_lineage_get(struct repl *r, struct lineage *out)
{
    pthread_mutex_lock(&r->mutex);
    *out = r->lineage;
    pthread_mutex_unlock(&r->mutex);
}

/* What was lost here may live on elsewhere, in an epoch that this one has to be behind. */
void repl_lineage_rise(struct repl *r)
{
    char id[LINEAGE_ID + 1], note[LINEAGE_NOTE];
    struct lineage l = r->lineage;
    draw_id(id);
    if (lineage_is_older(&l, &r->lost.lineage))
        l.epoch = r->lost.lineage.epoch;
    lineage_rise(&l, id);
    repl_lineage_set(r, &l);
    atomic_store(&r->record_now, true);
    if (!changelog_is_on(&r->log))
        return;
    const struct str say[] = {STR("PING"), {note, lineage_put_note(&l, note)}};
    unit_add(&r->unit, 0, say, ARRAY_LEN(say));
}

bool repl_lineage_take_note(struct repl *r, struct str note)
{
    struct lineage l;
    if (!lineage_take_note(note, &l))
        return false;
    repl_lineage_set(r, &l);
    atomic_store(&r->record_now, true);
    return true;
}
