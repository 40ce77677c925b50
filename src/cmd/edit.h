/* Changing a collection that lies in the store: in place if nobody else has it, else in a
 * copy that takes its place.
 *
 *      struct edit ed;
 *      int err = edit_begin(c, e, false, &ed);         ed.o may be changed now, and may move
 *      ... err = set_add(&ed.o, ...) ...
 *      edit_end(c, &ed, 0, err == 0 && changed);
 */
#ifndef LARDER_CMD_EDIT_H
#define LARDER_CMD_EDIT_H

#include "cmd/cmd.h"

struct edit {
    struct entry *e;
    struct object *o;    /* private */
    struct object *from; /* what o is a copy of, NULL if it is the entry's own */
    struct object *own;  /* the entry's */
    size_t before;       /* bytes of it */
};

/* copy: work on a copy even if the collection is private, so that all changes can be taken back. Returns 0 or
 * ERR_OOM, then there is no edit to end. */
int edit_begin(struct cmd_ctx *c, struct entry *e, bool copy, struct edit *ed);

/* changed: the collection of key number k is what ed->o says, which may be empty: then the key is removed.
 * Else: it is what it was; a copy is thrown away, and what was done to the original leaves it with the
 * same contents. */
void edit_end(struct cmd_ctx *c, struct edit *ed, uint32_t k, bool changed);

/* Nanoseconds that edit_begin() may need for the collection at key k. */
uint64_t edit_cost(const struct cmd_ctx *c, uint32_t k);

#endif
