"""CACHE.GET, SET, FAIL, MGET, INVALIDATE and INSPECT on one node: leases, waiting, freshness, versions."""

import collections
import re
import select
import time

import harness
import pytest
from cachekit import FIELDS, as_dict, get, inspect, wait_for_waiters
from wire import encode

pytestmark = pytest.mark.larder


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def c(larder, request):
    with larder.wire(protocol=request.param) as wire:
        yield wire


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def others(larder, request):
    """Makes further connections of the same protocol."""
    made = []

    def make():
        made.append(larder.wire(protocol=request.param))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


def crowd_behind_a_lease(c, others, key, crowd):
    """A connection for each options of `crowd`, waiting one behind the other for the end of a lease that runs out by
    itself, soon, yet not before all of them wait: on a slow machine it is longer."""
    ms = 300
    while True:
        get(c, key, "LEASE", str(ms))
        waiting = []
        for options in crowd:
            waiting.append(others())
            waiting[-1].send(encode("CACHE.GET", key, *options, "WAIT", "600000"))
            harness.wait_until(lambda: inspect(c, key)["waiters"] == len(waiting) or answered(waiting, 0), every=0.001, what="one more to wait")
            if answered(waiting, 0):
                break
        else:
            return waiting
        leave(c, key, waiting)
        ms *= 4


def leave(c, key, waiting):
    """They hang up, and there is neither key nor lease."""
    for w in waiting:
        w.close()
    wait_for_waiters(c, key, 0)
    c("DEL", key)


# ---- what a read says ---------------------------------------------------------------------------


def test_a_miss_has_all_fields(c):
    assert get(c, "k") == dict.fromkeys(FIELDS) | {"state": "miss"}


def test_every_field_is_of_its_kind(c):
    c("CACHE.SET", "k", b"\r\n\0\xff", "PX", "60000", "GRACE", "60000", "VERSION", "7", "COST", "86400000")
    reply = c("CACHE.GET", "k", "LEASE", "60000", "EARLY", "1000000")
    while as_dict(reply)["lease"] is None:
        reply = c("CACHE.GET", "k", "LEASE", "60000", "EARLY", "1000000")
    names = list(reply) if isinstance(reply, dict) else reply[::2]
    assert names == [name.encode() for name in FIELDS]
    values = list(reply.values()) if isinstance(reply, dict) else reply[1::2]
    assert [type(v) for v in values] == [bytes, bytes, int, int, int, bytes, type(None)]
    assert values[:2] == [b"fresh", b"\r\n\0\xff"]
    for shown in (c("CACHE.INSPECT", "k"), c("CACHE.STATS"), c("CACHE.PURGE", "TAG", "red"), c("CACHE.WARM", "STATUS")):
        assert isinstance(shown, type(reply))
        for name, value in shown.items() if isinstance(shown, dict) else zip(shown[::2], shown[1::2]):
            assert type(name) is bytes and type(value) in (bytes, int, list, type(None)), (name, value)


def test_a_plain_value_is_fresh(c):
    c("SET", "k", "v", "PX", "60000")
    answer = get(c, "k")
    assert answer["state"] == "fresh" and answer["value"] == b"v" and 0 < answer["ttl"] <= 60000
    assert answer["age"] is None and answer["version"] is None


def test_a_cached_value_is_fresh_and_plain_commands_see_it(c):
    assert c("CACHE.SET", "k", "v", "EX", "60", "GRACE", "5000", "VERSION", "7") == "OK"
    answer = get(c, "k")
    assert answer["state"] == "fresh" and answer["value"] == b"v" and answer["version"] == 7
    assert 0 < answer["ttl"] <= 60000 and 0 <= answer["age"] < 60000
    assert c("GET", "k") == b"v" and c("EXISTS", "k") == 1 and c("MGET", "k") == [b"v"]
    assert 0 < c("PTTL", "k") <= 60000  # without the grace


def test_without_a_time_it_stays(c):
    assert c("CACHE.SET", "k", "v") == "OK"
    assert get(c, "k")["ttl"] is None and c("TTL", "k") == -1


def test_large_values(c):
    big = b"x" * 100_000
    assert c("CACHE.SET", "k", big, "PX", "60000") == "OK"
    assert get(c, "k")["value"] == big and c("GET", "k") == big
    assert c("APPEND", "k", "y") == 100_001
    assert get(c, "k")["value"] == big + b"y"


@pytest.mark.parametrize("name", ["n", "a name of sixteen", "x" * 40, "x" * 300], ids=len)
@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_value_is_found_in_its_database_alone(c, name, size):
    for db in (0, 3):
        assert c("SELECT", str(db)) == "OK"
        assert c("CACHE.SET", name, b"%d" % db * size, "PX", "600000", "TAGS", "1", "red") == "OK"
    c("DEL", name)
    assert get(c, name)["state"] == "miss" and c("EXISTS", name) == 0
    c("CACHE.SET", name, b"3" * size, "TAGS", "2", "red", "blue")
    for db in (0, 3):
        c("SELECT", str(db))
        assert get(c, name)["value"] == c("GET", name) == b"%d" % db * size
        c("SELECT", "5")
        assert get(c, name)["state"] == "miss"
    c("SELECT", "0")


def test_stale_within_grace_for_those_who_ask(c):
    c("CACHE.SET", "k", "v", "PX", "1", "GRACE", "60000")
    time.sleep(0.01)
    assert get(c, "k") == dict.fromkeys(FIELDS) | {"state": "miss"}
    answer = get(c, "k", "STALE")
    assert answer["state"] == "stale" and answer["value"] == b"v" and 0 < answer["ttl"] <= 60000


def test_plain_commands_do_not_see_what_is_no_longer_fresh(c):
    c("CACHE.SET", "k", "5", "PX", "1", "GRACE", "60000")
    time.sleep(0.01)
    assert c("GET", "k") is None and c("EXISTS", "k") == 0 and c("TTL", "k") == -2 and c("MGET", "k") == [None]
    assert c("STRLEN", "k") == 0 and c("TYPE", "k") == "none" and c("KEYS", "*") == [] and c("RANDOMKEY") is None
    assert c("SCAN", "0", "COUNT", "1000")[1] == []
    assert c("EXPIRE", "k", "100") == 0 and c("PERSIST", "k") == 0 and c("DEL", "k") == 0
    assert get(c, "k", "STALE")["state"] == "miss"  # DEL took it all the same


@pytest.mark.parametrize(
    "command, then",
    [
        (("SET", "k", "new", "NX"), b"new"),
        (("INCR", "k"), b"1"),
        (("APPEND", "k", "x"), b"x"),
        (("SET", "k", "new", "KEEPTTL"), b"new"),
        (("SETRANGE", "k", "0", "ab"), b"ab"),
    ],
)
def test_plain_writes_begin_anew_where_nothing_is_seen(c, command, then):
    c("CACHE.SET", "k", "5", "PX", "1", "GRACE", "60000")
    time.sleep(0.01)
    c(*command)
    assert c("GET", "k") == then and c("TTL", "k") == -1
    assert inspect(c, "k")["kind"] == "plain"


def test_a_set_takes_the_place_of_what_is_hidden(c):
    c("CACHE.SET", "k", "", "NEGATIVE")
    assert c("SADD", "k", "a") == 1
    assert c("SMEMBERS", "k") == [b"a"] or list(c("SMEMBERS", "k")) == [b"a"]


