/* MONITOR: every command, as it is executed, to whoever asked.
 *
 *      +1700000000.123456 [0 127.0.0.1:5000] "SET" "k" "v"
 *
 * The executing thread formats the line once, after the command has run, if anybody watches at all
 * (CARE_MONITOR), and mails it to each worker that has monitors; lines of one client keep their order. */
#ifndef LARDER_SERVER_MONITOR_H
#define LARDER_SERVER_MONITOR_H

#include "base/buf.h"
#include "base/str.h"

#include <stdint.h>

struct cmd_ctx;
struct conn;
struct server;

/* c becomes a monitor (MONITOR), or is none any more (RESET, close). Owner thread, or the lane with c parked.
 */
void monitor_add(struct conn *c);
void monitor_forget(struct conn *c);

/* c's command has run: show it if anybody watches, unless it is CMD_ADMIN or CMD_SKIP_MONITOR. What must
 * not be seen the handler has overwritten with CMD_REDACTED by now. The thread that ran it. */
void monitor_show(struct server *s, const struct cmd_ctx *c);

/* The line above, at `us` since 1970. */
void monitor_format(struct buf *line, int64_t us, uint32_t db, const char *peer, const struct str *argv,
                    uint32_t argc);

#endif
