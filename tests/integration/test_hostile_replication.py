"""Primaries that lie: hostile copies, streams, numbers and cuts. The replica keeps its data, its role and its life."""

import os
import socket
import struct
import threading

import pytest

from harness import REDIS_SERVER, wait_until
from test_replica import data_of, fill, follow, in_step, primary, servers  # noqa: F401

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")

ID = b"f" * 40
RDB = b"REDIS0010\xfe\x00\x00\x01k\x01v\xff" + bytes(8)  # one key; a checksum of zeros is none
LATER = b"-NOMASTERLINK not now\r\n"


class Liar(threading.Thread):
    """Speaks the handshake, answers PSYNC with `answer` (later ones with `then`), and keeps the line open or cuts it."""

    def __init__(self, answer, greet=b"+PONG\r\n", cut=False, then=None):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answer, self.greet, self.cut = answer, greet, cut
        self.then = answer if then is None else then
        self.asked = 0
        self.kept = []
        self.start()

    def run(self):
        while True:
            try:
                c, _ = self.listener.accept()
                self.serve(c)
            except OSError:
                if self.listener.fileno() < 0:
                    return

    def serve(self, c):
        f = c.makefile("rb")
        while line := f.readline():
            words = [f.readline() and f.readline().strip() for _ in range(int(line[1:]))]
            if words[0] == b"PSYNC":
                self.asked += 1
                c.sendall(self.answer if self.asked == 1 else self.then)
                break
            if words[0] == b"PING":
                self.asked += self.greet != b"+PONG\r\n"
                c.sendall(self.greet)
            else:
                c.sendall(b"+OK\r\n")
        if self.cut:
            f.close()
            c.close()
        else:
            self.kept.append((c, f))

    def close(self):
        self.listener.close()
        for c, f in self.kept:
            f.close()
            c.close()


def copy(rdb, behind=b"", offset=b"100"):
    return b"+FULLRESYNC %s %s\r\n$%d\r\n" % (ID, offset, len(rdb)) + rdb + behind


def long64(n):
    return b"\x81" + struct.pack(">Q", n)


def with_key(kind, body):
    return b"REDIS0010\xfe\x00" + bytes([kind]) + b"\x01k" + body + b"\xff" + bytes(8)


