"""The floor server of `make bench`: it must really parse, or every ratio is wrong."""

import os
import socket
import subprocess

import harness
import pytest

FLOOR = os.path.join(harness.ROOT, "build", "bench", "floor")


def command(*words):
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)])


def value(n):
    return b"$%d\r\n%s\r\n" % (n, b"x" * n)


@pytest.fixture(params=[100, 4096])
def floor(request):
    process = subprocess.Popen([FLOOR, "--value-size", str(request.param)], stdout=subprocess.PIPE)
    port = int(process.stdout.readline().split(b"127.0.0.1:")[1].split(b",")[0])
    yield port, value(request.param)
    process.terminate()
    process.wait(timeout=60)


def exchange(port, pieces, expected):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            s.sendall(piece)
        got = b""
        while len(got) < len(expected):
            more = s.recv(65536)
            assert more, f"closed after {got!r}"
            got += more
        assert got == expected
        s.settimeout(0.05)
        with pytest.raises(TimeoutError):  # and nothing more
            s.recv(1)


def test_each_request_has_its_reply(floor):
    port, hit = floor
    exchange(port, [command(b"GET", b"k")], hit)
    exchange(port, [command(b"get", b"k")], hit)
    exchange(port, [command(b"SET", b"k", b"v" * 5000)], b"+OK\r\n")
    exchange(port, [command(b"PING")], b"+PONG\r\n")


def test_a_pipeline_is_answered_whole_and_in_order(floor):
    port, hit = floor
    one = command(b"GET", b"k") + command(b"SET", b"k", b"*1\r\n$4\r\nPING\r\n") + command(b"PING")
    exchange(port, [one * 300], (hit + b"+OK\r\n+PONG\r\n") * 300)


def test_requests_may_be_cut_at_every_byte(floor):
    port, hit = floor
    stream = command(b"SET", b"k", b"$3\r\nGET") + command(b"GET", b"key") + command(b"PING")
    for cut in range(1, len(stream)):
        exchange(port, [stream[:cut], stream[cut:]], b"+OK\r\n" + hit + b"+PONG\r\n")


def test_a_slow_reader_gets_everything(floor):
    port, hit = floor
    n = 40000000 // len(hit)  # more than sockets and the floor's own buffer hold
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        sender = subprocess.Popen(["/usr/bin/python3", "-c", "import sys\nfor _ in range(int(sys.argv[1])):\n"
                                   "    sys.stdout.buffer.write(b'*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nk\\r\\n')", str(n)], stdout=s)
        left = n * len(hit)
        while left:
            got = len(s.recv(1 << 20))
            assert got
            left -= got
        assert sender.wait(timeout=60) == 0
        s.sendall(command(b"PING"))
        assert s.recv(100) == b"+PONG\r\n"


@pytest.mark.parametrize("nonsense", [b"GET k\r\n", b"*x\r\n", b"*1\r\n+OK\r\n", b"*1\r\n$-1\r\n", b"*0\r\n"])
def test_nonsense_is_hung_up_on(floor, nonsense):
    port, _ = floor
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(nonsense)
        assert s.recv(100) == b""
