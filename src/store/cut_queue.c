/* What has been saved for a cut and waits for its reader, in memory and beyond a bound in a file.
 *
 * The order does not matter: every key is saved once. So what is in memory is read first, and the file, an
 * unlinked one, is a stack of chunks that are read back when nothing else is left. The bytes in the file
 * hold references (pointers of heap values), as those in memory do. */
#include "base/alloc.h"
#include "base/err.h"
#include "store/cut_internal.h"
#include "store/evict.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cut_break(struct cut *c, int err)
{
    int none = 0;
    atomic_compare_exchange_strong_explicit(&c->broken, &none, err, memory_order_relaxed,
                                            memory_order_relaxed);
}

static void count(struct cut *c, const struct cut_chunk *ch)
{
    c->stats.held += sizeof *ch + ch->room;
    if (c->stats.held > c->stats.held_peak)
        c->stats.held_peak = c->stats.held;
}

static void append(struct cut *c, struct cut_chunk *ch)
{
    *c->tail = ch;
    c->tail = &ch->next;
}

void cut_push(struct cut *c, struct cut_chunk *ch)
{
    lock_hold(&c->lock);
    append(c, ch);
    count(c, ch);
    lock_release(&c->lock);
}

/* ---- writers, a record at a time ---- */

/* What they have filled so far goes where the reader finds it. */
static void end_filling(struct cut *c)
{
    if (c->filling == NULL)
        return;
    append(c, c->filling);
    c->filling = NULL;
}

struct record *cut_fill_begin(struct cut *c, size_t n)
{
    lock_hold(&c->lock);
    struct cut_chunk *ch = c->filling;
    if (ch == NULL || ch->room - ch->n < n) {
        size_t room = CUT_FILL_BYTES - sizeof *ch;
        room = n > room ? n : room;
        end_filling(c);
        c->filling = ch = mem_alloc(sizeof *ch + room);
        if (ch == NULL) {
            lock_release(&c->lock);
            return NULL;
        }
        *ch = (struct cut_chunk){.room = room};
        count(c, ch);
    }
    struct record *r = (struct record *)(void *)(ch->data + ch->n);
    ch->n += n;
    return r;
}

void cut_fill_end(struct cut *c)
{
    lock_release(&c->lock);
}

static struct cut_chunk *take(struct cut *c)
{
    struct cut_chunk *ch = c->head;
    if (ch == NULL)
        return NULL;
    c->head = ch->next;
    if (c->head == NULL)
        c->tail = &c->head;
    ch->next = NULL;
    c->stats.held -= sizeof *ch + ch->room;
    return ch;
}

/* ---- the file ---- */

static bool whole_io(int fd, char *p, size_t n, int64_t at, bool writing)
{
    while (n > 0) {
        ssize_t rc = writing ? pwrite(fd, p, n, at) : pread(fd, p, n, at);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return false;
        p += rc;
        at += rc;
        n -= (size_t)rc;
    }
    return true;
}

