/* From the records of a cut to the bytes of a file. */
#include "persist/snapshot.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "persist/rdb.h"
#include "store/cut.h"
#include "store/gate.h"
#include "value/object.h"

enum {
    PIECE = 64 << 10,       /* bytes given to the sink at a time, about */
    STRING_WHOLE = 1 << 20, /* longer strings are written in pieces, and not compressed */
    HIDDEN_MAX =
        256 << 20,     /* who skips what plain commands do not see holds it in memory: longer is left out */
    BUF_KEEP = 1 << 20 /* a buffer that has become larger is freed */
};

enum stage {
    STAGE_HEAD,
    STAGE_KEYS,
    STAGE_OBJECT,
    STAGE_STRING,
    STAGE_STATE,
    STAGE_END,
    STAGE_DONE,
    STAGE_FAILED
};

struct snapshot {
    struct cut *cut;
    struct snapshot_sink *sink;
    struct snapshot_progress progress;
    uint32_t version;
    bool compress, checksum;
    enum stage stage;
    int error;
    uint64_t sum;
    int64_t db; /* selected; -1: none yet */
    struct buf out;
    struct cut_chunk *chunk; /* being written */
    size_t at;               /* in it */
    struct cut_record record;
    struct object_walk walk; /* STAGE_OBJECT: within the record's collection */
    size_t string_at;        /* STAGE_STRING: within its string */
    int (*put_state)(void *arg, uint32_t *at, struct buf *out);
    void *state_arg;
    uint32_t state_at;
    struct gate *gate;
    uint32_t round;
};

static int put_head(struct snapshot *sn, struct store *s, const struct snapshot_options *o,
                    uint32_t databases)
{
    int err = rdb_put_header(&sn->out, o->version);
    for (uint32_t i = 0; i < o->naux && err == 0; i++)
        err = rdb_put_aux(&sn->out, o->aux[i].name, o->aux[i].value);
    for (uint32_t db = 0; db < databases && err == 0 && o->slots == NULL; db++) {
        uint64_t keys = store_db_keys(s, db);
        sn->progress.keys_total += keys;
        if (keys == 0)
            continue;
        err = rdb_put_select(&sn->out, db);
        if (err == 0)
            err = rdb_put_resize(&sn->out, keys, store_db_expires(s, db));
        sn->db = db;
    }
    return err;
}

int snapshot_open(struct snapshot **out, struct store *s, const struct snapshot_options *o)
{
    struct snapshot *sn = mem_zalloc(sizeof *sn);
    if (sn == NULL)
        return ERR_OOM;
    buf_init(&sn->out);
    sn->sink = o->sink;
    sn->version = o->version;
    sn->compress = o->compress;
    sn->checksum = o->checksum;
    sn->put_state = o->put_state;
    sn->state_arg = o->state_arg;
    sn->gate = o->gate;
    sn->round = o->round;
    sn->db = -1;
    struct cut_options co = {.now_ms = o->now_ms,
                             .clock_ms = o->clock_ms,
                             .slots = o->slots,
                             .spill_dir = o->spill_dir,
                             .lane = o->lane,
                             .whole = o->whole,
                             .gate = o->gate,
                             .round = o->round};
    int err = put_head(sn, s, o, store_databases(s));
    if (err == 0)
        err = cut_open(&sn->cut, s, &co);
    if (err != 0) {
        buf_release(&sn->out);
        mem_free(sn);
        return err;
    }
    *out = sn;
    return 0;
}

/* Everything in `out` goes to the sink. */
static int flush(struct snapshot *sn)
{
    if (sn->checksum)
        sn->sum = hash_crc64(sn->sum, sn->out.p, sn->out.n);
    int err = sn->sink->write(sn->sink, sn->out.p, sn->out.n);
    sn->progress.bytes += sn->out.n;
    buf_clear(&sn->out);
    if (sn->out.cap > BUF_KEEP)
        buf_release(&sn->out);
    return err;
}

/* Some of the collection at hand. */
static int put_object(struct snapshot *sn)
{
    int rc = object_type(sn->record.object)->dump(sn->record.object, sn->version, &sn->walk, PIECE, &sn->out);
    if (rc >= 0)
        sn->stage = rc == 0 ? STAGE_KEYS : STAGE_OBJECT;
    return rc < 0 ? rc : 0;
}

/* Some of the long string at hand. */
static int put_piece(struct snapshot *sn)
{
    struct str v = sn->record.value;
    size_t n = v.n - sn->string_at < PIECE ? v.n - sn->string_at : PIECE;
    int err = buf_append(&sn->out, v.p + sn->string_at, n);
    sn->string_at += n;
    sn->stage = sn->string_at < v.n ? STAGE_STRING : STAGE_KEYS;
    return err;
}

static int put_string(struct snapshot *sn)
{
    if (sn->record.value.n <= STRING_WHOLE)
        return rdb_put_string(&sn->out, sn->record.value, sn->compress);
    sn->string_at = 0;
    int err = rdb_put_length(&sn->out, sn->record.value.n);
    return err == 0 ? put_piece(sn) : err;
}

