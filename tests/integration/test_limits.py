"""What a bad or hostile client may cost: little, and never the others."""

import random
import resource
import select
import socket
import time

import pytest

from harness import sanitized, wait_until
from wire import Wire, encode

MB = 1 << 20


def served(server, password=None):
    """Somebody else gets an answer."""
    with server.wire(timeout=120) as w:
        if password:
            assert w("AUTH", password) == "OK"
        return w("PING") == "PONG"


# --- requests cut and damaged --------------------------------------------------------------

SAMPLES = [
    encode("SET", "split", "v\r\n$5\r\n*3"),
    encode("MSET", *[x for i in range(6) for x in (f"k{i}", "x" * i)]),
    b"SET inline value\r\n" + b"\r\n" + encode("PING"),
    b"*0\r\n" + encode("ECHO", "") + b"PING 'a b' \r\n",
    encode("GET", "split") * 3 + encode("NOSUCH", "a") + encode("MULTI") + encode("INCR", "n") + encode("EXEC"),
]


def answers(server, *pieces):
    """What the server says to these pieces, each sent once the one before it has gone out."""
    with server.wire() as w:
        w("FLUSHALL")
        for piece in pieces:
            w.send(piece)
            w.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        w.send(encode("ECHO", "the end"))
        got = b""
        while not got.endswith(b"$7\r\nthe end\r\n"):
            got += w.sock.recv(65536)
        return got


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_split_at_every_byte(larder, sample):
    data = SAMPLES[sample]
    whole = answers(larder, data)
    for cut in range(1, len(data)):
        assert answers(larder, data[:cut], data[cut:]) == whole, cut


def test_a_byte_at_a_time(larder):
    for data in SAMPLES:
        assert answers(larder, *[data[i : i + 1] for i in range(len(data))]) == answers(larder, data)


def test_random_cuts_of_a_long_pipeline(larder):
    rng = random.Random(8)
    data = b"".join(encode("SET", f"k{i}", rng.randbytes(rng.randrange(300))) + encode("GET", f"k{i}") for i in range(500))
    whole = answers(larder, data)
    for _ in range(10):
        cuts = sorted(rng.sample(range(len(data)), 40))
        assert answers(larder, *[data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]) == whole


BAD = {
    b"*2147483648\r\n": b"-ERR Protocol error: invalid multibulk length\r\n",
    b"*99999999999999999999\r\n": b"-ERR Protocol error: invalid multibulk length\r\n",
    b"*abc\r\n": b"-ERR Protocol error: invalid multibulk length\r\n",
    b"*1\r\n$-1\r\n": b"-ERR Protocol error: invalid bulk length\r\n",
    b"*1\r\n$536870913\r\n": b"-ERR Protocol error: invalid bulk length\r\n",
    b"*1\r\n$18446744073709551617\r\n": b"-ERR Protocol error: invalid bulk length\r\n",
    b"*1\r\n$x\r\n": b"-ERR Protocol error: invalid bulk length\r\n",
    b"*1\r\n:1\r\n": b"-ERR Protocol error: expected '$', got ':'\r\n",
    b"SET 'k\r\n": b"-ERR Protocol error: unbalanced quotes in request\r\n",
    b"x" * 70000: b"-ERR Protocol error: too big inline request\r\n",
    b"*" + b"1" * 70000: b"-ERR Protocol error: too big mbulk count string\r\n",
    b"*1\r\n$" + b"1" * 70000: b"-ERR Protocol error: too big bulk count string\r\n",
}


@pytest.mark.parametrize("request_", BAD, ids=lambda b: repr(b[:24]))
def test_broken_protocol_gets_its_error_and_the_door(larder, request_):
    with larder.wire() as w:
        w.send(request_)
        assert w.read_all() == BAD[request_]
    assert served(larder)


def test_what_came_before_the_broken_request_is_answered(larder):
    with larder.wire() as w:
        w.send(encode("SET", "k", "1") + encode("GET", "k") + b"*1\r\n$-5\r\n" + encode("SET", "k", "2"))
        assert w.read_all() == b"+OK\r\n$1\r\n1\r\n-ERR Protocol error: invalid bulk length\r\n"
    with larder.wire() as w:
        assert w("GET", "k") == b"1"


