/* Offsets are written out rather than mapped onto packed structs: the bytes come unaligned and big-endian,
 * and a reader can compare this file with the drawing in frame.h. */
#include "cluster/frame.h"

#include "base/assert.h"
#include "base/err.h"

enum {
    EXT_HEADER = 8,
    EXT_ALIGN = 8,
    UPDATE_BYTES = 8 + NODE_ID + SLOT_BYTES,
    PUBLISH_BYTES = 8,
    MODULE_BYTES = 13,
    LARDER_FORCED = 1, /* of its flags */
    LARDER_OFFERS = 2,
    LARDER_ASKS = 4,
    LARDER_UNSETTLED = 8,
    LARDER_TAKING = 16
};

static uint64_t get(const char *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static void put(char *p, uint64_t v, unsigned n)
{
    for (unsigned i = n; i-- > 0; v >>= 8)
        p[i] = (char)v;
}

uint64_t frame_get_u64(const char *p)
{
    return get(p, 8);
}

void frame_put_u64(char *p, uint64_t v)
{
    put(p, v, 8);
}

int frame_length(struct str in, size_t *out)
{
    if (in.n < 8) {
        return in.n > 0 && memcmp(in.p, "RCmb", in.n < 4 ? in.n : 4) != 0 ? ERR_PROTO : ERR_AGAIN;
    }
    if (memcmp(in.p, "RCmb", 4) != 0)
        return ERR_PROTO;
    size_t n = get(in.p + 4, 4);
    if (n < FRAME_LIGHT_HEADER || n > FRAME_MAX)
        return ERR_PROTO;
    *out = n;
    return 0;
}

static bool get_id(struct node_id *id, const char *p, bool may_be_none)
{
    memcpy(id->c, p, NODE_ID);
    return node_id_valid(node_id_str(id)) || (may_be_none && p[0] == '\0');
}

/* An address is text that a log and nodes.conf can hold, and it ends. */
static bool get_ip(char out[NODE_IP_MAX], const char *p)
{
    size_t n = strnlen(p, NODE_IP_MAX);
    if (n == NODE_IP_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] <= ' ' || p[i] > '~' || p[i] == ',' || p[i] == '@')
            return false;
    }
    memset(out, 0, NODE_IP_MAX);
    memcpy(out, p, n);
    return true;
}

static int decode_publish(struct str data, struct frame *f)
{
    if (data.n < PUBLISH_BYTES)
        return ERR_PROTO;
    uint64_t channel = get(data.p, 4), message = get(data.p + 4, 4);
    if (channel + message != data.n - PUBLISH_BYTES)
        return ERR_PROTO;
    f->channel = (struct str){data.p + PUBLISH_BYTES, channel};
    f->message = (struct str){data.p + PUBLISH_BYTES + channel, message};
    return 0;
}

static int decode_pings(struct str data, struct frame *f, unsigned count, unsigned exts)
{
    struct frame_gossip g;
    size_t bytes = (size_t)count * FRAME_GOSSIP, at = 0;
    if (bytes > data.n || exts > FRAME_EXTENSIONS_MAX)
        return ERR_PROTO;
    f->gossip = (struct str){data.p, bytes};
    f->exts = (struct str){data.p + bytes, data.n - bytes};
    f->ngossip = count;
    f->nexts = exts;
    for (unsigned i = 0; i < count; i++) {
        if (!get_id(&g.id, data.p + (size_t)i * FRAME_GOSSIP, false) ||
            !get_ip(g.ip, data.p + (size_t)i * FRAME_GOSSIP + 48))
            return ERR_PROTO;
    }
    for (unsigned i = 0; i < exts; i++) {
        if (f->exts.n - at < EXT_HEADER)
            return ERR_PROTO;
        uint64_t n = get(f->exts.p + at, 4);
        if (n < EXT_HEADER || n % EXT_ALIGN != 0 || n > f->exts.n - at)
            return ERR_PROTO;
        at += n;
    }
    return at == f->exts.n ? 0 : ERR_PROTO;
}

