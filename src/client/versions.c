/* Values by version: CACHE.SET VERSION and MINVER, or a plain key a version where the node has neither. */
#include "client/lease.h"

#include "base/buf.h"
#include "client/calls.h"
#include "client/error.h"

#include <inttypes.h>

static int check(uint64_t version, struct larder_error *err)
{
    if (version == 0 || version > INT64_MAX)
        return fail(err, LARDER_ERR_ARGUMENT, "a version is from 1 to %" PRId64, INT64_MAX);
    return 0;
}

/* "KEY:v7" in b, which the caller releases. */
static int put_name(struct buf *b, struct larder_bytes key, uint64_t version, struct larder_error *err)
{
    buf_init(b);
    if (buf_append(b, key.p, key.n) < 0 || buf_printf(b, ":v%" PRIu64, version) < 0)
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    return 0;
}

int larder_get_version(larder *l, struct larder_bytes key, uint64_t version, struct larder_value *out,
                       struct larder_error *err)
{
    struct lease_answer a = {.state = LEASE_MISS};
    struct lease_ask ask = {.min_version = version};
    struct buf name;
    *out = (struct larder_value){NULL, 0};
    int status = check(version, err);
    int has = status == 0 ? lease_has_commands(l, str_from(key), err) : status;
    if (has < 0)
        return has;
    if (has == 0) {
        status = put_name(&name, key, version, err);
        if (status == 0)
            status = larder_get(l, larder_bytes(name.p, name.n), out, err);
        buf_release(&name);
        return status;
    }
    status = lease_look(l, str_from(key), &ask, &a, err);
    if (status == LARDER_OK && a.state == LEASE_FRESH) {
        *out = a.value;
        a.value.p = NULL;
    } else if (status == LARDER_OK) {
        status = LARDER_MISS;
    }
    lease_answer_release(&a);
    return status;
}

int larder_set_version(larder *l, struct larder_bytes key, uint64_t version, struct larder_bytes value,
                       int64_t ttl_ms, struct larder_error *err)
{
    struct lease_value v = {.bytes = str_from(value), .token = "", .cost_ms = -1, .version = version};
    enum lease_fill fill;
    struct buf name;
    int status = check(version, err);
    if (status == 0)
        status = resolve_ttl(l, ttl_ms, &v.ttl_ms, err);
    int has = status == 0 ? lease_has_commands(l, str_from(key), err) : status;
    if (has < 0)
        return has;
    if (has == 0) {
        status = put_name(&name, key, version, err);
        if (status == 0)
            status = larder_set(l, larder_bytes(name.p, name.n), value, ttl_ms, err);
        buf_release(&name);
        return status;
    }
    status = lease_fill(l, str_from(key), &v, &fill, err);
    return status == LARDER_OK && fill == LEASE_OLD ? LARDER_OLD_VERSION : status;
}
