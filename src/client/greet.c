#include "client/greet.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "client/error.h"

int put_header(struct buf *b, char type, uint64_t n)
{
    char line[NUM_I64_TEXT_MAX + 4];
    unsigned at = 0;
    line[at++] = type;
    at += num_put_u64(line + at, n);
    line[at++] = '\r';
    line[at++] = '\n';
    return buf_append(b, line, at);
}

int put_bulk(struct buf *b, struct str s)
{
    size_t before = b->n;
    if (put_header(b, '$', s.n) == 0 && buf_puts(b, s) == 0 && buf_append(b, "\r\n", 2) == 0)
        return 0;
    b->n = before;
    return ERR_OOM;
}

int put_request(struct buf *b, const struct str *argv, size_t argc)
{
    size_t before = b->n;
    int err = put_header(b, '*', argc);
    for (size_t i = 0; i < argc && err == 0; i++)
        err = put_bulk(b, argv[i]);
    if (err < 0)
        b->n = before;
    return err;
}

enum { GREET_ARGS_MAX = 8 };

static int say(struct conn *c, const struct str *argv, size_t argc)
{
    c->greet_left++;
    return put_request(&c->greeting, argv, argc);
}

static struct str user_of(const struct conn *c)
{
    return c->set->o.user != NULL ? str_of(c->set->o.user) : STR("default");
}

static int say_hello(struct conn *c)
{
    struct str argv[GREET_ARGS_MAX] = {STR("HELLO"), STR("3")};
    size_t argc = 2;
    if (c->set->o.password != NULL) {
        argv[argc++] = STR("AUTH");
        argv[argc++] = user_of(c);
        argv[argc++] = str_of(c->set->o.password);
    }
    c->greet_step = GREET_HELLO;
    return say(c, argv, argc);
}

static int say_auth(struct conn *c)
{
    struct str argv[GREET_ARGS_MAX] = {STR("AUTH")};
    size_t argc = 1;
    if (c->set->o.user != NULL)
        argv[argc++] = str_of(c->set->o.user);
    argv[argc++] = str_of(c->set->o.password);
    c->greet_step = GREET_AUTH;
    return say(c, argv, argc);
}

/* What needs to be said once the peer knows who speaks. SELECT comes first, since its answer counts. */
static int say_rest(struct conn *c)
{
    const struct larder_options *o = &c->set->o;
    char number[NUM_I64_TEXT_MAX];
    int err = 0;
    c->greet_step = o->database != 0 ? GREET_SELECT : GREET_REST;
    if (o->database != 0)
        err = say(c, (struct str[]){STR("SELECT"), {number, num_put_i64(number, o->database)}}, 2);
    if (err == 0 && o->client_name != NULL)
        err = say(c, (struct str[]){STR("CLIENT"), STR("SETNAME"), str_of(o->client_name)}, 3);
    if (err == 0 && c->readonly)
        err = say(c, (struct str[]){STR("READONLY")}, 1);
    return err;
}

int greet_begin(struct conn *c)
{
    c->greet_left = 0;
    if (c->set->o.resp == 3)
        return say_hello(c);
    return c->set->o.password != NULL ? say_auth(c) : say_rest(c);
}

static int refused(struct conn *c, const char *what, struct str text)
{
    bool busy = str_begins(text, STR("LOADING")) || str_begins(text, STR("ERR max"));
    return fail(&c->why, busy ? LARDER_ERR_CLOSED : LARDER_ERR_AUTH, "%s: %s: %.*s", c->address->name, what,
                (int)(text.n < 160 ? text.n : 160), text.p);
}

/* The answer to HELLO or AUTH, the first of the greeting. An old server knows no HELLO. */
static int first_reply(struct conn *c, const struct reader_value *v, bool error)
{
    bool hello = c->greet_step == GREET_HELLO;
    if (error && hello &&
        (str_begins(v->text, STR("ERR unknown command")) || str_begins(v->text, STR("NOPROTO"))))
        return c->set->o.password != NULL ? say_auth(c) : say_rest(c);
    return error ? refused(c, hello ? "HELLO" : "AUTH", v->text) : say_rest(c);
}

int greet_reply(struct conn *c, const struct reader_value *v)
{
    bool error = reader_is_error(v);
    int err = 0;
    ASSERT(c->greet_left > 0);
    c->greet_left--;
    if (c->greet_step == GREET_HELLO || c->greet_step == GREET_AUTH)
        err = first_reply(c, v, error);
    else if (error && c->greet_step == GREET_SELECT)
        err = refused(c, "SELECT", v->text);
    else
        c->greet_step = GREET_REST; /* a name or READONLY refused does no harm */
    if (err == ERR_OOM)
        return fail(&c->why, LARDER_ERR_MEMORY, "%s: out of memory", c->address->name);
    if (err == 0 && c->greet_left == 0)
        c->state = CONN_READY;
    return err;
}
