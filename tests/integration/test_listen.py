"""CONFIG SET port and bind while clients are connected."""

import os
import socket

import pytest

from harness import free_port, wait_until
from wire import Wire, encode


def answers(host, port):
    try:
        with Wire((host, port), timeout=60) as w:
            return w("PING") == "PONG"
    except OSError:
        return False


@pytest.fixture(params=[1, 4], ids=lambda n: f"{n} workers")
def server(request, start_larder):
    return start_larder(workers=request.param)


def test_another_port(server):
    old, new = server.port, free_port()
    with server.wire() as w:
        assert w("CONFIG", "SET", "port", new) == "OK"
        assert w("PING") == "PONG", "who is connected stays so"
        for _ in range(20):
            assert answers("127.0.0.1", new)
        assert not answers("127.0.0.1", old)
        assert b"tcp_port:%d\r" % new in w("INFO", "server")
        assert b"port=%d\r" % new in w("INFO", "server")
        assert w("CONFIG", "SET", "port", old) == "OK"
        assert answers("127.0.0.1", old) and not answers("127.0.0.1", new)


def test_a_port_that_is_taken(server):
    with socket.socket() as other, server.wire() as w:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        error = w("CONFIG", "SET", "port", taken)
        assert error == "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs."
        assert w("CONFIG", "GET", "port") == [b"port", b"%d" % server.port]
        assert answers("127.0.0.1", server.port)
        assert b"Address already in use" in server.log()


def test_other_addresses(server):
    port = server.port
    with server.wire() as w:
        assert w("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2") == "OK"
        assert answers("127.0.0.1", port) and answers("127.0.0.2", port)
        assert w("CONFIG", "SET", "bind", "127.0.0.2") == "OK"
        assert answers("127.0.0.2", port) and not answers("127.0.0.1", port)
        assert w("CONFIG", "SET", "bind", "*") == "OK"
        assert answers("127.0.0.1", port) and answers("127.0.0.3", port)
        assert w("CONFIG", "SET", "bind", "127.0.0.1 -192.0.2.1 -::1") == "OK", "a leading - lets it be missing"
        assert answers("127.0.0.1", port) and not answers("127.0.0.3", port)


def test_an_address_that_is_not_ours(server):
    """192.0.2.0/24 is for documentation: no machine has it."""
    port = server.port
    with server.wire() as w:
        for value in ("192.0.2.1", "127.0.0.3 192.0.2.1", "192.0.2.1 127.0.0.1"):
            error = w("CONFIG", "SET", "bind", value)
            assert error == "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses."
            assert w("CONFIG", "GET", "bind") == [b"bind", b"127.0.0.1"]
            assert answers("127.0.0.1", port) and not answers("127.0.0.3", port)


def test_a_failure_elsewhere_puts_it_back(server):
    new = free_port()
    with server.wire() as w:
        error = w("CONFIG", "SET", "port", new, "proc-title-template", "{bad}")
        assert error.startswith("ERR CONFIG SET failed (possibly related to argument 'proc-title-template')")
        assert answers("127.0.0.1", server.port) and not answers("127.0.0.1", new)
        error = w("CONFIG", "SET", "port", new, "maxclients", 10**9)
        assert error.startswith("ERR CONFIG SET failed (possibly related to argument 'maxclients')")
        assert answers("127.0.0.1", server.port) and not answers("127.0.0.1", new)
        assert w("CONFIG", "GET", "port") == [b"port", b"%d" % server.port]


def test_no_port_at_all(start_larder):
    server = start_larder({"unixsocket": "s.sock"})
    path = os.path.join(server.dir, "s.sock")
    with Wire(path) as w:
        assert w("CONFIG", "SET", "port", "0") == "OK"
        assert not answers("127.0.0.1", server.port)
        assert w("PING") == "PONG"
        with Wire(path) as again:
            assert again("PING") == "PONG"
        assert w("CONFIG", "SET", "port", server.port) == "OK"
        assert answers("127.0.0.1", server.port)


def test_moving_under_a_storm_of_connections(start_larder):
    """Connections are made all the while: each is served or refused, and none hangs."""
    server = start_larder(workers=4)
    ports = [server.port, free_port()]
    with server.wire() as w:
        for i in range(30):
            assert w("CONFIG", "SET", "port", ports[1 - i % 2]) == "OK"
            socks = []
            for k in range(20):
                s = socket.socket()
                s.setblocking(False)
                try:
                    s.connect(("127.0.0.1", ports[k % 2]))
                except BlockingIOError:
                    pass
                socks.append(s)
            served = 0
            for s in socks:
                s.setblocking(True)
                s.settimeout(120)
                try:
                    s.sendall(encode("PING"))
                    served += s.recv(100) == b"+PONG\r\n"
                except OSError:
                    pass
                s.close()
            assert served >= 10
        assert w("CONFIG", "SET", "port", ports[0]) == "OK"
        wait_until(lambda: b"connected_clients:1\r" in w("INFO", "clients"), what="the storm to be over")


def test_hooks_of_dir_and_title(start_larder, tmp_path):
    server = start_larder({"enable-protected-configs": "yes"})
    with server.wire() as w:
        assert w("CONFIG", "SET", "dir", "/nonexistent") == "ERR CONFIG SET failed (possibly related to argument 'dir') - No such file or directory"
        assert w("CONFIG", "GET", "dir")[1].decode() == os.path.realpath(server.dir)
        assert w("CONFIG", "SET", "dir", str(tmp_path)) == "OK"
        assert os.readlink(f"/proc/{server.pid}/cwd") == str(tmp_path)

        def title():
            return open(f"/proc/{server.pid}/cmdline", "rb").read().rstrip(b"\0")

        assert title() == os.path.realpath(server.binary).encode() + b" 127.0.0.1:%d" % server.port
        template = "{title}|{port}|{tls-port}|{unixsocket}|{config-file}|{server-mode}|{listen-addr} x"
        assert w("CONFIG", "SET", "proc-title-template", template) == "OK"
        assert title() == os.path.realpath(server.binary).encode() + b"|%d|0||||127.0.0.1:%d x" % (server.port, server.port)
        assert w("CONFIG", "SET", "proc-title-template", "x" * 100000) == "OK"
        assert set(title()) == {ord("x")}
        assert os.path.exists(f"/proc/{server.pid}/environ")
    server = start_larder({"set-proc-title": "no"})
    with server.wire() as w:
        assert b"--set-proc-title\0no" in open(f"/proc/{server.pid}/cmdline", "rb").read()


def test_password_and_who_is_in(server):
    with server.wire() as early:
        assert early("CONFIG", "SET", "requirepass", "sesame") == "OK"
        assert early("PING") == "PONG", "who was let in stays in"
        with server.wire() as late:
            assert late("PING") == "NOAUTH Authentication required."
            assert early("CONFIG", "SET", "requirepass", "") == "OK"
            assert late("PING") == "PONG", "no password, no question"
