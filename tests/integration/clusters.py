"""Clusters for tests: larder nodes, redis-servers, or both, and what redis-cli does with them.

LARDER_SERVER=/usr/bin/redis-server proves that an expectation is Redis's own.
"""

import errno
import os
import re
import socket
import struct
import subprocess

import harness
import redis
from wire import Error

NODE_TIMEOUT_MS = 2000
OPTIONS = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": NODE_TIMEOUT_MS,
    "cluster-config-file": "nodes.conf",
    "cluster-replica-validity-factor": 0,
}

# The tool under test.
TOOL = os.environ.get("LARDER_TOOL", os.path.join(os.path.dirname(harness.LARDER_SERVER), "larder"))
if harness.is_redis(harness.LARDER_SERVER):
    TOOL = os.path.join(harness.ROOT, "build", "larder")


def options_for(binary, extra=None):
    out = dict(OPTIONS)
    if harness.is_redis(binary):
        out["enable-debug-command"] = "yes"
    out.update(extra or {})
    return out


def node(binary=None, extra=None, **keywords):
    binary = binary or harness.LARDER_SERVER
    return harness.Server(binary, options_for(binary, extra), workers=2, **keywords)


def cli(*args, check=True, stdin=None):
    """redis-cli --cluster ...; returns what it printed."""
    done = subprocess.run(["redis-cli", "--cluster", *map(str, args)], input=stdin, capture_output=True, timeout=480, text=True)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Loading(redis.exceptions.BusyLoadingError):
    """A replica is loading its copy: it answers later."""


def ask(server, *command):
    with server.wire() as w:
        reply = w(*command)
    if isinstance(reply, str) and reply.startswith("LOADING"):
        raise Loading(reply)
    return reply.decode() if isinstance(reply, bytes) else reply


def address(server):
    return "%s:%d" % server.address()


def my_id(server):
    return ask(server, "CLUSTER", "MYID")


def info(server):
    return dict(line.split(":", 1) for line in ask(server, "CLUSTER", "INFO").splitlines() if ":" in line)


class Row:
    """A line of CLUSTER NODES."""

    def __init__(self, line):
        words = line.split(" ")
        self.id, self.address = words[0], words[1]
        self.port = int(re.match(r".*:(\d+)@", self.address).group(1))
        self.flags, self.primary = set(words[2].split(",")), words[3]
        self.epoch, self.link, self.slots = int(words[6]), words[7], words[8:]

    def slot_count(self):
        ranges = (word.split("-") for word in self.slots if word[0] != "[")
        return sum(int(r[-1]) - int(r[0]) + 1 for r in ranges)


def rows(server):
    return [Row(line) for line in ask(server, "CLUSTER", "NODES").splitlines()]


def row_of(observer, server):
    for row in rows(observer):
        if row.port == server.port:
            return row
    return None


def frame(kind, body=b"", sender=b"f" * 40, length=None, epoch=2**63, slots=b"\xff" * 2048):
    """Of the cluster's bus."""
    head = b"RCmb" + struct.pack(">IHHHH", 2256 + len(body) if length is None else length, 1, 7777, kind, 0)
    head += struct.pack(">QQQ", epoch, epoch, 0) + sender + slots
    return head.ljust(2248, b"\0") + struct.pack(">HH", 17777, 1) + b"\0" * 4 + body


def say_on_the_bus(node, data):
    """And hear what comes first: an answer, the end, or a reset, since it may hang up before it has read everything."""
    with socket.create_connection(("127.0.0.1", node.port + 10000), timeout=60) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            s.recv(3000)
        except ConnectionError:
            pass
        except OSError as e:
            assert e.errno == errno.ENOTCONN  # reset already