static int decode_header(struct str in, struct frame_header *h)
{
    const char *p = in.p;
    h->port = (uint16_t)get(p + 10, 2);
    h->current_epoch = get(p + 16, 8);
    h->config_epoch = get(p + 24, 8);
    h->offset = get(p + 32, 8);
    h->slots = (const uint8_t *)p + 80;
    h->tls_port = (uint16_t)get(p + 2246, 2);
    h->cport = (uint16_t)get(p + 2248, 2);
    h->flags = (uint16_t)get(p + 2250, 2);
    h->state = (uint8_t)p[2252];
    memcpy(h->mflags, p + 2253, 3);
    if (!get_id(&h->sender, p + 40, false) || !get_id(&h->primary, p + 2128, true) ||
        !get_ip(h->ip, p + 2168))
        return ERR_PROTO;
    if (memcmp(p + 2216, "lrd1", 4) == 0) {
        h->larder.is = true;
        h->larder.promise_ms = (uint32_t)get(p + 2220, 4);
        h->larder.seq = (uint32_t)get(p + 2224, 4);
        h->larder.data_epoch = get(p + 2228, 8);
        h->larder.replid = get(p + 2236, 8);
        h->larder.forced = (p[2244] & LARDER_FORCED) != 0;
        h->larder.offers = (p[2244] & LARDER_OFFERS) != 0;
        h->larder.asks = (p[2244] & LARDER_ASKS) != 0;
        h->larder.unsettled = (p[2244] & LARDER_UNSETTLED) != 0;
        h->larder.taking = (p[2244] & LARDER_TAKING) != 0;
    }
    return 0;
}

static int decode_data(struct str data, struct frame *f, unsigned count, unsigned exts)
{
    switch (f->h.type) {
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_MEET: return decode_pings(data, f, count, exts);
    case FRAME_FAIL: return data.n == NODE_ID && get_id(&f->node, data.p, false) ? 0 : ERR_PROTO;
    case FRAME_PUBLISH:
    case FRAME_PUBLISHSHARD: return decode_publish(data, f);
    case FRAME_AUTH_REQUEST:
    case FRAME_AUTH_ACK: return decode_pings(data, f, 0, exts);
    case FRAME_MFSTART: return data.n == 0 ? 0 : ERR_PROTO;
    case FRAME_UPDATE:
        if (data.n != UPDATE_BYTES || !get_id(&f->node, data.p + 8, false))
            return ERR_PROTO;
        f->update_epoch = get(data.p, 8);
        f->update_slots = (const uint8_t *)data.p + 8 + NODE_ID;
        return 0;
    case FRAME_MODULE:
        return data.n >= MODULE_BYTES && get(data.p + 8, 4) == data.n - MODULE_BYTES ? 0 : ERR_PROTO;
    default: return ERR_NOTFOUND;
    }
}

int frame_decode(struct str in, struct frame *out)
{
    size_t n = 0;
    memset(out, 0, sizeof(*out));
    if (in.n < FRAME_LIGHT_HEADER || frame_length(in, &n) != 0 || n != in.n || get(in.p + 8, 2) != 1)
        return ERR_PROTO;
    unsigned type = (unsigned)get(in.p + 12, 2);
    out->light = (type & FRAME_LIGHT) != 0;
    out->h.type = (uint16_t)(type & ~(unsigned)FRAME_LIGHT);
    if (out->light) {
        if (out->h.type != FRAME_PUBLISH && out->h.type != FRAME_PUBLISHSHARD)
            return ERR_NOTFOUND;
        return decode_publish((struct str){in.p + FRAME_LIGHT_HEADER, in.n - FRAME_LIGHT_HEADER}, out);
    }
    if (in.n < FRAME_HEADER)
        return ERR_PROTO;
    int err = decode_header(in, &out->h);
    if (err != 0)
        return err;
    return decode_data((struct str){in.p + FRAME_HEADER, in.n - FRAME_HEADER}, out,
                       (unsigned)get(in.p + 14, 2), (unsigned)get(in.p + 2214, 2));
}

