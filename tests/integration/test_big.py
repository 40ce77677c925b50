"""Values of many megabytes, and the others who must not wait for them."""

import socket
import threading

import pytest

from harness import wait_until
from wire import encode

MB = 1 << 20
SIZE = 64 * MB


@pytest.fixture(scope="module")
def blob():
    return bytes(range(256)) * (SIZE // 256)


def bystander(larder, name, stop, turns, failures):
    """Counts the answers it gets while something big goes on elsewhere."""
    try:
        with larder.wire() as w:
            i = 0
            while not stop.is_set():
                w("SET", f"small:{name}:{i % 100}", i)
                assert w("GET", f"small:{name}:{i % 100}") == b"%d" % i
                i += 1
                turns[0] = i
    except Exception as e:  # noqa: BLE001 - reported by the test's own thread
        failures.append(e)


@pytest.fixture
def others(larder):
    """Several clients go on all through the test."""
    stop, turns, failures = threading.Event(), [[0] for _ in range(3)], []
    threads = [threading.Thread(target=bystander, args=(larder, n, stop, t, failures)) for n, t in enumerate(turns)]
    for t in threads:
        t.start()
    wait_until(lambda: failures or all(t[0] for t in turns), what="everybody to begin")
    before = [t[0] for t in turns]
    yield turns
    wait_until(lambda: failures or all(t[0] > n for t, n in zip(turns, before)), what="everybody to be served")
    stop.set()
    for t in threads:
        t.join()
    assert not failures, failures


def test_64_mb_in_and_out(larder, w, others, blob):
    assert w("SET", "big", blob) == "OK"
    assert w("STRLEN", "big") == SIZE
    assert w("GET", "big") == blob
    assert w("GETRANGE", "big", SIZE // 2, SIZE // 2 + 99) == blob[SIZE // 2 : SIZE // 2 + 100]
    assert w("GETRANGE", "big", "0", "-1") == blob
    assert w("APPEND", "big", "tail") == SIZE + 4 and w("GETRANGE", "big", "-6", "-1") == blob[-2:] + b"tail"
    assert w("SETRANGE", "big", SIZE // 3, "here") == SIZE + 4 and w("GETRANGE", "big", SIZE // 3, SIZE // 3 + 3) == b"here"
    assert w("SETRANGE", "big", SIZE + 100, "!") == SIZE + 101
    assert w("GETDEL", "big")[-97:] == b"\x00" * 96 + b"!"
    assert w("EXISTS", "big") == 0


def test_bits_of_64_mb(larder, w, others, blob):
    w("SET", "big", blob)
    assert w("BITCOUNT", "big") == SIZE * 4
    assert w("BITPOS", "big", "1") == 15
    assert w("BITPOS", "big", "0", SIZE - 1) == 8 * SIZE
    assert w("SETBIT", "big", 8 * SIZE + 7, "1") == 0 and w("STRLEN", "big") == SIZE + 1
    assert w("BITOP", "NOT", "not", "big") == SIZE + 1
    assert w("BITCOUNT", "not") == 8 * (SIZE + 1) - SIZE * 4 - 1
    assert w("BITOP", "AND", "none", "big", "not") == SIZE + 1 and w("BITCOUNT", "none") == 0


def test_copy_rename_dump_of_64_mb(larder, w, others, blob):
    w("SET", "big", blob)
    assert w("COPY", "big", "copy") == 1
    w("SETRANGE", "big", "0", "changed")
    assert w("GETRANGE", "copy", "0", "6") == blob[:7]
    assert w("RENAME", "copy", "renamed") == "OK"
    payload = w("DUMP", "renamed")
    assert w("RESTORE", "again", "0", payload) == "OK" and w("GET", "again") == blob
    assert w("UNLINK", "big", "renamed", "again") == 3


def test_a_slow_reader_of_a_big_value_gets_what_it_asked_for(larder, w, blob):
    """The value is overwritten and deleted while its old bytes are still on their way."""
    w("SET", "big", blob)
    with larder.wire() as slow:
        slow.send(encode("GET", "big"))
        slow.sock.recv(1, socket.MSG_PEEK)  # the reply has begun
        w("SETRANGE", "big", "0", "x" * 100000)
        w("APPEND", "big", "more")
        w("DEL", "big")
        w("SET", "big", "other" * 100)
        assert slow.read() == blob


def test_many_big_values_come_and_go(larder, w, others):
    before = larder.rss()
    for i in range(60):
        w("SET", f"big:{i % 3}", bytes([i]) * (8 * MB))
        assert w("GETRANGE", f"big:{i % 3}", "-1", "-1") == bytes([i])
    assert w("DEL", "big:0", "big:1", "big:2") == 3
    assert larder.rss() - before < 300 * MB


def test_the_largest_argument_is_bounded(start_larder):
    server = start_larder({"proto-max-bulk-len": "1mb"})
    with server.wire() as w:
        assert w("SET", "k", "x" * MB) == "OK"
        assert w("APPEND", "k", "x") == "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
        assert w("SETRANGE", "k", MB, "x") == "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
        assert w("SETBIT", "k", 8 * MB, "1") == "ERR bit offset is not an integer or out of range"
        assert w("STRLEN", "k") == MB
        w.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n")
        assert w.read_all() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_lcs_of_long_strings(larder, w, others):
    """Quadratic work: the others are served meanwhile."""
    w("MSET", "a", "a" * 8000, "b", "b" * 7999 + "a")
    assert w("LCS", "a", "b", "LEN") == 1
