"""String commands, as redis-py and a bare connection see them."""

import random
import time

import pytest
import redis

from harness import wait_until

WRONG_INT = "value is not an integer or out of range"
WRONG_FLOAT = "value is not a valid float"


def test_set_and_get(r):
    assert r.set("k", "v") is True
    assert r.get("k") == b"v"
    assert r.get("nothing") is None
    for value in (b"", b"\x00\r\n$5\r\n", bytes(range(256)), "ünï".encode()):
        r.set(value, value)
        assert r.get(value) == value


def test_set_options(r, w):
    assert r.set("k", "1", nx=True) is True
    assert r.set("k", "2", nx=True) is None
    assert r.set("k", "3", xx=True) is True
    assert r.set("other", "3", xx=True) is None
    assert r.get("k") == b"3"
    assert r.set("k", "4", get=True) == b"3"
    assert w("SET", "new", "x", "GET") is None
    assert w("SET", "k", "y", "NX", "GET") == b"4"
    assert r.get("k") == b"4"
    r.set("k", "5", ex=1000)
    assert 990 < r.ttl("k") <= 1000
    r.set("k", "6", keepttl=True)
    assert 980 < r.ttl("k") <= 1000
    r.set("k", "7")
    assert r.ttl("k") == -1
    r.set("k", "8", px=500000)
    assert 400000 < r.pttl("k") <= 500000
    r.set("k", "9", exat=int(time.time()) + 5000)
    assert 4900 < r.ttl("k") <= 5000
    r.set("k", "9", pxat=33000000000000)
    assert r.execute_command("PEXPIRETIME", "k") == 33000000000000


@pytest.mark.parametrize(
    "options",
    [
        ("NX", "XX"), ("EX", "10", "PX", "10"), ("EX",), ("EX", "10", "KEEPTTL"), ("PX", "1", "EXAT", "1"), ("BOGUS",),
        ("KEEPTTL", "PXAT", "99"), ("EX", "10", "EX"), ("10",), ("GET", "GET", "EX"),
    ],
)  # fmt: skip
def test_set_refuses_contradictions(w, options):
    assert w("SET", "k", "v", *options) == "ERR syntax error"
    assert w("EXISTS", "k") == 0


@pytest.mark.parametrize("ttl", ["0", "-1", "9223372036854775807", "-9223372036854775808"])
@pytest.mark.parametrize("option", ["EX", "PX"])
def test_set_refuses_bad_times(w, option, ttl):
    assert w("SET", "k", "v", option, ttl) == "ERR invalid expire time in 'set' command"
    assert w("SETEX" if option == "EX" else "PSETEX", "k", ttl, "v").startswith("ERR invalid expire time in '")
    assert w("SET", "k", "v", option, ttl + "x") == "ERR " + WRONG_INT
    assert w("EXISTS", "k") == 0


def test_arity_and_unknown_names(w):
    assert w("GET") == "ERR wrong number of arguments for 'get' command"
    assert w("get", "a", "b") == "ERR wrong number of arguments for 'get' command"
    assert w("GETT", "a", "b") == "ERR unknown command 'GETT', with args beginning with: 'a' 'b' "
    long = w("nosuch", "x" * 300, "y")
    assert long.startswith("ERR unknown command 'nosuch', with args beginning with: 'xxx") and len(long) < 250
    assert w("x" * 300).startswith("ERR unknown command '" + "x" * 128)


def test_getset_getdel_getex(r, w):
    assert w("GETSET", "k", "1") is None
    assert w("GETSET", "k", "2") == b"1"
    assert r.getex("k", ex=100) == b"2" and 90 < r.ttl("k") <= 100
    assert r.getex("k", persist=True) == b"2" and r.ttl("k") == -1
    assert w("GETEX", "k", "PXAT", "32000000000000") == b"2" and w("PEXPIRETIME", "k") == 32000000000000
    assert w("GETEX", "k", "EXAT", "1") == b"2" and w("EXISTS", "k") == 0
    assert w("GETEX", "k") is None
    assert w("GETEX", "k", "EX", "0") is None
    w("SET", "k", "3")
    assert w("GETEX", "k", "EX", "0") == "ERR invalid expire time in 'getex' command"
    assert w("GETEX", "k", "EX", "1", "PERSIST") == "ERR syntax error"
    assert r.getdel("k") == b"3" and r.getdel("k") is None


