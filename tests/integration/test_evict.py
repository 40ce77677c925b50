"""Eviction as clients and replicas see it: each policy keeps its bound while serving, refusals, what reaches replicas."""

import os
import time

import pytest
import redis
from cachekit import as_dict, get, inspect
from harness import REDIS_SERVER, wait_until
from test_replica import data_of, follow, in_step, servers, single  # noqa: F401

pytestmark = pytest.mark.larder

MB = 1 << 20
LIMIT = 16 * MB
POLICIES = [f"{keys}-{kind}" for keys in ("allkeys", "volatile") for kind in ("auto", "lru", "lfu", "random")] + ["volatile-ttl"]


def write(w, first, n, size=400, ttl=None):
    """The replies that are errors."""
    more = () if ttl is None else ("EX", ttl)
    errors = []
    for at in range(first, first + n, 500):
        replies = w.pipeline(*[("SET", f"key:{i:08}", "v" * size, *more) for i in range(at, at + 500)])
        errors += [reply for reply in replies if reply != "OK"]
    return errors


def test_every_policy_while_serving(start_larder):
    server = start_larder({"maxmemory": "16mb"}, workers=2)
    with server.wire() as w, server.client() as r:
        write(w, 0, 5000, ttl=10000)
        for turn, policy in enumerate(POLICIES):
            assert w("CONFIG", "SET", "maxmemory-policy", policy) == "OK"
            before = r.info("stats")["evicted_keys"]
            w.pipeline(*[("SET", f"kept:{i}", "v" * 100) for i in range(1000)])
            assert write(w, 10000 + turn * 50000, 50000, ttl=10000 - turn) == []
            assert r.info("stats")["evicted_keys"] > before + 10000, policy
            wait_until(lambda: r.info("memory")["larder_used"] <= LIMIT, what=f"the bound under {policy}")
            if policy.startswith("volatile"):
                assert r.exists(*[f"kept:{i}" for i in range(1000)]) == 1000, policy


def test_noeviction_refuses_writes_only(start_larder):
    server = start_larder({"maxmemory": "16mb"}, workers=1)
    with server.wire() as w, server.client() as r:
        errors = write(w, 0, 60000)
        assert errors and set(errors) == {"OOM command not allowed when used memory > 'maxmemory'."}
        keys = r.dbsize()
        assert keys == 60000 - len(errors) and r.info("stats")["evicted_keys"] == 0
        assert w("GET", "key:00000000") == b"v" * 400
        assert w("LPUSH", "nothing", "x").startswith("ERR unknown command") or w("SADD", "s", "x").startswith("OOM")
        assert w("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") == "OK"
        assert write(w, 100000, 5000) == []
        assert r.info("stats")["evicted_keys"] > 0


def test_volatile_without_deadlines_refuses(start_larder):
    server = start_larder({"maxmemory": "16mb", "maxmemory-policy": "volatile-lru"}, workers=1)
    with server.wire() as w, server.client() as r:
        errors = write(w, 0, 60000)
        assert errors and set(errors) == {"OOM command not allowed when used memory > 'maxmemory'."}
        assert r.dbsize() == 60000 - len(errors)


def nearly_full(w, r):
    """So much of 24 MB that the smallest correction by what is resident (1/8) would evict. The number of keys."""
    assert write(w, 0, 50000) == []
    assert 21 * MB < r.info("memory")["larder_used"] < 23 * MB and r.info("stats")["evicted_keys"] == 0
    return r.dbsize()


def test_buffers_of_clients_evict_nothing(start_larder):
    server = start_larder({"maxmemory": "24mb", "maxmemory-policy": "allkeys-lru"}, workers=1)
    with server.wire() as w, server.client() as r:
        keys = nearly_full(w, r)
        with server.wire() as greedy:
            greedy.send(b"*2\r\n$3\r\nGET\r\n$12\r\nkey:00000000\r\n" * 100000)  # 40 MB of replies, never read
            wait_until(lambda: r.info("memory")["mem_clients_normal"] > 30 * MB, what="buffered replies")
            time.sleep(2)  # ten samples of the process
            assert write(w, 0, 1000) == []
            assert (r.dbsize(), r.info("stats")["evicted_keys"]) == (keys, 0)


def test_the_log_evicts_nothing(servers):
    """What is kept for replicas comes on top, too, though it is more than maxmemory."""
    p, r = servers(maxmemory="24mb", maxmemory_policy="allkeys-lru", repl_backlog_size="48mb"), servers()
    a, b = single(p), single(r)
    follow(r, p.port)
    in_step(a, b)
    with p.wire() as w:
        keys = nearly_full(w, a)
        while a.info("memory")["mem_replication_backlog"] < 40 * MB or a.info("replication")["repl_backlog_histlen"] < 40 * MB:
            assert write(w, 0, 20000) == []
        time.sleep(2)  # ten samples of the process
        assert write(w, 0, 1000) == []
        assert (a.dbsize(), a.info("stats")["evicted_keys"]) == (keys, 0)
    in_step(a, b)
    assert data_of(a) == data_of(b)


