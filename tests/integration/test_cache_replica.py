"""Cache metadata on replicas: in the stream, in full copies, after a takeover; and Redis replicas, which know none of it."""

import os

import pytest
from cachekit import as_dict, get, inspect, wait_for_waiters
from harness import REDIS_SERVER, free_port, wait_until
from test_replica import follow, in_step, servers, single  # noqa: F401
from wire import Wire, encode

pytestmark = [
    pytest.mark.larder,
    pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server"),
]


@pytest.fixture
def pair(servers):  # noqa: F811
    p, r = servers(), servers()
    a, b = single(p), single(r)
    a.set("first", 1)
    follow(r, p.port)
    in_step(a, b)
    with p.wire() as primary, r.wire() as replica:
        yield primary, replica, lambda: in_step(a, b)


def test_the_stream_carries_the_metadata(pair):
    p, r, settle = pair
    p("CACHE.SET", "k", "v", "PX", "600000", "GRACE", "500000", "VERSION", "7", "COST", "30", "TAGS", "2", "red", "blue")
    settle()
    answer = get(r, "k")
    assert answer["state"] == "fresh" and answer["value"] == b"v" and answer["version"] == 7
    seen = inspect(r, "k")
    assert seen["kind"] == "cache" and seen["tags"] == 2 and seen["cost"] == 30 and 0 < seen["grace"] <= 500000


def test_replicas_grant_nothing(pair):
    p, r, settle = pair
    error = r("CACHE.GET", "k", "LEASE", "1000")
    assert error.startswith("MOVED ") and error.endswith(str(p.sock.getpeername()[1]))
    assert r("CACHE.SET", "k", "v").startswith("READONLY")
    for write in (("CACHE.PURGE", "TAG", "red"), ("CACHE.PURGE", "MATCH", "*"), ("CACHE.INVALIDATE", "k"), ("CACHE.FAIL", "k", "token")):
        assert r(*write).startswith("READONLY")
    assert get(r, "k")["state"] == "miss"


def test_a_purge_reaches_the_replica_and_outlives_the_primary(pair):
    p, r, settle = pair
    p("CACHE.SET", "before", "v", "PX", "600000", "TAGS", "1", "red")
    p("CACHE.SET", "soft", "v", "PX", "600000", "GRACE", "600000", "TAGS", "1", "blue")
    token = get(p, "late", "LEASE", "60000")["lease"]
    settle()
    purged = as_dict(p("CACHE.PURGE", "TAG", "red"))
    assert purged["shards"] == 1 and purged["pending"] == 0
    p("CACHE.PURGE", "TAG", "blue", "SOFT")
    p("CACHE.SET", "late", "v", "LEASE", token, "PX", "600000", "TAGS", "1", "red")
    p("CACHE.SET", "after", "v", "PX", "600000", "TAGS", "1", "red")
    settle()
    r("REPLICAOF", "NO", "ONE")
    for c in (p, r):
        assert get(c, "before")["state"] == "miss" and get(c, "late")["state"] == "miss"
        assert get(c, "soft")["state"] == "miss" and get(c, "soft", "STALE")["state"] == "stale"
        assert get(c, "after")["state"] == "fresh"
    r("CACHE.PURGE", "TAG", "red")  # counts on from where the primary was
    assert get(r, "after")["state"] == "miss"


def test_tombstones_outlive_the_primary(pair):
    p, r, settle = pair
    p("CACHE.SET", "k", "v", "VERSION", "5")
    p("CACHE.INVALIDATE", "k", "VERSION", "6", "HOLD", "600000")
    p("CACHE.INVALIDATE", "missing", "VERSION", "6", "HOLD", "600000")
    p("CACHE.SET", "deleted", "v", "VERSION", "6")
    settle()
    p("DEL", "deleted")
    settle()
    r("REPLICAOF", "NO", "ONE")
    for key in ("k", "missing", "deleted"):
        assert r("CACHE.SET", key, "old", "VERSION", "5") == "OLDVERSION"
        assert r("CACHE.SET", key, "new", "VERSION", "6") == "OK"


def test_a_late_invalidation_leaves_the_newer_value_on_the_replica(pair):
    p, r, settle = pair
    p("CACHE.SET", "k", "v", "VERSION", "9")
    p("CACHE.INVALIDATE", "k", "VERSION", "8", "HOLD", "600000")
    settle()
    assert get(r, "k")["version"] == 9


