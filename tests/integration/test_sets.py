"""A large set grows, is scanned, combined, copied, expires and is deleted: the members that should be there are."""

import select

from wire import encode

MEMBERS, STEP = 300000, 2000
SERVED = 200  # a few are served before the lane has begun


def fill(r, key, first, end):
    pipe = r.pipeline(transaction=False)
    for i in range(first, end, STEP):
        pipe.sadd(key, *range(i, i + STEP))
    assert sum(pipe.execute()) == end - first


def test_large_sets(r):
    fill(r, "{s}a", 0, MEMBERS)
    fill(r, "{s}b", MEMBERS // 2, MEMBERS * 3 // 2)
    assert r.scard("{s}a") == MEMBERS and r.object("encoding", "{s}a") == b"hashtable"
    assert len(set(r.sscan_iter("{s}a", count=1000))) == MEMBERS
    assert r.sunionstore("{s}u", "{s}a", "{s}b") == MEMBERS * 3 // 2
    assert r.sinterstore("{s}i", "{s}a", "{s}b") == MEMBERS // 2
    assert r.sdiffstore("{s}d", "{s}a", "{s}b") == MEMBERS // 2
    assert r.copy("{s}a", "{s}c") and r.srem("{s}a", 1, 2, 3) == 3
    assert r.scard("{s}c") == MEMBERS and r.scard("{s}a") == MEMBERS - 3
    assert r.delete("{s}u", "{s}i") == 2
    assert r.pexpireat("{s}d", 1) and not r.exists("{s}d")
    assert len(r.spop("{s}c", 1000)) == 1000 and r.scard("{s}c") == MEMBERS - 1000


def test_writers_do_not_wait_for_what_the_lane_reads(r, w):
    """The lane counts what two large sets share; meanwhile their keys' shard serves other clients, and the count is that
    of one moment."""
    fill(r, "{s}a", 0, MEMBERS)
    fill(r, "{s}b", 0, MEMBERS)
    r.sadd("{s}a", "more")
    for keys in (4, 16, 64, 256):  # on a slow machine it takes a longer count to serve so many beside it
        n = 0
        w.send(encode("SINTERCARD", keys, *["{s}a", "{s}b"] * (keys // 2)))
        while not select.select([w.sock], [], [], 0)[0]:
            assert r.sadd("{s}b", "more") == 1 and r.srem("{s}b", "more") == 1
            n += 1
        assert w.read() in (MEMBERS, MEMBERS + 1)
        if n >= SERVED:
            return
    raise AssertionError(f"only {n} writers were served while {keys} sets were counted")
