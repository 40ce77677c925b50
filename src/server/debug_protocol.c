/* DEBUG PROTOCOL: a reply of each type, for authors of clients. What it says is what Redis says. */
#include "server/handlers.h"

#include "server/debug_keys.h"

static void put_string(struct reply *r)
{
    reply_cstr(r, "Hello World");
}

static void put_integer(struct reply *r)
{
    reply_int(r, 12345);
}

static void put_double(struct reply *r)
{
    reply_double(r, 3.141);
}

static void put_bignum(struct reply *r)
{
    reply_bignum(r, STR("1234567999999999999999999999999999999"));
}

static void put_0_1_2(struct reply *r)
{
    for (int i = 0; i < 3; i++)
        reply_int(r, i);
}

static void put_array(struct reply *r)
{
    reply_array(r, 3);
    put_0_1_2(r);
}

static void put_set(struct reply *r)
{
    reply_set(r, 3);
    put_0_1_2(r);
}

static void put_map(struct reply *r)
{
    reply_map(r, 3);
    for (int i = 0; i < 3; i++) {
        reply_int(r, i);
        reply_bool(r, i == 1);
    }
}

static void put_attribute(struct reply *r)
{
    if (r->proto >= 3) {
        reply_attribute(r, 1);
        reply_cstr(r, "key-popularity");
        reply_array(r, 2);
        reply_cstr(r, "key:123");
        reply_int(r, 90);
    }
    reply_cstr(r, "Some real reply following the attribute");
}

static void put_push(struct reply *r)
{
    if (r->proto < 3) {
        reply_error(r, "ERR RESP2 is not supported by this command");
        return;
    }
    reply_push(r, 2);
    reply_cstr(r, "server-cpu-usage");
    reply_int(r, 42);
    reply_cstr(r, "Some real reply following the push reply");
}

static void put_verbatim(struct reply *r)
{
    reply_verbatim(r, "txt", STR("This is a verbatim\nstring"));
}

static void put_true(struct reply *r)
{
    reply_bool(r, true);
}

static void put_false(struct reply *r)
{
    reply_bool(r, false);
}

void debug_protocol(struct cmd_ctx *c)
{
    static const struct {
        const char *name;
        void (*put)(struct reply *r);
    } types[] = {
        {"string", put_string}, {"integer", put_integer},   {"double", put_double},
        {"bignum", put_bignum}, {"null", reply_null},       {"array", put_array},
        {"set", put_set},       {"map", put_map},           {"attrib", put_attribute},
        {"push", put_push},     {"verbatim", put_verbatim}, {"true", put_true},
        {"false", put_false},
    };
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        if (str_eq_nocase(c->argv[2], str_of(types[i].name))) {
            types[i].put(c->reply);
            return;
        }
    }
    reply_error(c->reply, "ERR Wrong protocol type name. Please use one of the following: "
                          "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false");
}