def test_plain_edits_of_a_fresh_value_keep_its_time(c):
    c("CACHE.SET", "k", "5", "PX", "60000", "GRACE", "60000")
    assert c("INCR", "k") == 6
    assert 0 < c("PTTL", "k") <= 60000 and inspect(c, "k")["kind"] == "plain"
    c("CACHE.SET", "e", "5", "PX", "60000", "GRACE", "60000")
    assert c("PEXPIRE", "e", "100000") == 1 and 60000 < c("PTTL", "e") <= 100000
    c("CACHE.SET", "p", "5", "PX", "60000")
    assert c("PERSIST", "p") == 1 and c("TTL", "p") == -1
    c("CACHE.SET", "a", "5", "PX", "60000", "GRACE", "60000")
    assert c("COPY", "a", "b") == 1 and 0 < c("PTTL", "b") <= 60000
    assert c("RENAME", "a", "d") == "OK" and c("GET", "d") == b"5" and c("EXISTS", "a") == 0


KNOWN = ("PX", "60000", "GRACE", "30000", "VERSION", "7", "COST", "5", "TAGS", "2", "red", "blue")


def assert_known(c, key, value, grace):
    """All of KNOWN is known of it, and does what it is for."""
    seen = inspect(c, key)
    assert {n: seen[n] for n in ("state", "kind", "grace", "version", "cost", "tags")} == {
        "state": "fresh", "kind": "cache", "grace": grace, "version": 7, "cost": 5, "tags": 2}
    assert get(c, key)["value"] == c("GET", key) == value
    assert c("CACHE.SET", key, "old", "VERSION", "6") == "OLDVERSION"
    c("CACHE.PURGE", "TAG", "blue")
    assert c("GET", key) is None and get(c, key, "STALE")["state"] == "miss"


@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize(
    "change, left",
    [
        (("PEXPIRE", "k", "500000"), 500000),
        (("EXPIREAT", "k", "4102444800"), 1 << 62),
        (("PEXPIREAT", "k", "9223372036854775807"), 1 << 63),
        (("GETEX", "k", "EX", "500"), 500000),
        (("PERSIST", "k"), None),
        (("GETEX", "k", "PERSIST"), None),
    ],
)
def test_another_time_keeps_what_is_known(c, change, left, size):
    c("CACHE.SET", "k", "v" * size, *KNOWN)
    assert c(*change) in (1, b"v" * size)
    assert c("PTTL", "k") == -1 if left is None else 60000 < c("PTTL", "k") <= left
    far = change[-1] == "9223372036854775807"  # nothing can be behind it
    assert_known(c, "k", b"v" * size, None if left is None else 0 if far else 30000)


def test_a_time_for_what_had_none(c):
    c("CACHE.SET", "k", "v", "TAGS", "1", "red")
    assert c("PEXPIRE", "k", "60000") == 1 and 0 < c("PTTL", "k") <= 60000 and inspect(c, "k")["tags"] == 1
    assert c("PEXPIRE", "k", "1") == 1
    time.sleep(0.01)
    assert get(c, "k", "STALE")["state"] == "miss"


def test_grace_follows_another_time(c):
    c("CACHE.SET", "k", "v", *KNOWN)
    assert c("PEXPIRE", "k", "1") == 1
    time.sleep(0.01)
    answer = get(c, "k", "STALE")
    assert c("GET", "k") is None and answer["value"] == b"v" and 0 < answer["ttl"] <= 30000


@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize("copy", [("RENAME", "k", "j"), ("RENAMENX", "k", "j"), ("COPY", "k", "j"), ("MOVE", "k", "5")])
def test_copies_keep_what_is_known(c, copy, size):
    c("CACHE.SET", "k", "v" * size, *KNOWN)
    assert c(*copy) in (1, "OK") and c("EXISTS", "k") == (copy[0] == "COPY")
    if copy[0] == "MOVE":
        c("SELECT", "5")
    to = "k" if copy[0] == "MOVE" else "j"
    assert 0 < c("PTTL", to) <= 60000
    assert_known(c, to, b"v" * size, 30000)
    c("SELECT", "0")
    assert c("GET", "k") is None


@pytest.mark.parametrize("edit", [("APPEND", "k", "x"), ("INCR", "k"), ("SETRANGE", "k", "0", "1"), ("SETBIT", "k", "7", "0"), ("SET", "k", "x", "KEEPTTL")])
def test_what_changes_a_part_makes_a_plain_value(c, edit):
    c("CACHE.SET", "k", "5", *KNOWN)
    c(*edit)
    assert inspect(c, "k")["kind"] == "plain" and 0 < c("PTTL", "k") <= 60000


def test_minver(c):
    c("CACHE.SET", "k", "v", "PX", "60000", "VERSION", "5")
    assert get(c, "k", "MINVER", "5")["state"] == "fresh"
    assert get(c, "k", "MINVER", "6")["state"] == "miss"
    answer = get(c, "k", "MINVER", "6", "STALE", "LEASE", "1000")
    assert answer["state"] == "stale" and answer["value"] == b"v" and answer["lease"]
    c("SET", "plain", "v")  # of no version
    assert get(c, "plain", "MINVER", "0")["state"] == "fresh" and get(c, "plain", "MINVER", "1")["state"] == "miss"
    assert get(c, "plain", "MINVER", "9223372036854775807", "STALE")["state"] == "stale"
    c("CACHE.SET", "no", "", "NEGATIVE", "VERSION", "5")
    assert get(c, "no", "MINVER", "5")["state"] == "negative"
    assert get(c, "no", "MINVER", "6", "STALE", "LEASE", "1000")["lease"]


def test_wrong_type(c):
    c("SADD", "s", "a")
    assert c("CACHE.GET", "s").startswith("WRONGTYPE") and c("CACHE.GET", "s", "STALE", "LEASE", "1000", "WAIT", "1000").startswith("WRONGTYPE")
    assert inspect(c, "s")["kind"] == "plain" and inspect(c, "s")["lease"] is None
    for soft in ((), ("SOFT",)):
        assert c("CACHE.INVALIDATE", "s", *soft) == 1 and c("EXISTS", "s") == 0
        c("SADD", "s", "a")
    assert c("CACHE.SET", "s", "v") == "OK" and get(c, "s")["value"] == b"v"


# ---- leases ----------------------------------------------------------------------------------------


def test_one_lease_and_the_fill(c, others):
    other = others()
    first = get(c, "k", "LEASE", "60000")
    assert first["state"] == "miss" and first["lease"] and first["retry"] is None
    second = get(other, "k", "LEASE", "60000")
    assert second["lease"] is None and second["retry"] > 0
    assert c("CACHE.SET", "k", "v", "LEASE", first["lease"], "PX", "60000") == "OK"
    assert get(other, "k", "LEASE", "1000")["state"] == "fresh"
    assert c("CACHE.SET", "k", "w", "LEASE", first["lease"]) == "LEASELOST"  # it was good for one fill
    assert c("GET", "k") == b"v"


def test_tokens_rise_and_carry_the_run_id(c):
    run_id = next(line for line in c("INFO", "server").decode().splitlines() if line.startswith("run_id:"))[7:]
    tokens = []
    for i in range(50):
        token = get(c, "k", "LEASE", "60000")["lease"].decode()
        tokens.append(token)
        assert token.endswith(run_id)
        assert c("CACHE.FAIL", "k", token) == "OK"
    assert tokens == sorted(tokens) and len(set(tokens)) == 50


def test_stale_while_somebody_loads(c, others):
    c("CACHE.SET", "k", "old", "PX", "1", "GRACE", "60000")
    time.sleep(0.01)
    loader = get(c, "k", "LEASE", "60000", "STALE")
    assert loader["state"] == "stale" and loader["value"] == b"old" and loader["lease"]
    reader = get(others(), "k", "LEASE", "60000", "STALE", "WAIT", "60000")  # does not wait: there is a value
    assert reader["state"] == "stale" and reader["value"] == b"old" and reader["lease"] is None


