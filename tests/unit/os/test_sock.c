#include "unit/unit.h"

#include "base/err.h"
#include "os/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int port_of(int fd)
{
    char name[SOCK_ADDR_MAX];
    sock_local_name(fd, name);
    return atoi(strrchr(name, ':') + 1);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static int accept_one(int listener)
{
    struct pollfd wait = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, -1), 1);
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

static void assert_flags(int fd, bool nonblock)
{
    assert_int_equal((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, nonblock);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

static void connects_from(const char *source, const char *expected, bool begin)
{
    struct sock_err err = {""};
    char ip[SOCK_ADDR_MAX];
    int listener = sock_listen_tcp("127.0.0.1", 0, 10, false, &err), port = port_of(listener);
    int client = begin ? sock_connect_begin(source, "127.0.0.1", port, &err)
                       : sock_connect_tcp_from(source, "127.0.0.1", port, 5000, false, &err);
    if (client < 0)
        fail_msg("%s", err.text);
    int server = accept_one(listener);
    sock_peer_ip(server, ip, sizeof ip);
    assert_string_equal(ip, expected);
    close(client);
    close(server);
    close(listener);
}

/* 192.0.2.0/24 is nobody's; ::1 is of another family. */
static void the_source_is_a_wish(void **state)
{
    struct sock_err err = {""};
    for (int begin = 0; begin < 2; begin++) {
        connects_from("127.0.0.7", "127.0.0.7", begin);
        connects_from("", "127.0.0.1", begin);
        connects_from("192.0.2.1", "127.0.0.1", begin);
        connects_from("::1", "127.0.0.1", begin);
    }
    assert_int_equal(sock_check_source("127.0.0.7", &err), 0);
    assert_int_equal(sock_check_source("192.0.2.1", &err), ERR_IO);
    assert_non_null(strstr(err.text, "bind 192.0.2.1"));
    assert_int_equal(sock_check_source("localhost", &err), ERR_IO);
    assert_non_null(strstr(err.text, "not a numeric address"));
}

static void tcp_there_and_back(const char *listen_host, const char *connect_host, const char *address)
{
    struct sock_err err = {""};
    char name[SOCK_ADDR_MAX], want[SOCK_ADDR_MAX];
    int listener = sock_listen_tcp(listen_host, 0, 10, false, &err);
    if (listener < 0)
        fail_msg("%s", err.text);
    assert_flags(listener, true);
    int port = port_of(listener);
    int client = sock_connect_tcp(connect_host, port, 5000, false, &err), server = accept_one(listener);
    assert_true(client >= 0);
    assert_flags(client, false);
    snprintf(want, sizeof want, address, port);
    sock_peer_name(client, name);
    assert_string_equal(name, want);
    snprintf(want, sizeof want, address, port_of(client));
    sock_peer_name(server, name);
    assert_string_equal(name, want);
    assert_true(sock_peer_is_loopback(server));
    assert_false(sock_peer_is_loopback(listener)); /* which has no peer */
    close(server);
    close(client);
    client = sock_connect_tcp(connect_host, port, 5000, true, &err);
    assert_flags(client, true);
    close(client);
    close(listener);
}

static void tcp_version_4(void **state)
{
    tcp_there_and_back("127.0.0.1", "127.0.0.1", "127.0.0.1:%d");
    tcp_there_and_back("*", "127.0.0.1", "127.0.0.1:%d");
    tcp_there_and_back("", "127.0.0.1", "127.0.0.1:%d");
    tcp_there_and_back("127.0.0.1", "localhost", "127.0.0.1:%d");
}

/* A machine may have no IPv6; then the error says so and the rest is not decided. */
static void tcp_version_6(void **state)
{
    struct sock_err err;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool there = fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0;
    if (fd >= 0)
        close(fd);
    if (!there) {
        assert_int_equal(sock_listen_tcp("::1", 0, 10, false, &err), ERR_IO);
        assert_memory_equal(err.text, "bind [::1]:0: ", 14);
        return;
    }
    tcp_there_and_back("::1", "::1", "[::1]:%d");
    tcp_there_and_back("::*", "::1", "[::1]:%d");
    tcp_there_and_back("::", "::1", "[::1]:%d");
    int v4 = -1; /* side by side on one port: V6ONLY. Another program may have it, so try some. */
    for (int i = 0; i < 50 && v4 < 0; i++) {
        int v6 = sock_listen_tcp("::*", 0, 10, false, &err);
        v4 = sock_listen_tcp("*", port_of(v6), 10, false, &err);
        close(v6);
    }
    assert_true(v4 >= 0);
    close(v4);
}

static void errors_name_the_address_and_the_cause(void **state)
{
    struct sock_err err;
    char want[SOCK_ERR_MAX];
    int taken = sock_listen_tcp("127.0.0.1", 0, 10, false, &err), port = port_of(taken);
    assert_int_equal(sock_listen_tcp("127.0.0.1", port, 10, false, &err), ERR_IO);
    snprintf(want, sizeof want, "bind 127.0.0.1:%d: Address already in use", port);
    assert_string_equal(err.text, want);
    close(taken);
    assert_int_equal(sock_connect_tcp("127.0.0.1", port, 5000, false, &err), ERR_IO);
    snprintf(want, sizeof want, "connect 127.0.0.1:%d: Connection refused", port);
    assert_string_equal(err.text, want);
    assert_int_equal(sock_listen_tcp("127.0.0.1", 70000, 10, false, &err), ERR_IO);
    assert_string_equal(err.text, "bind 127.0.0.1:70000: the port must be from 0 to 65535");
    assert_int_equal(sock_listen_tcp("127.0.0.1", -1, 10, false, &err), ERR_IO);
    assert_int_equal(sock_listen_tcp("256.1.1.1", 1, 10, false, &err), ERR_IO);
    assert_memory_equal(err.text, "bind 256.1.1.1:1: ", 18);
    char large[500];
    memset(large, 'h', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    assert_int_equal(sock_connect_tcp(large, 1, 100, false, &err), ERR_IO);
    assert_true(strlen(err.text) < SOCK_ERR_MAX);
}

static void a_port_can_be_shared_only_when_asked(void **state)
{
    struct sock_err err;
    int a = sock_listen_tcp("127.0.0.1", 0, 10, true, &err), port = port_of(a);
    int b = sock_listen_tcp("127.0.0.1", port, 10, true, &err);
    assert_true(a >= 0 && b >= 0);
    assert_int_equal(sock_listen_tcp("127.0.0.1", port, 10, false, &err), ERR_IO);
    close(a);
    close(b);
}

/* The listener's queue is full, so the handshake does not end. */
static void a_connect_gives_up_in_time(void **state)
{
    enum { CLIENTS = 8 };
    struct sock_err err;
    int listener = sock_listen_tcp("127.0.0.1", 0, 0, false, &err), port = port_of(listener), fd[CLIENTS];
    int n = 0;
    while (n < CLIENTS && (fd[n] = sock_connect_tcp("127.0.0.1", port, 200, false, &err)) >= 0)
        n++;
    assert_true(n < CLIENTS);
    assert_non_null(strstr(err.text, ": Connection timed out"));
    while (n > 0)
        close(fd[--n]);
    close(listener);
}

static void options_are_set(void **state)
{
    struct sock_err err;
    int listener = sock_listen_tcp("127.0.0.1", 0, 10, false, &err);
    int fd = sock_connect_tcp("127.0.0.1", port_of(listener), 5000, true, &err);
    sock_set_nodelay(fd);
    assert_int_not_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    sock_set_keepalive(fd, 300);
    assert_int_not_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 300);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 100);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
    sock_set_keepalive(fd, 1);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 1);
    sock_set_keepalive(fd, 0);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    close(fd);
    close(listener);
}

