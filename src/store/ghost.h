/* Ghosts: which keys were evicted lately, without the keys.
 *
 *      set of 4 slots, chosen by the hash:   | mark:11 age:5 | mark:11 age:5 | ... |
 *
 * A slot holds 11 bits of the hash and the generation it was written in; a generation
 * ends when an eighth of all slots have been written, and a ghost is forgotten after
 * GHOST_GENERATIONS of them, or when its set needs its slot. 2 bytes a ghost; one in
 * 500 lookups of a key that is none finds one.
 *
 * Threads: any, at any time; relaxed, since a lost ghost costs one miss. */
#ifndef LARDER_STORE_GHOST_H
#define LARDER_STORE_GHOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ghosts {
    _Atomic uint16_t *slots; /* NULL: none */
    uint64_t sets;           /* a power of 2 */
    _Atomic uint64_t written;
    _Atomic uint64_t bytes; /* of the slots; for any thread to read */
};

/* For a cache of so many bytes, 0 for none: forgets everything if that is a new size. Nobody else may use it
 * (gate). Without memory it stays empty, which is allowed. */
void ghosts_resize(struct ghosts *g, uint64_t maxmemory);
uint64_t ghosts_bytes(const struct ghosts *g);

void ghosts_add(struct ghosts *g, uint64_t hash);
/* True when the key is one; it is none any more then. */
bool ghosts_take(struct ghosts *g, uint64_t hash);

#endif