@pytest.mark.parametrize(
    "write",
    [
        ("SET", "k", "x"),
        ("DEL", "k"),
        ("GETDEL", "k"),
        ("CACHE.INVALIDATE", "k"),
        ("CACHE.INVALIDATE", "k", "SOFT"),
        ("CACHE.SET", "k", "x"),
        ("RENAME", "other", "k"),
        ("COPY", "other", "k"),
        ("MSET", "j", "x", "k", "x"),
        ("SETEX", "k", "100", "x"),
        ("SETBIT", "k", "7", "1"),
        ("BITOP", "NOT", "k", "other"),
        ("RESTORE", "k", "0", "the DUMP of other"),
        ("SADD", "k", "x"),
        ("SMOVE", "set", "k", "x"),
        ("SUNIONSTORE", "k", "set"),
        ("UNLINK", "k"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("SWAPDB", "0", "1"),
    ],
)
def test_any_write_voids_the_lease_of_a_missing_key(c, write):
    c("SET", "other", "x")
    c("SADD", "set", "x")
    token = get(c, "k", "LEASE", "60000")["lease"]
    c(*[c("DUMP", "other") if word == "the DUMP of other" else word for word in write])
    assert c("CACHE.SET", "k", "v", "LEASE", token) == "LEASELOST" or write[0] == "GETDEL"
    if write[0] == "GETDEL":  # a missing key is only read by it
        assert c("GET", "k") == b"v"


@pytest.mark.parametrize(
    "write", [("SET", "k", "x"), ("DEL", "k"), ("PEXPIRE", "k", "5000"), ("PERSIST", "k"), ("APPEND", "k", "x")]
)
def test_plain_writes_void_the_lease_of_an_early_refresh(c, write):
    c("CACHE.SET", "k", "v", "PX", "60000", "COST", "86400000")
    token = None
    while token is None:
        token = get(c, "k", "LEASE", "60000", "EARLY", "1000")["lease"]
    c(*write)
    assert c("CACHE.SET", "k", "v", "LEASE", token) == "LEASELOST"


def test_eviction_voids_a_lease(start_larder):
    """What made room for others may be loaded again, and not by whoever began before."""
    with start_larder({"maxmemory": "32mb", "maxmemory-policy": "allkeys-lru"}).wire() as c:
        c("CACHE.SET", "k", "v", "PX", "600000", "COST", "86400000")
        token = None
        while token is None:
            token = get(c, "k", "LEASE", "86400000", "EARLY", "1000")["lease"]
        for i in range(0, 200_000, 100):  # 200 MB at most
            c.pipeline(*(("SET", f"other:{k}", b"x" * 1000) for k in range(i, i + 100)))
            if as_dict(c("CACHE.STATS"))["leases"] == 0:
                break
        assert c("CACHE.SET", "k", "late", "LEASE", token) == "LEASELOST"
        assert c("EXISTS", "k") == 0


def test_a_lease_outlives_the_expiry_of_what_it_refreshes(c, others):
    c("CACHE.SET", "k", "v", "PX", "1", "GRACE", "200")
    time.sleep(0.01)
    token = get(c, "k", "LEASE", "60000", "STALE")["lease"]
    assert token
    while inspect(c, "k")["kind"] != "none":
        time.sleep(0.01)
    assert get(others(), "k", "LEASE", "60000")["lease"] is None  # one load is enough
    assert c("CACHE.SET", "k", "v", "LEASE", token) == "OK"


def test_a_lease_that_ran_out_is_lost(c):
    token = get(c, "k", "LEASE", "1")["lease"]
    time.sleep(0.01)
    assert c("CACHE.SET", "k", "v", "LEASE", token) == "LEASELOST"
    assert get(c, "k", "LEASE", "1000")["lease"]


@pytest.mark.parametrize("token", ["", "x", "0" * 57, "0" * 16 + "-" + "0" * 40, "g" * 57])
def test_foreign_tokens_are_lost(c, token):
    get(c, "k", "LEASE", "60000")
    assert c("CACHE.SET", "k", "v", "LEASE", token) == "LEASELOST"
    assert c("CACHE.FAIL", "k", token) == "LEASELOST"


def test_leases_are_by_database(c):
    token = get(c, "k", "LEASE", "60000")["lease"]
    c("SELECT", "1")
    c("SET", "k", "x")
    assert c("CACHE.SET", "k", "v", "LEASE", token) == "LEASELOST"
    c("SELECT", "0")
    assert c("CACHE.SET", "k", "v", "LEASE", token) == "OK"


# ---- waiting ------------------------------------------------------------------------------------------


def test_those_who_wait_get_the_value(c, others):
    waiting = [others() for _ in range(8)]
    token = get(c, "k", "LEASE", "60000")["lease"]
    for w in waiting:
        w.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "60000"))
    wait_for_waiters(c, "k", 8)
    c("CACHE.SET", "k", "v", "LEASE", token, "PX", "60000")
    for w in waiting:
        answer = as_dict(w.read())
        assert answer["state"] == "fresh" and answer["value"] == b"v" and answer["lease"] is None


def test_pipelined_requests_wait_their_turn(c, others):
    w = others()
    token = get(c, "k", "LEASE", "60000")["lease"]
    w.send(encode("CACHE.GET", "k", "WAIT", "60000"))
    w.send(encode("PING"))
    wait_for_waiters(c, "k", 1)
    c("CACHE.SET", "k", "v", "LEASE", token)
    assert as_dict(w.read())["value"] == b"v"
    assert w.read() == "PONG"


def test_waiting_ends(c, others):
    get(c, "k", "LEASE", "60000")
    answer = get(others(), "k", "LEASE", "60000", "WAIT", "20")
    assert answer["state"] == "miss" and answer["lease"] is None and answer["retry"] > 0
    assert inspect(c, "k")["waiters"] == 0


def test_a_reader_without_lease_waits_too(c, others):
    w = others()
    w.send(encode("CACHE.GET", "k", "WAIT", "60000"))
    wait_for_waiters(c, "k", 1)
    c("SET", "k", "v")
    assert as_dict(w.read())["value"] == b"v"


def test_the_oldest_who_asked_succeeds_a_lease_that_runs_out(c, others):
    only_reads, first, second = crowd_behind_a_lease(c, others, "k", [(), ("LEASE", "60000"), ("LEASE", "60000")])
    token = as_dict(first.read())["lease"]
    assert token
    assert inspect(c, "k")["waiters"] == 2
    c("CACHE.SET", "k", "v", "LEASE", token)
    assert as_dict(second.read())["value"] == b"v" and as_dict(only_reads.read())["value"] == b"v"


def test_a_newcomer_does_not_overtake(c, others):
    newcomer = others()
    (w,) = crowd_behind_a_lease(c, others, "k", [("LEASE", "60000")])
    while True:
        answer = get(newcomer, "k", "LEASE", "60000")
        assert answer["lease"] is None
        if inspect(c, "k")["waiters"] == 0:
            break
    assert as_dict(w.read())["lease"]


def test_deleting_hands_the_load_to_one_who_waits(c, others):
    get(c, "k", "LEASE", "60000")
    waiting = [others() for _ in range(3)]
    for n, w in enumerate(waiting):
        w.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "60000"))
        wait_for_waiters(c, "k", n + 1)
    c("DEL", "k")
    wait_for_waiters(c, "k", 2)
    c("CACHE.SET", "k", "v")
    answers = [as_dict(w.read()) for w in waiting]
    assert sum(a["lease"] is not None for a in answers) == 1
    assert sum(a["value"] == b"v" for a in answers) == 2


