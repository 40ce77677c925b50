/* The configuration's values: defaults, reading them (CONFIG GET) and changing them
 * (CONFIG SET).
 *
 * A change is a transaction over several options. New values are parsed aside first;
 * when all are good they trade places with the fields; then the hooks run, once per
 * group that really changed; when one fails, the places are traded back. Nothing on
 * the way back allocates, so it cannot fail. */
#include "server/config.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "server/config_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

int config_fail(struct config_error *e, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    return err;
}

/* ---- one option ------------------------------------------------------------------------- */

uint32_t option_split(struct str text, struct str *argv, uint32_t max)
{
    uint32_t n = 0;
    for (;;) {
        const char *space = memchr(text.p, ' ', text.n);
        size_t len = space != NULL ? (size_t)(space - text.p) : text.n;
        if (n < max)
            argv[n] = (struct str){text.p, len};
        n++;
        if (space == NULL)
            return n;
        text = (struct str){space + 1, text.n - len - 1};
    }
}

static int parse_value(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                       union option_value *out, struct config_error *e)
{
    const struct option_ops *ops = option_ops_of(o);
    if (!ops->multi && n != 1)
        return config_fail(e, ERR_SYNTAX, "wrong number of arguments");
    static const struct str nothing = {"", 0};
    if (n == 0 && o->type == OPTION_PRIMARY) /* nobody means to follow nobody */
        return config_fail(e, ERR_SYNTAX, "wrong number of arguments");
    if (n == 0) { /* a bare `save` is `save ""` */
        argv = &nothing;
        n = 1;
    }
    return ops->parse(o, argv, n, old, more, out, e);
}

static int parse_default(const struct option *o, union option_value *out, struct config_error *e)
{
    struct str argv[CONFIG_DEFAULT_WORDS] = {str_of(o->dflt)};
    uint32_t n = 1;
    if (option_ops_of(o)->multi)
        n = option_split(str_of(o->dflt), argv, CONFIG_DEFAULT_WORDS);
    ASSERT(n <= CONFIG_DEFAULT_WORDS);
    return parse_value(o, argv, n, NULL, false, out, e);
}

void option_value_release(const struct option *o, void *value)
{
    if (option_ops_of(o)->release != NULL)
        option_ops_of(o)->release(value);
}

static void put_value(const struct option *o, const void *value, struct buf *b)
{
    const struct option_ops *ops = option_ops_of(o);
    if (ops->write != NULL)
        ops->write(o, value, b);
    else
        ops->format(o, value, b);
}

/* Compared as a file would say them, which leaves nothing out. */
bool option_same(const struct option *o, const void *a, const void *b)
{
    struct buf ta, tb;
    buf_init(&ta);
    buf_init(&tb);
    put_value(o, a, &ta);
    put_value(o, b, &tb);
    bool same = !ta.oom && !tb.oom && ta.n == tb.n && (ta.n == 0 || memcmp(ta.p, tb.p, ta.n) == 0);
    buf_release(&ta);
    buf_release(&tb);
    return same;
}

bool option_is_default(const struct option *o, const void *value)
{
    struct config_error e;
    union option_value dflt;
    if (parse_default(o, &dflt, &e) < 0)
        return false;
    bool same = option_same(o, value, &dflt);
    option_value_release(o, &dflt);
    return same;
}

int option_parse(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                 union option_value *out, struct config_error *e)
{
    int err = parse_value(o, argv, n, old, more, out, e);
    if (err < 0)
        return err;
    if (o->status == OPTION_REFUSED && !option_is_default(o, out)) {
        option_value_release(o, out);
        return config_fail(e, ERR_SYNTAX, "'%s' is refused: %s", o->name, o->note);
    }
    return 0;
}

void option_store(struct config *cfg, const struct option *o, union option_value *value)
{
    option_value_release(o, option_field(cfg, o));
    memcpy(option_field(cfg, o), value, option_ops_of(o)->size);
}

int config_set_primary(struct config *cfg, struct str host, int port)
{
    struct buf b;
    buf_init(&b);
    if (host.n > 0)
        buf_printf(&b, "%.*s %d", (int)host.n, host.p, port);
    char *text = b.oom ? NULL : mem_strndup(b.p, b.n);
    buf_release(&b);
    if (text == NULL)
        return ERR_OOM;
    mem_free(cfg->replicaof);
    cfg->replicaof = text;
    return 0;
}

/* ---- the whole ---------------------------------------------------------------------------- */

int config_init(struct config *cfg)
{
    memset(cfg, 0, sizeof(*cfg));
    cfg->own = mem_zalloc(sizeof(*cfg->own) + option_count);
    if (cfg->own == NULL)
        return ERR_OOM;
    buf_init(&cfg->own->warnings);
    for (const struct option *o = option_table; o < option_table + option_count; o++) {
        struct config_error e;
        union option_value value;
        if (o->name == NULL)
            continue;
        int err = parse_default(o, &value, &e);
        ASSERT(err == 0 || err == ERR_OOM);
        if (err < 0)
            return err;
        memcpy(option_field(cfg, o), &value, option_ops_of(o)->size);
    }
    return 0;
}

