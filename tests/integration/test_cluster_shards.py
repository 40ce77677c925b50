"""Shard ids, names for people, and figures of slots."""

import pytest

import clusters
import harness
from clusters import Cluster, ask, my_id
from wire import Error

pytestmark = pytest.mark.larder


@pytest.fixture(scope="module")
def cluster():
    with Cluster.create([harness.LARDER_SERVER] * 6, replicas=1) as c:
        yield c


def shard(server):
    return ask(server, "CLUSTER", "MYSHARDID")


def shards_are_right(cluster):
    """One for each primary, and its replica's too; also in the eyes of others and in their files."""
    by_primary = {my_id(p): shard(p) for p in cluster.primaries()}
    replicas = [cluster.replica_of(p) for p in cluster.primaries()]
    if None in replicas or len(set(by_primary.values())) != 3 or not all(len(x) == 40 for x in by_primary.values()):
        return False
    if any(shard(r) != by_primary[row.primary] for r in replicas for row in clusters.rows(r) if "myself" in row.flags):
        return False
    for s in cluster.servers:
        ask(s, "CLUSTER", "SAVECONFIG")
        with open(f"{s.dir}/nodes.conf", encoding="ascii") as f:
            text = f.read()
        if any(text.count(f"shard-id={x}") != 2 for x in by_primary.values()):
            return False
    return True


def test_shard_ids(cluster):
    harness.wait_until(lambda: shards_are_right(cluster), what="the shard ids to be known")
    before = {shard(s) for s in cluster.servers}
    new = cluster.replica_of(cluster.primaries()[0])
    assert ask(new, "CLUSTER", "FAILOVER") == "OK"
    harness.wait_until(lambda: "role:master" in ask(new, "INFO", "replication"), what="the handover")
    cluster.settle()
    harness.wait_until(lambda: shards_are_right(cluster), what="the shard ids to be as before")
    assert {shard(s) for s in cluster.servers} == before


def test_human_names(cluster):
    def known():
        ask(cluster[1], "CLUSTER", "SAVECONFIG")
        with open(f"{cluster[1].dir}/nodes.conf", encoding="ascii") as f:
            line = next(x for x in f if x.startswith(my_id(cluster[0])))
        return ",nodename=pantry-1" in line

    assert ask(cluster[0], "CONFIG", "SET", "cluster-announce-human-nodename", "pantry-1") == "OK"
    harness.wait_until(known, what="another node to know the name")
    assert "pantry" not in ask(cluster[0], "CLUSTER", "NODES")  # it is for files and logs
    assert str(ask(cluster[0], "CONFIG", "SET", "cluster-announce-human-nodename", "a b")).startswith("ERR")


def counts(reply):
    return [(slot, dict(zip(figures[::2], figures[1::2]))[b"key-count"]) for slot, figures in reply]


def test_slot_stats(cluster):
    primary = next(p for p in cluster.primaries() if clusters.row_of(p, p).slots == ["0-5460"])
    replica = cluster.replica_of(primary)
    tags = {}  # slot: a tag in it
    for i in range(100000):
        slot = ask_slot(i)
        if slot in (5, 6, 7):
            tags.setdefault(slot, str(i))
        if len(tags) == 3:
            break
    with primary.wire() as w:
        for slot, keys in ((5, 3), (6, 1), (7, 3)):
            for k in range(keys):
                assert w("SET", "{%s}:%d" % (tags[slot], k), 1) == "OK"
        stats = lambda *words: w("CLUSTER", "SLOT-STATS", *words)
        assert counts(stats("SLOTSRANGE", 4, 8)) == [(4, 0), (5, 3), (6, 1), (7, 3), (8, 0)]
        assert counts(stats("SLOTSRANGE", 5460, 5462)) == [(5460, 0)]
        assert counts(stats("ORDERBY", "KEY-COUNT", "LIMIT", 3)) == [(5, 3), (7, 3), (6, 1)]
        assert counts(stats("orderby", "key-count", "asc", "limit", 2)) == [(0, 0), (1, 0)]
        assert len(stats("ORDERBY", "KEY-COUNT", "DESC")) == 5461
        for words, why in (
            (("SLOTSRANGE", 8, 4), "ERR Start slot number 8 is greater than end slot number 4"),
            (("SLOTSRANGE", 8, 16384), "ERR Invalid or out of range slot"),
            (("SLOTSRANGE", "x", 4), "ERR Invalid or out of range slot"),
            (("ORDERBY", "CPU-USEC"), "ERR Unrecognized sort metric for ORDERBY."),
            (("ORDERBY", "KEY-COUNT", "LIMIT", 0), "ERR Limit has to lie in between 1 and 16384 (maximum number of slots)."),
            (("ORDERBY", "KEY-COUNT", "LIMIT", 1, "LIMIT", 2), "ERR Multiple filters of the same type are disallowed."),
            (("ORDERBY", "KEY-COUNT", "ASC", "DESC"), "ERR Multiple filters of the same type are disallowed."),
            (("ORDERBY", "KEY-COUNT", "LIMIT"), "ERR syntax error"),
            (("NOSUCH", 1), "ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP."),
        ):
            assert stats(*words) == Error(why), words
    harness.wait_until(lambda: counts(ask(replica, "CLUSTER", "SLOT-STATS", "SLOTSRANGE", 5, 7)) == [(5, 3), (6, 1), (7, 3)],
                       what="the replica to count the same")


def ask_slot(i):
    crc = 0
    for byte in str(i).encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc % 16384


def test_without_a_cluster(larder):
    for words in (("MYSHARDID",), ("SLOT-STATS", "SLOTSRANGE", 1, 2)):
        assert ask(larder, "CLUSTER", *words) == Error("ERR This instance has cluster support disabled")
