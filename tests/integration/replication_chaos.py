#!/usr/bin/python3
"""kill -9 at random moments of replication, and nothing that was promised is lost.

    replication_chaos.py [--rounds N] [--seed S]

Two nodes, one the primary, and writers that never rest. Each round something happens at a random moment: the
replica is killed in its full copy or in the stream, the link is cut, the primary is killed and the replica
takes its place; either is killed while it writes a snapshot and comes back from what is there; the primary
ends and comes back. Then the writers stop, both nodes come in step, and their data must be the same; every write
that WAIT 1 has confirmed must be there. A seed repeats the choices, though not the moments.
"""

import argparse
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import redis  # noqa: E402

from harness import REDIS_SERVER, Server, is_redis, wait_until  # noqa: E402
from test_replica import Proxy, data_of, in_step  # noqa: E402

WRITERS = 3
BALLAST = 3000


class Writer(threading.Thread):
    """Writes until it is told to stop, and remembers what WAIT 1 has confirmed."""

    def __init__(self, port, name):
        super().__init__(daemon=True)
        self.port, self.name_, self.stop, self.confirmed = port, name, False, []
        self.start()

    def run(self):
        c = redis.Redis(port=self.port, socket_timeout=30, single_connection_client=True)
        i = 0
        try:
            while not self.stop:
                key = f"{self.name_}:{i}"
                c.set(key, i)
                c.sadd(f"words:{i % 5}", key)
                c.expire(f"{self.name_}:{i - 3}", 1000)
                pipe = c.pipeline()
                pipe.incr("count")
                pipe.append(f"text:{i % 7}", "x")
                pipe.execute()
                if i % 50 == 0:
                    c.delete(f"{self.name_}:{i - 40}")
                elif c.wait(1, 200) >= 1 and i % 50 < 9:
                    self.confirmed.append((key, i))
                i += 1
        except redis.exceptions.RedisError:
            pass  # the primary is dead, or is one no more

    def end(self):
        self.stop = True
        self.join(240)
        assert not self.is_alive(), "a writer hangs"


class Pair:
    """A primary and its replica, with a line between that can be cut."""

    def __init__(self, rng):
        self.rng = rng
        kinds = rng.choice([(None, None), (None, None), (None, REDIS_SERVER)])
        self.primary, self.replica = (self.node(k) for k in kinds)
        self.proxy = None
        self.promised = {}
        pipe = self.primary.client().pipeline(transaction=False)
        for i in range(BALLAST):
            pipe.set(f"ballast:{i}", os.urandom(rng.randrange(10, 500)))
        pipe.execute()

    @staticmethod
    def node(binary):
        options = {"repl-backlog-size": 4 << 20}
        return (Server(binary, options) if binary else Server(options=options)).start()

    def connect(self):
        if self.proxy is not None:
            self.proxy.close()
        self.proxy = Proxy(self.primary.port)
        self.replica.client().execute_command("REPLICAOF", "127.0.0.1", self.proxy.port)

    # ---- what may happen ----

    def replica_dies(self):
        self.replica.kill(9)
        self.restart(self.replica)
        self.connect()

    def snapshot(self, server):
        """None, a whole one, or one that is being written when the node dies."""
        first, second = self.rng.random() < 0.4, self.rng.random() < 0.7
        wait_until(lambda: server.client().dbsize() >= 0, what="the end of a copy, while which nothing can be saved")
        if first:
            server.client().save()
            time.sleep(self.rng.random() * 0.1)
        if second:
            server.client().bgsave()
            time.sleep(self.rng.random() * 0.02)

    def replica_comes_back(self):
        self.snapshot(self.replica)
        self.replica.kill(9)
        self.replica.options["replicaof"] = [("127.0.0.1", str(self.proxy.port))]
        self.restart(self.replica)
        del self.replica.options["replicaof"]

    def primary_comes_back(self):
        """With what its snapshot has, which may be less than its replica has: that must not be given up."""
        link = self.replica.client().info("replication")
        if is_redis(self.primary.binary) or link["master_link_status"] != "up":
            return self.line_breaks()
        self.snapshot(self.primary)
        self.primary.kill(9)
        self.restart(self.primary)
        time.sleep(self.rng.random() * 2)
        self.replica.client().execute_command("REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary
        return self.connect()

    def primary_ends_and_comes_back(self):
        """Whoever follows goes on from where it is."""
        if is_redis(self.primary.binary):
            return self.line_breaks()
        c = self.primary.client()
        try:
            c.shutdown(save=True)
        except redis.exceptions.ConnectionError:
            pass
        self.primary.wait()
        self.restart(self.primary)
        return None

    @staticmethod
    def restart(server):
        server.start()
        wait_until(lambda: server.client().info("persistence")["loading"] == 0, what="the snapshot")

    def line_breaks(self):
        for _ in range(self.rng.randrange(1, 4)):
            self.proxy.cut()
            time.sleep(self.rng.random() * 0.1)

    def killed_by_operator(self):
        self.primary.client().execute_command("CLIENT", "KILL", "TYPE", "replica")

    def primary_dies(self):
        """The replica takes over, if it has anything; what has been confirmed must be there."""
        link = self.replica.client().info("replication")
        if link["master_link_status"] != "up":
            return self.line_breaks()
        self.primary.kill(9)
        self.replica.client().execute_command("REPLICAOF", "NO", "ONE")
        self.restart(self.primary)
        self.primary, self.replica = self.replica, self.primary
        return self.connect()

    EVENTS = (replica_dies, replica_comes_back, replica_comes_back, line_breaks, killed_by_operator, primary_dies,
              primary_dies, primary_comes_back, primary_comes_back, primary_ends_and_comes_back)

    def round(self, n):
        writers = [Writer(self.primary.port, f"r{n}w{i}") for i in range(WRITERS)]
        time.sleep(self.rng.random() * 0.4)
        event = self.rng.choice(self.EVENTS)
        event(self)
        time.sleep(self.rng.random() * 0.2)
        for w in writers:
            w.end()
            self.promised.update(w.confirmed)
        self.check(event.__name__)
        return event.__name__

    def check(self, event):
        a, b = self.primary.client(), self.replica.client()
        in_step(a, b)
        ours, theirs = data_of(a), data_of(b)
        assert sorted(map(repr, ours)) == sorted(map(repr, theirs)), f"the data differ after {event}"
        names = list(self.promised)
        got = a.mget(names) if names else []
        lost = [k for k, v in zip(names, got) if v != str(self.promised[k]).encode()]
        assert not lost, f"{len(lost)} confirmed writes are lost after {event}: {lost[:5]}"

    def close(self):
        if self.proxy is not None:
            self.proxy.close()
        killed = [s.close() for s in (self.primary, self.replica)]
        assert not any(killed), "\n".join(t for t in killed if t)


def run(rounds, seed, say=lambda text: None):
    """Returns how many writes were promised."""
    rng = random.Random(seed)
    promised = n = 0
    while n < rounds:
        pair = Pair(rng)
        pair.connect()
        try:
            for _ in range(min(10, rounds - n)):
                say(f"round {n + 1} of {rounds}: {pair.round(n)}, {len(pair.promised)} promises kept")
                n += 1
            promised += len(pair.promised)
        finally:
            pair.close()
    return promised


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=300, help="how many (300)")
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the choices (random)")
    args = p.parse_args()
    print(f"seed {args.seed}", flush=True)
    promised = run(args.rounds, args.seed, lambda text: print(text, flush=True))
    print(f"{args.rounds} rounds, {promised} writes confirmed by WAIT 1, none lost, no difference.")


if __name__ == "__main__":
    main()
