/* See the header for the idea. The order of things that makes it safe:
 *
 *   writer   filling = bound <= place      (seq_cst, before)
 *            head += n                     (seq_cst)
 *            copy
 *            filling = NOT                 (after)
 *   reader   head, then all filling        (seq_cst)
 *
 * A place that the reader's head includes was announced before the head grew, so the reader sees the
 * announcement or its withdrawal. Trim frees only what lies below the published end, where nobody writes,
 * and below `oldest` nobody looks. */
#include "repl/changelog.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"

#include <string.h>

#define NOT_FILLING UINT64_MAX
#define SELECT_ROOM 40 /* "*2\r\n$6\r\nSELECT\r\n$4\r\n1023\r\n" */

struct changelog_chunk {
    uint64_t number;
    char bytes[];
};

static size_t chunk_size(const struct changelog *l)
{
    return (size_t)1 << l->chunk_bits;
}

static struct changelog_chunk *_Atomic *slot_of_chunk(struct changelog *l, uint64_t number)
{
    return &l->directory[number % CHANGELOG_DIRECTORY];
}

static uint64_t pack(uint64_t offset, uint32_t db)
{
    return offset << CHANGELOG_DB_BITS | db;
}

static uint32_t head_db(uint64_t head)
{
    return (uint32_t)(head & CHANGELOG_NO_DB);
}

static unsigned bits_for(uint64_t backlog)
{
    unsigned bits = 14;
    while (((uint64_t)1 << bits) < CHANGELOG_CHUNK_MAX &&
           ((uint64_t)1 << bits) < backlog / CHANGELOG_CHUNK_SHARE)
        bits++;
    return bits;
}

_Static_assert(CHANGELOG_CHUNK_MIN == 1 << 14, "bits_for() starts there");

void changelog_init(struct changelog *l, uint32_t nwriters, uint64_t backlog,
                    const struct changelog_spill *spill)
{
    ASSERT(nwriters > 0 && nwriters <= CHANGELOG_WRITERS_MAX);
    memset(l, 0, sizeof *l);
    l->nwriters = nwriters;
    l->backlog = backlog;
    l->chunk_bits = bits_for(backlog);
    for (uint32_t i = 0; i < nwriters; i++)
        atomic_init(&l->writers[i].filling, NOT_FILLING);
    atomic_init(&l->head, pack(0, CHANGELOG_NO_DB));
    pthread_mutex_init(&l->mutex, NULL);
    if (spill != NULL)
        l->spill = *spill;
}

/* ---- chunks ---- */

static void drop_spilled(struct changelog *l, uint64_t to)
{
    if (to > l->spilled_to)
        to = l->spilled_to;
    if (l->spilled_from >= to)
        return;
    l->spill.drop(l->spill.arg, l->spilled_from << l->chunk_bits, (to - l->spilled_from) << l->chunk_bits);
    l->spilled_from = to;
}

static void free_chunks(struct changelog *l, uint64_t to)
{
    uint64_t n = atomic_load_explicit(&l->oldest, memory_order_relaxed);
    for (; n < to; n++) {
        mem_free(atomic_exchange_explicit(slot_of_chunk(l, n), NULL, memory_order_acq_rel));
        atomic_store_explicit(&l->oldest, n + 1, memory_order_release);
    }
}

static void drop_everything(struct changelog *l)
{
    for (unsigned i = 0; i < CHANGELOG_DIRECTORY; i++)
        mem_free(atomic_exchange_explicit(&l->directory[i], NULL, memory_order_acq_rel));
    drop_spilled(l, l->spilled_to);
    for (struct changelog_reader *r = l->readers; r != NULL; r = r->next)
        r->cut = true;
}

void changelog_release(struct changelog *l)
{
    drop_everything(l);
    pthread_mutex_destroy(&l->mutex);
}

