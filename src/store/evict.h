/* What to evict: the policy's side of the sweep. Inside the store only.
 *
 *      put ──> small ──> tail: hit enough? ─> main ──> tail: hit since? ──> main again
 *                 │                             ▲ │
 *                 └─ no: ghost ── put again ────┘ └─ no: evicted
 *
 * **auto** is S3-FIFO (Yang et al., SOSP 2023) over segments. Each size class has a small queue, where new
 * keys prove themselves, and a main queue. How large the small one is, and what proves a key, is measured:
 * shadow.h. Which class gives way is decided by how long its tail has been
 * idle times how large its entries are: a large entry must be hit more often than a small one to be worth
 * its room.
 *
 * **LRU, LFU, TTL** look at a sample of all keys now and then and take the score that the worst CUT_SHARE
 * of memory is beyond; sweeps go through segments from the oldest, evict what is beyond it, and move
 * the rest to the young end. While more than maxmemory is in use they are coarser, since moving takes time
 * that writers do not wait for. **Random** does not look.
 *
 * Under a volatile policy, keys without a deadline stand in a list that no sweep visits; one that stands
 * elsewhere (the policy has changed) is moved there when met.
 *
 * A sweep goes through a segment only as far as memory is wanted: what it has been through is `swept`. */
#ifndef LARDER_STORE_EVICT_H
#define LARDER_STORE_EVICT_H

#include "store/ghost.h"
#include "store/shard.h"

enum evict_verdict { EVICT_IT, EVICT_NOT_SMALL, EVICT_NOT_MAIN }; /* NOT: move it to that queue */

/* ---- how much ---- */

/* Memory is wanted: more than the policy's goal is in use, and something may be evicted. */
bool evict_wanted(const struct access *a);

/* ---- which segment, sweep.c ---- */

/* The segment to sweep next, pinned, or NULL: nothing can be evicted now. */
struct segment *evict_choose(const struct access *a);
/* One entry of it, shard locked. */
enum evict_verdict evict_judge(const struct access *a, const struct segment *seg, const struct entry *e);
/* What a snapshot tells of an entry's use: idle seconds, or LFU's counter, by the policy in force. */
enum access_use_kind { USE_UNKNOWN, USE_IDLE, USE_FREQ };
struct access_use {
    enum access_use_kind kind;
    uint32_t n;
};
struct access_use access_use_of(const struct store *s, const struct entry *e, int64_t now_ms);

/* The counter of hits with which an entry that had `freq` is moved. */
unsigned evict_freq(const struct access *a, const struct segment *seg, unsigned freq);
/* It goes: count it and remember it. Shard locked. */
void evict_note(const struct access *a, const struct segment *seg, const struct key *k,
                const struct entry *e);

/* A key that the shadows want (shadows_want) was asked for, or put: e is its entry, NULL if there is none.
 * Shard locked. */
void evict_witness(const struct access *a, const struct key *k, const struct entry *e, bool put);

/* ---- access clocks (access.c) ---- */

/* The clock of a new entry, or of a moved one that had none. */
uint32_t access_clock_new(const struct access *a);
/* Higher goes first. */
uint64_t access_score(const struct access *a, const struct segment *seg, const struct entry *e);

#endif
