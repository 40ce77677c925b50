/* OBJECT: what lies behind a key. */
#include "cmd/cmd.h"
#include "cmd/handlers.h"
#include "cmd/types.h"

#include <string.h>

enum { REDIS_SHARED_NUMBERS = 10000 };

/* The entry, or NULL after a null reply. */
static const struct entry *look(struct cmd_ctx *c)
{
    const struct entry *e = cmd_peek(c, 0);
    if (e == NULL)
        reply_null(c->reply);
    return e;
}

void cmd_object_encoding(struct cmd_ctx *c)
{
    const struct entry *e = look(c);
    if (e != NULL)
        reply_cstr(c->reply, type_encoding(e));
}

/* Redis shares the objects of small numbers among all keys and says so with INT_MAX. */
void cmd_object_refcount(struct cmd_ctx *c)
{
    const struct entry *e = look(c);
    if (e == NULL)
        return;
    struct block *block;
    int64_t number = -1;
    if (entry_is_string(e) && strcmp(type_encoding(e), "int") == 0)
        num_parse_i64(entry_string(e, &block), &number);
    bool shared = number >= 0 && number < REDIS_SHARED_NUMBERS;
    reply_int(c->reply, shared ? INT32_MAX : 1);
}

void cmd_object_idletime(struct cmd_ctx *c)
{
    const struct entry *e = look(c);
    if (e == NULL)
        return;
    if (c->limits->lfu)
        reply_error(c->reply,
                    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
                    "switching between policies at runtime LRU and LFU data will take some time to adjust.");
    else
        reply_int(c->reply, (int64_t)store_idle_s(&c->a, &c->keys[0]));
}

void cmd_object_freq(struct cmd_ctx *c)
{
    const struct entry *e = look(c);
    if (e == NULL)
        return;
    if (!c->limits->lfu)
        reply_error(c->reply,
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
                    "that when switching between policies at runtime LRU and LFU data will take some time to "
                    "adjust.");
    else
        reply_int(c->reply, store_freq(&c->a, &c->keys[0]));
}

void cmd_object_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}