def test_mget_mset(r, w):
    assert r.mset({f"k{i}": i for i in range(200)})
    assert r.mget([f"k{i}" for i in range(200)]) == [b"%d" % i for i in range(200)]
    assert r.mget("k1", "nothing", "k1") == [b"1", None, b"1"]
    assert w("MSET", "a", "1", "a", "2") == "OK" and w("GET", "a") == b"2"
    assert w("MSET", "a", "1", "b") == "ERR wrong number of arguments for 'mset' command"
    assert r.msetnx({"n1": "x", "n2": "y"}) is True
    assert r.msetnx({"n3": "x", "n2": "z"}) is False
    assert r.mget("n1", "n2", "n3") == [b"x", b"y", None]
    r.set("t", "1", ex=100)
    r.mset({"t": "2"})
    assert r.ttl("t") == -1


def test_counters(r, w):
    assert [r.incr("c"), r.incrby("c", 41), r.decr("c"), r.decrby("c", 41)] == [1, 42, 41, 0]
    r.set("c", 2**63 - 2)
    assert r.incr("c") == 2**63 - 1
    assert w("INCR", "c") == "ERR increment or decrement would overflow"
    assert w("GET", "c") == b"9223372036854775807"
    r.set("c", -(2**63))
    assert w("DECR", "c") == "ERR increment or decrement would overflow"
    assert w("DECRBY", "c", "-9223372036854775808") == "ERR decrement would overflow"
    for junk in ("", " 1", "1 ", "1.0", "0x1", "+1", "01", "-0", "abc", "9223372036854775808", "1\x00"):
        r.set("c", junk)
        assert w("INCR", "c") == "ERR " + WRONG_INT, junk
        assert w("INCRBY", "d", junk) == "ERR " + WRONG_INT, junk
    assert w("EXISTS", "d") == 0


def test_counter_keeps_its_ttl(r):
    r.set("c", 1, ex=1000)
    r.incr("c")
    r.append("c", "0")
    r.setrange("c", 0, "9")
    assert r.get("c") == b"90" and 900 < r.ttl("c") <= 1000


def test_incrbyfloat(w):
    for start, by, result in [
        (None, "0.1", b"0.1"), ("10.50", "0.1", b"10.6"), ("5.0e3", "2.0e2", b"5200"), ("3", "-3", b"0"), ("1", "1e17", b"100000000000000001"),
        ("0.1", "0.2", b"0.3"), ("-1", "0.5", b"-0.5"), ("1.000", "0", b"1"), ("0x10", "1", b"17"),
    ]:  # fmt: skip
        w("DEL", "f")
        if start:
            w("SET", "f", start)
        assert w("INCRBYFLOAT", "f", by) == result
        assert w("GET", "f") == result
    assert w("INCRBYFLOAT", "f", "x") == "ERR " + WRONG_FLOAT
    assert w("INCRBYFLOAT", "f", "nan") == "ERR " + WRONG_FLOAT
    assert w("INCRBYFLOAT", "f", "inf") == "ERR increment would produce NaN or Infinity"
    w("SET", "f", " 1")
    assert w("INCRBYFLOAT", "f", "1") == "ERR " + WRONG_FLOAT


