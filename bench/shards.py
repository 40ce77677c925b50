"""A cluster of three primaries with a replica each, and somebody who writes to it and notices everything."""

import binascii
import socket
import threading
import time

import servers

NODES, SHARDS, SLOTS = 6, 3, 16384
PAUSE = 0.001  # seconds between two tries of a write that was refused


def encode(*words):
    parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Wire:
    """One connection on which each request is answered before the next is sent."""

    def __init__(self, server, timeout=120):
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def until(self, enough):
        got = b""
        while not enough(got):
            piece = self.sock.recv(1 << 20)
            if not piece:
                raise ConnectionResetError("the server has hung up")
            got += piece
        return got

    def line(self, *words):
        """The reply to a request that has one of one line."""
        self.sock.sendall(encode(*words))
        return self.until(lambda got: got.endswith(b"\r\n"))[:-2]

    def all_ok(self, requests):
        """Sends them at once; each must be answered by +OK."""
        self.sock.sendall(b"".join(requests))
        got = self.until(lambda got: got.count(b"\r\n") >= len(requests))
        if got != b"+OK\r\n" * len(requests):
            raise RuntimeError(f"not everything was accepted: {got[:200]!r}")

    def close(self):
        self.sock.close()


def slot_of(key):
    """Of a key, or of the tag in its braces (Redis Cluster specification, "Hash tags")."""
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1)
    if 0 <= begin and begin + 1 < end:
        key = key[begin + 1:end]
    return binascii.crc_hqx(key, 0) % SLOTS


def shard_of_slot(slot):
    return (slot * SHARDS + SHARDS - 1) // SLOTS


def shard_of(key):
    return shard_of_slot(slot_of(key))


def tags(slots):
    """A hash tag for each of them, by trying."""
    found, wanted, i = {}, set(slots), 0
    while len(found) < len(wanted):
        tag = b"%x" % i
        if (slot := slot_of(tag)) in wanted and slot not in found:
            found[slot] = tag
        i += 1
    return found