def test_a_client_that_left_inherits_nothing(c, others):
    get(c, "k", "LEASE", "60000")
    gone, stays = others(), others()
    for n, w in enumerate((gone, stays)):
        w.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "60000"))
        wait_for_waiters(c, "k", n + 1)
    gone.close()
    wait_for_waiters(c, "k", 1)
    c("DEL", "k")
    assert as_dict(stays.read())["lease"]


def test_a_client_that_left_inherits_no_lease_that_runs_out(c, others):
    """The lease is long enough for all to wait; whoever hangs up has done so before it ends."""
    while True:
        gone, stays = crowd_behind_a_lease(c, others, "k", [("LEASE", "600000"), ("LEASE", "600001")])
        gone.close()
        harness.wait_until(lambda: inspect(c, "k")["waiters"] == 1 or answered([stays], 0), what="it to be gone")
        if answered([stays], 0) or inspect(c, "k")["lease"] < 300000:  # not the one that left has it
            break
        leave(c, "k", [stays])
    assert as_dict(stays.read())["lease"]


def test_killed_while_waiting(c, others):
    w = others()
    ident = w("CLIENT", "ID")
    get(c, "k", "LEASE", "60000")
    w.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "60000"))
    wait_for_waiters(c, "k", 1)
    assert c("CLIENT", "KILL", "ID", str(ident)) == 1
    wait_for_waiters(c, "k", 0)


def wait_behind(c, w, *options):
    """w waits for k, which somebody else loads."""
    c("DEL", "k")
    get(c, "k", "LEASE", "86400000")
    w.send(encode("CACHE.GET", "k", *options, "WAIT", "86400000"))
    wait_for_waiters(c, "k", 1)


def test_who_waits_is_shown_once(start_larder, others):
    server = start_larder({"slowlog-log-slower-than": "0"})
    request = [b"CACHE.GET", b"k", b"WAIT", b"86400000"]
    with server.wire() as c, server.wire() as w, server.wire() as monitor:
        assert monitor("MONITOR") == "OK"
        wait_behind(c, w)
        (line,) = [x for x in c("CLIENT", "LIST").splitlines() if b"cmd=cache.get" in x]
        assert b" flags=b " in line
        assert b"blocked_clients:1\r\n" in c("INFO", "clients")
        c("SET", "k", "v")
        assert as_dict(w.read())["value"] == b"v"
        assert w("PING") == "PONG" and b"blocked_clients:0\r\n" in c("INFO", "clients")
        assert b"cmdstat_cache.get:calls=2," in c("INFO", "commandstats")
        assert [x[3] for x in c("SLOWLOG", "GET", "-1")].count(request) == 1
        c("ECHO", "the end")
        seen = b""
        while b"the end" not in seen:
            seen += monitor.sock.recv(1 << 16)
        assert seen.count(b'"CACHE.GET" "k" "WAIT" "86400000"') == 1


def test_an_error_after_waiting_is_counted(start_larder):
    server = start_larder()
    with server.wire() as c, server.wire() as w:
        wait_behind(c, w)
        c("SADD", "k", "member")
        assert w.read().startswith("WRONGTYPE")
        assert b"total_error_replies:1\r\n" in c("INFO", "stats")
        assert b"errorstat_WRONGTYPE:count=1" in c("INFO", "errorstats")


def test_waiting_in_silence(c, others):
    w = others()
    w.send(encode("CLIENT", "REPLY", "OFF"))
    wait_behind(c, w)
    w.send(encode("CLIENT", "REPLY", "ON"))
    c("SET", "k", "v")
    assert w.read() == "OK"
    w.send(encode("CLIENT", "REPLY", "SKIP"))
    wait_behind(c, w)
    w.send(encode("PING"))
    c("SET", "k", "v")
    assert w.read() == "PONG"
    wait_behind(c, w)
    c("SET", "k", "v")
    assert as_dict(w.read())["value"] == b"v"


def test_who_waits_is_not_idle(start_larder):
    server = start_larder({"timeout": "1"})
    with server.wire() as c, server.wire() as w, server.wire() as idle:
        assert idle("PING") == "PONG"
        wait_behind(c, w)
        harness.wait_until(lambda: c("CLIENT", "LIST").count(b"\n") == 2, what="the idle one to be closed")
        assert inspect(c, "k")["waiters"] == 1
        c("SET", "k", "v")
        assert as_dict(w.read())["value"] == b"v"


@pytest.mark.parametrize("mode", ["WRITE", "ALL"])
def test_a_pause_while_somebody_waits(start_larder, mode):
    server = start_larder()
    with server.wire() as c, server.wire() as w, server.wire() as writer:
        wait_behind(c, w)
        c("CLIENT", "PAUSE", "600000", mode) if mode == "WRITE" else c("CLIENT", "PAUSE", "300", mode)
        writer.send(encode("SET", "k", "v"))
        if mode == "WRITE":
            assert inspect(c, "k")["waiters"] == 1 and c("CLIENT", "UNPAUSE") == "OK"
        assert writer.read() == "OK" and as_dict(w.read())["value"] == b"v"


def test_the_end_of_a_server_at_which_somebody_waits(start_larder):
    server = start_larder()
    with server.wire() as c, server.wire() as w:
        wait_behind(c, w, "LEASE", "60000")
        c.send(encode("SHUTDOWN", "NOSAVE"))
        assert server.wait() == 0
        assert w.sock.recv(1) == b""


def test_who_hangs_up_behind_all_that_it_has_sent_inherits_nothing(c, others):
    gone, stays = others(), others()
    wait_behind(c, gone, "LEASE", "60000")
    gone.send(encode("PING") * 8000)  # more than is read of one that waits
    stays.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "86400000"))
    wait_for_waiters(c, "k", 2)
    gone.close()
    wait_for_waiters(c, "k", 1)
    c("DEL", "k")
    assert as_dict(stays.read())["lease"]


@pytest.mark.parametrize("in_multi", [False, True])
def test_unblocked_while_waiting(c, others, in_multi):
    w, other = others(), others()
    ident = str(w("CLIENT", "ID"))

    def unblock(*how):
        if not in_multi:
            return c("CLIENT", "UNBLOCK", ident, *how)
        c("MULTI")
        c("CLIENT", "UNBLOCK", ident, *how)
        return c("EXEC")[0]

    assert unblock() == 0
    for how in ((), ("TIMEOUT",)):
        wait_behind(c, w, "LEASE", "60000")
        assert unblock(*how) == 1
        answer = as_dict(w.read())
        assert answer["state"] == "miss" and answer["lease"] is None and answer["retry"] > 0
        assert inspect(c, "k")["waiters"] == 0
    wait_behind(c, w, "LEASE", "60000")
    other.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "86400000"))
    wait_for_waiters(c, "k", 2)
    assert unblock("ERROR") == 1
    assert w.read() == "UNBLOCKED client unblocked via CLIENT UNBLOCK" and w("PING") == "PONG"
    c("DEL", "k")
    assert as_dict(other.read())["lease"]
    c("MULTI")
    c("CLIENT", "KILL", "ID", ident)
    wait_behind(others(), w)
    assert c("EXEC") == [1]
    assert w.sock.recv(1) == b"" and inspect(c, "k")["waiters"] == 0


def test_inside_multi_nobody_waits(c, others):
    get(others(), "k", "LEASE", "60000")
    c("MULTI")
    c("CACHE.GET", "k", "LEASE", "60000", "WAIT", "60000")
    c("CACHE.SET", "j", "v", "PX", "60000")
    c("CACHE.GET", "j")
    replies = c("EXEC")
    assert as_dict(replies[0])["lease"] is None and as_dict(replies[0])["retry"] > 0
    assert replies[1] == "OK" and as_dict(replies[2])["value"] == b"v"