/* A file without a name. Not every file system makes them at once. */
static int open_nameless(const char *dir)
{
    char path[PATH_MAX];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof path, "%s/temp-cut-XXXXXX", dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* Under cuts_lock. Takes ch, which `spilling` counts. */
static void spill(struct cut *c, struct cut_chunk *ch)
{
    if (c->spill_fd < 0)
        c->spill_fd = open_nameless(c->spill_dir);
    int fd = c->spill_fd;
    lock_hold(&c->lock);
    ch->at = c->spill_end;
    c->spill_end += (int64_t)ch->n;
    lock_release(&c->lock);
    struct cut_chunk *stub = fd >= 0 ? mem_alloc(sizeof *stub) : NULL;
    if (stub == NULL || !whole_io(fd, ch->data, ch->n, ch->at, true)) {
        cut_break(c, stub == NULL && fd >= 0 ? ERR_OOM : ERR_IO); /* the reader sees this, and ends */
        mem_free(stub);
        cut_chunk_free(c, ch);
        return;
    }
    *stub = *ch;
    mem_free(ch);
    lock_hold(&c->lock);
    c->spilling--;
    stub->next = c->on_disk;
    c->on_disk = stub;
    c->stats.spilled += stub->n;
    lock_release(&c->lock);
}

/* Takes the stub. NULL: memory or disk failed, and the references in it are lost with it. */
static struct cut_chunk *read_back(struct cut *c, struct cut_chunk *stub)
{
    struct cut_chunk *ch = mem_alloc(sizeof *ch + stub->n);
    if (ch != NULL)
        *ch = (struct cut_chunk){.n = stub->n, .room = stub->n};
    bool ok = ch != NULL && whole_io(c->spill_fd, ch->data, ch->n, stub->at, false);
    if (!ok)
        cut_break(c, ch == NULL ? ERR_OOM : ERR_IO);
    if (!ok && ch != NULL) {
        mem_free(ch);
        ch = NULL;
    }
    mem_free(stub);
    return ch;
}

/* The next chunk to be written to the file, NULL when few enough are held. */
static struct cut_chunk *take_beyond(struct cut *c)
{
    lock_hold(&c->lock);
    bool beyond = c->stats.held > c->queue_max;
    if (beyond && c->head == NULL)
        end_filling(c);
    struct cut_chunk *ch = beyond ? take(c) : NULL;
    c->spilling += ch != NULL;
    lock_release(&c->lock);
    return ch;
}

void store_cut_relieve(struct store *s)
{
    if (!lock_try(&s->cuts_lock))
        return; /* somebody else is at it */
    for (unsigned i = 0; i < STORE_CUTS_MAX; i++) {
        struct cut *c = s->cuts[i];
        struct cut_chunk *ch;
        size_t done = 0;
        while (c != NULL && cut_broken(c) == 0 && done < CUT_SPILL_BYTES && (ch = take_beyond(c)) != NULL) {
            done += ch->n;
            spill(c, ch);
        }
    }
    lock_release(&s->cuts_lock);
}

/* ---- the reader ---- */

int cut_pop(struct cut *c, struct cut_chunk **out)
{
    if (cut_broken(c) != 0)
        return cut_broken(c);
    lock_hold(&c->lock);
    if (c->slot == STORE_SLOTS)
        end_filling(c); /* every page is saved: nobody adds to it any more */
    struct cut_chunk *ch = take(c), *stub = NULL;
    int none = c->spilling > 0 ? ERR_AGAIN : ERR_NOTFOUND;
    /* While the walk goes on there will be more in memory; the file is for the end. */
    if (ch == NULL && c->slot == STORE_SLOTS) {
        stub = c->on_disk;
        if (stub != NULL)
            c->on_disk = stub->next;
    }
    lock_release(&c->lock);
    if (stub != NULL)
        ch = read_back(c, stub);
    *out = ch;
    if (ch != NULL)
        return 0;
    if (cut_broken(c) != 0)
        return cut_broken(c);
    return c->slot == STORE_SLOTS ? none : ERR_NOTFOUND;
}

static const struct record *record_at(const struct cut_chunk *ch, size_t *at)
{
    const struct record *r = (const struct record *)(const void *)(ch->data + *at);
    if (*at >= ch->n)
        return NULL;
    *at += record_size(r->klen, r->vlen, r->xlen);
    return r;
}

static void *heap_value(const struct record *r)
{
    void *p;
    memcpy(&p, r->bytes + r->klen, sizeof p);
    return p;
}

bool cut_chunk_next(const struct cut_chunk *ch, size_t *at, struct cut_record *out)
{
    const struct record *r = record_at(ch, at);
    if (r == NULL)
        return false;
    *out = (struct cut_record){
        .key = {r->bytes, r->klen}, .db = r->db, .expire_ms = r->expire_ms, .hidden = r->hidden};
    out->idle_s = r->use_kind == USE_IDLE ? (int64_t)r->use : -1;
    out->freq = r->use_kind == USE_FREQ ? (int64_t)r->use : -1;
    if (r->kind == ENTRY_OBJECT)
        out->object = heap_value(r);
    else if (r->kind == ENTRY_BLOCK)
        out->value = block_str(heap_value(r));
    else
        out->value = (struct str){r->bytes + r->klen, r->vlen};
    if (r->xlen != RECORD_NO_EXTRA)
        out->extra = (struct str){r->bytes + r->klen + r->vlen, r->xlen};
    return true;
}

void cut_chunk_free(struct cut *c, struct cut_chunk *ch)
{
    const struct record *r;
    for (size_t at = 0; (r = record_at(ch, &at)) != NULL;) {
        if (r->kind == ENTRY_OBJECT)
            store_release_object(c->store, heap_value(r));
        else if (r->kind == ENTRY_BLOCK)
            block_put(heap_value(r));
    }
    mem_free(ch);
}

/* The last user is gone. */
void cut_drop_all(struct cut *c)
{
    struct cut_chunk *ch;
    end_filling(c);
    while ((ch = take(c)) != NULL)
        cut_chunk_free(c, ch);
    while ((ch = c->on_disk) != NULL) {
        c->on_disk = ch->next;
        ch = read_back(c, ch);
        if (ch != NULL)
            cut_chunk_free(c, ch);
    }
    if (c->spill_fd >= 0)
        close(c->spill_fd);
}

void cut_stats(struct cut *c, struct cut_stats *out)
{
    lock_hold(&c->lock);
    *out = c->stats;
    lock_release(&c->lock);
}
