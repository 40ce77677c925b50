#include "cmd/command.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "proto/reply.h"

#include <ctype.h>
#include <stdio.h>

/* Names are looked up in an open hash, probed linearly. A name of up to 16 bytes is
 * two words, loaded without a loop (the second overlaps the first) and folded to
 * lower case eight bytes at a time, so a look-up is two loads, a multiplication and,
 * nearly always, one comparison. Longer names are compared once more in full.
 *
 * Rejected: a perfect hash found at build time, which renames would break; a
 * switch over the letters, which mispredicts. */
enum { NAME_SLOTS = 1024, NAME_BITS = 10, NAMES_MAX = NAME_SLOTS / 2 };
_Static_assert(NAME_SLOTS == 1 << NAME_BITS, "the hash is cut to NAME_BITS");

struct name_word {
    uint64_t head, tail;
};

struct name_slot {
    struct name_word word;
    size_t len;
    const struct command *cmd; /* NULL: free */
};

static struct {
    struct command *rows;
    size_t nrows, nnames;
    struct str names[COMMAND_ROWS_MAX]; /* by row: what clients call it; n = 0: they cannot */
    char *owned[COMMAND_ROWS_MAX];      /* by row: a renamed command's name */
    struct name_slot slots[NAME_SLOTS];
} table;

_Static_assert(offsetof(struct command, name) == CACHE_LINE, "dispatch reads one cache line of a row");

/* ---- names ---------------------------------------------------------------------- */

/* 'A'..'Z' to lower case in all eight bytes, other bytes (beyond ASCII too) untouched. */
static inline uint64_t fold(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t low7 = x & (0x7f * ones);
    uint64_t from_a = low7 + (0x80 - 'A') * ones;
    uint64_t beyond_z = low7 + (0x7f - 'Z') * ones;
    return x | (((from_a ^ beyond_z) & ~x & (0x80 * ones)) >> 2);
}

static inline struct name_word name_load(struct str s)
{
    struct name_word w = {0, 0};
    if (s.n >= 8) {
        memcpy(&w.head, s.p, 8);
        memcpy(&w.tail, s.p + (s.n <= 16 ? s.n : 16) - 8, 8);
    } else if (s.n >= 4) {
        uint32_t a, b;
        memcpy(&a, s.p, 4);
        memcpy(&b, s.p + s.n - 4, 4);
        w.head = a | (uint64_t)b << 32;
    } else if (s.n > 0) {
        w.head =
            (uint8_t)s.p[0] | (uint64_t)(uint8_t)s.p[s.n / 2] << 8 | (uint64_t)(uint8_t)s.p[s.n - 1] << 16;
    }
    w.head = fold(w.head);
    w.tail = fold(w.tail);
    return w;
}

static inline size_t name_hash(struct name_word w, size_t len)
{
    uint64_t h = w.head ^ len ^ (w.tail << 29 | w.tail >> 35);
    return (h * 0x9e3779b97f4a7c15ULL) >> (64 - NAME_BITS);
}

/* The slot that holds the name, or the free one where it belongs. */
static inline struct name_slot *name_find(struct str name)
{
    struct name_word w = name_load(name);
    size_t i = name_hash(w, name.n);
    for (;; i = (i + 1) % NAME_SLOTS) {
        struct name_slot *s = &table.slots[i];
        if (!s->cmd)
            return s;
        if (s->word.head == w.head && s->word.tail == w.tail && s->len == name.n &&
            (name.n <= 16 || str_eq_nocase(name, table.names[s->cmd->id])))
            return s;
    }
}

static void names_build(void)
{
    memset(table.slots, 0, sizeof(table.slots));
    table.nnames = 0;
    for (size_t i = 0; i < table.nrows; i++) {
        struct str name = table.names[i];
        if (name.n == 0)
            continue;
        struct name_slot *s = name_find(name);
        ASSERT(!s->cmd);
        ASSERT(table.nnames < NAMES_MAX);
        *s = (struct name_slot){name_load(name), name.n, &table.rows[i]};
        table.nnames++;
    }
}

