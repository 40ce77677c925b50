/* The process as the system sees it: background, supervisor, pid file, title.
 *
 * Main thread at boot and at the end; the title also under the gate. */
#ifndef LARDER_SERVER_PROCESS_H
#define LARDER_SERVER_PROCESS_H

#include "server/config.h"

#include <stdbool.h>
#include <stddef.h>

struct process {
    char *executable;                  /* absolute path of the program */
    char *title;                       /* the memory that ps shows: argv and what follows it */
    size_t title_room;                 /* bytes of it */
    char *pidfile;                     /* absolute, since `dir` may change; NULL = none was written */
    enum config_supervised supervisor; /* who is told; never SUPERVISED_AUTO */
};

/* First of all: takes argv and environment out of the way of the title. */
void process_init(struct process *p, int argc, char **argv);
/* What proc-title-template says, if set-proc-title does. */
void process_set_title(struct process *p, const struct config *cfg);

/* Find out who supervises, say so in the log, and go to the background if `daemonize` wants that and
 * nobody supervises. Exits the parent. */
void process_detach(struct process *p, const struct config *cfg);
void process_log_supervisor(const struct process *p, const struct config *cfg);

/* Clients are served from now on: pid file and supervisor. With upstart this stops the process until
 * it is told to go on. */
void process_ready(struct process *p, const struct config *cfg);
/* The end has begun; it is complete. */
void process_stopping(const struct process *p);
void process_ended(const struct process *p);
void process_release(struct process *p);

/* "no", "systemd" or "upstart", as INFO shows it. */
const char *process_supervisor_name(const struct process *p);

#endif
