#include "cmd/effect.h"

#include "base/num.h"
#include "store/change.h"

void effect_add(struct cmd_ctx *c, const struct str *argv, uint32_t argc)
{
    c->has_effect = true;
    if (unlikely(c->unit != NULL))
        unit_add(c->unit, c->session->db, argv, argc);
}

static struct str key_of(const struct cmd_ctx *c)
{
    return (struct str){c->keys[0].p, c->keys[0].n};
}

void effect_del(struct cmd_ctx *c)
{
    const struct str argv[] = {STR("DEL"), key_of(c)};
    effect_add(c, argv, ARRAY_LEN(argv));
}

void effect_deadline(struct cmd_ctx *c, int64_t deadline_ms)
{
    char text[NUM_I64_TEXT_MAX];
    const struct str persist[] = {STR("PERSIST"), key_of(c)};
    const struct str at[] = {STR("PEXPIREAT"), key_of(c), {text, num_put_i64(text, deadline_ms)}};
    if (deadline_ms == 0)
        effect_add(c, persist, ARRAY_LEN(persist));
    else
        effect_add(c, at, ARRAY_LEN(at));
}

void effect_set(struct cmd_ctx *c, struct str value, int64_t deadline_ms, bool keep_ttl)
{
    char text[NUM_I64_TEXT_MAX];
    struct str argv[5] = {STR("SET"), key_of(c), value};
    uint32_t n = 3;
    if (keep_ttl) {
        argv[n++] = STR("KEEPTTL");
    } else if (deadline_ms != 0) {
        argv[n++] = STR("PXAT");
        argv[n++] = (struct str){text, num_put_i64(text, deadline_ms)};
    }
    effect_add(c, argv, n);
}

void effect_run_logged(struct cmd_ctx *c)
{
    uint64_t before = store_changes_here(&c->a);
    c->has_effect = false;
    if (c->nkeys > 1 && (c->cmd->flags & CMD_WRITE))
        store_save_keys_first(&c->a, c->keys, c->nkeys);
    c->cmd->fn(c);
    if (c->unit == NULL || c->has_effect || !(c->cmd->flags & CMD_WRITE) ||
        store_changes_here(&c->a) == before)
        return;
    const struct command *named = c->cmd->parent != NULL ? c->cmd->parent : c->cmd;
    unit_add_request(c->unit, c->session->db, str_of(named->name), c->argv, c->argc);
}
