"""CACHE.PURGE TAG beyond one node: the replicas' acknowledgement, all primaries of a cluster, nodes that are away."""

import pathlib
import signal

import clusters
import harness
import pytest
from cachekit import as_dict, get
from test_replica import follow, in_step, servers, single  # noqa: F401
from wire import encode

pytestmark = pytest.mark.larder
TIMEOUT_MS = 20000  # a bound for busy machines; what is pending is asked for with SHORT_MS
SHORT_MS = 300
DONE = {"acked": 1, "pending": 0, "shards": 1, "unsupported": 0}


def stop(server):
    """Stop it, and see that all its threads stand still: the signal's sender does not wait for that."""
    server.process.send_signal(signal.SIGSTOP)
    tasks = pathlib.Path(f"/proc/{server.pid}/task")
    harness.wait_until(
        lambda: all((t / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for t in tasks.iterdir()),
        what="all threads to stop",
    )


def purge(client, *words):
    return as_dict(client("CACHE.PURGE", *words))


# ---- one node and its replicas ---------------------------------------------------------------------------------


def test_alone_it_is_done_at_once(larder):
    with larder.wire() as c:
        assert purge(c, "TAG", "red") == DONE


@pytest.fixture
def pair(servers):  # noqa: F811
    p, r = servers(), servers()
    a, b = single(p), single(r)
    a.config_set("cache-purge-timeout", TIMEOUT_MS)
    follow(r, p.port)
    in_step(a, b)
    with p.wire() as primary, r.wire() as replica:
        yield p, r, primary, replica


def test_it_waits_for_the_replica(pair):
    _, _, primary, replica = pair
    for i in range(20):
        primary("CACHE.SET", "k", "v", "PX", "600000", "TAGS", "1", "red")
        assert purge(primary, "TAG", "red") == DONE
        assert get(replica, "k")["state"] == "miss", f"round {i}: acknowledged, yet not there"


def test_a_replica_that_is_silent_leaves_it_pending_and_gets_it_later(pair):
    _, r, primary, replica = pair
    primary("CACHE.SET", "k", "v", "PX", "600000", "TAGS", "1", "red")
    assert primary("WAIT", "1", "60000") == 1
    primary("CONFIG", "SET", "cache-purge-timeout", SHORT_MS)
    stop(r)
    try:
        assert purge(primary, "TAG", "red") == {"acked": 0, "pending": 1, "shards": 1, "unsupported": 0}
        assert get(primary, "k")["state"] == "miss"
    finally:
        r.process.send_signal(signal.SIGCONT)
    harness.wait_until(lambda: get(replica, "k")["state"] == "miss", what="the purge at the replica")
    primary("CONFIG", "SET", "cache-purge-timeout", TIMEOUT_MS)
    assert purge(primary, "TAG", "red") == DONE


def test_pipelined_purges_answer_in_order(pair):
    _, _, primary, _ = pair
    replies = primary.pipeline(*[("CACHE.PURGE", "TAG", f"t{i}") for i in range(50)], ("PING",))
    assert [as_dict(x) for x in replies[:-1]] == [DONE] * 50 and replies[-1] == "PONG"


def test_in_a_transaction_nobody_waits(pair):
    _, _, primary, replica = pair
    primary("CACHE.SET", "k", "v", "PX", "600000", "TAGS", "1", "red")
    primary("MULTI")
    primary("CACHE.PURGE", "TAG", "red")
    primary("SET", "plain", "1")
    first, second = primary("EXEC")
    assert as_dict(first)["pending"] == 1 and second == "OK"
    assert get(primary, "k")["state"] == "miss"
    assert primary("WAIT", "1", "60000") == 1
    assert get(replica, "k")["state"] == "miss"


def test_a_client_that_leaves_while_it_waits(pair):
    p, r, primary, _ = pair
    stop(r)
    try:
        other = p.wire()
        other.send(encode("CACHE.PURGE", "TAG", "red"))
        harness.wait_until(lambda: b"cmd=cache.purge" in primary("CLIENT", "LIST"), what="the purge to wait")
        other.close()
        assert primary("PING") == "PONG"
    finally:
        r.process.send_signal(signal.SIGCONT)
    assert purge(primary, "TAG", "red") == DONE


@pytest.mark.parametrize(
    "words, part",
    [
        (("HERE", "id"), "purges by TAG"),
        (("HERE", "id", "TAG"), "purges by TAG"),
        (("HERE", "", "TAG", "a"), "HERE takes"),
        (("HERE", "x" * 65, "TAG", "a"), "HERE takes"),
        (("AGAIN", "x" * 65, "TAG", "a"), "HERE takes"),
        (("DONE", ""), "HERE takes"),
        (("DONE", "x" * 65), "HERE takes"),
        (("DONE", "a\0b"), "HERE takes"),
        (("DONE", "a", "b"), "purges by TAG"),
        (("TAG", *map(str, range(4097))), "4096 tags"),
        (("TAG", "x" * (1 << 20), "y"), "4096 tags"),
        (("TAG", "a", ""), "TAG does not take an empty tag"),
        (("NAME", "a"), "purges by TAG"),
    ],
)
def test_bad_requests(larder, words, part):
    with larder.wire() as c:
        reply = c("CACHE.PURGE", *words)
        assert reply.startswith("ERR ") and part in reply


def test_a_purge_that_is_asked_for_again_purges_once(larder):
    with larder.wire() as c:
        assert purge(c, "HERE", "me:1", "TAG", "red") == DONE
        c("CACHE.SET", "k", "v", "PX", "600000", "TAGS", "1", "red")
        assert purge(c, "HERE", "me:1", "TAG", "red") == DONE
        assert get(c, "k")["state"] == "fresh"
        assert purge(c, "HERE", "me:2", "TAG", "red") == DONE
        assert get(c, "k")["state"] == "miss"
        assert c("CACHE.PURGE", "DONE", "me:2") == c("CACHE.PURGE", "DONE", "nobody's") == "OK"


# ---- a cluster ---------------------------------------------------------------------------------------------------


def key_at(cluster, server, stem):
    """A key of the server's slots."""
    for i in range(10000):
        key = f"{stem}:{i}"
        if cluster.owner_of(key) is server:
            return key
    raise AssertionError("no key")


def set_everywhere(cluster, primaries, tag, stem):
    keys = {}
    for s in primaries:
        keys[s] = key_at(cluster, s, stem)
        with s.wire() as w:
            assert w("CACHE.SET", keys[s], "v", "PX", "600000", "GRACE", "600000", "TAGS", "1", tag) == "OK"
    return keys


def state_at(server, key, *options):
    with server.wire() as w:
        return get(w, key, *options)["state"]


def test_a_cluster_with_replicas():
    extra = {"cluster-node-timeout": 60000, "cache-purge-timeout": TIMEOUT_MS}
    with clusters.Cluster.create([harness.LARDER_SERVER] * 6, replicas=1, extra=extra) as cluster:
        primaries = cluster.primaries()
        keys = set_everywhere(cluster, primaries, "red", "a")
        soft = set_everywhere(cluster, primaries, "blue", "b")
        other = set_everywhere(cluster, primaries, "green", "c")
        with primaries[1].wire() as w:
            assert purge(w, "TAG", "red") == {"shards": 3, "acked": 3, "pending": 0, "unsupported": 0}
            replica_states = []
            for s in primaries:
                assert state_at(s, keys[s]) == "miss"
                with cluster.replica_of(s).wire() as rw:
                    rw("READONLY")
                    replica_states.append(get(rw, keys[s])["state"])
            assert replica_states == ["miss"] * 3
            assert purge(w, "TAG", "blue", "SOFT")["acked"] == 3
            # Slots are on their way to a node that follows another by now: that one has what it has.
            slot, left = w("CLUSTER", "KEYSLOT", keys[primaries[1]]), primaries[2]
            assert w("CLUSTER", "SETSLOT", slot, "MIGRATING", clusters.my_id(left)) == "OK"
            taker = cluster.replica_of(left)
            assert clusters.ask(taker, "CLUSTER", "FAILOVER") == "OK"
            harness.wait_until(lambda: "role:slave" in clusters.ask(left, "INFO", "replication"), what="the handover")
            done = {"shards": 3, "acked": 3, "pending": 0, "unsupported": 0}
            harness.wait_until(lambda: purge(w, "TAG", "none") == done, what="all to know of the handover")
            assert w("CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
            cluster.settle()
            primaries[2] = taker
        for s, k in zip(primaries, soft):
            assert state_at(s, soft[k]) == "miss" and state_at(s, soft[k], "STALE") == "stale"
            assert state_at(s, other[k]) == "fresh"
        other[taker] = other[left]
        with cluster.replica_of(primaries[0]).wire() as w:
            assert w("CACHE.PURGE", "TAG", "red").startswith("READONLY")
        # A primary that does not answer: pending, and completed when it is back.
        away, asked = primaries[2], primaries[0]
        with asked.wire() as w:
            w("CONFIG", "SET", "cache-purge-timeout", SHORT_MS)
            stop(away)
            try:
                assert purge(w, "TAG", "green") == {"shards": 3, "acked": 2, "pending": 1, "unsupported": 0}
                assert state_at(asked, other[asked]) == "miss"
            finally:
                away.process.send_signal(signal.SIGCONT)
            harness.wait_until(lambda: state_at(away, other[away]) == "miss", what="the purge after healing")
        # A replica that is away, or gone, yet in the map: its primary counts as pending.
        lost = cluster.replica_of(primaries[1])
        with asked.wire() as w:
            stop(lost)
            assert purge(w, "TAG", "red") == {"shards": 3, "acked": 2, "pending": 1, "unsupported": 0}
            cluster.kill(lost)
            harness.wait_until(lambda: "connected_slaves:0" in clusters.ask(primaries[1], "INFO", "replication"), what="the loss to be seen")
            assert purge(w, "TAG", "red") == {"shards": 3, "acked": 2, "pending": 1, "unsupported": 0}


def test_what_is_pending_outlives_the_node_that_was_asked():
    extra = {"cluster-node-timeout": 600000, "cache-purge-timeout": SHORT_MS}
    with clusters.Cluster.create([harness.LARDER_SERVER] * 3, extra=extra) as cluster:
        asked, other, away = cluster.primaries()
        keys = set_everywhere(cluster, (asked, other, away), "red", "a")
        with away.wire() as there:
            assert there("CONFIG", "SET", "requirepass", "secret") == "OK"  # it listens to nobody
            with asked.wire() as w:
                assert purge(w, "TAG", "red")["pending"] >= 1
            harness.wait_until(lambda: state_at(other, keys[other]) == "miss", what="the purge at the third node")
            cluster.kill(asked)
            assert there("CONFIG", "SET", "requirepass", "") == "OK"
            harness.wait_until(lambda: get(there, keys[away])["state"] == "miss", seconds=90, what="another node to carry it on")
        with other.wire() as w:
            harness.wait_until(lambda: as_dict(w("CACHE.STATS"))["purges-pending"] == 1, what="the dead one, which has slots, to be asked")


def test_a_redis_primary_counts_as_unsupported():
    binaries = [harness.LARDER_SERVER, harness.LARDER_SERVER, harness.REDIS_SERVER]
    with clusters.Cluster.create(binaries) as cluster:
        with cluster[0].wire() as w:
            w("CONFIG", "SET", "cache-purge-timeout", TIMEOUT_MS)
            assert purge(w, "TAG", "red") == {"shards": 3, "acked": 2, "pending": 0, "unsupported": 1}
            w("MULTI")
            w("CACHE.PURGE", "TAG", "red")
            assert as_dict(w("EXEC")[0]) == {"shards": 3, "acked": 0, "pending": 3, "unsupported": 0}


def test_a_password_among_nodes():
    extra = {"requirepass": "secret", "masterauth": "secret", "cache-purge-timeout": TIMEOUT_MS}
    nodes = [clusters.node(extra=extra).start() for _ in range(2)]
    wires = [n.wire() for n in nodes]
    try:
        for i, w in enumerate(wires):
            assert w("AUTH", "secret") == "OK"
            assert w("CLUSTER", "ADDSLOTSRANGE", i * 8192, i * 8192 + 8191) == "OK"
        assert wires[0]("CLUSTER", "MEET", "127.0.0.1", nodes[1].port) == "OK"
        harness.wait_until(lambda: b"cluster_state:ok" in wires[0]("CLUSTER", "INFO"), what="the cluster")
        assert purge(wires[0], "TAG", "red") == {"shards": 2, "acked": 2, "pending": 0, "unsupported": 0}
    finally:
        for w in wires:
            w.close()
        for n in nodes:
            trouble = n.close()
            assert not trouble, trouble
