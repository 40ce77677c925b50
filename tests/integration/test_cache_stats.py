"""CACHE.STATS and the origin budgets that it shows."""

import pytest
from cachekit import as_dict, get, wait_for_waiters
from wire import encode

pytestmark = pytest.mark.larder
ZERO = ["fresh", "stale", "negative", "miss", "waited", "retried", "granted", "early", "filled", "lease-lost", "old-version"]
ZERO += ["failed", "invalidated", "leases", "negative-bytes", "purges", "purges-pending"]


def stats(client):
    answer = as_dict(client("CACHE.STATS"))
    answer["budgets"] = [as_dict(b) for b in answer["budgets"]]
    return answer


@pytest.mark.parametrize("protocol", [2, 3])
def test_every_counter_moves(start_larder, protocol):
    with start_larder().wire(protocol=protocol) as c:
        assert stats(c) == dict.fromkeys(ZERO, 0) | {"budgets": []}
        assert list(stats(c)) == ZERO + ["budgets"]
        token = get(c, "k", "LEASE", "60000")["lease"]  # miss, granted
        get(c, "k", "LEASE", "60000")  # miss, retried
        assert stats(c)["leases"] == 1
        c("CACHE.SET", "k", "v", "LEASE", token, "PX", "60000", "VERSION", "5", "COST", "86400000")  # filled
        c("CACHE.SET", "k", "v", "LEASE", token)  # lease-lost
        c("CACHE.SET", "k", "v", "VERSION", "4")  # old-version
        token = None
        fresh = 0
        while token is None:
            token = get(c, "k", "LEASE", "60000", "EARLY", "1000")["lease"]  # fresh, granted, early
            fresh += 1
        c("CACHE.FAIL", "k", token)  # failed
        c("CACHE.INVALIDATE", "k")  # invalidated
        c("CACHE.SET", "no", "", "NEGATIVE")  # filled
        get(c, "no")
        c("CACHE.SET", "old", "v", "PX", "60000", "GRACE", "60000")  # filled
        c("CACHE.INVALIDATE", "old", "SOFT")  # invalidated
        get(c, "old", "STALE")
        get(c, "x", "WAIT", "1")  # waited, then a miss
        c("CACHE.PURGE", "TAG", "a", "b")
        seen = stats(c)
        assert seen.pop("negative-bytes") > 0
        assert seen == {
            "fresh": fresh,
            "stale": 1,
            "negative": 1,
            "miss": 3,
            "waited": 1,
            "retried": 1,
            "granted": 2,
            "early": 1,
            "filled": 3,
            "lease-lost": 1,
            "old-version": 1,
            "failed": 1,
            "invalidated": 2,
            "leases": 0,
            "purges": 2,
            "purges-pending": 0,
            "budgets": [],
        }
        c("GET", "plain")
        assert stats(c)["miss"] == 3  # plain commands are no business of these


def test_a_budget_parks_or_refuses(start_larder):
    server = start_larder({"cache-origin-budget": ("user:", "2")})
    with server.wire() as c, server.wire() as other, server.wire() as third:
        tokens = [get(c, f"user:{i}", "LEASE", "60000")["lease"] for i in range(2)]
        assert all(tokens)
        refused = get(c, "user:2", "LEASE", "60000")
        assert refused["lease"] is None and refused["retry"] > 0
        assert get(c, "page:1", "LEASE", "60000")["lease"]
        assert as_dict(c("CACHE.STATS", "user:"))["leases"] == 2
        other.send(encode("CACHE.GET", "user:2", "LEASE", "60000", "WAIT", "60000"))
        third.send(encode("CACHE.GET", "user:2", "WAIT", "60000"))
        wait_for_waiters(c, "user:2", 2)
        assert c("CACHE.SET", "user:0", "v", "LEASE", tokens[0]) == "OK"
        lease = as_dict(other.read())["lease"]  # the place that was freed
        assert lease and get(c, "user:3", "LEASE", "60000")["lease"] is None
        assert c("CACHE.SET", "user:2", "w", "LEASE", lease) == "OK"
        assert as_dict(third.read())["value"] == b"w"
        budget = as_dict(c("CACHE.STATS", "user:"))
        assert budget["prefix"] == b"user:" and budget["budget"] == 2 and budget["leases"] == 1 and budget["refused"] > 0
        assert c("CONFIG", "SET", "cache-origin-budget", "user: 1 page: 7") == "OK"
        assert c("CONFIG", "GET", "cache-origin-budget")[1] == b"user: 1 page: 7"
        assert [(b["prefix"], b["leases"]) for b in stats(c)["budgets"]] == [(b"user:", 1), (b"page:", 1)]
        assert get(c, "user:3", "LEASE", "60000")["lease"] is None
        assert c("CONFIG", "SET", "cache-origin-budget", "user: 5 page: 7 user: 1") == "OK"  # the later one counts
        assert c("CONFIG", "GET", "cache-origin-budget")[1] == b"user: 1 page: 7"
        assert "pairs" in c("CONFIG", "SET", "cache-origin-budget", "user:")
        assert c("CACHE.STATS", "none:").startswith("ERR no budget")
        assert c("CACHE.STATS", "user:", "page:").startswith("ERR cache.stats takes one prefix")


def test_a_stale_value_is_served_beyond_the_budget(start_larder):
    server = start_larder({"cache-origin-budget": ("user:", "1")})
    with server.wire() as c:
        c("CACHE.SET", "user:1", "old", "PX", "60000", "GRACE", "60000")
        c("CACHE.INVALIDATE", "user:1", "SOFT")
        assert get(c, "user:2", "LEASE", "60000")["lease"]
        answer = get(c, "user:1", "LEASE", "60000", "STALE")
        assert answer["state"] == "stale" and answer["value"] == b"old" and answer["lease"] is None
