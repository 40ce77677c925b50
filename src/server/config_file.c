/* Reading the configuration: files, what they include, standard input, arguments.
 *
 * Arguments become text first, `--port 7000 --save 60 1` two lines, and are then read
 * like a file: one grammar, one set of errors. */
#include "server/config.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "proto/request.h"
#include "server/config_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOTE_OLD "it has no meaning any more, in Redis neither"

const struct directive directive_table[] = {
    {"include", 1, "Read another file, or all that match a pattern, as if it stood here", NULL, false},
    {"rename-command", 2, "Give a command another name; an empty name removes it", NULL, false},
    {"user", 0, "A user and its rights",
     "users and their rights are not in this version yet, and ignoring them would open the server", false},
    {"loadmodule", 0, "A module to load", "larder loads no modules", false},
    {"sentinel", 0, "A setting of Redis Sentinel", "larder-server is no Sentinel", false},
    {"list-max-ziplist-entries", 1, "An encoding that is gone", NOTE_OLD, true},
    {"list-max-ziplist-value", 1, "An encoding that is gone", NOTE_OLD, true},
    {"lua-replicate-commands", 1, "A choice that is gone", NOTE_OLD, true},
};
const uint32_t directive_count = ARRAY_LEN(directive_table);

struct loader {
    struct config *cfg;
    struct config_error *e;
    struct arena *arena; /* the words of a line */
    const char *where;
    uint32_t line;
    uint32_t depth;
    bool disk;
};

static int load_text(struct loader *l, struct str text);
static int load_path(struct loader *l, const char *path);

/* ---- errors --------------------------------------------------------------------------- */

#define FATAL "\n*** FATAL CONFIG FILE ERROR (larder " LARDER_VERSION ") ***\n"

/* Wrap e->text, which says why, into the message for stderr. A password is not shown. */
static int fatal_line(struct loader *l, int err, struct str line, const struct option *o)
{
    struct config_error why = *l->e;
    if (o != NULL && (o->flags & SENSITIVE))
        return config_fail(l->e, err, FATAL "Reading %.300s, at line %u\n>>> '%s (hidden)'\n%.1024s",
                           l->where, l->line, o->name, why.text);
    return config_fail(l->e, err, FATAL "Reading %.300s, at line %u\n>>> '%.*s'\n%.1024s", l->where, l->line,
                       (int)(line.n > 200 ? 200 : line.n), line.p, why.text);
}

static const char *nearest_name(struct str name)
{
    enum { FAR = 4 };
    unsigned best = FAR;
    const char *found = NULL;
    const char *names[3];
    for (uint32_t i = 0; i < option_count + directive_count; i++) {
        bool option = i < option_count;
        names[0] = option ? option_table[i].name : directive_table[i - option_count].name;
        names[1] = option ? option_table[i].alias : NULL;
        for (int k = 0; k < 2; k++) {
            unsigned d = names[k] != NULL ? str_distance(name, str_of(names[k]), FAR) : FAR;
            if (d < best && d < name.n) {
                best = d;
                found = names[k];
            }
        }
    }
    return found;
}

static int unknown_name(struct config_error *e, struct str name)
{
    const char *near = name.n <= 64 ? nearest_name(name) : NULL;
    if (memchr(name.p, '.', name.n) != NULL)
        return config_fail(e, ERR_NOTFOUND,
                           "Bad directive: a name with a dot belongs to a module, and larder loads none");
    if (near == NULL)
        return config_fail(e, ERR_NOTFOUND, "Bad directive or wrong number of arguments");
    return config_fail(e, ERR_NOTFOUND, "Bad directive or wrong number of arguments: did you mean '%s'?",
                       near);
}

/* ---- a line ----------------------------------------------------------------------------- */

static int add_rename(struct loader *l, struct str from, struct str to)
{
    struct config_own *own = l->cfg->own;
    if (own->nrenames == CONFIG_RENAMES_MAX)
        return config_fail(l->e, ERR_FULL, "too many rename-command lines: %d is the most",
                           CONFIG_RENAMES_MAX);
    struct config_rename *grown = mem_realloc(own->renames, (own->nrenames + 1) * sizeof(*grown));
    if (grown == NULL)
        return config_fail(l->e, ERR_OOM, CONFIG_NO_MEMORY);
    own->renames = grown;
    char where[512];
    int n = snprintf(where, sizeof(where), "%.400s, at line %u", l->where, l->line);
    struct config_rename r = {mem_strndup(from.p, from.n), mem_strndup(to.p, to.n),
                              mem_strndup(where, (size_t)n)};
    if (r.from == NULL || r.to == NULL || r.where == NULL) {
        mem_free(r.from);
        mem_free(r.to);
        mem_free(r.where);
        return config_fail(l->e, ERR_OOM, CONFIG_NO_MEMORY);
    }
    own->renames[own->nrenames++] = r;
    return 0;
}

