/* Is this node the one to execute it? Asked of every command with keys in a cluster.
 *
 *      before the other refusals    with what the view says; without looking at keys
 *      with the shards locked       once more, and now whether the keys of a moving slot are still here
 *
 * The rules are Redis's, and so are the sentences, since clients follow them:
 *
 *      slots differ                       CROSSSLOT
 *      nobody owns the slot               CLUSTERDOWN Hash slot not served
 *      the cluster is down                CLUSTERDOWN, but for reads with cluster-allow-reads-when-down
 *      ours, and moving away              the key is here: go on; none is here: ASK; some are: TRYAGAIN
 *      another's, moving here, ASKING     go on; several keys of which some are missing: TRYAGAIN
 *      of our primary, READONLY, a read   go on
 *      it changes hands (moves.h)         wait: no reply, ctx.again
 *      another's                          MOVED */
#ifndef LARDER_SERVER_ROUTE_H
#define LARDER_SERVER_ROUTE_H

#include "cmd/cmd.h"
#include "cmd/command.h"
#include "server/cluster_view.h"

enum route_verdict {
    ROUTE_HERE,
    ROUTE_CROSS_SLOT,
    ROUTE_UNSERVED,
    ROUTE_DOWN,
    ROUTE_DOWN_READS_ONLY,
    ROUTE_UNSTABLE,
    ROUTE_ASK,
    ROUTE_MOVED,
    ROUTE_HELD,
};

/* What the request is about, gathered key by key: EXEC has the keys of many commands. */
struct route {
    const struct cluster_view *view;
    const struct access *look; /* shards locked: look whether keys exist. NULL: do not */
    struct str first;          /* key; p NULL before it */
    uint16_t slot, owner;
    bool leaving, arriving;
    bool held, imported;
    bool several; /* different keys */
    uint32_t here, missing;
};

static inline void route_begin(struct route *r, const struct cluster_view *v, const struct access *look)
{
    *r = (struct route){.view = v, .look = look};
}
/* ROUTE_HERE: go on. */
enum route_verdict route_key(struct route *r, const struct key *k);
struct route_asker {
    bool asking;   /* ASKING came before, or the command has CMD_ASKING */
    bool readonly; /* READONLY */
    bool imports;  /* brings the keys of slots that come here */
    bool writes, migrates;
};
enum route_verdict route_end(const struct route *r, const struct route_asker *who);

/* Write the error. */
void route_refuse(struct reply *reply, const struct route *r, enum route_verdict v);

/* c's command, whose keys are made. False: refused, the reply is written; or it is to be met again later, and
 * c->again says so. `locked`: their shards are ours. */
bool route_allows(struct cmd_ctx *c, const struct cluster_view *v, bool locked);

/* Key number i alone, its shard locked, for a command that answers for each key. False: the reply to it is
 * written. */
bool route_allows_key(struct cmd_ctx *c, uint32_t i);

struct server;
/* Does this node stop serving a slot with v? Then v is put in place under the gate, at one moment with: */
bool route_leaves_slots(const struct cluster_view *old, const struct cluster_view *v);
/* Gate: the map has changed. What is kept for clients about slots that were ours goes. */
void route_leave_slots(struct server *s, const struct cluster_view *old);

#endif
