/* The most frequent and the largest of many, in fixed room: what a sample of keys shows.
 *
 *      frequent   Space-Saving (Metwally, Agrawal and El Abbadi, 2005): TOPK_HITS counters. A newcomer takes
 * over the smallest one with its count, which is how far its own may be too high (`error`). Whatever makes up
 * more than 1 / TOPK_HITS of the stream is in it for certain. large      the TOPK_LARGE largest that were
 * seen, each as it was seen last
 *
 * Counts are halved now and then by the owner, so that what was frequent yesterday goes. Names are kept up to
 * TOPK_NAME bytes; 32 bits of their hash tell them apart, which two of them have in common once in 10^7.
 * Pure; one owner at a time. A note costs one pass over TOPK_HITS + TOPK_LARGE hashes. */
#ifndef LARDER_DS_TOPK_H
#define LARDER_DS_TOPK_H

#include "base/str.h"

#include <stdint.h>

enum topk_limits { TOPK_HITS = 128, TOPK_LARGE = 32, TOPK_NAME = 200 };

struct topk_item {
    uint64_t count, error; /* frequent */
    uint64_t bytes;        /* when it was seen last */
    uint32_t n;            /* bytes of the whole name */
    uint32_t db;
    char name[TOPK_NAME]; /* the first of them */
};

struct topk {
    uint32_t nhits, nlarge;
    uint32_t turn;                                        /* where the search for a rare one goes on */
    uint32_t smallest;                                    /* of `large` */
    uint64_t floor;                                       /* no count is below */
    uint32_t hit_hash[TOPK_HITS], large_hash[TOPK_LARGE]; /* their lower halves */
    struct topk_item hits[TOPK_HITS], large[TOPK_LARGE];
};

/* All zeroes is an empty one. */
void topk_note(struct topk *t, uint64_t hash, uint32_t db, struct str name, uint64_t bytes);
/* It is known to be large, and not counted. */
void topk_note_large(struct topk *t, uint64_t hash, uint32_t db, struct str name, uint64_t bytes);
void topk_halve(struct topk *t);
/* Add what `from` has seen: for a common view of several. Counts add up, sizes are the larger ones. */
void topk_merge(struct topk *to, const struct topk *from);
/* Descending by count, by bytes. */
void topk_sort(struct topk *t);

#endif
