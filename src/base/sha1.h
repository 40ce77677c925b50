/* SHA-1 (RFC 3174), for fingerprints that must equal Redis's (DEBUG DIGEST). Not for security:
 * collisions of SHA-1 can be made. About 1 GB in 3 s; nothing hot uses it. */
#ifndef LARDER_BASE_SHA1_H
#define LARDER_BASE_SHA1_H

#include <stddef.h>
#include <stdint.h>

enum { SHA1_BYTES = 20 };

void sha1(const void *p, size_t n, uint8_t out[SHA1_BYTES]);

#endif
