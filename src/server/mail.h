/* Letters between threads: a node in a worker's mailbox, handled inside a round. */
#ifndef LARDER_SERVER_MAIL_H
#define LARDER_SERVER_MAIL_H

#include "base/mpsc.h"

struct worker;

/* Embedded in whatever is sent; `deliver` runs on the receiver's thread and then owns it. */
struct mail {
    struct mpsc_node node;
    void (*deliver)(struct worker *w, struct mail *m);
};

/* Any thread. The letter is the receiver's from here on. */
void worker_mail(struct worker *w, struct mail *m);

#endif
