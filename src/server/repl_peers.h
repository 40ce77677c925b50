/* The connections of replication as CLIENT LIST and CLIENT KILL see them. They are no clients' any more, or
 * never were: the replication thread owns their sockets. */
#ifndef LARDER_SERVER_REPL_PEERS_H
#define LARDER_SERVER_REPL_PEERS_H

#include "os/sock.h"

#include <stdbool.h>
#include <stdint.h>

struct repl;

struct repl_peer {
    bool is_primary; /* else a replica */
    uint64_t id;     /* as a client */
    char addr[SOCK_ADDR_MAX], laddr[SOCK_ADDR_MAX];
    int fd;
    int64_t since_ms;
};

/* Fill in who is at the other end of fd. */
void repl_peer_init(struct repl_peer *p, int fd, uint64_t id, bool is_primary, int64_t now_ms);

/* What changes while it lives. */
struct repl_peer_state {
    int64_t heard_ms;
    uint64_t unsent; /* bytes */
};

/* Any thread: visit all. When fn returns true, that one is disconnected by the next round. fn may not visit,
 * lock or wait. */
typedef bool repl_peer_fn(void *arg, const struct repl_peer *p, const struct repl_peer_state *st);
void repl_each_peer(struct repl *r, repl_peer_fn *fn, void *arg);

/* The replication thread, in a round: do what they asked for. */
void repl_peers_kill(struct repl *r);

#endif