/* As put_string(), but there is no length in front of the value. */
static int put_hidden(struct snapshot *sn)
{
    const struct cut_record *r = &sn->record;
    ASSERT(r->object == NULL && r->extra.p != NULL);
    int err = rdb_put_entry(&sn->out, r->key, r->extra, r->value.n);
    sn->string_at = 0;
    return err == 0 ? put_piece(sn) : err;
}

static int put_record(struct snapshot *sn)
{
    const struct cut_record *r = &sn->record;
    int err = 0;
    if (sn->db != r->db) {
        err = rdb_put_select(&sn->out, r->db);
        sn->db = r->db;
    }
    if (r->hidden)
        return err != 0 || r->value.n > HIDDEN_MAX ? err : put_hidden(sn);
    uint8_t type = r->object == NULL ? RDB_STRING : object_type(r->object)->rdb_type(r->object, sn->version);
    if (err == 0 && r->extra.p != NULL)
        err = rdb_put_extra(&sn->out, r->extra);
    if (err == 0)
        err = rdb_put_use(&sn->out, r->idle_s, r->freq);
    if (err == 0)
        err = rdb_put_key(&sn->out, r->expire_ms, type, r->key, sn->compress);
    sn->progress.keys++;
    if (err != 0 || r->object == NULL)
        return err == 0 ? put_string(sn) : err;
    sn->walk = (struct object_walk){.at = 0};
    return put_object(sn);
}

/* From the chunk at hand until a piece is full, or the chunk is done. */
static int put_records(struct snapshot *sn)
{
    int err = 0;
    while (err == 0 && sn->stage == STAGE_KEYS && sn->out.n < PIECE) {
        if (!cut_chunk_next(sn->chunk, &sn->at, &sn->record)) {
            cut_chunk_free(sn->cut, sn->chunk);
            sn->chunk = NULL;
            break;
        }
        err = put_record(sn);
    }
    return err;
}

static int step_keys(struct snapshot *sn)
{
    if (sn->chunk == NULL) {
        sn->at = 0;
        int err = cut_next(sn->cut, &sn->chunk);
        if (err == ERR_NOTFOUND) {
            sn->stage = sn->put_state != NULL ? STAGE_STATE : STAGE_END;
            return 0;
        }
        if (err != 0)
            return err == ERR_EXISTS ? ERR_NOTFOUND : err;
    }
    int err = sn->stage == STAGE_OBJECT   ? put_object(sn)
              : sn->stage == STAGE_STRING ? put_piece(sn)
                                          : put_records(sn);
    return err == 0 && sn->out.n >= PIECE ? flush(sn) : err;
}

static int step_state(struct snapshot *sn)
{
    struct buf value;
    buf_init(&value);
    if (sn->gate != NULL)
        gate_enter(sn->gate, sn->round);
    int rc = sn->put_state(sn->state_arg, &sn->state_at, &value);
    if (sn->gate != NULL)
        gate_leave(sn->gate, sn->round);
    int err = rc < 0 ? rc : 0;
    if (err == 0 && value.n > 0)
        err = rdb_put_aux(&sn->out, RDB_STATE_NAME, buf_str(&value));
    buf_release(&value);
    if (rc == 1)
        sn->stage = STAGE_END;
    return err == 0 && sn->out.n >= PIECE ? flush(sn) : err;
}

static int step_end(struct snapshot *sn)
{
    int err = rdb_put_end(&sn->out);
    if (err == 0)
        err = flush(sn);
    if (err == 0)
        err = rdb_put_sum(&sn->out, sn->checksum ? sn->sum : 0);
    if (err == 0)
        err = flush(sn);
    sn->stage = STAGE_DONE;
    return err == 0 ? SNAPSHOT_DONE : err;
}

int snapshot_step(struct snapshot *sn)
{
    int rc = 0;
    switch (sn->stage) {
    case STAGE_HEAD:
        sn->stage = STAGE_KEYS;
        rc = flush(sn);
        break;
    case STAGE_KEYS:
    case STAGE_STRING:
    case STAGE_OBJECT: rc = step_keys(sn); break;
    case STAGE_STATE: rc = step_state(sn); break;
    case STAGE_END: rc = step_end(sn); break;
    case STAGE_DONE: return SNAPSHOT_DONE;
    case STAGE_FAILED: return sn->error;
    }
    if (rc < 0 && rc != ERR_AGAIN) {
        sn->stage = STAGE_FAILED;
        sn->error = rc;
    }
    return rc;
}

void snapshot_close(struct snapshot *sn)
{
    if (sn->chunk != NULL)
        cut_chunk_free(sn->cut, sn->chunk);
    cut_close(sn->cut);
    buf_release(&sn->out);
    mem_free(sn);
}

void snapshot_progress(const struct snapshot *sn, struct snapshot_progress *out)
{
    struct cut_stats st;
    cut_stats(sn->cut, &st);
    *out = sn->progress;
    out->held_peak = st.held_peak;
    out->spilled = st.spilled;
}
