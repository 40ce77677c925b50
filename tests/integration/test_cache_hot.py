"""CACHE.HOT: the keys that are used most, and the largest ones, from a sample that is always taken."""

import pytest
from cachekit import as_dict

pytestmark = pytest.mark.larder


def hot(client, *options):
    return [as_dict(item) for item in client("CACHE.HOT", *options)]


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_hottest_come_first(start_larder, protocol):
    with start_larder(workers=2).wire(protocol=protocol) as c:
        assert hot(c) == []
        for _ in range(20):  # 40 % of all on one key, 20 % on another, the rest on a thousand
            c.pipeline(*[("GET", "hottest" if i % 5 < 2 else "second" if i % 5 == 2 else f"k{i}") for i in range(1000)])
        c("SET", "second", "v" * 500)
        c.pipeline(*[("MGET", "second", "hottest", "hottest")] * 3000)
        found = hot(c, "COUNT", "2")
        assert [item["key"] for item in found] == [b"hottest", b"second"]
        assert all(item["db"] == 0 and item["hits"] % 64 == 0 and item["error"] >= 0 for item in found)
        assert found[1]["bytes"] >= 500 > found[0]["bytes"]
        assert len(hot(c)) == 10 and len(hot(c, "COUNT", "1000")) <= 128


def test_the_counts_are_about_right(start_larder):
    with start_larder(workers=2).wire() as c:
        for _ in range(64):
            c.pipeline(*[("GET", "k")] * 1000)
        # 64,000 reads, one in 64 sampled on average, some 23 apart in deviation: ten of them, and a halving at most.
        assert 64000 * 0.4 < hot(c)[0]["hits"] < 64000 * 1.2


def test_the_biggest(start_larder):
    with start_larder(workers=2).wire() as c:
        for i in range(10):
            c("SET", f"big{i}", b"x" * (70_000 * 3**i // 2**i))
        c("SELECT", "1")
        c("SADD", "set", *[f"member{i}" for i in range(30_000)])
        for _ in range(300):
            c("SISMEMBER", "set", "member1")
        found = hot(c, "BIG", "COUNT", "3")
        assert [(item["key"], item["db"]) for item in found] == [(b"big9", 0), (b"big8", 0), (b"big7", 0)]
        assert found[0]["bytes"] >= 2_690_000
        assert (b"set", 1) in [(item["key"], item["db"]) for item in hot(c, "BIG", "COUNT", "100") if item["bytes"] > 300_000]
        c("DEL", "set")  # as they are now, not as they were seen
        c("SELECT", "0")
        c("SET", "big8", "small")
        assert [item["key"] for item in hot(c, "BIG", "COUNT", "3")] == [b"big9", b"big7", b"big6"]
        c("FLUSHALL")
        assert hot(c, "BIG") == []


def test_long_names_are_cut(start_larder):
    with start_larder(workers=1).wire() as c:
        c.pipeline(*[("SET", "n" * 1000, "v" * 100)] * 300)
        assert hot(c)[0]["key"] == b"n" * 200
        assert hot(c, "BIG")[0]["key"] == b"n" * 200


@pytest.mark.parametrize("options, part", [(("COUNT", "0"), "COUNT takes"), (("FOO",), "no option of cache.hot"), (("BIG", "BIG"), "twice")])
def test_errors(larder, options, part):
    with larder.wire() as c:
        assert part in c("CACHE.HOT", *options)
