/* From a configuration to a running node and back to nothing. */
#ifndef LARDER_SERVER_BOOT_H
#define LARDER_SERVER_BOOT_H

#include "server/server.h"

/* Build everything that config names: store, listeners, workers, lane. Logs what is wrong
 * and returns negative; release is then allowed. */
int server_init(struct server *s);
int server_start(struct server *s); /* threads */
/* Ends the threads. What runs is finished, what waits for the lane is dropped, and replies that clients
 * are owed are sent as long as they are taken. `hurry` is asked ten times a second meanwhile; when it says
 * yes the threads are left as they are, and this returns false: nothing but _exit() may follow. */
bool server_join(struct server *s, bool (*hurry)(void *arg), void *arg);
void server_release(struct server *s);

/* follow.c: do what the configuration says, now and whenever CONFIG SET changes it. */
int server_follow_config(struct server *s);

/* listen.c: open what `bind`, `port` and `unixsocket` name. */
void server_listen_init(struct server *s);
int server_listen(struct server *s);
/* Gate: follow `port` and `bind`. On failure everything is as it was, and the log says why. */
int server_relisten(struct server *s);
void server_log_listeners(const struct server *s);
void server_unlisten(struct server *s);

#endif