void changelog_start(struct changelog *l, uint64_t offset)
{
    pthread_mutex_lock(&l->mutex);
    drop_everything(l);
    l->chunk_bits = bits_for(l->backlog);
    l->spilled_from = l->spilled_to = offset >> l->chunk_bits;
    atomic_store(&l->oldest, offset >> l->chunk_bits);
    atomic_store(&l->begin, offset);
    atomic_store(&l->head, pack(offset, CHANGELOG_NO_DB));
    atomic_store(&l->broken, false);
    l->on = true;
    pthread_mutex_unlock(&l->mutex);
}

void changelog_stop(struct changelog *l)
{
    pthread_mutex_lock(&l->mutex);
    drop_everything(l);
    atomic_store(&l->begin, changelog_head(l));
    l->on = false;
    pthread_mutex_unlock(&l->mutex);
}

void changelog_set_backlog(struct changelog *l, uint64_t bytes)
{
    pthread_mutex_lock(&l->mutex);
    l->backlog = bytes;
    pthread_mutex_unlock(&l->mutex);
}

void changelog_break(struct changelog *l)
{
    atomic_store_explicit(&l->broken, true, memory_order_release);
}

/* The chunk, made if need be; NULL when it cannot be had. */
static struct changelog_chunk *chunk_get(struct changelog *l, uint64_t number)
{
    if (number - atomic_load_explicit(&l->oldest, memory_order_acquire) >= CHANGELOG_DIRECTORY)
        return NULL; /* its slot is an older chunk's: trim does not keep up */
    struct changelog_chunk *_Atomic *slot = slot_of_chunk(l, number);
    struct changelog_chunk *c = atomic_load_explicit(slot, memory_order_acquire), *fresh;
    if (likely(c != NULL))
        return c;
    fresh = mem_alloc(sizeof *fresh + chunk_size(l));
    if (fresh == NULL)
        return NULL;
    fresh->number = number;
    if (atomic_compare_exchange_strong_explicit(slot, &c, fresh, memory_order_acq_rel, memory_order_acquire))
        return fresh;
    mem_free(fresh);
    return c;
}

/* ---- writing ---- */

static unsigned put_select(char *dst, uint32_t db)
{
    static const char head[] = "*2\r\n$6\r\nSELECT\r\n$";
    char digits[NUM_I64_TEXT_MAX];
    unsigned n = num_put_u64(digits, db), at = sizeof head - 1;
    memcpy(dst, head, at);
    at += num_put_u64(dst + at, n);
    memcpy(dst + at, "\r\n", 2);
    at += 2;
    memcpy(dst + at, digits, n);
    at += n;
    memcpy(dst + at, "\r\n", 2);
    return at + 2;
}

void changelog_reserve(struct changelog *l, uint32_t writer, uint32_t first, uint32_t last, uint64_t n,
                       struct changelog_place *out)
{
    DEBUG_ASSERT(l->on && writer < l->nwriters && last < CHANGELOG_NO_DB);
    char text[SELECT_ROOM];
    uint64_t head = atomic_load_explicit(&l->head, memory_order_relaxed), next;
    atomic_exchange_explicit(&l->writers[writer].filling, head >> CHANGELOG_DB_BITS, memory_order_seq_cst);
    do {
        uint64_t start = head >> CHANGELOG_DB_BITS;
        out->start = out->at = start;
        out->end = start + n + (likely(head_db(head) == first) ? 0 : put_select(text, first));
        next = pack(out->end, last);
    } while (!atomic_compare_exchange_weak_explicit(&l->head, &head, next, memory_order_seq_cst,
                                                    memory_order_relaxed));
}

void changelog_begin_write(struct changelog *l, uint32_t db, uint64_t n, struct changelog_place *pl)
{
    char text[SELECT_ROOM];
    if (pl->end - pl->start != n)
        changelog_write(l, pl, text, put_select(text, db));
    ASSERT(pl->end - pl->at == n);
}

