#include "repl/link.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "repl/unit.h"

#include <stdio.h>
#include <string.h>

void link_init(struct link *l)
{
    memset(l, 0, sizeof *l);
    buf_init(&l->out);
}

void link_release(struct link *l)
{
    buf_release(&l->out);
}

const char *link_state_name(enum link_state state)
{
    static const char *const names[] = {"connect",    "ping",  "auth",   "port",    "address",
                                        "capability", "psync", "header", "payload", "stream"};
    return names[state];
}

static void send(struct link *l, const struct str *argv, uint32_t argc)
{
    (void)unit_put_command(&l->out, argv, argc); /* out.oom is the owner's to see */
}

#define SEND(l, ...)                                                                                         \
    do {                                                                                                     \
        const struct str words_[] = {__VA_ARGS__};                                                           \
        send((l), words_, sizeof words_ / sizeof words_[0]);                                                 \
    } while (0)

static enum link_event broken(struct link *l, const char *what, struct str line)
{
    snprintf(l->text, sizeof l->text, "%s: %.*s", what, line.n < 150 ? (int)line.n : 150, line.p);
    return LINK_BROKEN;
}

void link_begin(struct link *l, const struct link_config *config, const struct history *h, uint64_t offset)
{
    buf_clear(&l->out);
    l->config = *config;
    l->has_history = h != NULL;
    l->offset = offset;
    l->text[0] = '\0';
    if (h != NULL)
        memcpy(l->id, h->id, sizeof l->id);
    l->state = LINK_PING;
    SEND(l, STR("PING"));
}

/* ---- the handshake ---- */

static void send_psync(struct link *l)
{
    char text[NUM_I64_TEXT_MAX];
    struct str from = {text, num_put_u64(text, l->offset + 1)};
    l->state = LINK_PSYNC;
    if (l->has_history && l->config.failover)
        SEND(l, STR("PSYNC"), str_of(l->id), from, STR("FAILOVER"));
    else if (l->has_history)
        SEND(l, STR("PSYNC"), str_of(l->id), from);
    else
        SEND(l, STR("PSYNC"), STR("?"), STR("-1"));
}

static void send_capabilities(struct link *l)
{
    l->state = LINK_CAPA;
    SEND(l, STR("REPLCONF"), STR("capa"), STR("eof"), STR("capa"), STR("psync2"));
}

static void send_port(struct link *l)
{
    char text[NUM_I64_TEXT_MAX];
    struct str port = {text, num_put_i64(text, l->config.port)};
    l->state = LINK_PORT;
    SEND(l, STR("REPLCONF"), STR("listening-port"), port);
}

static void send_auth(struct link *l)
{
    l->state = LINK_AUTH;
    if (l->config.user.n > 0)
        SEND(l, STR("AUTH"), l->config.user, l->config.password);
    else
        SEND(l, STR("AUTH"), l->config.password);
}

static bool starts(struct str line, const char *with)
{
    size_t n = strlen(with);
    return line.n >= n && memcmp(line.p, with, n) == 0;
}

/* Takes a word off *line. */
static struct str word(struct str *line)
{
    while (line->n > 0 && line->p[0] == ' ')
        line->p++, line->n--;
    struct str w = {line->p, 0};
    while (w.n < line->n && line->p[w.n] != ' ')
        w.n++;
    line->p += w.n;
    line->n -= w.n;
    return w;
}

static enum link_event answer_to_psync(struct link *l, struct str line)
{
    struct str rest = line, what = word(&rest), id = word(&rest), from = word(&rest);
    uint64_t offset;
    if (str_eq(what, STR("+FULLRESYNC"))) {
        if (!history_id_ok(id) || !num_parse_u64(from, &offset) || offset > INT64_MAX >> 12)
            return broken(l, "The primary answered PSYNC with nonsense", line);
        memcpy(l->id, id.p, HISTORY_ID);
        l->id[HISTORY_ID] = '\0';
        l->offset = offset;
        l->state = LINK_HEADER;
        return LINK_FULL;
    }
    if (str_eq(what, STR("+CONTINUE"))) {
        if (!l->has_history || (id.n > 0 && !history_id_ok(id)))
            return broken(l, "The primary answered PSYNC with nonsense", line);
        if (id.n > 0)
            memcpy(l->id, id.p, HISTORY_ID);
        l->state = LINK_STREAM;
        return LINK_CONTINUE;
    }
    broken(l, "The primary refuses to replicate", line);
    return starts(line, "-NOMASTERLINK") || starts(line, "-LOADING") ? LINK_LATER : LINK_BROKEN;
}

static enum link_event payload_header(struct link *l, struct str line)
{
    static const char eof[] = "$EOF:";
    if (line.n == sizeof eof - 1 + LINK_MARK && starts(line, eof)) {
        memcpy(l->mark, line.p + sizeof eof - 1, LINK_MARK);
        l->marked = true;
        l->ntail = 0;
    } else if (line.n > 1 && line.p[0] == '$' &&
               num_parse_u64((struct str){line.p + 1, line.n - 1}, &l->left)) {
        l->marked = false;
    } else {
        return broken(l, "The primary's full copy does not begin as it should", line);
    }
    l->state = LINK_PAYLOAD;
    return LINK_TRANSFER;
}

