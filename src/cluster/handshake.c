/* How strangers become nodes. A node in handshake has an invented id; the first frame on the link that we
 * opened to its address tells the real one. Only CLUSTER MEET, a MEET frame, or the gossip of a node that we
 * trust begin one. */
#include "cluster/machine_internal.h"

#include "base/assert.h"

bool bus_forgotten(const struct machine *m, const struct node_id *id)
{
    for (unsigned i = 0; i < sizeof(m->forgotten) / sizeof(*m->forgotten); i++) {
        if (m->forgotten[i].until_ms > m->now_ms && node_id_eq(&m->forgotten[i].id, id))
            return true;
    }
    return false;
}

/* A full list drops the one that would be remembered shortest. */
void bus_forget(struct machine *m, struct node *n, uint64_t ms)
{
    struct forgotten *slot = &m->forgotten[0];
    for (unsigned i = 0; i < sizeof(m->forgotten) / sizeof(*m->forgotten); i++) {
        if (m->forgotten[i].until_ms < slot->until_ms)
            slot = &m->forgotten[i];
    }
    *slot = (struct forgotten){.id = n->id, .until_ms = m->now_ms + ms};
    machine_drop_moves_of(m, &n->id);
    bus_close(m, &n->out);
    bus_close(m, &n->in);
    slotmap_remove(&m->map, n);
    machine_dirty(m);
    machine_view(m);
}

int handshake_start(struct machine *m, struct str ip, uint16_t port, uint16_t cport, uint32_t flags)
{
    struct node_id id;
    struct node *n;
    if (ip.n == 0 || ip.n >= NODE_IP_MAX)
        return 0;
    for (unsigned i = 0; i < m->map.n; i++) {
        n = m->map.nodes[i];
        if (node_is(n, NODE_HANDSHAKE) && n->cport == cport && str_eq(str_of(n->ip), ip))
            return 0; /* it is under way */
    }
    machine_random_id(m, &id);
    int err = slotmap_add(&m->map, &id, NODE_HANDSHAKE | flags, &n);
    if (err != 0)
        return err;
    memcpy(n->ip, ip.p, ip.n);
    n->port = port;
    n->cport = cport;
    n->created_ms = n->heard_ms = m->now_ms;
    return 0;
}

int bus_meet(struct machine *m, struct str ip, uint16_t port, uint16_t cport)
{
    return handshake_start(m, ip, port, cport, NODE_MEET);
}

static void discard(struct machine *m, struct node *n)
{
    bus_close(m, &n->out);
    slotmap_remove(&m->map, n);
}

static struct node *introduce(struct machine *m, struct node *n, const struct frame *f)
{
    slotmap_rename(&m->map, n, &f->h.sender);
    n->flags &= ~(uint32_t)(NODE_HANDSHAKE | NODE_MEET);
    if (f->h.larder.is)
        n->flags |= NODE_LARDER;
    if (f->h.mflags[0] & FRAME_EXTENSIONS)
        n->flags |= NODE_EXTENSIONS;
    n->flags |= f->h.flags & NODE_REPLICA ? NODE_REPLICA : NODE_PRIMARY;
    n->heard_ms = m->now_ms;
    n->config_epoch = node_id_none(&f->h.primary) ? f->h.config_epoch : 0;
    machine_dirty(m);
    machine_view(m);
    return n;
}

/* True: go on with the frame, *sender is who it came from. */
bool handshake_frame(struct machine *m, const struct frame *f, uint32_t link, struct node **sender)
{
    /* What comes in is not bound to an address of ours. */
    struct node *at = link & LINK_INBOUND                         ? NULL
                      : *sender != NULL && (*sender)->out == link ? *sender
                                                                  : machine_link_node(m, link);
    if (at != NULL && node_is(at, NODE_HANDSHAKE)) {
        if (*sender != NULL) { /* an old friend at a new address */
            struct node *old = *sender;
            if (node_is(old, NODE_PFAIL | NODE_FAIL | NODE_NOADDR)) {
                memcpy(old->ip, at->ip, NODE_IP_MAX);
                old->port = f->h.port;
                old->cport = at->cport;
                old->flags &= ~(uint32_t)NODE_NOADDR;
                bus_close(m, &old->out);
                old->out_up = false;
                machine_dirty(m);
            }
            discard(m, at);
            return false;
        }
        *sender = introduce(m, at, f);
        return true;
    }
    if (at != NULL && *sender != at) { /* somebody else answers at this address now */
        at->flags |= NODE_NOADDR;
        memset(at->ip, 0, sizeof(at->ip));
        at->out_up = false;
        bus_close(m, &at->out);
        machine_dirty(m);
        machine_view(m);
        return false;
    }
    if (*sender == NULL) {
        if (f->h.type == FRAME_MEET)
            handshake_start(m, f->h.ip[0] != '\0' ? str_of(f->h.ip) : m->peer_ip, f->h.port, f->h.cport, 0);
        return false;
    }
    return true;
}