static size_t name_row(struct str name)
{
    size_t i = 0;
    while (i < table.nrows && !(table.names[i].n > 0 && str_eq_nocase(table.names[i], name)))
        i++;
    return i;
}

static int rename_row(const struct command_rename *r)
{
    size_t i = name_row(r->from);
    if (i == table.nrows)
        return ERR_NOTFOUND;
    if (r->to.n > COMMAND_NAME_MAX)
        return ERR_RANGE;
    table.names[i].n = 0;
    if (r->to.n == 0)
        return 0;
    if (name_row(r->to) < table.nrows)
        return ERR_EXISTS;
    mem_free(table.owned[i]);
    table.owned[i] = mem_must(mem_strndup(r->to.p, r->to.n));
    table.names[i] = (struct str){table.owned[i], r->to.n};
    return 0;
}

/* ---- completing the rows -------------------------------------------------------- */

static uint64_t implied_categories(uint64_t flags, uint64_t categories)
{
    if (flags & CMD_WRITE)
        categories |= ACL_WRITE;
    if ((flags & CMD_READONLY) && !(categories & ACL_SCRIPTING))
        categories |= ACL_READ;
    if (flags & CMD_ADMIN)
        categories |= ACL_ADMIN | ACL_DANGEROUS;
    if (flags & CMD_PUBSUB)
        categories |= ACL_PUBSUB;
    if (flags & CMD_BLOCKING)
        categories |= ACL_BLOCKING;
    return categories | (flags & CMD_FAST ? ACL_FAST : ACL_SLOW);
}

/* The old way to say where keys are, one range, from the specs. Ranges that follow each
 * other are joined; whatever else there is makes the keys movable. */
static void complete_keys(struct command *cmd)
{
    int last = 0;
    cmd->key_first = cmd->key_last = cmd->key_step = 0;
    for (unsigned i = 0; i < cmd->nkey_specs; i++) {
        const struct key_spec *k = &cmd->key_specs[i];
        bool range = k->begin == KEY_BEGIN_INDEX && k->find == KEY_FIND_RANGE;
        bool joins = cmd->nkey_specs == 1 || (k->step == 1 && (last == 0 || last == k->index - 1));
        if (!range || !joins || (k->flags & KEY_INCOMPLETE))
            cmd->flags |= CMD_MOVABLE_KEYS;
        if (!range || !joins)
            continue;
        last = k->last >= 0 ? k->index + k->last : k->last;
        if (cmd->key_first == 0)
            cmd->key_first = k->index;
        cmd->key_last = (int16_t)last;
        cmd->key_step = k->step;
    }
}

static void check_row(const struct command *cmd)
{
    ASSERT(cmd->name && cmd->summary && cmd->since && cmd->arity != 0);
    for (const char *p = cmd->name; *p; p++)
        ASSERT(!isupper((unsigned char)*p));
    ASSERT(strlen(cmd->name) <= COMMAND_NAME_MAX);
    ASSERT(!(cmd->flags & CMD_WRITE) || !(cmd->flags & CMD_READONLY));
    ASSERT(cmd->fn || (!cmd->sub && cmd->nsubs > 0));
    for (unsigned i = 0; i < cmd->nkey_specs; i++) {
        const struct key_spec *k = &cmd->key_specs[i];
        ASSERT(k->begin == KEY_BEGIN_UNKNOWN || k->index != 0);
        ASSERT(k->find == KEY_FIND_UNKNOWN || k->step > 0);
        ASSERT(!(k->flags & KEY_VARIABLE_FLAGS) == !cmd->key_flags);
    }
}

static void complete_row(struct command *cmd, size_t id, struct command **container)
{
    cmd->id = (uint16_t)id;
    cmd->acl_categories = implied_categories(cmd->flags, cmd->acl_categories);
    cmd->nsubs = 0;
    cmd->subs = NULL;
    cmd->parent = NULL;
    complete_keys(cmd);
    if (!cmd->sub) {
        *container = cmd;
        return;
    }
    struct command *up = *container;
    ASSERT(up && strncmp(cmd->name, up->name, strlen(up->name)) == 0);
    cmd->parent = up;
    if (up->nsubs == 0)
        up->subs = cmd;
    up->nsubs++;
}

