"""What a connection is: protocol, name, database, password, and the CLIENT commands."""

import os
import time

import pytest
import redis

from harness import wait_until
from test_clients import idle_is_dropped
from wire import Error, Push, encode

NOAUTH = "NOAUTH Authentication required."
WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."


def fields(line):
    """A line of CLIENT LIST as a dict."""
    return dict(f.split("=", 1) for f in line.decode().strip().split(" "))


def listed(w, *args):
    return [fields(line) for line in w("CLIENT", "LIST", *args).splitlines()]


# --- PING, ECHO, SELECT, QUIT, HELLO, RESET ------------------------------------------------


def test_ping_echo_quit(larder, w):
    assert w("PING") == "PONG" and w("PING", "x\r\ny") == b"x\r\ny"
    assert w("PING", "a", "b") == "ERR wrong number of arguments for 'ping' command"
    assert w("ECHO", b"\x00\xff") == b"\x00\xff"
    assert w("QUIT") == "OK"
    assert w.closed()


def test_hello(w):
    before = w("HELLO")
    assert before[:2] == [b"server", b"redis"] and before[before.index(b"proto") + 1] == 2
    after = w("HELLO", "3")
    assert after[b"proto"] == 3 and after[b"server"] == b"redis" and after[b"mode"] == b"standalone" and after[b"role"] == b"master"
    assert after[b"modules"] == [] and after[b"id"] == w("CLIENT", "ID") and after[b"version"].count(b".") == 2
    assert w("GET", "nothing") is None
    assert w("CONFIG", "GET", "databases") == {b"databases": b"16"}
    assert w("HELLO", "2")[:2] == [b"server", b"redis"]
    assert w("CONFIG", "GET", "databases") == [b"databases", b"16"]


@pytest.mark.parametrize("version", ["1", "4", "0", "-1", "9223372036854775807"])
def test_hello_knows_two_protocols(w, version):
    assert w("HELLO", version) == "NOPROTO unsupported protocol version"
    assert w("PING") == "PONG"


def test_hello_errors(w):
    assert w("HELLO", "x") == "ERR Protocol version is not an integer or out of range"
    assert w("HELLO", "3", "BOGUS") == "ERR Syntax error in HELLO option 'BOGUS'"
    assert w("HELLO", "3", "AUTH", "default") == "ERR Syntax error in HELLO option 'AUTH'"
    assert w("HELLO", "3", "SETNAME", "with space") == "ERR Client names cannot contain spaces, newlines or special characters."
    assert w("HELLO", "3", "AUTH", "nobody", "x") == WRONGPASS
    assert isinstance(w("HELLO"), list), "a HELLO that fails must not change the protocol"
    assert w("HELLO", "3", "AUTH", "default", "any", "SETNAME", "me")[b"proto"] == 3
    assert w("CLIENT", "GETNAME") == b"me"


def test_nulls_and_maps_of_both_protocols(larder):
    with larder.wire() as two, larder.wire(protocol=3) as three:
        for w, null in ((two, b"$-1\r\n"), (three, b"_\r\n")):
            w.send(encode("GET", "nothing") + encode("PING"))
            got = b""
            while not got.endswith(b"+PONG\r\n"):
                got += w.sock.recv(100)
            assert got == null + b"+PONG\r\n"


def test_reset(w):
    w("HELLO", "3")
    w("SELECT", "5")
    w("CLIENT", "SETNAME", "me")
    w("MULTI")
    assert w("RESET") == "RESET"
    line = fields(w("CLIENT", "INFO"))
    assert (line["db"], line["name"], line["resp"], line["multi"], line["flags"]) == ("0", "", "2", "-1", "N")


# --- passwords -----------------------------------------------------------------------------


def test_auth_without_a_password(w):
    text = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
    assert w("AUTH", "x") == text
    assert w("AUTH", "default", "x") == "OK"
    assert w("AUTH", "nobody", "x") == WRONGPASS
    assert w("AUTH") == "ERR wrong number of arguments for 'auth' command"
    assert w("AUTH", "a", "b", "c") == "ERR syntax error"


