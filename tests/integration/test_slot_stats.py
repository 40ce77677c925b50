"""CLUSTER SLOT-STATS' cpu-usec, network-bytes-in and -out, as Valkey's documentation has them."""

import pytest

import harness
from clusters import Cluster, ask
from slot_moves import move
from wire import Error, Wire, encode

pytestmark = pytest.mark.larder

NAMES = [b"key-count", b"cpu-usec", b"network-bytes-in", b"network-bytes-out"]
ON = {"cluster-slot-stats-enabled": "yes", "cluster-node-timeout": 15000}


@pytest.fixture(scope="module")
def cluster():
    with Cluster.create([harness.LARDER_SERVER] * 6, replicas=1, extra=ON) as c:
        yield c


@pytest.fixture
def wire(cluster):
    server = cluster.owner_of("{a}")
    ask(server, "CONFIG", "RESETSTAT")
    with server.wire() as w:
        yield w


def slot_of(w, key):
    return w("CLUSTER", "KEYSLOT", key)


def stats(w, key="{a}"):
    slot = slot_of(w, key)
    [[told, figures]] = w("CLUSTER", "SLOT-STATS", "SLOTSRANGE", slot, slot)
    assert told == slot and figures[::2] == NAMES
    return dict(zip(NAMES, figures[1::2]))


def bytes_of(w, key="{a}"):
    figures = stats(w, key)
    return figures[b"network-bytes-in"], figures[b"network-bytes-out"]


def resp(*words):
    return len(encode(*words))


def test_bytes_of_commands(wire):
    assert bytes_of(wire) == (0, 0)
    assert wire("SET", "{a}", "value") == "OK"
    seen = resp(b"SET", b"{a}", b"value"), 5
    assert bytes_of(wire) == seen
    assert wire("GET", "{a}") == b"value"
    seen = seen[0] + resp(b"GET", b"{a}"), seen[1] + len("$5\r\nvalue\r\n")
    assert bytes_of(wire) == seen
    assert wire("MGET", "{a}", "{a}none") == [b"value", None]
    seen = seen[0] + resp(b"MGET", b"{a}", b"{a}none"), seen[1] + len("*2\r\n$5\r\nvalue\r\n$-1\r\n")
    assert bytes_of(wire) == seen
    # What names no slot, is refused, or is another's, counts for none.
    assert wire("PING") == "PONG"
    assert str(wire("GET")).startswith("ERR wrong number")
    assert str(wire("MGET", "{a}", "{b}")).startswith("CROSSSLOT")
    elsewhere = next(k for k in map(str, range(100)) if str(wire("GET", k)).startswith("MOVED"))
    assert str(wire("SET", elsewhere, 1)).startswith("MOVED")
    assert bytes_of(wire) == seen
    # Errors of a command that runs count.
    error = wire("INCR", "{a}")
    assert isinstance(error, Error)
    seen = seen[0] + resp(b"INCR", b"{a}"), seen[1] + len("-%s\r\n" % error)
    assert bytes_of(wire) == seen
    wire("DEL", "{a}")


def test_an_inline_request_counts_in_resp(wire):
    wire.send(b"SET   {a}     x\r\n")
    assert wire.read() == "OK"
    assert bytes_of(wire) == (resp(b"SET", b"{a}", b"x"), 5)
    wire("DEL", "{a}")


def test_a_large_value_counts(wire):
    big = b"x" * 300000
    assert wire("SET", "{a}", big) == "OK"
    assert wire("GET", "{a}") == big
    assert bytes_of(wire) == (resp(b"SET", b"{a}", big) + resp(b"GET", b"{a}"), 5 + len("$300000\r\n") + 300000 + 2)
    wire("DEL", "{a}")


def test_a_transaction_counts_at_exec(wire):
    wire("MULTI")
    wire("SET", "{a}", "1")
    wire("GET", "{a}")
    assert bytes_of_other(wire) == (0, 0)
    assert wire("EXEC") == ["OK", b"1"]
    whole = resp(b"MULTI") + resp(b"SET", b"{a}", b"1") + resp(b"GET", b"{a}") + resp(b"EXEC")
    assert bytes_of(wire) == (whole, len("*2\r\n+OK\r\n$1\r\n1\r\n"))
    wire("DEL", "{a}")


def bytes_of_other(wire):
    with Wire(wire.sock.getpeername()) as other:
        return bytes_of(other)


def test_workers_add_up_and_the_lane_too(cluster, wire):
    server = cluster.owner_of("{a}")
    many = [server.wire() for _ in range(8)]  # two workers share them
    for w in many:
        assert w("GET", "{a}none") is None
    assert bytes_of(wire) == (8 * resp(b"GET", b"{a}none"), 8 * 5)
    members = [str(i).encode() for i in range(50000)]
    for at in range(0, len(members), 5000):
        wire("SADD", "{a}s", *members[at:at + 5000])
    ask(server, "CONFIG", "RESETSTAT")
    assert wire("SUNIONSTORE", "{a}t", "{a}s") == 50000  # so long that the lane runs it
    figures = stats(wire)
    assert figures[b"network-bytes-in"] == resp(b"SUNIONSTORE", b"{a}t", b"{a}s")
    assert figures[b"network-bytes-out"] == len(":50000\r\n")
    assert figures[b"cpu-usec"] > 0
    wire("DEL", "{a}s", "{a}t")
    for w in many:
        w.close()


