#include "cmd/command.h"

#include "base/assert.h"
#include "cmd/syntax.h"
#include "proto/reply.h"

#include <ctype.h>

/* Rows as COMMAND INFO and COMMAND DOCS show them, element for element what clients
 * of Redis 7.2 read. */

struct flag_name {
    uint64_t flag;
    const char *name;
};

static const struct flag_name command_flags[] = {
    {CMD_WRITE, "write"},
    {CMD_READONLY, "readonly"},
    {CMD_DENYOOM, "denyoom"},
    {CMD_ADMIN, "admin"},
    {CMD_PUBSUB, "pubsub"},
    {CMD_NOSCRIPT, "noscript"},
    {CMD_BLOCKING, "blocking"},
    {CMD_LOADING, "loading"},
    {CMD_STALE, "stale"},
    {CMD_SKIP_MONITOR, "skip_monitor"},
    {CMD_SKIP_SLOWLOG, "skip_slowlog"},
    {CMD_ASKING, "asking"},
    {CMD_FAST, "fast"},
    {CMD_NO_AUTH, "no_auth"},
    {CMD_NO_MANDATORY_KEYS, "no_mandatory_keys"},
    {CMD_NO_ASYNC_LOADING, "no_async_loading"},
    {CMD_NO_MULTI, "no_multi"},
    {CMD_MOVABLE_KEYS, "movablekeys"},
    {CMD_ALLOW_BUSY, "allow_busy"},
};

static const struct flag_name key_flags[] = {
    {KEY_RO, "RO"},
    {KEY_RW, "RW"},
    {KEY_OW, "OW"},
    {KEY_RM, "RM"},
    {KEY_ACCESS, "access"},
    {KEY_UPDATE, "update"},
    {KEY_INSERT, "insert"},
    {KEY_DELETE, "delete"},
    {KEY_NOT_KEY, "not_key"},
    {KEY_INCOMPLETE, "incomplete"},
    {KEY_VARIABLE_FLAGS, "variable_flags"},
};

static const struct flag_name categories[] = {
    {ACL_KEYSPACE, "@keyspace"},
    {ACL_READ, "@read"},
    {ACL_WRITE, "@write"},
    {ACL_SET, "@set"},
    {ACL_SORTEDSET, "@sortedset"},
    {ACL_LIST, "@list"},
    {ACL_HASH, "@hash"},
    {ACL_STRING, "@string"},
    {ACL_BITMAP, "@bitmap"},
    {ACL_HYPERLOGLOG, "@hyperloglog"},
    {ACL_GEO, "@geo"},
    {ACL_STREAM, "@stream"},
    {ACL_PUBSUB, "@pubsub"},
    {ACL_ADMIN, "@admin"},
    {ACL_FAST, "@fast"},
    {ACL_SLOW, "@slow"},
    {ACL_BLOCKING, "@blocking"},
    {ACL_DANGEROUS, "@dangerous"},
    {ACL_CONNECTION, "@connection"},
    {ACL_TRANSACTION, "@transaction"},
    {ACL_SCRIPTING, "@scripting"},
};

static void reply_flags(struct reply *r, uint64_t set, const struct flag_name *names, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (set & names[i].flag) != 0;
    reply_set(r, count);
    for (size_t i = 0; i < n; i++) {
        if (set & names[i].flag)
            reply_status(r, names[i].name);
    }
}

uint64_t command_category(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(categories); i++) {
        if (str_eq_nocase(str_of(categories[i].name + 1), name))
            return categories[i].flag;
    }
    return 0;
}

const char *command_category_name(unsigned i)
{
    return i < ARRAY_LEN(categories) ? categories[i].name + 1 : NULL;
}

void command_reply_key_flags(struct reply *r, uint32_t flags)
{
    reply_flags(r, flags, key_flags, ARRAY_LEN(key_flags));
}

/* ---- COMMAND INFO --------------------------------------------------------------- */

static struct str next_tip(const char **at)
{
    const char *from = *at;
    size_t n = strcspn(from, " ");
    *at = from + n + (from[n] == ' ');
    return (struct str){from, n};
}

static void reply_tips(struct reply *r, const char *tips)
{
    uint64_t n = 0;
    const char *at;
    for (at = tips ? tips : ""; *at; n++)
        next_tip(&at);
    reply_set(r, n);
    for (at = tips ? tips : ""; *at;)
        reply_bulk(r, next_tip(&at));
}

static void reply_named_int(struct reply *r, const char *name, int64_t v)
{
    reply_cstr(r, name);
    reply_int(r, v);
}

