"""What the public suites of Redis found (docs/evidence/acceptance.md), in tests of our own."""

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
        assert blocked(w) == 1
        assert w("CLIENT", "UNPAUSE") == "OK"
        assert writer.read() == "OK"
        assert blocked(w) == 0
        assert b" flags=N " in w("CLIENT", "LIST", "ID", writer_id)


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
