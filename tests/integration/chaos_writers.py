"""Clients that write without a rest, and remember of every write when it was sent, when answered, and how.

Each client has one writer a shard, so that what is down for one does not hold up the others. No key is written
twice. Moments are time.monotonic()'s.

    Probe       a bare socket that tries every 5 ms and gives up after 0.25 s: what it sees is the shard's own outage
    RedisPy     redis-py's RedisCluster
    IoRedis     ioredis's Cluster (tests/clients/lib/writer.mjs)
    Liblarder   tests/liblarder/shell.c
"""

import itertools
import logging
import os
import subprocess
import threading
import time
from collections import namedtuple

from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

import harness
from liblarder import Shell
from wire import Error, Wire

SHARD_ENDS = (5460, 10922, 16383)  # the last slots of three shards as redis-cli makes them
CLIENTS = os.path.join(harness.ROOT, "tests", "clients")

logging.getLogger("redis").setLevel(logging.CRITICAL)  # it logs every error that it also raises or survives

Write = namedtuple("Write", "key value sent ended refusal")  # refusal: None if it was acknowledged


def shard_of(key):
    slot = key_slot(key.encode() if isinstance(key, str) else key)
    return next(i for i, end in enumerate(SHARD_ENDS) if slot <= end)


class Refused(Exception):
    pass


class Writer(threading.Thread):
    pace = 0.02
    serial = itertools.count()

    def __init__(self, addresses, shard):
        super().__init__(daemon=True)
        self.addresses, self.shard = addresses, shard
        self.name_ = f"{type(self).__name__}{next(Writer.serial)}"
        self.tags = [t for t in map(str, range(200)) if shard_of(t) == shard]
        self.writes, self.acknowledged = [], 0
        self.working, self.resting, self.ended, self.failure = threading.Event(), threading.Event(), False, None
        self.process = None
        self.resting.set()

    def run(self):
        try:
            self.open()
            for i in itertools.count():
                if not self.working.is_set():
                    self.resting.set()
                    self.working.wait()
                    self.resting.clear()
                if self.ended:
                    break
                self.one(f"{self.name_}:{i}:{{{self.tags[i % len(self.tags)]}}}", str(i))
                time.sleep(self.pace)
        except Exception as e:  # noqa: BLE001 - told by whoever waits for it
            self.failure = e
        finally:
            self.resting.set()
            self.close()

    def one(self, key, value):
        sent, refusal = time.monotonic(), None
        try:
            self.write(key, value)
        except Refused as e:
            refusal = str(e) or "refused"
        self.writes.append(Write(key, value, sent, time.monotonic(), refusal))
        self.acknowledged += refusal is None


class Probe(Writer):
    pace = 0.005
    SECONDS, HOPS = 0.25, 3

    def open(self):
        self.others = itertools.cycle(self.addresses)
        self.target, self.wire = next(self.others), None

    def write(self, key, value):
        for _ in range(self.HOPS):
            try:
                if self.wire is None:
                    self.wire = Wire(self.target, timeout=self.SECONDS)
                reply = self.wire("SET", key, value)
            except (OSError, EOFError) as e:
                self.turn_to(next(self.others))
                raise Refused(type(e).__name__) from e
            if not isinstance(reply, Error):
                return
            if reply.code != "MOVED":
                raise Refused(reply)
            host, port = reply.rsplit(" ", 1)[1].rsplit(":", 1)
            self.turn_to((host, int(port)))
        self.turn_to(next(self.others))
        raise Refused("MOVED in a circle")

    def turn_to(self, address):
        self.close()
        self.target = address

    def close(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None


class RedisPy(Writer):
    def open(self):
        self.client = RedisCluster(startup_nodes=[ClusterNode(*a) for a in self.addresses], socket_timeout=1,
                                   socket_connect_timeout=1)

    def write(self, key, value):
        try:
            self.client.set(key, value)
        except Exception as e:  # noqa: BLE001 - in trouble it raises what it does not mean to, too
            raise Refused(f"{type(e).__name__}: {e}") from e

    def close(self):
        self.client.close()


class Lines(Writer):
    """A client in a process of its own: a line in, a line out, which begins with ok if the write was acknowledged."""

    def write(self, key, value):
        self.process.stdin.write(f"set {key} {value}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise EOFError(f"{self.name_} ended")
        if not answer.startswith("ok"):
            raise Refused(answer)

    def close(self):
        if self.process is None:
            return
        try:
            self.process.communicate(timeout=60)
        except (OSError, ValueError):
            self.process.wait()

    def listed(self):
        return [f"{host}:{port}" for host, port in self.addresses]


class IoRedis(Lines):
    def open(self):
        self.process = subprocess.Popen(["node", os.path.join(CLIENTS, "lib", "writer.mjs"), *self.listed()], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @staticmethod
    def is_there():
        return os.path.exists(os.path.join(CLIENTS, "node_modules", "ioredis"))


class Liblarder(Lines):
    def open(self):
        self.process = Shell(",".join(self.listed()), "command_timeout_ms=1000 connect_timeout_ms=1000 deadline_ms=3000").process


class Writers:
    """Of each kind one for each shard."""

    def __init__(self, kinds, addresses):
        self.all = [kind(addresses, shard) for kind in kinds for shard in range(len(SHARD_ENDS))]
        for w in self.all:
            w.start()

    def work(self):
        for w in self.all:
            w.working.set()

    def _sound(self):
        for w in self.all:
            if w.failure is not None:
                raise AssertionError(f"{w.name_} failed: {w.failure!r}") from w.failure

    def flow(self, n=5):
        """Until each has had n more writes acknowledged, whatever it has been through."""
        goals = [(w, w.acknowledged + n) for w in self.all]

        def there():
            self._sound()
            return all(w.acknowledged >= goal for w, goal in goals)

        try:
            harness.wait_until(there, seconds=120, what="the clients to get through")
        except AssertionError as e:
            stuck = [f"{w.name_} (shard {w.shard}): {[x.refusal for x in w.writes[-1:]]}"
                     for w, goal in goals if w.acknowledged < goal]
            raise AssertionError(f"{e}: {stuck}") from e

    def rest(self):
        """Nobody writes any more. Returns what has been written since the last rest, by (kind, shard)."""
        for w in self.all:
            w.working.clear()
        harness.wait_until(lambda: all(w.resting.is_set() for w in self.all), seconds=120, what="the clients to rest")
        self._sound()
        written = {(type(w).__name__, w.shard): w.writes for w in self.all}
        for w in self.all:
            w.writes = []
        return written

    def close(self, kill=False):
        for w in self.all:
            w.ended = True
            w.working.set()
            if kill and w.process is not None:
                w.process.kill()
        for w in self.all:
            w.join(60)


def outage(writes):
    """Seconds from the first refused write to the next accepted one, the longest of them."""
    longest, since = 0, None
    for w in writes:
        if w.refusal is not None and since is None:
            since = w.sent
        elif w.refusal is None and since is not None:
            longest, since = max(longest, w.ended - since), None
    return longest


def silence(writes):
    """The longest time between two acknowledged writes."""
    ends = [w.ended for w in writes if w.refusal is None]
    return max((b - a for a, b in zip(ends, ends[1:])), default=0)
