"""What the public suites of Redis found (docs/evidence/acceptance.md), in tests of our own."""

import socket
import time

import pytest

from harness import wait_until
from wire import encode


def blocked(w):
    return int(dict(line.split(":", 1) for line in w("INFO", "clients").decode().split("\r\n") if ":" in line)["blocked_clients"])


def test_a_paused_client_counts_as_blocked(larder, w):
    assert blocked(w) == 0
    with larder.wire() as writer, larder.wire() as leaver:
        assert w("CLIENT", "PAUSE", "60000", "WRITE") == "OK"
        writer_id = writer("CLIENT", "ID")
        writer.send(encode("SET", "k", "v"))
        leaver_id = leaver("CLIENT", "ID")
        leaver.send(encode("SET", "k", "w"))
        wait_until(lambda: blocked(w) == 2, what="two blocked clients")
        assert b" flags=b " in w("CLIENT", "LIST", "ID", writer_id)
        assert w("CLIENT", "KILL", "ID", leaver_id) == 1
        wait_until(lambda: blocked(w) == 1, what="one less")
        assert w("CLIENT", "UNPAUSE") == "OK"
        assert writer.read() == "OK"
        wait_until(lambda: blocked(w) == 0, what="nobody to be blocked")
        assert b" flags=N " in w("CLIENT", "LIST", "ID", writer_id)


def expired(w):
    return int(dict(line.split(":", 1) for line in w("INFO", "stats").decode().split("\r\n") if ":" in line)["expired_keys"])


def test_a_pause_hides_expired_keys_and_keeps_them(w):
    was, names = expired(w), [f"k{i}" for i in range(200)]
    w.pipeline(["MULTI"], *[["SET", k, "v", "PX", "30"] for k in names], ["CLIENT", "PAUSE", "600000", "WRITE"])
    assert w("EXEC")[-1] == "OK"
    wait_until(lambda: not w("EXISTS", *names), what="the deadlines")
    assert w("MGET", *names[:5]) == [None] * 5
    assert w("TYPE", "k1") == "none" and w("TTL", "k1") == -2 and w("DUMP", "k1") is None
    assert w("RANDOMKEY") is None and w("KEYS", "*") == [] and w("SCAN", "0", "COUNT", "1000")[1] == []
    assert w.pipeline(["MULTI"], ["GET", "k2"], ["EXEC"])[-1] == [None]
    assert expired(w) == was and w("DBSIZE") == len(names)
    assert w("CLIENT", "UNPAUSE") == "OK"
    assert w("EXISTS", *names) == 0
    assert expired(w) == was + len(names) and w("DBSIZE") == 0


def test_the_sweep_keeps_them_too(w):
    was = expired(w)
    w.pipeline(["MULTI"], ["SET", "k", "v", "PX", "1"], ["CLIENT", "PAUSE", "600000", "WRITE"], ["EXEC"])
    time.sleep(1.6)  # a sweep comes by within a second or so
    assert w("DBSIZE") == 1
    assert w("CLIENT", "UNPAUSE") == "OK"
    wait_until(lambda: w("DBSIZE") == 0, what="the sweep")
    wait_until(lambda: expired(w) == was + 1, what="it to be counted")


def test_writes_behind_a_pause_in_one_transaction_find_no_expired_keys(w):
    """Only EXEC can still write then: what it writes must not inherit the deadline of a key that it cannot see."""
    names = ["kept", "appended", "grown", "renamed", "incremented", "bits"]
    w("SET", "live", "x" * 50)
    w.pipeline(["MULTI"], *[["SET", k, "7", "PX", "1"] for k in names], ["CLIENT", "PAUSE", "600000", "WRITE"], ["EXEC"])
    wait_until(lambda: not w("EXISTS", *names), what="the deadlines")
    assert w("DBSIZE") == 7
    writes = [
        ["CLIENT", "PAUSE", "600000", "WRITE"],
        ["GET", "kept"],
        ["SET", "kept", "v", "KEEPTTL"],
        ["APPEND", "appended", "a"],
        ["SETRANGE", "grown", "40000", "z"],
        ["RENAMENX", "live", "renamed"],
        ["INCR", "incremented"],
        ["SETBIT", "bits", "1", "1"],
    ]
    # EXEC with writes waits for the end of a pause; one that begins with its own does not.
    w("CLIENT", "UNPAUSE")
    w.pipeline(["MULTI"], *writes)
    assert w("EXEC") == ["OK", None, "OK", 1, 40001, 1, 1, 0]
    assert w("CLIENT", "UNPAUSE") == "OK"
    assert [w("PTTL", k) for k in names] == [-1] * 6
    assert w("MGET", "kept", "appended", "incremented", "bits") == [b"v", b"a", b"1", b"@"]