def test_a_full_table_answers_retry(start_larder):
    server = start_larder({"cache-leases-max": "1"})  # one a shard
    with server.wire() as c:
        answers = [get(c, f"k{i}", "LEASE", "60000", "WAIT", "60000") for i in range(5000)]
        refused = [a for a in answers if a["lease"] is None]
        assert 3000 < len(refused) < 5000
        assert all(a["state"] == "miss" and a["retry"] > 0 for a in refused)
        for i in (i for i, a in enumerate(answers) if a["lease"] is None):
            assert get(c, f"k{i}", "WAIT", "86400000")["retry"] > 0  # nobody knows that it waits, so it does not


# ---- failing --------------------------------------------------------------------------------------------


def test_fail_passes_the_lease_on(c, others):
    token = get(c, "k", "LEASE", "60000")["lease"]
    w = others()
    w.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "60000"))
    wait_for_waiters(c, "k", 1)
    assert c("CACHE.FAIL", "k", token) == "OK"
    assert as_dict(w.read())["lease"]
    assert c("CACHE.FAIL", "k", token) == "LEASELOST"


def test_fail_with_retry_holds_everybody_off(c, others):
    c("CACHE.SET", "k", "old", "PX", "1", "GRACE", "60000")
    time.sleep(0.01)
    token = get(c, "k", "LEASE", "60000")["lease"]
    w = others()
    w.send(encode("CACHE.GET", "k", "LEASE", "60000", "WAIT", "60000"))
    wait_for_waiters(c, "k", 1)
    assert c("CACHE.FAIL", "k", token, "RETRY", "500000") == "OK"
    told = as_dict(w.read())
    assert told["lease"] is None and 400000 < told["retry"] <= 500000
    answer = get(c, "k", "LEASE", "60000", "STALE")
    assert answer["state"] == "stale" and answer["lease"] is None and answer["retry"] > 400000
    c("SET", "k", "new")  # a write ends it
    c("DEL", "k")
    assert get(c, "k", "LEASE", "60000")["lease"]


# ---- early refresh --------------------------------------------------------------------------------------


def test_early_needs_a_cost_and_a_time(c):
    c("CACHE.SET", "k", "v", "PX", "60000")
    assert all(get(c, "k", "LEASE", "1000", "EARLY", "1000000")["lease"] is None for _ in range(100))
    c("CACHE.SET", "j", "v", "COST", "86400000")
    assert all(get(c, "j", "LEASE", "1000", "EARLY", "1000000")["lease"] is None for _ in range(100))


def test_early_gives_one_lease_with_the_fresh_value(c):
    c("CACHE.SET", "k", "v", "PX", "60000", "COST", "86400000")
    answers = [get(c, "k", "LEASE", "60000", "EARLY", "1000") for _ in range(50)]
    assert all(a["state"] == "fresh" and a["value"] == b"v" and a["retry"] is None for a in answers)
    assert sum(a["lease"] is not None for a in answers) == 1


def test_the_cost_is_measured_from_lease_to_fill(c):
    token = get(c, "k", "LEASE", "60000")["lease"]
    time.sleep(0.05)
    c("CACHE.SET", "k", "v", "LEASE", token, "PX", "60000")
    assert 50 <= inspect(c, "k")["cost"] < 60000
    c("CACHE.SET", "k", "v", "PX", "60000", "COST", "123")
    assert inspect(c, "k")["cost"] == 123


# ---- versions -----------------------------------------------------------------------------------------------


def test_versions_never_go_back(c):
    assert c("CACHE.SET", "k", "b", "VERSION", "5") == "OK"
    assert c("CACHE.SET", "k", "a", "VERSION", "4") == "OLDVERSION"
    assert c("CACHE.SET", "k", "c", "VERSION", "5") == "OK"
    assert c("CACHE.SET", "k", "d", "VERSION", "6") == "OK"
    assert get(c, "k")["value"] == b"d"


def test_an_invalidated_version_stays_out(c):
    c("CACHE.SET", "k", "v", "VERSION", "5")
    assert c("CACHE.INVALIDATE", "k", "VERSION", "6", "HOLD", "60000") == 1
    assert c("CACHE.SET", "k", "old", "VERSION", "5") == "OLDVERSION"
    assert inspect(c, "k")["held-version"] == 6
    assert c("CACHE.SET", "k", "new", "VERSION", "6") == "OK"


def test_a_hold_ends(c):
    c("CACHE.INVALIDATE", "k", "VERSION", "6", "HOLD", "1")
    time.sleep(0.01)
    assert c("CACHE.SET", "k", "old", "VERSION", "5") == "OK"


def test_a_newer_value_survives_a_late_invalidation(c):
    c("CACHE.SET", "k", "v", "VERSION", "9")
    assert c("CACHE.INVALIDATE", "k", "VERSION", "8") == 0
    assert get(c, "k")["value"] == b"v"


@pytest.mark.parametrize(
    "gone",
    [
        ("DEL", "k"),
        ("SET", "k", "plain"),
        ("CACHE.SET", "k", "of no version"),
        ("CACHE.SET", "k", "", "NEGATIVE"),
        ("CACHE.INVALIDATE", "k"),
        ("INCR", "k"),
        ("RENAME", "k", "j"),
        ("PERSIST", "k"),
        ("CACHE.PURGE", "MATCH", "k"),
    ],
)
def test_the_version_outlives_its_entry(c, gone):
    c("CACHE.SET", "k", "1", "VERSION", "5")
    c(*gone)
    assert c("CACHE.SET", "k", "v", "VERSION", "4") == "OLDVERSION"
    assert c("CACHE.SET", "k", "v", "VERSION", "5") == "OK"


def test_eviction_holds_the_version(start_larder):
    options = {"maxmemory": "32mb", "maxmemory-policy": "allkeys-lru", "cache-version-hold": "86400000"}
    with start_larder(options).wire() as c:
        assert c("CLIENT", "NO-TOUCH", "ON") == "OK"
        c("CACHE.SET", "k", "v", "VERSION", "5")
        for i in range(0, 200_000, 100):  # 200 MB at most
            c.pipeline(*(("SET", f"other:{n}", b"x" * 1000) for n in range(i, i + 100)))
            if c("EXISTS", "k") == 0:
                break
        assert c("EXISTS", "k") == 0
        assert inspect(c, "k")["held-version"] == 5
        assert c("CACHE.SET", "k", "old", "VERSION", "4") == "OLDVERSION"


def test_a_negative_entry_that_is_not_kept_holds_its_version(start_larder):
    with start_larder({"cache-negative-max-memory": "0"}).wire() as c:
        assert c("CACHE.SET", "k", "", "NEGATIVE", "VERSION", "5") == "OK"
        assert get(c, "k")["state"] == "miss"
        assert c("CACHE.SET", "k", "old", "VERSION", "4") == "OLDVERSION"
        assert c("CACHE.SET", "k", "new", "VERSION", "5") == "OK"


def test_an_old_version_gives_the_lease_back(c):
    c("CACHE.INVALIDATE", "k", "VERSION", "6", "HOLD", "60000")
    token = get(c, "k", "LEASE", "60000")["lease"]
    assert c("CACHE.SET", "k", "old", "VERSION", "5", "LEASE", token) == "OLDVERSION"
    assert get(c, "k", "LEASE", "60000")["lease"]


# ---- invalidation ------------------------------------------------------------------------------------------------