def test_requirepass(start_larder):
    server = start_larder({"requirepass": "sesame"})
    with server.wire() as w:
        for command in (("GET", "k"), ("PING",), ("CLIENT", "ID"), ("COMMAND",), ("MULTI",), ("MONITOR",), ("SHUTDOWN",), ("INFO",), ("CONFIG", "GET", "*")):
            assert w(*command) == NOAUTH, command
        assert w("HELLO", "3").startswith("NOAUTH HELLO must be called with the client already authenticated")
        assert w("NOSUCH").startswith("ERR unknown command")
        assert w("AUTH", "wrong") == WRONGPASS
        assert w("AUTH", "default", "wrong") == WRONGPASS
        assert w("AUTH", "nobody", "sesame") == WRONGPASS
        assert w("PING") == NOAUTH
        assert w("AUTH", "sesame") == "OK"
        assert w("PING") == "PONG"
        assert w("AUTH", "wrong") == WRONGPASS
        assert w("PING") == "PONG", "a wrong password takes nothing away"
        assert w("RESET") == "RESET"
        assert w("PING") == NOAUTH
        assert w("HELLO", "3", "AUTH", "default", "sesame")[b"proto"] == 3
        assert w("PING") == "PONG"
        assert w("QUIT") == "OK"
    assert server.client(password="sesame").ping()
    with pytest.raises(redis.ResponseError, match="WRONGPASS"):
        server.client(password="wrong").ping()
    with pytest.raises(redis.AuthenticationError):
        server.client().ping()


def test_requirepass_changes_while_running(start_larder):
    server = start_larder()
    with server.wire() as old:
        assert old("CONFIG", "SET", "requirepass", "one") == "OK"
        assert old("PING") == "PONG", "who is in stays in"
        assert old("CONFIG", "GET", "requirepass") == [b"requirepass", b"one"]
        with server.wire() as new:
            assert new("PING") == NOAUTH
            assert new("AUTH", "one") == "OK"
            assert old("CONFIG", "SET", "requirepass", "two") == "OK"
            assert new("AUTH", "one") == WRONGPASS
            assert new("AUTH", "two") == "OK"
        assert old("CONFIG", "SET", "requirepass", "") == "OK"
        with server.wire() as new:
            assert new("PING") == "PONG"


@pytest.mark.parametrize("secret", [b"\0", b"one\0two", b"\0\xff\r\n \"'\\", b"one\0"])
def test_a_password_of_any_bytes(start_larder, secret):
    server = start_larder(config="")
    with server.wire() as old:
        assert old("CONFIG", "SET", "requirepass", secret) == "OK"
        assert old("CONFIG", "GET", "requirepass") == [b"requirepass", secret]
        assert old("CONFIG", "REWRITE") == "OK"
    text = open(os.path.join(server.dir, "server.conf")).read()
    server.stop()
    again = start_larder(config=text)
    with again.wire() as w:
        assert w("PING") == NOAUTH
        for wrong in (b"", secret.split(b"\0")[0], secret[:-1], secret + b"\0", secret[:-1] + b"x"):
            assert w("AUTH", wrong) == WRONGPASS
        assert w("HELLO", "3", "AUTH", "default", secret)[b"proto"] == 3
        assert w("AUTH", secret) == "OK"
        assert w("CONFIG", "GET", "requirepass") == {b"requirepass": secret}


# --- CLIENT --------------------------------------------------------------------------------

LIST_FIELDS = (
    "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp"
).split()


def test_client_info_and_list(larder, w):
    w("CLIENT", "SETNAME", "tester")
    w("SELECT", "3")
    me = fields(w("CLIENT", "INFO"))
    assert [f for f in LIST_FIELDS if f not in me] == []
    assert list(me)[: len(LIST_FIELDS)] == LIST_FIELDS
    host, port = w.sock.getsockname()
    assert me["id"] == str(w("CLIENT", "ID")) and me["addr"] == f"{host}:{port}" and me["laddr"] == f"127.0.0.1:{larder.port}"
    assert (me["name"], me["db"], me["flags"], me["user"], me["cmd"], me["resp"], me["redir"]) == ("tester", "3", "N", "default", "client|info", "2", "-1")
    assert int(me["tot-mem"]) > 0 and int(me["fd"]) > 0
    with larder.wire(protocol=3) as other:
        other("SET", "k", "v")
        other("MULTI")
        other("GET", "k")
        line = next(x for x in listed(w) if x["id"] == str(number(other)))
        assert (line["resp"], line["cmd"], line["multi"], line["flags"]) == ("3", "get", "1", "x")
    assert [x["name"] for x in listed(w, "ID", w("CLIENT", "ID"))] == ["tester"]
    assert listed(w, "TYPE", "replica") == [] and listed(w, "TYPE", "pubsub") == []
    assert me["id"] in {x["id"] for x in listed(w, "TYPE", "normal")}
    assert w("CLIENT", "LIST", "TYPE", "bogus") == "ERR Unknown client type 'bogus'"
    assert w("CLIENT", "LIST", "ID", "x") == "ERR Invalid client ID"
    assert w("CLIENT", "LIST", "BOGUS") == "ERR syntax error"


