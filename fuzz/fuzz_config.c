/* The configuration's text: whatever a file, a command line or CONFIG SET may hold.
 *
 * A text either fails with a message or loads; then rewriting it changes nothing. Its
 * lines are given to CONFIG SET too; what comes of that must survive being written to
 * a file and read again. Nothing is read from disk. */
#include "base/assert.h"
#include "server/config_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_same(const struct config *a, const struct config *b)
{
    for (const struct option *o = option_table; o < option_table + option_count; o++)
        ASSERT(o->name == NULL || option_same(o, option_field(a, o), option_field(b, o)));
}

/* The message has a first line, and an end. */
static void assert_message(const struct config_error *e)
{
    size_t n = strnlen(e->text, sizeof(e->text));
    ASSERT(n > 0 && n < sizeof(e->text));
}

/* Loads what config_rewrite_text() makes of `old`; twice, the second time nothing changes. */
static void rewrite_and_load(const struct config *cfg, struct str old)
{
    struct buf once, twice;
    struct config again;
    struct config_error e;
    buf_init(&once);
    buf_init(&twice);
    ASSERT(config_rewrite_text(cfg, old, false, &once, &e) == 0);
    ASSERT(config_rewrite_text(cfg, buf_str(&once), false, &twice, &e) == 0);
    ASSERT(once.n == twice.n && (once.n == 0 || memcmp(once.p, twice.p, once.n) == 0));
    ASSERT(config_init(&again) == 0);
    buf_putc(&once, '\n');
    ASSERT(config_load_text(&again, buf_str(&once), "rewritten text", false, &e) == 0);
    assert_same(cfg, &again);
    config_release(&again);
    buf_release(&once);
    buf_release(&twice);
}

static int refuse_odd_ports(void *ctx, struct config *cfg, struct config_error *e)
{
    return cfg->port % 2 == 0 ? 0 : config_fail(e, ERR_RANGE, "odd");
}

/* Up to three lines are the pairs of one CONFIG SET: "name value". */
static void set_lines(struct config *cfg, struct str text)
{
    struct config_pair pairs[3];
    struct config_error e;
    size_t n = 0;
    while (text.n > 0) {
        const char *lf = memchr(text.p, '\n', text.n);
        struct str line = {text.p, lf != NULL ? (size_t)(lf - text.p) : text.n};
        size_t used = line.n + (lf != NULL);
        text = (struct str){text.p + used, text.n - used};
        const char *space = memchr(line.p, ' ', line.n);
        size_t name = space != NULL ? (size_t)(space - line.p) : line.n;
        pairs[n].name = (struct str){line.p, name};
        pairs[n].value = space != NULL ? (struct str){space + 1, line.n - name - 1} : STR("");
        n++;
        if (n == ARRAY_LEN(pairs) || text.n == 0) {
            if (config_set(cfg, pairs, n, true, &e) < 0)
                assert_message(&e);
            n = 0;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {size > 0 ? (const char *)data : "", size};
    struct config cfg;
    struct config_error e;
    ASSERT(config_init(&cfg) == 0);
    config_hook(&cfg, CONFIG_LISTEN, refuse_odd_ports, NULL);
    if (config_load_text(&cfg, text, "a fuzzed file", false, &e) < 0)
        assert_message(&e);
    else
        rewrite_and_load(&cfg, text);
    set_lines(&cfg, text);
    rewrite_and_load(&cfg, STR("# comment\nport 1\nsave 1 1\nrequirepass x\n"));
    struct buf warnings;
    buf_init(&warnings);
    ASSERT(config_take_warnings(&cfg, &warnings) == 0);
    buf_release(&warnings);
    config_release(&cfg);
    return 0;
}
