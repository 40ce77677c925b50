/* Assertions in two tiers.
 *
 * ASSERT is always compiled in: cheap checks of what must never be false in a
 * running node. DEBUG_ASSERT costs too much for that and exists in debug builds
 * (-DLARDER_DEBUG) only. Neither has side effects. A failed assertion prints
 * itself to stderr and aborts, which the crash report turns into a stack trace. */
#ifndef LARDER_BASE_ASSERT_H
#define LARDER_BASE_ASSERT_H

#include "base/annotate.h"

_Noreturn COLD void assert_failed(const char *expr, const char *file, int line, const char *func);

#define ASSERT(x) (likely(x) ? (void)0 : assert_failed(#x, __FILE__, __LINE__, __func__))

#ifdef LARDER_DEBUG
#define DEBUG_ASSERT(x) ASSERT(x)
#else
#define DEBUG_ASSERT(x) ((void)sizeof(!(x)))
#endif

#endif
