/* Hashes. Those with a seed are for tables: a client that does not know the seed cannot aim keys at
 * one bucket. */
#ifndef LARDER_BASE_HASH_H
#define LARDER_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_seed {
    uint64_t k0, k1;
};

/* For tables in memory, where only this process need agree with itself: hash_aes() where the processor
 * can, hash_sip13() elsewhere. */
uint64_t hash_seeded(const void *p, size_t n, const struct hash_seed *seed);

/* SipHash-1-3 (Aumasson and Bernstein, 2012; the 1-3 variant that Rust and Python use for tables): the
 * same on every machine. */
uint64_t hash_sip13(const void *p, size_t n, const struct hash_seed *seed);

/* A chain of AES rounds with a secret key, as Pelican MAC builds it (Daemen and Rijmen, 2005), with
 * three rounds a block where Pelican has four: two messages whose difference is chosen meet with
 * probability 2^-54 at most, by the nine active S-boxes of three rounds. A quarter of SipHash's
 * instructions for a short key. Only where hash_has_aes(). */
uint64_t hash_aes(const void *p, size_t n, const struct hash_seed *seed);
bool hash_has_aes(void);

/* A bijective mixer for numbers (the finaliser of splitmix64). Not seeded. */
static inline uint64_t hash_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebULL;
    x ^= x >> 31;
    return x;
}

/* CRC-64 of RDB and DUMP (Jones polynomial 0xad93d23594c935a9, reflected). */
uint64_t hash_crc64(uint64_t crc, const void *p, size_t n);

#endif
