/* A transport for tests: every byte is changed on the wire, so that only a peer that changes it back
 * (liblarder.py, Xor) can be talked to; it reads and writes little at a time and often asks to be called
 * again, as TLS does. The handshake is one byte each way. */
#ifndef LARDER_TEST_XOR_H
#define LARDER_TEST_XOR_H

#include <larder/larder.h>

/* Constant. Its counters are printed by xor_report(): sessions opened and closed. */
extern const struct larder_transport xor_transport;
void xor_report(void);

#endif