static enum link_event on_line(struct link *l, struct str line)
{
    bool refused = line.n > 0 && line.p[0] == '-';
    if (l->state != LINK_HEADER && (line.n == 0 || (line.p[0] != '+' && !refused)))
        return broken(l, "The primary answered with nonsense", line);
    switch (l->state) {
    case LINK_PING:
        if (refused && !starts(line, "-NOAUTH") && !starts(line, "-NOPERM") &&
            !starts(line, "-ERR operation not permitted"))
            return broken(l, "The primary answered PING with an error", line);
        if (l->config.password.n > 0)
            send_auth(l);
        else
            send_port(l);
        return LINK_NOTHING;
    case LINK_AUTH:
        if (refused)
            return broken(l, "The primary does not accept masterauth", line);
        send_port(l);
        return LINK_NOTHING;
    case LINK_PORT: /* an old primary may not know these: it does without */
        if (l->config.ip.n > 0) {
            l->state = LINK_IP;
            SEND(l, STR("REPLCONF"), STR("ip-address"), l->config.ip);
        } else {
            send_capabilities(l);
        }
        return LINK_NOTHING;
    case LINK_IP: send_capabilities(l); return LINK_NOTHING;
    case LINK_CAPA: send_psync(l); return LINK_NOTHING;
    case LINK_PSYNC: return answer_to_psync(l, line);
    case LINK_HEADER: return payload_header(l, line);
    default: return broken(l, "Unexpected", line);
    }
}

enum link_event link_feed(struct link *l, struct str *in)
{
    ASSERT(l->state != LINK_PAYLOAD && l->state != LINK_STREAM && l->state != LINK_IDLE);
    while (in->n > 0) {
        const char *end = memchr(in->p, '\n', in->n < LINK_LINE_MAX ? in->n : LINK_LINE_MAX);
        if (end == NULL)
            return in->n >= LINK_LINE_MAX ? broken(l, "The primary's line has no end", STR(""))
                                          : LINK_NOTHING;
        struct str line = {in->p, (size_t)(end - in->p)};
        in->p = end + 1;
        in->n -= line.n + 1;
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        /* Empty lines keep the link alive while the primary prepares its copy. */
        if (line.n == 0 && (l->state == LINK_PSYNC || l->state == LINK_HEADER))
            continue;
        enum link_event e = on_line(l, line);
        if (e != LINK_NOTHING)
            return e;
    }
    return LINK_NOTHING;
}

/* ---- the payload ---- */

static bool counted_payload(struct link *l, struct str *in, struct str *piece)
{
    piece->p = in->p;
    piece->n = in->n < l->left ? in->n : l->left;
    in->p += piece->n;
    in->n -= piece->n;
    l->left -= piece->n;
    return l->left == 0;
}

/* All but the last LINK_MARK bytes seen so far are payload for certain. They are handed out in at most two
 * pieces: first what was held back, then what has come. The mark is random, so it is only looked for at the
 * end of what has come, where the primary stops until it is acknowledged. */
static bool marked_payload(struct link *l, struct str *in, struct str *piece)
{
    if (l->ntail > 0 && in->n >= LINK_MARK) { /* enough has come to hold back that instead */
        *piece = (struct str){l->tail, l->ntail};
        l->ntail = 0;
        return false;
    }
    if (in->n >= LINK_MARK) {
        piece->p = in->p;
        piece->n = in->n - LINK_MARK;
        memcpy(l->tail, in->p + piece->n, LINK_MARK);
        l->ntail = LINK_MARK;
    } else { /* shift the new bytes into the tail, the same number of old ones out of it */
        size_t room = LINK_MARK - l->ntail, out = in->n > room ? in->n - room : 0;
        char old[LINK_MARK];
        memcpy(old, l->tail, out);
        memmove(l->tail, l->tail + out, l->ntail - out);
        memcpy(l->tail + l->ntail - out, in->p, in->n);
        l->ntail += in->n - out;
        ASSERT(l->ntail <= LINK_MARK);
        memcpy(l->shifted, old, out);
        *piece = (struct str){l->shifted, out};
    }
    in->p += in->n;
    in->n = 0;
    return l->ntail == LINK_MARK && memcmp(l->tail, l->mark, LINK_MARK) == 0;
}

bool link_payload(struct link *l, struct str *in, struct str *piece)
{
    ASSERT(l->state == LINK_PAYLOAD);
    bool last = l->marked ? marked_payload(l, in, piece) : counted_payload(l, in, piece);
    if (last)
        l->state = LINK_STREAM;
    return last;
}

void link_ack(struct link *l, uint64_t offset)
{
    char text[NUM_I64_TEXT_MAX];
    struct str at = {text, num_put_u64(text, offset)};
    SEND(l, STR("REPLCONF"), STR("ACK"), at);
}
