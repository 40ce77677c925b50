"""docs/migrating.md: its commands move a Redis cluster to larder, and a shard back, while clients write."""

import pathlib
import re
import subprocess

import pytest

import chaos_writers
import clusters
import harness
from clusters import Cluster, address, ask, my_id

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")
FUNCTION, JOIN, TAKE_OVER, LEAVE, CHECK = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.M | re.S)
L, R = harness.LARDER_SERVER, harness.REDIS_SERVER


def run(block, **nodes):
    environment = {name: address(node) for name, node in nodes.items()}
    done = subprocess.run(["bash", "-ec", FUNCTION + block], env={"PATH": "/usr/bin:/bin"} | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Move:
    """The runbook's steps, with clients that go on writing through each."""

    def __init__(self, cluster, writers):
        self.cluster, self.writers = cluster, writers

    def join(self, binary, primary):
        new = self.cluster.add(binary)
        run(JOIN, NEW=new, PRIMARY=primary)
        return new

    def leave(self, old, new):
        harness.wait_until(lambda: all(r.flags.isdisjoint({"handshake", "fail", "fail?"}) for r in clusters.rows(new)), what="calm")
        run(LEAVE, OLD=old, NEW=new)
        old.wait()
        self.cluster.servers.remove(old)
        old.remove()

    def primary(self, old, binary):
        new = self.join(binary, old)
        run(TAKE_OVER, NEW=new)
        self.writers.flow()
        self.cluster.settle()
        self.leave(old, new)
        self.writers.flow()
        return new

    def replica(self, old, primary, binary):
        new = self.join(binary, primary)
        self.leave(old, new)
        self.writers.flow()
        return new


def kinds():
    return [chaos_writers.RedisPy] + [chaos_writers.IoRedis] * chaos_writers.IoRedis.is_there()


@pytest.fixture
def cluster():
    with Cluster.create([R] * 6, replicas=1) as c:
        yield c


def test_a_redis_cluster_becomes_larder_under_load(cluster):
    with cluster.owner_of("{t}").wire() as w:  # what else is moved: deadlines, sets
        assert w.pipeline(("SET", "{t}s", "v", "PX", 10_000_000), ("SADD", "{t}m", *range(1000)), ("SADD", "{t}w", "a", "bc")) == ["OK", 1000, 2]
    pairs = [(p, cluster.replica_of(p)) for p in cluster.servers[:3]]
    writers = chaos_writers.Writers(kinds(), [s.address() for s in cluster.servers])
    try:
        writers.work()
        writers.flow()
        move = Move(cluster, writers)
        for primary, replica in pairs:
            new = move.primary(primary, L)
            move.replica(replica, new, L)
        assert [harness.is_redis(s.binary) for s in cluster.servers] == [False] * 6
        cluster.settle()
        assert "[OK] All 16384 slots covered." in run(CHECK, NEW=new)
        back = move.primary(cluster.primaries()[0], R)
        cluster.settle()
        assert "role:master" in ask(back, "INFO", "replication")
        written = writers.rest()
    finally:
        writers.close(kill=True)
    refused = [(kind, w) for (kind, _), writes in written.items() for w in writes if w.refusal is not None]
    assert not refused, refused[:5]
    found = {}
    for s in cluster.primaries():
        with s.wire() as w:
            names = w("KEYS", "*}")
            found.update(zip(names, w.pipeline(*(("GET", name) for name in names))))
    lost = [w.key for writes in written.values() for w in writes if found.get(w.key.encode()) != w.value.encode()]
    assert not lost, lost[:5]
    assert sum(map(len, written.values())) > 300
    with cluster.owner_of("{t}").wire() as w:
        assert w("GET", "{t}s") == b"v" and 9_000_000 < w("PTTL", "{t}s") <= 10_000_000
        assert set(w("SMEMBERS", "{t}m")) == {str(i).encode() for i in range(1000)} and set(w("SMEMBERS", "{t}w")) == {b"a", b"bc"}


def test_who_has_left_is_a_stranger(cluster):
    """Nobody takes back a Redis node that has been forgotten, by gossip or because it is started again."""
    primary = cluster[0]
    new = cluster.add(L)
    run(JOIN, NEW=new, PRIMARY=primary)
    run(TAKE_OVER, NEW=new)
    cluster.settle()
    gone = my_id(primary)
    assert run(LEAVE, OLD=primary, NEW=new).count(": OK\n") == 6
    primary.wait()
    cluster.servers.remove(primary)
    cluster.settle()
    primary.start()
    try:
        harness.wait_until(lambda: all(r.link == "connected" for r in clusters.rows(primary)), what="it to see the others")
        assert all(gone not in [r.id for r in clusters.rows(s)] for s in cluster.servers)
    finally:
        harness.end_all([primary])