void frame_gossip_at(const struct frame *f, unsigned i, struct frame_gossip *out)
{
    ASSERT(i < f->ngossip);
    const char *p = f->gossip.p + (size_t)i * FRAME_GOSSIP;
    memcpy(out->id.c, p, NODE_ID); /* id and ip are checked already */
    out->ping_sent_s = (uint32_t)get(p + 40, 4);
    out->pong_s = (uint32_t)get(p + 44, 4);
    memcpy(out->ip, p + 48, NODE_IP_MAX);
    out->port = (uint16_t)get(p + 94, 2);
    out->cport = (uint16_t)get(p + 96, 2);
    out->flags = (uint16_t)get(p + 98, 2);
    out->tls_port = (uint16_t)get(p + 100, 2);
}

bool frame_ext_next(const struct frame *f, size_t *at, struct frame_ext *out)
{
    if (*at >= f->exts.n)
        return false;
    size_t n = get(f->exts.p + *at, 4);
    out->type = (uint16_t)get(f->exts.p + *at + 4, 2);
    out->data = (struct str){f->exts.p + *at + EXT_HEADER, n - EXT_HEADER};
    *at += n;
    return true;
}

bool frame_ext_find(const struct frame *f, uint16_t type, size_t least, struct str *out)
{
    struct frame_ext e;
    size_t at = 0;
    while (frame_ext_next(f, &at, &e)) {
        *out = e.data;
        if (e.type == type && e.data.n >= least)
            return true;
    }
    return false;
}

bool frame_ext_text(const struct frame_ext *e, char out[NODE_HOST_MAX])
{
    size_t n = e->data.n == 0 ? 0 : strnlen(e->data.p, e->data.n);
    if (n == e->data.n || n >= NODE_HOST_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = e->data.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '.' || c == '_'))
            return false;
    }
    memcpy(out, e->data.p, n);
    out[n] = '\0';
    return true;
}

static void append(struct frame_writer *w, const void *p, size_t n)
{
    (void)buf_append(w->b, p, n); /* frame_end() looks at oom */
}

static void encode_larder(char *p, const struct frame_larder *l)
{
    memcpy(p + 2216, "lrd1", 4);
    put(p + 2220, l->promise_ms, 4);
    put(p + 2224, l->seq, 4);
    put(p + 2228, l->data_epoch, 8);
    put(p + 2236, l->replid, 8);
    p[2244] = (char)((l->forced ? LARDER_FORCED : 0) | (l->offers ? LARDER_OFFERS : 0) |
                     (l->asks ? LARDER_ASKS : 0) | (l->unsettled ? LARDER_UNSETTLED : 0) |
                     (l->taking ? LARDER_TAKING : 0));
}

void frame_begin(struct frame_writer *w, struct buf *b, const struct frame_header *h)
{
    ASSERT(h->type < FRAME_TYPES);
    char p[FRAME_HEADER] = {'R', 'C', 'm', 'b'};
    *w = (struct frame_writer){.b = b, .start = b->n};
    put(p + 8, 1, 2);
    put(p + 10, h->port, 2);
    put(p + 12, h->type, 2);
    put(p + 16, h->current_epoch, 8);
    put(p + 24, h->config_epoch, 8);
    put(p + 32, h->offset, 8);
    memcpy(p + 40, h->sender.c, NODE_ID);
    if (h->slots != NULL)
        memcpy(p + 80, h->slots, SLOT_BYTES);
    memcpy(p + 2128, h->primary.c, NODE_ID);
    memcpy(p + 2168, h->ip, strnlen(h->ip, NODE_IP_MAX - 1));
    if (h->larder.is)
        encode_larder(p, &h->larder);
    put(p + 2246, h->tls_port, 2);
    put(p + 2248, h->cport, 2);
    put(p + 2250, h->flags, 2);
    p[2252] = (char)h->state;
    memcpy(p + 2253, h->mflags, 3);
    append(w, p, sizeof(p));
}

