/* The replica's end of a replication link, from the first PING to the stream: a machine that is fed bytes and
 * the time and says what to send and what has happened. No socket, no clock.
 *
 *      PING ── AUTH ── REPLCONF listening-port ── [ip-address] ── capa ── PSYNC ──┬─ +CONTINUE
 * ──────────────┐ └─ +FULLRESYNC ── payload ─┴─ stream
 *
 * The payload comes as "$<length>" or as "$EOF:<40 bytes>" and ends with these 40 bytes. What it means is
 * somebody else's business: link_payload() only says how far it goes. A primary may be anybody: every line
 * has a bound, every number is checked, and what does not fit ends the link with a sentence. */
#ifndef LARDER_REPL_LINK_H
#define LARDER_REPL_LINK_H

#include "base/buf.h"
#include "repl/history.h"

enum link_limits {
    LINK_LINE_MAX = 64 * 1024, /* bytes of a reply or a header */
    LINK_MARK = 40,            /* of an EOF-marked payload */
    LINK_TEXT_MAX = 256,
};

enum link_state {
    LINK_IDLE,
    LINK_PING,
    LINK_AUTH,
    LINK_PORT,
    LINK_IP,
    LINK_CAPA,
    LINK_PSYNC,
    LINK_HEADER,
    LINK_PAYLOAD,
    LINK_STREAM
};

enum link_event {
    LINK_NOTHING,  /* more bytes, please */
    LINK_FULL,     /* a full copy begins: link.id and link.offset are what it will be */
    LINK_TRANSFER, /* its payload begins: link_payload() from here on */
    LINK_CONTINUE, /* the stream goes on where we were; link.id is its id now */
    LINK_LATER,    /* the primary cannot just now: try again; link.text */
    LINK_BROKEN,   /* link.text says why */
};

struct link_config {
    struct str user, password; /* empty: none */
    int64_t port;              /* what we tell the primary about ourselves */
    struct str ip;             /* empty: it sees it */
    bool failover;             /* it is to take our place: PSYNC ... FAILOVER */
};

struct link {
    enum link_state state;
    struct link_config config;
    struct buf out; /* to be sent; the owner takes it */
    /* What we ask for, then what we were given. */
    char id[HISTORY_ID + 1];
    uint64_t offset;
    bool has_history; /* there is something to go on from */
    uint64_t left;    /* of a counted payload */
    bool marked;
    char mark[LINK_MARK];
    char tail[LINK_MARK]; /* the last bytes of a marked payload, which may be its mark */
    size_t ntail;
    char shifted[LINK_MARK];
    char text[LINK_TEXT_MAX];
};

void link_init(struct link *l);
void link_release(struct link *l);
/* A connection stands. Borrows config's strings for the life of the handshake. h NULL: ask for a full copy.
 */
void link_begin(struct link *l, const struct link_config *config, const struct history *h, uint64_t offset);
/* Takes bytes off the front of *in, up to and including the first event. */
enum link_event link_feed(struct link *l, struct str *in);
/* LINK_PAYLOAD: takes the next piece of payload off *in, which may be empty. True when it was the last; then
 * the state is LINK_STREAM. Bytes that may belong to the mark are held back, so *piece may point into the
 * link. */
bool link_payload(struct link *l, struct str *in, struct str *piece);
/* "REPLCONF ACK offset" */
void link_ack(struct link *l, uint64_t offset);
const char *link_state_name(enum link_state state);

#endif
