/* Which data set a node has, and in which epoch: whether one copy of it may take another's place.
 *
 *      dataset   drawn when a data set begins; goes along with every copy, in files and over links
 *      epoch     1, and one more with each promotion
 *
 * Ids of histories (repl/history.h) change with every promotion and whenever the log goes off, and a history
 * knows only the one before it. So a primary that comes back from an old backup shares no id with replicas
 * that have seen promotions since. Its epoch tells: of one data set, the copy of a higher epoch is not
 * replaced by one of a lower, unless an operator says so. Within one epoch the offset decides, as ever.
 *
 * As text: "<40 hex digits> <epoch>". In snapshots and full copies it is the field "larder-dataset", which
 * Redis skips. In the stream a promoted primary says it first, in a PING that Redis ignores, so that it has
 * its place among the writes and reaches every replica in the chain. */
#ifndef LARDER_REPL_LINEAGE_H
#define LARDER_REPL_LINEAGE_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { LINEAGE_ID = 40, LINEAGE_TEXT = LINEAGE_ID + 22, LINEAGE_NOTE = LINEAGE_TEXT + 20 };

struct lineage {
    char dataset[LINEAGE_ID + 1]; /* "": not known, as of data from a Redis primary */
    uint64_t epoch;               /* 0 then */
};

void lineage_begin(struct lineage *l, const char *dataset); /* epoch 1 */
void lineage_forget(struct lineage *l);                     /* not known */
/* A promotion; `dataset` is what it is called if it has no name yet. */
void lineage_rise(struct lineage *l, const char *dataset);
/* Is `of` the same data set in an earlier epoch than `than`? False if either is not known. */
bool lineage_is_older(const struct lineage *of, const struct lineage *than);

uint32_t lineage_put(const struct lineage *l, char out[LINEAGE_TEXT]); /* its length; 0: not known */
bool lineage_parse(struct str text, struct lineage *out); /* out: not known if it cannot be read */

/* The argument of the PING. */
uint32_t lineage_put_note(const struct lineage *l, char out[LINEAGE_NOTE]);
bool lineage_take_note(struct str note, struct lineage *out); /* false: it is none, or cannot be read */

#endif
