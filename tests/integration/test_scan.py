"""SCAN's promise: a key that is there from the first call to the last is returned."""

import random
import threading

import pytest


def everything(w, *args):
    """All keys of one full iteration, duplicates included, and the number of calls."""
    cursor, found, calls = b"0", [], 0
    while True:
        cursor, keys = w("SCAN", cursor, *args)
        found += keys
        calls += 1
        if cursor == b"0":
            return found, calls


def test_returns_every_key(r, w):
    names = {b"key:%d" % i for i in range(5000)}
    r.mset({n: 1 for n in names})
    for count in (1, 10, 777, 100000):
        found, _ = everything(w, "COUNT", count)
        assert set(found) == names
        assert len(found) <= 2 * len(names), "an undisturbed iteration hardly repeats itself"
    assert set(r.scan_iter()) == names


def test_match_type_and_count(r, w):
    r.mset({f"a{i}": 1 for i in range(300)} | {f"b{i}": 1 for i in range(300)})
    assert set(everything(w, "MATCH", "a*")[0]) == {b"a%d" % i for i in range(300)}
    assert set(everything(w, "MATCH", "a1?", "COUNT", "7", "TYPE", "string")[0]) == {b"a1%d" % i for i in range(10)}
    assert everything(w, "TYPE", "hash")[0] == []
    assert everything(w, "TYPE", "STRING", "MATCH", "nothing")[0] == []


def test_errors(w):
    assert w("SCAN", "x") == "ERR invalid cursor"
    assert w("SCAN", "0", "COUNT", "0") == "ERR syntax error"
    assert w("SCAN", "0", "COUNT", "x") == "ERR value is not an integer or out of range"
    assert w("SCAN", "0", "MATCH") == "ERR syntax error"
    assert w("SCAN", "0", "BOGUS", "1") == "ERR syntax error"
    assert w("SCAN") == "ERR wrong number of arguments for 'scan' command"


def test_any_cursor_is_harmless(r, w):
    r.mset({f"k{i}": i for i in range(1000)})
    rng = random.Random(5)
    for cursor in [rng.randrange(1 << rng.randrange(1, 64)) for _ in range(500)] + [2**63 - 1, 2**64 - 1, 1]:
        reply = w("SCAN", cursor, "COUNT", "10")
        assert isinstance(reply, list) and int(reply[0]) < 1 << 64


def test_cursors_fit_a_double(r, w):
    """Clients in JavaScript and Lua hold them in one."""
    r.mset({f"k{i}": i for i in range(3000)})
    cursor = b"0"
    while True:
        cursor, _ = w("SCAN", cursor, "COUNT", "20")
        assert int(cursor) < 1 << 53
        if cursor == b"0":
            break


def test_databases_are_apart(r, w):
    r.mset({f"k{i}": i for i in range(500)})
    w("SELECT", "1")
    w("MSET", *[x for i in range(500) for x in (f"one{i}", i)])
    assert set(everything(w)[0]) == {b"one%d" % i for i in range(500)}


@pytest.mark.parametrize("count", [1, 50])
def test_keys_that_stay_are_returned_while_others_come_and_go(larder, count):
    """The table grows and shrinks under the iteration, from connections of their own."""
    stay = {b"stay:%d" % i for i in range(1500 if count > 1 else 200)}
    with larder.wire() as w:
        w("MSET", *[x for n in stay for x in (n, 1)])
    stop = threading.Event()
    failures = []

    def churn(seed):
        rng = random.Random(seed)
        with larder.wire() as c:
            while not stop.is_set():
                base = rng.randrange(10**9)
                c.pipeline(*[("SET", f"come:{base + i}", "x" * rng.randrange(200)) for i in range(1000)])
                c.pipeline(*[("DEL" if i % 2 else "UNLINK", f"come:{base + i}") for i in range(1000)])

    def guarded(seed):
        try:
            churn(seed)
        except Exception as e:  # noqa: BLE001 - reported by the test's own thread
            failures.append(e)

    churners = [threading.Thread(target=guarded, args=(n,)) for n in range(3)]
    for t in churners:
        t.start()
    try:
        with larder.wire() as w:
            for _ in range(6 if count > 1 else 2):
                found, _ = everything(w, "COUNT", count)
                assert stay <= set(found), f"{len(stay - set(found))} keys were missed"
    finally:
        stop.set()
        for t in churners:
            t.join()
    assert not failures, failures


def test_a_small_count_does_little_at_a_time(r, w):
    r.mset({f"k{i}": i for i in range(5000)})
    _, calls = everything(w, "COUNT", "10")
    assert calls > 100
    cursor, keys = w("SCAN", "0", "COUNT", "10")
    assert len(keys) < 500


def test_an_empty_or_nearly_empty_database_is_scanned_in_few_calls(r, w):
    """Slots without keys are skipped, not visited one call at a time."""
    assert everything(w)[1] <= 2
    r.set("k", 1)
    r.set("k2", 1)
    found, calls = everything(w)
    assert set(found) == {b"k", b"k2"} and calls <= 4
