/* MD5 of several short texts at once, for the places of keys on a ring. Pure. */
#ifndef LARDER_CLIENT_DIGESTS_H
#define LARDER_CLIENT_DIGESTS_H

#include "base/str.h"

#include <stdint.h>

enum digests_limits {
    DIGESTS_LANES = 8,     /* texts at once */
    DIGESTS_TEXT_MAX = 55, /* bytes of a text: what a single block of MD5 has room for */
    DIGESTS_BYTES = 16
};

/* out[i] becomes MD5(texts[i]), for n texts: at most DIGESTS_LANES, none longer than DIGESTS_TEXT_MAX. It
 * takes as long for one as for all. */
void digests_of_short(const struct str *texts, unsigned n, uint8_t out[][DIGESTS_BYTES]);

#endif
