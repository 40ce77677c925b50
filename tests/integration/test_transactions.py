"""MULTI, EXEC, DISCARD and WATCH."""

import random
import threading
import time

import pytest
import redis

from harness import wait_until


def test_exec(w):
    assert w("MULTI") == "OK"
    assert w("SET", "k", "1") == "QUEUED"
    assert w("INCR", "k") == "QUEUED"
    assert w("GET", "k") == "QUEUED"
    assert w("EXEC") == ["OK", 2, b"2"]
    assert w("EXEC") == "ERR EXEC without MULTI"


def test_nothing_happens_before_exec_or_after_discard(r, w):
    w("MULTI")
    w("SET", "k", "1")
    assert r.get("k") is None
    assert w("DISCARD") == "OK"
    assert r.get("k") is None
    assert w("DISCARD") == "ERR DISCARD without MULTI"


def test_empty_exec(w):
    w("MULTI")
    assert w("EXEC") == []


def test_no_nesting(w):
    w("MULTI")
    assert w("MULTI") == "ERR MULTI calls can not be nested"
    assert w("WATCH", "k") == "ERR WATCH inside MULTI is not allowed"
    assert w("SET", "k", "1") == "QUEUED"
    assert w("EXEC") == ["OK"]


@pytest.mark.parametrize("wrong", [("NOSUCH",), ("GET",), ("SET", "k"), ("OBJECT", "BOGUS", "k"), ("CLIENT", "BOGUS")])
def test_a_command_that_cannot_be_queued_spoils_the_exec(r, w, wrong):
    w("MULTI")
    assert w("SET", "k", "1") == "QUEUED"
    assert w(*wrong).startswith("ERR ")
    assert w("SET", "k", "2") == "QUEUED"
    assert w("EXEC") == "EXECABORT Transaction discarded because of previous errors."
    assert r.get("k") is None
    assert w("PING") == "PONG"


def test_errors_inside_exec_stop_nothing(w):
    w("SET", "k", "abc")
    w("MULTI")
    for command in (("INCR", "k"), ("SET", "x", "1", "NX", "XX"), ("SET", "after", "1"), ("GET", "after")):
        assert w(*command) == "QUEUED"
    replies = w("EXEC")
    assert replies[0] == "ERR value is not an integer or out of range"
    assert replies[1] == "ERR syntax error"
    assert replies[2:] == ["OK", b"1"]


def test_redis_py_pipeline(r):
    with r.pipeline() as p:
        p.set("a", 1).incr("a").get("a")
        assert p.execute() == [True, 2, b"2"]
        p.set("a", "x").incr("a")
        with pytest.raises(redis.ResponseError):
            p.execute()


def test_exec_in_resp3(w3):
    w3("MULTI")
    w3("GET", "nothing")
    w3("CONFIG", "GET", "databases")
    assert w3("EXEC") == [None, {b"databases": b"16"}]
    w3("WATCH", "k")
    w3("SET", "k", "1")
    w3("MULTI")
    assert w3("EXEC") is None