def test_one_who_waits_counts_once(cluster, wire):
    server = cluster.owner_of("{a}")
    lease = wire("CACHE.GET", "{a}c", "LEASE", "60000")
    before = bytes_of(wire)
    with server.wire() as other:
        other.send(encode("CACHE.GET", "{a}c", "WAIT", "20000"))
        harness.wait_until(lambda: bytes_of(wire)[0] == before[0] + resp(b"CACHE.GET", b"{a}c", b"WAIT", b"20000"), what="it to be counted")
        assert bytes_of(wire)[1] == before[1]
        reply = wire("CACHE.SET", "{a}c", "value", "LEASE", lease[lease.index(b"lease") + 1])
        assert reply == "OK", (lease, reply)
        got = other.read()
    out = bytes_of(wire)[1] - before[1]
    wire("DEL", "{a}c")
    assert b"value" in got and out > len("+OK\r\n") + len("$5\r\nvalue\r\n")


def test_order_and_limit(cluster, wire):
    for _ in range(5):
        wire("GET", "{a}")
    slot = slot_of(wire, "{a}")
    for metric in ("network-bytes-in", "NETWORK-BYTES-OUT"):
        [[first, _]] = wire("CLUSTER", "SLOT-STATS", "ORDERBY", metric, "LIMIT", 1)
        assert first == slot
        [[last, _]] = wire("CLUSTER", "SLOT-STATS", "ORDERBY", metric, "LIMIT", 1, "ASC")
        assert last != slot
    rows = wire("CLUSTER", "SLOT-STATS", "ORDERBY", "CPU-USEC", "DESC")
    costs = [dict(zip(f[::2], f[1::2]))[b"cpu-usec"] for _, f in rows]
    assert costs == sorted(costs, reverse=True) and len(rows) > 5000
    assert wire("CLUSTER", "SLOT-STATS", "ORDERBY", "memory-bytes") == Error("ERR Unrecognized sort metric for ORDERBY.")


def test_off_and_on_again(cluster, wire):
    server = cluster.owner_of("{a}")
    wire("GET", "{a}")
    seen = bytes_of(wire)
    assert ask(server, "CONFIG", "SET", "cluster-slot-stats-enabled", "no") == "OK"
    slot = slot_of(wire, "{a}")
    assert wire("CLUSTER", "SLOT-STATS", "SLOTSRANGE", slot, slot) == [[slot, [b"key-count", 0]]]
    assert wire("CLUSTER", "SLOT-STATS", "ORDERBY", "CPU-USEC") == Error("ERR Unrecognized sort metric for ORDERBY.")
    wire("GET", "{a}")
    assert ask(server, "CONFIG", "SET", "cluster-slot-stats-enabled", "yes") == "OK"
    assert bytes_of(wire) == seen


def test_a_replica_counts_what_it_serves(cluster, wire):
    replica = cluster.replica_of(cluster.owner_of("{a}"))
    wire("DEL", "{a}")
    assert wire("WAIT", 1, 60000) == 1
    with replica.wire() as w:
        assert str(w("GET", "{a}")).startswith("MOVED")
        w("READONLY")
        w("GET", "{a}")
        assert bytes_of(w) == (resp(b"GET", b"{a}"), 5)


def test_a_slot_that_comes_back_begins_anew(cluster, wire):
    source = cluster.owner_of("{a}")
    target = next(p for p in cluster.primaries() if p is not source)
    slot = slot_of(wire, "{a}")
    wire("SET", "{a}", "1")
    assert bytes_of(wire) != (0, 0)

    move(source, target, (slot, slot))
    cluster.settle()
    with target.wire() as w:
        assert bytes_of(w) == (0, 0)  # what brought it here is not its load
        assert w("GET", "{a}") == b"1"
    assert wire("CLUSTER", "SLOT-STATS", "SLOTSRANGE", slot, slot) == []
    move(target, source, (slot, slot))
    cluster.settle()
    assert bytes_of(wire) == (0, 0)
    wire("DEL", "{a}")


def test_without_a_cluster_nothing_is_counted():
    server = harness.Server(harness.LARDER_SERVER, ON).start()
    try:
        with server.wire() as w:
            assert w("SET", "a", 1) == "OK"
            assert w("CLUSTER", "SLOT-STATS", "SLOTSRANGE", 0, 1) == Error("ERR This instance has cluster support disabled")
    finally:
        assert not server.close()
