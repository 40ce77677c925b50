"""Cache commands where slots move: a redirect for each key, leases and waiters of a slot that leaves, and what goes with a key."""

import os
import re
import signal
import socket
import struct

import harness
import pytest
from cachekit import as_dict, get, inspect, wait_for_waiters
from clusters import Cluster, ask, frame, my_id, row_of, say_on_the_bus
from test_purge import stop
from wire import Error, encode

pytestmark = pytest.mark.larder


@pytest.fixture(scope="module")
def cluster():
    with Cluster.create([harness.LARDER_SERVER] * 6, replicas=1, extra={"cluster-node-timeout": 15000}) as c:
        yield c


def known(wire, key):
    """What is held of a key, once the node knows it; before, it refuses whatever names a version."""
    harness.wait_until(lambda: wire("CACHE.SET", "{move}probe", "v", "VERSION", "1") == "OK", what="the held versions of the slot")
    return inspect(wire, key)["held-version"]


@pytest.fixture
def slot(cluster):
    """A key of one node, wires to it and to another one, and a function that moves its slot there; in the end it is back."""
    key = "{move}k"
    source = cluster.owner_of(key)
    target = next(s for s in cluster.primaries() if s is not source)
    number = ask(source, "CLUSTER", "KEYSLOT", key)

    def move(a=source, b=target):
        for s, *words in ((b, "IMPORTING", my_id(a)), (a, "MIGRATING", my_id(b))):  # not before a MIGRATESLOTS is over at both ends
            harness.wait_until(lambda: ask(s, "CLUSTER", "SETSLOT", number, *words) == "OK", what="the slot to be free to move")
        with a.wire() as w:
            while keys := w("CLUSTER", "GETKEYSINSLOT", number, 100):
                assert w("MIGRATE", "127.0.0.1", b.port, "", 0, 60000, "KEYS", *keys) in ("OK", "NOKEY")
        for s in (b, a, *[x for x in cluster.primaries() if x not in (a, b)]):
            assert ask(s, "CLUSTER", "SETSLOT", number, "NODE", my_id(b)) == "OK"

    with source.wire() as a, target.wire() as b:
        known(a, key)
        yield key, a, b, move, source, target
    if cluster.owner_of(key) is not source:
        move(target, source)
    ask(source, "FLUSHALL")
    ask(target, "FLUSHALL")


def test_mget_answers_for_each_key(cluster):
    keys = [f"k{i}" for i in range(50)]
    owners = {k: cluster.owner_of(k) for k in keys}
    for k in keys:
        assert ask(owners[k], "CACHE.SET", k, "value of " + k, "PX", "600000") == "OK"
    for s in cluster.servers:
        with s.wire() as w:
            for k, answer in zip(keys, w("CACHE.MGET", len(keys), *keys), strict=True):
                if owners[k] is s:
                    assert as_dict(answer)["value"] == ("value of " + k).encode()
                else:
                    number = w("CLUSTER", "KEYSLOT", k)
                    assert answer == Error(f"MOVED {number} 127.0.0.1:{owners[k].port}")
            w("MULTI")
            w("CACHE.MGET", 2, "a", "b")
            assert isinstance(w("EXEC"), Error)  # a transaction is of one slot


def test_a_lease_does_not_outlive_the_move_of_its_slot(slot):
    key, a, b, move, source, target = slot
    token = get(a, key, "LEASE", "600000")["lease"]
    move()
    assert get(b, key, "LEASE", "600000")["lease"]
    assert a("CACHE.SET", key, "old", "LEASE", token).startswith("MOVED")
    assert b("CACHE.SET", key, "old", "LEASE", token) == "LEASELOST"
    move(target, source)
    assert a("CACHE.SET", key, "old", "LEASE", token) == "LEASELOST"  # and not back again either
    assert get(a, key)["state"] == "miss"


def test_who_waits_is_sent_after_the_slot(slot):
    key, a, b, move, source, target = slot
    token = get(a, key, "LEASE", "600000")["lease"]
    assert token
    with source.wire() as w:
        w.send(encode("CACHE.GET", key, "LEASE", "600000", "WAIT", "600000"))
        wait_for_waiters(a, key, 1)
        move()
        assert w.read().startswith("ASK "), "from the moment on that its key may be there"


