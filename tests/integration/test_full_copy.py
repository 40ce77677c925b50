"""Full copies while everybody writes: the snapshot, and the log from its offset on, come to the same data."""

import os
import random
import threading

import pytest
import redis

from harness import REDIS_SERVER, wait_until
from test_replica import follow, in_step, servers, single  # noqa: F401

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")


def contents(client, db=0):
    """Every key's type, value and deadline, the order of members aside."""
    client.select(db)
    keys = sorted(client.keys("*"))
    pipe = client.pipeline(transaction=False)
    for k in keys:
        pipe.type(k)
        pipe.pexpiretime(k)
    kinds = pipe.execute()
    for k, kind in zip(keys, kinds[0::2]):
        pipe.get(k) if kind == b"string" else pipe.smembers(k)
    values = pipe.execute()
    return dict(zip(keys, zip(kinds[0::2], kinds[1::2], values)))


def same(a, b, databases=(0, 3)):
    for db in databases:
        ours, theirs = contents(a, db), contents(b, db)
        assert [k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)] == []


class Writer(threading.Thread):
    """Writes of all kinds over one range of keys until told to stop."""

    def __init__(self, server, seed, flush=False):
        super().__init__()
        self.client, self.random, self.flush, self.on = single(server), random.Random(seed), flush, True
        self.seed, self.done, self.error = seed, 0, None

    def some(self, kind):
        return f"{kind}{self.random.randrange(3000)}"

    def once(self, pipe):
        r, kind = self.random, self.random.randrange(13)
        if kind < 4:
            pipe.set(self.some("s"), os.urandom(r.choice([5, 60, 900, 20000])), px=r.choice([None, 10**9]))
        elif kind == 4:
            pipe.append(self.some("s"), "x" * r.randrange(200))
        elif kind == 5:
            pipe.delete(self.some("s"), self.some("set"))
        elif kind == 6:
            pipe.incr(f"n{r.randrange(200)}")
        elif kind == 7:
            pipe.sadd(self.some("set"), *(r.randrange(10**6) for _ in range(r.randrange(1, 30))))
        elif kind == 8:
            pipe.spop(self.some("set"))
        elif kind == 9:
            pipe.sunionstore(self.some("set"), self.some("set"), "bigset")
        elif kind == 10:
            pipe.copy(self.some("s"), self.some("s"), destination_db=3, replace=True)
        elif kind == 11:
            pipe.sadd("bigset", r.randrange(10**9))
        else:
            pipe.expire(self.some("s"), 10**6)

    def run(self):
        try:
            while self.on:
                pipe = self.client.pipeline(transaction=self.random.randrange(4) == 0)
                for _ in range(20):
                    self.once(pipe)
                if self.flush and self.random.randrange(150) == 0:
                    pipe.execute_command(self.random.choice(["FLUSHALL", "FLUSHDB"]))
                pipe.execute()
                self.done += 20
        except Exception as e:
            self.error = e

    def end(self):
        self.on = False
        self.join()
        assert self.error is None and self.done > 0


def fill(server, keys=15000):
    client = single(server)
    pipe = client.pipeline(transaction=False)
    for i in range(keys):
        pipe.set(f"s{i}", b"value of %d " % i * (i % 20))
        if i % 2000 == 0:
            pipe.execute()
    pipe.sadd("bigset", *range(2000))
    pipe.set("huge", os.urandom(1 << 20) * 8)
    for i in range(3000):
        pipe.sadd(f"set{i}", *range(i % 400 + 1))
    pipe.execute()


def kinds(servers):
    """A Redis, a larder that joins at once, and one that comes later."""
    return servers(REDIS_SERVER, repl_diskless_load="disabled"), servers(), servers()


def test_replicas_are_copied_while_everybody_writes(servers):
    p = servers(enable_debug_command="yes")
    fill(p)
    replicas = kinds(servers)
    writers = [Writer(p, seed) for seed in range(2)]
    for w in writers:
        w.start()
    follow(replicas[0], p.port)
    follow(replicas[1], p.port)
    wait_until(lambda: writers[0].done > 400, what="some writes")
    follow(replicas[2], p.port)
    for r in replicas:
        wait_until(lambda: r.client().info("replication")["master_link_status"] == "up", 120, what="the link")
    for w in writers:
        w.end()
    a = single(p)
    for r in replicas:
        b = single(r)
        in_step(a, b)
        same(a, b)
    assert a.info("stats")["sync_full"] == 3


def test_flushes_do_not_disturb_a_copy(servers):
    p = servers()
    fill(p, 5000)
    for seed in range(3):
        writer = Writer(p, seed, flush=True)
        writer.start()
        r = servers()
        follow(r, p.port)
        wait_until(lambda: r.client().info("replication")["master_link_status"] == "up", 120, what="the link")
        wait_until(lambda: writer.done > 2000, 120, what="some writes")
        writer.end()
        a, b = single(p), single(r)
        in_step(a, b)
        same(a, b)
    assert a.info("stats")["sync_full"] == 3


def test_a_chain_is_copied_from_its_middle(servers):
    p, middle, last = servers(), servers(), servers(REDIS_SERVER)
    fill(p, 5000)
    follow(middle, p.port)
    writer = Writer(p, 7)
    writer.start()
    wait_until(lambda: middle.client().info("replication")["master_link_status"] == "up", 120, what="the link")
    follow(last, middle.port)
    wait_until(lambda: last.client().info("replication")["master_link_status"] == "up", 120, what="the link")
    writer.end()
    a = single(p)
    for s in (middle, last):
        b = single(s)
        in_step(a, b)
        same(a, b)


def test_a_replica_that_dies_in_its_copy_leaves_nothing(servers):
    p = servers()
    fill(p, 5000)
    for _ in range(10):
        r = servers()
        follow(r, p.port)
        wait_until(lambda: p.client().info("replication")["connected_slaves"] == 1, what="the replica")
        r.kill(9)
        r.process = None
        wait_until(lambda: p.client().info("replication")["connected_slaves"] == 0, what="its end")
    r = servers()
    follow(r, p.port)
    in_step(single(p), single(r))
    same(single(p), single(r))


def test_rdb_of_redis_cli(servers, tmp_path):
    """redis-cli --rdb takes a copy; redis-server serves it."""
    import subprocess

    p = servers()
    fill(p, 3000)
    single(p).execute_command("SELECT", 3)
    other = single(p)
    other.select(3)
    other.set("elsewhere", "x" * 500, px=10**9)
    out = subprocess.run(
        ["redis-cli", "-p", str(p.port), "--rdb", str(tmp_path / "dump.rdb")], capture_output=True, timeout=120
    )
    assert out.returncode == 0 and b"error" not in out.stderr + out.stdout, out
    q = servers(REDIS_SERVER, dir=str(tmp_path))
    wait_until(lambda: q.client().info("persistence")["loading"] == 0, what="the load")
    same(single(p), single(q))
