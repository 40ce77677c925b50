/* liblarder in an event loop: nothing blocks, answers come by callback.
 *
 * A larder_loop belongs to one thread. It has one descriptor for everything, its timers included: when
 * that is readable, call larder_loop_process(). So any event loop can drive it with one watcher
 * (examples/ has libuv and libevent). It uses the handle's nodes and health, and connections of its
 * own, one to a node, on which commands of the loop follow each other. */
#ifndef LARDER_LOOP_H
#define LARDER_LOOP_H

#include "larder/larder.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct larder_loop larder_loop;

/* Called once for each command, from within larder_loop_process() or larder_loop_free(). The reply
 * (NULL on errors) and err (NULL otherwise) are borrowed for the call. May send more commands; must
 * not free the loop. */
typedef void (*larder_callback)(void *arg, int status, const larder_reply *reply,
                                const struct larder_error *err);

/* Returned owned; the handle must outlive it. */
LARDER_API int larder_loop_new(larder *l, larder_loop **out, struct larder_error *err);
/* What is under way is called back with LARDER_ERR_CANCELED. NULL is fine. */
LARDER_API void larder_loop_free(larder_loop *loop);
/* Constant; to be watched for reading. Not to be read or closed. */
LARDER_API int larder_loop_fd(const larder_loop *loop);
/* Do what can be done now. Never blocks. */
LARDER_API void larder_loop_process(larder_loop *loop);
/* Commands whose callback has not been called yet. */
LARDER_API size_t larder_loop_pending(const larder_loop *loop);

/* As larder_command(). Copies argv. Commands given before the next larder_loop_process() leave
 * together. Returns 0, and the callback will be called; or an error, and it will not. A GET that
 * misses is LARDER_OK with a LARDER_NULL reply. */
LARDER_API int larder_loop_command(larder_loop *loop, int argc, const struct larder_bytes *argv,
                                   const struct larder_call *call, larder_callback callback, void *arg,
                                   struct larder_error *err);
/* The usual two, with the same meaning as larder_get() and larder_set(). */
LARDER_API int larder_loop_get(larder_loop *loop, struct larder_bytes key, larder_callback callback,
                               void *arg, struct larder_error *err);
LARDER_API int larder_loop_set(larder_loop *loop, struct larder_bytes key, struct larder_bytes value,
                               int64_t ttl_ms, larder_callback callback, void *arg, struct larder_error *err);

#ifdef __cplusplus
}
#endif

#endif