void frame_put_gossip(struct frame_writer *w, const struct frame_gossip *g)
{
    ASSERT(w->nexts == 0);
    char p[FRAME_GOSSIP] = {0};
    memcpy(p, g->id.c, NODE_ID);
    put(p + 40, g->ping_sent_s, 4);
    put(p + 44, g->pong_s, 4);
    memcpy(p + 48, g->ip, strnlen(g->ip, NODE_IP_MAX - 1));
    put(p + 94, g->port, 2);
    put(p + 96, g->cport, 2);
    put(p + 98, g->flags, 2);
    put(p + 100, g->tls_port, 2);
    append(w, p, sizeof(p));
    w->ngossip++;
}

void frame_put_ext(struct frame_writer *w, uint16_t type, struct str data)
{
    char head[EXT_HEADER] = {0};
    static const char zeros[EXT_ALIGN];
    size_t padded = (data.n + EXT_ALIGN - 1) / EXT_ALIGN * EXT_ALIGN;
    put(head, EXT_HEADER + padded, 4);
    put(head + 4, type, 2);
    append(w, head, sizeof(head));
    append(w, data.p, data.n);
    append(w, zeros, padded - data.n);
    w->nexts++;
}

void frame_put_fail(struct frame_writer *w, const struct node_id *id)
{
    append(w, id->c, NODE_ID);
}

void frame_put_update(struct frame_writer *w, const struct node *n, const uint8_t *slots)
{
    char epoch[8];
    put(epoch, n->config_epoch, 8);
    append(w, epoch, 8);
    append(w, n->id.c, NODE_ID);
    append(w, slots, SLOT_BYTES);
}

void frame_put_publish(struct frame_writer *w, struct str channel, struct str message)
{
    char lengths[PUBLISH_BYTES];
    put(lengths, channel.n, 4);
    put(lengths + 4, message.n, 4);
    append(w, lengths, sizeof(lengths));
    append(w, channel.p, channel.n);
    append(w, message.p, message.n);
}

int frame_end(struct frame_writer *w)
{
    struct buf *b = w->b;
    if (b->oom || b->n - w->start > FRAME_MAX) {
        int err = b->oom ? ERR_OOM : ERR_RANGE;
        b->n = w->start;
        b->oom = false;
        return err;
    }
    put(b->p + w->start + 4, b->n - w->start, 4);
    put(b->p + w->start + 14, w->ngossip, 2);
    put(b->p + w->start + 2214, w->nexts, 2);
    return 0;
}

int frame_light_publish(struct buf *b, bool sharded, struct str channel, struct str message)
{
    char p[FRAME_LIGHT_HEADER] = {'R', 'C', 'm', 'b'};
    size_t n = FRAME_LIGHT_HEADER + PUBLISH_BYTES + channel.n + message.n;
    if (channel.n > FRAME_MAX || message.n > FRAME_MAX || n > FRAME_MAX)
        return ERR_RANGE;
    struct frame_writer w = {.b = b, .start = b->n};
    if (buf_reserve(b, n) != 0)
        return ERR_OOM;
    put(p + 4, n, 4);
    put(p + 8, 1, 2);
    put(p + 12, FRAME_LIGHT | (sharded ? FRAME_PUBLISHSHARD : FRAME_PUBLISH), 2);
    append(&w, p, sizeof(p));
    frame_put_publish(&w, channel, message);
    return 0;
}

const char *frame_type_name(unsigned type)
{
    static const char *const names[] = {"ping",     "pong",   "meet",    "fail",   "publish",     "auth-req",
                                        "auth-ack", "update", "mfstart", "module", "publishshard"};
    return type < FRAME_TYPES ? names[type] : "unknown";
}
