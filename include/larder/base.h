/* What all headers of liblarder share: bytes, error codes, the version.
 *
 * C99, usable from C++. Everything public starts with `larder_` or `LARDER_`. */
#ifndef LARDER_BASE_H
#define LARDER_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LARDER_API __attribute__((visibility("default")))
#else
#define LARDER_API
#endif

/* "major.minor.patch" of the library that is linked. Never NULL, never freed. */
LARDER_API const char *larder_version(void);

/* What a call returns: 0 or more is an answer, less is an error. */
enum larder_status {
    LARDER_OK = 0,
    LARDER_MISS = 1,             /* an answer too: there is no such key */
    LARDER_OLD_VERSION = 2,      /* an answer too: a newer version is there, nothing was stored */
    LARDER_UNCACHED = 3,         /* an answer too: written to the source, but not to the cache */
    LARDER_ERR_MEMORY = -1,      /* no memory; nothing was sent */
    LARDER_ERR_ARGUMENT = -2,    /* the call makes no sense; nothing was sent */
    LARDER_ERR_CONNECT = -3,     /* the node cannot be resolved or reached */
    LARDER_ERR_TIMEOUT = -4,     /* no reply in time; a write may or may not have happened */
    LARDER_ERR_CLOSED = -5,      /* the node closed the connection; a write may or may not have happened */
    LARDER_ERR_PROTOCOL = -6,    /* what came back is no RESP */
    LARDER_ERR_SERVER = -7,      /* the node answered with an error, which the message quotes */
    LARDER_ERR_AUTH = -8,        /* the node refuses the name or the password */
    LARDER_ERR_UNAVAILABLE = -9, /* the node is known to be failing and nobody may stand in for it */
    LARDER_ERR_REDIRECT = -10,   /* sent from node to node too often */
    LARDER_ERR_CLUSTER = -11,    /* the cluster serves no such slot, or says that it is down */
    LARDER_ERR_BUSY = -12,       /* all connections stayed in use until the deadline */
    LARDER_ERR_EXISTS = -13,     /* there is such a node already */
    LARDER_ERR_NOT_FOUND = -14,  /* there is no such node */
    LARDER_ERR_CANCELED = -15,   /* the loop was freed before the reply came */
    LARDER_ERR_LOAD = -16,       /* the loader failed, or took too long */
    LARDER_ERR_UNSUPPORTED = -17 /* the node does not know such a thing */
};

enum larder_base_limits { LARDER_ERROR_TEXT = 256 };

/* An error as a person wants it: "127.0.0.1:7001: connect: Connection refused". The caller's own,
 * filled on errors only; where a call takes one, NULL is fine. */
struct larder_error {
    int code; /* enum larder_status */
    char text[LARDER_ERROR_TEXT];
};

/* A constant lower-case word for a status: "timeout". */
LARDER_API const char *larder_status_name(int status);

/* Borrowed bytes: keys and values may hold any byte. */
struct larder_bytes {
    const void *p;
    size_t n;
};

static inline struct larder_bytes larder_text(const char *text)
{
    struct larder_bytes b;
    b.p = text;
    b.n = strlen(text);
    return b;
}

static inline struct larder_bytes larder_bytes(const void *p, size_t n)
{
    struct larder_bytes b;
    b.p = p;
    b.n = n;
    return b;
}

#ifdef __cplusplus
}
#endif

#endif
