/* The log: one line an event, with its cause and, from WARNING up, its remedy.
 *
 *      12345:M 23 Nov 2026 03:49:29.123 * Ready to accept connections tcp 127.0.0.1:6379
 *
 * The same shape as Redis's, since people have parsers for it: pid, role letter,
 * time, level mark (. debug, - verbose, * notice, # warning). The sink is one of
 * the program's two mutable globals; log_*() may be called from any thread and
 * writes each line with a single write(2). */
#ifndef LARDER_BASE_LOG_H
#define LARDER_BASE_LOG_H

#include "base/annotate.h"

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING, LOG_NOTHING };

/* path NULL or "" = stdout. Returns 0 or ERR_IO (errno), keeping the old sink. */
int log_open(const char *path);
void log_set_level(enum log_level level);
enum log_level log_level_now(void);
void log_set_role(char role); /* 'M' primary, 'S' replica, 'X' sentinel-less tools */
void log_set_syslog(bool on, const char *ident, int facility);

void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* For the crash handler: async-signal-safe, raw text to the sink's descriptor. */
void log_raw(const char *p, unsigned long n);

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_verbose(...) log_write(LOG_VERBOSE, __VA_ARGS__)
#define log_notice(...) log_write(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)

#endif