def test_append_and_ranges(r, w):
    assert r.append("k", "Hello") == 5
    assert r.append("k", " World") == 11
    assert r.strlen("k") == 11 and r.strlen("nothing") == 0
    assert [r.getrange("k", *se) for se in ((0, 4), (-5, -1), (0, -1), (5, 1), (-100, 100), (11, 20), (-1, -5))] == [
        b"Hello", b"World", b"Hello World", b"", b"Hello World", b"", b"",
    ]  # fmt: skip
    assert w("SUBSTR", "k", "0", "0") == b"H"
    assert r.setrange("k", 6, "Redis") == 11 and r.get("k") == b"Hello Redis"
    assert r.setrange("pad", 5, "x") == 6 and r.get("pad") == b"\0\0\0\0\0x"
    assert r.setrange("none", 5, "") == 0 and not r.exists("none")
    assert w("SETRANGE", "k", "-1", "x") == "ERR offset is out of range"
    assert w("SETRANGE", "k", "536870912", "x") == "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    assert w("SETRANGE", "k", "9223372036854775807", "x") == "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    assert w("GETRANGE", "k", "9223372036854775807", "-9223372036854775808") == b""


def test_lcs(w):
    w("MSET", "a", "ohmytext", "b", "mynewtext")
    assert w("LCS", "a", "b") == b"mytext"
    assert w("LCS", "a", "b", "LEN") == 6
    assert w("LCS", "a", "b", "IDX") == [b"matches", [[[4, 7], [5, 8]], [[2, 3], [0, 1]]], b"len", 6]
    assert w("LCS", "a", "b", "IDX", "MINMATCHLEN", "4", "WITHMATCHLEN") == [b"matches", [[[4, 7], [5, 8], 4]], b"len", 6]
    assert w("LCS", "a", "b", "LEN", "IDX") == "ERR If you want both the length and indexes, please just use IDX."
    assert w("LCS", "a", "nothing") == b""
    assert w("LCS", "nothing", "a", "LEN") == 0


def test_lcs_is_a_map_in_resp3(w3):
    w3("MSET", "a", "ohmytext", "b", "mynewtext")
    assert w3("LCS", "a", "b", "IDX", "MINMATCHLEN", "4") == {b"matches": [[[4, 7], [5, 8]]], b"len": 6}


def test_lcs_agrees_with_the_textbook(w):
    rng = random.Random(4)
    for _ in range(30):
        a = bytes(rng.choice(b"abc") for _ in range(rng.randrange(0, 60)))
        b = bytes(rng.choice(b"abc") for _ in range(rng.randrange(0, 60)))
        best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                best[i + 1][j + 1] = best[i][j] + 1 if x == y else max(best[i][j + 1], best[i + 1][j])
        w("MSET", "a", a, "b", b)
        assert w("LCS", "a", "b", "LEN") == best[-1][-1]
        found = w("LCS", "a", "b")
        assert len(found) == best[-1][-1]
        for text in (a, b):
            at = iter(text)
            assert all(c in at for c in found)


def test_encodings_as_redis_names_them(w):
    for value, encoding in [
        ("1", b"int"), ("-9223372036854775808", b"int"), ("9223372036854775808", b"embstr"), ("01", b"embstr"), ("", b"embstr"),
        ("x" * 44, b"embstr"), ("x" * 45, b"raw"), ("1.5", b"embstr"),
    ]:  # fmt: skip
        w("SET", "k", value)
        assert w("OBJECT", "ENCODING", "k") == encoding, value
    w("SET", "k", "abc")
    w("APPEND", "k", "d")
    assert w("OBJECT", "ENCODING", "k") == b"raw"


def test_expired_value_is_gone_for_every_reader(r):
    r.set("k", "v", px=1)
    wait_until(lambda: r.get("k") is None, what="expiry")
    assert r.exists("k") == 0 and r.ttl("k") == -2 and r.type("k") == b"none"


def test_pipeline_of_many(r):
    with r.pipeline(transaction=False) as p:
        for i in range(20000):
            p.set(f"key:{i}", i)
            p.get(f"key:{i}")
        replies = p.execute()
    assert replies[1::2] == [b"%d" % i for i in range(20000)]


def test_errors_reach_redis_py(r):
    with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
        r.execute_command("SET", "k")
    r.set("k", "abc")
    with pytest.raises(redis.ResponseError, match=WRONG_INT):
        r.incr("k")
