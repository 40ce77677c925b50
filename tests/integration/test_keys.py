"""Keys of any type: life, names, databases, expiry, dumps, and finding them."""

import time

import pytest

from harness import wait_until

FAR = 33000000000  # seconds; the year 3015


def test_del_unlink_exists_touch_type(r):
    r.mset({"a": 1, "b": 2, "c": 3})
    assert r.exists("a", "a", "b", "nothing") == 3
    assert r.touch("a", "b", "nothing") == 2
    assert r.type("a") == b"string" and r.type("nothing") == b"none"
    assert r.delete("a", "a", "nothing") == 1
    assert r.unlink("b", "c", "c") == 2
    assert r.dbsize() == 0


def test_rename(r, w):
    r.set("a", "1", ex=1000)
    assert r.rename("a", "b")
    assert r.get("b") == b"1" and 900 < r.ttl("b") <= 1000 and not r.exists("a")
    assert w("RENAME", "a", "b") == "ERR no such key"
    assert w("RENAME", "b", "b") == "OK"
    assert w("RENAMENX", "b", "b") == 0
    r.set("c", "2")
    assert r.renamenx("b", "c") is False
    assert r.rename("b", "c") and r.get("c") == b"1" and 900 < r.ttl("c") <= 1000
    assert r.renamenx("c", "d") is True
    r.set("e", "3")
    r.rename("e", "d")
    assert r.ttl("d") == -1


def test_copy(r, w):
    r.set("a", "1", ex=1000)
    assert r.copy("a", "b") and 900 < r.ttl("b") <= 1000
    assert not r.copy("a", "b")
    assert r.copy("a", "b", replace=True)
    assert r.copy("a", "a", destination_db=3)
    assert w("COPY", "a", "a") == "ERR source and destination objects are the same"
    assert w("COPY", "a", "b", "DB", "16") == "ERR DB index is out of range"
    assert w("COPY", "a", "b", "DB", "x") == "ERR value is not an integer or out of range"
    assert w("COPY", "a", "b", "BOGUS") == "ERR syntax error"
    assert not r.copy("nothing", "c")
    w("APPEND", "b", "x")
    assert r.get("a") == b"1"


def test_databases(r, w):
    r.set("k", "zero")
    assert w("SELECT", "1") == "OK" and w("GET", "k") is None
    w("SET", "k", "one")
    assert r.move("k", 1) is False  # there already
    assert r.get("k") == b"zero"
    assert w("MOVE", "k", "2") == 1 and w("EXISTS", "k") == 0
    assert w("MOVE", "k", "1") == "ERR source and destination objects are the same"
    assert w("MOVE", "k", "99") == "ERR DB index is out of range"
    assert w("SWAPDB", "0", "2") == "OK"
    assert r.get("k") == b"one"
    assert w("SWAPDB", "0", "x") == "ERR invalid second DB index"
    assert w("SWAPDB", "x", "0") == "ERR invalid first DB index"
    assert w("SWAPDB", "0", "99") == "ERR DB index is out of range"
    assert w("SELECT", "16") == "ERR DB index is out of range"
    assert w("SELECT", "x") == "ERR value is not an integer or out of range"
    assert w("SELECT", "2") == "OK" and w("GET", "k") == b"zero"


def test_flush(r, w):
    w("SELECT", "5")
    for command in (("FLUSHDB",), ("FLUSHDB", "SYNC"), ("FLUSHDB", "ASYNC")):
        r.set("k", 1)
        w("SET", "k", 5)
        assert w(*command) == "OK"
        assert w("DBSIZE") == 0 and r.dbsize() == 1
    for command in (("FLUSHALL",), ("FLUSHALL", "SYNC"), ("FLUSHALL", "ASYNC")):
        r.set("k", 1)
        w("SET", "k", 5)
        assert w(*command) == "OK"
        assert w("DBSIZE") == 0 and r.dbsize() == 0
    assert w("FLUSHALL", "BOGUS") == "ERR syntax error"


def test_info_keyspace(r, w):
    r.mset({"a": 1, "b": 2})
    r.expire("a", 1000)
    w("SELECT", "3")
    w("SET", "c", 3)
    info = r.info("keyspace")
    assert info["db0"]["keys"] == 2 and info["db0"]["expires"] == 1 and info["db3"]["keys"] == 1
    assert set(info) == {"db0", "db3"}