/* Fields that a failed config_init() has not reached are zero: nothing to release. */
void config_release(struct config *cfg)
{
    for (const struct option *o = option_table; o < option_table + option_count; o++)
        if (o->name != NULL)
            option_value_release(o, option_field(cfg, o));
    struct config_own *own = cfg->own;
    if (own == NULL)
        return;
    for (uint32_t i = 0; i < own->nrenames; i++) {
        mem_free(own->renames[i].from);
        mem_free(own->renames[i].to);
        mem_free(own->renames[i].where);
    }
    mem_free(own->renames);
    mem_free(own->path);
    buf_release(&own->warnings);
    mem_free(own);
    cfg->own = NULL;
}

const char *config_path(const struct config *cfg)
{
    return cfg->own->path;
}

bool config_rename_at(const struct config *cfg, uint32_t i, struct config_rename *out)
{
    if (i >= cfg->own->nrenames)
        return false;
    *out = cfg->own->renames[i];
    return true;
}

int config_take_warnings(struct config *cfg, struct buf *out)
{
    int err = buf_puts(out, buf_str(&cfg->own->warnings));
    buf_clear(&cfg->own->warnings);
    for (const struct option *o = option_table; err == 0 && o < option_table + option_count; o++) {
        uint8_t *seen = &cfg->own->seen[o - option_table];
        if (o->name == NULL || o->status != OPTION_ACCEPTED || (*seen & WARNED))
            continue;
        if (option_is_default(o, option_field(cfg, o)))
            continue;
        *seen |= WARNED;
        err = buf_printf(out, "Option '%s' is accepted but changes nothing: %s\n", o->name, o->note);
    }
    return err;
}

void config_hook(struct config *cfg, enum config_group group, config_hook_fn *fn, void *ctx)
{
    cfg->own->hooks[group].fn = fn;
    cfg->own->hooks[group].ctx = ctx;
}

int config_enter_dir(struct config *cfg)
{
    if (chdir(cfg->dir) < 0)
        return ERR_IO;
    char path[4096];
    if (getcwd(path, sizeof(path)) == NULL)
        return ERR_IO;
    char *copy = mem_strndup(path, strlen(path));
    if (copy == NULL)
        return ERR_OOM;
    mem_free(cfg->dir);
    cfg->dir = copy;
    return 0;
}

/* ---- CONFIG GET ------------------------------------------------------------------------------- */

static bool is_glob(struct str s)
{
    return memchr(s.p, '*', s.n) != NULL || memchr(s.p, '?', s.n) != NULL || memchr(s.p, '[', s.n) != NULL;
}

static bool emit_value(const struct config *cfg, const struct option *o, struct str name,
                       config_emit_fn *emit, void *ctx, struct buf *b)
{
    buf_clear(b);
    option_ops_of(o)->format(o, option_field(cfg, o), b);
    if (!b->oom)
        emit(ctx, name, buf_str(b));
    return !b->oom;
}

/* Was this name already given out for one of the patterns before `end`? */
static bool matched_before(const struct option *o, struct str name, const struct str *patterns, size_t end)
{
    for (size_t i = 0; i < end; i++) {
        bool glob = is_glob(patterns[i]);
        if (glob ? !(o->flags & HIDDEN) && str_glob(patterns[i], name, true)
                 : str_eq_nocase(patterns[i], name))
            return true;
    }
    return false;
}

int config_get(const struct config *cfg, const struct str *patterns, size_t n, config_emit_fn *emit,
               void *ctx)
{
    struct buf b;
    buf_init(&b);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        if (!is_glob(patterns[i])) {
            const struct option *o = option_find(patterns[i]);
            if (o != NULL && !matched_before(o, patterns[i], patterns, i))
                ok = emit_value(cfg, o, patterns[i], emit, ctx, &b);
            continue;
        }
        for (const struct option *o = option_table; ok && o < option_table + option_count; o++) {
            const char *names[] = {o->name, o->alias};
            for (size_t k = 0; ok && k < ARRAY_LEN(names); k++) {
                if (names[k] == NULL || o->name == NULL || (o->flags & HIDDEN))
                    continue;
                struct str name = str_of(names[k]);
                if (str_glob(patterns[i], name, true) && !matched_before(o, name, patterns, i))
                    ok = emit_value(cfg, o, name, emit, ctx, &b);
            }
        }
    }
    buf_release(&b);
    return ok ? 0 : ERR_OOM;
}

/* ---- CONFIG SET --------------------------------------------------------------------------------- */

