"""What the map of slots does to a node that has other things to do: long jobs of the lane, slots that go with all their keys."""

import pytest
from redis.crc import key_slot

import clusters
import harness
from clusters import Cluster, ask, my_id, row_of
from wire import encode

NODE = harness.LARDER_SERVER
pytestmark = pytest.mark.larder
SLEEP_S = 10  # of the lane: some node timeouts


@pytest.fixture
def cluster():
    with Cluster.create([NODE] * 6, replicas=1, extra={"enable-debug-command": "local"}) as c:
        yield c


def test_a_long_job_of_the_lane_does_not_silence_the_bus(cluster):
    busy, other = cluster.primaries()[:2]
    gone = cluster.replica_of(other)
    name = row_of(other, gone).id
    with busy.wire() as w:
        w.send(encode("DEBUG", "SLEEP", SLEEP_S))
        cluster.kill(gone)
        harness.wait_until(lambda: "fail" in next(r for r in clusters.rows(other) if r.id == name).flags, what="the killed one to have failed")
        w.sock.settimeout(0.1)
        while True:  # its own map has changed meanwhile, and all the while it answers
            assert not row_of(other, busy).flags & {"fail", "fail?"}
            try:
                assert w.read() == "OK"
                break
            except TimeoutError:
                pass
        assert "fail" in next(r for r in clusters.rows(busy) if r.id == name).flags
        assert "role:master" in ask(busy, "INFO", "replication")


def test_commands_wait_for_the_job_that_may_know_better(cluster):
    """A reply says that nobody goes by the old map; so it waits for the job, and is right."""
    busy, other = cluster.primaries()[:2]
    first = int(row_of(other, other).slots[0].partition("-")[0])
    with busy.wire() as long, busy.wire() as w:
        for at in range(0, 400000, 20000):
            assert long("SADD", tag_of(busy), *range(at, at + 20000)) > 0
        long.send(encode("SUNIONSTORE", tag_of(busy) + "2", tag_of(busy)))
        assert w("CLUSTER", "SETSLOT", first, "IMPORTING", my_id(other)) == "OK"
        assert "[%d-<-%s]" % (first, my_id(other)) in row_of(busy, busy).slots
        assert w("CLUSTER", "SETSLOT", first, "STABLE") == "OK"
        assert long.read() == 400000


def test_a_handover_comes_after_what_waits_for_the_lane(cluster):
    """The replica is told an offset as the last: a job that was admitted before writes before it."""
    primary = cluster.primaries()[0]
    replica = cluster.replica_of(primary)
    tag = tag_of(primary)
    with primary.wire() as sleeps, primary.wire() as w:
        for at in range(0, 400000, 20000):
            assert w("SADD", tag + "1", *range(at, at + 20000)) == w("SADD", tag + "2", *range(-at, -at - 20000, -1)) == 20000
        assert w("WAIT", 1, 0) == 1
        sleeps.send(encode("DEBUG", "SLEEP", 1))
        w.send(encode("SUNIONSTORE", tag + "3", tag + "1", tag + "2"))
        assert ask(replica, "CLUSTER", "FAILOVER") == "OK"
        assert sleeps.read() == "OK"
        try:
            said = w.read()
        except EOFError:
            said = "MOVED"  # it cannot be told whether it was done
    harness.wait_until(lambda: "role:master" in ask(replica, "INFO", "replication"), what="the handover")
    assert str(said).startswith("MOVED") or said == ask(replica, "SCARD", tag + "3") == 799999  # MOVED: it came too late


def tag_of(server, start=0):
    """{...} of a slot that it owns."""
    first, _, last = row_of(server, server).slots[0].partition("-")
    return next("{%d}" % i for i in range(start, 100000) if int(first) <= key_slot(b"%d" % i) <= int(last))


def fill(server, tag, keys):
    with server.wire() as w:
        for at in range(0, keys, 1000):
            w.send(b"".join(encode("SET", f"{tag}:{i}", "old") for i in range(at, at + 1000)))
            assert [w.read() for _ in range(1000)] == ["OK"] * 1000


def take(server, slot, owner):
    """server claims the slot, with a greater epoch, and none of its keys."""
    assert ask(server, "CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(owner)) == "OK"
    assert ask(server, "CLUSTER", "SETSLOT", slot, "NODE", my_id(server)) == "OK"


def scan(w):
    found, cursor = [], b"0"
    while True:
        cursor, keys = w("SCAN", cursor, "COUNT", 10000)
        found += keys
        if cursor == b"0":
            return found


KEYS = 300000


def test_keys_of_a_lost_slot_go_unseen(cluster):
    source, target = cluster.primaries()[:2]
    replica = cluster.replica_of(source)
    tag = tag_of(source)
    slot = key_slot(tag.strip("{}").encode())
    kept = tag_of(source, int(tag.strip("{}")) + 1)
    fill(source, tag, KEYS)
    with source.wire() as w:
        for at in range(0, 200000, 20000):
            assert w("SADD", kept, *range(at, at + 20000)) == 20000
        assert w("DBSIZE") == KEYS + 1
        jobs = [source.wire() for _ in range(20)]  # the new map comes before those that wait, the slices behind them
        for job in jobs:
            job.send(encode("SINTERCARD", 2, kept, kept))
        take(target, slot, source)
        harness.wait_until(lambda: str(w("GET", tag + ":1")).startswith("MOVED"), every=0.001, what="the slot to be lost")
        left = w("CLUSTER", "COUNTKEYSINSLOT", slot)
        assert w("DBSIZE") == 1 and scan(w) == [kept.encode()] and w("KEYS", "*") == [kept.encode()] and w("RANDOMKEY") == kept.encode()
        assert left > 0, "they went in one go"
        harness.wait_until(lambda: w("CLUSTER", "COUNTKEYSINSLOT", slot) == 0, what="the keys to go")
        assert w("DBSIZE") == 1 and w("SCARD", kept) == 200000
        assert [job.read() for job in jobs] == [200000] * 20
        for job in jobs:
            job.close()
    harness.wait_until(lambda: ask(replica, "DBSIZE") == 1, what="the replica to drop them")


def test_a_lost_slot_that_comes_back_is_empty(cluster):
    source, target = cluster.primaries()[:2]
    replica = cluster.replica_of(source)
    tag = tag_of(source)
    slot = key_slot(tag.strip("{}").encode())
    fill(source, tag, KEYS)
    with source.wire() as w:
        take(target, slot, source)
        harness.wait_until(lambda: str(w("GET", tag + ":1")).startswith("MOVED"), every=0.001, what="the slot to be lost")
        assert w("CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(target)) == "OK"
        assert w("CLUSTER", "COUNTKEYSINSLOT", slot) > 0, "they went in one go"
        assert w("CLUSTER", "SETSLOT", slot, "NODE", my_id(source)) == "OK"
        # At once: some of the old keys are there in all likelihood.
        for i in range(0, KEYS, KEYS // 100):
            assert w("SET", f"{tag}:{i}", "new", "GET") is None
        assert w("CLUSTER", "COUNTKEYSINSLOT", slot) == 100 and w("DBSIZE") == 100
        cluster.settle()
        assert w("DBSIZE") == 100 and len(scan(w)) == 100
        assert {w("GET", f"{tag}:{i}") for i in range(0, KEYS, KEYS // 100)} == {b"new"}
    harness.wait_until(lambda: ask(replica, "DBSIZE") == 100, what="the replica to have the same")