static void input_is_seen(void **state)
{
    int ends[2];
    char c;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_false(sock_has_input(ends[0]));
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(sock_has_input(ends[0]));
    assert_int_equal(read(ends[0], &c, 1), 1);
    assert_false(sock_has_input(ends[0]));
    close(ends[0]);
    close(ends[1]);
    assert_true(sock_has_input(-1));
}

static void unix_sockets(void **state)
{
    char folder[] = "/tmp/larder-sock-XXXXXX", path[64], want[160], name[SOCK_ADDR_MAX];
    struct sock_err err;
    struct stat st;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(want, sizeof want, "%s:0", path);
    int listener = sock_listen_unix(path, 0700, 10, &err);
    assert_true(listener >= 0);
    assert_flags(listener, true);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    int client = sock_connect_unix(path, 5000, false, &err), server = accept_one(listener);
    assert_flags(client, false);
    sock_peer_name(server, name);
    assert_string_equal(name, want);
    sock_peer_name(client, name);
    assert_string_equal(name, want);
    sock_local_name(listener, name);
    assert_string_equal(name, want);
    assert_true(sock_peer_is_loopback(server));

    assert_int_equal(sock_listen_unix(path, 0, 10, &err), ERR_IO); /* its server lives */
    snprintf(want, sizeof want, "bind %s: Address already in use", path);
    assert_string_equal(err.text, want);
    close(client);
    close(server);
    close(listener);
    assert_int_equal(sock_connect_unix(path, 5000, false, &err), ERR_IO);
    snprintf(want, sizeof want, "connect %s: Connection refused", path);
    assert_string_equal(err.text, want);
    listener = sock_listen_unix(path, 0, 10, &err); /* it is dead: its file is replaced */
    assert_true(listener >= 0);
    close(listener);
    unlink(path);
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(sock_listen_unix(path, 0, 10, &err), ERR_IO); /* somebody's file is not */
    assert_int_equal(stat(path, &st), 0);
    close(file);
    unlink(path);
    rmdir(folder);
}

static void unix_paths_have_a_limit(void **state)
{
    struct sock_err err;
    char path[200];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(sock_listen_unix(path, 0, 10, &err), ERR_IO);
    assert_non_null(strstr(err.text, "File name too long"));
    assert_int_equal(sock_connect_unix(path, 10, false, &err), ERR_IO);
    assert_int_equal(sock_connect_unix("", 10, false, &err), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_version_4),
        cmocka_unit_test(tcp_version_6),
        cmocka_unit_test(the_source_is_a_wish),
        cmocka_unit_test(errors_name_the_address_and_the_cause),
        cmocka_unit_test(a_port_can_be_shared_only_when_asked),
        cmocka_unit_test(a_connect_gives_up_in_time),
        cmocka_unit_test(options_are_set),
        cmocka_unit_test(input_is_seen),
        cmocka_unit_test(unix_sockets),
        cmocka_unit_test(unix_paths_have_a_limit),
    };
    return cmocka_run_group_tests_name("sock", tests, NULL, NULL);
}