def number(w):
    """A connection's id even while it is in MULTI: its local address tells."""
    w.send(encode("RESET") + encode("CLIENT", "ID") + encode("MULTI") + encode("GET", "k"))
    assert w.read() == "RESET"
    found = w.read()
    assert [w.read(), w.read()] == ["OK", "QUEUED"]
    w.send(encode("PING"))
    assert w.read() == "QUEUED"
    return found


def test_client_ids_only_grow(larder):
    ids = []
    for _ in range(20):
        with larder.wire() as w:
            ids.append(w("CLIENT", "ID"))
    assert ids == sorted(set(ids))


def test_client_names(w):
    assert w("CLIENT", "GETNAME") is None
    assert w("CLIENT", "SETNAME", "me") == "OK" and w("CLIENT", "GETNAME") == b"me"
    for bad in ("with space", "new\nline", "\x01", "ünï"):
        assert w("CLIENT", "SETNAME", bad) == "ERR Client names cannot contain spaces, newlines or special characters."
    assert w("CLIENT", "GETNAME") == b"me"
    assert w("CLIENT", "SETNAME", "") == "OK" and w("CLIENT", "GETNAME") is None


def test_client_subcommand_errors(w):
    assert w("CLIENT", "BOGUS") == "ERR unknown subcommand 'BOGUS'. Try CLIENT HELP."
    assert w("CLIENT") == "ERR wrong number of arguments for 'client' command"
    assert w("CLIENT", "SETNAME") == "ERR wrong number of arguments for 'client|setname' command"
    assert w("CLIENT", "NO-EVICT", "maybe") == "ERR syntax error"
    assert w("CLIENT", "REPLY", "maybe") == "ERR syntax error"
    assert w("CLIENT", "HELP")[0].startswith("CLIENT <subcommand>")


@pytest.fixture
def victims(larder):
    """Three idle connections that CLIENT KILL may close."""
    conns = [larder.wire() for _ in range(3)]
    for i, c in enumerate(conns):
        c.id = c("CLIENT", "ID")
        c("CLIENT", "SETNAME", f"victim{i}")
    yield conns
    for c in conns:
        c.close()


def test_kill_by_id_addr_and_laddr(larder, w, victims):
    a, b, c = victims
    assert w("CLIENT", "KILL", "ID", a.id) == 1 and a.closed()
    assert w("CLIENT", "KILL", "ADDR", "%s:%d" % b.sock.getsockname()) == 1 and b.closed()
    assert w("CLIENT", "KILL", "%s:%d" % c.sock.getsockname()) == "OK" and c.closed()
    assert w("CLIENT", "KILL", "ID", a.id) == 0
    assert w("CLIENT", "KILL", "1.2.3.4:5") == "ERR No such client"
    wait_until(lambda: not [x for x in listed(w) if x["name"].startswith("victim")], what="the dead to leave the list")


def test_kill_by_several_filters(larder, w, victims):
    a, b, c = victims
    assert w("CLIENT", "KILL", "ID", a.id, "ADDR", "%s:%d" % b.sock.getsockname()) == 0
    assert w("CLIENT", "KILL", "ID", a.id, "USER", "default", "TYPE", "normal", "LADDR", f"127.0.0.1:{larder.port}") == 1
    assert a.closed() and b("PING") == "PONG"
    assert w("CLIENT", "KILL", "TYPE", "replica") == 0 and w("CLIENT", "KILL", "TYPE", "pubsub") == 0
    me = w("CLIENT", "ID")
    assert w("CLIENT", "KILL", "ID", me) == 0, "SKIPME is the default"
    assert w("CLIENT", "KILL", "LADDR", f"127.0.0.1:{larder.port}") >= 2
    assert b.closed() and c.closed() and w("PING") == "PONG"
    assert w("CLIENT", "KILL", "ID", me, "SKIPME", "no") == 1
    assert w.closed()


def test_kill_every_normal_client(start_larder):
    server = start_larder()
    conns = [server.wire() for _ in range(40)]
    for c in conns:
        assert c("PING") == "PONG"
    with server.wire() as w:
        assert w("CLIENT", "KILL", "TYPE", "normal") == 40
        assert all(c.closed() for c in conns)
        assert w("PING") == "PONG"


