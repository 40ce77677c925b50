/* Between the files of the gossip; nobody else includes it. */
#ifndef LARDER_GOSSIP_GOSSIP_INTERNAL_H
#define LARDER_GOSSIP_GOSSIP_INTERNAL_H

#include "gossip/gossip.h"

static inline bool is_primary(const struct node *n)
{
    return n->flags & NODE_PRIMARY;
}
static inline bool is_replica(const struct node *n)
{
    return n->flags & NODE_REPLICA;
}
/* The primary of n's shard; NULL when it is not known. */
static inline struct node *primary_of(struct node *n)
{
    return is_primary(n) ? n : n->primary;
}
static inline uint32_t majority(const struct gossip *g)
{
    return g->size / 2 + 1;
}

/* gossip.c: nodes and slots */
struct node *node_add(struct gossip *g, const char *id, uint32_t flags); /* NULL: no memory, or too many */
void node_remove(struct gossip *g, struct node *n);
void node_unlink(struct gossip *g, struct node *n); /* close our link to it */
void node_make_primary(struct gossip *g, struct node *n);
void node_make_replica(struct gossip *g, struct node *n, struct node *primary);
uint32_t node_replicas(const struct gossip *g, const struct node *n, bool living);
void slot_give(struct gossip *g, uint32_t slot, struct node *n); /* NULL: nobody */
bool is_forgotten(struct gossip *g, const char *id);
void follow(struct gossip *g, struct node *primary); /* myself */
void close_slots(struct gossip *g);                  /* none of ours is moving any more */

/* gossip_send.c */
void send_to_link(struct gossip *g, uint64_t link, enum packet_type type);
void send_ping(struct gossip *g, struct node *n, enum packet_type type);
void send_to_all(struct gossip *g, enum packet_type type);
void send_to_shard(struct gossip *g, enum packet_type type);
void send_fail(struct gossip *g, const struct node *n);
void send_update(struct gossip *g, uint64_t link, const struct node *about);
void send_auth_request(struct gossip *g);

/* gossip_vote.c */
void report_failure(struct gossip *g, struct node *n, struct node *by);
void report_recovery(struct node *n, const struct node *by);
void forget_reports_by(struct gossip *g, const struct node *by);
void free_reports(struct node *n);
void mark_failing(struct gossip *g, struct node *n);
void clear_failure(struct gossip *g, struct node *n);
void answer_auth_request(struct gossip *g, struct node *sender, const struct packet *k);
void count_vote(struct gossip *g, struct node *sender, const struct packet *k);
void stand_for_election(struct gossip *g);
void replace_primary(struct gossip *g);
void end_handover(struct gossip *g);
void begin_handover(struct gossip *g, struct node *replica); /* on the primary */
void watch_handover(struct gossip *g);
void adopt_orphan(struct gossip *g);

#endif
