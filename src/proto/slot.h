/* Key -> hash slot: CRC16-XMODEM of the key, or of the {tag} in it, mod 16384
 * (Redis Cluster specification). */
#ifndef LARDER_PROTO_SLOT_H
#define LARDER_PROTO_SLOT_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { SLOT_COUNT = 16384, SLOT_BYTES = SLOT_COUNT / 8 };

uint16_t slot_crc16(const void *p, size_t n);

/* The part of the key that decides the slot: what stands between the first '{' and
 * the first '}' after it, if that is not empty; else the whole key. */
struct str slot_hash_part(struct str key);

uint16_t slot_of(struct str key);

/* Sets of slots: a bit for each, SLOT_BYTES of them. */
static inline bool slots_has(const uint8_t *set, unsigned slot)
{
    return (set[slot / 8] >> slot % 8) & 1;
}

static inline void slots_set(uint8_t *set, unsigned slot, bool on)
{
    uint8_t bit = (uint8_t)(1u << slot % 8);
    set[slot / 8] = on ? set[slot / 8] | bit : set[slot / 8] & (uint8_t)~bit;
}

static inline void slots_add(uint8_t *set, const uint8_t *more)
{
    for (unsigned i = 0; i < SLOT_BYTES; i++)
        set[i] |= more[i];
}

static inline void slots_drop(uint8_t *set, const uint8_t *less)
{
    for (unsigned i = 0; i < SLOT_BYTES; i++)
        set[i] &= (uint8_t)~less[i];
}

static inline bool slots_overlap(const uint8_t *a, const uint8_t *b)
{
    for (unsigned i = 0; i < SLOT_BYTES; i++)
        if (a[i] & b[i])
            return true;
    return false;
}

static inline bool slots_any(const uint8_t *slots)
{
    return slots_overlap(slots, slots);
}

#endif