def test_requests_of_a_browser_end_the_connection(larder):
    for text in (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k evil\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k evil\r\n"):
        with larder.wire() as w:
            w.send(text)
            w.read_all()
    with larder.wire() as w:
        assert w("GET", "k") is None


def test_half_a_request_then_silence(larder):
    """Thousands of announced arguments cost nothing until their bytes arrive."""
    before = larder.rss()
    conns = []
    for i in range(400):
        w = larder.wire()
        w.send((b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nabc", b"*1000000\r\n$3\r\nabc", b"*3\r\n$3\r\nSE", b"PI")[i % 4])
        conns.append(w)
    assert served(larder)
    time.sleep(0.3)
    assert larder.rss() - before < 200 * MB
    for w in conns:
        w.close()
    assert served(larder)


def test_a_million_arguments(larder):
    with larder.wire() as w:
        n = 500000
        w.send(encode("MSET", *[b"x"] * (2 * n)))
        assert w.read() == "OK"
        assert w("EXISTS", *["x"] * n) == n
        assert w("ECHO", *["x"] * n) == "ERR wrong number of arguments for 'echo' command"
    assert served(larder)


def test_a_huge_pipeline_of_small_commands(larder):
    with larder.wire() as w:
        n = 300000
        payload = memoryview(encode("PING") * n)
        got, sent = 0, 0
        w.sock.setblocking(False)
        while got < 7 * n:
            readable, writable, _ = select.select([w.sock], [w.sock] if sent < len(payload) else [], [], 60)
            assert readable or writable
            if writable:
                sent += w.sock.send(payload[sent : sent + 65536])
            if readable:
                got += len(w.sock.recv(1 << 20))
        assert got == 7 * n


# --- limits --------------------------------------------------------------------------------


def test_maxclients(start_larder):
    server = start_larder({"maxclients": "10"})
    conns = [server.wire()]
    wait_until(lambda: b"connected_clients:1\r" in conns[0]("INFO", "clients"), what="the first to be alone")
    conns += [server.wire() for _ in range(9)]
    for c in conns:
        assert c("PING") == "PONG"
    with server.wire() as w:
        assert w.read_all() == b"-ERR max number of clients reached\r\n"
    assert conns[0]("INFO", "stats").count(b"rejected_connections:1") == 1
    conns.pop().close()
    wait_until(lambda: b"connected_clients:9" in conns[0]("INFO", "clients"), what="the place to be free")
    assert served(server)
    assert conns[0]("CONFIG", "SET", "maxclients", "20") == "OK"
    more = [server.wire() for _ in range(5)]
    assert all(c("PING") == "PONG" for c in more)
    for c in conns + more:
        c.close()


def test_query_buffer_limit(start_larder):
    server = start_larder({"client-query-buffer-limit": "1mb", "proto-max-bulk-len": "64mb"})
    with server.wire() as w:
        try:
            w.send(b"*2\r\n$4\r\nECHO\r\n$30000000\r\n")
            for _ in range(200):
                w.send(b"x" * 100000)
        except OSError:
            pass
        assert w.closed()
    assert served(server)


def test_output_buffer_limit(start_larder):
    """A client that asks and never reads is dropped at the limit, not at the end of memory."""
    server = start_larder({"client-output-buffer-limit": [("normal", "8mb", "0", "0")]})
    with server.wire() as w:
        w("SET", "k", "v" * MB)
        with server.wire() as deaf:
            deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:
                deaf.send(encode("GET", "k") * 2000)
            except OSError:
                pass
            name = "%s:%d" % deaf.sock.getsockname()
            wait_until(lambda: name.encode() not in w("CLIENT", "LIST"), what="the deaf client to be dropped")
        assert server.rss() < 300 * MB
        assert w("PING") == "PONG"


def test_no_short_request_makes_a_reply_without_end(start_larder):
    """SRANDMEMBER draws as often as it is told: up to the size of the largest string, and of what the client may leave unread."""
    server = start_larder({"proto-max-bulk-len": "16mb"})
    with server.wire() as w:
        w("SADD", "s", "a", "b")
        before = server.rss()
        for count in (-(2**63) + 1, -(2**62), -(10**9), -2_500_000):
            assert w("SRANDMEMBER", "s", count) == "ERR value is out of range: so many members exceed proto-max-bulk-len"
        assert len(w("SRANDMEMBER", "s", -2_000_000)) == 2_000_000
        assert w("CONFIG", "SET", "client-output-buffer-limit", "normal 8mb 0 0") == "OK"
        with server.wire() as greedy:
            greedy.send(encode("SRANDMEMBER", "s", -2_000_000))
            assert greedy.closed()
        assert w("PING") == "PONG"
        kept = 256 if sanitized(server) else 0  # MB of freed memory that the address sanitizer holds back
        assert server.rss() < before + (60 + kept) * MB


def test_unread_replies_within_the_limit_are_kept(larder):
    with larder.wire() as w:
        w("SET", "k", "v" * 100000)
        w.send(encode("GET", "k") * 300)
        time.sleep(0.3)
        assert all(w.read() == b"v" * 100000 for _ in range(300))


# --- the unauthenticated -------------------------------------------------------------------


def crowd(server, n, say):
    """n connections that say something and never read."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    conns = []
    for i in range(n):
        s = socket.socket()
        s.setblocking(False)
        try:
            s.connect(("127.0.0.1", server.port))
        except BlockingIOError:
            pass
        conns.append(s)
        if i % 100 == 99:
            push(conns[-100:], say)
    push(conns[-100:], b"")
    return conns


def push(conns, say):
    waiting = list(conns)
    deadline = time.monotonic() + 240
    poll = select.poll()
    for s in waiting:
        poll.register(s, select.POLLOUT)
    left = {s.fileno(): s for s in waiting}
    while left and time.monotonic() < deadline:
        for fd, _ in poll.poll(1000):
            s = left.pop(fd, None)
            if s is None:
                continue
            poll.unregister(fd)
            try:
                if say:
                    s.send(say)
            except OSError:
                pass
    assert not left, f"{len(left)} connections were not accepted within four minutes"


def hard_file_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


@pytest.mark.parametrize(
    "say",
    [b"", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16000\r\n" + b"x" * 8000, b"PING\r\n" * 500, b"*1000000\r\n", b"NOSUCH " + b"y" * 6000],
    ids=["silent", "half an argument", "errors unread", "many arguments", "half a line"],
)
def test_ten_thousand_of_the_unauthenticated(start_larder, say):
    n = min(10000, hard_file_limit() - 500)
    assert n == 10000, f"10,000 connections need more open files than {hard_file_limit()} (ulimit -n)"
    server = start_larder({"requirepass": "sesame", "maxclients": "10100"})
    assert served(server, "sesame")
    before = server.rss()
    conns = crowd(server, n, say)
    try:
        assert served(server, "sesame")
        grown = server.rss() - before
        assert grown < 400 * MB, f"{grown / MB:.0f} MB for {n} strangers"
        rounds = []
        with server.wire() as w:
            w("AUTH", "sesame")
            for i in range(200):
                assert w("SET", "k", i) == "OK"
                rounds.append(i)
        assert len(rounds) == 200
    finally:
        for i, s in enumerate(conns):
            if i % 2:  # half of them with a reset
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            s.close()
    with server.wire() as w:
        w("AUTH", "sesame")
        wait_until(lambda: b"connected_clients:1\r" in w("INFO", "clients"), seconds=240, what="the crowd to be gone")


def test_strangers_may_not_send_much(start_larder):
    server = start_larder({"requirepass": "sesame"})
    for request, error in (
        (b"*11\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*2\r\n$4\r\nECHO\r\n$16385\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
    ):
        with server.wire() as w:
            w.send(request)
            assert w.read_all() == error
    with server.wire() as w:
        assert w("AUTH", "sesame") == "OK"
        assert w("ECHO", "x" * 20000) == b"x" * 20000


def test_strangers_who_never_read_are_dropped(start_larder):
    server = start_larder({"requirepass": "sesame"})
    with server.wire() as w:
        w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = server.rss()
        try:
            for _ in range(300):
                w.send(b"PING\r\n" * 10000)
        except OSError:
            pass
        assert server.rss() - before < 100 * MB
    assert served(server, "sesame")


def test_connections_come_and_go(larder):
    """No descriptor and no memory is left behind."""
    import os

    def descriptors():
        return len(os.listdir(f"/proc/{larder.pid}/fd"))

    with larder.wire() as w:
        w("PING")
        before = descriptors()
        for i in range(3000):
            s = socket.create_connection(larder.address())
            if i % 3 == 0:
                s.sendall(encode("SET", "k", "v" * 100)[: i % 40])
            if i % 3 == 1:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            s.close()
        wait_until(lambda: descriptors() <= before, what="the descriptors to be closed")
        assert w("PING") == "PONG"


def test_wire_of_a_closed_server_is_closed(start_larder):
    server = start_larder()
    w = Wire(server.address())
    assert w("PING") == "PONG"
    server.stop()
    assert w.closed()


def test_maxmemory_refuses_writes_at_once(start_larder):
    """With noeviction: what needs memory is refused, also while MULTI queues; the rest goes on."""
    oom = "OOM command not allowed when used memory > 'maxmemory'."
    server = start_larder()
    with server.wire() as w:
        w("SET", "k", "v")
        for _ in range(20):
            assert w("CONFIG", "SET", "maxmemory", "1") == "OK"
            assert w("SET", "k", "w") == oom
            assert w("GET", "k") == b"v" and w("DEL", "nothing") == 0
            assert w("MULTI") == "OK" and w("SET", "k", "w") == oom
            assert w("EXEC") == "EXECABORT Transaction discarded because of previous errors."
            assert w("CONFIG", "SET", "maxmemory", "0") == "OK"
            assert w("SET", "k", "v") == "OK"
        w("MULTI")
        w("SET", "k", "w")
        with server.wire() as other:
            other("CONFIG", "SET", "maxmemory", "1")
        assert w("EXEC") == "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'."
        assert w("DEL", "k") == 1
