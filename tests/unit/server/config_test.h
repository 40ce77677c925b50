/* What the configuration's tests share. */
#ifndef LARDER_TESTS_CONFIG_TEST_H
#define LARDER_TESTS_CONFIG_TEST_H

#include "server/config_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define for_each_option(o)                                                                                   \
    for (const struct option *o = option_table; o < option_table + option_count; o++)                        \
        if (o->name != NULL)

/* An option's value as CONFIG GET shows it; good until released by the caller. */
static inline struct buf text_of(const struct config *cfg, const struct option *o)
{
    struct buf b;
    buf_init(&b);
    option_ops_of(o)->format(o, option_field(cfg, o), &b);
    assert_int_equal(buf_putc(&b, '\0'), 0);
    return b;
}

static inline void assert_value(const struct config *cfg, const char *name, const char *expected)
{
    const struct option *o = option_find(str_of(name));
    assert_non_null(o);
    struct buf b = text_of(cfg, o);
    assert_string_equal(b.p, expected);
    buf_release(&b);
}

static inline void assert_same_config(const struct config *a, const struct config *b)
{
    for_each_option(o)
    {
        if (!option_same(o, option_field(a, o), option_field(b, o)))
            print_error("option %s differs\n", o->name);
        assert_true(option_same(o, option_field(a, o), option_field(b, o)));
    }
}

static inline int load(struct config *cfg, const char *text, struct config_error *e)
{
    return config_load_text(cfg, str_of(text), "a test", true, e);
}

static inline void assert_loads(struct config *cfg, const char *text)
{
    struct config_error e;
    int err = load(cfg, text, &e);
    if (err < 0)
        print_error("%s\n", e.text);
    assert_int_equal(err, 0);
}

/* The last line of the message says why. */
static inline void assert_load_fails(const char *text, const char *why)
{
    struct config cfg;
    struct config_error e;
    assert_int_equal(config_init(&cfg), 0);
    int err = load(&cfg, text, &e);
    if (err == 0)
        print_error("'%s' should not load\n", text);
    assert_true(err < 0);
    size_t n = strlen(e.text), w = strlen(why);
    bool ok = n > w && strcmp(e.text + n - w, why) == 0 && e.text[n - w - 1] == '\n';
    if (!ok)
        print_error("'%s' gives%s\n", text, e.text);
    assert_true(ok);
    config_release(&cfg);
}

static inline int set_one(struct config *cfg, const char *name, const char *value, struct config_error *e)
{
    struct config_pair pair = {str_of(name), str_of(value)};
    return config_set(cfg, &pair, 1, true, e);
}

#endif