void changelog_write(struct changelog *l, struct changelog_place *pl, const void *p, size_t n)
{
    DEBUG_ASSERT(n <= pl->end - pl->at);
    const char *from = p;
    while (n > 0) {
        size_t within = pl->at & (chunk_size(l) - 1), room = chunk_size(l) - within;
        size_t k = n < room ? n : room;
        struct changelog_chunk *c = chunk_get(l, pl->at >> l->chunk_bits);
        if (c != NULL)
            memcpy(c->bytes + within, from, k);
        else
            changelog_break(l);
        pl->at += k;
        from += k;
        n -= k;
    }
}

char *changelog_room(struct changelog *l, struct changelog_place *pl, size_t n)
{
    DEBUG_ASSERT(n <= pl->end - pl->at);
    size_t within = pl->at & (chunk_size(l) - 1);
    struct changelog_chunk *c = n <= chunk_size(l) - within ? chunk_get(l, pl->at >> l->chunk_bits) : NULL;
    if (c == NULL)
        return NULL;
    pl->at += n;
    return c->bytes + within;
}

void changelog_publish(struct changelog *l, uint32_t writer, struct changelog_place *pl)
{
    ASSERT(pl->at == pl->end);
    atomic_store_explicit(&l->writers[writer].filling, NOT_FILLING, memory_order_seq_cst);
}

void changelog_append(struct changelog *l, uint32_t writer, const void *p, size_t n)
{
    uint64_t start = changelog_head(l);
    struct changelog_place pl = {.start = start, .end = start + n, .at = start};
    atomic_exchange_explicit(&l->writers[writer].filling, start, memory_order_seq_cst);
    atomic_store_explicit(&l->head, pack(pl.end, CHANGELOG_NO_DB), memory_order_seq_cst);
    changelog_write(l, &pl, p, n);
    changelog_publish(l, writer, &pl);
}

void changelog_forget_db(struct changelog *l)
{
    uint64_t head = atomic_load_explicit(&l->head, memory_order_relaxed);
    atomic_store_explicit(&l->head, head | CHANGELOG_NO_DB, memory_order_release);
}

/* ---- reading ---- */

uint64_t changelog_published(struct changelog *l)
{
    uint64_t end = atomic_load_explicit(&l->head, memory_order_seq_cst) >> CHANGELOG_DB_BITS;
    for (uint32_t i = 0; i < l->nwriters; i++) {
        uint64_t at = atomic_load_explicit(&l->writers[i].filling, memory_order_seq_cst);
        if (at < end)
            end = at;
    }
    return end;
}

uint64_t changelog_begin(struct changelog *l)
{
    return atomic_load_explicit(&l->begin, memory_order_acquire);
}

int changelog_reader_open(struct changelog *l, struct changelog_reader *r, uint64_t offset)
{
    int rc = ERR_NOTFOUND;
    pthread_mutex_lock(&l->mutex);
    if (l->on && !changelog_is_broken(l) && offset >= changelog_begin(l) && offset <= changelog_head(l)) {
        *r = (struct changelog_reader){.next = l->readers, .at = offset};
        l->readers = r;
        rc = 0;
    }
    pthread_mutex_unlock(&l->mutex);
    return rc;
}

void changelog_reader_close(struct changelog *l, struct changelog_reader *r)
{
    pthread_mutex_lock(&l->mutex);
    struct changelog_reader **at = &l->readers;
    while (*at != NULL && *at != r)
        at = &(*at)->next;
    if (*at == r)
        *at = r->next;
    pthread_mutex_unlock(&l->mutex);
}

/* Within one chunk. Mutex held. */
static int read_piece(struct changelog *l, uint64_t at, void *p, size_t n)
{
    uint64_t number = at >> l->chunk_bits;
    if (number < atomic_load_explicit(&l->oldest, memory_order_relaxed))
        return l->spill.read(l->spill.arg, at, p, n);
    struct changelog_chunk *c = atomic_load_explicit(slot_of_chunk(l, number), memory_order_acquire);
    ASSERT(c != NULL && c->number == number);
    memcpy(p, c->bytes + (at & (chunk_size(l) - 1)), n);
    return 0;
}

