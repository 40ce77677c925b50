"""What Redis 7.2 has and 7.0 has not: no server of Debian's can be asked, so it stands here."""

import pytest

from test_connection import fields, listed
from wire import encode

pytestmark = pytest.mark.larder


def test_setinfo(w):
    assert w("CLIENT", "SETINFO", "LIB-NAME", "mylib") == "OK"
    assert w("CLIENT", "SETINFO", "lib-ver", "1.2.3") == "OK"
    me = fields(w("CLIENT", "INFO"))
    assert me["lib-name"] == "mylib" and me["lib-ver"] == "1.2.3"
    assert list(me)[-3:] == ["resp", "lib-name", "lib-ver"]
    assert w("CLIENT", "SETINFO", "LIB-NAME", "") == "OK" and fields(w("CLIENT", "INFO"))["lib-name"] == ""
    assert w("CLIENT", "SETINFO", "LIB-NAME", "with space") == "ERR lib-name cannot contain spaces, newlines or special characters."
    assert w("CLIENT", "SETINFO", "LIB-VER", "new\nline") == "ERR lib-ver cannot contain spaces, newlines or special characters."
    assert w("CLIENT", "SETINFO", "BOGUS", "x") == "ERR Unrecognized option 'BOGUS'"
    assert w("CLIENT", "SETINFO", "LIB-NAME") == "ERR wrong number of arguments for 'client|setinfo' command"


def test_setinfo_survives_reset(w):
    w("CLIENT", "SETINFO", "LIB-NAME", "mylib")
    w("RESET")
    assert fields(w("CLIENT", "INFO"))["lib-name"] == "mylib"


def test_no_touch(larder, r, w):
    r.set("k", "v")
    assert w("CLIENT", "NO-TOUCH", "ON") == "OK"
    assert fields(w("CLIENT", "INFO"))["flags"] == "T"
    assert w("CLIENT", "NO-TOUCH", "bogus") == "ERR syntax error"
    assert w("CLIENT", "NO-TOUCH", "OFF") == "OK"
    assert fields(w("CLIENT", "INFO"))["flags"] == "N"


def test_reset_clears_no_touch_and_no_evict(w):
    w("CLIENT", "NO-TOUCH", "ON")
    w("CLIENT", "NO-EVICT", "ON")
    w("RESET")
    assert fields(w("CLIENT", "INFO"))["flags"] == "N"


def test_bit_commands_without_a_key_ignore_their_arguments(w):
    """Only Redis 7.4 looks at them first."""
    assert w("BITCOUNT", "nothing", "0", "x") == 0
    assert w("BITCOUNT", "nothing", "0") == 0
    assert w("BITPOS", "nothing", "0", "x") == 0
    assert w("BITPOS", "nothing", "1", "0", "1", "BOGUS") == -1
    assert w("BITPOS", "nothing", "x") == "ERR value is not an integer or out of range"


def test_hello_and_info_announce_7_2(r, w):
    hello = w("HELLO")
    assert hello[hello.index(b"version") + 1].startswith(b"7.2.")
    assert str(r.info("server")["redis_version"]).startswith("7.2.")
    info = r.info("everything")
    for field in "total_blocking_keys total_blocking_keys_on_nokey evicted_scripts acl_access_denied_auth rdb_saves aof_rewrites unexpected_error_replies".split():
        if field == "evicted_scripts":
            continue  # 7.4
        assert field in info, field


def test_command_docs_know_7_2_commands(w):
    names = set(w("COMMAND", "LIST"))
    assert {b"client|setinfo", b"client|no-touch", b"expiretime"} <= names


def test_list_filters_are_those_of_7_2(larder, w):
    assert w("CLIENT", "LIST", "ID") == "ERR syntax error"
    assert [x["id"] for x in listed(w, "ID", w("CLIENT", "ID"), "999999")] == [str(w("CLIENT", "ID"))]


def test_client_kill_maxage_is_not_7_2(w):
    assert w("CLIENT", "KILL", "MAXAGE", "10") == "ERR syntax error"


def test_unknown_things_answer_as_clients_expect(w):
    """Newer clients probe for what 7.2 lacks, and fall back on these exact texts."""
    assert w("CLIENT", "MAINT_NOTIFICATIONS", "ON").startswith("ERR unknown subcommand 'MAINT_NOTIFICATIONS'")
    assert w("CLIENT", "CAPA", "redirect").startswith("ERR unknown subcommand 'CAPA'")
    assert w("HELLO", "3", "AVAILABILITY_ZONE", "x").startswith("ERR Syntax error in HELLO option")


def test_config_parameters_of_7_2(r):
    every = r.config_get("*")
    for name in ("set-max-listpack-entries", "set-max-listpack-value", "locale-collate", "aof-disable-auto-gc", "enable-debug-command", "latency-tracking"):
        assert name in every, name


def test_scan_of_an_expired_key_with_type(larder, w):
    """7.2: SCAN with MATCH or TYPE removes and never returns what has expired."""
    import time

    w("SET", "dead", "x", "PX", "1")
    w("SET", "live", "x")
    time.sleep(0.1)
    assert w("SCAN", "0", "TYPE", "string", "COUNT", "1000") == [b"0", [b"live"]]


def test_monitor_is_not_slowed_by_reply_off(w, larder):
    """CLIENT REPLY OFF mutes replies, not what MONITOR shows to others."""
    with larder.wire() as m:
        m("MONITOR")
        w.send(encode("CLIENT", "REPLY", "OFF") + encode("SET", "k", "1"))
        assert '"CLIENT" "REPLY" "OFF"' in m.read() and '"SET" "k" "1"' in m.read()