BAD_COPIES = {
    "speaks HTTP": (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a line without end": (b"x" * 300_000, b"+PONG\r\n"),
    "a bad id": (b"+FULLRESYNC zz 1\r\n", b"+PONG\r\n"),
    "a negative offset": (b"+FULLRESYNC " + ID + b" -1\r\n", b"+PONG\r\n"),
    "an offset beyond reason": (b"+FULLRESYNC " + ID + b" 18446744073709551615\r\n", b"+PONG\r\n"),
    "goes on with what nobody asked for": (b"+CONTINUE " + ID + b"\r\n", b"+PONG\r\n"),
    "a negative length": (b"+FULLRESYNC " + ID + b" 1\r\n$-1\r\n", b"+PONG\r\n"),
    "a length that is none": (b"+FULLRESYNC " + ID + b" 1\r\n$12x\r\n", b"+PONG\r\n"),
    "a length of 2^64": (b"+FULLRESYNC " + ID + b" 1\r\n$18446744073709551616\r\n", b"+PONG\r\n"),
    "no RDB": (copy(b"x" * 5000), b"+PONG\r\n"),
    "a version to come": (copy(b"REDIS0099" + RDB[9:]), b"+PONG\r\n"),
    "a wrong checksum": (copy(RDB[:-8] + b"12345678"), b"+PONG\r\n"),
    "no end": (copy(RDB[:-9]), b"+PONG\r\n"),
    "more behind the end": (copy(RDB[:-8] + b"\x00\x01k\x01v" + bytes(8)), b"+PONG\r\n"),
    "an empty file": (copy(b"R"), b"+PONG\r\n"),
    "a string of 2^60 bytes": (copy(with_key(0, long64(1 << 60) + b"v")), b"+PONG\r\n"),
    "a key of 2^64 - 1 bytes": (copy(b"REDIS0010\xfe\x00\x00" + long64(2**64 - 1) + b"v\xff" + bytes(8)), b"+PONG\r\n"),
    "a set of 2^63 members": (copy(with_key(2, long64(1 << 63) + b"\x01a")), b"+PONG\r\n"),
    "a packed string that unpacks to 2^40": (copy(with_key(0, b"\xc3\x05" + long64(1 << 40) + b"abcde")), b"+PONG\r\n"),
    "a type that nobody knows": (copy(with_key(200, b"\x01v")), b"+PONG\r\n"),
    "a database beyond all": (copy(b"REDIS0010\xfe" + long64(1 << 40) + b"\x00\x01k\x01v\xff" + bytes(8)), b"+PONG\r\n"),
    "a deadline before time": (copy(b"REDIS0010\xfe\x00\xfc" + b"\xff" * 8 + b"\x00\x01k\x01v\xff" + bytes(8)), b"+PONG\r\n"),
}


@pytest.fixture(scope="module")
def victim():
    from harness import Server

    s = Server(options={"repl-timeout": 5}).start()
    fill(s.client(), 50)
    yield s
    trouble = s.close()
    assert not trouble, trouble


def data_it_has(client):
    """Once it is not trying the next copy."""
    return wait_until(lambda: (data_of(client),), what="the end of an attempt")[0]


@pytest.mark.parametrize("what", BAD_COPIES)
def test_a_bad_copy_costs_nothing(victim, what):
    answer, greet = BAD_COPIES[what]
    b = victim.client()
    want = data_of(b)
    before = victim.log().count(b"is interrupted")
    liar = Liar(answer, greet)
    follow(victim, liar.port)
    wait_until(lambda: victim.log().count(b"is interrupted") > before, what="the reason in the log")
    assert data_it_has(b) == want
    assert b.info("replication")["master_link_status"] == "down"
    assert b.execute_command("REPLICAOF", "NO", "ONE")
    liar.close()
    assert victim.rss() < 200 << 20


@pytest.mark.parametrize("at", [1, 5, 9, 12, 17, 20, len(RDB) - 1])
@pytest.mark.parametrize("mark", [False, True])
def test_a_copy_that_breaks_off(victim, at, mark):
    b = victim.client()
    want = data_of(b)
    whole = b"+FULLRESYNC %s 1\r\n$EOF:%s\r\n" % (ID, b"e" * 40) + RDB + b"e" * 40 if mark else copy(RDB)
    end = len(whole) - (len(RDB) + 40 * mark) + at
    liar = Liar(whole[:end], cut=True)
    follow(victim, liar.port)
    wait_until(lambda: liar.asked >= 2, what="the second attempt")
    assert data_it_has(b) == want
    assert b.execute_command("REPLICAOF", "NO", "ONE")
    liar.close()


def command(*argv):
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in argv)


BROKEN_STREAMS = {
    "a count beyond reason": b"*2000000000\r\n",
    "a negative bulk": b"*1\r\n$-1\r\n",
    "a bulk beyond reason": b"*1\r\n$99999999999\r\n",
    "no bulk": b"*1\r\nhello\r\n",
    "EXEC without MULTI": command(b"EXEC"),
    "MULTI in MULTI": command(b"MULTI") + command(b"MULTI"),
    "a database beyond all": command(b"SELECT", b"100000"),
    "a negative database": command(b"SELECT", b"-1"),
}


@pytest.mark.parametrize("what", BROKEN_STREAMS)
def test_a_broken_stream_ends_the_link(victim, what):
    b = victim.client()
    good = command(b"SELECT", b"0") + command(b"SET", b"last", what.encode())
    liar = Liar(copy(RDB, good + BROKEN_STREAMS[what] + command(b"SET", b"beyond", b"1")), then=LATER)
    follow(victim, liar.port)
    wait_until(lambda: liar.asked >= 2, what="the end of the link")
    assert b.get("last") == what.encode() and b.get("beyond") is None
    assert b.execute_command("REPLICAOF", "NO", "ONE")
    liar.close()


