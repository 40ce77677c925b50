/* A trace replayed against a server, cache-aside: GET; on a miss, SET with the trace's size and
 * TTL. One thread, one connection, many keys at a time, but one request at a time for each
 * key: a GET whose key is under way waits for that to be answered and, after a miss, stored. So what
 * is told is what a client would see that waits for every reply, but for requests of *other*
 * keys changing places within the window.
 *
 * It goes as fast as the server can. The server's clock shows the time of the trace meanwhile (see
 * bench/traceclock.c), so that TTLs, LRU clocks and LFU decay are those of the trace. */
#ifndef LARDER_BENCH_REPLAY_PLAY_H
#define LARDER_BENCH_REPLAY_PLAY_H

#include "bench/replay/trace.h"
#include "bench/replay/wire.h"

enum play_limits {
    PLAY_WINDOW_MAX = WIRE_GETS_MAX,
    PLAY_WARM = 10000,       /* GETs of absent keys before memory is looked at for the first time */
    PLAY_SILENCE_MS = 30000, /* give up when the server says nothing for so long */
    PLAY_ERR_MAX = 320,
};

struct play_options {
    const char *host;
    int port;
    enum scan_protocol protocol;
    uint32_t window;   /* unanswered GETs, 1 .. PLAY_WINDOW_MAX */
    const char *clock; /* the file by which bench/traceclock.c moves the server's clock; NULL: real time */
    int server_pid;    /* whose memory is looked at; 0: nobody's */
};

struct play_result {
    uint64_t hits, misses;
    uint64_t stored, refused; /* SETs; refused ones got an error */
    double seconds;           /* ours */
    /* RSS of the server: before the first key (but after PLAY_WARM requests), the highest, and at the end. */
    uint64_t rss_before, rss_peak, rss_after;
    char first_error[WIRE_ERR_MAX];
};

struct play_err {
    char text[PLAY_ERR_MAX];
};

/* Returns 0, or ERR_IO, ERR_PROTO, ERR_OOM with err filled. */
int play(const struct trace *t, const struct play_options *o, struct play_result *out,
         struct play_err *err) MUST_CHECK;

#endif
