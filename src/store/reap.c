/* Collections after their last reference is gone.
 *
 *      dying    whoever drops the last reference of a large one pushes it here, whatever lock he holds
 *      reaping  what one thread at a time takes from there and frees, a few hundred allocations between
 *               two looks at the clock, between rounds
 *
 * So DEL of ten million members takes as long as DEL of one. Until it is freed its memory is in
 * heap_doomed, beside what flushes leave behind. */
#include "os/clock.h"
#include "store/shard.h"
#include "store/store.h"

enum { REAP_STEP = 256 };

int64_t store_drop_object(struct store *s, struct object *o, int64_t *later)
{
    int64_t bytes = (int64_t)object_type(o)->bytes(o);
    if (!object_drop(o))
        return bytes; /* somebody else has it, who counts it himself or is no key */
    if (!o->large) {
        uint64_t all = UINT64_MAX;
        bool gone = object_type(o)->free_step(o, &all);
        ASSERT(gone);
        return bytes;
    }
    struct object_large *l = (struct object_large *)o;
    struct object_large *head = atomic_load_explicit(&s->dying, memory_order_relaxed);
    do {
        l->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&s->dying, &head, l, memory_order_release,
                                                    memory_order_relaxed));
    *later = bytes;
    return 0;
}

void store_release_object(struct store *s, struct object *o)
{
    int64_t later = 0;
    (void)store_drop_object(s, o, &later);
    atomic_fetch_add_explicit(&s->heap_doomed, later, memory_order_relaxed);
}

/* The reaper's lock is held. The next one to free, NULL = none. */
static struct object_large *next_dying(struct store *s)
{
    struct object_large *l = atomic_load_explicit(&s->reaping, memory_order_relaxed);
    if (l != NULL || atomic_load_explicit(&s->dying, memory_order_relaxed) == NULL)
        return l;
    l = atomic_exchange_explicit(&s->dying, NULL, memory_order_acquire);
    atomic_store_explicit(&s->reaping, l, memory_order_relaxed);
    return l;
}

/* True when it is gone. */
static bool reap_step(struct store *s, struct object_large *l)
{
    struct object_large *next = l->next;
    const struct object_type *type = object_type(&l->head);
    int64_t bytes = (int64_t)type->bytes(&l->head);
    uint64_t budget = REAP_STEP;
    if (!type->free_step(&l->head, &budget))
        return false;
    atomic_store_explicit(&s->reaping, next, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->heap_doomed, bytes, memory_order_relaxed);
    return true;
}

bool store_reap(struct store *s, int64_t until_ns)
{
    if (likely(atomic_load_explicit(&s->dying, memory_order_relaxed) == NULL &&
               atomic_load_explicit(&s->reaping, memory_order_relaxed) == NULL))
        return false;
    if (!lock_try(&s->reap_lock))
        return false;
    struct object_large *l;
    while ((l = next_dying(s)) != NULL) {
        (void)reap_step(s, l);
        if (os_work_ns() >= until_ns)
            break;
    }
    lock_release(&s->reap_lock);
    return l != NULL;
}