def test_expire_family(r, w):
    r.set("k", "v")
    assert r.expire("k", 100) and 90 < r.ttl("k") <= 100
    assert r.pexpire("k", 100000) and 90000 < r.pttl("k") <= 100000
    assert r.expireat("k", FAR) and w("EXPIRETIME", "k") == FAR and w("PEXPIRETIME", "k") == FAR * 1000
    assert r.pexpireat("k", FAR * 1000 + 7) and w("PEXPIRETIME", "k") == FAR * 1000 + 7
    assert r.persist("k") and not r.persist("k") and r.ttl("k") == -1
    assert w("EXPIRETIME", "k") == -1 and w("EXPIRETIME", "nothing") == -2 and w("PTTL", "nothing") == -2
    assert not r.expire("nothing", 10)
    assert r.expire("k", -1) and not r.exists("k")
    r.set("k", "v")
    assert r.expireat("k", 1) and not r.exists("k")
    r.set("k", "v")
    assert w("EXPIRE", "k", "9223372036854775807") == "ERR invalid expire time in 'expire' command"
    assert w("PEXPIRE", "k", "9223372036854775807") == "ERR invalid expire time in 'pexpire' command"
    assert w("EXPIREAT", "k", "-9223372036854775808") == "ERR invalid expire time in 'expireat' command"
    assert w("EXPIRE", "k", "1.5") == "ERR value is not an integer or out of range"
    assert w("EXPIRE", "k", "10", "BOGUS") == "ERR Unsupported option BOGUS"


def test_expire_conditions(w):
    for gone in ("NX XX", "NX GT", "NX LT"):
        assert w("EXPIRE", "k", "10", *gone.split()) == "ERR NX and XX, GT or LT options at the same time are not compatible"
    assert w("EXPIRE", "k", "10", "GT", "LT") == "ERR GT and LT options at the same time are not compatible"
    w("SET", "k", "v")
    assert [w("EXPIREAT", "k", FAR, o) for o in ("XX", "GT", "NX", "NX", "XX", "GT")] == [0, 0, 1, 0, 1, 0]
    assert [w("EXPIREAT", "k", FAR + 5, o) for o in ("LT", "GT", "GT")] == [0, 1, 0]
    assert [w("EXPIREAT", "k", FAR, o) for o in ("GT", "LT", "LT")] == [0, 1, 0]
    w("PERSIST", "k")
    assert w("EXPIREAT", "k", FAR, "LT") == 1


def test_expired_keys_are_never_visible(larder, r):
    """Whatever asks, from whatever connection, in whatever way, a dead key is not there."""
    n = 300
    with r.pipeline(transaction=False) as p:
        for i in range(n):
            p.set(f"dead:{i}", i, px=40)
            p.set(f"live:{i}", i)
        p.execute()
    time.sleep(0.3)
    live = {b"live:%d" % i for i in range(n)}
    assert set(r.keys("*")) == live
    assert set(r.scan_iter(count=7)) == live
    assert {r.randomkey() for _ in range(50)} <= live
    assert all(v is None for v in r.mget([f"dead:{i}" for i in range(n)]))
    assert r.exists(*[f"dead:{i}" for i in range(n)]) == 0
    for i in range(0, n, 7):
        assert not r.copy(f"dead:{i}", "x") and r.dump(f"dead:{i}") is None
        assert r.set(f"dead:{i}", 1, nx=True) and r.ttl(f"dead:{i}") == -1
    wait_until(lambda: r.info("keyspace")["db0"]["expires"] == 0, what="the sweep to remove what is dead")
    assert r.info("stats")["expired_keys"] > 0


