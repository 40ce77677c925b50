/* Sockets: non-blocking, close-on-exec, errors with the address in them. */
#ifndef LARDER_OS_SOCK_H
#define LARDER_OS_SOCK_H

#include "base/annotate.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { SOCK_ADDR_MAX = 128, SOCK_ERR_MAX = 256 };

/* Where an error leaves its sentence: "bind 127.0.0.1:6379: Address already in use". */
struct sock_err {
    char text[SOCK_ERR_MAX];
};

/* All return a descriptor >= 0, or ERR_IO with err filled. host "*" or "" is every
 * IPv4 address, "::*" or "::" every IPv6 one (IPV6_V6ONLY). */
int sock_listen_tcp(const char *host, int port, int backlog, bool reuseport, struct sock_err *err);
int sock_listen_unix(const char *path, int mode, int backlog, struct sock_err *err);
/* Blocking connect with a limit, then non-blocking if asked. */
int sock_connect_tcp(const char *host, int port, int timeout_ms, bool nonblock, struct sock_err *err);
/* From `source`, a numeric address of this machine. "", one of another family than the host's, or one that
 * cannot be had just now: the system chooses, as connecting at all matters more. sock_check_source() says
 * whether it can be had: 0, or ERR_IO with err filled. */
int sock_connect_tcp_from(const char *source, const char *host, int port, int timeout_ms, bool nonblock,
                          struct sock_err *err);
int sock_check_source(const char *source, struct sock_err *err);
int sock_connect_unix(const char *path, int timeout_ms, bool nonblock, struct sock_err *err);

/* Begin to connect to a numeric address, non-blocking: when the descriptor is writable, sock_connect_result()
 * says 0 or errno. `source` as above. */
int sock_connect_begin(const char *source, const char *ip, int port, struct sock_err *err);
int sock_connect_result(int fd);

void sock_set_nodelay(int fd);               /* and what MSG_MORE holds back is sent */
bool sock_has_input(int fd);                 /* that nobody has read; or it cannot be told */
void sock_set_keepalive(int fd, int idle_s); /* 0 = off */
/* "1.2.3.4:5", "[::1]:5", or "path:0" for Unix sockets, as CLIENT LIST prints it. */
void sock_peer_name(int fd, char out[SOCK_ADDR_MAX]);
void sock_local_name(int fd, char out[SOCK_ADDR_MAX]);
/* The address alone; an IPv4 one never as ::ffff:1.2.3.4. "" when there is none. */
void sock_peer_ip(int fd, char *out, size_t n);
void sock_local_ip(int fd, char *out, size_t n);
bool sock_peer_is_loopback(int fd); /* Unix sockets count as loopback */

#endif
