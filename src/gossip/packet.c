#include "gossip/packet.h"

#include "base/err.h"

#include <string.h>

enum {
    EXTENSION_HEADER = 8,
    EXTENSION_HOSTNAME = 0,
    FAIL_BODY = PACKET_ID,
    UPDATE_BODY = 8 + PACKET_ID + PACKET_SLOTS / 8,
    VERSION = 1,
};

static uint64_t get(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static void put(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = n; i-- > 0; v >>= 8)
        p[i] = (uint8_t)v;
}

/* Hex digits, or all zero bytes, which is no id: "". */
static bool get_id(const uint8_t *p, char out[PACKET_ID + 1])
{
    bool zero = true, hex = true;
    for (unsigned i = 0; i < PACKET_ID; i++) {
        zero &= p[i] == 0;
        hex &= (p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f');
        out[i] = (char)p[i];
    }
    out[hex ? PACKET_ID : 0] = '\0';
    return hex || zero;
}

/* Whatever else there is, it could not be an address. */
static bool get_ip(const uint8_t *p, char out[PACKET_IP])
{
    size_t n = strnlen((const char *)p, PACKET_IP);
    for (size_t i = 0; i < n && n < PACKET_IP; i++)
        if (strchr("0123456789abcdefABCDEF.:", p[i]) == NULL)
            n = PACKET_IP;
    if (n == PACKET_IP)
        return false;
    memcpy(out, p, n);
    out[n] = '\0';
    return true;
}

static bool get_header(struct packet *k, const uint8_t *p)
{
    k->port = (uint16_t)get(p + 10, 2);
    k->type = (uint16_t)get(p + 12, 2);
    k->count = (uint16_t)get(p + 14, 2);
    k->current_epoch = get(p + 16, 8);
    k->config_epoch = get(p + 24, 8);
    k->offset = get(p + 32, 8);
    memcpy(k->slots, p + 80, sizeof k->slots);
    k->extensions = (uint16_t)get(p + 2214, 2);
    k->cport = (uint16_t)get(p + 2248, 2);
    k->flags = (uint16_t)get(p + 2250, 2);
    k->state = p[2252];
    k->flags0 = p[2253];
    return get_id(p + 40, k->sender) && k->sender[0] != '\0' && get_id(p + 2128, k->primary) &&
           get_ip(p + 2168, k->ip);
}

static bool gossip_is_sound(const struct packet *k)
{
    struct packet_gossip g;
    for (uint32_t i = 0; i < k->count; i++) {
        const uint8_t *p = k->gossip + (size_t)i * PACKET_GOSSIP;
        if (!get_id(p, g.id) || g.id[0] == '\0' || !get_ip(p + 48, g.ip))
            return false;
    }
    return true;
}

static bool get_hostname(struct packet *k, const uint8_t *p, size_t n)
{
    size_t length = strnlen((const char *)p, n);
    if (length == n || length >= sizeof k->hostname)
        return false;
    for (size_t i = 0; i < length; i++)
        if (p[i] <= ' ' || p[i] > '~' || p[i] == ',' || p[i] == '=')
            return false;
    memcpy(k->hostname, p, length + 1);
    return true;
}

/* Length, type, padding; then data up to a multiple of eight. Types that are not ours are passed over. */
static bool get_extensions(struct packet *k, const uint8_t *p, size_t n)
{
    for (uint32_t i = 0; i < k->extensions; i++) {
        if (n < EXTENSION_HEADER)
            return false;
        uint64_t length = get(p, 4);
        uint16_t type = (uint16_t)get(p + 4, 2);
        if (length < EXTENSION_HEADER || length > n || length % 8 != 0)
            return false;
        if (type == EXTENSION_HOSTNAME &&
            !get_hostname(k, p + EXTENSION_HEADER, (size_t)length - EXTENSION_HEADER))
            return false;
        p += length;
        n -= (size_t)length;
    }
    return n == 0;
}

static bool get_body(struct packet *k, const uint8_t *p, size_t n)
{
    switch (k->type) {
    case PACKET_PING:
    case PACKET_PONG:
    case PACKET_MEET:
        if (n < (size_t)k->count * PACKET_GOSSIP)
            return false;
        k->gossip = p;
        return gossip_is_sound(k) &&
               get_extensions(k, p + (size_t)k->count * PACKET_GOSSIP, n - (size_t)k->count * PACKET_GOSSIP);
    case PACKET_FAIL: return n == FAIL_BODY && get_id(p, k->node) && k->node[0] != '\0';
    case PACKET_UPDATE:
        if (n != UPDATE_BODY || !get_id(p + 8, k->node) || k->node[0] == '\0')
            return false;
        k->node_epoch = get(p, 8);
        memcpy(k->node_slots, p + 8 + PACKET_ID, sizeof k->node_slots);
        return true;
    case PACKET_AUTH_REQUEST:
    case PACKET_AUTH_ACK:
    case PACKET_MFSTART: return n == 0;
    default: return true;
    }
}

int packet_read(struct packet *out, const uint8_t *p, size_t n)
{
    memset(out, 0, sizeof *out);
    if (n < PACKET_HEADER || memcmp(p, "RCmb", 4) != 0 || get(p + 4, 4) != n || get(p + 8, 2) != VERSION)
        return ERR_PROTO;
    if (!get_header(out, p) || !get_body(out, p + PACKET_HEADER, n - PACKET_HEADER))
        return ERR_PROTO;
    return 0;
}

void packet_gossip_at(const struct packet *k, uint32_t i, struct packet_gossip *out)
{
    const uint8_t *p = k->gossip + (size_t)i * PACKET_GOSSIP;
    get_id(p, out->id);
    get_ip(p + 48, out->ip);
    out->ping_s = (uint32_t)get(p + 40, 4);
    out->pong_s = (uint32_t)get(p + 44, 4);
    out->port = (uint16_t)get(p + 94, 2);
    out->cport = (uint16_t)get(p + 96, 2);
    out->flags = (uint16_t)get(p + 98, 2);
}

static void put_gossip(uint8_t *p, const struct packet_gossip *g)
{
    memset(p, 0, PACKET_GOSSIP);
    memcpy(p, g->id, PACKET_ID);
    put(p + 40, g->ping_s, 4);
    put(p + 44, g->pong_s, 4);
    memcpy(p + 48, g->ip, strnlen(g->ip, PACKET_IP));
    put(p + 94, g->port, 2);
    put(p + 96, g->cport, 2);
    put(p + 98, g->flags, 2);
}

static void put_header(uint8_t *p, const struct packet *k, size_t total)
{
    memcpy(p, "RCmb", 4);
    put(p + 4, total, 4);
    put(p + 8, VERSION, 2);
    put(p + 10, k->port, 2);
    put(p + 12, k->type, 2);
    put(p + 14, k->count, 2);
    put(p + 16, k->current_epoch, 8);
    put(p + 24, k->config_epoch, 8);
    put(p + 32, k->offset, 8);
    memcpy(p + 40, k->sender, PACKET_ID);
    memcpy(p + 80, k->slots, sizeof k->slots);
    if (k->primary[0] != '\0')
        memcpy(p + 2128, k->primary, PACKET_ID);
    memcpy(p + 2168, k->ip, strnlen(k->ip, PACKET_IP));
    put(p + 2214, k->hostname[0] != '\0', 2);
    put(p + 2248, k->cport, 2);
    put(p + 2250, k->flags, 2);
    p[2252] = k->state;
    p[2253] = k->flags0;
}

static size_t body_size(const struct packet *k, size_t hostname)
{
    switch (k->type) {
    case PACKET_PING:
    case PACKET_PONG:
    case PACKET_MEET: return (size_t)k->count * PACKET_GOSSIP + hostname;
    case PACKET_FAIL: return FAIL_BODY;
    case PACKET_UPDATE: return UPDATE_BODY;
    default: return 0;
    }
}

int packet_write(struct buf *b, const struct packet *k, const struct packet_gossip *entries)
{
    size_t name = strlen(k->hostname);
    size_t hostname = name > 0 ? EXTENSION_HEADER + (name + 1 + 7) / 8 * 8 : 0;
    size_t total = PACKET_HEADER + body_size(k, hostname);
    if (buf_reserve(b, total) != 0)
        return ERR_OOM;
    uint8_t *p = (uint8_t *)b->p + b->n;
    memset(p, 0, total);
    put_header(p, k, total);
    p += PACKET_HEADER;
    if (k->type <= PACKET_MEET) {
        for (uint32_t i = 0; i < k->count; i++, p += PACKET_GOSSIP)
            put_gossip(p, &entries[i]);
        if (hostname > 0) {
            put(p, hostname, 4);
            put(p + 4, EXTENSION_HOSTNAME, 2);
            memcpy(p + EXTENSION_HEADER, k->hostname, name);
        }
    } else if (k->type == PACKET_FAIL) {
        memcpy(p, k->node, PACKET_ID);
    } else if (k->type == PACKET_UPDATE) {
        put(p, k->node_epoch, 8);
        memcpy(p + 8, k->node, PACKET_ID);
        memcpy(p + 8 + PACKET_ID, k->node_slots, sizeof k->node_slots);
    }
    b->n += total;
    return 0;
}
