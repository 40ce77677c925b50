/* MEMORY STATS and MEMORY DOCTOR: where the memory goes, as figures and in words.
 *
 * The names of MEMORY STATS are Redis's wherever they mean something here, and mean the same: total.allocated
 * is used_memory, with clients and all; dataset is keys and values. What only larder has stands behind them.
 */
#include "server/handlers.h"

#include "base/alloc.h"
#include "os/proc.h"
#include "server/doctor.h"

#include <stdio.h>

/* ---- figures ---------------------------------------------------------------------- */

struct figures {
    struct store_memory data;
    struct store_stats stats;
    struct mem_stats heap;
    uint64_t used, rss, peak, startup, clients;
    uint64_t dataset; /* keys and values */
};

static void figures_read(struct server *s, struct figures *f)
{
    store_memory(s->store, &f->data);
    store_stats(s->store, &f->stats);
    mem_stats_read(&f->heap);
    f->used = stats_used_memory(s);
    f->rss = stats_rss();
    f->peak = atomic_load_explicit(&s->stats.peak_memory, memory_order_relaxed);
    f->peak = f->used > f->peak ? f->used : f->peak;
    f->startup = s->startup_memory;
    f->clients = clients_memory(s);
    f->dataset = f->data.live + f->data.blocks;
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* ---- MEMORY STATS ----------------------------------------------------------------- */

struct row {
    const char *name;
    bool real;
    double value;   /* real */
    int64_t number; /* not */
};

#define NUMBER(name_, v)                                                                                     \
    {                                                                                                        \
        .name = (name_), .number = (int64_t)(v)                                                              \
    }
#define REAL(name_, v)                                                                                       \
    {                                                                                                        \
        .name = (name_), .real = true, .value = (v)                                                          \
    }

static void put_rows(struct reply *r, const struct row *rows, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        reply_cstr(r, rows[i].name);
        if (rows[i].real)
            reply_double(r, rows[i].value);
        else
            reply_int(r, rows[i].number);
    }
}

/* A database's share of the tables goes by its keys; deadlines lie in the entries. */
static void put_databases(struct server *s, struct reply *r, const struct figures *f, bool count, uint64_t *n)
{
    *n = 0;
    for (uint32_t db = 0; db < s->limits.databases; db++) {
        uint64_t keys = store_db_keys(s->store, db);
        if (keys == 0)
            continue;
        ++*n;
        if (count)
            continue;
        char name[32];
        snprintf(name, sizeof name, "db.%u", db);
        const struct row rows[] = {
            NUMBER("overhead.hashtable.main", ratio(keys, f->data.keys) * (double)f->data.tables),
            NUMBER("overhead.hashtable.expires", store_db_expires(s->store, db) * sizeof(int64_t)),
        };
        reply_cstr(r, name);
        reply_map(r, ARRAY_LEN(rows));
        put_rows(r, rows, ARRAY_LEN(rows));
    }
}

/* By size: entries of up to so many bytes, and the rest. */
static void put_evicted(struct reply *r, const struct store_stats *st)
{
    reply_cstr(r, "evicted.by-size");
    reply_map(r, STORE_CLASSES);
    for (unsigned n = 0; n < STORE_CLASSES; n++) {
        char name[16] = "larger";
        if (n + 1 < STORE_CLASSES)
            snprintf(name, sizeof name, "%u", 64u << n);
        put_rows(r, &(struct row)NUMBER(name, st->evicted_class[n]), 1);
    }
}

