"""Which node serves a key: MOVED, ASK, TRYAGAIN, CROSSSLOT, CLUSTERDOWN, READONLY, alone and in transactions."""

import pytest

import clusters
import harness
from clusters import Cluster, ask, my_id
from wire import Error

CROSSSLOT = Error("CROSSSLOT Keys in request don't hash to the same slot")
TRYAGAIN = Error("TRYAGAIN Multiple keys request during rehashing of slot")
EXECABORT = Error("EXECABORT Transaction discarded because of previous errors.")


@pytest.fixture(scope="module")
def cluster():
    with Cluster.create([harness.LARDER_SERVER] * 6, replicas=1) as c:
        yield c


@pytest.fixture
def move(cluster):
    """A slot on its way, with one key: (wires to source and target, both, slot, keys); then it is where it was."""
    keys = ["{move}a", "{move}b", "{move}c"]
    source = cluster.owner_of(keys[0])
    target = next(s for s in cluster.primaries() if s is not source)
    slot = ask(source, "CLUSTER", "KEYSLOT", keys[0])
    assert ask(source, "SET", keys[0], "here") == "OK"
    assert ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(source)) == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", my_id(target)) == "OK"
    with source.wire() as a, target.wire() as b:
        yield a, b, source, target, slot, keys
        for k in keys:
            b("ASKING")
            b("DEL", k)
        for s in (a, b):
            assert s("CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
        a("DEL", *keys)


def moved(cluster, key):
    owner = cluster.owner_of(key)
    slot = ask(owner, "CLUSTER", "KEYSLOT", key)
    return Error(f"MOVED {slot} 127.0.0.1:{owner.port}")


def test_moved(cluster):
    owner = cluster.owner_of("k")
    for s in cluster.servers:
        with s.wire() as w:
            for command in (("SET", "k", "v"), ("GET", "k"), ("DEL", "{k}1", "{k}2")):
                reply = w(*command)
                assert reply == moved(cluster, "k") if s is not owner else not isinstance(reply, Error), command


def test_crossslot(cluster):
    with cluster[0].wire() as w:
        assert w("MGET", "a", "b") == CROSSSLOT
        assert w("MSET", "{x}a", 1, "y", 2) == CROSSSLOT
        assert w("DEL", *["k%d" % i for i in range(5000)]) == CROSSSLOT
        assert w("SUNION", "a", "b") == CROSSSLOT
    with cluster.owner_of("{t}").wire() as w:
        assert w("MSET", "{t}1", 1, "{t}2", 2) == "OK"
        assert w("MGET", "{t}1", "{t}2", "{t}1") == [b"1", b"2", b"1"]


def test_what_has_no_key_is_served_everywhere(cluster):
    for s in cluster.servers:
        with s.wire() as w:
            assert w("PING") == "PONG"
            assert isinstance(w("DBSIZE"), int)
            assert w("SCAN", 0)[0] == b"0"


def test_one_database(cluster):
    with cluster.owner_of("k").wire() as w:
        assert w("SELECT", 0) == "OK"
        assert w("SELECT", 1) == Error("ERR SELECT is not allowed in cluster mode")
        assert w("SWAPDB", 0, 1) == Error("ERR SWAPDB is not allowed in cluster mode")
        assert w("MOVE", "k", 1) == Error("ERR MOVE is not allowed in cluster mode")
        assert w("COPY", "k", "{k}2", "DB", 1) == Error("ERR Copying to another database is not allowed in cluster mode")
        assert w("REPLICAOF", "127.0.0.1", 1) == Error("ERR REPLICAOF not allowed in cluster mode.")


def test_transactions(cluster):
    owner = cluster.owner_of("{t}")
    other = next(s for s in cluster.primaries() if s is not owner)
    with owner.wire() as w:
        assert w.pipeline(("MULTI",), ("SET", "{t}a", 1), ("INCR", "{t}a"), ("PING",), ("EXEC",))[-1] == ["OK", 2, "PONG"]
        # Each alone is fine, together they are not.
        keys = [k for k in ("k%d" % i for i in range(100)) if cluster.owner_of(k) is owner][:2]
        replies = w.pipeline(("MULTI",), ("SET", keys[0], 1), ("SET", keys[1], 1), ("EXEC",))
        assert replies[:3] == ["OK", "QUEUED", "QUEUED"] and replies[3] == CROSSSLOT
        assert w("MULTI") == "OK", "the transaction is over"
        assert w("EXEC") == []
        assert w("MGET", "{t}a", "{t}b")[0] == b"2"
    with other.wire() as w:
        replies = w.pipeline(("MULTI",), ("SET", "{t}a", 1), ("EXEC",))
        assert replies == ["OK", moved(cluster, "{t}a"), EXECABORT]
        assert w.pipeline(("MULTI",), ("PING",), ("EXEC",)) == ["OK", "QUEUED", ["PONG"]]
        assert w("WATCH", "{t}a") == moved(cluster, "{t}a")


def test_a_replica_reads_for_those_who_asked(cluster):
    key = "{replica}1"
    owner = cluster.owner_of(key)
    replica = cluster.replica_of(owner)
    assert ask(owner, "SET", key, "v") == "OK"
    with replica.wire() as w:
        assert w("GET", key) == moved(cluster, key)
        assert w("READONLY") == "OK"
        harness.wait_until(lambda: w("GET", key) == b"v", what="the replica to have the key")
        assert w("SET", key, "x") == moved(cluster, key)
        elsewhere = next(k for k in ("k%d" % i for i in range(100)) if cluster.owner_of(k) is not owner)
        assert w("GET", elsewhere) == moved(cluster, elsewhere)
        assert w.pipeline(("MULTI",), ("GET", key), ("EXEC",))[-1] == [b"v"]
        assert w.pipeline(("MULTI",), ("SET", key, 1), ("EXEC",))[1:] == [moved(cluster, key), EXECABORT]
        assert str(w("FLUSHALL")).startswith("READONLY")
        assert w("READWRITE") == "OK"
        assert w("GET", key) == moved(cluster, key)
        assert w("READONLY") == "OK"
        assert w("RESET") == "RESET"
        assert w("GET", key) == moved(cluster, key)


def test_ask(move):
    a, b, source, target, slot, (k1, k2, k3) = move
    to_target = Error(f"ASK {slot} 127.0.0.1:{target.port}")
    assert a("GET", k1) == b"here", "what is here is served here"
    assert a("GET", k2) == to_target
    assert a("SET", k2, "v") == to_target
    to_source = Error(f"MOVED {slot} 127.0.0.1:{source.port}")
    assert b("SET", k2, "v") == to_source
    assert b("ASKING") == "OK"
    assert b("SET", k2, "there") == "OK"
    assert b("GET", k2) == to_source, "ASKING is for one command"
    assert b("ASKING") == "OK"
    assert isinstance(b("NOSUCH"), Error)
    assert b("GET", k2) == to_source, "a nonsense command uses it up too"
    assert b.pipeline(("ASKING",), ("GET", k2), ("GET", k2)) == ["OK", b"there", to_source]


def test_tryagain(move):
    a, b, source, target, slot, (k1, k2, k3) = move
    to_target = Error(f"ASK {slot} 127.0.0.1:{target.port}")
    assert a("MGET", k1, k2) == TRYAGAIN
    assert a("MGET", k2, k3) == to_target
    assert a("MGET", k1, k1) == [b"here", b"here"]
    b("ASKING")
    assert b("MGET", k2, k3) == TRYAGAIN
    b("ASKING")
    assert b("MGET", k2, k2) == [None, None]
    for k in (k2, k3):
        b("ASKING")
        assert b("SET", k, "there") == "OK"
    b("ASKING")
    assert b("MGET", k2, k3) == [b"there", b"there"]


def test_ask_in_transactions(move):
    a, b, source, target, slot, (k1, k2, k3) = move
    assert a.pipeline(("MULTI",), ("GET", k1), ("EXEC",))[-1] == [b"here"]
    replies = a.pipeline(("MULTI",), ("GET", k2), ("EXEC",))
    assert Error(f"ASK {slot} 127.0.0.1:{target.port}") in replies[1:]
    assert a("EXEC") == Error("ERR EXEC without MULTI")
    replies = b.pipeline(("ASKING",), ("MULTI",), ("SET", k2, 1), ("INCR", k2), ("EXEC",), ("GET", k2))
    assert replies[4] == ["OK", 2]
    assert replies[5] == Error(f"MOVED {slot} 127.0.0.1:{source.port}")


def test_migrate_through_a_moving_slot(move):
    a, b, source, target, slot, keys = move
    a("CLUSTER", "SETSLOT", slot, "STABLE")
    for k in keys[:2]:
        assert a("SET", k, "v" + k) == "OK"
    a("CLUSTER", "SETSLOT", slot, "MIGRATING", my_id(target))
    assert a("CLUSTER", "COUNTKEYSINSLOT", slot) == 2
    found = a("CLUSTER", "GETKEYSINSLOT", slot, 10)
    assert sorted(found) == sorted(k.encode() for k in keys[:2])
    assert len(a("CLUSTER", "GETKEYSINSLOT", slot, 1)) == 1
    assert a("MIGRATE", "127.0.0.1", target.port, "", 0, 60000, "KEYS", *keys) == "OK"
    assert a("CLUSTER", "COUNTKEYSINSLOT", slot) == 0
    assert b("CLUSTER", "COUNTKEYSINSLOT", slot) == 2
    for k in keys[:2]:
        b("ASKING")
        assert b("GET", k) == b"v" + k.encode()
    assert a("GET", keys[0]) == Error(f"ASK {slot} 127.0.0.1:{target.port}")


def test_a_node_with_keys_does_not_give_their_slot_away(move):
    a, b, source, target, slot, keys = move
    assert a("CLUSTER", "SETSLOT", slot, "NODE", my_id(target)) == Error(
        f"ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot.")


def test_down_with_a_hole():
    """A slot without an owner: nothing is served, or everything else, as the options say."""
    with Cluster([clusters.node().start()]) as lonely, lonely[0].wire() as w:
        unserved, down = Error("CLUSTERDOWN Hash slot not served"), Error("CLUSTERDOWN The cluster is down")
        assert w("GET", "foo") == unserved
        assert w("CLUSTER", "ADDSLOTSRANGE", 0, 16000) == "OK"
        assert w("CLUSTER", "KEYSLOT", "foo") < 16000
        assert w("CLUSTER", "KEYSLOT", "{40}") > 16000
        harness.wait_until(lambda: w("GET", "foo") == down, what="the verdict")
        assert w("CONFIG", "SET", "cluster-allow-reads-when-down", "yes") == "OK"
        harness.wait_until(lambda: w("GET", "foo") is None, what="reads")
        assert w("SET", "foo", 1) == Error("CLUSTERDOWN The cluster is down and only accepts read commands")
        assert w("CONFIG", "SET", "cluster-require-full-coverage", "no") == "OK"
        harness.wait_until(lambda: w("SET", "foo", 1) == "OK", what="writes")
        assert w("GET", "{40}") == unserved
