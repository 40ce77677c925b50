"""What a client has heard of survives kill -9 of the primary, where a replica keeps up (src/server/repl_hand.h)."""

import os
import select
import signal
import socket
import sys
import threading

import pytest

from harness import REDIS_SERVER, wait_until
from test_cluster_lease import all_threads_stopped
from test_replica import follow, primary, servers  # noqa: F401
from wire import encode

WRITES = 320  # of a writer, in all less than the socket of a replica that sleeps takes
BURST, TURNS = 64, 20  # clients: a worker hands twice for so many
DATA_SEGS_IN = 152  # of struct tcp_info


def pair(servers, kind="larder", **options):
    p = servers(**options)
    r = servers(REDIS_SERVER) if kind == "redis" else servers()
    follow(r, p.port)
    wait_until(lambda: p.client().info("replication").get("slave0", {}).get("state") == "online", what="the replica")
    with p.wire() as w:  # when it has acknowledged a write, its link has been seen to keep up
        w("SET", "first", 1)
        assert w("WAIT", 1, 0) == 1
    return p, r


def kill(server):
    os.kill(server.pid, signal.SIGKILL)
    buried(server)


def buried(server):
    server.wait()
    server.process = None


def has_drained(replica):
    wait_until(lambda: replica.client().info("replication")["master_link_status"] == "down", what="the end of what the primary has sent")


class Writer(threading.Thread):
    """Writes until the connection breaks, and counts what it was told."""

    def __init__(self, server, name, pipeline, heard=None):
        super().__init__(daemon=True)
        self.wire, self.name_, self.pipeline, self.heard = server.wire(), name, pipeline, heard
        self.acknowledged = 0

    def run(self):
        try:
            while self.acknowledged < WRITES:
                first = self.acknowledged
                self.wire.send(b"".join(encode("SET", f"{self.name_}:{i}", i) for i in range(first, first + self.pipeline)))
                for _ in range(self.pipeline):
                    assert self.wire.read() == "OK"
                    self.acknowledged += 1
            if self.heard is not None:
                self.heard()
        except (OSError, EOFError):
            pass

    def lost(self, replica):
        pipe = replica.client().pipeline(transaction=False)
        for i in range(self.acknowledged):
            pipe.get(f"{self.name_}:{i}")
        return [i for i, v in enumerate(pipe.execute()) if v != b"%d" % i]


@pytest.mark.parametrize("kind, io_uring", [("larder", "yes"), ("larder", "no"), ("redis", "yes")])
@pytest.mark.parametrize("pipeline", [1, 16])
def test_a_killed_primary_loses_nothing_that_was_acknowledged(servers, kind, pipeline, io_uring):
    """One kills it as soon as it has heard; the others have heard what they have heard."""
    for _ in range(3):
        p, r = pair(servers, kind, io_uring=io_uring)
        writers = [Writer(p, f"w{i}", pipeline) for i in range(2)]
        killer = Writer(p, "killer", pipeline, heard=lambda p=p: os.kill(p.pid, signal.SIGKILL))
        for w in [killer, *writers]:
            w.start()
        for w in [killer, *writers]:
            w.join()
        buried(p)
        has_drained(r)
        assert [w.lost(r) for w in [killer, *writers]] == [[], [], []]


@pytest.mark.parametrize("kind, io_uring", [("larder", "yes"), ("larder", "no"), ("redis", "yes")])
def test_nor_what_a_busy_worker_holds_back(servers, kind, io_uring):
    """It dies when the first of many who wrote in one round has heard."""
    for _ in range(3):
        p, r = pair(servers, kind, io_uring=io_uring, workers=1)
        clients = [p.wire() for _ in range(BURST)]
        asleep(p)
        for i, w in enumerate(clients):
            w.send(encode("SET", i, "v"))
        os.kill(p.pid, signal.SIGCONT)
        select.select([w.sock for w in clients], [], [])
        kill(p)
        heard = [i for i, w in enumerate(clients) if has_heard(w)]
        has_drained(r)
        assert heard
        assert [i for i in heard if r.client().get(str(i)) != b"v"] == []


def asleep(server):
    os.kill(server.pid, signal.SIGSTOP)
    wait_until(lambda: all_threads_stopped(server.pid), every=0, what="the end of its last round")


def has_heard(wire):
    with wire:
        try:
            return wire.read() == "OK"
        except (OSError, EOFError):
            return False


@pytest.mark.parametrize("last, key, value", [
    (["MULTI", "SET a 1", "SET b 2", "EXEC"], "b", b"2"),
    (["SET a 1", "FLUSHALL"], "old", None),  # by the lane, alone
    (["CLIENT REPLY SKIP", "SET a 1", "SET a 2"], "a", b"2"),
])
def test_whoever_has_executed_it(servers, last, key, value):
    for _ in range(2):
        p, r = pair(servers)
        with p.wire() as w:
            for i in range(40):  # none of them may do: a replica could have it by chance
                w("SET", "old", i)
            for command in last:
                w.send(encode(*command.split()))
            for command in last if "REPLY" not in last[0] else last[2:]:
                w.read()
            kill(p)
        has_drained(r)
        assert r.client().get(key) == value


def test_writes_of_a_client_that_wants_no_replies(servers):
    """They go with the round, not when somebody happens to look: another client's reply may tell of them."""
    for _ in range(3):
        p, r = pair(servers, workers=1)
        with p.wire() as mute, p.wire() as w:
            mute.send(encode("CLIENT", "REPLY", "OFF"))
            for i in range(50):
                mute.send(encode("SET", "quiet", i))
                wait_until(lambda i=i: w("GET", "quiet") == b"%d" % i, every=0, what="the write")
            w("PING")  # a round later
            kill(p)
        has_drained(r)
        assert r.client().get("quiet") == b"49"


