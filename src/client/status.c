#include "larder/base.h"

#include "client/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *larder_version(void)
{
    return LARDER_VERSION;
}

const char *larder_status_name(int status)
{
    switch (status) {
    case LARDER_OK: return "ok";
    case LARDER_MISS: return "miss";
    case LARDER_OLD_VERSION: return "old version";
    case LARDER_UNCACHED: return "uncached";
    case LARDER_ERR_MEMORY: return "out of memory";
    case LARDER_ERR_ARGUMENT: return "bad argument";
    case LARDER_ERR_CONNECT: return "cannot connect";
    case LARDER_ERR_TIMEOUT: return "timeout";
    case LARDER_ERR_CLOSED: return "connection closed";
    case LARDER_ERR_PROTOCOL: return "protocol error";
    case LARDER_ERR_SERVER: return "error reply";
    case LARDER_ERR_AUTH: return "authentication refused";
    case LARDER_ERR_UNAVAILABLE: return "unavailable";
    case LARDER_ERR_REDIRECT: return "too many redirections";
    case LARDER_ERR_CLUSTER: return "cluster down";
    case LARDER_ERR_BUSY: return "all connections in use";
    case LARDER_ERR_EXISTS: return "exists";
    case LARDER_ERR_NOT_FOUND: return "not found";
    case LARDER_ERR_CANCELED: return "canceled";
    case LARDER_ERR_LOAD: return "load failed";
    case LARDER_ERR_UNSUPPORTED: return "unsupported";
    }
    return "unknown";
}

int fail(struct larder_error *err, int code, const char *fmt, ...)
{
    if (err == NULL)
        return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return code;
}
