/* Memory before it is needed: a thread that gives way to all others has the kernel clear the next huge pages
 * of the store, and makes one of 512 small ones where an extent is full. Either takes from a fifth of a
 * millisecond to several, which a worker would otherwise spend between two replies.
 *
 * It looks every PAGES_NAP_MAX_MS, and sooner after it has found something to do: the faster the store grows.
 * What it has not got ready in time the worker does itself, as it would without it. */
#ifndef LARDER_SERVER_PAGES_H
#define LARDER_SERVER_PAGES_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

enum pages_pace { PAGES_NAP_MIN_MS = 1, PAGES_NAP_MAX_MS = 128 };

struct store;

struct pages {
    struct store *store; /* not owned by it */
    pthread_t thread;
    sem_t end; /* posted once */
    bool started;
};

/* ERR_IO when there is no thread to be had. */
int pages_start(struct pages *p, struct store *s);
void pages_end(struct pages *p);

#endif
