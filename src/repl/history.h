/* Which history of writes this node's data belong to, and how far it has come.
 *
 *      id  ......................................................> offset
 *      id2 .............> second        the history that this one continues, up to there
 *
 * An id names a sequence of writes, an offset counts its bytes. Whoever asks to go on from a place in either
 * history can be served from the backlog; a promoted replica keeps its primary's id as id2, so its siblings
 * need no full copy. The node writes this down, so that after a restart it knows what it once had: when the
 * data that came back are less than that, it must not hand them to a replica that still has all of it. */
#ifndef LARDER_REPL_HISTORY_H
#define LARDER_REPL_HISTORY_H

#include "base/buf.h"
#include "repl/lineage.h"

#include <stdbool.h>
#include <stdint.h>

enum { HISTORY_ID = 40 };

struct history {
    char id[HISTORY_ID + 1];
    char id2[HISTORY_ID + 1]; /* zeros: none */
    int64_t second;           /* the first byte, counted from 1, that id2 does not have; -1: none */
};

/* id: HISTORY_ID hex digits. */
void history_init(struct history *h, const char *id);
bool history_id_ok(struct str id);

/* May somebody who has `id` and wants byte `from` (counted from 1, as PSYNC does) go on here? Whether the
 * bytes are still there is the backlog's business. */
bool history_covers(const struct history *h, struct str id, int64_t from);
/* Promotion: a history of our own begins behind `offset`. */
void history_branch(struct history *h, const char *id, uint64_t offset);
/* The primary goes on under another id from `offset`; the same id changes nothing. */
void history_follow(struct history *h, struct str id, uint64_t offset);

/* Where some data are: at `offset` of the history `id`, with database `db` selected in the stream. A snapshot
 * carries it, so that who loads it may go on from there. */
struct history_place {
    char id[HISTORY_ID + 1];
    uint64_t offset;
    uint32_t db;
};

/* What is written to disk: the newest state of the data this node has had. */
struct history_record {
    struct history history;
    struct lineage lineage;
    uint64_t offset, keys;
};
int history_format(struct buf *b, const struct history_record *r);
/* ERR_CORRUPT: not a record. */
int history_parse(struct str text, struct history_record *r);
/* Had the data that r tells of come further than p, or been others? p NULL: data of no known history. */
bool history_was_ahead(const struct history_record *r, const struct history_place *p);

#endif
