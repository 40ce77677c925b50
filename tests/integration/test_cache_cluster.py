"""Cache commands where slots move: a redirect for each key, leases and waiters of a slot that leaves, tagged entries."""

import harness
import pytest
from cachekit import as_dict, get, wait_for_waiters
from clusters import Cluster, ask, my_id
from wire import Error, encode

pytestmark = pytest.mark.larder


@pytest.fixture(scope="module")
def cluster():
    with Cluster.create([harness.LARDER_SERVER] * 3) as c:
        yield c


@pytest.fixture
def slot(cluster):
    """A key of one node, wires to it and to another one, and a function that moves its slot there; in the end it is back."""
    key = "{move}k"
    source = cluster.owner_of(key)
    target = next(s for s in cluster.primaries() if s is not source)
    number = ask(source, "CLUSTER", "KEYSLOT", key)

    def move(a=source, b=target):
        assert ask(b, "CLUSTER", "SETSLOT", number, "IMPORTING", my_id(a)) == "OK"
        assert ask(a, "CLUSTER", "SETSLOT", number, "MIGRATING", my_id(b)) == "OK"
        with a.wire() as w:
            while keys := w("CLUSTER", "GETKEYSINSLOT", number, 100):
                assert w("MIGRATE", "127.0.0.1", b.port, "", 0, 60000, "KEYS", *keys) in ("OK", "NOKEY")
        for s in (b, a, *[x for x in cluster.servers if x not in (a, b)]):
            assert ask(s, "CLUSTER", "SETSLOT", number, "NODE", my_id(b)) == "OK"

    with source.wire() as a, target.wire() as b:
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
        assert w.read().startswith("MOVED ")


def test_what_cannot_be_moved_as_it_is_stays_behind(slot):
    key, a, b, move, *_ = slot
    a("CACHE.SET", key, "plain", "PX", "600000")
    a("CACHE.SET", "{move}tagged", "v", "PX", "600000", "TAGS", "1", "red")
    a("CACHE.SET", "{move}stale", "v", "PX", "600000", "GRACE", "600000")
    a("CACHE.INVALIDATE", "{move}stale", "SOFT")
    a("CACHE.SET", "{move}none", "", "NEGATIVE", "PX", "600000")
    move()
    assert get(b, key)["value"] == b"plain"
    for name in ("tagged", "stale", "none"):  # never fresh at the target, where a purge would not find them
        assert get(b, "{move}" + name, "STALE")["state"] == "miss"