def test_kill_errors(w):
    assert w("CLIENT", "KILL", "ID", "x") == "ERR client-id should be greater than 0"
    assert w("CLIENT", "KILL", "ID", "0") == "ERR client-id should be greater than 0"
    assert w("CLIENT", "KILL", "TYPE", "bogus") == "ERR Unknown client type 'bogus'"
    assert w("CLIENT", "KILL", "USER", "nobody") == "ERR No such user 'nobody'"
    assert w("CLIENT", "KILL", "SKIPME", "maybe") == "ERR syntax error"
    assert w("CLIENT", "KILL", "BOGUS", "1") == "ERR syntax error"
    assert w("CLIENT", "KILL", "ID", "1", "ADDR") == "ERR syntax error"


def test_kill_in_the_middle_of_a_pipeline(larder, w):
    """Whatever the victim was doing, it ends and the server goes on."""
    for _ in range(30):
        with larder.wire() as victim:
            ident = victim("CLIENT", "ID")
            try:
                victim.send(encode("APPEND", "k", "x" * 100) * 3000)
            except OSError:
                pass
            assert w("CLIENT", "KILL", "ID", ident) in (0, 1)
            assert victim.read_all() is not None
    assert w("PING") == "PONG"


def test_pause_write(larder, w):
    with larder.wire() as writer, larder.wire() as reader:
        assert w("CLIENT", "PAUSE", "60000", "WRITE") == "OK"
        assert reader("GET", "k") is None
        writer.send(encode("SET", "k", "v"))
        assert writer.silent()
        assert reader("GET", "k") is None
        with larder.wire() as t:
            t("MULTI")
            t.send(encode("SET", "x", "1") + encode("EXEC"))
            assert writer.silent()
            assert reader("GET", "x") is None
            assert w("CLIENT", "UNPAUSE") == "OK"
            assert [t.read(), t.read()] == ["QUEUED", ["OK"]]
        assert writer.read() == "OK"
        assert reader("GET", "k") == b"v"


def test_pause_all_ends_by_itself(larder, w):
    with larder.wire() as other:
        assert other("PING") == "PONG"
        began = time.monotonic()
        assert w("CLIENT", "PAUSE", "300") == "OK"
        assert other("PING") == "PONG"
        assert time.monotonic() - began >= 0.299, "it was answered in the pause"  # whose end is a whole millisecond


def test_pause_holds_nothing_back_of_what_came_before(larder, w):
    with larder.wire() as other:
        other.send(encode("SET", "k", "1"))
        assert other.read() == "OK"
        assert w("CLIENT", "PAUSE", "200", "ALL") == "OK"
        other.send(encode("INCR", "k") * 50)
        assert [other.read() for _ in range(50)] == list(range(2, 52))


def test_pause_errors(w):
    assert w("CLIENT", "PAUSE", "x") == "ERR timeout is not an integer or out of range"
    assert w("CLIENT", "PAUSE", "-1") == "ERR timeout is negative"
    assert w("CLIENT", "PAUSE", "1", "BOGUS") == "ERR CLIENT PAUSE mode must be WRITE or ALL"


def test_reply_off_skip_on(w):
    w.send(encode("CLIENT", "REPLY", "OFF") + encode("SET", "k", "1") + encode("NOSUCH"))
    assert w.silent()
    w.send(encode("CLIENT", "REPLY", "ON"))
    assert w.read() == "OK"
    w.send(encode("CLIENT", "REPLY", "SKIP") + encode("SET", "k", "2") + encode("GET", "k"))
    assert w.read() == b"2"


def test_no_evict_shows_in_flags(w):
    assert w("CLIENT", "NO-EVICT", "ON") == "OK" and fields(w("CLIENT", "INFO"))["flags"] == "e"
    assert w("CLIENT", "NO-EVICT", "OFF") == "OK" and fields(w("CLIENT", "INFO"))["flags"] == "N"


def test_unblock_of_nobody(w):
    assert w("CLIENT", "UNBLOCK", "999999") == 0
    assert w("CLIENT", "UNBLOCK", w("CLIENT", "ID")) == 0
    assert w("CLIENT", "UNBLOCK", "999999", "ERROR") == 0
    assert w("CLIENT", "UNBLOCK", "1", "BOGUS") == "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"
    assert w("CLIENT", "UNBLOCK", "x") == "ERR value is not an integer or out of range"


def test_idle_clients_are_closed_after_timeout(start_larder):
    server = start_larder()
    with server.wire() as idle, server.wire() as busy:
        assert idle("PING") == "PONG"
        idle_is_dropped(server, idle, busy)


def test_no_pushes_that_nobody_asked_for(w3):
    replies = w3.pipeline(*[("SET", f"k{i}", i) for i in range(100)], ("FLUSHALL",))
    assert not any(isinstance(x, (Push, Error)) for x in replies)