def test_a_full_copy_carries_tags_and_versions(servers):  # noqa: F811
    p, r = servers(), servers()
    a, b = single(p), single(r)
    with p.wire() as primary, r.wire() as replica:
        for _ in range(3):
            primary("CACHE.PURGE", "TAG", "other")
        primary("CACHE.SET", "k", "v", "PX", "600000", "VERSION", "7", "TAGS", "1", "red")
        primary("CACHE.SET", "purged", "v", "PX", "600000", "TAGS", "1", "blue")
        primary("CACHE.PURGE", "TAG", "blue")
        primary("CACHE.SET", "no", "", "NEGATIVE", "PX", "600000")
        follow(r, p.port)
        in_step(a, b)
        seen = inspect(replica, "k")
        assert seen["kind"] == "cache" and seen["version"] == 7 and seen["tags"] == 1
        assert get(replica, "purged", "STALE")["state"] == "miss" and replica("GET", "no") is None
        replica("REPLICAOF", "NO", "ONE")
        replica("CACHE.PURGE", "TAG", "red")
        assert get(replica, "k")["state"] == "miss"


def test_a_redis_replica_holds_plain_values_and_counts_equal_offsets(servers):  # noqa: F811
    p, r = servers(), servers(REDIS_SERVER)
    a, b = single(p), single(r)
    follow(r, p.port)
    in_step(a, b)
    with p.wire() as primary:
        primary("CACHE.SET", "k", "v", "PX", "600000", "GRACE", "600000", "VERSION", "7", "TAGS", "1", "red")
        primary("CACHE.SET", "gone", "v", "PX", "600000")
        primary("CACHE.SET", "gone", "", "NEGATIVE")
        primary("CACHE.SET", "dead", "v", "PX", "600000", "VERSION", "1")
        primary("CACHE.INVALIDATE", "dead", "VERSION", "2", "HOLD", "1000")
        primary("CACHE.PURGE", "TAG", "blue")
        primary("MULTI")
        primary("CACHE.SET", "m", "v", "PX", "600000", "TAGS", "1", "red")
        primary("SET", "plain", "1")
        assert primary("EXEC") == ["OK", "OK"]
        in_step(a, b)
        wait_until(lambda: a.info("replication")["connected_slaves"] == 1)
    assert b.get("k") == b"v" and 0 < b.pttl("k") <= 600000
    assert b.get("gone") is None and b.get("dead") is None
    assert b.get("m") == b"v" and b.get("plain") == b"1"


def same(p, r, keys):
    """What both know of the keys, but for what goes by with time."""
    for key in keys:
        ours, theirs = inspect(p, key), inspect(r, key)
        for field in ("state", "kind", "grace", "version", "held-version", "cost", "born", "tags"):
            assert ours[field] == theirs[field], (key, field)
        assert get(p, key, "STALE")["value"] == get(r, key, "STALE")["value"]


