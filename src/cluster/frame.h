/* The cluster bus on the wire: Redis Cluster's frames, read and written. Nothing is trusted: a frame is
 * decoded whole, every length is checked against every other before anything behind it is looked at, and
 * names are checked to be text.
 *
 *   0 "RCmb"  4 length  8 version 1  10 port  12 type  14 count  16 current epoch  24 config epoch  32 offset
 *   40 sender  80 slots (2,048)  2128 primary  2168 ip (46)  2214 extensions  2216 larder's own (30)
 *   2246 tls port  2248 bus port  2250 flags  2252 state  2253 message flags (3)  2256 data
 *
 * Bytes 2216-2245 are unused by Redis and Valkey, which write zeros and ignore them. There larder nodes know
 * each other: "lrd1", promise in ms (4), sequence (4), data epoch (8), replication id (8), flags (1), 0 (1)
 *
 * A light frame (type with bit 15, Valkey 8) has 16 bytes of header and carries pub/sub only. */
#ifndef LARDER_CLUSTER_FRAME_H
#define LARDER_CLUSTER_FRAME_H

#include "base/buf.h"
#include "cluster/slotmap.h"

enum frame_limits {
    FRAME_HEADER = 2256,
    FRAME_LIGHT_HEADER = 16,
    FRAME_GOSSIP = 104,
    FRAME_MAX = 64 << 20, /* bytes; a message of pub/sub may be so long */
    FRAME_EXTENSIONS_MAX = 1024,
};

enum frame_type {
    FRAME_PING,
    FRAME_PONG,
    FRAME_MEET,
    FRAME_FAIL,
    FRAME_PUBLISH,
    FRAME_AUTH_REQUEST,
    FRAME_AUTH_ACK,
    FRAME_UPDATE,
    FRAME_MFSTART,
    FRAME_MODULE,
    FRAME_PUBLISHSHARD,
    FRAME_TYPES,
    FRAME_LIGHT = 0x8000,
};

enum frame_flag {                       /* of mflags[0] */
                  FRAME_PAUSED = 1,     /* the primary has stopped writes: a manual failover */
                  FRAME_FORCEACK = 2,   /* vote although my primary lives */
                  FRAME_EXTENSIONS = 4, /* I understand extensions */
};

/* EXT_ELECTORATE, larder's alone, in PONG, AUTH_REQUEST and AUTH_ACK: a digest of the voters (8), then the
 * sender's open votes: the id of whom they would replace, the candidate's (40 each), the epoch (8).
 * EXT_OWN_EPOCH, too, in PING and PONG of a replica: its own config epoch (8), the last that it was elected
 * in. Its header says its primary's.
 * EXT_ENDED, too, in PING and PONG: claims to slots that were given, which are over and were never served:
 * for each the ids of whose it was and of who gives them (40 each), the epoch (8).
 * EXT_TAKING, too, in PING and PONG to a replica of the sender: the slots that the sender takes: the id of
 * who gives them (40), the epoch of the claim (8), the slots (2048).
 * EXT_UNOWNED, too, in PING and PONG: what the sender claimed once and never served, and what has had no
 * owner for long: laid out like EXT_TAKING. */
enum frame_extension {
    EXT_HOSTNAME,
    EXT_HUMAN_NAME,
    EXT_FORGOTTEN,
    EXT_SHARD,
    EXT_ELECTORATE = 0x6c64,
    EXT_OWN_EPOCH,
    EXT_ENDED,
    EXT_TAKING,
    EXT_UNOWNED
};

struct frame_larder {
    bool is;             /* the sender is larder */
    bool offers;         /* PAUSED: you, my replica, shall take over */
    bool asks;           /* for votes: whether it was elected is not decided yet */
    bool unsettled;      /* it claims slots that its file does not give it, or does not know what it has */
    bool taking;         /* it claims slots that it does not serve yet */
    bool forced;         /* AUTH_REQUEST: an operator ordered it, whatever the primary does */
    uint32_t promise_ms; /* PONG, AUTH_ACK: no vote against you for so long since I got what this answers */
    uint32_t seq;        /* PING: a number; PONG: the one it answers */
    uint64_t data_epoch; /* config epoch of the primary that wrote the sender's last data */
    uint64_t replid;     /* the history its offset counts in, hashed */
};

struct frame_header {
    uint16_t type, port, tls_port, cport, flags;
    uint64_t current_epoch, config_epoch, offset;
    struct node_id sender, primary; /* primary: node_id_none() for a primary */
    const uint8_t *slots;           /* SLOT_BYTES; borrowed; NULL writes none */
    char ip[NODE_IP_MAX];           /* empty: the receiver sees it */
    uint8_t state;                  /* 0 ok, 1 fail */
    uint8_t mflags[3];
    struct frame_larder larder;
};

struct frame_gossip {
    struct node_id id;
    uint32_t ping_sent_s, pong_s; /* seconds of the sender's clock */
    char ip[NODE_IP_MAX];
    uint16_t port, cport, flags, tls_port;
};

struct frame_ext {
    uint16_t type;
    struct str data; /* padding included */
};

struct frame {
    struct frame_header h; /* of a light frame only the type is set */
    bool light;
    unsigned ngossip, nexts;
    struct str gossip, exts; /* raw, checked */
    /* FAIL, UPDATE */
    struct node_id node;
    uint64_t update_epoch;
    const uint8_t *update_slots;
    /* PUBLISH, PUBLISHSHARD */
    struct str channel, message;
};

/* How long the frame at the start of `in` is. ERR_AGAIN: too few bytes to know; ERR_PROTO: no frame, close.
 */
int frame_length(struct str in, size_t *out);
/* `in` is exactly one frame. Everything in *out borrows from it. 0 or ERR_PROTO; a type that we do not know
 * is ERR_NOTFOUND: pass it over. */
int frame_decode(struct str in, struct frame *out);
void frame_gossip_at(const struct frame *f, unsigned i, struct frame_gossip *out);
/* Begin with *at = 0. */
bool frame_ext_next(const struct frame *f, size_t *at, struct frame_ext *out);
/* The data of the first of that type with at least so many bytes. */
bool frame_ext_find(const struct frame *f, uint16_t type, size_t least, struct str *out);
uint64_t frame_get_u64(const char *p); /* as the wire has them */
void frame_put_u64(char *p, uint64_t v);
/* The text of a hostname or name extension: up to its NUL; false if it is no printable text of a length we
 * hold. */
bool frame_ext_text(const struct frame_ext *e, char out[NODE_HOST_MAX]);

/* Writing: begin, put gossip, put extensions, end. Errors stay in b->oom; frame_end() returns ERR_OOM then,
 * with the buffer as it was at begin. */
struct frame_writer {
    struct buf *b;
    size_t start;
    unsigned ngossip, nexts;
};
void frame_begin(struct frame_writer *w, struct buf *b, const struct frame_header *h);
void frame_put_gossip(struct frame_writer *w, const struct frame_gossip *g);
void frame_put_ext(struct frame_writer *w, uint16_t type, struct str data);
void frame_put_fail(struct frame_writer *w, const struct node_id *id);
void frame_put_update(struct frame_writer *w, const struct node *n, const uint8_t *slots);
void frame_put_publish(struct frame_writer *w, struct str channel, struct str message);
int frame_end(struct frame_writer *w);
/* A whole light frame, for peers with NODE_LIGHT. 0, ERR_OOM or ERR_RANGE. */
int frame_light_publish(struct buf *b, bool sharded, struct str channel, struct str message);
const char *frame_type_name(unsigned type);

#endif
