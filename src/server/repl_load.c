/* A full copy that lies in a file: checked as a whole while our own data still stand, then loaded. */
#include "server/repl.h"

#include "cache/state.h"
#include "persist/load.h"
#include "server/server.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int64_t read_spool(void *arg, char *p, size_t n)
{
    struct repl_copy *copy = arg;
    ssize_t rc;
    do {
        rc = pread(copy->fd, p, n < copy->n - copy->at ? n : copy->n - copy->at, (off_t)copy->at);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return ERR_IO;
    copy->at += (uint64_t)rc;
    return rc;
}

static int unusable(struct repl_copy *copy, int err, const char *why)
{
    snprintf(copy->text, sizeof copy->text, "the primary's full copy cannot be used: %s", why);
    return err;
}

static int check_all(struct repl_copy *copy, struct rdb_reader *rd, struct store *s)
{
    struct rdb_item item;
    int rc;
    while ((rc = rdb_read(rd, &item)) == 0) {
        if (item.state.p != NULL)
            continue;
        if (item.object != NULL)
            store_release_object(s, item.object);
        if (item.db >= copy->databases)
            return unusable(copy, ERR_RANGE, "it has more databases than 'databases' allows here");
        copy->keys += !item.hidden; /* what plain commands do not see makes no data set */
    }
    if (rc < 0)
        return unusable(copy, rc, rd->text);
    if (rdb_offset(rd) != copy->n)
        return unusable(copy, ERR_CORRUPT, "there is more behind its end");
    copy->stream_db = rd->stream_db < copy->databases ? rd->stream_db : -1;
    (void)lineage_parse(str_of(rd->dataset), &copy->lineage);
    return 0;
}

int repl_copy_check(struct repl_copy *copy, struct repl *r)
{
    struct rdb_reader rd;
    copy->keys = copy->at = 0;
    rdb_reader_init(&rd, read_spool, copy, &r->server->limits.objects);
    int rc = check_all(copy, &rd, r->server->store);
    rdb_reader_release(&rd);
    return rc;
}

int repl_copy_load(struct repl_copy *copy, struct repl *r, uint64_t turn)
{
    struct load l;
    struct access a = r->ctx.a;
    bool current;
    int rc;
    copy->at = 0;
    load_init(&l, read_spool, copy, &r->server->limits.objects);
    l.put_extra = cache_put_extra;
    l.put_state = cache_take_state;
    l.keep_expired = true; /* the primary will say when they go */
    do {
        repl_round_begin(r);
        a.now_ms = r->now_ms;
        rc = load_step(&l, &a, copy->databases, REPL_LOAD_SLICE);
        current = turn == r->turn;
        repl_round_end(r);
        if (rc == ERR_AGAIN)
            sched_yield(); /* a job of before, about to end */
    } while (current && (rc == 0 || rc == ERR_AGAIN));
    load_release(&l);
    return !current ? ERR_AGAIN : rc == 1 ? 0 : rc;
}