def test_a_stream_cannot_steer_the_node(victim):
    """Commands that are no writes, from a primary that wants to be more: skipped, counted in the offset."""
    b = victim.client()
    b.config_set("repl-timeout", 3600)  # the liar says nothing more
    where = b.config_get("dir")
    tries = [
        (b"SHUTDOWN", b"NOW"), (b"REPLICAOF", b"NO", b"ONE"), (b"CONFIG", b"SET", b"dir", b"/"), (b"DEBUG", b"SEGFAULT"),
        (b"CLIENT", b"PAUSE", b"100000"), (b"FAILOVER",), (b"PSYNC", b"?", b"-1"), (b"SYNC",), (b"MONITOR",), (b"QUIT",),
        (b"CLIENT", b"KILL", b"TYPE", b"normal"), (b"MIGRATE", b"127.0.0.1", b"1", b"k", b"0", b"1"), (b"WAIT", b"1", b"0"),
        (b"REPLCONF",), (b"REPLCONF", b"GETACK"), (b"SUBSCRIBE", b"x"), (b"NOSUCH", b"x"), (b"SET",), (b"SET", b"a"), (b"GET", b"k"),
        (b"CACHE.SET", b"k"), (b"CACHE.FAIL", b"k", b"1"), (b"CACHE.INVALIDATE", b"nosuch"), (b"CACHE.GET", b"nosuch", b"LEASE", b"1"),
        (b"SET", b"k", b"v", b"PX", b"0"), (b"EXPIRE", b"k", b"x"), (b"SADD", b"k", b"m"), (b"HELLO", b"3"), (b"RESET",), (b"",),
    ]  # fmt: skip
    stream = b"".join(command(*t) for t in tries) + b"*0\r\n\r\n" + command(b"SET", b"end", b"1")
    liar = Liar(copy(RDB, stream))
    follow(victim, liar.port)
    wait_until(lambda: b.get("end") == b"1", what="the end of the stream")
    info = b.info("replication")
    assert (info["role"], info["master_link_status"]) == ("slave", "up")
    assert info["master_repl_offset"] == 100 + len(stream)
    assert b.config_get("dir") == where and b.get("k") == b"v" and b.dbsize() == 2
    assert b.execute_command("REPLICAOF", "NO", "ONE")
    b.config_set("repl-timeout", 5)
    liar.close()


def test_a_transaction_that_is_cut_leaves_nothing(victim):
    b = victim.client()
    stream = command(b"MULTI") + b"".join(command(b"SET", b"t%d" % i, b"1") for i in range(100))
    liar = Liar(copy(RDB, stream), cut=True, then=LATER)
    follow(victim, liar.port)
    wait_until(lambda: liar.asked >= 2, what="the second attempt")
    assert b.get("k") == b"v" and b.exists(*(f"t{i}" for i in range(100))) == 0
    assert b.execute_command("REPLICAOF", "NO", "ONE")
    liar.close()


def test_a_stalled_primary_is_given_up(victim):
    """It sends half of its copy and then nothing: after repl-timeout the replica tries again."""
    b = victim.client()
    want = data_of(b)
    liar = Liar(copy(RDB)[:-5])
    follow(victim, liar.port)
    wait_until(lambda: liar.asked >= 2, what="the second attempt")
    assert b"for 'repl-timeout' seconds" in victim.log()
    assert data_it_has(b) == want
    assert b.execute_command("REPLICAOF", "NO", "ONE")
    liar.close()


def test_after_all_that_it_follows_a_good_one(victim, servers):
    p = primary(servers)
    fill(p.client(), 100)
    follow(victim, p.port)
    in_step(p.client(), victim.client())
    assert data_of(victim.client()) == data_of(p.client())
    assert victim.client().execute_command("REPLICAOF", "NO", "ONE")