static int64_t read_locked(struct changelog *l, struct changelog_reader *r, char *p, size_t max)
{
    uint64_t end = changelog_published(l);
    if (r->cut || changelog_is_broken(l))
        return ERR_CORRUPT;
    size_t n = end <= r->at ? 0 : end - r->at < max ? end - r->at : max, done = 0;
    while (done < n) {
        size_t room = chunk_size(l) - (r->at & (chunk_size(l) - 1));
        size_t k = n - done < room ? n - done : room;
        int rc = read_piece(l, r->at, p + done, k);
        if (rc != 0)
            return rc;
        r->at += k;
        done += k;
    }
    return (int64_t)done;
}

int64_t changelog_read(struct changelog *l, struct changelog_reader *r, void *p, size_t max)
{
    pthread_mutex_lock(&l->mutex);
    int64_t n = read_locked(l, r, p, max);
    pthread_mutex_unlock(&l->mutex);
    return n;
}

/* ---- trimming ---- */

static uint64_t slowest_reader(const struct changelog *l)
{
    uint64_t at = UINT64_MAX;
    for (const struct changelog_reader *r = l->readers; r != NULL; r = r->next)
        if (!r->cut && r->at < at)
            at = r->at;
    return at;
}

static void cut_below(struct changelog *l, uint64_t at)
{
    for (struct changelog_reader *r = l->readers; r != NULL; r = r->next)
        r->cut |= r->at < at;
}

static bool spill_chunk(struct changelog *l, uint64_t number)
{
    uint64_t bytes = (number + 1 - l->spilled_from) << l->chunk_bits;
    if (l->spill.write == NULL || bytes > l->spill.bytes_max)
        return false;
    const struct changelog_chunk *c = atomic_load_explicit(slot_of_chunk(l, number), memory_order_acquire);
    return l->spill.write(l->spill.arg, number << l->chunk_bits, c->bytes, chunk_size(l)) == 0;
}

/* Chunks below `keep` leave memory; those from `needed` on, which a reader wants, for the file. */
static void let_go(struct changelog *l, uint64_t keep, uint64_t needed)
{
    uint64_t n = atomic_load_explicit(&l->oldest, memory_order_relaxed);
    drop_spilled(l, needed);
    for (; n < keep; n++) {
        if (n >= needed && !spill_chunk(l, n)) {
            cut_below(l, (n + 1) << l->chunk_bits);
            needed = n + 1;
            drop_spilled(l, l->spilled_to);
        }
        if (n < needed)
            l->spilled_from = n + 1;
        l->spilled_to = n + 1;
        free_chunks(l, n + 1);
    }
}

void changelog_trim(struct changelog *l)
{
    pthread_mutex_lock(&l->mutex);
    if (!l->on || changelog_is_broken(l)) {
        pthread_mutex_unlock(&l->mutex);
        return;
    }
    uint64_t end = changelog_published(l), slowest = slowest_reader(l);
    uint64_t keep = end > l->backlog ? (end - l->backlog) >> l->chunk_bits : 0;
    uint64_t needed = (slowest < end ? slowest : end) >> l->chunk_bits;
    let_go(l, keep, needed);
    uint64_t oldest = atomic_load_explicit(&l->oldest, memory_order_relaxed);
    uint64_t first = (l->spilled_from < l->spilled_to ? l->spilled_from : oldest) << l->chunk_bits;
    if (first > changelog_begin(l))
        atomic_store_explicit(&l->begin, first, memory_order_release);
    pthread_mutex_unlock(&l->mutex);
}

uint64_t changelog_memory(const struct changelog *l)
{
    if (!l->on)
        return 0;
    uint64_t oldest = atomic_load_explicit(&l->oldest, memory_order_relaxed) << l->chunk_bits;
    uint64_t head = changelog_head(l);
    return head > oldest ? head - oldest : 0;
}

uint64_t changelog_spilled(struct changelog *l)
{
    pthread_mutex_lock(&l->mutex);
    uint64_t n = (l->spilled_to - l->spilled_from) << l->chunk_bits;
    pthread_mutex_unlock(&l->mutex);
    return n;
}
