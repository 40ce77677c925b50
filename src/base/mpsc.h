/* Many producers, one consumer: Vyukov's intrusive queue (1024cores, 2010).
 *
 * Push is one exchange and one store, wait-free. Between the two the queue looks
 * empty to the consumer although a node is on its way; the producer's wake-up,
 * which follows the push, makes the consumer look again. */
#ifndef LARDER_BASE_MPSC_H
#define LARDER_BASE_MPSC_H

#include "base/annotate.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct mpsc_node {
    struct mpsc_node *_Atomic next;
};

struct mpsc {
    CACHE_ALIGNED struct mpsc_node *_Atomic tail; /* producers */
    CACHE_ALIGNED struct mpsc_node *head;         /* consumer */
    struct mpsc_node stub;
};

static inline void mpsc_init(struct mpsc *q)
{
    atomic_init(&q->stub.next, NULL);
    atomic_init(&q->tail, &q->stub);
    q->head = &q->stub;
}

static inline void mpsc_push(struct mpsc *q, struct mpsc_node *n)
{
    atomic_store_explicit(&n->next, NULL, memory_order_relaxed);
    struct mpsc_node *prev = atomic_exchange_explicit(&q->tail, n, memory_order_acq_rel);
    atomic_store_explicit(&prev->next, n, memory_order_release);
}

/* The oldest node, which is then the caller's, or NULL. Consumer only. */
static inline struct mpsc_node *mpsc_pop(struct mpsc *q)
{
    struct mpsc_node *head = q->head;
    struct mpsc_node *next = atomic_load_explicit(&head->next, memory_order_acquire);
    if (head == &q->stub) {
        if (next == NULL)
            return NULL;
        q->head = head = next;
        next = atomic_load_explicit(&head->next, memory_order_acquire);
    }
    if (next != NULL) {
        q->head = next;
        return head;
    }
    if (head != atomic_load_explicit(&q->tail, memory_order_acquire))
        return NULL;
    mpsc_push(q, &q->stub);
    next = atomic_load_explicit(&head->next, memory_order_acquire);
    if (next == NULL)
        return NULL;
    q->head = next;
    return head;
}

#endif
