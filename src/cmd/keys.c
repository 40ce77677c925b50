/* Keys whatever their type, and whole databases. */
#include "cmd/cmd.h"
#include "cmd/handlers.h"
#include "cmd/types.h"

#include "base/assert.h"

static void delete_keys(struct cmd_ctx *c)
{
    int64_t n = 0;
    for (uint32_t k = 0; k < c->nkeys; k++)
        n += store_delete(&c->a, &c->keys[k]);
    reply_int(c->reply, n);
}

void cmd_del(struct cmd_ctx *c)
{
    delete_keys(c);
}

/* The same: what is large is given back to the heap, which returns its pages in the background. */
void cmd_unlink(struct cmd_ctx *c)
{
    delete_keys(c);
}

void cmd_exists(struct cmd_ctx *c)
{
    int64_t n = 0;
    for (uint32_t k = 0; k < c->nkeys; k++)
        n += cmd_peek(c, k) != NULL;
    reply_int(c->reply, n);
}

/* Also for a client that asked for CLIENT NO-TOUCH: it is what the command is for. */
void cmd_touch(struct cmd_ctx *c)
{
    int64_t n = 0;
    bool no_touch = c->a.no_touch;
    c->a.no_touch = false;
    for (uint32_t k = 0; k < c->nkeys; k++)
        n += cmd_find(c, k) != NULL;
    c->a.no_touch = no_touch;
    reply_int(c->reply, n);
}

void cmd_type(struct cmd_ctx *c)
{
    const struct entry *e = cmd_peek(c, 0);
    reply_status(c->reply, e == NULL ? "none" : type_name(e));
}

/* ---- copies and moves ------------------------------------------------------------- */

static bool same_bytes(const struct key *a, const struct key *b)
{
    return str_eq((struct str){a->p, a->n}, (struct str){b->p, b->n});
}

static void rename_key(struct cmd_ctx *c, bool only_if_absent)
{
    const struct key *from = &c->keys[0], *to = &c->keys[1];
    if (store_find(&c->a, from) == NULL) {
        reply_error(c->reply, REPLY_NO_KEY);
        return;
    }
    bool same = same_bytes(from, to);
    if (only_if_absent && (same || store_find(&c->a, to) != NULL)) {
        reply_int(c->reply, 0);
        return;
    }
    int err = same ? 0 : store_copy(&c->a, from, to);
    if (err != 0) {
        cmd_reply_err(c, err);
        return;
    }
    if (!same)
        store_delete(&c->a, from);
    if (only_if_absent)
        reply_int(c->reply, 1);
    else
        reply_ok(c->reply);
}

void cmd_rename(struct cmd_ctx *c)
{
    rename_key(c, false);
}

void cmd_renamenx(struct cmd_ctx *c)
{
    rename_key(c, true);
}

static const char same_object[] = "ERR source and destination objects are the same";

/* The same bytes in another database have the same slot, so their shard is locked already. */
static void key_elsewhere(const struct cmd_ctx *c, struct key *out, const struct key *k, uint32_t db)
{
    key_make(c->a.store, out, (struct str){k->p, k->n}, db);
    ASSERT(out->slot == k->slot);
}

/* A cluster has one database. True: it is one, the reply is written. */
static bool refused_in_cluster(struct cmd_ctx *c, bool other_db, const char *text)
{
    if (!c->limits->cluster || !other_db)
        return false;
    reply_error(c->reply, text);
    return true;
}

void cmd_move(struct cmd_ctx *c)
{
    uint32_t db;
    struct key to;
    if (refused_in_cluster(c, true, "ERR MOVE is not allowed in cluster mode") ||
        !cmd_arg_database(c, 2, &db))
        return;
    if (db == c->session->db) {
        reply_error(c->reply, same_object);
        return;
    }
    key_elsewhere(c, &to, &c->keys[0], db);
    if (store_find(&c->a, &c->keys[0]) == NULL || store_find(&c->a, &to) != NULL) {
        reply_int(c->reply, 0);
        return;
    }
    int err = store_copy(&c->a, &c->keys[0], &to);
    if (err != 0) {
        cmd_reply_err(c, err);
        return;
    }
    store_delete(&c->a, &c->keys[0]);
    reply_int(c->reply, 1);
}

static bool parse_copy(struct cmd_ctx *c, uint32_t *db, bool *replace)
{
    *db = c->session->db;
    *replace = false;
    for (uint32_t i = 3; i < c->argc; i++) {
        if (cmd_arg_is(c, i, STR("REPLACE"))) {
            *replace = true;
        } else if (cmd_arg_is(c, i, STR("DB")) && i + 1 < c->argc) {
            if (!cmd_arg_database(c, ++i, db))
                return false;
        } else {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
    }
    return true;
}

void cmd_copy(struct cmd_ctx *c)
{
    uint32_t db;
    bool replace;
    struct key to;
    if (!parse_copy(c, &db, &replace) ||
        refused_in_cluster(c, db != 0, "ERR Copying to another database is not allowed in cluster mode"))
        return;
    if (db == c->session->db && same_bytes(&c->keys[0], &c->keys[1])) {
        reply_error(c->reply, same_object);
        return;
    }
    key_elsewhere(c, &to, &c->keys[1], db);
    if (cmd_find(c, 0) == NULL || (store_find(&c->a, &to) != NULL && !replace)) {
        reply_int(c->reply, 0);
        return;
    }
    int err = store_copy(&c->a, &c->keys[0], &to);
    if (err == 0)
        reply_int(c->reply, 1);
    else
        cmd_reply_err(c, err);
}

/* ---- databases --------------------------------------------------------------------- */

void cmd_dbsize(struct cmd_ctx *c)
{
    reply_int(c->reply, (int64_t)store_db_keys(c->a.store, c->session->db));
}

/* SYNC and ASYNC are the same here: flushing takes no time that depends on the number of
 * keys, and memory comes back in slices afterwards. */
static bool parse_flush(struct cmd_ctx *c)
{
    if (c->argc == 1 || (c->argc == 2 && (cmd_arg_is(c, 1, STR("SYNC")) || cmd_arg_is(c, 1, STR("ASYNC")))))
        return true;
    reply_error(c->reply, REPLY_SYNTAX);
    return false;
}

void cmd_flushall(struct cmd_ctx *c)
{
    if (!parse_flush(c))
        return;
    store_flush_all(&c->a);
    reply_ok(c->reply);
}

void cmd_flushdb(struct cmd_ctx *c)
{
    if (!parse_flush(c))
        return;
    store_flush_db(&c->a, c->session->db);
    reply_ok(c->reply);
}

void cmd_swapdb(struct cmd_ctx *c)
{
    int64_t x, y, n = c->limits->databases;
    if (refused_in_cluster(c, true, "ERR SWAPDB is not allowed in cluster mode"))
        return;
    if (!cmd_arg_range(c, 1, INT32_MIN, INT32_MAX, &x, "ERR invalid first DB index") ||
        !cmd_arg_range(c, 2, INT32_MIN, INT32_MAX, &y, "ERR invalid second DB index"))
        return;
    if (x < 0 || x >= n || y < 0 || y >= n) {
        reply_error(c->reply, REPLY_DB_RANGE);
        return;
    }
    if (x != y)
        store_swap_db(&c->a, (uint32_t)x, (uint32_t)y);
    reply_ok(c->reply);
}