static int apply_directive(struct loader *l, const struct directive *d, const struct str *argv, uint32_t argc)
{
    if (d->words != 0 ? argc != d->words + 1 : argc < 2)
        return config_fail(l->e, ERR_SYNTAX, "Bad directive or wrong number of arguments");
    if (d->ignored)
        return buf_printf(&l->cfg->own->warnings, "'%s' is accepted but changes nothing: %s\n", d->name,
                          d->note);
    if (d->note != NULL)
        return config_fail(l->e, ERR_SYNTAX, "'%s' is refused: %s", d->name, d->note);
    return add_rename(l, argv[1], argv[2]);
}

static int apply_option(struct loader *l, const struct option *o, const struct str *argv, uint32_t n)
{
    uint8_t *seen = &l->cfg->own->seen[o - option_table];
    union option_value value;
    int err = option_parse(o, argv, n, option_field(l->cfg, o), (*seen & SEEN) != 0, &value, l->e);
    if (err < 0)
        return err;
    option_store(l->cfg, o, &value);
    *seen |= l->depth > 0 ? SEEN | SEEN_IN_INCLUDE : SEEN;
    return 0;
}

/* Errors of an included file are complete messages already; its own are not. */
static int include_files(struct loader *l, struct str line, struct str pattern)
{
    if (!l->disk) {
        int err = config_fail(l->e, ERR_SYNTAX, "include is not allowed here");
        return fatal_line(l, err, line, NULL);
    }
    if (l->depth == CONFIG_INCLUDE_DEPTH_MAX) {
        int err = config_fail(l->e, ERR_FULL, "files include each other more than %d deep",
                              CONFIG_INCLUDE_DEPTH_MAX);
        return fatal_line(l, err, line, NULL);
    }
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%.*s", (int)(pattern.n < PATH_MAX ? pattern.n : PATH_MAX - 1), pattern.p);
    struct loader inner = *l;
    inner.depth++;
    if (strpbrk(path, "*?[") == NULL)
        return load_path(&inner, path);
    glob_t found;
    int err = glob(path, 0, NULL, &found);
    if (err == GLOB_NOMATCH)
        return 0;
    if (err != 0) {
        err = config_fail(l->e, ERR_IO, "can't look for files that match '%.500s'", path);
        return fatal_line(l, err, line, NULL);
    }
    for (size_t i = 0; err == 0 && i < found.gl_pathc; i++)
        err = load_path(&inner, found.gl_pathv[i]);
    globfree(&found);
    return err;
}

static const struct directive *find_directive(struct str name)
{
    for (uint32_t i = 0; i < directive_count; i++)
        if (str_eq_nocase(name, str_of(directive_table[i].name)))
            return &directive_table[i];
    return NULL;
}

static int load_line(struct loader *l, struct str line)
{
    struct str *argv;
    uint32_t argc;
    arena_reset(l->arena);
    int err = request_split_line(line, l->arena, &argv, &argc, CONFIG_LINE_ARGS_MAX);
    if (err == 0 && argc == 0)
        return 0;
    const struct option *o = err == 0 ? option_find(argv[0]) : NULL;
    const struct directive *d = err == 0 ? find_directive(argv[0]) : NULL;
    if (err == ERR_SYNTAX)
        config_fail(l->e, err, "Unbalanced quotes in configuration line");
    else if (err == ERR_FULL)
        config_fail(l->e, err, "too many words: %d is the most", CONFIG_LINE_ARGS_MAX);
    else if (err < 0)
        config_fail(l->e, err, CONFIG_NO_MEMORY);
    else if (o != NULL)
        err = apply_option(l, o, argv + 1, argc - 1);
    else if (d == &directive_table[0] && argc == 2)
        return include_files(l, line, argv[1]);
    else if (d != NULL)
        err = apply_directive(l, d, argv, argc);
    else
        err = unknown_name(l->e, argv[0]);
    return err < 0 ? fatal_line(l, err, line, o) : 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int load_text(struct loader *l, struct str text)
{
    while (text.n > 0) {
        const char *lf = memchr(text.p, '\n', text.n);
        struct str line = {text.p, lf != NULL ? (size_t)(lf - text.p) : text.n};
        size_t used = line.n + (lf != NULL);
        text = (struct str){text.p + used, text.n - used};
        l->line++;
        while (line.n > 0 && is_blank(line.p[0]))
            line = (struct str){line.p + 1, line.n - 1};
        while (line.n > 0 && is_blank(line.p[line.n - 1]))
            line.n--;
        if (line.n == 0 || line.p[0] == '#')
            continue;
        int err = load_line(l, line);
        if (err < 0)
            return err;
    }
    return 0;
}

/* ---- files --------------------------------------------------------------------------------- */

static int read_all(int fd, struct buf *b)
{
    for (;;) {
        int err = buf_reserve(b, 64 * 1024);
        if (err < 0)
            return err;
        ssize_t n = read(fd, b->p + b->n, b->cap - b->n);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return ERR_IO;
        b->n += n > 0 ? (size_t)n : 0;
        if (b->n > CONFIG_FILE_MAX)
            return ERR_FULL;
    }
}

int config_read_file(const char *path, struct buf *b)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    int err = read_all(fd, b), saved = errno;
    close(fd);
    errno = saved;
    return err;
}