struct change {
    const struct option *o;
    union option_value value; /* the new one; after the trade the old one */
    bool parsed;
    bool same; /* as before: its group's hook need not run */
};

/* The spelling of the table for the name that was asked for. */
static const char *spelling(const struct option *o, struct str asked)
{
    return o->alias != NULL && str_eq_nocase(asked, str_of(o->alias)) ? o->alias : o->name;
}

static int set_failed(struct config_error *e, int err, const char *name)
{
    struct config_error why = *e;
    return config_fail(e, err, "ERR CONFIG SET failed (possibly related to argument '%.64s')%s%.1024s", name,
                       why.text[0] != '\0' ? " - " : "", why.text);
}

static int check_pairs(const struct config_pair *pairs, struct change *changes, size_t n, bool trusted,
                       struct config_error *e)
{
    for (size_t i = 0; i < n; i++) {
        const struct option *o = changes[i].o = option_find(pairs[i].name);
        if (o == NULL)
            return config_fail(e, ERR_NOTFOUND,
                               "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                               (int)(pairs[i].name.n > 128 ? 128 : pairs[i].name.n), pairs[i].name.p);
        const char *why = NULL;
        if (o->flags & IMMUTABLE)
            why = "can't set immutable config";
        else if ((o->flags & PROTECTED) && !trusted)
            why = "can't set protected config";
        for (size_t k = 0; why == NULL && k < i; k++)
            if (changes[k].o == o)
                why = "duplicate parameter";
        if (why != NULL) {
            config_fail(e, ERR_SYNTAX, "%s", why);
            return set_failed(e, ERR_SYNTAX, spelling(o, pairs[i].name));
        }
    }
    return 0;
}

/* Redis splits a value with several words at every single space. */
static int parse_pair(struct config *cfg, struct change *c, struct str text, struct config_error *e)
{
    struct str *argv = &text, *words = NULL;
    uint32_t n = 1;
    if (option_ops_of(c->o)->multi) {
        n = option_split(text, NULL, 0);
        if (n > CONFIG_LINE_ARGS_MAX)
            return config_fail(e, ERR_FULL, "too many words");
        argv = words = mem_alloc(n * sizeof(*words));
        if (words == NULL)
            return config_fail(e, ERR_OOM, CONFIG_NO_MEMORY);
        option_split(text, words, n);
    }
    int err = option_parse(c->o, argv, n, option_field(cfg, c->o), false, &c->value, e);
    mem_free(words);
    if (err < 0)
        return err;
    c->parsed = true;
    c->same = option_same(c->o, &c->value, option_field(cfg, c->o));
    return 0;
}

static void trade(struct config *cfg, struct change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        union option_value aside;
        size_t size = option_ops_of(changes[i].o)->size;
        memcpy(&aside, option_field(cfg, changes[i].o), size);
        memcpy(option_field(cfg, changes[i].o), &changes[i].value, size);
        memcpy(&changes[i].value, &aside, size);
    }
}

/* The groups that changed, each once, in the order of the arguments. */
static int run_hooks(struct config *cfg, struct change *changes, size_t n, struct config_error *e)
{
    uint32_t done = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t group = changes[i].o->group;
        if (changes[i].same || (done >> group & 1) || cfg->own->hooks[group].fn == NULL)
            continue;
        e->text[0] = '\0';
        int err = cfg->own->hooks[group].fn(cfg->own->hooks[group].ctx, cfg, e);
        if (err == 0) {
            done |= 1u << group;
            continue;
        }
        set_failed(e, err, changes[i].o->name);
        trade(cfg, changes, n);
        struct config_error ignored;
        for (uint32_t g = 0; g < CONFIG_GROUPS; g++)
            if (done >> g & 1)
                cfg->own->hooks[g].fn(cfg->own->hooks[g].ctx, cfg, &ignored);
        return err;
    }
    return 0;
}

int config_set(struct config *cfg, const struct config_pair *pairs, size_t n, bool trusted,
               struct config_error *e)
{
    ASSERT(n > 0);
    struct change *changes = mem_zalloc(n * sizeof(*changes));
    if (changes == NULL)
        return config_fail(e, ERR_OOM, "OOM " CONFIG_NO_MEMORY);
    int err = check_pairs(pairs, changes, n, trusted, e);
    if (err < 0)
        goto done;
    for (size_t i = 0; i < n; i++) {
        err = parse_pair(cfg, &changes[i], pairs[i].value, e);
        if (err < 0) {
            set_failed(e, err, spelling(changes[i].o, pairs[i].name));
            goto done;
        }
    }
    trade(cfg, changes, n);
    err = run_hooks(cfg, changes, n, e);
done:
    for (size_t i = 0; i < n; i++)
        if (changes[i].parsed)
            option_value_release(changes[i].o, &changes[i].value);
    mem_free(changes);
    return err;
}
