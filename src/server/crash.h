/* The crash report: signal, address, stack of the thread that died, version and uptime, into the
 * log, with async-signal-safe means; then the signal takes its course (core dump).
 *
 * The first thread that crashes writes the report; others that crash meanwhile wait for the
 * process to end. A crash inside the report ends it where it is. */
#ifndef LARDER_SERVER_CRASH_H
#define LARDER_SERVER_CRASH_H

#include <stdbool.h>

/* Boot, and again whenever crash-log-enabled changes: report crashes, or let the signals do what they
 * do by themselves. Sanitizer builds keep the sanitizer's own report. */
void crash_install(bool enabled);
/* Each thread, around its life: an alternate stack, so that a stack overflow is reported too. */
void crash_thread_begin(void);
void crash_thread_end(void);

#endif
