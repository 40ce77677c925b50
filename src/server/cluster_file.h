/* nodes.conf on the disk, and the journal beside it, in `dir`, which is the working directory.
 *
 *      nodes.conf           what Redis reads too: written beside it and renamed, so there is always a whole
 * one nodes.conf.journal   ┌─ a text of nodes.conf ─┐NUL...┌─ an older one ─┐NUL...    each
 * CLUSTER_JOURNAL_HALF
 *
 * A promise to others has to be on the disk before they hear of it, and somebody waits for that. To make a
 * renamed file last means that the file system commits its own journal, twice, behind whatever else is being
 * written; to overwrite bytes that a file has already, one flush of the disk. So a promise goes into the
 * journal, in turn into one half and the other, for a write that is cut off must not take the last whole text
 * with it; nodes.conf follows when there is time, without a flush.
 *
 * Each text is sealed: its last line ends with a number, which rises, and a sum over all before it. Redis
 * passes over both. At start the greater number counts, and a half whose sum is wrong is none. A nodes.conf
 * whose sum is wrong has been edited, or was written by Redis: it counts, whatever the journal says, and so
 * does one that was removed. Only what has no last line, as a file system may leave it when the power fails,
 * gives way to the journal. After an orderly end there is none: nodes.conf is everything.
 *
 * Rejected: the text written to a new file and not made to last under its name, found again at start: that
 * rests on what file systems do beyond what they promise, and still commits their journals. */
#ifndef LARDER_SERVER_CLUSTER_FILE_H
#define LARDER_SERVER_CLUSTER_FILE_H

#include "base/buf.h"

#include <stdbool.h>

enum cluster_file_limits {
    CLUSTER_JOURNAL_HALF = 256 << 10, /* a longer text goes into nodes.conf, and that is made to last */
    CLUSTER_FILE_NAME = 256,
};

struct cluster_file {
    char path[CLUSTER_FILE_NAME];
    int journal;     /* -1: none, promises take longer */
    uint64_t number; /* of the last text that was sealed */
    unsigned half;   /* the next one's */
    struct buf text; /* sealed */
};

enum cluster_file_found { FOUND_NOTHING, FOUND_FILE, FOUND_JOURNAL };

/* Appends the newest text there is. FOUND_NOTHING: it is a new node's. 0; ERR_IO with errno, ERR_FULL,
 * ERR_OOM. Release f whatever is returned. */
int cluster_file_open(struct cluster_file *f, const char *path, struct buf *text,
                      enum cluster_file_found *found);
/* A journal to write to. False with errno: there is none. */
bool cluster_file_begin_journal(struct cluster_file *f);
/* The text is on the disk when this returns true; nodes.conf need not be the same. Else errno, and what was
 * on the disk is there still. */
bool cluster_file_keep(struct cluster_file *f, struct str text);
/* nodes.conf is the text; `sync`: and on the disk, too. False with errno: it is the old one. */
bool cluster_file_write(struct cluster_file *f, struct str text, bool sync);
/* nodes.conf is on the disk and all there is to know: no journal is left behind. */
void cluster_file_end_journal(struct cluster_file *f);
void cluster_file_release(struct cluster_file *f);

#endif
