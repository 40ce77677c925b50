#include "repl/lineage.h"

#include "base/num.h"
#include "repl/history.h"

#include <string.h>

#define NOTE_MAGIC STR("larder.dataset.1:")
_Static_assert((int)LINEAGE_ID == (int)HISTORY_ID, "named as histories are");
_Static_assert(sizeof("larder.dataset.1:") - 1 <= LINEAGE_NOTE - LINEAGE_TEXT,
               "a note has room for its magic");

void lineage_begin(struct lineage *l, const char *dataset)
{
    memcpy(l->dataset, dataset, LINEAGE_ID);
    l->dataset[LINEAGE_ID] = '\0';
    l->epoch = 1;
}

void lineage_forget(struct lineage *l)
{
    *l = (struct lineage){.epoch = 0};
}

void lineage_rise(struct lineage *l, const char *dataset)
{
    if (l->epoch == 0)
        lineage_begin(l, dataset);
    else if (l->epoch < UINT64_MAX)
        l->epoch++;
}

bool lineage_is_older(const struct lineage *of, const struct lineage *than)
{
    return of->epoch != 0 && of->epoch < than->epoch && strcmp(of->dataset, than->dataset) == 0;
}

uint32_t lineage_put(const struct lineage *l, char out[LINEAGE_TEXT])
{
    if (l->epoch == 0)
        return 0;
    memcpy(out, l->dataset, LINEAGE_ID);
    out[LINEAGE_ID] = ' ';
    return LINEAGE_ID + 1 + (uint32_t)num_put_u64(out + LINEAGE_ID + 1, l->epoch);
}

bool lineage_parse(struct str text, struct lineage *out)
{
    uint64_t epoch;
    lineage_forget(out);
    if (text.n < LINEAGE_ID + 2 || text.p[LINEAGE_ID] != ' ' ||
        !history_id_ok((struct str){text.p, LINEAGE_ID}) ||
        !num_parse_u64((struct str){text.p + LINEAGE_ID + 1, text.n - LINEAGE_ID - 1}, &epoch) || epoch == 0)
        return false;
    lineage_begin(out, text.p);
    out->epoch = epoch;
    return true;
}

uint32_t lineage_put_note(const struct lineage *l, char out[LINEAGE_NOTE])
{
    memcpy(out, NOTE_MAGIC.p, NOTE_MAGIC.n);
    return (uint32_t)NOTE_MAGIC.n + lineage_put(l, out + NOTE_MAGIC.n);
}

bool lineage_take_note(struct str note, struct lineage *out)
{
    if (!str_begins(note, NOTE_MAGIC))
        return false;
    note.p += NOTE_MAGIC.n;
    note.n -= NOTE_MAGIC.n;
    return lineage_parse(note, out);
}