void cmd_memory_stats(struct cmd_ctx *c)
{
    struct server *s = ctx_server(c);
    struct reply *r = c->reply;
    struct figures f;
    uint64_t databases;
    figures_read(s, &f);
    uint64_t net = less(f.used, f.startup), keys = f.data.keys;
    const struct row redis[] = {
        NUMBER("peak.allocated", f.peak),
        NUMBER("total.allocated", f.used),
        NUMBER("startup.allocated", f.startup),
        NUMBER("replication.backlog", changelog_memory(&s->repl.log)),
        NUMBER("clients.slaves", 0),
        NUMBER("clients.normal", f.clients),
        NUMBER("cluster.links", 0),
        NUMBER("aof.buffer", 0),
        NUMBER("lua.caches", 0),
        NUMBER("functions.caches", 0),
    };
    const struct row more[] = {
        NUMBER("overhead.total", less(f.used, f.dataset)),
        NUMBER("keys.count", keys),
        NUMBER("keys.bytes-per-key", keys == 0 ? 0 : net / keys),
        NUMBER("dataset.bytes", f.dataset),
        REAL("dataset.percentage", 100 * ratio(f.dataset, net)),
        REAL("peak.percentage", 100 * ratio(f.used, f.peak)),
        NUMBER("allocator.allocated", f.heap.allocated),
        NUMBER("allocator.active", f.heap.active),
        NUMBER("allocator.resident", f.heap.resident),
        REAL("allocator-fragmentation.ratio", ratio(f.heap.active, f.heap.allocated)),
        NUMBER("allocator-fragmentation.bytes", less(f.heap.active, f.heap.allocated)),
        REAL("allocator-rss.ratio", ratio(f.heap.resident, f.heap.active)),
        NUMBER("allocator-rss.bytes", less(f.heap.resident, f.heap.active)),
        REAL("rss-overhead.ratio", ratio(f.rss, f.heap.resident)),
        NUMBER("rss-overhead.bytes", less(f.rss, f.heap.resident)),
        REAL("fragmentation", ratio(f.rss, f.used)),
        NUMBER("fragmentation.bytes", (int64_t)f.rss - (int64_t)f.used),
    };
    const struct row own[] = {
        NUMBER("data.used", f.data.used),
        NUMBER("data.limit", s->config.maxmemory),
        REAL("data.bytes-per-key", ratio(f.data.used, keys)),
        NUMBER("keys.bytes", f.data.names),
        NUMBER("values.bytes", f.data.values),
        NUMBER("headers.bytes", f.data.headers),
        NUMBER("blocks.bytes", f.data.blocks),
        NUMBER("blocks.slack", f.data.heap_slack),
        NUMBER("tables.bytes", f.data.tables),
        NUMBER("segments.bytes", f.data.segments),
        NUMBER("segments.live", f.data.live),
        NUMBER("segments.dead", f.data.dead),
        NUMBER("segments.free", f.data.free_segments),
        NUMBER("flushed.bytes", f.data.doomed),
        NUMBER("ghosts.bytes", f.data.ghosts),
        NUMBER("expired.bytes", f.data.expired),
        NUMBER("evicted.keys", f.stats.evicted),
        NUMBER("evicted.age-ms", f.stats.evicted_age_ms),
        NUMBER("ghost.hits", f.stats.ghost_hits),
        NUMBER("rss.gap", f.data.rss_gap),
        NUMBER("rss.counted", f.data.rss_excess),
    };
    put_databases(s, NULL, &f, true, &databases);
    reply_map(r, ARRAY_LEN(redis) + databases + ARRAY_LEN(more) + ARRAY_LEN(own) + 1);
    put_rows(r, redis, ARRAY_LEN(redis));
    put_databases(s, r, &f, false, &databases);
    put_rows(r, more, ARRAY_LEN(more));
    put_rows(r, own, ARRAY_LEN(own));
    put_evicted(r, &f.stats);
}

/* ---- MEMORY DOCTOR ---------------------------------------------------------------- */

void cmd_memory_doctor(struct cmd_ctx *c)
{
    struct server *s = ctx_server(c);
    struct figures f;
    struct buf text;
    figures_read(s, &f);
    const struct doctor_facts facts = {
        .data = f.data,
        .heap = f.heap,
        .maxmemory = s->config.maxmemory,
        .evicts = s->config.maxmemory_policy != POLICY_NOEVICTION,
        .rss = f.rss,
        .peak = f.peak,
        .machine = stats_machine_memory(),
        .clients_bytes = f.clients,
        .clients = atomic_load_explicit(&s->nclients, memory_order_relaxed),
        .threads = s->nworkers + 1,
        .segment_size = f.data.segment_size,
        .hits = stats_hits(s),
        .misses = stats_misses(s),
        .evicted = f.stats.evicted,
        .ghost_hits = f.stats.ghost_hits,
        .expired_resident = f.data.expired,
        .huge_pages_off = proc_says("/sys/kernel/mm/transparent_hugepage/enabled", "[never]"),
    };
    buf_init(&text);
    doctor_report(&facts, &text);
    cmd_reply_text(c, &text);
}