CHANGES = {
    "set": [("SET", "k", "2")], "same value": [("SET", "k", "1")], "del": [("DEL", "k")], "unlink": [("UNLINK", "k")], "append": [("APPEND", "k", "x")],
    "setbit": [("SETBIT", "k", "1", "1")], "expire": [("EXPIRE", "k", "1000")], "expire now": [("EXPIRE", "k", "-1")], "persist": [("EXPIRE", "k", "1000"), ("PERSIST", "k")],
    "rename from": [("RENAME", "k", "z")], "rename to": [("SET", "z", "1"), ("RENAME", "z", "k")], "copy to": [("SET", "z", "1"), ("COPY", "z", "k", "REPLACE")],
    "move": [("MOVE", "k", "3")], "flushdb": [("FLUSHDB",)], "flushall": [("FLUSHALL",)], "swapdb": [("SWAPDB", "0", "3")], "getdel": [("GETDEL", "k")],
    "getex": [("GETEX", "k", "EX", "100")], "bitop to": [("BITOP", "NOT", "k", "k")], "mset": [("MSET", "other", "1", "k", "2")],
    "there and back": [("SET", "k", "2"), ("SET", "k", "1")],
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_watch_sees_every_change(larder, w, name):
    w("SET", "k", "1")
    assert w("WATCH", "k") == "OK"
    with larder.wire() as other:
        for command in CHANGES[name]:
            other(*command)
    w("MULTI")
    w("SET", "won", "1")
    assert w("EXEC") is None
    assert w("EXISTS", "won") == 0


@pytest.mark.parametrize("change", [("GET", "k"), ("TOUCH", "k"), ("SET", "other", "1"), ("COPY", "k", "z"), ("SETNX", "k", "2"), ("EXPIRE", "nothing", "1"), ("DEL", "nothing"), ("SELECT", "1")])
def test_watch_ignores_what_changes_nothing(larder, w, change):
    w("SET", "k", "1")
    w("WATCH", "k")
    with larder.wire() as other:
        other(*change)
    w("MULTI")
    w("GET", "k")
    assert w("EXEC") == [b"1"]


def test_watch_counts_for_one_database(larder, w):
    w("SET", "k", "1")
    w("WATCH", "k")
    with larder.wire() as other:
        other("SELECT", "1")
        other("SET", "k", "2")
    w("MULTI")
    assert w("EXEC") == []


def test_watch_ends(larder, w):
    """With UNWATCH, DISCARD, EXEC and RESET."""
    for end in (("UNWATCH",), ("MULTI", "DISCARD"), ("MULTI", "EXEC"), ("RESET",)):
        w("SET", "k", "1")
        w("WATCH", "k")
        for word in end:
            w(word)
        with larder.wire() as other:
            other("SET", "k", "2")
        w("MULTI")
        assert w("EXEC") == [], end


def test_watch_of_a_missing_key(larder, w):
    w("WATCH", "k")
    with larder.wire() as other:
        other("SET", "k", "1")
        other("DEL", "k")
    w("MULTI")
    assert w("EXEC") is None


def test_watch_and_expiry(w):
    """A key that expires after WATCH breaks it; one that was dead at WATCH does not."""
    for ms in (30, 300, 3000, 30000):  # it lives when it is watched, on a slow machine too
        if w.pipeline(("SET", "k", "1", "PX", ms), ("WATCH", "k"), ("EXISTS", "k"))[2] == 1:
            break
        w("UNWATCH")
    wait_until(lambda: w("EXISTS", "k") == 0, what="its end")
    w("MULTI")
    w("PING")
    assert w("EXEC") is None
    w("SET", "k", "1", "PX", "1")
    time.sleep(0.1)
    w("WATCH", "k")
    w("MULTI")
    w("PING")
    assert w("EXEC") == ["PONG"]


def test_watch_loops_never_lose_an_increment(larder):
    """The classic: optimistic increments from several connections, each retried until it wins."""
    threads, each = 4, 150
    losses = []

    def work():
        with larder.wire() as c:
            for _ in range(each):
                while True:
                    c("WATCH", "n")
                    value = int(c("GET", "n") or 0)
                    _, _, done = c.pipeline(("MULTI",), ("SET", "n", value + 1), ("EXEC",))
                    if done is not None:
                        break
                    losses.append(1)

    run_all([work] * threads)
    with larder.wire() as c:
        assert c("GET", "n") == b"%d" % (threads * each)
    assert losses, "nobody ever collided: the test tested nothing"


def test_exec_is_atomic_across_shards(larder):
    """A transaction moves money between keys of different shards; no reader sees the sum change."""
    names = [f"account:{i}" for i in range(8)]
    with larder.wire() as c:
        c("MSET", *[x for n in names for x in (n, 100)])
    stop = threading.Event()

    def move():
        rng = random.Random()
        with larder.wire() as c:
            while not stop.is_set():
                a, b = rng.sample(names, 2)
                c.pipeline(("MULTI",), ("DECRBY", a, 7), ("INCRBY", b, 7), ("EXEC",))

    def audit():
        with larder.wire() as c:
            for i in range(600):
                if i % 2:
                    sums = c("MGET", *names)
                else:
                    sums = c.pipeline(("MULTI",), *[("GET", n) for n in names], ("EXEC",))[-1]
                assert sum(map(int, sums)) == 800
        stop.set()

    run_all([audit, move, move], stop)


def run_all(workers, stop=None):
    """Run each in a thread of its own; the first failure fails the test."""
    failures = []

    def guarded(work):
        try:
            work()
        except BaseException as e:  # noqa: BLE001 - carried to the test's own thread
            failures.append(e)
            if stop:
                stop.set()

    threads = [threading.Thread(target=guarded, args=(work,)) for work in workers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def test_a_dropped_connection_executes_nothing(larder, r):
    with larder.wire() as c:
        c("MULTI")
        c("SET", "k", "1")
    assert r.get("k") is None


def test_reset_leaves_multi(w):
    w("MULTI")
    w("SET", "k", "1")
    assert w("RESET") == "RESET"
    assert w("EXEC") == "ERR EXEC without MULTI"
    assert w("GET", "k") is None


def test_select_inside_exec(w):
    w("MULTI")
    for command in (("SELECT", "1"), ("SET", "k", "one"), ("SELECT", "0"), ("SET", "k", "zero"), ("SELECT", "1")):
        w(*command)
    assert w("EXEC") == ["OK"] * 5
    assert w("GET", "k") == b"one"


def test_a_long_transaction(w):
    n = 5000
    replies = w.pipeline(("MULTI",), *[("INCR", f"c{i % 50}") for i in range(n)], ("EXEC",))
    assert len(replies[-1]) == n and replies[-1][-1] == n // 50