/* The frame of begin_search and find_keys: {type: ..., spec: {n pairs follow}}. */
static void reply_search(struct reply *r, const char *what, const char *type, uint64_t pairs)
{
    reply_cstr(r, what);
    reply_map(r, 2);
    reply_cstr(r, "type");
    reply_cstr(r, type);
    reply_cstr(r, "spec");
    reply_map(r, pairs);
}

static void reply_begin_search(struct reply *r, const struct key_spec *k)
{
    switch ((enum key_begin)k->begin) {
    case KEY_BEGIN_UNKNOWN: reply_search(r, "begin_search", "unknown", 0); break;
    case KEY_BEGIN_INDEX:
        reply_search(r, "begin_search", "index", 1);
        reply_named_int(r, "index", k->index);
        break;
    case KEY_BEGIN_KEYWORD:
        reply_search(r, "begin_search", "keyword", 2);
        reply_cstr(r, "keyword");
        reply_cstr(r, k->keyword);
        reply_named_int(r, "startfrom", k->index);
        break;
    }
}

static void reply_find_keys(struct reply *r, const struct key_spec *k)
{
    switch ((enum key_find)k->find) {
    case KEY_FIND_UNKNOWN: reply_search(r, "find_keys", "unknown", 0); break;
    case KEY_FIND_RANGE:
        reply_search(r, "find_keys", "range", 3);
        reply_named_int(r, "lastkey", k->last);
        reply_named_int(r, "keystep", k->step);
        reply_named_int(r, "limit", k->limit);
        break;
    case KEY_FIND_KEYNUM:
        reply_search(r, "find_keys", "keynum", 3);
        reply_named_int(r, "keynumidx", k->keynum_at);
        reply_named_int(r, "firstkey", k->keynum_first);
        reply_named_int(r, "keystep", k->step);
        break;
    }
}

static void reply_key_spec(struct reply *r, const struct key_spec *k)
{
    reply_map(r, 3 + (k->notes != NULL));
    if (k->notes) {
        reply_cstr(r, "notes");
        reply_cstr(r, k->notes);
    }
    reply_cstr(r, "flags");
    command_reply_key_flags(r, k->flags);
    reply_begin_search(r, k);
    reply_find_keys(r, k);
}

void command_reply_info(struct reply *r, const struct command *cmd)
{
    if (!cmd) {
        reply_null(r);
        return;
    }
    reply_array(r, 10);
    reply_cstr(r, cmd->name);
    reply_int(r, cmd->arity);
    reply_flags(r, cmd->flags, command_flags, ARRAY_LEN(command_flags));
    reply_int(r, cmd->key_first);
    reply_int(r, cmd->key_last);
    reply_int(r, cmd->key_step);
    reply_flags(r, cmd->acl_categories, categories, ARRAY_LEN(categories));
    reply_tips(r, cmd->tips);
    reply_set(r, cmd->nkey_specs);
    for (unsigned i = 0; i < cmd->nkey_specs; i++)
        reply_key_spec(r, &cmd->key_specs[i]);
    if (cmd->nsubs == 0)
        reply_set(r, 0);
    else
        reply_array(r, cmd->nsubs);
    for (unsigned i = 0; i < cmd->nsubs; i++)
        command_reply_info(r, &cmd->subs[i]);
}

/* ---- COMMAND DOCS --------------------------------------------------------------- */

static const char *group_name(enum command_group group)
{
    static const char *const names[] = {
        [GROUP_GENERIC] = "generic",
        [GROUP_STRING] = "string",
        [GROUP_LIST] = "list",
        [GROUP_SET] = "set",
        [GROUP_SORTED_SET] = "sorted-set",
        [GROUP_HASH] = "hash",
        [GROUP_PUBSUB] = "pubsub",
        [GROUP_TRANSACTIONS] = "transactions",
        [GROUP_CONNECTION] = "connection",
        [GROUP_SERVER] = "server",
        [GROUP_SCRIPTING] = "scripting",
        [GROUP_HYPERLOGLOG] = "hyperloglog",
        [GROUP_CLUSTER] = "cluster",
        [GROUP_GEO] = "geo",
        [GROUP_STREAM] = "stream",
        [GROUP_BITMAP] = "bitmap",
        [GROUP_CACHE] = "cache",
    };
    ASSERT((size_t)group < ARRAY_LEN(names));
    return names[group];
}

/* A map whose pairs are counted as they are written: absent ones are left out. */
struct pairs {
    struct reply *r;
    size_t handle;
    uint64_t n;
};

static struct pairs pairs_begin(struct reply *r)
{
    return (struct pairs){r, reply_deferred(r), 0};
}

static void pairs_end(struct pairs *p)
{
    reply_deferred_end(p->r, p->handle, '%', p->n);
}

static void pair_name(struct pairs *p, const char *name)
{
    reply_cstr(p->r, name);
    p->n++;
}

