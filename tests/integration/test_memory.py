"""Where the memory goes: INFO memory, MEMORY STATS, DOCTOR, PURGE, and what maxmemory bounds."""

import time

import pytest
from harness import wait_until
from wire import encode

pytestmark = pytest.mark.larder

MB = 1 << 20


def pairs(reply):
    return dict(zip(reply[::2], reply[1::2]))


def fill(w, n, size, first=0, name="key"):
    for at in range(first, first + n, 1000):
        w.pipeline(*[("SET", f"{name}:{i:010}", "v" * size) for i in range(at, min(at + 1000, first + n))])


def accounts(r):
    """larder's own figures of INFO memory, without the prefix."""
    return own_figures(r.info("memory"))


def own_figures(info):
    return {name[7:]: value for name, value in info.items() if name.startswith("larder_")}


def test_info_adds_up(r, w):
    wait_until(lambda: accounts(r)["flushed"] == 0, what="what was flushed to be gone")
    fill(w, 20000, 100)
    w.pipeline(*[("SET", f"big:{i}", "v" * 30000) for i in range(100)], *[("EXPIRE", f"key:{i:010}", "1000") for i in range(1000)])
    info = r.info("memory")
    own = own_figures(info)
    assert own["keys"] == 20000 * 14 + sum(len(f"big:{i}") for i in range(100))
    assert own["keys"] + own["values"] + own["headers"] == own["segments_live"]
    assert own["segments_live"] + own["segments_dead"] == own["segments"]
    assert own["segments"] + own["tables"] + own["blocks"] + own["blocks_slack"] + own["ghosts"] + own["rss_counted"] == own["used"]
    assert own["headers"] == 20100 * 4 + 1000 * 8 and 20000 * 100 <= own["values"] < 20000 * 100 + 20100 * 12
    if info["mem_allocator"].startswith("jemalloc"):  # sanitizers' heap tells nothing
        assert info["used_memory"] - info["mem_not_counted_for_evict"] <= own["used"] <= info["used_memory"] + own["blocks_slack"] + own["rss_counted"]
    assert info["used_memory_dataset"] + info["used_memory_overhead"] == info["used_memory"]
    assert 130 < own["bytes_per_key"] < 1000


def test_memory_stats(r, w, w3):
    empty = pairs(w("MEMORY", "STATS"))
    assert empty[b"keys.count"] == 0 and empty[b"keys.bytes"] == 0
    fill(w, 5000, 100)
    r.execute_command("SELECT", 0)
    stats = w3("MEMORY", "STATS")
    assert {b"64", b"4096", b"larger"} < set(stats[b"evicted.by-size"])
    assert isinstance(stats, dict) and stats[b"keys.count"] == 5000
    redis = b"""peak.allocated total.allocated startup.allocated replication.backlog clients.slaves clients.normal cluster.links aof.buffer
        lua.caches functions.caches db.0 overhead.total keys.count keys.bytes-per-key dataset.bytes dataset.percentage peak.percentage
        allocator.allocated allocator.active allocator.resident allocator-fragmentation.ratio allocator-fragmentation.bytes
        allocator-rss.ratio allocator-rss.bytes rss-overhead.ratio rss-overhead.bytes fragmentation fragmentation.bytes"""
    assert [name for name in redis.split() if name not in stats] == []
    assert set(stats[b"db.0"]) == {b"overhead.hashtable.main", b"overhead.hashtable.expires"}
    assert stats[b"keys.bytes"] == 5000 * 14 and stats[b"values.bytes"] >= 5000 * 100
    assert stats[b"total.allocated"] == stats[b"overhead.total"] + stats[b"dataset.bytes"]
    assert stats[b"peak.allocated"] >= stats[b"total.allocated"]
    assert stats[b"segments.bytes"] + stats[b"tables.bytes"] + stats[b"blocks.bytes"] <= stats[b"data.used"]
    assert r.memory_stats()["keys.count"] == 5000  # redis-py reads it


def test_doctor(start_larder):
    server = start_larder({"maxmemory": "8mb"}, workers=1)
    with server.wire() as w:
        assert b"Almost nothing" in w("MEMORY", "DOCTOR")
        for i in range(100):
            w.pipeline(*[("SET", f"k{i}:{j}", "v" * 1000) for j in range(100)])
        assert str(w("SET", "one", "more")).startswith("OOM")
        text = w("MEMORY", "DOCTOR").decode()
        assert "Memory is full" in text and "maxmemory is 8.00M" in text and "allkeys-auto" in text
        w("CONFIG", "SET", "maxmemory", "0")
        assert "Memory is full" not in w("MEMORY", "DOCTOR").decode()


def test_doctor_names_big_clients(start_larder):
    server = start_larder(workers=1)
    with server.wire() as w, server.wire() as idle:
        w("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0")
        w("SET", "some", "v" * 1500)
        idle.send(encode("GET", "some") * 40000)
        wait_until(lambda: int(w("INFO", "memory").split(b"mem_clients_normal:")[1].split()[0]) > 20 * MB)
        text = w("MEMORY", "DOCTOR").decode()
        assert "clients have buffers of" in text and "maxmemory-clients" in text


def test_clients_do_not_count_against_maxmemory(start_larder):
    """Their buffers come on top: with many times maxmemory in them, writes go on and the accounts stay."""
    server = start_larder({"maxmemory": "24mb"}, workers=1)
    with server.wire() as w, server.wire() as idle, server.client() as r:
        w("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0")
        fill(w, 50000, 100)
        w("SET", "some", "v" * 1500)  # so small that replies hold copies of it
        idle.send(encode("GET", "some") * 60000)
        wait_until(lambda: r.info("memory")["mem_clients_normal"] > 48 * MB)
        time.sleep(2)  # ten samples of the process
        assert accounts(r)["rss_counted"] == 0
        assert w("SET", "one", "more") == "OK"


def test_purge_gives_memory_back(start_larder):
    server = start_larder(workers=1)
    with server.wire() as w, server.client() as r:
        fill(w, 100000, 400)
        full = accounts(r)["segments"]
        assert full > 40 * MB
        for at in range(0, 100000, 1000):
            w("DEL", *[f"key:{i:010}" for i in range(at, at + 1000)])
        assert w("MEMORY", "PURGE") == "OK"
        assert accounts(r)["segments_free"] < full / 10
        assert w("MEMORY", "MALLOC-STATS") != b""


def test_memory_returns_after_flushall(start_larder):
    """What a flush leaves behind goes back to the system by itself."""
    server = start_larder(workers=1)
    with server.wire() as w, server.client() as r:
        fill(w, 100000, 400)
        w.pipeline(*[("SET", f"big:{i}", "v" * 50000) for i in range(200)])
        w("FLUSHALL")
        wait_until(lambda: accounts(r)["flushed"] == 0)
        wait_until(lambda: accounts(r)["segments_free"] < 4 * MB)
        assert accounts(r)["keys"] == 0 and accounts(r)["used"] < 8 * MB
