#include "cmd/cmd.h"
#include "cmd/command.h"
#include "cmd/handlers.h"

/* COMMAND and its subcommands: what the table knows, for clients that ask. */

static void reply_info_all(struct cmd_ctx *c)
{
    reply_array(c->reply, command_count());
    for (const struct command *cmd = command_next(0); cmd; cmd = command_next(cmd->id + 1u))
        command_reply_info(c->reply, cmd);
}

void cmd_command(struct cmd_ctx *c)
{
    reply_info_all(c);
}

void cmd_command_count(struct cmd_ctx *c)
{
    reply_int(c->reply, (int64_t)command_count());
}

void cmd_command_info(struct cmd_ctx *c)
{
    if (c->argc == 2) {
        reply_info_all(c);
        return;
    }
    reply_array(c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++)
        command_reply_info(c->reply, command_lookup_full(c->argv[i]));
}

static void reply_named_docs(struct cmd_ctx *c, const struct command *cmd)
{
    reply_cstr(c->reply, cmd->name);
    command_reply_docs(c->reply, cmd);
}

void cmd_command_docs(struct cmd_ctx *c)
{
    if (c->argc == 2) {
        reply_map(c->reply, command_count());
        for (const struct command *cmd = command_next(0); cmd; cmd = command_next(cmd->id + 1u))
            reply_named_docs(c, cmd);
        return;
    }
    size_t handle = reply_deferred(c->reply);
    uint64_t found = 0;
    for (uint32_t i = 2; i < c->argc; i++) {
        const struct command *cmd = command_lookup_full(c->argv[i]);
        if (!cmd)
            continue;
        reply_named_docs(c, cmd);
        found++;
    }
    reply_deferred_end(c->reply, handle, '%', found);
}

/* ---- COMMAND LIST --------------------------------------------------------------- */

enum filter_kind { FILTER_NONE, FILTER_MODULE, FILTER_CATEGORY, FILTER_PATTERN };

struct filter {
    enum filter_kind kind;
    uint64_t category;
    struct str pattern;
};

/* [FILTERBY MODULE|ACLCAT|PATTERN x]. False: it does not parse. */
static bool parse_filter(const struct cmd_ctx *c, struct filter *f)
{
    *f = (struct filter){.kind = FILTER_NONE};
    if (c->argc == 2)
        return true;
    if (c->argc != 5 || !cmd_arg_is(c, 2, STR("filterby")))
        return false;
    f->pattern = c->argv[4];
    if (cmd_arg_is(c, 3, STR("module")))
        f->kind = FILTER_MODULE;
    else if (cmd_arg_is(c, 3, STR("aclcat")))
        f->kind = FILTER_CATEGORY;
    else if (cmd_arg_is(c, 3, STR("pattern")))
        f->kind = FILTER_PATTERN;
    f->category = f->kind == FILTER_CATEGORY ? command_category(c->argv[4]) : 0;
    return f->kind != FILTER_NONE;
}

static bool filter_passes(const struct filter *f, const struct command *cmd)
{
    switch (f->kind) {
    case FILTER_NONE: return true;
    case FILTER_MODULE: return false; /* there are no modules */
    case FILTER_CATEGORY: return (cmd->acl_categories & f->category) != 0;
    case FILTER_PATTERN: return str_glob(f->pattern, str_of(cmd->name), true);
    }
    return false;
}

static uint64_t list_row(struct cmd_ctx *c, const struct filter *f, const struct command *cmd)
{
    if (!filter_passes(f, cmd))
        return 0;
    reply_cstr(c->reply, cmd->name);
    return 1;
}

void cmd_command_list(struct cmd_ctx *c)
{
    struct filter f;
    if (!parse_filter(c, &f)) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    size_t handle = reply_deferred(c->reply);
    uint64_t n = 0;
    for (const struct command *cmd = command_next(0); cmd; cmd = command_next(cmd->id + 1u)) {
        n += list_row(c, &f, cmd);
        for (unsigned i = 0; i < cmd->nsubs; i++)
            n += list_row(c, &f, &cmd->subs[i]);
    }
    reply_deferred_end(c->reply, handle, '*', n);
}

/* ---- COMMAND GETKEYS ------------------------------------------------------------ */

enum { KEYS_ON_STACK = 32 };

/* The keys of the full command at argv[2]. Returns them, in the arena or in few[];
 * NULL after replying. */
static const struct keyref *find_keys(struct cmd_ctx *c, const struct command *cmd, struct keyref *few,
                                      uint32_t *n)
{
    const struct str *argv = c->argv + 2;
    uint32_t argc = c->argc - 2;
    struct keyref *keys = few;
    int err = command_keys(cmd, argv, argc, keys, KEYS_ON_STACK, n);
    if (err == ERR_FULL) {
        keys = arena_alloc(c->arena, *n * sizeof(*keys));
        err = keys ? command_keys(cmd, argv, argc, keys, *n, n) : ERR_OOM;
    }
    if (err == ERR_OOM) {
        reply_error(c->reply, REPLY_NOMEM);
    } else if (err) {
        reply_error(c->reply, "ERR Invalid arguments specified for command");
    } else if (*n == 0 && !(cmd->flags & CMD_NO_MANDATORY_KEYS)) {
        reply_error(c->reply, "ERR Invalid arguments specified for command");
        err = ERR_SYNTAX;
    }
    return err ? NULL : keys;
}

static void reply_keys(struct cmd_ctx *c, bool with_flags)
{
    const struct command *cmd = command_resolve(c->argv + 2, c->argc - 2);
    if (!cmd) {
        reply_error(c->reply, "ERR Invalid command specified");
        return;
    }
    if (!command_has_keys(cmd)) {
        reply_error(c->reply, "ERR The command has no key arguments");
        return;
    }
    if (!command_arity_ok(cmd, c->argc - 2)) {
        reply_error(c->reply, "ERR Invalid number of arguments specified for command");
        return;
    }
    struct keyref few[KEYS_ON_STACK];
    uint32_t n;
    const struct keyref *keys = find_keys(c, cmd, few, &n);
    if (!keys)
        return;
    reply_array(c->reply, n);
    for (uint32_t i = 0; i < n; i++) {
        if (with_flags)
            reply_array(c->reply, 2);
        reply_bulk(c->reply, c->argv[2 + keys[i].index]);
        if (with_flags)
            command_reply_key_flags(c->reply, keys[i].flags);
    }
}

void cmd_command_getkeys(struct cmd_ctx *c)
{
    reply_keys(c, false);
}

void cmd_command_getkeysandflags(struct cmd_ctx *c)
{
    reply_keys(c, true);
}

void cmd_command_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    Describe all commands.",
        "COUNT",
        "    Count the commands.",
        "DOCS [<command-name> ...]",
        "    Documentation of the named commands, or of all.",
        "GETKEYS <full-command>",
        "    The keys of a full command.",
        "GETKEYSANDFLAGS <full-command>",
        "    The keys of a full command, and what it does to them.",
        "INFO [<command-name> ...]",
        "    Describe the named commands, or all.",
        "LIST [FILTERBY <MODULE <name> | ACLCAT <category> | PATTERN <pattern>>]",
        "    The names of the commands.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}
