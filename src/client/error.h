/* Filling a struct larder_error in the same breath as returning its code. */
#ifndef LARDER_CLIENT_ERROR_H
#define LARDER_CLIENT_ERROR_H

#include "base/annotate.h"
#include "larder/base.h"

/* err may be NULL. Returns code. */
int fail(struct larder_error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
