/* One client of one store, without a server: parses a line as redis-cli would, finds the
 * row, hashes the keys and calls the handler, as dispatch does.
 *
 *      struct harness h;
 *      harness_start(&h);
 *      harness_expect(&h, "SET k v", "+OK\r\n");
 *      harness_stop(&h); */
#ifndef LARDER_TESTS_CMD_HARNESS_H
#define LARDER_TESTS_CMD_HARNESS_H

#include "unit.h"

#include "cmd/cmd.h"
#include "cmd/command.h"

enum { HARNESS_DATABASES = 16, HARNESS_KEYS_MAX = 1024 };

struct harness {
    struct store *store;
    struct cmd_ctx ctx;
    struct session session;
    struct cmd_limits limits;
    struct cmd_counters counters;
    struct rng rng;
    struct arena arena;
    struct reply reply;
    struct key keys[HARNESS_KEYS_MAX];
    struct buf answer;  /* the last reply with its blocks woven in */
    uint64_t cost;      /* what the last command said it would cost */
    int64_t fail_after; /* > 0: let that allocation of the next handler fail; debug builds */
    bool fail_on;       /* ... and all that follow */
    bool failed;        /* one did */
    bool logged;        /* effects are noted in ctx.unit, a unit for each command ... */
    bool run_in_unit;   /* ... or into the unit that the test has opened */
    bool may_repeat;    /* the next commands may meet a busy shard (ctx.again) */
};

void harness_start(struct harness *h);
void harness_stop(struct harness *h);

/* The reply's bytes, good until the next request; none at all if the reply ran out of memory. */
struct str harness_run(struct harness *h, const struct str *argv, uint32_t argc);
struct str harness_line(struct harness *h, const char *line);

void harness_expect(struct harness *h, const char *line, const char *reply);

/* Requests and their replies, one after the other on one store. */
struct harness_case {
    const char *line;
    struct str reply;
};
#define CASE(line, reply)                                                                                    \
    {                                                                                                        \
        line,                                                                                                \
        {                                                                                                    \
            "" reply, sizeof(reply) - 1                                                                      \
        }                                                                                                    \
    }
void harness_cases(const struct harness_case *cases, size_t n, uint8_t proto);

#endif
