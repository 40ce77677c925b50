/* Error codes shared by every layer.
 *
 * A function that can fail returns 0 or one of these negative values and hands
 * its result out through a pointer. Library layers never print and never exit;
 * whoever talks to a person turns the code into a sentence (err_name() is only
 * the last resort). */
#ifndef LARDER_BASE_ERR_H
#define LARDER_BASE_ERR_H

enum err {
    ERR_OOM = -1,      /* memory could not be had; nothing was changed */
    ERR_AGAIN = -2,    /* not now: incomplete input, would block, busy */
    ERR_PROTO = -3,    /* the peer broke the protocol; close after replying */
    ERR_RANGE = -4,    /* a number or length is outside its bounds */
    ERR_SYNTAX = -5,   /* text that does not parse */
    ERR_NOTFOUND = -6, /* no such thing */
    ERR_EXISTS = -7,   /* already there */
    ERR_TYPE = -8,     /* the value holds another type */
    ERR_IO = -9,       /* errno says what the system answered */
    ERR_CORRUPT = -10, /* checksum or structure of stored data is wrong */
    ERR_FULL = -11,    /* a named limit is reached */
};

/* A constant lower-case word for the code, "ok" for 0. */
const char *err_name(int err);

#endif
