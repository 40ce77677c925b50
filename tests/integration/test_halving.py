"""maxmemory halved while the node serves: takes effect by eviction (docs/ROADMAP.md, the eviction policies)."""

from harness import sanitized, wait_until

MB = 1 << 20


def test_halving_maxmemory_gives_memory_back(start_larder):
    server = start_larder({"maxmemory": "128mb", "maxmemory-policy": "allkeys-auto"}, workers=1)
    plain = not sanitized(server)
    with server.wire() as w, server.client() as r:
        empty = server.rss()
        for at in range(0, 400000, 1000):
            w.pipeline(*[("SET", f"key:{i:010}", "v" * 400) for i in range(at, at + 1000)])
        assert r.info("stats")["evicted_keys"] > 0
        assert not plain or server.rss() - empty < 1.1 * 128 * MB
        assert r.info("memory")["larder_used"] > 100 * MB
        w("CONFIG", "SET", "maxmemory", "64mb")
        wait_until(lambda: r.info("memory")["larder_used"] <= 64 * MB)
        wait_until(lambda: not plain or server.rss() - empty <= 1.1 * 64 * MB)
        assert r.dbsize() > 100000 and w("SET", "one", "more") == "OK"
