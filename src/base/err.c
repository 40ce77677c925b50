#include "base/err.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

const char *err_name(int err)
{
    switch (err) {
    case 0: return "ok";
    case ERR_OOM: return "out of memory";
    case ERR_AGAIN: return "try again";
    case ERR_PROTO: return "protocol error";
    case ERR_RANGE: return "out of range";
    case ERR_SYNTAX: return "syntax error";
    case ERR_NOTFOUND: return "not found";
    case ERR_EXISTS: return "already exists";
    case ERR_TYPE: return "wrong type";
    case ERR_IO: return "i/o error";
    case ERR_CORRUPT: return "corrupt data";
    case ERR_FULL: return "limit reached";
    }
    return "unknown error";
}

_Noreturn void assert_failed(const char *expr, const char *file, int line, const char *func)
{
    fprintf(stderr, "larder: assertion failed: %s (%s:%d, %s)\n", expr, file, line, func);
    fflush(stderr);
    abort();
}