class Cluster:
    """A list of servers; `create` makes one cluster of them by redis-cli."""

    def __init__(self, servers):
        self.servers = list(servers)

    @classmethod
    def create(cls, binaries, replicas=0, extra=None):
        """One node for each binary; the first len / (replicas + 1) become primaries."""
        return cls([node(b, extra).start() for b in binaries]).join(replicas)

    def join(self, replicas):
        """The servers, which are strangers yet, become a cluster."""
        cli("create", *map(address, self.servers), "--cluster-replicas", replicas, "--cluster-yes")
        self.settle()
        return self

    def __getitem__(self, i):
        return self.servers[i]

    def add(self, binary=None, extra=None):
        server = node(binary, extra).start()
        self.servers.append(server)
        return server

    def alive(self):
        return [s for s in self.servers if s.alive()]

    def settled(self):
        """Every living node says that all is well, and holds no living one for failed; every living replica is in step."""
        try:
            return self._agree()
        except Loading:
            return False

    def _agree(self):
        living = self.alive()
        ports = {s.port for s in living}
        views = set()
        for s in living:
            i = info(s)
            if i["cluster_state"] != "ok" or i["cluster_slots_ok"] != "16384":
                return False
            table = rows(s)
            if any(r.flags & {"handshake", "fail?"} or ("fail" in r.flags and r.port in ports) for r in table):
                return False
            views.add(tuple(sorted((r.id, tuple(r.slots), r.primary) for r in table if not any(x.startswith("[") for x in r.slots))))
            if "role:slave" in ask(s, "INFO", "replication") and "master_link_status:up" not in ask(s, "INFO", "replication"):
                return False
        return len(views) == 1

    def settle(self, seconds=240):
        harness.wait_until(self.settled, seconds=seconds, every=0.1, what="the cluster to settle")

    def settle_without(self, *gone):
        """They have left the cluster: end them, and wait for the others."""
        for server in gone:
            self.servers.remove(server)
            if harness.is_redis(server.binary):
                server.process.kill()
                server.process.wait()
                server.remove()
            else:
                trouble = server.close()
                assert not trouble, trouble
        self.settle()

    def primaries(self):
        return [s for s in self.alive() if "role:master" in ask(s, "INFO", "replication")]

    def replica_of(self, primary):
        me = my_id(primary)
        for s in self.alive():
            if any("myself" in r.flags and r.primary == me for r in rows(s)):
                return s
        return None

    def owner_of(self, key):
        slot = ask(self.alive()[0], "CLUSTER", "KEYSLOT", key)
        for first, last, owner, *_ in ask(self.alive()[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(s for s in self.servers if s.port == owner[1])
        return None

    def put(self, n, prefix="key"):
        """n keys, each at its owner."""
        wires = {}
        for i in range(n):
            key = f"{prefix}:{i}"
            owner = self.owner_of(key) if i == 0 else owner
            w = wires.setdefault(owner.port, owner.wire())
            reply = w("SET", key, i)
            if isinstance(reply, Error):
                assert reply.startswith("MOVED"), reply
                port = int(reply.rsplit(":", 1)[1])
                owner = next(s for s in self.servers if s.port == port)
                w = wires.setdefault(port, owner.wire())
                assert w("SET", key, i) == "OK"
        for w in wires.values():
            w.close()

    def check_keys(self, n, prefix="key"):
        """Every key is at the node that its slot's owner is, with its value."""
        found = {}
        for s in self.primaries():
            with s.wire() as w:
                for key in w("KEYS", f"{prefix}:*"):
                    assert key not in found, f"{key} is at {found[key]} and {s}"
                    found[key] = s
                    assert w("GET", key) == key.split(b":")[1]
        assert len(found) == n

    def close(self):
        troubles = []
        for s in self.servers:
            if harness.is_redis(s.binary):
                harness.end_all([s])
            else:
                troubles.append(s.close() if s.alive() or not getattr(s, "killed", False) else s.remove())
        troubles = [t for t in troubles if t]
        assert not troubles, "\n".join(troubles)

    def kill(self, server):
        server.killed = True
        server.process.kill()
        server.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def larder(*args, code=0, env=None, stdin=""):
    done = subprocess.run([TOOL, "cluster", *map(str, args)], capture_output=True, text=True, timeout=480, input=stdin,
                          env=os.environ | (env or {}))
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def created_by_tool():
    """Three primaries and three replicas, by `larder cluster create`."""
    c = Cluster([node(harness.LARDER_SERVER).start() for _ in range(6)])
    larder("create", *map(address, c.servers), "--replicas", 1, "--yes")
    c.settle()
    c.put(300)
    return c
