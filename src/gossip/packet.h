/* The cluster bus as bytes: Redis Cluster's messages, big endian.
 *
 *      0 "RCmb"  4 length  8 version 1  10 port  12 type  14 count  16 current epoch  24 config epoch  32
 * offset 40 sender  80 slots (bits)  2128 replica of  2168 own ip  2214 extensions  2246 pport  2248 cport
 *      2250 flags  2252 state  2253 flags of the message (3)  2256 what the type says
 *
 * Pure. What is read has been checked to the last byte: the length must be what the type and the counts say,
 * ids are 40 hex digits, addresses end within their field. */
#ifndef LARDER_GOSSIP_PACKET_H
#define LARDER_GOSSIP_PACKET_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum packet_limits {
    PACKET_ID = 40,
    PACKET_IP = 46,
    PACKET_HEADER = 2256,
    PACKET_GOSSIP = 104, /* bytes of an entry */
    PACKET_SLOTS = 16384,
    PACKET_HOSTNAME = 256,
};

enum packet_type {
    PACKET_PING,
    PACKET_PONG,
    PACKET_MEET,
    PACKET_FAIL,
    PACKET_PUBLISH,
    PACKET_AUTH_REQUEST,
    PACKET_AUTH_ACK,
    PACKET_UPDATE,
    PACKET_MFSTART,
    PACKET_MODULE,
    PACKET_PUBLISHSHARD,
    PACKET_TYPES,
};

enum packet_flags0 {
    PACKET_PAUSED = 1,
    PACKET_FORCEACK = 2, /* vote though the primary has not failed */
    PACKET_EXTENDS = 4,  /* the sender reads extensions */
};

struct packet_gossip {
    char id[PACKET_ID + 1];
    char ip[PACKET_IP];
    uint32_t ping_s, pong_s;
    uint16_t port, cport, flags;
};

/* The header, in the machine's byte order. */
struct packet {
    uint16_t type, port, cport, flags, count, extensions;
    uint64_t current_epoch, config_epoch, offset;
    char sender[PACKET_ID + 1];
    char primary[PACKET_ID + 1]; /* "" for none */
    char ip[PACKET_IP];          /* "" when it is to be seen from the connection */
    uint8_t slots[PACKET_SLOTS / 8];
    uint8_t state; /* 0 ok, 1 fail */
    uint8_t flags0;
    /* Of the body, by type. */
    char node[PACKET_ID + 1];             /* FAIL, UPDATE */
    uint64_t node_epoch;                  /* UPDATE */
    uint8_t node_slots[PACKET_SLOTS / 8]; /* UPDATE */
    char hostname[PACKET_HOSTNAME];       /* PING, PONG, MEET: from an extension */
    const uint8_t *gossip;                /* `count` entries, in the frame that was read */
};

static inline bool packet_has_slot(const uint8_t *slots, uint32_t slot)
{
    return (slots[slot / 8] >> slot % 8) & 1;
}
static inline void packet_set_slot(uint8_t *slots, uint32_t slot, bool on)
{
    slots[slot / 8] = (uint8_t)((slots[slot / 8] & ~(1u << slot % 8)) | (unsigned)on << slot % 8);
}

/* 0 with *out filled, borrowing the frame; ERR_PROTO for what is no sound message. A type that is not known
 * gives 0 and nothing but the header. */
int packet_read(struct packet *out, const uint8_t *p, size_t n);
/* Entry i < count. */
void packet_gossip_at(const struct packet *k, uint32_t i, struct packet_gossip *out);

/* Append the message. `entries`: k->count of them; hostname: an extension, when not empty. 0 or ERR_OOM. */
int packet_write(struct buf *b, const struct packet *k, const struct packet_gossip *entries);

#endif