def test_a_soft_invalidation_with_a_version_keeps_the_grace(pair):
    p, r, settle = pair
    for key in ("k", "over"):
        p("CACHE.SET", key, "v", "PX", "600000" if key == "k" else "1", "GRACE", "600000", "VERSION", "5", "TAGS", "1", "red")
    wait_until(lambda: get(p, "over", "STALE")["state"] == "stale", what="the end of freshness")
    for key in ("k", "over", "missing"):
        p("CACHE.INVALIDATE", key, "SOFT", "VERSION", "7", "HOLD", "600000")
    settle()
    same(p, r, ("k", "over", "missing"))
    r("REPLICAOF", "NO", "ONE")
    for key in ("k", "over"):
        assert get(r, key)["state"] == "miss" and r("GET", key) is None
        assert get(r, key, "STALE")["value"] == b"v"
    for key in ("k", "over", "missing"):
        assert r("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"
        assert r("CACHE.SET", key, "new", "VERSION", "7") == "OK"


@pytest.mark.parametrize("binary", [None, REDIS_SERVER], ids=["larder", "redis"])
def test_a_stale_entry_that_arrives_is_as_stale_on_the_replica(servers, binary):  # noqa: F811
    source, p, r = servers(), servers(), servers(binary) if binary else servers()
    a, b = single(p), single(r)
    follow(r, p.port)
    in_step(a, b)
    stale = ("over", "soft", "tagged", "forever", "large")
    with source.wire() as s, p.wire() as primary, r.wire() as replica:
        s("CACHE.SET", "over", "v", "PX", "1", "GRACE", "600000", "VERSION", "3", "COST", "7")
        s("CACHE.SET", "soft", "v", "PX", "600000", "GRACE", "600000")
        s("CACHE.INVALIDATE", "soft", "SOFT", "VERSION", "9")
        s("CACHE.SET", "tagged", "v", "PX", "600000", "GRACE", "600000", "TAGS", "2", "red", "blue")
        s("CACHE.SET", "forever", "v", "TAGS", "1", "red")
        s("CACHE.SET", "large", "v" * 300000, "PX", "600000", "GRACE", "600000", "TAGS", "1", "red")
        s("CACHE.PURGE", "TAG", "red", "SOFT")
        s("CACHE.SET", "fresh", "v", "PX", "600000", "GRACE", "600000")
        s("CACHE.SET", "purged", "v", "PX", "600000", "GRACE", "600000", "TAGS", "1", "gone")
        s("CACHE.SET", "short", "v", "PX", "1", "GRACE", "2000")
        wait_until(lambda: get(s, "over", "STALE")["state"] == "stale", what="the end of freshness")
        primary("CACHE.SET", "purged", "old")
        primary("CACHE.PURGE", "TAG", "gone")
        assert s("MIGRATE", "127.0.0.1", p.port, "", 0, 60000, "REPLACE", "KEYS", *stale, "fresh", "purged", "short") == "OK"
        in_step(a, b)
        assert [get(primary, k, "STALE")["state"] for k in stale] == ["stale"] * len(stale)
        assert get(primary, "purged", "STALE")["state"] == "miss"
        assert replica("MGET", *stale, "fresh", "purged", "short") == [None] * len(stale) + [b"v", None, None]
        assert replica("EXISTS", *stale) == 0
        if binary is None:
            same(primary, replica, (*stale, "fresh", "purged"))
        # The end of its grace, and what takes its place, arrive like any.
        wait_until(lambda: get(primary, "short", "STALE")["state"] == "miss", what="the end of grace")
        primary("CACHE.SET", "soft", "new", "PX", "600000")
        in_step(a, b)
        assert replica("GET", "soft") == b"new" and replica("EXISTS", "short") == 0


def test_a_negative_entry_that_is_not_kept_holds_its_version_on_the_replica(pair):
    p, r, settle = pair
    p("CACHE.SET", "k", "v", "VERSION", "5")
    p("CONFIG", "SET", "cache-negative-max-memory", "0")
    p("CONFIG", "SET", "cache-version-hold", "600000")
    for key in ("k", "missing"):
        assert p("CACHE.SET", key, "", "NEGATIVE", "VERSION", "7") == "OK"
    settle()
    same(p, r, ("k", "missing"))
    assert inspect(r, "k")["held-version"] == inspect(r, "missing")["held-version"] == 7


@pytest.mark.parametrize("size", [5, 100_000])
def test_what_is_known_goes_with_times_and_copies(pair, size):
    p, r, settle = pair
    for key in ("time", "persist", "copy", "rename", "move"):
        p("CACHE.SET", key, "v" * size, "PX", "600000", "GRACE", "600000", "VERSION", "7", "COST", "30", "TAGS", "2", "red", "blue")
    assert p("PEXPIRE", "time", "500000") == p("PERSIST", "persist") == p("COPY", "copy", "copied") == p("MOVE", "move", "5") == 1
    assert p("RENAME", "rename", "renamed") == "OK"
    settle()
    same(p, r, ("time", "persist", "copy", "copied", "renamed"))
    assert inspect(r, "time")["grace"] == 600000 and inspect(r, "renamed")["tags"] == 2
    for c in (p, r):
        c("SELECT", "5")
    same(p, r, ("move",))
    assert inspect(r, "move")["version"] == 7


def test_waiting_at_a_replica_for_what_the_stream_brings(pair):
    p, r, settle = pair
    with Wire(r.sock.getpeername()) as w:
        w.send(encode("CACHE.GET", "k", "WAIT", "86400000"))
        wait_for_waiters(r, "k", 1)
        p("CACHE.SET", "k", "v", "PX", "600000", "VERSION", "7")
        answer = as_dict(w.read())
        assert answer["value"] == b"v"
        p("DEL", "k")
        settle()
        w.send(encode("CACHE.GET", "k", "WAIT", "86400000"))
        wait_for_waiters(r, "k", 1)
        r("REPLICAOF", "NO", "ONE")
        assert inspect(r, "k")["waiters"] == 1
        r("SET", "k", "mine")
        assert as_dict(w.read())["value"] == b"mine"


def test_who_waits_for_a_lease_at_what_becomes_a_replica_is_sent_to_its_primary(servers):  # noqa: F811
    port = free_port()  # where nobody is: it happens at once, and not with the full copy
    with servers().wire() as c, Wire(c.sock.getpeername()) as w:
        token = get(c, "k", "LEASE", "86400000")["lease"]
        w.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "86400000"))
        wait_for_waiters(c, "k", 1)
        assert c("REPLICAOF", "127.0.0.1", port) == "OK"
        moved = w.read()
        assert moved.startswith("MOVED ") and moved.endswith(f":{port}")
        c("REPLICAOF", "NO", "ONE")
        assert c("CACHE.SET", "k", "v", "LEASE", token) == "LEASELOST"


def test_each_key_of_mget_is_sent_to_the_primary(pair):
    p, r, settle = pair
    fresh, none, plainly = r("CACHE.MGET", "3", "first", "none", "first", "LEASE", "1000")
    assert as_dict(fresh)["value"] == as_dict(plainly)["value"] == b"1"
    assert none.startswith("MOVED ") and none.endswith(str(p.sock.getpeername()[1]))
    assert as_dict(r("CACHE.MGET", "1", "none")[0])["state"] == "miss"
