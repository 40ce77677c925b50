/* What the compiler and the sanitizers need to be told. */
#ifndef LARDER_BASE_ANNOTATE_H
#define LARDER_BASE_ANNOTATE_H

#include <stddef.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define COLD __attribute__((cold, noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define CACHE_LINE 64
#define CACHE_ALIGNED _Alignas(CACHE_LINE)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LARDER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define LARDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define LARDER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define LARDER_TSAN 1
#endif

/* Memory that the program manages itself (segments, arenas) is poisoned while
 * it is free, so that ASan sees a use after free there too. */
#ifdef LARDER_ASAN
#include <sanitizer/asan_interface.h>
#define MEM_POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define MEM_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#define NO_ASAN __attribute__((no_sanitize_address))
#else
#define MEM_POISON(p, n) ((void)(p), (void)(n))
#define MEM_UNPOISON(p, n) ((void)(p), (void)(n))
#define NO_ASAN
#endif

/* Our locks are futex words that TSan cannot recognise; these tell it (and its
 * deadlock detector) what happens. */
#ifdef LARDER_TSAN
#include <sanitizer/tsan_interface.h>
#define TSAN_LOCK_PRE(m) __tsan_mutex_pre_lock(m, 0)
#define TSAN_LOCK_POST(m) __tsan_mutex_post_lock(m, 0, 0)
#define TSAN_TRY_PRE(m) __tsan_mutex_pre_lock(m, __tsan_mutex_try_lock)
#define TSAN_TRY_POST(m) __tsan_mutex_post_lock(m, __tsan_mutex_try_lock, 0)
#define TSAN_TRY_FAILED(m) __tsan_mutex_post_lock(m, __tsan_mutex_try_lock | __tsan_mutex_try_lock_failed, 0)
#define TSAN_UNLOCK_PRE(m) __tsan_mutex_pre_unlock(m, 0)
#define TSAN_UNLOCK_POST(m) __tsan_mutex_post_unlock(m, 0)
#define TSAN_RLOCK_PRE(m) __tsan_mutex_pre_lock(m, __tsan_mutex_read_lock)
#define TSAN_RLOCK_POST(m) __tsan_mutex_post_lock(m, __tsan_mutex_read_lock, 0)
#define TSAN_RUNLOCK_PRE(m) __tsan_mutex_pre_unlock(m, __tsan_mutex_read_lock)
#define TSAN_RUNLOCK_POST(m) __tsan_mutex_post_unlock(m, __tsan_mutex_read_lock)
#else
#define TSAN_LOCK_PRE(m) ((void)(m))
#define TSAN_LOCK_POST(m) ((void)(m))
#define TSAN_TRY_PRE(m) ((void)(m))
#define TSAN_TRY_POST(m) ((void)(m))
#define TSAN_TRY_FAILED(m) ((void)(m))
#define TSAN_UNLOCK_PRE(m) ((void)(m))
#define TSAN_UNLOCK_POST(m) ((void)(m))
#define TSAN_RLOCK_PRE(m) ((void)(m))
#define TSAN_RLOCK_POST(m) ((void)(m))
#define TSAN_RUNLOCK_PRE(m) ((void)(m))
#define TSAN_RUNLOCK_POST(m) ((void)(m))
#endif

#endif