def test_invalidate(c):
    assert c("CACHE.INVALIDATE", "k") == 0
    c("CACHE.SET", "k", "v", "PX", "60000", "GRACE", "60000")
    assert c("CACHE.INVALIDATE", "k") == 1
    assert get(c, "k", "STALE")["state"] == "miss"
    c("SET", "k", "plain")
    assert c("CACHE.INVALIDATE", "k") == 1 and c("EXISTS", "k") == 0


def test_soft_invalidation_keeps_the_grace(c):
    c("CACHE.SET", "k", "v", "PX", "60000", "GRACE", "30000")
    assert c("CACHE.INVALIDATE", "k", "SOFT") == 1
    assert c("GET", "k") is None
    answer = get(c, "k", "STALE")
    assert answer["state"] == "stale" and answer["value"] == b"v" and 0 < answer["ttl"] <= 30000
    c("CACHE.SET", "over", "v", "PX", "1", "GRACE", "60000")
    time.sleep(0.05)
    for _ in range(2):  # what is stale already gets no more grace by it
        assert c("CACHE.INVALIDATE", "over", "SOFT") == 1
        assert 0 < get(c, "over", "STALE")["ttl"] <= 60000 - 49
    c("CACHE.SET", "n", "v", "PX", "60000")  # no grace: nothing to keep
    assert c("CACHE.INVALIDATE", "n", "SOFT") == 1 and get(c, "n", "STALE")["state"] == "miss"


def test_watch_sees_a_soft_invalidation(c, others):
    c("CACHE.SET", "k", "v", "PX", "60000", "GRACE", "30000")
    c("WATCH", "k")
    c("MULTI")
    c("PING")
    others()("CACHE.INVALIDATE", "k", "SOFT")
    assert c("EXEC") is None


# ---- negative entries ----------------------------------------------------------------------------------------------


def test_negative_entries(c):
    assert c("CACHE.SET", "k", "", "NEGATIVE", "PX", "60000") == "OK"
    answer = get(c, "k", "LEASE", "1000")
    assert answer["state"] == "negative" and answer["value"] is None and answer["lease"] is None
    assert 0 < answer["ttl"] <= 60000
    assert c("GET", "k") is None and c("EXISTS", "k") == 0
    assert c("SET", "k", "v", "NX") == "OK" and get(c, "k")["state"] == "fresh"


def test_negative_entries_have_their_own_ttl(c):
    c("CACHE.SET", "k", "", "NEGATIVE")
    assert 0 < get(c, "k")["ttl"] <= 10000
    c("CACHE.SET", "j", "", "NEGATIVE", "PX", "1")
    time.sleep(0.01)
    assert get(c, "j")["state"] == "miss"


def test_negative_entries_have_a_cap(start_larder):
    server = start_larder({"cache-negative-max-memory": "10000"})
    with server.wire() as c:
        for i in range(1000):
            assert c("CACHE.SET", f"k{i}", "", "NEGATIVE", "PX", "600000") == "OK"
        kept = sum(get(c, f"k{i}")["state"] == "negative" for i in range(1000))
        assert 50 < kept < 200
        for i in range(1000):
            c("DEL", f"k{i}")
        assert c("CACHE.SET", "again", "", "NEGATIVE", "PX", "600000") == "OK"
        assert get(c, "again")["state"] == "negative"
        c("CACHE.SET", "v", "value")
        for i in range(1000):
            c("CACHE.SET", f"k{i}", "", "NEGATIVE", "PX", "600000")
        c("CACHE.SET", "v", "", "NEGATIVE")  # not kept, but the old value is known to be wrong
        assert c("GET", "v") is None


def test_negative_entries_of_a_database_that_is_emptied_count_no_more(c):
    c("SET", "other", "v")
    c("SELECT", "1")
    for i in range(100):
        c("CACHE.SET", f"k{i}", "", "NEGATIVE", "PX", "600000")
    assert as_dict(c("CACHE.STATS"))["negative-bytes"] > 6000
    c("FLUSHDB")
    harness.wait_until(lambda: as_dict(c("CACHE.STATS"))["negative-bytes"] == 0)
    c("SELECT", "0")


# ---- several keys -----------------------------------------------------------------------------------------------------


def test_mget(c):
    c("CACHE.SET", "a", "1", "PX", "60000")
    c("CACHE.SET", "n", "", "NEGATIVE")
    c("SADD", "s", "x")
    replies = c("CACHE.MGET", "4", "a", "n", "missing", "s", "LEASE", "60000")
    a, n, missing = map(as_dict, replies[:3])
    assert a["value"] == b"1" and n["state"] == "negative" and missing["lease"] is not None
    assert replies[3].startswith("WRONGTYPE")
    assert [list(x) for x in (a, n, missing)] == [FIELDS] * 3
    twice = c("CACHE.MGET", "2", "twice", "twice", "LEASE", "60000")
    assert [as_dict(x)["lease"] is not None for x in twice] == [True, False]
    c("MULTI")
    c("CACHE.MGET", "2", "a", "k", "STALE")
    c("CACHE.FAIL", "missing", missing["lease"])
    c("CACHE.INVALIDATE", "a")
    inside = c("EXEC")
    assert [as_dict(x)["state"] for x in inside[0]] == ["fresh", "miss"] and inside[1:] == ["OK", 1]
    many = c("CACHE.MGET", "2000", *[f"k{i}" for i in range(2000)])
    assert len(many) == 2000 and all(as_dict(m)["state"] == "miss" for m in many)


# ---- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_, words",
    [
        (("CACHE.GET", "k", "FOO"), ["FOO", "LEASE", "MINVER"]),
        (("CACHE.GET", "k", "LEASE"), ["LEASE", "milliseconds"]),
        (("CACHE.GET", "k", "LEASE", "0"), ["LEASE", "from 1 to", "'0'"]),
        (("CACHE.GET", "k", "LEASE", "-1"), ["LEASE"]),
        (("CACHE.GET", "k", "LEASE", "9223372036854775807"), ["LEASE"]),
        (("CACHE.GET", "k", "LEASE", "x"), ["LEASE", "'x'"]),
        (("CACHE.GET", "k", "LEASE", "1", "LEASE", "2"), ["LEASE", "twice"]),
        (("CACHE.GET", "k", "WAIT", "-1"), ["WAIT"]),
        (("CACHE.GET", "k", "EARLY", "1"), ["EARLY", "LEASE"]),
        (("CACHE.GET", "k", "EARLY", "-1", "LEASE", "1"), ["EARLY"]),
        (("CACHE.GET", "k", "EARLY", "nan", "LEASE", "1"), ["EARLY"]),
        (("CACHE.GET", "k", "EARLY", "inf", "LEASE", "1"), ["EARLY"]),
        (("CACHE.GET", "k", "MINVER", "-1"), ["MINVER"]),
        (("CACHE.SET", "k", "v", "EX", "1", "PX", "1"), ["EX", "PX"]),
        (("CACHE.SET", "k", "v", "EX", "0"), ["EX"]),
        (("CACHE.SET", "k", "v", "EX", "9223372036854775807"), ["EX"]),
        (("CACHE.SET", "k", "v", "PX", "9223372036854775807"), ["PX"]),
        (("CACHE.SET", "k", "v", "GRACE", "5"), ["GRACE", "EX", "PX"]),
        (("CACHE.SET", "k", "v", "NEGATIVE", "PX", "5", "GRACE", "5"), ["NEGATIVE", "GRACE"]),
        (("CACHE.SET", "k", "v", "VERSION", "-1"), ["VERSION"]),
        (("CACHE.SET", "k", "v", "TAGS", "0"), ["TAGS"]),
        (("CACHE.SET", "k", "v", "TAGS", "2", "a"), ["TAGS 2", "1 tags"]),
        (("CACHE.SET", "k", "v", "TAGS", "1", ""), ["TAGS", "empty"]),
        (("CACHE.SET", "k", "v", "TAGS", "4294967297", "a"), ["TAGS"]),
        (("CACHE.SET", "k", "v", "TAGS"), ["TAGS", "needs"]),
        (("CACHE.SET", "k", "v", "LEASE"), ["LEASE", "token"]),
        (("CACHE.SET", "k", "v", "WAIT", "5"), ["WAIT", "cache.set"]),
        (("CACHE.FAIL", "k", "t", "RETRY", "-5"), ["RETRY"]),
        (("CACHE.INVALIDATE", "k", "HOLD", "5"), ["HOLD", "VERSION"]),
        (("CACHE.MGET", "2", "k", "j", "WAIT", "5"), ["WAIT", "CACHE.GET"]),
        (("CACHE.MGET", "3", "k"), ["number of keys"]),
        (("CACHE.MGET", "-1", "k"), ["number of keys"]),
        (("CACHE.MGET", "4294967297", "k"), ["number of keys"]),
    ],
)
def test_errors_name_the_option_and_the_fix(c, request_, words):
    error = c(*request_)
    assert error.startswith("ERR ")
    for word in words:
        assert word in error
    assert c("DBSIZE") == 0


