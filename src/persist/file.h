/* A snapshot as a file: written beside its place, synced, renamed. Whatever happens on the way, the old file
 * stays.
 *
 * Both lie side by side in what is the current directory when it is begun. */
#ifndef LARDER_PERSIST_FILE_H
#define LARDER_PERSIST_FILE_H

#include "persist/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

enum file_limits {
    FILE_NAME_MAX = 256, /* bytes of a name, with its NUL */
    FILE_SYNC_BYTES = 4 << 20,
};

struct snapshot_file {
    struct snapshot_sink sink; /* must be first */
    char name[FILE_NAME_MAX], temporary[FILE_NAME_MAX + 16];
    int dir;         /* -1: none */
    int fd;          /* -1: none */
    bool sync_often; /* in small pieces, so that no sync has much to do */
    uint64_t unsynced;
    int error;        /* errno of what failed ... */
    const char *what; /* ... and what it was: "write to" */
};

/* prefix tells apart those that may be written at the same time. 0 or ERR_IO. */
int snapshot_file_begin(struct snapshot_file *f, const char *prefix, const char *name, bool sync_often);
/* The complete file takes its place. 0 or ERR_IO; then the old one is as it was. Ends f either way. */
int snapshot_file_commit(struct snapshot_file *f);
void snapshot_file_abort(struct snapshot_file *f); /* ends f; the temporary file goes */

#endif