static const char *why_not_read(int err)
{
    return err == ERR_IO ? strerror(errno) : err == ERR_FULL ? "it is too large" : err_name(err);
}

static int load_path(struct loader *l, const char *path)
{
    char where[PATH_MAX + 32];
    snprintf(where, sizeof(where), "the configuration file %s", path);
    struct buf text;
    buf_init(&text);
    int err = config_read_file(path, &text);
    if (err == 0) {
        l->where = where;
        l->line = 0;
        err = load_text(l, buf_str(&text));
    } else if (l->depth > 0) {
        config_fail(l->e, err, FATAL "Reading %.300s, at line %u\ncan't open config file '%.500s': %s",
                    l->where, l->line, path, why_not_read(err));
    } else {
        config_fail(l->e, err, FATAL "can't open config file '%.500s': %s", path, why_not_read(err));
    }
    buf_release(&text);
    return err;
}

static int load_stdin(struct loader *l)
{
    struct buf text;
    buf_init(&text);
    int err = read_all(STDIN_FILENO, &text);
    if (err < 0) {
        config_fail(l->e, err, FATAL "can't read the configuration from standard input: %s",
                    why_not_read(err));
    } else {
        l->where = "the configuration from standard input";
        err = load_text(l, buf_str(&text));
    }
    buf_release(&text);
    return err;
}

int config_load_text(struct config *cfg, struct str text, const char *where, bool disk,
                     struct config_error *e)
{
    struct arena arena;
    arena_init(&arena);
    struct loader l = {.cfg = cfg, .e = e, .arena = &arena, .where = where, .disk = disk};
    int err = load_text(&l, text);
    arena_release(&arena);
    return err;
}

int config_load_file(struct config *cfg, const char *path, struct config_error *e)
{
    struct arena arena;
    arena_init(&arena);
    struct loader l = {.cfg = cfg, .e = e, .arena = &arena, .disk = true};
    int err;
    char full[PATH_MAX];
    if (strcmp(path, "-") == 0) {
        err = load_stdin(&l);
    } else if (realpath(path, full) == NULL) {
        err = config_fail(e, ERR_IO, FATAL "can't open config file '%.500s': %s", path, strerror(errno));
    } else {
        mem_free(cfg->own->path);
        cfg->own->path = mem_strndup(full, strlen(full));
        err = cfg->own->path != NULL ? load_path(&l, full) : config_fail(e, ERR_OOM, FATAL CONFIG_NO_MEMORY);
    }
    arena_release(&arena);
    return err;
}

/* ---- arguments --------------------------------------------------------------------------------- */

static bool is_option(const char *arg)
{
    return arg[0] == '-' && arg[1] == '-';
}

/* The arguments as lines. "--name" starts one, unless the name before it still lacks a
 * value: then it is that value, as in `--requirepass --secret`. `--save` alone means
 * `save ""`, for scripts that pass an empty list. */
static int args_to_text(int argc, char *const *argv, struct buf *text)
{
    bool complete = true; /* the line so far has a value */
    for (int i = 0; i < argc; i++) {
        if (!complete || !is_option(argv[i])) {
            buf_put_quoted(text, str_of(argv[i]));
            buf_putc(text, ' ');
            complete = true;
            continue;
        }
        if (text->n > 0)
            buf_putc(text, '\n');
        buf_puts(text, argv[i][2] != '\0' ? str_of(argv[i] + 2) : STR("\"\""));
        buf_putc(text, ' ');
        complete = strchr(argv[i], ' ') != NULL;
        bool last = i + 1 == argc || is_option(argv[i + 1]);
        if (last && str_is(str_of(argv[i]), "--save")) {
            buf_puts(text, STR("\"\""));
            complete = true;
        }
    }
    return text->oom ? ERR_OOM : 0;
}

int config_apply_args(struct config *cfg, int argc, char *const *argv, struct config_error *e)
{
    int err = 0;
    if (argc > 0 && argv[0][0] != '-') {
        err = config_load_file(cfg, argv[0], e);
        argv++;
        argc--;
    }
    /* "-" stands first or last. */
    bool first = argc > 0 && strcmp(argv[0], "-") == 0;
    bool last = argc > 1 && strcmp(argv[argc - 1], "-") == 0;
    if (err == 0 && (first || last))
        err = config_load_file(cfg, "-", e);
    if (err < 0)
        return err;
    struct buf text;
    buf_init(&text);
    err = args_to_text(argc - first - last, argv + first, &text);
    if (err < 0)
        config_fail(e, err, FATAL CONFIG_NO_MEMORY);
    else
        err = config_load_text(cfg, buf_str(&text), "the command line", true, e);
    buf_release(&text);
    return err;
}
