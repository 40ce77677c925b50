/* The words that commands.def is written in, as initialisers of struct command.
 *
 *      static struct command rows[] = {
 *      #include "cmd/commands.def"
 *      };
 *
 * See cmd/README.md for how to write a row. */
#ifndef LARDER_CMD_ROWS_H
#define LARDER_CMD_ROWS_H

#include "cmd/command.h"
#include "cmd/handlers.h"

/* Tests that want the rows without the code behind them define these differently. */
#ifndef ROW_HANDLER
#define ROW_HANDLER(f) (f)
#define ROW_COST(f) (f)
#endif

/* COMMAND(name, arity, flags, categories, since, complexity, summary, more...) */
#define COMMAND(ident, ...) COMMAND_AS(ident, #ident, __VA_ARGS__)

/* COMMAND_AS(ident, "name", ... as COMMAND), for a name that no function can have */
#define COMMAND_AS(ident, name_, arity_, flags_, cats, since_, complexity_, summary_, ...)                   \
    {.name = name_,                                                                                          \
     .fn = ROW_HANDLER(cmd_##ident),                                                                         \
     .arity = (arity_),                                                                                      \
     .flags = (flags_),                                                                                      \
     .acl_categories = (cats),                                                                               \
     .since = since_,                                                                                        \
     .complexity = complexity_,                                                                              \
     .summary = summary_,                                                                                    \
     .group = GROUP,                                                                                         \
     __VA_ARGS__},

/* CONTAINER(name, flags, categories, since, summary): its SUBCOMMANDs follow it. */
#define CONTAINER(ident, flags_, cats, since_, summary_)                                                     \
    {.name = #ident,                                                                                         \
     .arity = -2,                                                                                            \
     .flags = (flags_),                                                                                      \
     .acl_categories = (cats),                                                                               \
     .since = since_,                                                                                        \
     .complexity = "Depends on the subcommand",                                                              \
     .summary = summary_,                                                                                    \
     .group = GROUP},

/* SUBCOMMAND(container, ident, "name", ... as COMMAND) */
#define SUBCOMMAND(container, ident, sub_, arity_, flags_, cats, since_, complexity_, summary_, ...)         \
    {.name = #container "|" sub_,                                                                            \
     .sub = sub_,                                                                                            \
     .fn = ROW_HANDLER(cmd_##container##_##ident),                                                           \
     .arity = (arity_),                                                                                      \
     .flags = (flags_),                                                                                      \
     .acl_categories = (cats),                                                                               \
     .since = since_,                                                                                        \
     .complexity = complexity_,                                                                              \
     .summary = summary_,                                                                                    \
     .group = GROUP,                                                                                         \
     __VA_ARGS__},

/* What may follow the summary. */
#define ARGS(text) .syntax = (text)
#define TIPS(text) .tips = (text)
#define COST(f) .cost = ROW_COST(f)
#define DEPRECATED(since_, instead) .deprecated_since = (since_), .replaced_by = (instead)
#define HISTORY(...)                                                                                         \
    .history = (const struct command_change[]){__VA_ARGS__},                                                 \
    .nhistory = ARRAY_LEN(((const struct command_change[]){__VA_ARGS__}))
#define KEYS(...)                                                                                            \
    .key_specs = (const struct key_spec[]){__VA_ARGS__},                                                     \
    .nkey_specs = ARRAY_LEN(((const struct key_spec[]){__VA_ARGS__}))

/* Key specs: one key; n keys side by side; all arguments from `at` on, every step-th. */
#define KEY_SPAN(at, last_, step_, flags_, ...)                                                              \
    {                                                                                                        \
        .flags = (flags_), .begin = KEY_BEGIN_INDEX, .index = (at), .find = KEY_FIND_RANGE, .last = (last_), \
        .step = (step_), __VA_ARGS__                                                                         \
    }
#define KEY_AT(at, flags, ...) KEY_SPAN(at, 0, 1, flags, __VA_ARGS__)
#define KEY_REST(at, step, flags, ...) KEY_SPAN(at, -1, step, flags, __VA_ARGS__)

#endif