def test_keys_patterns(r):
    names = ["hello", "hallo", "hxllo", "hllo", "heello", "h*llo", "h[llo", "", "ABC"]
    r.mset({n: 1 for n in names})
    for pattern, found in [
        ("h?llo", {"hello", "hallo", "hxllo", "h*llo", "h[llo"}), ("h*llo", {"hello", "hallo", "hxllo", "hllo", "heello", "h*llo", "h[llo"}),
        ("h[ae]llo", {"hello", "hallo"}), ("h[^e]llo", {"hallo", "hxllo", "h*llo", "h[llo"}), ("h[a-b]llo", {"hallo"}), ("h\\*llo", {"h*llo"}),
        ("*", set(names)), ("", {""}), ("abc", set()), ("A*C", {"ABC"}), ("h[b-a]llo", {"hallo"}),
    ]:  # fmt: skip
        assert set(r.keys(pattern)) == {f.encode() for f in found}, pattern


def test_randomkey(r):
    assert r.randomkey() is None
    names = {b"k%d" % i for i in range(30)}
    r.mset({n: 1 for n in names})
    seen = {r.randomkey() for _ in range(2000)}
    assert seen <= names and len(seen) > 20


def test_object(r, w):
    r.set("k", "v")
    assert w("OBJECT", "REFCOUNT", "k") >= 1
    assert w("OBJECT", "IDLETIME", "k") >= 0
    assert w("OBJECT", "ENCODING", "nothing") is None
    assert w("OBJECT", "FREQ", "k").startswith("ERR An LFU maxmemory policy is not selected, access frequency not tracked.")
    assert w("OBJECT", "BOGUS", "k") == "ERR unknown subcommand 'BOGUS'. Try OBJECT HELP."
    assert w("OBJECT", "ENCODING") == "ERR wrong number of arguments for 'object|encoding' command"
    assert w("OBJECT") == "ERR wrong number of arguments for 'object' command"
    assert w("OBJECT", "HELP")[0].startswith("OBJECT <subcommand>")


@pytest.mark.parametrize("value", [b"", b"123", b"-1", b"x" * 10, b"abc" * 500, bytes(range(256)) * 20, b"12345678901234567890"])
def test_dump_and_restore(r, w, value):
    r.set("k", value)
    payload = r.dump("k")
    assert r.restore("copy", 0, payload) and r.get("copy") == value and r.ttl("copy") == -1
    assert w("RESTORE", "copy", "0", payload) == "BUSYKEY Target key name already exists."
    assert r.restore("copy", 100000, payload, replace=True) and 90000 < r.pttl("copy") <= 100000
    assert w("RESTORE", "copy", FAR * 1000, payload, "REPLACE", "ABSTTL") == "OK" and w("PEXPIRETIME", "copy") == FAR * 1000
    assert w("RESTORE", "late", "1", payload, "ABSTTL") == "OK" and w("EXISTS", "late") == 0
    assert w("RESTORE", "x", "-1", payload) == "ERR Invalid TTL value, must be >= 0"
    for i in range(0, len(payload), max(1, len(payload) // 40)):
        damaged = payload[:i] + bytes([payload[i] ^ 0x40]) + payload[i + 1 :]
        assert w("RESTORE", "x", "0", damaged).startswith("ERR DUMP payload version or checksum are wrong")
    assert w("RESTORE", "x", "0", payload[:-1]).startswith("ERR ")
    assert w("RESTORE", "x", "0", "").startswith("ERR ")
    assert w("EXISTS", "x") == 0


def test_dumps_travel_between_servers(r, redis_server):
    other = redis_server.client()
    for value in (b"12", b"hello", b"hello" * 100, b"\x00" * 70000, b"9223372036854775807"):
        r.set("k", value)
        other.restore("k", 0, r.dump("k"), replace=True)
        assert other.get("k") == value
        r.restore("back", 0, other.dump("k"), replace=True)
        assert r.get("back") == value


def test_memory(r, w):
    r.set("small", "v")
    r.set("big", "v" * 100000)
    assert 0 < r.memory_usage("small") < 1000
    assert 100000 <= r.memory_usage("big") < 140000
    assert r.memory_usage("nothing") is None
    assert w("MEMORY", "USAGE", "small", "SAMPLES", "0") > 0
    assert w("MEMORY", "USAGE", "small", "SAMPLES", "-1") == "ERR syntax error"
    stats = r.memory_stats()
    assert stats["keys.count"] == 2 and stats["total.allocated"] > 100000
    assert isinstance(w("MEMORY", "DOCTOR"), bytes)
    assert w("MEMORY", "PURGE") == "OK"