static void pair_str(struct pairs *p, const char *name, struct str value)
{
    if (!value.p)
        return;
    pair_name(p, name);
    reply_bulk(p->r, value);
}

static void pair_text(struct pairs *p, const char *name, const char *value)
{
    if (value)
        pair_str(p, name, str_of(value));
}

static void reply_arg(struct reply *r, const struct syntax *syntax, const struct syntax_arg *a);

static void reply_args(struct reply *r, const struct syntax *syntax, int first, unsigned n)
{
    reply_array(r, n);
    for (int i = first; i != SYNTAX_NONE; i = syntax->args[i].next)
        reply_arg(r, syntax, &syntax->args[i]);
}

static void pair_arg_flags(struct pairs *p, const struct syntax_arg *a)
{
    if (!a->optional && !a->multiple)
        return;
    pair_name(p, "flags");
    reply_set(p->r, (uint64_t)a->optional + a->multiple + a->multiple_token);
    if (a->optional)
        reply_status(p->r, "optional");
    if (a->multiple)
        reply_status(p->r, "multiple");
    if (a->multiple_token)
        reply_status(p->r, "multiple_token");
}

static void reply_arg(struct reply *r, const struct syntax *syntax, const struct syntax_arg *a)
{
    char lower[COMMAND_NAME_MAX];
    struct str name = a->name;
    bool group = a->type == SYNTAX_ONEOF || a->type == SYNTAX_BLOCK;
    if (a->type == SYNTAX_TOKEN) {
        ASSERT(name.n <= sizeof(lower));
        for (size_t i = 0; i < name.n; i++)
            lower[i] = (char)tolower((unsigned char)name.p[i]);
        name.p = lower;
    }
    struct pairs p = pairs_begin(r);
    pair_str(&p, "name", name);
    pair_text(&p, "type", syntax_type_name(a->type));
    if (!group)
        pair_str(&p, "display_text", a->display.p ? a->display : name);
    if (a->key_spec != SYNTAX_NONE) {
        pair_name(&p, "key_spec_index");
        reply_int(r, a->key_spec);
    }
    pair_str(&p, "token", a->token);
    pair_str(&p, "since", a->since);
    pair_str(&p, "deprecated_since", a->deprecated);
    pair_arg_flags(&p, a);
    if (group) {
        pair_name(&p, "arguments");
        reply_args(r, syntax, a->child, a->nchildren);
    }
    pairs_end(&p);
}

static void pair_arguments(struct pairs *p, const char *text)
{
    struct syntax syntax;
    if (!text)
        return;
    int err = syntax_parse(str_of(text), &syntax);
    ASSERT(err == 0); /* the rows are ours, and tested */
    pair_name(p, "arguments");
    reply_args(p->r, &syntax, syntax.first, syntax.ntop);
}

static void pair_history(struct pairs *p, const struct command *cmd)
{
    if (cmd->nhistory == 0)
        return;
    pair_name(p, "history");
    reply_set(p->r, cmd->nhistory);
    for (unsigned i = 0; i < cmd->nhistory; i++) {
        reply_array(p->r, 2);
        reply_cstr(p->r, cmd->history[i].since);
        reply_cstr(p->r, cmd->history[i].what);
    }
}

static void pair_doc_flags(struct pairs *p, const struct command *cmd)
{
    bool deprecated = cmd->deprecated_since != NULL;
    if (!deprecated && !cmd->syscmd)
        return;
    pair_name(p, "doc_flags");
    reply_set(p->r, (uint64_t)deprecated + cmd->syscmd);
    if (deprecated)
        reply_status(p->r, "deprecated");
    if (cmd->syscmd)
        reply_status(p->r, "syscmd");
}

void command_reply_docs(struct reply *r, const struct command *cmd)
{
    struct pairs p = pairs_begin(r);
    pair_text(&p, "summary", cmd->summary);
    pair_text(&p, "since", cmd->since);
    pair_text(&p, "group", group_name(cmd->group));
    pair_text(&p, "complexity", cmd->complexity);
    pair_doc_flags(&p, cmd);
    pair_text(&p, "deprecated_since", cmd->deprecated_since);
    pair_text(&p, "replaced_by", cmd->replaced_by);
    pair_history(&p, cmd);
    pair_arguments(&p, cmd->syntax);
    if (cmd->nsubs > 0) {
        pair_name(&p, "subcommands");
        reply_map(r, cmd->nsubs);
        for (unsigned i = 0; i < cmd->nsubs; i++) {
            reply_cstr(r, cmd->subs[i].name);
            command_reply_docs(r, &cmd->subs[i]);
        }
    }
    pairs_end(&p);
}
