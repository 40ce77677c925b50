/* Replies as programs keep them: one block of memory that owns the tree and its texts. */
#ifndef LARDER_CLIENT_REPLY_H
#define LARDER_CLIENT_REPLY_H

#include "larder/larder.h"
#include "proto/reader.h"

/* A copy, returned owned; NULL without memory. */
larder_reply *reply_copy(const struct reader_value *v);

#endif
