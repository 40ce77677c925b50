#include "cmd/command.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "cmd/handlers.h"

/* Where the keys of a request are, from the row's key specs. The arguments come
 * from anybody: a count in them is believed only as far as there are arguments.
 * All positions are 64 bits wide here, so that no sum of them can wrap. */

struct key_range {
    int64_t first, last, step;
};

/* The word that announces the keys. 0 if it is not there. */
static int64_t keyword_begin(const struct key_spec *k, const struct str *argv, int64_t argc)
{
    struct str word = str_of(k->keyword);
    int64_t dir = k->index > 0 ? 1 : -1;
    int64_t from = k->index > 0 ? k->index : argc + k->index;
    /* A word that stands last announces nothing. */
    for (int64_t i = from; i >= 1 && i < argc - 1; i += dir) {
        if (str_eq_nocase(argv[i], word))
            return i + 1;
    }
    return 0;
}

static int64_t range_last(const struct key_spec *k, int64_t first, int64_t argc)
{
    if (k->last >= 0)
        return first + k->last;
    if (k->limit <= 1)
        return argc + k->last;
    return first + (argc - first) / k->limit + k->last;
}

/* Returns 1 with a range of keys, 0 for none, ERR_SYNTAX. */
static int spec_range(const struct command *cmd, const struct key_spec *k, const struct str *argv,
                      int64_t argc, struct key_range *out)
{
    if (k->begin == KEY_BEGIN_UNKNOWN || k->find == KEY_FIND_UNKNOWN)
        return ERR_SYNTAX;
    int64_t first = k->begin == KEY_BEGIN_INDEX ? k->index : keyword_begin(k, argv, argc);
    int64_t last;
    if (first == 0)
        return 0;
    if (k->find == KEY_FIND_RANGE) {
        last = range_last(k, first, argc);
    } else {
        int64_t at = first + k->keynum_at, count;
        if (at >= argc || !num_parse_i64(argv[at], &count) || count < 0 || count > argc)
            return ERR_SYNTAX;
        if (count == 0 && (cmd->flags & CMD_NO_MANDATORY_KEYS))
            return 0;
        first += k->keynum_first;
        last = first + (count - 1) * k->step;
    }
    if (last >= argc || last < first)
        return ERR_SYNTAX;
    *out = (struct key_range){first, last, k->step};
    return 1;
}

bool command_has_keys(const struct command *cmd)
{
    for (unsigned i = 0; i < cmd->nkey_specs; i++) {
        if (!(cmd->key_specs[i].flags & KEY_NOT_KEY))
            return true;
    }
    return false;
}

int command_keys(const struct command *cmd, const struct str *argv, uint32_t argc, struct keyref *out,
                 uint32_t max, uint32_t *n)
{
    uint32_t count = 0;
    *n = 0;
    if (cmd->find_keys != NULL)
        return cmd->find_keys(argv, argc, out, max, n);
    for (unsigned s = 0; s < cmd->nkey_specs; s++) {
        const struct key_spec *k = &cmd->key_specs[s];
        struct key_range r;
        if (k->flags & KEY_NOT_KEY)
            continue;
        int found = spec_range(cmd, k, argv, argc, &r);
        if (found < 0 || (k->flags & KEY_INCOMPLETE))
            return ERR_SYNTAX;
        if (found == 0)
            continue;
        uint32_t flags = k->flags & KEY_VARIABLE_FLAGS ? cmd->key_flags(argv, argc) : k->flags;
        for (int64_t i = r.first; i <= r.last; i += r.step, count++) {
            if (count < max)
                out[count] = (struct keyref){(uint32_t)i, flags};
        }
    }
    *n = count;
    return count > max ? ERR_FULL : 0;
}

/* SET reads the old value only if told to. A value that happens to be "get" is not
 * looked at, an option's argument is: an error on the safe side. */
uint32_t key_flags_set(const struct str *argv, uint32_t argc)
{
    for (uint32_t i = 3; i < argc; i++) {
        if (str_is(argv[i], "get"))
            return KEY_RW | KEY_ACCESS | KEY_UPDATE;
    }
    return KEY_OW | KEY_UPDATE;
}

/* BITFIELD only reads when all that it is told is GET and OVERFLOW; what does not
 * parse counts as writing. */
uint32_t key_flags_bitfield(const struct str *argv, uint32_t argc)
{
    uint32_t i = 2;
    while (i < argc) {
        uint32_t left = argc - i - 1;
        if (left >= 2 && str_is(argv[i], "get"))
            i += 3;
        else if (left >= 1 && str_is(argv[i], "overflow"))
            i += 2;
        else
            return KEY_RW | KEY_ACCESS | KEY_UPDATE;
    }
    return KEY_RO | KEY_ACCESS;
}

/* MIGRATE's one key, or when that is empty those behind KEYS. A password may read "keys". */
uint32_t migrate_keys(const struct str *argv, uint32_t argc, uint32_t *first)
{
    *first = 3;
    for (uint32_t i = 6; i < argc && argv[3].n == 0; i++) {
        if (str_is(argv[i], "auth")) {
            i += 1;
        } else if (str_is(argv[i], "auth2")) {
            i += 2;
        } else if (str_is(argv[i], "keys")) {
            *first = i + 1;
            return argc - *first;
        }
    }
    return 1;
}

int find_keys_migrate(const struct str *argv, uint32_t argc, struct keyref *out, uint32_t max, uint32_t *n)
{
    uint32_t first;
    *n = 0;
    if (argc < 4)
        return ERR_SYNTAX;
    *n = migrate_keys(argv, argc, &first);
    for (uint32_t i = 0; i < *n && i < max; i++)
        out[i] = (struct keyref){first + i, KEY_RW | KEY_ACCESS | KEY_DELETE};
    return *n > max ? ERR_FULL : 0;
}
