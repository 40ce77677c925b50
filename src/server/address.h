/* Where a connection comes from and where it arrived, compact. */
#ifndef LARDER_SERVER_ADDRESS_H
#define LARDER_SERVER_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

enum { ADDRESS_TEXT = 128 }; /* bytes of an address as text */

struct address {
    uint8_t family; /* AF_INET, AF_INET6, AF_UNIX; 0: not known */
    uint16_t port;
    uint8_t ip[16];
};

/* The other side's, and our own. All zero when the socket cannot tell any more. */
void address_of_peer(struct address *a, int fd);
void address_of_socket(struct address *a, int fd);

/* "1.2.3.4:5", "[::1]:5", `unixsocket` as "path:0", or "?:0". */
void address_text(const struct address *a, const char *unixsocket, char out[ADDRESS_TEXT]);

bool address_is_loopback(const struct address *a); /* or a Unix socket */

#endif
