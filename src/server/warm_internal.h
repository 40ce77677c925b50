/* What warm.c and warm_peer.c share. Not for others. */
#ifndef LARDER_SERVER_WARM_INTERNAL_H
#define LARDER_SERVER_WARM_INTERNAL_H

#include "server/warm.h"

/* The thread: from w's peer until all is taken, or something ends it; w->error says what. */
enum warm_state warm_from_peer(struct warm *w);

#endif
