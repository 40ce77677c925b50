/* The cluster as CLUSTER NODES, SLOTS and SHARDS tell it, in Redis's forms, which clients and tools parse. */
#ifndef LARDER_SERVER_CLUSTER_TEXT_H
#define LARDER_SERVER_CLUSTER_TEXT_H

#include "base/buf.h"
#include "proto/reply.h"
#include "server/cluster_view.h"

/* What a client is told to connect to: cluster-preferred-endpoint-type. */
enum endpoint_type { ENDPOINT_IP, ENDPOINT_HOSTNAME, ENDPOINT_UNKNOWN };

/* A line of CLUSTER NODES, without its end. Trouble shows in b->oom. */
void cluster_put_node(struct buf *b, const struct cluster_view *v, uint32_t node);
void cluster_put_nodes(struct buf *b, const struct cluster_view *v);
void cluster_reply_slots(struct reply *r, const struct cluster_view *v, enum endpoint_type type);
void cluster_reply_shards(struct reply *r, const struct cluster_view *v);

#endif