class Link:
    """A replica that reads when it is told to."""

    def __init__(self, server):
        self.wire = server.wire()
        self.wire("REPLCONF", "capa", "psync2")
        self.file = self.wire.sock.makefile("rb")
        self.wire.send(encode("PSYNC", "?", "-1"))
        header = b"\n"
        while header[:1] in b"\n+":
            header = self.line()
        assert header[:1] == b"$", header
        self.file.read(int(header[1:]))
        self.wire.sock.sendall(encode("REPLCONF", "ACK", "0"))

    def line(self):
        return self.file.readline()

    def command(self):
        """The next one; None: the stream has ended."""
        head = self.line()
        if head == b"":
            return None
        assert head[:1] == b"*", head
        argv = []
        for _ in range(int(head[1:])):
            argv.append(self.file.read(int(self.line()[1:])))
            self.file.read(2)
        return argv

    def until(self, last):
        """Keys of the SETs up to that one."""
        keys = []
        while not keys or keys[-1] != last:
            argv = self.command()
            assert argv is not None, f"the stream ends before {last}"
            if argv[0].upper() == b"SET":
                keys.append(argv[1])
        return keys


def test_a_link_that_is_full_stalls_nobody_and_may_catch_up(servers):
    p = servers()
    link = Link(p)
    wait_until(lambda: p.client().info("replication").get("slave0", {}).get("state") == "online", what="the link")
    with p.wire() as w:
        for turn in range(3):
            names = [f"{turn}:{i}" for i in range(300)]
            for name in names:  # 19 MB, of which nothing is read
                assert w("SET", name, "v" * 65000) == "OK"
            assert [k.decode() for k in link.until(names[-1].encode())] == names
            assert w("WAIT", 1, 1) == 0  # the replication thread has had a round since it sent that
            for i in range(20):
                w("SET", f"more {turn}:{i}", "x")
            link.until(b"more %d:19" % turn)
        w("SET", "the last", "x")
        kill(p)
    assert link.until(b"the last") == [b"the last"]


@pytest.mark.parametrize("io_uring", ["yes", "no"])
def test_who_says_no_more_gets_its_replies(servers, io_uring):
    p, _ = pair(servers, io_uring=io_uring)
    for i in range(20):
        with socket.create_connection(("127.0.0.1", p.port)) as s:
            s.sendall(encode("SET", "k", i))
            s.shutdown(socket.SHUT_WR)
            assert s.makefile("rb").read() == b"+OK\r\n"
        with p.wire() as w:
            w.send(encode("SET", "k", i) + encode("GET", "k") + encode("QUIT") + encode("SET", "k", "never"))
            assert (w.read(), w.read(), w.read()) == ("OK", b"%d" % i, "OK")
            assert w.sock.recv(1) == b""
    assert p.client().get("k") == b"19"


def test_a_large_reply_waits_with_the_small_one(servers):
    """What one turn writes and reads back is more than a worker keeps for it, and than it sends at a time."""
    p, r = pair(servers)
    big = os.urandom(100_000)
    for _ in range(2):
        with p.wire() as w:
            w.send(encode("SET", "big", big) + b"".join(encode("SET", f"k{i}", i) + encode("GET", "big") for i in range(40)))
            assert w.read() == "OK"
            for _ in range(40):
                assert w.read() == "OK"
                assert w.read() == big
    with p.wire() as w:
        w("SET", "z", 1)
        kill(p)
    has_drained(r)
    assert r.client().get("z") == b"1"


def test_a_busy_worker_sends_less_often_than_it_hands_and_rests_with_nothing_held_back(servers):
    """While it sleeps all of them write, so that it finds them in one round; nobody writes after that."""
    p = servers(workers=1)
    link = Link(p)
    wait_until(lambda: p.client().info("replication").get("slave0", {}).get("state") == "online", what="the link")
    segments, late = 0, 0
    clients = [p.wire() for _ in range(BURST)]
    with p.wire() as other:
        other("SET", "first", 1)
        link.until(b"first")
        for turn in range(TURNS):
            before = segments_in(link)
            asleep(p)
            for i, w in enumerate(clients):
                w.send(encode("SET", f"{turn}:{i}", "v"))
            os.kill(p.pid, signal.SIGCONT)
            for w in clients:
                assert w.read() == "OK"
            other("PING")
            other("PING")  # the round of the one before has ended
            late += not has_come(link, turn)
            segments += segments_in(link) - before
    for w in clients:
        w.close()
    assert segments <= TURNS * 3 // 2
    assert late <= TURNS // 4  # a busy machine may deliver a packet later than another


def segments_in(link):
    info = link.wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, DATA_SEGS_IN + 4)
    return int.from_bytes(info[DATA_SEGS_IN:], sys.byteorder)


def has_come(link, turn):
    """Is all of it there already? If not, wait for it."""
    names = {b"%d:%d" % (turn, i) for i in range(BURST)}
    ready, _, _ = select.select([link.wire.sock], [], [], 0)
    whole = bool(ready) and link.wire.sock.recv(1 << 20, socket.MSG_PEEK).count(b"\r\n%d:" % turn) == BURST
    while names:
        argv = link.command()
        names.discard(argv[1] if len(argv) > 1 else b"")
    return whole