def until(what, done, seconds=90):
    """A node that is busy or away is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if done():
                return
        except (OSError, RuntimeError, ValueError):
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen")
        time.sleep(0.05)


class Shards:
    """Node i is the primary of shard i at first, node i + 3 its replica."""

    def __init__(self, kind, build, cpu, timeout_ms, more=()):
        self.cpu, self.nodes = cpu, []
        self.more = (*more, *(("--repl-diskless-sync-delay", 0) if kind == "redis" else ()))
        try:
            for _ in range(NODES):
                self.nodes.append(self.node(kind, build, timeout_ms))
            self.join()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def node(self, kind, build, timeout_ms):
        server = servers.KINDS[kind](build)
        server.bus = servers.free_port()
        server.more = ("--cluster-enabled", "yes", "--cluster-node-timeout", timeout_ms, "--cluster-port", server.bus, *self.more)
        return server.start(self.cpu)

    def join(self):
        nodes = self.nodes
        for i, primary in enumerate(nodes[:SHARDS]):
            primary.ask("CLUSTER", "ADDSLOTSRANGE", i * SLOTS // SHARDS, (i + 1) * SLOTS // SHARDS - 1)
            primary.ask("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for other in nodes[1:]:
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus)
        until("a cluster of all", lambda: all(len(n.ask("CLUSTER", "NODES").splitlines()) == NODES for n in nodes))
        until("cluster_state:ok", lambda: all(b"cluster_state:ok" in n.ask("CLUSTER", "INFO") for n in nodes))
        for replica, primary in zip(nodes[SHARDS:], nodes):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID").decode())
        self.settle()

    def pair(self, shard):
        """(its primary, its replica)."""
        both = (self.nodes[shard], self.nodes[shard + SHARDS])
        return both if both[0].figures("replication")["role"] == "master" else both[::-1]

    def settled(self):
        views = set()
        for node in self.nodes:
            if b"cluster_state:ok" not in node.ask("CLUSTER", "INFO"):
                return False
            rows = [line.split() for line in node.ask("CLUSTER", "NODES").decode().splitlines()]
            if any("fail" in row[2] or "handshake" in row[2] for row in rows):
                return False
            views.add(tuple(sorted((row[0], row[3], *row[8:]) for row in rows)))
            figures = node.figures("replication")
            if figures["role"] == "slave" and figures["master_link_status"] != "up":
                return False
            if figures["role"] == "master" and figures["connected_slaves"] != "1":
                return False
        return len(views) == 1

    def settle(self):
        until("one view, and replicas in step", self.settled)

    def epoch(self):
        text = self.nodes[0].ask("CLUSTER", "INFO").decode()
        return next(line.split(":")[1] for line in text.splitlines() if line.startswith("cluster_current_epoch"))

    def kill(self, node):
        node.process.kill()
        node.process.wait()

    def start_again(self, node):
        node.launch(self.cpu)

    def stop(self):
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
        for node in self.nodes:
            node.stop()


class Writer(threading.Thread):
    """A cluster client: writes one key after the other under a tag, at whoever owns it, and follows where it is sent.

    A write that is refused, or whose connection ends, is sent again until it is acknowledged."""

    def __init__(self, shards, tag, start):
        super().__init__(daemon=True)
        self.nodes = {node.port: node for node in shards.nodes}
        self.tag, self.at = tag, start.port
        self.acknowledged = []  # times
        self.redirects, self.troubles = 0, []
        self.wire, self.over, self.failure = None, False, None
        self.moment = threading.Condition()

    def key(self, i):
        return b"{%s}:w:%d" % (self.tag, i)

    def elsewhere(self):
        ports = sorted(self.nodes)
        self.at = ports[(ports.index(self.at) + 1) % len(ports)]

    def drop(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def trouble(self, what):
        self.troubles.append((time.monotonic(), what))
        time.sleep(PAUSE)

    def attempt(self, i):
        """True once it is acknowledged."""
        try:
            if self.wire is None:
                self.wire = Wire(self.nodes[self.at], timeout=1)
            reply = self.wire.line("SET", self.key(i), i)
            if reply.startswith(b"-ASK "):
                self.redirects += 1
                other = Wire(self.nodes[int(reply.rpartition(b":")[2])], timeout=1)
                other.all_ok([encode("ASKING")])
                reply = other.line("SET", self.key(i), i)
                other.close()
        except OSError as e:
            self.drop()
            self.elsewhere()
            self.trouble(type(e).__name__)
            return False
        if reply.startswith(b"-MOVED "):
            self.redirects += 1
            self.drop()
            self.at = int(reply.rpartition(b":")[2])
            return False
        if reply != b"+OK":
            self.trouble(reply.decode())
            return False
        return True

    def run(self):
        try:
            while not self.over:
                while not self.over and not self.attempt(len(self.acknowledged)):
                    pass
                if not self.over:
                    with self.moment:
                        self.acknowledged.append(time.monotonic())
                        self.moment.notify_all()
        except BaseException as e:  # noqa: BLE001 told by flow() and end()
            self.failure = e
        self.drop()

    def flow(self, writes=50):
        """Until so many more are through."""
        with self.moment:
            wanted = len(self.acknowledged) + writes
            if not self.moment.wait_for(lambda: len(self.acknowledged) >= wanted or self.failure, timeout=120):
                raise RuntimeError(f"no write to {{{self.tag.decode()}}} gets through; the last troubles: {self.troubles[-3:]}")
        if self.failure:
            raise self.failure

    def end(self):
        self.over = True
        self.join()
        if self.failure:
            raise self.failure

    def since(self, began):
        """(seconds of the longest time without an acknowledged write, troubles) from then on."""
        times = [t for t in self.acknowledged if t >= began]
        before = max((t for t in self.acknowledged if t < began), default=began)
        gaps = [b - a for a, b in zip([before, *times], times)]
        return max(gaps), [what for t, what in self.troubles if t >= began]

    def lost(self, owner):
        """How many acknowledged writes the owner has not."""
        wire, missing, n = Wire(owner), 0, len(self.acknowledged)
        for first in range(0, n, 500):
            some = range(first, min(first + 500, n))
            wire.sock.sendall(b"".join(encode("EXISTS", self.key(i)) for i in some))
            missing += wire.until(lambda got: got.count(b"\r\n") == len(some)).count(b":0\r\n")
        wire.close()
        return missing
