/* What this node remembers of its history across a restart: a small file in `dir`.
 *
 * Without it a primary that comes back empty would hand its emptiness to replicas that still have everything.
 * With it the node knows that its data were more than it has now, and leaves those replicas alone until
 * somebody decides: this node becomes a replica of one of them, or REPLICAOF NO ONE says that the data may
 * go.
 *
 *      each second         the replication thread says what it is to tell, the saver writes and flushes it
 *      another history     the replication thread does both, before anybody can get that history
 *
 * What is written each second nobody waits for, and a disk may take seconds to flush it: replicas and whoever
 * waits for their acknowledgements must not. So it may be older than a second, by a flush of the disk. */
#include "server/repl.h"

#include "base/log.h"
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RECORD "larder.history"
#define RECORD_NEW "larder.history.new"

enum { RECORD_MAX = 1024, RECORD_MS = 1000 };

static bool write_file(struct str text)
{
    int fd = open(RECORD_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write(fd, text.p, text.n) == (ssize_t)text.n && fdatasync(fd) == 0;
    close(fd);
    return ok && rename(RECORD_NEW, RECORD) == 0;
}

static bool differs(const struct history_record *a, const struct history_record *b)
{
    return a->lineage.epoch != b->lineage.epoch || a->offset != b->offset || a->keys != b->keys ||
           strcmp(a->history.id, b->history.id) != 0;
}

/* What it tells of has been given up, with the log: whatever is written from now on replaces it. */
static void forget_record(struct repl_record *rec)
{
    if (unlink(RECORD) == 0 || errno == ENOENT)
        rec->is_there = false;
}

static void keep_record(struct repl_record *rec, const struct history_record *now)
{
    struct buf b;
    buf_init(&b);
    if (history_format(&b, now) == 0 && write_file(buf_str(&b))) {
        rec->said = *now;
        rec->is_there = true;
    } else {
        log_warning("Cannot write %s in 'dir': %s. After a restart this node will not know that it had data.",
                    RECORD, strerror(errno));
    }
    buf_release(&b);
}

static void ask(struct repl *r)
{
    struct store_memory m;
    repl_round_begin(r);
    struct record_wish wish = {.now = {r->history, r->lineage, repl_offset(r), 0}};
    store_memory(r->server->store, &m);
    wish.now.keys = m.keys;
    bool settled = !r->lost_history && !r->has_place && !atomic_load(&r->loading);
    wish.keep = r->has_history && settled;
    wish.forget = !r->has_history && !r->is_replica && settled;
    repl_round_end(r);
    pthread_mutex_lock(&r->mutex);
    r->record.wish = wish;
    pthread_mutex_unlock(&r->mutex);
}

static struct record_wish take_wish(struct repl *r)
{
    pthread_mutex_lock(&r->mutex);
    struct record_wish wish = r->record.wish;
    r->record.wish = (struct record_wish){.keep = false};
    pthread_mutex_unlock(&r->mutex);
    return wish;
}

/* Taken with the file's lock held, so what is older is never written over what is newer. */
void repl_record_write(struct repl *r)
{
    struct repl_record *rec = &r->record;
    pthread_mutex_lock(&rec->file);
    struct record_wish wish = take_wish(r);
    if (wish.forget && rec->is_there)
        forget_record(rec);
    if (wish.keep && differs(&wish.now, &rec->said))
        keep_record(rec, &wish.now);
    pthread_mutex_unlock(&rec->file);
}

/* Outside of rounds. */
void repl_record_keep(struct repl *r)
{
    if (r->now_ms < r->record.next_ms)
        return;
    r->record.next_ms = r->now_ms + RECORD_MS;
    ask(r);
}

void repl_record_now(struct repl *r)
{
    atomic_store(&r->record_now, false);
    ask(r);
    repl_record_write(r);
}

/* At boot, when what there is to load has been loaded. */
void repl_record_recall(struct repl *r)
{
    char text[RECORD_MAX];
    struct store_memory m;
    int fd = open(RECORD, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    store_memory(r->server->store, &m);
    if (n <= 0 || history_parse((struct str){text, (size_t)n}, &r->lost) != 0) {
        log_warning("%s in 'dir' cannot be understood and is ignored.", RECORD);
        return;
    }
    r->record.is_there = r->has_past = true;
    if (!r->from_file && r->lost.lineage.epoch != 0)
        repl_lineage_set(r, &r->lost.lineage);
    r->lost_history = history_was_ahead(&r->lost, r->has_place ? &r->place : NULL);
    if (r->lost_history && m.keys > 0)
        log_warning(
            "This node was further when it was stopped than the snapshot that it has loaded. Replicas that "
            "have more than that get no copy of less: make this node a replica of one of them "
            "(REPLICAOF), or say REPLICAOF NO ONE here if what they have more may go.");
    else if (r->lost_history)
        log_warning("This node had %llu keys before it was restarted, and has none now. Replicas that still "
                    "have them get "
                    "no copy of nothing: make this node a replica of one of them (REPLICAOF), or say "
                    "REPLICAOF NO ONE "
                    "here if the data may go.",
                    (unsigned long long)r->lost.keys);
}
