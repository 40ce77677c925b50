/* Replies counted, not kept: an incremental scanner of RESP2/RESP3 and of
 * memcached's text protocol that needs no buffer of its own.
 *
 * Bytes may be cut anywhere. What has been scanned can be thrown away, so ten thousand
 * connections share one read buffer. One scanner a connection; one owner thread. */
#ifndef LARDER_TOOL_BENCH_SCAN_H
#define LARDER_TOOL_BENCH_SCAN_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum scan_limits { SCAN_LINE_MAX = 300 }; /* holds "VALUE <250 bytes of key> <flags> <bytes> <cas>" */

enum scan_protocol { SCAN_RESP, SCAN_MEMCACHED };

enum scan_result {
    SCAN_MORE,   /* the bytes are used up in mid-reply */
    SCAN_REPLY,  /* one reply ended; ask the scanner what it was, go on behind it */
    SCAN_BROKEN, /* these bytes are not a reply of this protocol */
};

enum scan_kind {
    SCAN_OTHER, /* a value, a status: anything but the others */
    SCAN_NULL,  /* nothing there: $-1, *-1, _, or memcached's END without a VALUE */
    SCAN_ERROR,
};

struct scan {
    enum scan_kind kind; /* of the reply that ended */
    bool fresh;          /* between two replies */
    bool top;            /* the reply's own first line is still to come */
    bool push;           /* RESP: in an out-of-band push, which is no reply */
    bool hit;            /* memcached: a VALUE has been seen */
    uint16_t nline;      /* bytes of a cut line in `line` */
    uint16_t ntext;      /* bytes of scan_text() in `line` */
    uint64_t skip;       /* bytes of a bulk string still to come */
    uint64_t open;       /* RESP: elements still to come */
    char line[SCAN_LINE_MAX];
};

void scan_init(struct scan *s);

/* Go forward from *at, at most to `end`. */
enum scan_result scan_next(struct scan *s, enum scan_protocol protocol, const char **at, const char *end);

/* After SCAN_REPLY of kind SCAN_ERROR the error's text, after SCAN_BROKEN the line that
 * was not understood; cut to SCAN_LINE_MAX. Borrows from s until the next call. */
struct str scan_text(const struct scan *s);

#endif
