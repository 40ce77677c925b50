/* Key -> hash slot: CRC16-XMODEM of the key, or of the {tag} in it, mod 16384
 * (Redis Cluster specification). */
#ifndef LARDER_PROTO_SLOT_H
#define LARDER_PROTO_SLOT_H

#include "base/str.h"

#include <stdint.h>

enum { SLOT_COUNT = 16384 };

uint16_t slot_crc16(const void *p, size_t n);

/* The part of the key that decides the slot: what stands between the first '{' and
 * the first '}' after it, if that is not empty; else the whole key. */
struct str slot_hash_part(struct str key);

uint16_t slot_of(struct str key);

#endif
