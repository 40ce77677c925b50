/* Names to addresses without waiting: numbers at once, names on a thread of their own.
 *
 * getaddrinfo() cannot be given a deadline, and a call must not outlive its own. So a name starts a
 * detached thread which rings an eventfd when it knows; whoever is no longer interested lets go of
 * the job, and the last of the two frees it. */
#ifndef LARDER_CLIENT_RESOLVE_H
#define LARDER_CLIENT_RESOLVE_H

#include <netdb.h>

struct resolve_job;

/* 0: *list is the result at once (freeaddrinfo() by the caller), *job NULL.
 * 1: under way, *job returned owned. Negative: an EAI_ code. */
int resolve_start(const char *host, const char *port, struct addrinfo **list, struct resolve_job **job);
int resolve_fd(const struct resolve_job *job); /* readable when it is done */
/* The result after that; frees the job. 0 with *list the caller's, or an EAI_ code. */
int resolve_finish(struct resolve_job *job, struct addrinfo **list);
void resolve_abandon(struct resolve_job *job); /* NULL is fine */

#endif
