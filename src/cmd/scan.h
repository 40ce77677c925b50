/* What SCAN and its kin (SSCAN and those to come) read from their arguments. */
#ifndef LARDER_CMD_SCAN_H
#define LARDER_CMD_SCAN_H

#include "cmd/cmd.h"

enum { SCAN_DEFAULT_COUNT = 10 };

struct scan_options {
    int64_t count;      /* >= 1 */
    struct str pattern; /* p NULL: everything */
    struct str type;    /* p NULL: every type */
};

/* On failure these have replied with Redis's text, and return false. */
bool scan_arg_cursor(struct cmd_ctx *c, uint32_t i, uint64_t *out);
/* MATCH, COUNT and, where `types` says so, TYPE, from argument `first` on. */
bool scan_parse_options(struct cmd_ctx *c, uint32_t first, bool types, struct scan_options *o);

/* For estimates of cost: the COUNT among the arguments from `first` on; replies nothing. */
uint64_t scan_cost_count(const struct cmd_ctx *c, uint32_t first);

#endif