@pytest.mark.parametrize("key", ["", "k" * 100_000, b"\r\n\0\xff"], ids=["empty", "long", "binary"])
def test_what_may_be_said(c, key):
    """Every number at its edges, names and tags of any bytes."""
    most, far, day = str(2**63 - 1), str((2**63 - 1) // 4), "86400000"
    tags = [b"\0", "x" * 100_000, *map(str, range(126))]
    token = get(c, key, "LEASE", day, "MINVER", most, "EARLY", "0")["lease"]
    assert c("CACHE.FAIL", key, token, "RETRY", "0") == "OK"
    token = get(c, key, "LEASE", day, "WAIT", "0", "STALE")["lease"]
    assert c("CACHE.SET", key, "v", "LEASE", token, "PX", far, "GRACE", far, "VERSION", most, "COST", day, "TAGS", "128", *tags) == "OK"
    seen = inspect(c, key)
    assert seen["version"] == 2**63 - 1 and seen["grace"] == int(far) and seen["cost"] == int(day) and seen["tags"] == 128
    assert 0 <= int(far) - c("PTTL", key) < 600_000 and get(c, key, "MINVER", most)["value"] == b"v"
    assert c("CACHE.PURGE", "TAG", tags[1], "SOFT") and get(c, key, "STALE")["state"] == "stale"
    assert c("CACHE.INVALIDATE", key, "VERSION", most, "HOLD", day) == 1
    assert c("CACHE.SET", key, "v", "VERSION", str(2**63 - 2)) == "OLDVERSION"
    assert c("CACHE.SET", key, "v", "EX", str((2**63 - 1) // 4000), "VERSION", most, "TAGS", "1", tags[0]) == "OK"
    assert c("CACHE.PURGE", "TAG", tags[0]) and get(c, key)["state"] == "miss"
    assert c("CACHE.SET", key, "v", "PX", "1", "GRACE", "0", "VERSION", most, "COST", "0") == "OK"
    assert c("CACHE.SET", key, "v", "TAGS", "129", *map(str, range(129))).startswith("ERR TAGS takes")


def test_without_memory_only_what_adds_is_refused(start_larder):
    with start_larder({"maxmemory": "8mb"}).wire() as c:
        c("CACHE.SET", "k", "v", "TAGS", "1", "red")
        token = get(c, "j", "LEASE", "60000")["lease"]
        for i in range(0, 20_000, 100):
            if "OOM" in str(c.pipeline(*(("SET", f"other:{n}", b"x" * 1000) for n in range(i, i + 100)))[-1]):
                break
        assert c("CACHE.SET", "k", "w", "LEASE", token).startswith("OOM")
        assert c("CACHE.FAIL", "j", token) == "OK" and get(c, "j", "LEASE", "1000")["lease"]
        assert as_dict(c("CACHE.PURGE", "TAG", "red"))["acked"] == 1 and get(c, "k")["state"] == "miss"
        assert c("CACHE.INVALIDATE", "other:1", "VERSION", "5") == 1


WRITES, READS = ["fast", "write"], ["fast", "readonly"]


@pytest.mark.parametrize(
    "name, flags, keys, tips",
    [
        ("cache.get", READS, ("k",), ["nondeterministic_output"]),
        ("cache.mget", [*READS, "movablekeys"], None, ["nondeterministic_output", "request_policy:multi_shard"]),
        ("cache.set", ["denyoom", *WRITES], ("k",), []),
        ("cache.fail", WRITES, ("k",), []),
        ("cache.invalidate", WRITES, ("k",), []),
        ("cache.inspect", READS, ("k",), ["nondeterministic_output"]),
        # Whoever is asked sees to the others, so nobody is to send it to all.
        ("cache.purge", WRITES, (), ["nondeterministic_output"]),
        ("cache.job", [*READS, "loading", "stale"], (), ["nondeterministic_output"]),
        ("cache.warm", ["fast"], (), ["nondeterministic_output"]),
        # These tell of the node that is asked.
        ("cache.hot", ["readonly"], (), ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
        ("cache.stats", [*READS, "loading", "stale"], (), ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    ],
)
def test_commands_are_listed(c, name, flags, keys, tips):
    ((_, _, seen, first, last, _, _, said, _, _),) = c("COMMAND", "INFO", name)
    assert sorted(seen) == sorted(flags) and [t.decode() for t in said] == tips
    assert (first, last) == ((1, 1) if keys else (0, 0))
    if keys:
        assert c("COMMAND", "GETKEYS", name, "k", "v", "w") == [b"k"] or name == "cache.inspect"
    docs = c("COMMAND", "DOCS", name)
    about = as_dict(docs[name.encode()] if isinstance(docs, dict) else docs[1])
    assert about["group"] == b"cache" and about["summary"] and about["complexity"]


def test_a_flood_of_leases_is_forgotten(larder, c):
    for i in range(3000):
        get(c, f"k{i}", "LEASE", "1")
    harness.wait_until(lambda: all(inspect(c, f"k{i}")["lease"] is None for i in range(0, 3000, 100)))


def test_redis_py(larder):
    with larder.client() as r:
        answer = as_dict(r.execute_command("CACHE.GET", "k", "LEASE", 1000))
        assert answer["lease"]
        assert r.execute_command("CACHE.SET", "k", "v", "LEASE", answer["lease"], "PX", 60000) in (b"OK", True)
        assert as_dict(r.execute_command("CACHE.GET", "k"))["value"] == b"v"
        assert r.execute_command("COMMAND GETKEYS", "CACHE.MGET", 2, "a", "b", "STALE") == ["a", "b"]


def test_flushall_begins_anew(c):
    c("CACHE.INVALIDATE", "k", "VERSION", "6", "HOLD", "60000")
    c("FLUSHALL")
    assert c("CACHE.SET", "k", "v", "VERSION", "5") == "OK"


# ---- tags -------------------------------------------------------------------------------------------------------------


def test_purging_a_tag(c):
    c("CACHE.SET", "a", "1", "PX", "60000", "GRACE", "60000", "TAGS", "2", "red", "blue")
    c("CACHE.SET", "b", "1", "PX", "60000", "GRACE", "60000", "TAGS", "1", "blue")
    c("CACHE.SET", "n", "", "NEGATIVE", "TAGS", "1", "red")
    assert as_dict(c("CACHE.PURGE", "TAG", "red")) == {"shards": 1, "acked": 1, "pending": 0, "unsupported": 0}
    assert get(c, "a", "STALE")["state"] == "miss" and get(c, "n")["state"] == "miss"
    assert c("GET", "a") is None and c("EXISTS", "a") == 0
    assert get(c, "b")["state"] == "fresh"
    c("CACHE.SET", "a", "2", "PX", "60000", "TAGS", "1", "red")
    assert get(c, "a")["value"] == b"2"


def test_a_soft_purge_keeps_the_grace(c):
    c("CACHE.SET", "a", "1", "PX", "60000", "GRACE", "60000", "TAGS", "1", "red")
    c("CACHE.SET", "b", "1", "PX", "60000", "TAGS", "1", "green")
    c("CACHE.SET", "n", "", "NEGATIVE", "TAGS", "1", "red")
    c("CACHE.SET", "soft", "1", "TAGS", "1", "SOFT")
    c("CACHE.PURGE", "TAG", "red", "green", "SOFT")
    for key in ("a", "b"):  # that without grace until its end
        assert get(c, key)["state"] == "miss" and get(c, key, "STALE")["value"] == b"1"
    assert get(c, "n", "STALE")["state"] == "miss" and get(c, "soft")["state"] == "fresh"
    for words in (("SOFT",), ("SOFT", "blue")):  # behind a tag it is the option
        c("CACHE.SET", "soft", "1", "TAGS", "1", "SOFT")
        c("CACHE.PURGE", "TAG", *words)
        assert get(c, "soft", "STALE")["state"] == "miss"


@pytest.mark.parametrize("early", [False, True])
def test_what_was_being_loaded_when_its_tag_was_purged_is_never_fresh(c, early):
    if early:  # a background refresh of a value that had no tags yet
        c("CACHE.SET", "k", "v", "PX", "60000", "COST", "86400000")
        token = None
        while token is None:
            token = get(c, "k", "LEASE", "60000", "EARLY", "1000")["lease"]
    else:
        token = get(c, "k", "LEASE", "60000")["lease"]
    c("CACHE.PURGE", "TAG", "red")
    assert c("CACHE.SET", "k", "old", "LEASE", token, "PX", "60000", "TAGS", "1", "red") == "OK"
    assert get(c, "k")["state"] == "miss" and c("GET", "k") is None
    token = get(c, "k", "LEASE", "60000")["lease"]
    assert c("CACHE.SET", "k", "new", "LEASE", token, "PX", "60000", "TAGS", "1", "red") == "OK"
    assert get(c, "k")["value"] == b"new"


def test_more_tags_than_are_remembered(c):
    for i in range(100):
        c("CACHE.SET", f"k{i}", "v", "TAGS", "1", f"t{i}")
    for i in range(0, 40000, 100):
        c("CACHE.PURGE", "TAG", *[f"t{j}" for j in range(i, i + 100)])
    assert all(get(c, f"k{i}")["state"] == "miss" for i in range(100))
    c("CACHE.SET", "now", "v", "TAGS", "1", "t5")
    assert get(c, "now")["state"] == "fresh"


@pytest.mark.parametrize("request_", [("CACHE.PURGE", "FOO", "x"), ("CACHE.PURGE", "TAGS", "x")])
def test_purge_says_how(c, request_):
    assert "TAG" in c(*request_)
# ---- stampedes ------------------------------------------------------------------------------------


def answered(crowd, seconds=120):
    """Those of the crowd that have an answer, once there is one."""
    poll = select.poll()
    by_fd = {one.sock.fileno(): one for one in crowd}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(seconds * 1000)]


def test_a_thousand_miss_the_same_key(c, others):
    crowd = [others() for _ in range(1000)]
    for one in crowd:
        one.send(encode("CACHE.GET", "cold", "LEASE", "60000", "WAIT", "60000"))
    wait_for_waiters(c, "cold", 999)
    (loader,) = answered(crowd)
    crowd.remove(loader)
    lease = as_dict(loader.read())["lease"]
    assert lease and c("CACHE.SET", "cold", "value", "LEASE", lease, "PX", "60000") == "OK"
    for answer in (as_dict(one.read()) for one in crowd):
        assert answer["state"] == "fresh" and answer["value"] == b"value" and answer["lease"] is None
    assert inspect(c, "cold")["waiters"] == 0


def test_the_loader_dies_and_has_one_successor(c, others):
    loader, crowd = c, crowd_behind_a_lease(c, others, "cold", [("LEASE", "600000")] * 200)
    loader.close()
    (successor,) = answered(crowd)
    crowd.remove(successor)
    lease = as_dict(successor.read())["lease"]
    assert lease and successor("CACHE.SET", "cold", "value", "LEASE", lease) == "OK"
    assert {as_dict(one.read())["value"] for one in crowd} == {b"value"}


# ---- many keys that expire together ----------------------------------------------------------------


class Storm:
    """100 connections that read 10,000 keys, each key on ten of them."""

    KEYS, CONNECTIONS, READERS = 10_000, 100, 10
    LEASE = re.compile(rb"lease\r\n(?:\$-1\r\n|\$57\r\n(.{57}))")

    def __init__(self, make):
        self.wires = [make(protocol=2) for _ in range(self.CONNECTIONS)]
        self.grants = []  # (key, token)

    def keys_of(self, i):
        share = self.KEYS * self.READERS // self.CONNECTIONS
        return [f"s{(i * share + j) % self.KEYS}" for j in range(share)]

    def read(self, *options):
        """Everybody reads its keys; who gets a lease is noted. Returns the states."""
        states = collections.Counter()
        for i, w in enumerate(self.wires):
            keys = self.keys_of(i)
            w.send(b"".join(encode("CACHE.GET", k, *options) for k in keys) + encode("PING"))
            got = b""
            while not got.endswith(b"+PONG\r\n"):
                got += w.sock.recv(1 << 20)
            leases = self.LEASE.findall(got)
            assert len(leases) == len(keys)
            self.grants += [(k, token) for k, token in zip(keys, leases, strict=True) if token]
            states.update(re.findall(rb"state\r\n\$\d+\r\n(\w+)", got))
        return states

    def fill(self, *options):
        """All who have a lease bring the value. Returns how many were accepted."""
        w = self.wires[0]
        w.send(b"".join(encode("CACHE.SET", k, "v", "LEASE", t, *options) for k, t in self.grants))
        return sum(w.read() == "OK" for _ in self.grants)


@pytest.mark.parametrize("early", [False, True], ids=["plain", "early"])
def test_ten_thousand_keys_that_expire_together_are_loaded_once_each(larder, early):
    storm = Storm(larder.wire)
    w = storm.wires[0]
    names = [f"s{i}" for i in range(storm.KEYS)]
    w.send(b"".join(encode("CACHE.SET", k, "v", "PX", "5000", "COST", "86400000") for k in names))
    assert {w.read() for _ in names} == {"OK"}
    options = ("LEASE", "600000", "EARLY", "1") if early else ("LEASE", "600000")
    storm.read(*options)  # with EARLY nearly every key is being loaded from here on, and none is filled
    harness.wait_until(lambda: w("EXISTS", *names) == 0, what="all keys to expire")
    for _ in range(2):
        assert storm.read(*options) == {b"miss": storm.KEYS * storm.READERS}
    assert len(storm.grants) <= 1.05 * storm.KEYS
    assert storm.fill("PX", "600000") == storm.KEYS
    assert storm.read("LEASE", "600000") == {b"fresh": storm.KEYS * storm.READERS}
