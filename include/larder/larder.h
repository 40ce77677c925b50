/* liblarder: the C client of larder.
 *
 * So far it can say which version it is, and place keys on a ring; connections and the cluster come
 * next (docs/ROADMAP.md). */
#ifndef LARDER_LARDER_H
#define LARDER_LARDER_H

#include "larder/base.h"
#include "larder/ring.h"

#endif
