/* nodes.conf on the disk: written beside it and renamed, so that there is always a whole one; a promise to
 * others is fsynced, and the folder too. In `dir`, which is the working directory. */
#ifndef LARDER_SERVER_CLUSTER_FILE_H
#define LARDER_SERVER_CLUSTER_FILE_H

#include "base/buf.h"

#include <stdbool.h>

/* False with errno: the old one is still there. */
bool cluster_file_write(const char *path, struct str text, bool sync);
/* Appends. 0, ERR_NOTFOUND: there is none, or an empty one; ERR_IO with errno, ERR_FULL, ERR_OOM. */
int cluster_file_read(const char *path, struct buf *b);

#endif
