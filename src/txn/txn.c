#include "txn/txn.h"

#include "base/alloc.h"
#include "base/err.h"

struct txn_watch {
    struct watch w;
    struct txn_watch *next;
    char key[];
};

void txn_init(struct txn *t)
{
    memset(t, 0, sizeof *t);
}

static int grow_queue(struct txn *t)
{
    if (t->ncommands < t->commands_cap)
        return 0;
    if (t->ncommands == TXN_COMMANDS_MAX)
        return ERR_FULL;
    uint32_t cap = t->commands_cap == 0 ? 8 : t->commands_cap * 2;
    struct txn_command *grown = mem_realloc(t->commands, cap * sizeof *grown);
    if (grown == NULL)
        return ERR_OOM;
    t->bytes += (cap - t->commands_cap) * sizeof *grown;
    t->queue_bytes += (cap - t->commands_cap) * sizeof *grown;
    t->commands = grown;
    t->commands_cap = cap;
    return 0;
}

int txn_queue(struct txn *t, const struct command *cmd, const struct str *argv, uint32_t argc)
{
    int rc = grow_queue(t);
    if (rc != 0)
        return rc;
    size_t bytes = argc * sizeof *argv;
    for (uint32_t i = 0; i < argc; i++)
        bytes += argv[i].n;
    struct str *copy = mem_alloc(bytes);
    if (copy == NULL)
        return ERR_OOM;
    char *at = (char *)(copy + argc);
    for (uint32_t i = 0; i < argc; i++) {
        memcpy(at, argv[i].p, argv[i].n);
        copy[i] = (struct str){at, argv[i].n};
        at += argv[i].n;
    }
    t->commands[t->ncommands++] = (struct txn_command){.cmd = cmd, .argv = copy, .argc = argc};
    t->bytes += bytes;
    t->queue_bytes += bytes;
    return 0;
}

void txn_clear_queue(struct txn *t)
{
    for (uint32_t i = 0; i < t->ncommands; i++)
        mem_free(t->commands[i].argv);
    mem_free(t->commands);
    t->commands = NULL;
    t->ncommands = t->commands_cap = 0;
    t->open = t->aborted = false;
    t->bytes -= t->queue_bytes;
    t->queue_bytes = 0;
}

static bool is_watched(const struct txn *t, const struct key *k, uint32_t db)
{
    for (const struct txn_watch *tw = t->watches; tw != NULL; tw = tw->next)
        if (tw->w.db == db && str_eq((struct str){tw->w.p, tw->w.n}, (struct str){k->p, k->n}))
            return true;
    return false;
}

int txn_watch(struct txn *t, const struct access *a, const struct key *k, uint32_t db)
{
    if (is_watched(t, k, db))
        return 0;
    if (t->nwatches == TXN_WATCHES_MAX)
        return ERR_FULL;
    struct txn_watch *tw = mem_zalloc(sizeof *tw + k->n);
    if (tw == NULL)
        return ERR_OOM;
    memcpy(tw->key, k->p, k->n);
    tw->w.p = tw->key;
    tw->w.n = k->n;
    tw->w.db = db;
    tw->w.slot = k->slot;
    tw->w.flag = &t->dirty;
    tw->next = t->watches;
    t->watches = tw;
    t->nwatches++;
    t->bytes += sizeof *tw + k->n;
    store_watch(a, &tw->w);
    return 0;
}

void txn_watch_shards(const struct txn *t, struct lockset *ls)
{
    for (const struct txn_watch *tw = t->watches; tw != NULL; tw = tw->next)
        lockset_add(ls, tw->w.slot / STORE_SLOTS_PER_SHARD);
}

bool txn_watch_broken(const struct txn *t, const struct access *a)
{
    if (atomic_load_explicit(&t->dirty, memory_order_acquire))
        return true;
    for (const struct txn_watch *tw = t->watches; tw != NULL; tw = tw->next)
        if (store_watch_gone(a, &tw->w))
            return true;
    return false;
}

void txn_unwatch_all(struct txn *t, struct store *s)
{
    while (t->watches != NULL) {
        struct txn_watch *tw = t->watches;
        t->watches = tw->next;
        t->bytes -= sizeof *tw + tw->w.n;
        store_unwatch(s, &tw->w);
        mem_free(tw);
    }
    t->nwatches = 0;
    atomic_store_explicit(&t->dirty, false, memory_order_relaxed);
}

void txn_release(struct txn *t, struct store *s)
{
    txn_clear_queue(t);
    txn_unwatch_all(t, s);
}