@pytest.mark.parametrize("kind", ["redis", "larder"])
def test_replicas_hold_what_the_primary_holds(servers, kind):
    if kind == "redis" and not os.path.exists(REDIS_SERVER):
        pytest.skip("needs redis-server")
    p = servers(maxmemory="16mb", maxmemory_policy="allkeys-auto")
    r = servers(REDIS_SERVER) if kind == "redis" else servers(maxmemory="8mb", maxmemory_policy="allkeys-random")
    a, b = single(p), single(r)
    follow(r, p.port)
    in_step(a, b)
    with p.wire() as w:
        assert write(w, 0, 80000) == []
    assert a.info("stats")["evicted_keys"] > 20000
    in_step(a, b)
    assert b.info("stats")["evicted_keys"] == 0
    assert data_of(a) == data_of(b)


def test_restore_keeps_idle_time_and_frequency(start_larder):
    server = start_larder({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lfu"}, workers=1)
    with server.wire() as w, server.client() as r:
        r.set("k", "v")
        dump = r.dump("k")
        r.restore("f", 0, dump, frequency=200)
        assert 190 <= r.object("freq", "f") <= 200
        assert w("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") == "OK"
        r.restore("i", 0, dump, idletime=5000)
        assert 4990 <= r.object("idletime", "i") <= 5100
        with pytest.raises(redis.ResponseError, match="LFU maxmemory policy is not selected"):
            r.object("freq", "f")


def how_many_are_gone(r, name, n):
    """How many of name:0 ... are no more."""
    there = sum(r.exists(*[f"{name}:{i:08}" for i in range(at, min(at + 1000, n))]) for at in range(0, n, 1000))
    return n - there


def test_what_is_told_of_evictions_is_what_has_happened(start_larder):
    """Counted by a client that knows what it wrote: evictions by size, ghosts, live and dead bytes."""
    server = start_larder({"maxmemory": "16mb", "maxmemory-policy": "allkeys-auto"}, workers=1)
    small, large = 200000, 10000  # the small alone are more than fit
    with server.wire() as w, server.client() as r:
        for at in range(0, small, 500):
            w.pipeline(*[("SET", f"small:{i:08}", "v" * 100) for i in range(at, at + 500)],
                       *[("SET", f"large:{i:08}", "v" * 1500) for i in range(at // 20, at // 20 + 25)])  # fmt: skip
        while True:  # all figures of one moment
            stats, memory = r.info("stats"), r.info("memory")
            lost = {"128": how_many_are_gone(r, "small", small), "2048": how_many_are_gone(r, "large", large)}  # 4 + 14 + 100, 12 + 14 + 1500 bytes
            if r.info("stats")["evicted_keys"] == stats["evicted_keys"] and r.info("memory")["larder_segments"] == memory["larder_segments"]:
                break
        told = {bound: n for bound, n in stats["larder_evicted_by_size"].items() if n}
        assert told == lost and sum(lost.values()) == stats["evicted_keys"] > 10000
        live = (small - lost["128"]) * 120 + (large - lost["2048"]) * 1528  # in units of 4 bytes
        assert memory["larder_segments_live"] == live
        assert memory["larder_segments"] == live + memory["larder_segments_dead"]
        assert stats["larder_evicted_age_ms"] > 0 and stats["larder_small_queue_percent"] == 80
        # Of what went last, most is still remembered; of what was never there, hardly anything.
        last = [name for i in range(small - 1, 0, -1) if not r.exists(name := f"small:{i:08}")][:2000]
        w.pipeline(*[("SET", f"never:{i:08}", "v" * 100) for i in range(2000)])
        strangers = r.info("stats")["larder_ghost_hits"] - stats["larder_ghost_hits"]
        w.pipeline(*[("SET", name, "v" * 100) for name in last])
        again = r.info("stats")["larder_ghost_hits"] - stats["larder_ghost_hits"] - strangers
        assert strangers <= 100 and again >= len(last) / 2


def test_what_the_cache_commands_know_of_the_evicted(start_larder):
    """Its version is still held, its lease is void, and negative entries give their memory back."""
    server = start_larder({"maxmemory": "16mb", "maxmemory-policy": "allkeys-lru", "cache-version-hold": "600000"}, workers=1)
    with server.wire() as w, server.client() as r:
        for i in range(50):
            assert w("CACHE.SET", f"row:{i}", "v", "PX", "600000", "GRACE", "600000", "VERSION", "9", "COST", "86400000") == "OK"
            assert w("CACHE.SET", f"none:{i}", "", "NEGATIVE", "PX", "600000") == "OK"
        leases = [get(w, f"row:{i}", "LEASE", "600000", "EARLY", "1000")["lease"] for i in range(50)]
        assert sum(lease is not None for lease in leases) > 40
        before = as_dict(w("CACHE.STATS"))
        assert write(w, 0, 150000) == [] and r.info("stats")["evicted_keys"] > 50000
        gone = [i for i in range(50) if inspect(w, f"row:{i}")["kind"] == "none"]
        assert len(gone) > 40
        for i in gone:
            assert w("CACHE.SET", f"row:{i}", "old", "VERSION", "8") == "OLDVERSION"
            if leases[i]:
                assert w("CACHE.SET", f"row:{i}", "v", "VERSION", "9", "LEASE", leases[i]) == "LEASELOST"
            assert w("CACHE.SET", f"row:{i}", "new", "VERSION", "9") == "OK"
        after = as_dict(w("CACHE.STATS"))
        assert after["negative-bytes"] < before["negative-bytes"] and after["leases"] < before["leases"]