int command_table_init(struct command *rows, size_t n, const struct command_rename *renames, size_t nrenames,
                       size_t *bad)
{
    ASSERT(n <= COMMAND_ROWS_MAX);
    struct command *container = NULL;
    table.rows = rows;
    table.nrows = n;
    for (size_t i = 0; i < n; i++) {
        complete_row(&rows[i], i, &container);
        table.names[i] = rows[i].sub ? (struct str){"", 0} : str_of(rows[i].name);
    }
    for (size_t i = 0; i < n; i++)
        check_row(&rows[i]);
    int err = 0;
    for (size_t i = 0; i < nrenames && err == 0; i++) {
        err = rename_row(&renames[i]);
        *bad = i;
    }
    names_build();
    return err;
}

/* ---- looking up ----------------------------------------------------------------- */

const struct command *command_rows(size_t *n)
{
    *n = table.nrows;
    return table.rows;
}

size_t command_count(void)
{
    return table.nnames;
}

const struct command *command_next(size_t from)
{
    while (from < table.nrows && table.names[from].n == 0)
        from++;
    return from < table.nrows ? &table.rows[from] : NULL;
}

const struct command *command_lookup(struct str name)
{
    return name_find(name)->cmd;
}

const struct command *command_lookup_sub(const struct command *container, struct str sub)
{
    for (unsigned i = 0; i < container->nsubs; i++) {
        if (str_eq_nocase(str_of(container->subs[i].sub), sub))
            return &container->subs[i];
    }
    return NULL;
}

const struct command *command_lookup_full(struct str name)
{
    const char *bar = name.n ? memchr(name.p, '|', name.n) : NULL;
    if (!bar)
        return command_lookup(name);
    size_t at = (size_t)(bar - name.p);
    const struct command *cmd = command_lookup((struct str){name.p, at});
    return cmd ? command_lookup_sub(cmd, (struct str){bar + 1, name.n - at - 1}) : NULL;
}

const struct command *command_resolve(const struct str *argv, uint32_t argc)
{
    const struct command *cmd = command_lookup(argv[0]);
    return cmd && cmd->nsubs > 0 && argc > 1 ? command_lookup_sub(cmd, argv[1]) : cmd;
}

/* ---- refusals ------------------------------------------------------------------- */

/* Error texts quote so much of an argument, and of all of them. */
enum { QUOTE_MAX = 128 };

static int quote_len(struct str s)
{
    return (int)strnlen(s.p, s.n < QUOTE_MAX ? s.n : QUOTE_MAX);
}

static void reply_unknown_sub(struct reply *r, const struct str *argv)
{
    char upper[COMMAND_NAME_MAX];
    size_t n = argv[0].n;
    ASSERT(n <= sizeof(upper));
    for (size_t i = 0; i < n; i++)
        upper[i] = (char)toupper((unsigned char)argv[0].p[i]);
    reply_errorf(r, "ERR unknown subcommand '%.*s'. Try %.*s HELP.", quote_len(argv[1]), argv[1].p, (int)n,
                 upper);
}

void command_reply_unknown(struct reply *r, const struct str *argv, uint32_t argc)
{
    if (argc > 1 && command_lookup(argv[0])) {
        reply_unknown_sub(r, argv);
        return;
    }
    char args[2 * QUOTE_MAX];
    int n = 0;
    args[0] = 0;
    for (uint32_t i = 1; i < argc && n < QUOTE_MAX; i++) {
        int room = QUOTE_MAX - n, len = quote_len(argv[i]);
        n += snprintf(args + n, sizeof(args) - (size_t)n, "'%.*s' ", len < room ? len : room, argv[i].p);
    }
    reply_errorf(r, "ERR unknown command '%.*s', with args beginning with: %s", quote_len(argv[0]), argv[0].p,
                 args);
}

void command_reply_arity(struct reply *r, const struct command *cmd)
{
    reply_errorf(r, "ERR wrong number of arguments for '%s' command", cmd->name);
}
