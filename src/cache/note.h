/* What a primary tells its replicas beside the plain effect: a note, in a PING that Redis ignores.
 *
 *      MULTI   PING <note>   SET key value PXAT at   EXEC          (dispatch makes a unit of them)
 *
 *      magic | 'E' i64 expire_ms, extension     the entry that the next command sets
 *            | 'N' i64 expire_ms, extension     a negative one, behind the deletion that comes next
 *            | 'S' i64 fresh_ms, expire_ms      stale it stays, in place of the deletion that comes next ...
 *                  [u64 version, i64 until_ms]  ... and this is held for it
 *            | 'V' u64 version, i64 until_ms    held for the key of the next command
 *            | 'T' u64 tag, u64 seq, u8 soft    a tag, or with 0 everything, is purged; stands alone
 *            | 'H' a piece of cache/state.h    which versions are held; stands alone
 *            | 'M' u64 seq, u64 rate, u8 soft, glob   what matches is banned in the selected database; stands
 *                                                 alone, under the gate
 *
 * A replica that is no larder counts its bytes and goes on; its values are plain ones. Bytes from a primary
 * are checked like any: a note that cannot be read is ignored, and then the entry stays a plain one. */
#ifndef LARDER_CACHE_NOTE_H
#define LARDER_CACHE_NOTE_H

#include "base/buf.h"
#include "cache/cache.h"

enum { NOTE_MAX = 16 + META_SIZE_MAX + 32 };
_Static_assert(NOTE_MAX >= 16 + 17 + BAN_GLOB_MAX, "a pattern fits, too");

/* Negative or not; each writes NOTE_MAX bytes at most and returns their number. */
uint32_t note_entry(const struct meta *m, int64_t expire_ms, char out[NOTE_MAX]);
struct note_hold {
    uint64_t version;
    int64_t until_ms;
};
/* hold NULL: nothing is held. */
uint32_t note_stale(int64_t fresh_ms, int64_t expire_ms, const struct note_hold *hold, char out[NOTE_MAX]);
uint32_t note_version(const struct note_hold *hold, char out[NOTE_MAX]);
uint32_t note_purge(uint64_t tag, uint64_t seq, bool soft, char out[NOTE_MAX]);
int note_state(struct str piece, struct buf *out); /* appended; 0 or ERR_OOM */
uint32_t note_ban(struct str glob, uint64_t seq, bool soft, uint64_t rate, char out[NOTE_MAX]);

bool note_is(struct str bytes);
bool note_is_ban(struct str note);
/* One that stands alone takes effect, in database db where that matters: 1. Else it waits for its key: 0. A
 * ban needs the gate. ERR_OOM. */
int note_apply_alone(struct cache *c, const struct access *a, uint32_t db, struct str note);
/* Before the command that it belongs to; k's shard is locked. True: it takes that command's place. */
bool note_apply_instead(struct cache *c, const struct access *a, const struct key *k, struct str note);
/* The command that it belongs to has been run on k, or replaced; its shard is locked. */
void note_apply(struct cache *c, const struct access *a, const struct key *k, struct str note);

#endif