@pytest.mark.parametrize("backlog", [0, 100000], ids=["all read", "more than is read in a pause"])
def test_a_paused_client_that_hangs_up_is_let_go(larder, w, backlog):
    assert w("CLIENT", "PAUSE", "600000", "WRITE") == "OK"
    leaver = larder.wire()
    ident = leaver("CLIENT", "ID")
    leaver.send(encode("SET", "k", "v") * (1 + backlog // 25))
    wait_until(lambda: blocked(w) == 1, what="the client to be held back")
    leaver.close()
    wait_until(lambda: blocked(w) == 0 and not w("CLIENT", "LIST", "ID", ident), what="the client to be let go")
    assert w("CLIENT", "UNPAUSE") == "OK"
    assert w("GET", "k") is None


def test_half_a_close_in_a_pause_is_a_close(larder, w):
    assert w("CLIENT", "PAUSE", "600000", "WRITE") == "OK"
    with larder.wire() as leaver:
        leaver.send(encode("SET", "k", "v"))
        leaver.sock.shutdown(socket.SHUT_WR)
        assert leaver.closed()
    assert w("CLIENT", "UNPAUSE") == "OK"
    assert w("GET", "k") is None


def test_commands_that_visit_every_worker_are_noted_when_slow(larder, r, w):
    r.config_set("slowlog-log-slower-than", 0)
    try:
        w("SLOWLOG", "RESET")
        ident = str(w("CLIENT", "ID"))
        w("CLIENT", "SETNAME", "asker")
        w("CLIENT", "LIST", "ID", ident)
        assert w("CLIENT", "KILL", "ID", "999999999") == 0
        with larder.wire() as own:
            assert own("CLIENT", "KILL", "LADDR", "nowhere:1", "SKIPME", "no") == 0
    finally:
        r.config_set("slowlog-log-slower-than", 10000)
    noted = {b" ".join(e[3]): e for e in w("SLOWLOG", "GET", "100")}
    assert noted[f"CLIENT LIST ID {ident}".encode()][5] == b"asker"
    assert noted[b"CLIENT KILL ID 999999999"][5] == b"asker"
    assert noted[b"CLIENT KILL LADDR nowhere:1 SKIPME no"][5] == b""


def test_commands_that_visit_every_worker_are_counted(r, w):
    r.config_resetstat()
    w("CLIENT", "LIST")
    w("CLIENT", "KILL", "ID", "999999999")
    assert w("CLIENT", "KILL", "192.0.2.1:1") == "ERR No such client"
    stats = r.info("commandstats")
    assert stats["cmdstat_client|list"]["calls"] == 1 and stats["cmdstat_client|list"]["failed_calls"] == 0
    assert stats["cmdstat_client|kill"]["calls"] == 2 and stats["cmdstat_client|kill"]["failed_calls"] == 1
    assert r.info("errorstats")["errorstat_ERR"] in ({"count": 1}, "count=1")
    assert set(w("LATENCY", "HISTOGRAM", "client")[::2]) == {b"client|list", b"client|kill"}


def changes(w):
    return int(dict(line.split(":", 1) for line in w("INFO", "persistence").decode().split("\r\n") if ":" in line)["rdb_changes_since_last_save"])


def test_bits_that_are_there_already_are_no_change(w):
    w("SETBIT", "k", "7", "1")
    was = changes(w)
    w("WATCH", "k")
    assert w("SETBIT", "k", "7", "1") == 1
    assert w("BITFIELD", "k", "SET", "u8", "0", "1", "GET", "u4", "4", "OVERFLOW", "FAIL", "SET", "u2", "0", "4") == [1, 1, None]
    assert changes(w) == was
    w("MULTI")
    w("SETBIT", "k", "7", "0")
    assert w("EXEC") == [1]
    assert changes(w) == was + 1
    assert w("BITFIELD", "k", "INCRBY", "u8", "0", "0") == [0]
    assert changes(w) == was + 2


def test_a_wait_beyond_the_end_of_time_is_refused(w):
    assert str(w("WAIT", "1", str(2**63 - 1))) == "ERR timeout is out of range"
    assert str(w("WAIT", "1", str(2**63))) == "ERR timeout is not an integer or out of range"
    assert str(w("WAIT", "1", "-1")) == "ERR timeout is negative"