def test_waiting_where_a_slot_is_on_its_way_to(slot):
    """Who was let in by ASKING is served there, however long it has waited."""
    key, a, b, _, source, target = slot
    number = a("CLUSTER", "KEYSLOT", key)

    def asking(wire, *words):
        assert wire("ASKING") == "OK"
        return wire(*words)

    def wait(wire, *options):
        assert wire("ASKING") == "OK"
        wire.send(encode("CACHE.GET", key, *options, "WAIT", "86400000"))
        harness.wait_until(lambda: as_dict(asking(b, "CACHE.INSPECT", key))["waiters"] == 1, what="one to wait")

    assert b("CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
    assert a("CLUSTER", "SETSLOT", number, "MIGRATING", my_id(target)) == "OK"
    try:
        with target.wire() as first, target.wire() as second:
            token = as_dict(asking(b, "CACHE.GET", key, "LEASE", "86400000"))["lease"]
            wait(first, "LEASE", "86400000")
            assert asking(b, "CACHE.FAIL", key, token) == "OK"
            token = as_dict(first.read())["lease"]
            assert token and first("CACHE.INSPECT", key).startswith("MOVED ")  # ASKING was for one command
            wait(second)
            assert asking(first, "CACHE.SET", key, "v", "LEASE", token) == "OK"
            assert as_dict(second.read())["value"] == b"v"
    finally:
        asking(b, "DEL", key)
        for wire in (a, b):
            assert wire("CLUSTER", "SETSLOT", number, "STABLE") == "OK"


def test_a_key_moves_with_all_that_its_cache_knows(slot):
    key, a, b, move, *_ = slot
    a("CACHE.SET", key, "plain", "PX", "600000")
    a("CACHE.SET", "{move}rich", "v", "PX", "600000", "GRACE", "600000", "VERSION", "7", "COST", "1234", "TAGS", "2", "red", "blue")
    a("CACHE.SET", "{move}forever", "v" * 5000, "VERSION", "3")
    a("CACHE.SET", "{move}soft", "v", "PX", "600000", "GRACE", "600000", "VERSION", "9")
    a("CACHE.INVALIDATE", "{move}soft", "SOFT")
    a("CACHE.SET", "{move}over", "v", "PX", "1", "GRACE", "600000")
    harness.wait_until(lambda: get(a, "{move}over", "STALE")["state"] == "stale", what="the end of freshness")
    a("SADD", "{move}set", "1", "x")
    before = {n: inspect(a, "{move}" + n) for n in ("rich", "forever", "soft", "over")}
    move()
    assert get(b, key)["value"] == b"plain"
    assert b("SMEMBERS", "{move}set")
    for name, was in before.items():
        now = inspect(b, "{move}" + name)
        for field in ("state", "version", "cost", "tags", "grace"):
            assert now[field] == was[field], (name, field)
        assert now["age"] >= was["age"]
        assert (now["ttl"] is None) == (was["ttl"] is None)
    assert b("GET", "{move}rich") == b"v"
    assert b("GET", "{move}soft") is None
    assert get(b, "{move}soft", "STALE")["value"] == b"v"
    known(b, key)
    assert b("CACHE.SET", "{move}rich", "old", "VERSION", "6") == "OLDVERSION"
    assert b("CACHE.SET", "{move}soft", "old", "VERSION", "8") == "OLDVERSION"
    assert b("CACHE.SET", "{move}soft", "new", "VERSION", "9") == "OK"


def test_purges_find_what_has_moved(cluster, slot):
    key, a, b, move, source, target = slot
    for name in ("red", "green", "gone"):
        a("CACHE.SET", "{move}" + name, "v", "PX", "600000", "GRACE", "600000", "TAGS", "1", "moved-" + name)
    # What the target has had before the key came, and the source has not: as when a purge overtakes a key.
    assert b("CACHE.PURGE", "HERE", "test-1", "TAG", "moved-gone")
    a("CACHE.PURGE", "HERE", "test-2", "TAG", "moved-green", "SOFT")
    move()
    assert get(b, "{move}red")["state"] == "fresh"
    assert get(b, "{move}green", "STALE")["state"] == "stale", "what was purged softly at the source stays stale"
    assert get(b, "{move}gone", "STALE")["state"] == "miss", "a purge that only the target knew"
    a("CACHE.PURGE", "TAG", "moved-red")
    assert get(b, "{move}red", "STALE")["state"] == "miss", "a later one"


def test_patterns_find_what_has_moved(slot):
    key, a, b, move, source, target = slot
    tag = next(t for t in (f"{{t{i}}}" for i in range(1000)) if not isinstance(b("SET", t, "x"), Error))
    # Several segments of keys that match: at a key a second the pattern stays in force for the length of any test.
    for i in range(0, 12000, 1000):
        b.send(b"".join(encode("SET", f"{tag}ban:{k}", "x" * 500) for k in range(i, i + 1000)))
        assert [b.read() for _ in range(1000)] == ["OK"] * 1000
    a("SET", "{move}ban:plain", "v")
    a("CACHE.SET", "{move}ban:rich", "v", "PX", "600000")
    a("SET", "{move}other", "v")
    assert b("CACHE.PURGE", "HERE", "test-ban", "MATCH", "*ban:*", "RATE", "1")
    assert b("EXISTS", f"{tag}ban:0", f"{tag}ban:11999") == 0
    move()
    assert b("MGET", "{move}ban:plain", "{move}ban:rich", "{move}other") == [None, None, b"v"]


def has_banned(wire, number, glob, how="HERE"):
    """Whether the node says so, now that its replica has heard of it."""
    wire("CACHE.PURGE", how, number, "MATCH", glob)
    assert wire("WAIT", "1", "60000") >= 1
    return as_dict(wire("CACHE.PURGE", how, number, "MATCH", glob))["acked"] == 1


def wait_for_arrivals(target):
    """Whoever sends it keys waits: it takes no writes."""
    waits = re.compile(r"flags=b .*cmd=(cache\.)?restore")
    harness.wait_until(lambda: waits.search(ask(target, "CLIENT", "LIST")), what="the keys to arrive")


def test_a_pattern_waits_for_keys_that_are_on_their_way(slot):
    """Who has banned a pattern says so when no key of it is on its way from there any more: the key was taken back."""
    key, a, b, move, source, target = slot
    number = ask(source, "CLUSTER", "KEYSLOT", key)
    a("SET", key, "v")
    a("SET", "{move}other", "v")
    assert ask(target, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(target)) == "OK"
    assert b("CLIENT", "PAUSE", "100000", "WRITE") == "OK"
    try:
        with source.wire() as w:
            w.send(encode("MIGRATE", "127.0.0.1", target.port, "", 0, 60000, "KEYS", key, "{move}other"))
            wait_for_arrivals(target)
            assert not has_banned(a, "way-1", "{move}k")
            assert b("CLIENT", "UNPAUSE") == "OK"
            harness.wait_until(lambda: has_banned(a, "way-1", "{move}k"), what="the batch to end")
            assert b.pipeline(("ASKING",), ("EXISTS", key)) == ["OK", 0]
            assert b.pipeline(("ASKING",), ("GET", "{move}other")) == ["OK", b"v"]
            assert w.read() == "OK"
            assert has_banned(a, "way-2", "{move}k")
    finally:
        b("CLIENT", "UNPAUSE")
        for s in (target, source):
            assert ask(s, "CLUSTER", "SETSLOT", number, "NODE", my_id(target)) == "OK"


class Courier:
    """Stands between who sends keys and their target, and carries what it is told to, when it is told to."""

    def __init__(self, target):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = socket.create_connection(target.address(), timeout=60)
        self.sender = None

    def carry(self, *words):
        """One request, which has these words in it; the answer."""
        return self.deliver(self.take(*words))

    def take(self, *words):
        if self.sender is None:
            self.sender, _ = self.listener.accept()
        request = self.sender.recv(65536)
        for word in words:
            assert word in request
        return request

    def deliver(self, request, answer=True):
        self.target.sendall(request)
        reply = self.target.recv(65536)
        if answer:
            self.sender.sendall(reply)
        return reply

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in filter(None, (self.listener, self.target, self.sender)):
            s.close()


ON_ITS_WAY = ("{move}way:plain", "{move}way:rich")


@pytest.fixture
def on_its_way(slot):
    """A slot between two nodes, with a plain key and another one in it, and who carries what is sent."""
    key, a, b, move, source, target = slot
    assert a("SET", ON_ITS_WAY[0], "v") == a("CACHE.SET", ON_ITS_WAY[1], "v", "PX", "600000") == "OK"
    number = ask(source, "CLUSTER", "KEYSLOT", key)
    assert ask(target, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(target)) == "OK"
    with Courier(target) as courier:
        yield courier
    for s in (target, source):
        assert ask(s, "CLUSTER", "SETSLOT", number, "STABLE") == "OK"


def test_what_was_read_too_early_is_read_again(slot, on_its_way):
    key, a, b, move, source, target = slot
    with source.wire() as w:
        w.send(encode("MIGRATE", "127.0.0.1", on_its_way.port, "", 0, 60000, "COPY", "KEYS", *ON_ITS_WAY))
        on_its_way.carry(b"CACHE.ARRIVE")
        first = on_its_way.take(b"RESTORE-ASKING", b"CACHE.RESTORE")
        assert has_banned(b, "early-1", "nothing*") and has_banned(b, "early-1", "nothing*", "AGAIN")
        assert on_its_way.deliver(first).count(b"-TRYAGAIN ") == 2
        assert on_its_way.carry(b"CACHE.ARRIVE") == b"+OK\r\n"
        assert on_its_way.carry(b"RESTORE-ASKING", b"CACHE.RESTORE") == b"+OK\r\n" * 2
        assert w.read() == "OK"
    for k in ON_ITS_WAY:
        assert b.pipeline(("ASKING",), ("GET", k)) == ["OK", b"v"]


def test_what_arrives_behind_a_purge_is_refused(slot, on_its_way):
    """MIGRATE gives up, the pattern is purged everywhere, and only then the target gets what had been sent."""
    key, a, b, move, source, target = slot
    with source.wire() as w:
        w.send(encode("MIGRATE", "127.0.0.1", on_its_way.port, "", 0, 500, "KEYS", *ON_ITS_WAY))
        assert on_its_way.carry(b"CACHE.ARRIVE") == b"+OK\r\n"
        late = on_its_way.take(b"RESTORE-ASKING", b"CACHE.RESTORE")
        assert w.read().startswith("IOERR ")
    answer = as_dict(a("CACHE.PURGE", "MATCH", "{move}way:*"))
    assert answer["acked"] == answer["shards"] == 3 and a("GET", ON_ITS_WAY[0]).startswith("ASK ")
    assert on_its_way.deliver(late, answer=False).count(b"-TRYAGAIN ") == 2
    for k in ON_ITS_WAY:
        assert b.pipeline(("ASKING",), ("EXISTS", k)) == ["OK", 0]


def test_a_pattern_waits_for_keys_of_slots_that_move(slot):
    key, a, b, move, source, target = slot
    number = ask(source, "CLUSTER", "KEYSLOT", key)
    a("SET", key, "v")
    assert b("CLIENT", "PAUSE", "100000", "WRITE") == "OK"
    try:
        assert a("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", number, number, "NODE", my_id(target)) == "OK"
        wait_for_arrivals(target)
        assert not has_banned(a, "move-1", "{move}k")
        assert b("CLIENT", "UNPAUSE") == "OK"
        harness.wait_until(lambda: has_banned(a, "move-1", "{move}k"), what="the keys to have arrived")
    finally:
        b("CLIENT", "UNPAUSE")
        harness.wait_until(lambda: str(a("GET", key)).startswith("MOVED"), what="the slot to have moved")


def test_who_was_brought_keys_of_a_slot_bans_again(slot):
    key, a, b, move, source, target = slot
    number = ask(source, "CLUSTER", "KEYSLOT", key)
    a("SET", key, "v")
    a("DEL", "{move}probe")  # only plain keys
    assert has_banned(b, "brought-1", "{move}k*")
    harness.wait_until(lambda: as_dict(b("CACHE.PURGE", "HERE", "brought-1", "MATCH", "{move}k*"))["swept"] == 1, what="the ban to be over")
    assert a("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", number, number, "NODE", my_id(target)) == "OK"
    harness.wait_until(lambda: b("GET", key) == b"v", what="the slot")
    assert has_banned(b, "brought-1", "{move}k*", "AGAIN")
    assert b("GET", key) is None


def purges_wait_for_one_that_is_away(cluster, source, asked, away, wire):
    """It has been sent keys, has no slot, and is marked as failed."""
    for s in cluster.servers:
        assert ask(s, "CONFIG", "SET", "cluster-node-timeout", 1000, "cache-purge-timeout", 100) == "OK"
    for words in (("SET", "{move}a", "v"), ("CACHE.SET", "{move}b", "v", "PX", "600000", "TAGS", "1", "blue")):
        assert wire.pipeline(("ASKING",), words) == ["OK", "OK"]
    away.process.send_signal(signal.SIGSTOP)
    try:
        harness.wait_until(lambda: all("fail" in row_of(s, away).flags for s in cluster.servers if s is not away), what="the others to see it")
        for words in (("TAG", "blue"), ("MATCH", "{move}a")):
            answer = as_dict(ask(asked, "CACHE.PURGE", *words))
            assert (answer["shards"], answer["acked"], answer["pending"]) == (3, 2, 1)
    finally:
        away.process.send_signal(signal.SIGCONT)
    harness.wait_until(lambda: as_dict(ask(asked, "CACHE.STATS"))["purges-pending"] == 0, what="the purges to be complete")
    assert wire.pipeline(("ASKING",), ("GET", "{move}a"), ("ASKING",), ("GET", "{move}b")) == ["OK", None, "OK", None]


def test_purges_reach_a_primary_that_has_no_slot_yet():
    """The first slot of a new node is on its way: what has arrived is served there, and purged there."""
    key, tagged = "{move}k", "{move}tagged"
    with Cluster.create([harness.LARDER_SERVER] * 3, extra={"cluster-node-timeout": 15000}) as cluster:
        new = cluster.add()
        source = cluster.owner_of(key)
        third = next(s for s in cluster.primaries() if s not in (source, new))
        number = ask(source, "CLUSTER", "KEYSLOT", key)
        assert ask(new, "CLUSTER", "MEET", "127.0.0.1", source.port) == "OK"
        harness.wait_until(lambda: all(my_id(new) in ask(s, "CLUSTER", "NODES") and "handshake" not in ask(s, "CLUSTER", "NODES")
                                       for s in cluster.servers) and "cluster_state:ok" in ask(new, "CLUSTER", "INFO"),
                           what="the new node to be known")  # fmt: skip
        assert as_dict(ask(third, "CACHE.PURGE", "TAG", "none"))["shards"] == 4
        assert ask(source, "CACHE.SET", tagged, "v", "PX", "600000", "GRACE", "600000", "TAGS", "1", "red") == "OK"
        assert ask(source, "SET", key, "v") == "OK"
        assert ask(new, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
        assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(new)) == "OK"
        assert ask(source, "MIGRATE", "127.0.0.1", new.port, "", 0, 60000, "KEYS", key, tagged) == "OK"
        with new.wire() as w:
            assert w.pipeline(("ASKING",), ("GET", key), ("ASKING",), ("GET", tagged)) == ["OK", b"v", "OK", b"v"]
            for words in (("TAG", "red"), ("MATCH", key)):
                answer = as_dict(ask(third, "CACHE.PURGE", *words))
                assert (answer["shards"], answer["acked"], answer["pending"]) == (4, 4, 0)
            assert w.pipeline(("ASKING",), ("GET", key), ("ASKING",), ("GET", tagged)) == ["OK", None, "OK", None]
            purges_wait_for_one_that_is_away(cluster, source, third, new, w)
        for s in (new, source):
            assert ask(s, "CLUSTER", "SETSLOT", number, "STABLE") == "OK"


def test_a_purge_is_not_done_without_a_target_that_only_one_node_sees_as_failed():
    """Whoever is asked leaves it out, the slots' owner has no doubt of it: the purge waits for it all the same."""
    with Cluster.create([harness.LARDER_SERVER] * 3, extra={"cluster-node-timeout": 60000}) as cluster:
        new = cluster.add()
        source = cluster.owner_of("{move}k")
        asked = next(s for s in cluster.primaries() if s not in (source, new))
        number = ask(source, "CLUSTER", "KEYSLOT", "{move}k")
        assert ask(new, "CLUSTER", "MEET", "127.0.0.1", source.port) == "OK"
        harness.wait_until(lambda: all(my_id(new) in ask(s, "CLUSTER", "NODES") and "handshake" not in ask(s, "CLUSTER", "NODES")
                                       for s in cluster.servers) and "cluster_state:ok" in ask(new, "CLUSTER", "INFO"),
                           what="the new node to be known")  # fmt: skip
        assert ask(new, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
        assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(new)) == "OK"
        assert ask(asked, "CONFIG", "SET", "cache-purge-timeout", 500) == "OK"
        failed = frame(3, my_id(new).encode(), my_id(source).encode(), epoch=0, slots=b"\0" * 2048)
        with new.wire() as w:
            for words in (("SET", "{move}a", "v"), ("CACHE.SET", "{move}b", "v", "PX", "600000", "TAGS", "1", "blue")):
                assert w.pipeline(("ASKING",), words) == ["OK", "OK"]
            stop(new)
            try:
                answer = as_dict(ask(asked, "CACHE.PURGE", "TAG", "blue"))
                assert (answer["shards"], answer["acked"], answer["pending"]) == (4, 3, 1)
                say_on_the_bus(asked, failed)
                harness.wait_until(lambda: "fail" in row_of(asked, new).flags, what="it to be believed")
                answer = as_dict(ask(asked, "CACHE.PURGE", "MATCH", "{move}a"))
                assert (answer["shards"], answer["acked"], answer["pending"]) == (3, 2, 1)
                assert as_dict(ask(asked, "CACHE.STATS"))["purges-pending"] == 2, "what its owner said when the target counted, too"
                assert "fail" in row_of(asked, new).flags and "fail" not in row_of(source, new).flags
            finally:
                new.process.send_signal(signal.SIGCONT)
            harness.wait_until(lambda: as_dict(ask(asked, "CACHE.STATS"))["purges-pending"] == 0, what="the purges to be complete")
            assert w.pipeline(("ASKING",), ("GET", "{move}a"), ("ASKING",), ("GET", "{move}b")) == ["OK", None, "OK", None]


def test_what_nobody_may_read_stays_behind(slot):
    key, a, b, move, *_ = slot
    a("CACHE.SET", key, "plain", "PX", "600000")
    a("CACHE.SET", "{move}none", "", "NEGATIVE", "PX", "600000")
    a("CACHE.SET", "{move}purged", "v", "PX", "600000", "TAGS", "1", "purged-here")
    a("CACHE.PURGE", "TAG", "purged-here")
    move()
    assert get(b, key)["value"] == b"plain"
    for name in ("none", "purged"):
        assert get(b, "{move}" + name, "STALE")["state"] == "miss"


def test_a_stale_key_is_served_where_it_is(slot):
    """While a slot is on its way, what is stale here is not sent for there; and no lease outlives the beginning or the end of that."""
    key, a, b, move, source, target = slot
    number = ask(source, "CLUSTER", "KEYSLOT", key)
    a("CACHE.SET", key, "old", "PX", "600000", "GRACE", "600000")
    a("CACHE.INVALIDATE", key, "SOFT")
    early = get(a, key, "STALE", "LEASE", "600000")["lease"]
    absent = get(a, "{move}absent", "LEASE", "600000")["lease"]
    assert early and absent
    assert ask(target, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(target)) == "OK"
    answer = get(a, key, "STALE", "LEASE", "600000")
    assert answer["value"] == b"old" and answer["lease"], "the lease from before is void"
    assert a("CACHE.SET", key, "v", "LEASE", early) == "LEASELOST"
    assert a("CACHE.SET", key, "new", "LEASE", answer["lease"]) == "OK"
    assert a("CACHE.INVALIDATE", "{move}absent").startswith("ASK "), "it is the target's to invalidate"
    for s in (source, target):
        assert ask(s, "CLUSTER", "SETSLOT", number, "STABLE") == "OK"
    assert a("CACHE.SET", "{move}absent", "v", "LEASE", absent) == "LEASELOST"
    assert a("GET", key) == b"new"


def test_held_versions_go_with_the_slot(cluster, slot):
    key, a, b, move, source, target = slot
    number = ask(source, "CLUSTER", "KEYSLOT", key)
    a("CACHE.INVALIDATE", key, "VERSION", "7", "HOLD", "600000")
    a("CACHE.SET", "{move}gone", "v", "VERSION", "5")
    a("DEL", "{move}gone")
    other = next(k for k in (f"k{i}" for i in range(1000)) if ask(source, "CLUSTER", "KEYSLOT", k) != number
                 and not isinstance(a("CACHE.INVALIDATE", k, "VERSION", "3", "HOLD", "600000"), Error))
    assert ask(target, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(target)) == "OK"
    # On its way: what is older is refused where that is known, the rest is sent on.
    assert a("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"
    assert a("CACHE.SET", key, "new", "VERSION", "7").startswith("ASK ")
    assert a("CACHE.SET", key, "plain").startswith("ASK ")
    assert a("CACHE.SET", key, "bad", "VERSION", "x").startswith("ASK ")
    for s in (target, source):
        assert ask(s, "CLUSTER", "SETSLOT", number, "NODE", my_id(target)) == "OK"
    assert known(b, key) == 7
    assert b("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"
    assert b("CACHE.SET", "{move}gone", "old", "VERSION", "4") == "OLDVERSION"
    assert b("CACHE.SET", key, "new", "VERSION", "7") == "OK"
    assert inspect(a, other)["held-version"] == 3
    with cluster.replica_of(target).wire() as replica:
        replica("READONLY")
        # Nobody has told the replica whose slot it is: it hears so from its primary.
        harness.wait_until(lambda: not isinstance(replica("CACHE.INSPECT", key), Error), what="the replica to serve the slot")
        harness.wait_until(lambda: inspect(replica, key)["held-version"] == 7, what="the target's replica to know it, too")
    # And back, with what was removed there; keys and their versions by MIGRATE.
    b("DEL", "{move}probe")
    b("CACHE.INVALIDATE", "{move}there", "VERSION", "9", "HOLD", "600000")
    move(target, source)
    assert known(a, "{move}there") == 9
    assert a("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"
    assert a("CACHE.SET", "{move}there", "old", "VERSION", "8") == "OLDVERSION"


def test_what_was_held_there_when_a_move_is_called_off(slot):
    key, a, b, move, source, target = slot
    number = ask(source, "CLUSTER", "KEYSLOT", key)
    assert ask(target, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(target)) == "OK"
    assert b("ASKING") == "OK"
    assert b("CACHE.INVALIDATE", key, "VERSION", "7", "HOLD", "600000") == 0
    for s in (source, target):
        assert ask(s, "CLUSTER", "SETSLOT", number, "STABLE") == "OK"
    assert known(a, key) == 7
    assert a("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"


def test_no_version_is_taken_before_the_former_owner_has_spoken(slot):
    key, a, b, move, source, target = slot
    number = ask(source, "CLUSTER", "KEYSLOT", key)
    a("CACHE.INVALIDATE", key, "VERSION", "7", "HOLD", "600000")
    assert ask(target, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(target)) == "OK"
    os.kill(source.process.pid, signal.SIGSTOP)
    try:
        assert ask(target, "CLUSTER", "SETSLOT", number, "NODE", my_id(target)) == "OK"
        assert b("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"
        assert b("CACHE.SET", "{move}x", "v", "VERSION", "100") == "OLDVERSION", "too much rather than too little"
        assert b("CACHE.SET", "{move}x", "v") == "OK"
        assert b("SET", "{move}x", "v") == "OK"
    finally:
        os.kill(source.process.pid, signal.SIGCONT)
    assert ask(source, "CLUSTER", "SETSLOT", number, "NODE", my_id(target)) == "OK"
    assert known(b, key) == 7
    assert b("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"


def test_held_believes_nothing(slot):
    key, a, *_ = slot
    nothing, everything = b"\0" * 2048, b"\xff" * 2048
    assert a("CACHE.HELD", nothing, 0)[0] != 0
    assert a("CACHE.HELD", nothing, 2048) == [0, b""]
    assert a("CACHE.HELD", everything, 0).startswith("TRYAGAIN ")
    for bad in ((b"", 0), (everything[:-1], 0), (nothing + b"x", 0), (nothing, -1), (nothing, 2049), (nothing, 2**63 - 1), (nothing, "x")):
        assert isinstance(a("CACHE.HELD", *bad), Error), bad


@pytest.mark.parametrize("binary", [harness.LARDER_SERVER, harness.REDIS_SERVER], ids=["larder", "redis"])
def test_migrate_by_kind_of_target(binary, start_larder):
    """Outside of clusters, too: another larder takes everything, Redis what a plain value can say."""
    target = harness.Server(binary).start()
    try:
        check_kind(binary, target, start_larder(workers=2))
    finally:
        harness.end_all([target])


def check_kind(binary, target, source):
    with source.wire() as a:
        a("CACHE.SET", "fresh", "v", "PX", "600000", "GRACE", "600000", "VERSION", "4")
        a("CACHE.SET", "tagged", "v", "PX", "600000", "TAGS", "1", "red")
        a("CACHE.SET", "soft", "v", "PX", "600000", "GRACE", "600000")
        a("CACHE.INVALIDATE", "soft", "SOFT")
        assert a("MIGRATE", "127.0.0.1", target.port, "", 0, 60000, "KEYS", "fresh", "tagged", "soft") == "OK"
        assert a("DBSIZE") == 0
        with target.wire() as b:
            assert b("GET", "fresh") == b"v"
            assert 0 < b("PTTL", "fresh") <= 600000
            if harness.is_redis(binary):
                assert b("EXISTS", "tagged", "soft") == 0
            else:
                assert inspect(b, "fresh")["version"] == 4
                assert inspect(b, "tagged")["tags"] == 1
                assert get(b, "soft", "STALE")["state"] == "stale"


def test_restore_believes_nothing(start_larder):
    with start_larder(workers=2).wire() as w:
        w("SET", "x", "value")
        dump = w("DUMP", "x")
        w("SADD", "s", "m")
        bad = Error("ERR Bad data format")
        ext = struct.pack("<qIIqqQ", 1000, 0, 5, 601000, 900, 3)  # fresh for ten minutes, or its time to live
        assert w("CACHE.RESTORE", "ok", 60000, dump, ext) == "OK"
        assert inspect(w, "ok")["cost"] == 5
        assert w("CACHE.RESTORE", "ok", 60000, dump, ext).startswith("BUSYKEY")
        assert w("CACHE.RESTORE", "ok", 60000, dump, ext, "REPLACE") == "OK"
        for extra in (b"", b"x", ext[:-1], ext + b"x", ext + b"x" * 8, struct.pack("<qIIqqQ", 1000, 2, 5, 2000, 900, 3),
                      struct.pack("<qIIqqQ", 1000, 64, 5, 2000, 900, 3), struct.pack("<qIIqqQ", 1000, 0xFFFF0000, 5, 2000, 900, 3),
                      struct.pack("<qIIqqQ", -1, 0, 5, 2000, 900, 3), struct.pack("<qIIqqQ", 1, 0, 5, 2**63 - 1, 900, 3),
                      struct.pack("<qIIqqQ", 1, 0, 5, 2000, 2**63 - 1, 3), struct.pack("<qIIqqQ", 1000, 0, 5, 0, 900, 3),
                      struct.pack("<qIIqqQ", 1000, 0, 5, -5, 900, 3)):
            assert w("CACHE.RESTORE", "k", 60000, dump, extra) == bad, extra
        for ttl in (-1, -(2**63), 2**63 - 1):
            assert w("CACHE.RESTORE", "k", ttl, dump, ext) == bad
        assert w("CACHE.RESTORE", "k", 60000, w("DUMP", "s"), ext) == bad
        assert isinstance(w("CACHE.RESTORE", "k", 60000, dump[:-1], ext), Error)
        assert isinstance(w("CACHE.RESTORE", "k", 60000, dump, ext, "NX"), Error)
        assert isinstance(w("CACHE.RESTORE", "k", "x", dump, ext), Error)
        assert w("EXISTS", "k") == 0
        # Far in the past is stale, and nobody's clock makes it more.
        assert w("CACHE.RESTORE", "old", 60000, dump, struct.pack("<qIIqqQ", 2**62, 0, 5, 1, 1, 3)) == "OK"
        assert get(w, "old", "STALE")["state"] == "stale"
        assert w("EXISTS", "old") == 0
        # A version that is held, or here already, is not undone.
        v5 = struct.pack("<qIIqqQQ", 1000, 8, 5, 2000, 900, 3, 5)
        w("CACHE.INVALIDATE", "held", "VERSION", "6")
        assert w("CACHE.RESTORE", "held", 60000, dump, v5) == "OK"
        assert w("EXISTS", "held") == 0
        w("CACHE.SET", "newer", "n", "VERSION", "6")
        assert w("CACHE.RESTORE", "newer", 60000, dump, v5, "REPLACE") == "OK"
        assert w("GET", "newer") == b"n"


@pytest.mark.parametrize("how", ["was there", "came in between", "heard it from its primary"])
def test_who_takes_over_before_the_former_owner_has_spoken_asks_it(how):
    """The new owner of a slot dies before it knows which versions are held there: its replica refuses them until it knows."""
    key, probe = "{move}k", "{move}probe"
    with Cluster.create([harness.LARDER_SERVER] * 6, replicas=1, extra={"cluster-node-timeout": 60000}) as cluster:
        source = cluster.owner_of(key)
        target, third = (s for s in cluster.primaries() if s is not source)
        heir = cluster.replica_of(target)
        number = ask(source, "CLUSTER", "KEYSLOT", key)
        assert ask(source, "CACHE.INVALIDATE", key, "VERSION", "7", "HOLD", "600000") == 0
        assert ask(target, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(source)) == "OK"
        assert ask(source, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(target)) == "OK"
        os.kill(source.process.pid, signal.SIGSTOP)
        try:
            assert ask(target, "CLUSTER", "SETSLOT", number, "NODE", my_id(target)) == "OK"
            harness.wait_until(lambda: str(ask(heir, "GET", key)).endswith(f":{target.port}"), what="the replica to see the slot's new owner")
            if how == "came in between":
                cluster.kill(heir)
                heir.start()
                harness.wait_until(lambda: "master_link_status:up" in ask(heir, "INFO", "replication"), what="the new copy")
            elif how == "heard it from its primary":
                os.kill(source.process.pid, signal.SIGCONT)
                assert ask(source, "CLUSTER", "SETSLOT", number, "NODE", my_id(target)) == "OK"
                with target.wire() as w, heir.wire() as r:
                    assert known(w, key) == 7
                    r("READONLY")
                    harness.wait_until(lambda: inspect(r, key)["held-version"] == 7, what="the replica to hold it")
                os.kill(source.process.pid, signal.SIGSTOP)
            cluster.kill(target)
            assert ask(heir, "CLUSTER", "FAILOVER", "TAKEOVER") == "OK"
            harness.wait_until(lambda: ask(heir, "SET", "{move}plain", "v") == "OK", what="the takeover")
            with heir.wire() as w:
                assert w("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"
                if how != "heard it from its primary":
                    assert w("CACHE.SET", probe, "v", "VERSION", "100") == "OLDVERSION", "too much rather than too little"
                assert w("CACHE.SET", probe, "v") == "OK"
        finally:
            os.kill(source.process.pid, signal.SIGCONT)
        if how == "came in between":
            return  # it refuses for a minute, since nobody has told it whom to ask
        harness.wait_until(lambda: ask(source, "CLUSTER", "SETSLOT", number, "NODE", my_id(heir)) == "OK", what="the source to hear of the takeover")
        with heir.wire() as w:
            assert known(w, key) == 7
            assert w("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"
            assert w("CACHE.SET", key, "new", "VERSION", "7") == "OK"
