#include "server/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* By getpeername() or getsockname(). */
static void read_address(struct address *out, int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    memset(out, 0, sizeof *out);
    if (name(fd, (struct sockaddr *)&ss, &len) != 0)
        return;
    out->family = (uint8_t)ss.ss_family;
    if (ss.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&ss;
        memcpy(out->ip, &in->sin_addr, 4);
        out->port = ntohs(in->sin_port);
    } else if (ss.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ss;
        memcpy(out->ip, &in6->sin6_addr, 16);
        out->port = ntohs(in6->sin6_port);
    }
}

void address_of_peer(struct address *a, int fd)
{
    read_address(a, fd, getpeername);
}

void address_of_socket(struct address *a, int fd)
{
    read_address(a, fd, getsockname);
}

void address_text(const struct address *a, const char *unixsocket, char out[ADDRESS_TEXT])
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (a->family == AF_INET) {
        inet_ntop(AF_INET, a->ip, ip, sizeof ip);
        snprintf(out, ADDRESS_TEXT, "%s:%u", ip, a->port);
    } else if (a->family == AF_INET6) {
        inet_ntop(AF_INET6, a->ip, ip, sizeof ip);
        snprintf(out, ADDRESS_TEXT, "[%s]:%u", ip, a->port);
    } else {
        snprintf(out, ADDRESS_TEXT, "%s:0", a->family == AF_UNIX ? unixsocket : "?");
    }
}

bool address_is_loopback(const struct address *a)
{
    static const uint8_t v6[16] = {[15] = 1};
    static const uint8_t mapped[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
    if (a->family == AF_INET)
        return a->ip[0] == 127;
    if (a->family == AF_INET6)
        return memcmp(a->ip, v6, 16) == 0 || memcmp(a->ip, mapped, 13) == 0;
    return a->family == AF_UNIX;
}
