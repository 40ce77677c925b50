/* A connection to a node: one request, its reply, then the next. Errors are sentences. */
#ifndef LARDER_TOOL_CLUSTER_LINK_H
#define LARDER_TOOL_CLUSTER_LINK_H

#include "base/arena.h"
#include "base/buf.h"
#include "proto/reader.h"

#include <stdbool.h>

enum link_limits {
    LINK_TIMEOUT_MS = 10 * 1000,
    LINK_LONG_MS = 70 * 1000,     /* for a reply to what may take long */
    LINK_MIGRATE_MS = 60 * 1000,  /* what MIGRATE is given, so that it answers in LINK_LONG_MS */
    LINK_LOADING_MS = 120 * 1000, /* a node may read its data for so long */
    LINK_AGAIN_MS = 200,
    LINK_HOST_MAX = 256,
    LINK_ERR_MAX = 1024,
    LINK_WORDS_MAX = 64,
};

struct link {
    int fd; /* -1: not connected */
    char host[LINK_HOST_MAX];
    int port;
    int timeout_ms; /* for one reply: LINK_TIMEOUT_MS from link_open() on */
    struct buf in, out;
    size_t used; /* of in: replies that have been looked at */
    struct arena arena;
    char error[LINK_ERR_MAX]; /* after a failure: who, what, why, and what to do */
};

/* Both may be NULL. */
struct link_secret {
    const char *user, *password;
};

/* 0, or ERR_IO with l->error filled; release it in any case. */
int link_open(struct link *l, const char *host, int port, const struct link_secret *secret);
void link_release(struct link *l);

/* The reply is good until the next call. A node that is loading its data is waited for. ERR_IO: no reply, or
 * an error reply, and l->error says so. */
int link_call(struct link *l, struct reader_value *reply, const struct str *argv, uint32_t argc);
/* The words of a line, split at spaces. */
int link_say(struct link *l, struct reader_value *reply, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* "host:port" or "[::1]:port". False when it is none. */
bool link_parse_address(const char *text, char host[LINK_HOST_MAX], int *port);

#endif
