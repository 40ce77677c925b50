#include "repl/stream.h"

#include "base/err.h"

#include <string.h>

static int next_command(struct stream *s, struct str in, struct arena *arena, struct request *r)
{
    struct request_parser rp = {.bulk_max = STREAM_BULK_MAX, .authenticated = true};
    int rc = request_parse(&rp, in, arena, r);
    if (rc == ERR_PROTO) {
        size_t n = strlen(rp.error);
        n = n < sizeof s->error_text - 1 ? n : sizeof s->error_text - 1;
        memcpy(s->error_text, rp.error, n);
        s->error_text[n] = '\0';
        s->error = s->error_text;
    }
    return rc;
}

static bool is_word(const struct request *r, const char *word)
{
    return r->argc == 1 && str_eq_nocase(r->argv[0], str_of(word));
}

/* In an arena nothing can be freed, so the array doubles and leaves the old one behind. */
static int add(struct stream_unit *u, uint32_t *cap, struct arena *arena, const struct request *r)
{
    if (u->n == STREAM_UNIT_COMMANDS)
        return ERR_PROTO;
    if (u->n == *cap) {
        *cap = *cap == 0 ? 1 : *cap * 4;
        struct stream_command *grown = arena_alloc(arena, *cap * sizeof *grown);
        if (grown == NULL)
            return ERR_OOM;
        if (u->n > 0)
            memcpy(grown, u->commands, u->n * sizeof *grown);
        u->commands = grown;
    }
    u->commands[u->n++] = (struct stream_command){r->argv, r->argc};
    return 0;
}

int stream_next(struct stream *s, struct str in, struct arena *arena, struct stream_unit *out)
{
    uint32_t cap = 0;
    *out = (struct stream_unit){0};
    s->error = NULL;
    for (;;) {
        struct request r;
        int rc = next_command(s, (struct str){in.p + out->bytes, in.n - out->bytes}, arena, &r);
        if (rc != 0)
            return rc;
        out->bytes += r.bytes;
        if (r.argc == 0) {
            if (!out->multi)
                return 0;
            continue;
        }
        if (is_word(&r, "MULTI")) {
            if (out->multi) {
                s->error = "MULTI within MULTI";
                return ERR_PROTO;
            }
            out->multi = true;
            continue;
        }
        if (is_word(&r, "EXEC")) {
            if (out->multi)
                return 0;
            s->error = "EXEC without MULTI";
            return ERR_PROTO;
        }
        rc = add(out, &cap, arena, &r);
        if (rc == ERR_PROTO)
            s->error = "a transaction without end";
        if (rc != 0 || !out->multi)
            return rc;
    }
}
