"""liblarder against live servers, one and several, and against peers that misbehave."""

import contextlib
import glob
import re
import select
import signal
import socket
import threading
import time

import harness
import pytest
from liblarder import CLOSE, DEAF, Peer, Relay, Shell, Xor, cluster  # noqa: F401

OK = b"+OK\r\n"


def at(server):
    return f"127.0.0.1:{server.port}"


@pytest.fixture(params=["larder", "redis_server"])
def node(request):
    return request.getfixturevalue(request.param)


# ---- one node ----------------------------------------------------------------------------


def test_calls_on_one_node(node):
    with Shell(at(node)) as c:
        assert c.opened == "ok 1"
        assert c.say("get k") == "miss"
        assert c.say("set k v") == "ok"
        assert c.say("get k") == 'ok "v"'
        assert (c.say("exists k"), c.say("exists nope")) == ("ok", "miss")
        assert (c.say("del k"), c.say("del k")) == ("ok", "miss")
        assert (c.say("incr n 5"), c.say("incr n -7")) == ("ok 5", "ok -2")
        assert c.say("set k text") == "ok"
        assert c.say("incr k 1") == f"error-reply {at(node)}: ERR value is not an integer or out of range"
        assert c.say("mset a 1 b 2 c 3") == "ok | 0 | 0 | 0"
        assert c.say("mget a nope b c") == 'ok | 0 "1" | 1 | 0 "2" | 0 "3"'
        assert c.say("mdel a nope b") == "ok | 0 | 1 | 0"
        assert c.say("mget") == "ok"


def test_ttl_is_an_hour_unless_said_otherwise(node):
    with Shell(at(node)) as c, node.wire() as w:
        assert c.say("set a v") == "ok"
        assert 3590 < w("TTL", "a") <= 3600
        assert c.say("set b v 500000") == "ok"
        assert 0 < w("PTTL", "b") <= 500000
        assert c.say("set c v -1") == "ok"
        assert w("TTL", "c") == -1
        assert c.say("set c v -2").startswith("bad-argument ")
        assert (c.say("expire c 700000"), c.say("expire nope 700000")) == ("ok", "miss")
        assert 0 < w("PTTL", "c") <= 700000
        assert c.say("expire c -1") == "ok"
        assert w("TTL", "c") == -1
    with Shell(at(node), "ttl_ms=900000") as c, node.wire() as w:
        assert c.say("mset d v") == "ok | 0"
        assert 0 < w("PTTL", "d") <= 900000


def test_any_command_and_pipelines(node):
    with Shell(at(node)) as c:
        assert c.say("cmd SET x 1") == "ok OK"
        assert c.say("cmd GET nope") == "ok null"
        assert c.say("cmd PING") == "ok PONG"
        assert c.say("cmd STRLEN x") == "ok 1"
        assert c.say("cmd MULTI").startswith("bad-argument ")
        assert c.say("cmd @key=9 GET x").startswith("bad-argument ")
        assert c.say("cmd @node=127.0.0.1:1 GET x").startswith("not-found ")
        assert c.say(f"cmd @node={at(node)} ECHO hi") == 'ok "hi"'
        assert c.say("pipe INCR x ; GET x ; APPEND x z ; INCR x ; GET x") == (
            f"error-reply {at(node)}: ERR value is not an integer or out of range"
            ' | 0 2 | 0 "2" | 0 2 | -7 null | 0 "2z"')


def test_scan_sees_every_key(node):
    with Shell(at(node)) as c:
        assert c.say("mset " + " ".join(f"s:{i} v" for i in range(2000))).startswith("ok")
        assert c.say("scan s:*") == "ok 2000"
        assert c.say("scan s:1??") == "ok 100"
        assert c.say("scan * 17") == "ok 17"


def test_loop_and_threads(node):
    with Shell(at(node), "connections=5") as c:
        assert c.say("loop 2000") == "ok sets=2000 gets=2000 failed=0 wrong=0 left=0 pending=0 "
        assert c.say("loop 50 free") == "ok sets=0 gets=0 failed=50 wrong=0 left=0 pending=50 canceled: its loop was freed"
        assert c.say("storm 16 150") == "ok answered=2400 failed=0 wrong=0 late=0"
        assert c.stats()["connects"] <= 6


def test_large_values(node):
    with Shell(at(node)) as c, node.wire() as w:
        big = "x" * 1000000
        assert c.say(f"set big {big}") == "ok"
        assert w("STRLEN", "big") == len(big)
        assert c.say("get big") == f'ok "{big}"'
        assert c.say("mget big big") == f'ok | 0 "{big}" | 0 "{big}"'


def test_passwords_databases_names(start_larder):
    locked = start_larder({"requirepass": "secret"})
    with Shell(at(locked), "password=secret database=3 client_name=me") as c, locked.wire() as w:
        assert w("AUTH", "secret") == "OK"
        assert c.say("set k v") == "ok"
        assert c.say("cmd CLIENT GETNAME") == 'ok "me"'
        assert w("EXISTS", "k") == 0 and w("SELECT", "3") == "OK" and w("EXISTS", "k") == 1
    with Shell(at(locked), "password=secret resp=2") as c:
        assert c.say("get k") == "miss"
    for options in ("password=wrong", "password=wrong resp=2", "user=nobody password=secret"):
        with Shell(at(locked), options) as c:
            assert re.match(rf"authentication-refused {at(locked)}: (HELLO|AUTH): WRONGPASS", c.opened)
    with Shell(at(locked)) as c:
        assert "NOAUTH" in c.opened
    with Shell(at(locked), "password=secret database=999") as c:
        assert "SELECT" in c.opened


def test_options_are_checked():
    for options in ("resp=4", "connections=0", "command_timeout_ms=0", "topology=9", "user=x", "ttl_ms=0"):
        with Shell("127.0.0.1:1", options) as c:
            assert c.opened.startswith("bad-argument options: ")
    for address in (",", "host:0", "host:99999", "host:x", "[::1", ""):
        with Shell() as c:
            assert c.say(f"open {address or ' topology=1'} ").startswith(("bad-argument ", "no such", "cannot-connect"))


def test_a_name_is_resolved(node):
    with Shell(f"localhost:{node.port}") as c:
        assert c.say("set k v") == "ok"
    with Shell("no-such-host.invalid:6379", "connect_timeout_ms=300 deadline_ms=2000") as c:
        assert re.match(r"(cannot-connect|timeout) no-such-host.invalid:6379: resolve: ", c.opened)


def test_a_server_that_restarts_is_found_again(start_larder):
    server = start_larder()
    with Shell(at(server)) as c:
        assert c.say("set k v") == "ok"
        assert c.say("storm 4 6") == "ok answered=24 failed=0 wrong=0 late=0"
        server.stop()
        assert c.say("get k").startswith(("cannot-connect ", "connection-closed "))
        server.start()
        harness.wait_until(lambda: c.say("get k") == "miss", what="the client to find the node again")
        assert c.say("incr n 1") == "ok 1"


def stopped(server):
    """Are all its threads? The signal takes its time."""
    tasks = glob.glob(f"/proc/{server.pid}/task/*/stat")
    return all(open(path).read().rsplit(")", 1)[1].split()[0] == "T" for path in tasks)


def test_a_stopped_server_costs_no_more_than_the_deadline(start_larder):
    server = start_larder()
    with Shell(at(server)) as c:
        assert c.say("set k v") == "ok"
    with Shell(at(server), DEAF + " deadline_ms=2000") as c:
        try:
            server.process.send_signal(signal.SIGSTOP)
            harness.wait_until(lambda: stopped(server), what="the server to stop")
            assert c.say("get k").startswith("timeout ")
            assert c.say("incr n 1").startswith(("timeout ", "unavailable "))
        finally:
            server.process.send_signal(signal.SIGCONT)
        harness.wait_until(lambda: c.say("get k") == 'ok "v"', what="the client to trust the node again")


# ---- peers that misbehave ----------------------------------------------------------------

SINGLE = "topology=1 backoff_ms=5"


def test_silence_is_a_timeout_and_reads_are_repeated():
    with Peer(lambda argv: None) as peer, Shell(peer.address, f"{SINGLE} {DEAF} retries=2 breaker_failures=0") as c:
        assert c.say("get k") == f"timeout {peer.address}: no reply to GET in time"
        assert peer.count("GET") == 3
        assert c.say("incr n 1") == f"timeout {peer.address}: no reply to INCRBY in time"
        assert peer.count("INCRBY") == 1, "a repeated INCR counts twice"
        assert c.say("cmd LPUSH l 1").startswith("timeout ")
        assert peer.count("LPUSH") == 1
        assert c.say("cmd @idempotent LPUSH l 1").startswith("timeout ")
        assert peer.count("LPUSH") == 4


def test_signals_do_not_put_off_the_deadline():
    """They come more often than recv() may wait, as a profiler's do: it must not begin its wait anew with each."""
    with Peer(lambda argv: None) as peer, Shell(peer.address, SINGLE + " retries=0") as c:
        assert c.say("tick 500") == "ok"
        c.send("get k")
        try:
            assert select.select([c.process.stdout], [], [], 30)[0], "it waits for ever"
        except AssertionError:
            c.process.kill()
            raise
        assert c.hear() == f"timeout {peer.address}: no reply to GET in time"


def test_unsafe_commands_are_repeated_when_told():
    with Peer(lambda argv: CLOSE) as peer, Shell(peer.address, SINGLE + " retries=2 retry_unsafe=1") as c:
        assert c.say("incr n 1") == f"connection-closed {peer.address}: receive: the node closed the connection"
        assert peer.count("INCRBY") == 3


def test_a_peer_that_never_greets():
    with Peer(lambda argv: None, hello=False) as peer, Shell(peer.address, SINGLE + " connect_timeout_ms=300 retries=1") as c:
        assert c.say("get k") == f"timeout {peer.address}: connect: timed out"
        assert peer.count("GET") == 0
    with Peer(lambda argv: CLOSE, hello=False) as peer, Shell(peer.address, SINGLE + " retries=1") as c:
        assert c.say("incr n 1").startswith("connection-closed ")
        assert peer.count("HELLO") == 2, "what was never sent may be repeated"
        assert peer.count("INCRBY") == 0


@pytest.mark.parametrize("garbage", [b"what?\r\n", b"$5\r\nabcdefgh\r\n", b"$-2\r\n", b"*1073741825\r\n", b"$99999999999\r\n",
                                     b":1x\r\n", b"\0\0\0\0", b"*1\r\n" * 40, b"#x\r\n"])
def test_garbage_is_a_protocol_error(garbage):
    with Peer(lambda argv: garbage) as peer, Shell(peer.address, SINGLE + " retries=0") as c:
        assert c.say("get k") == f"protocol-error {peer.address}: reply: is no RESP"


@pytest.mark.parametrize("half", [b"$5\r\nab", b"$", b"+OK", b"*3\r\n:1\r\n", b"%1\r\n+a\r\n"])
def test_half_a_reply(half):
    with Peer(lambda argv: [half, CLOSE]) as peer, Shell(peer.address, SINGLE + " retries=0") as c:
        assert c.say("get k").startswith("connection-closed ")
    with Peer(lambda argv: half) as peer, Shell(peer.address, f"{SINGLE} {DEAF} retries=0") as c:
        assert c.say("get k").startswith("timeout ")


def test_an_answer_of_another_type():
    with Peer(lambda argv: b"*1\r\n:1\r\n") as peer, Shell(peer.address, SINGLE + " retries=0") as c:
        assert c.say("get k") == f"protocol-error {peer.address}: GET: a reply of an unexpected type"
        assert c.say("set k v") == f"protocol-error {peer.address}: SET: a reply of an unexpected type"


def test_replies_cut_at_every_byte():
    whole = b"*4\r\n$3\r\nabc\r\n:42\r\n_\r\n%1\r\n+k\r\n,1.5\r\n"
    with Peer(lambda argv: [whole[i:i + 1] for i in range(len(whole))]) as peer, Shell(peer.address, SINGLE) as c:
        assert c.say("cmd GET k") == 'ok ["abc" 42 null {k 1.5}]'


def test_many_keys_travel_in_few_commands(node):
    """100 keys are two MGETs, at most 64 each; a repeated one, one that is missing and one of another type among them."""
    with Shell(at(node)) as c, node.wire() as w:
        assert c.say("mset " + " ".join(f"k:{i} v{i}" for i in range(99))).startswith("ok")
        w("SADD", "set", "a")
        w("CONFIG", "RESETSTAT")
        names = [f"k:{i}" for i in range(97)] + ["nope", "set", "k:0"]
        found = [f'0 "v{i}"' for i in range(97)] + ["1", "1", '0 "v0"']
        assert c.say("mget " + " ".join(names)) == "ok" + "".join(f" | {item}" for item in found)
        stats = w("INFO", "commandstats").decode()
        assert re.search(r"cmdstat_mget:calls=(\d+)", stats)[1] == "2" and "cmdstat_get:" not in stats
        assert c.say("mget k:1") == 'ok | 0 "v1"'
        assert "cmdstat_get:calls=1," in w("INFO", "commandstats").decode()


@pytest.mark.parametrize("reply", [b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"$1\r\na\r\n", b"*0\r\n", b"*-1\r\n", b"%2\r\n+a\r\n+b\r\n+c\r\n+d\r\n"])
def test_a_reply_for_other_keys_is_none(reply):
    with Peer(lambda argv: reply) as peer, Shell(peer.address, SINGLE + " retries=0") as c:
        assert c.say("mget a b c") == f"protocol-error {peer.address}: MGET: a reply of another shape | -6 | -6 | -6"


@pytest.mark.parametrize("reply", [b"*1\r\n$1\r\na\r\n", b"+OK\r\n", b":3\r\n", b"%0\r\n"])
def test_a_value_of_another_type_is_none(reply):
    """Never LARDER_OK without a value."""
    with Peer(lambda argv: reply) as peer, Shell(peer.address, SINGLE + " retries=0") as c:
        assert c.say("mget a") == f"protocol-error {peer.address}: GET: a reply of an unexpected type | -6"
        if reply != OK:
            assert c.say("mset a b") == f"protocol-error {peer.address}: SET: a reply of an unexpected type | -6"
        if reply[:1] != b":":
            assert c.say("mdel a") == f"protocol-error {peer.address}: DEL: a reply of an unexpected type | -6"


def test_an_error_is_every_keys_own():
    """Who is loading is asked again, key by key; another refusal is told for each."""
    left = [2]

    def answer(argv):
        left[0] -= 1
        if left[0] >= 0:
            return b"-LOADING wait\r\n"
        found = [b"$1\r\na\r\n" if key == "a" else b"$-1\r\n" for key in argv[1:]]
        return found[0] if argv[0] == "GET" else [b"*%d\r\n" % len(found), *found]

    with Peer(answer) as peer, Shell(peer.address, SINGLE + " retries=5") as c:
        assert c.say("mget a b") == 'ok | 0 "a" | 1'
    with Peer(lambda argv: b"-NOPERM no\r\n") as peer, Shell(peer.address, SINGLE) as c:
        assert c.say("mget a b") == f"error-reply {peer.address}: NOPERM no | -7 | -7"


@pytest.mark.parametrize("reset", [1, 40, 200, 2000, 70000])
def test_connections_reset_in_the_middle_of_a_reply(node, reset):
    """Behind a greeting of about 150 bytes come 100,000. Each call says so in time, and none gives half a value."""
    with Shell(at(node)) as plain:
        assert plain.say("set k " + "x" * 100000) == "ok" and plain.say("set small v") == "ok"
    with Relay(node.port, reset=reset) as relay, Shell(relay.address, SINGLE + " retries=2 breaker_failures=0") as c:
        for _ in range(3):
            assert c.say("get k").split()[0] in ("connection-closed", "cannot-connect")
        assert c.say("mget k small k").split()[0] in ("connection-closed", "cannot-connect")
        assert c.say("fetch k").startswith("ok loaded 0 "), "the source answers"
        relay.reset = None
        assert c.say("get small") == 'ok "v"' and c.say("get k") == 'ok "' + "x" * 100000 + '"'
        assert relay.connections < 60


def test_a_slow_node(node):
    """Replies that drip are whole if they end in time, and a timeout if they do not."""
    with Shell(at(node)) as plain:
        assert plain.say("set k " + "x" * 50) == "ok"
    with Relay(node.port, drip=40, pause=0.01) as relay:
        with Shell(relay.address, "topology=1") as c:
            assert c.say("get k") == 'ok "' + "x" * 50 + '"'
            assert c.say("fetch k").startswith('ok fresh 0 "xxx')
            assert c.say("pipe GET k ; GET nope ; GET k").count('"' + "x" * 50 + '"') == 2
    deaf = f"{SINGLE} {DEAF} connect_timeout_ms=300 deadline_ms=2000 retries=1"
    with Relay(node.port, drip=1, pause=0.5) as relay, Shell(relay.address, deaf) as c:
        assert c.say("get k").split()[0] in ("timeout", "unavailable", "cannot-connect")
        assert c.say("fetch k").startswith("ok loaded 0 ")


def test_pushes_and_attributes_are_passed_over():
    reply = b">2\r\n+invalidate\r\n*1\r\n+k\r\n|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n>1\r\n+more\r\n"
    with Peer(lambda argv: reply) as peer, Shell(peer.address, SINGLE) as c:
        assert [c.say("get k") for _ in range(3)] == ['ok "v"'] * 3
        assert peer.connections == 1


def test_a_reply_too_many_ends_the_connection():
    with Peer(lambda argv: b"$1\r\na\r\n$5\r\nwrong\r\n") as peer, Shell(peer.address, SINGLE) as c:
        assert "wrong" not in c.say("get k")
        assert "wrong" not in c.say("get k")


def test_an_old_server_is_spoken_to_in_resp2():
    def answer(argv):
        if argv[0] == "HELLO":
            return b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n"
        return OK if argv[0] in ("AUTH", "SELECT", "CLIENT") else b"$-1\r\n"

    with Peer(answer, hello=False) as peer, Shell(peer.address, SINGLE + " password=p client_name=me database=2") as c:
        assert c.say("get k") == "miss"
        assert [argv[0] for argv in peer.requests] == ["HELLO", "AUTH", "SELECT", "CLIENT", "GET"]


def test_loading_is_waited_for():
    seen = []

    def answer(argv):
        seen.append(argv)
        return b"-LOADING Redis is loading the dataset in memory\r\n" if len(seen) < 3 else b":7\r\n"

    with Peer(answer) as peer, Shell(peer.address, SINGLE) as c:
        assert c.say("incr n 1") == "ok 7"
        assert peer.count("INCRBY") == 3


def test_the_breaker_opens_and_the_node_is_left_alone():
    with Peer(lambda argv: CLOSE) as peer:
        with Shell(peer.address, SINGLE + " retries=0 breaker_failures=3 breaker_ms=60000") as c:
            for _ in range(3):
                assert c.say("get k").startswith("connection-closed ")
            assert peer.connections == 3
            for _ in range(20):
                assert c.say("get k").startswith(f"unavailable {peer.address}: keeps failing, the next attempt is in ")
            assert c.say("storm 8 20").startswith("ok answered=0 failed=160 wrong=0 late=0 ")
            assert c.say("loop 100").startswith("ok sets=0 gets=0 failed=100 ")
            assert peer.connections == 3


def test_the_breaker_closes_with_the_first_success():
    down = [True]
    with Peer(lambda argv: CLOSE if down[0] else b"$1\r\nv\r\n") as peer:
        with Shell(peer.address, SINGLE + " retries=0 breaker_failures=2 breaker_ms=50") as c:
            harness.wait_until(lambda: c.say("get k").startswith("unavailable "), what="the breaker to open")
            down[0] = False
            harness.wait_until(lambda: c.say("get k") == 'ok "v"', what="a probe")
            assert [c.say("get k") for _ in range(10)] == ['ok "v"'] * 10


def test_retries_are_budgeted():
    with Peer(lambda argv: CLOSE) as peer:
        with Shell(peer.address, SINGLE + " retries=10 retry_percent=10 breaker_failures=0 backoff_ms=1") as c:
            for _ in range(100):
                assert c.say("get k").startswith("connection-closed ")
            stats = c.stats()
            assert stats["retries"] <= 10 + 100 * 0.10 and stats["denied"] > 0
            assert peer.connections == stats["connects"] == 100 + stats["retries"]
    with Peer(lambda argv: CLOSE) as peer, Shell(peer.address, SINGLE + " retry_percent=0") as c:
        assert c.say("get k").startswith("connection-closed ")
        assert peer.connections == 1


def test_all_connections_in_use():
    with Peer(lambda argv: None) as peer, Shell(peer.address, SINGLE + " connections=1 retries=0 breaker_failures=0 "
                                                "command_timeout_ms=2000 deadline_ms=600") as c:
        assert c.say("storm 3 1").startswith("ok answered=0 failed=3 wrong=0 late=0 ")

    def slowly(argv):
        threading.Event().wait(0.05)
        return OK

    with Peer(slowly) as peer, Shell(peer.address, "topology=1 connections=1") as c:
        assert c.say("storm 6 1") == "ok answered=6 failed=0 wrong=0 late=0"
        assert peer.connections == 1, "the others wait for the one"


def test_a_command_that_waits_brings_its_own_time():
    def answer(argv):
        threading.Event().wait(1)
        return b"*2\r\n+l\r\n+v\r\n"

    with Peer(answer) as peer, Shell(peer.address, SINGLE + " retries=0 deadline_ms=400") as c:
        assert c.say("cmd @timeout=20000 BLPOP l 1") == "ok [l v]"
        assert c.say("cmd BLPOP l 1").startswith("timeout ")


def test_nobody_listens():
    port = harness.free_port()
    with Shell(f"127.0.0.1:{port}", SINGLE + " breaker_failures=0") as c:
        assert c.say("get k") == f"cannot-connect 127.0.0.1:{port}: connect: Connection refused"
        assert c.say("mget a b") == (f"cannot-connect 127.0.0.1:{port}: connect: Connection refused | -3 | -3")
    with Shell(f"127.0.0.1:{port}") as c:
        assert c.opened.startswith("cannot-connect ")


# ---- another transport -------------------------------------------------------------------


def test_every_byte_goes_through_the_transport(node):
    with Xor(node.port) as x, Shell(x.address, "transport=xor connections=4") as c:
        assert c.opened == "ok 1"
        assert c.say("set k v") == "ok" and c.say("get k") == 'ok "v"'
        big = "x" * 300000
        assert c.say(f"set big {big}") == "ok" and c.say("get big") == f'ok "{big}"'
        assert c.say("storm 8 60") == "ok answered=480 failed=0 wrong=0 late=0"
        assert c.say("loop 200").startswith("ok sets=200 gets=200 failed=0 wrong=0 ")
        told = re.fullmatch(r"closed sessions opened=(\d+) closed=(\d+)", c.say("close"))
        assert told.group(1) == told.group(2) and int(told.group(1)) >= 2
    with Shell(at(node), SINGLE + " connect_timeout_ms=1000 transport=xor retries=0") as c:
        assert c.say("get k") != 'ok "v"', "the server does not know this transport"


def test_a_handshake_that_does_not_end(larder):
    options = SINGLE + " connect_timeout_ms=300 transport=xor retries=1 breaker_failures=0"
    with Xor(larder.port, deaf=True) as x, Shell(x.address, options) as c:
        assert c.say("incr n 1").startswith(f"timeout {x.address}: connect: ")
        assert x.greeted == 2
        assert c.say("close") == "closed sessions opened=2 closed=2"


def test_a_handshake_that_fails(larder):
    with Xor(larder.port, rude=True) as x, Shell(x.address, SINGLE + " transport=xor retries=1") as c:
        assert c.say("get k") == f"cannot-connect {x.address}: transport: the handshake failed"
        assert c.say("close") == "closed sessions opened=2 closed=2"


@pytest.mark.parametrize("cut", [0, 1, 10, 60, 150])
def test_a_transport_that_is_cut(larder, cut):
    with larder.wire() as w:
        w("SET", "long", "v" * 1000)  # so that no cut falls between two replies
    with Xor(larder.port, cut=cut) as x, Shell(x.address, SINGLE + " transport=xor retries=1 breaker_failures=0") as c:
        answers = {c.say("get long").split()[0] for _ in range(20)}
        assert answers <= {"ok", "connection-closed", "cannot-connect"} and answers != {"ok"}


# ---- a ring ------------------------------------------------------------------------------


@pytest.fixture
def ring(start_larder):
    yield [start_larder(workers=1) for _ in range(3)]


def addresses(servers):
    return ",".join(at(s) for s in servers)


def owner_among(servers, c, key):
    name = c.say(f"where {key}").split()[1]
    return next(s for s in servers if at(s) == name)


def test_a_ring_spreads_keys(ring):
    with Shell(addresses(ring)) as c:
        assert c.opened == "ok 2"
        assert c.say("mset " + " ".join(f"k:{i} v{i}" for i in range(3000))).startswith("ok")
        counts = []
        for s in ring:
            with s.wire() as w:
                counts.append(w("DBSIZE"))
        assert sum(counts) == 3000 and min(counts) > 400  # 1000, each some 80 off by its ring's points and 25 by its keys
        assert c.say("scan") == "ok 3000"
        answer = c.say("mget " + " ".join(f"k:{i}" for i in range(3000)))
        assert answer == "ok" + "".join(f' | 0 "v{i}"' for i in range(3000))
        assert c.say("loop 500").startswith("ok sets=500 gets=500 failed=0 wrong=0 ")
        with owner_among(ring, c, "k:1").wire() as w:
            assert w("GET", "k:1") == b"v1"


def test_each_key_of_many_has_its_stand_in(ring):
    with Shell(addresses(ring), "breaker_ms=100 retry_percent=100") as c:
        names = [f"k:{i}" for i in range(60)]
        ring[0].stop()
        assert c.say("mset " + " ".join(f"{name} v" for name in names)) == "ok" + " | 0" * 60
        assert c.say("mget " + " ".join(names)) == "ok" + ' | 0 "v"' * 60


class Halves(Peer):
    """GET and MGET find each key's name, in two halves, after a pause each. The first may be hung up on."""

    def __init__(self, before=0, between=0, hangs_up=False):
        self.pauses, self.hangs_up = (before, between), hangs_up
        super().__init__(self.reply)

    def reply(self, argv):
        if self.hangs_up:
            self.hangs_up = False
            return CLOSE
        whole = (b"*%d\r\n" % len(argv[1:]) if argv[0] == "MGET" else b"") + b"".join(b"$%d\r\n%s\r\n" % (len(k), k.encode()) for k in argv[1:])
        for half, pause in zip((whole[:len(whole) // 2], whole[len(whole) // 2:]), self.pauses, strict=True):
            time.sleep(pause)
            self.sockets[-1].sendall(half)
        return None


def test_replies_that_come_late_in_any_order():
    """Sooner and later than recv() is waited in for, with a connection among them that is lost."""
    names = [f"k:{i}" for i in range(200)]
    for order in range(5):
        peers = [Halves(), Halves(0.005, 0.005), Halves(0.03), Halves(0, 0.05), Halves(hangs_up=True)]
        peers = peers[order:] + peers[:order]
        with contextlib.ExitStack() as stack:
            for p in peers:
                stack.enter_context(p)
            c = stack.enter_context(Shell(",".join(p.address for p in peers), "topology=2 connections=1 failover=0 retry_percent=100"))
            assert c.say("mget " + " ".join(names)) == "ok" + "".join(f' | 0 "{name}"' for name in names)
            assert [p.connections for p in peers] == [1 + (p is peers[(4 - order) % 5]) for p in peers]


def test_a_stand_in_serves_one_outage_only(ring):
    with Shell(addresses(ring), "breaker_ms=100 standin_ttl_ms=30000") as c:
        owner = owner_among(ring, c, "k")
        others = [s for s in ring if s is not owner]
        assert c.say("set k before -1") == "ok"
        owner.stop()
        assert c.say("get k") == "miss"
        assert c.say("set k first -1") == "ok"
        assert c.say("get k") == 'ok "first"'
        assert (c.say("exists k"), c.say("mget k")) == ("ok", 'ok | 0 "first"')
        names = {}
        for s in others:
            with s.wire() as w:
                names.update({name: w("PTTL", name) for name in w("KEYS", "*")})
        held = [name for name in names if name.startswith(b"larder:standin:") and name.endswith(b":k")]
        assert len(held) == 1 and 0 < names[held[0]] <= 30000
        assert b"k" not in names
        owner.start()
        harness.wait_until(lambda: c.say("get k") == "miss", what="the owner to be trusted again")
        assert c.say("set k second") == "ok"
        owner.stop()
        assert c.say("get k") == "miss", "what a stand-in held belongs to another outage"
        assert c.stats()["standins"] > 0
        owner.start()


def test_only_simple_commands_go_to_a_stand_in(ring):
    with Shell(addresses(ring)) as c:
        owner = owner_among(ring, c, "k")
        owner.stop()
        assert c.say("incr k 1").startswith(("cannot-connect ", "unavailable "))
        assert c.say("cmd HSET k f v").startswith(("cannot-connect ", "unavailable "))
        assert c.say("set k v") == "ok"
        owner.start()
    with Shell(addresses(ring), "failover=0 topology=2") as c:
        owner_among(ring, c, "k").stop()
        assert c.say("set k v").startswith(("cannot-connect ", "unavailable "))
        answer = c.say("mget " + " ".join(f"k:{i}" for i in range(60)))
        statuses = [int(one.split()[0]) for one in answer.split(" | ")[1:]]
        assert set(statuses) <= {1, -3, -9} and 1 in statuses and len(set(statuses)) > 1, "partial failure"
        owner_among(ring, c, "k").start()


def test_nodes_come_and_go_at_run_time(ring):
    with Shell(addresses(ring[:2]), "topology=2") as c:
        before = [c.say(f"where k:{i}") for i in range(300)]
        assert c.say(f"add {at(ring[2])} 1") == "ok"
        assert c.say(f"add {at(ring[2])} 1").startswith("exists ")
        after = [c.say(f"where k:{i}") for i in range(300)]
        moved = [b for a, b in zip(before, after) if a != b]
        assert 25 < len(moved) < 190 and set(moved) == {f"ok {at(ring[2])}"}
        assert c.say("mset " + " ".join(f"k:{i} v" for i in range(300))).startswith("ok")
        assert c.say(f"remove {at(ring[2])}") == "ok"
        assert c.say(f"remove {at(ring[2])}").startswith("not-found ")
        assert [c.say(f"where k:{i}") for i in range(300)] == before
        assert c.say(f"remove {at(ring[0])}") == "ok" and c.say(f"remove {at(ring[1])}") == "ok"
        assert c.say("get k") == "unavailable the ring is empty"


def test_a_ring_under_storm_while_a_node_dies(ring):
    with Shell(addresses(ring), "breaker_ms=100 connections=8") as c:
        timer = threading.Timer(0.2, lambda: ring[1].process.kill())
        timer.start()
        answer = c.say("storm 8 600")
        timer.join()
        assert " wrong=0 late=0" in answer
        answered = int(re.search(r"answered=(\d+)", answer).group(1))
        assert answered > 0.9 * 4800
        ring[1].process.wait()
        ring[1].process = None


# ---- a cluster ---------------------------------------------------------------------------


def test_a_cluster_is_recognised(cluster):  # noqa: F811
    with Shell(cluster.addresses[4]) as c:
        assert c.opened == "ok 3"
        assert c.say("mset " + " ".join(f"k:{i} v{i}" for i in range(500))).startswith("ok")
        answer = c.say("mget " + " ".join(f"k:{i}" for i in range(500)))
        assert answer == "ok" + "".join(f' | 0 "v{i}"' for i in range(500))
        assert c.say("scan k:*") == "ok 500"
        assert c.say("loop 500").startswith("ok sets=500 gets=500 failed=0 wrong=0 ")
        assert c.say("storm 8 150") == "ok answered=1200 failed=0 wrong=0 late=0"
        assert c.stats()["redirects"] == 0
        assert re.match(r'ok \["k:1"\]$|error-reply .*: ERR unknown command', c.say("cmd EVAL return{KEYS[1]} 1 k:1"))
        assert c.say("mdel " + " ".join(f"k:{i}" for i in range(500))).startswith("ok")
    with Shell(f"localhost:{cluster.servers[0].port}", "topology=3 resp=2") as c:
        assert c.opened == "ok 3"
        assert c.say("set k v") == "ok"


def everything_is_copied(cluster, primary, key):
    """WAIT speaks of what its own connection wrote: a write behind all others is what it waits for."""
    with cluster.servers[primary].wire() as w:
        assert w("SET", f"{{{key}}}last", "1") == "OK"
        assert w("WAIT", "1", "60000") == 1


def test_replicas_answer_reads_if_told(cluster):  # noqa: F811
    primary, replica = cluster.owner_of("r")
    with Shell(cluster.addresses[0], "read_from=1") as c:
        assert c.say("set r v") == "ok"
        everything_is_copied(cluster, primary, "r")
        with cluster.servers[replica].wire() as w:
            assert w("CONFIG", "RESETSTAT") == "OK"
            assert [c.say("get r") for _ in range(5)] == ['ok "v"'] * 5
            assert b"cmdstat_get:calls=5," in w("INFO", "commandstats")


def test_a_slot_moves_under_way(cluster):  # noqa: F811
    """MIGRATING and IMPORTING give ASK and TRYAGAIN, the end of the move gives MOVED."""
    key = "{move}1"
    source, _ = cluster.owner_of(key)
    target = next(i for i in range(6) if cluster.role(i) == "master" and i != source)
    with cluster.servers[source].wire() as s, cluster.servers[target].wire() as t:
        slot = s("CLUSTER", "KEYSLOT", key)
        source_id, target_id = s("CLUSTER", "MYID"), t("CLUSTER", "MYID")
        with Shell(cluster.addresses[source]) as c:
            assert c.say("set {move}1 one") == "ok"
            assert t("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id) == "OK"
            assert s("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id) == "OK"
            assert c.say("get {move}1") == 'ok "one"'
            assert c.say("set {move}2 two") == "ok"
            assert c.say("get {move}2") == 'ok "two"'
            assert c.stats()["redirects"] >= 2
            assert s("EXISTS", "{move}1") == 1 and t("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
            assert c.say("cmd MGET {move}1 {move}2").startswith(("error-reply ", "timeout "))
            assert s("MIGRATE", "127.0.0.1", cluster.servers[target].port, "", 0, 60000, "KEYS", "{move}1") == "OK"
            assert t("CLUSTER", "SETSLOT", slot, "NODE", target_id) == "OK"
            assert s("CLUSTER", "SETSLOT", slot, "NODE", target_id) == "OK"
            harness.wait_until(lambda: cluster.all_know(slot, target), what="all nodes to know the new owner")
            assert c.say("mget {move}1 {move}2") == 'ok | 0 "one" | 0 "two"'
            before = c.stats()["redirects"]
            assert [c.say("get {move}1") for _ in range(5)] == ['ok "one"'] * 5
            assert c.stats()["redirects"] == before, "a move is learnt once"


def test_a_planned_failover_under_storm(cluster):  # noqa: F811
    primary, replica = cluster.owner_of("storm:1:1")
    with Shell(cluster.addresses[0], "connections=8") as c:
        def fail_over():
            with cluster.servers[replica].wire() as w:
                assert w("CLUSTER", "FAILOVER") == "OK"
        timer = threading.Timer(0.1, fail_over)
        timer.start()
        answer = c.say("storm 8 600")
        timer.join()
        assert answer == "ok answered=4800 failed=0 wrong=0 late=0"
        harness.wait_until(lambda: cluster.role(replica) == "master", what="the replica to take over")
        assert c.say("set {storm}:x v") == "ok"
    harness.wait_until(cluster.settled, what="the cluster to settle")


def test_a_primary_dies(cluster):  # noqa: F811
    primary, replica = cluster.owner_of("d")
    with Shell(cluster.addresses[(primary + 1) % 6], "breaker_ms=200") as c:
        assert c.say("set d v") == "ok"
        everything_is_copied(cluster, primary, "d")
        cluster.servers[primary].process.kill()
        cluster.servers[primary].process.wait()
        assert c.say("get d") == 'ok "v"', "the replica answers meanwhile"
        harness.wait_until(lambda: c.say("set d w") == "ok", what="the replica to be promoted")
        assert c.say("get d") == 'ok "w"'
        cluster.servers[primary].start()
    harness.wait_until(cluster.settled, what="the cluster to settle")


def slots_of(*peers):
    share = 16384 // len(peers)
    rows = b"".join(b"*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
                    % (i * share, 16383 if i == len(peers) - 1 else (i + 1) * share - 1, p.port)
                    for i, p in enumerate(peers))
    return b"*%d\r\n" % len(peers) + rows


def scripted(peers, answer):
    """A cluster of peers that know only CLUSTER SLOTS."""
    def run(argv):
        if argv[0] == "CLUSTER":
            return slots_of(*peers) if argv[1] == "SLOTS" else b"-ERR Unknown subcommand or wrong number of arguments\r\n"
        return OK if argv[0] in ("READONLY", "ASKING") else answer(argv)
    return run


def test_redirections_in_a_circle_end():
    peers = []
    with Peer(scripted(peers, lambda argv: b"-MOVED 1 127.0.0.1:%d\r\n" % peers[1].port)) as a:
        with Peer(scripted(peers, lambda argv: b"-MOVED 1 127.0.0.1:%d\r\n" % peers[0].port)) as b:
            peers += [a, b]
            with Shell(a.address, "backoff_ms=5") as c:
                assert c.opened == "ok 3"
                answer = c.say("set k v")
                assert answer.startswith("too-many-redirections ")
                assert a.count("SET") + b.count("SET") == 6
                c.say("mset " + " ".join(f"k:{i} v" for i in range(100)))
                assert c.stats()["refreshes"] < 20, "refreshes are coalesced"


def test_ask_says_asking_first():
    peers = []
    with Peer(lambda argv: b":9\r\n" if argv[0] != "ASKING" else OK) as b:
        with Peer(scripted(peers, lambda argv: b"-ASK 1 127.0.0.1:%d\r\n" % b.port)) as a:
            peers.append(a)
            with Shell(a.address, "backoff_ms=5") as c:
                assert c.say("incr k 1") == "ok 9"
                assert [argv[0] for argv in b.requests if argv[0] != "HELLO"] == ["ASKING", "INCRBY"]


@pytest.mark.parametrize("error", ["CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys request during rehashing",
                                   "READONLY You can't write against a read only replica."])
def test_passing_trouble_is_waited_out(error):
    peers, left = [], [2]

    def answer(argv):
        left[0] -= 1
        return b"-%s\r\n" % error.encode() if left[0] >= 0 else b":1\r\n"

    with Peer(scripted(peers, answer)) as a:
        peers.append(a)
        with Shell(a.address, "backoff_ms=5") as c:
            assert c.say("incr k 1") == "ok 1"
            assert a.count("INCRBY") == 3
            left[0] = 1000
            assert c.say("incr k 1").startswith(("cluster-down ", "error-reply "))


def test_slots_without_an_owner():
    with Peer(lambda argv: b"*1\r\n*3\r\n:0\r\n:10\r\n*2\r\n$0\r\n\r\n:%d\r\n" % peer.port
              if argv[0] == "CLUSTER" else OK) as peer:
        with Shell(peer.address, "deadline_ms=2000") as c:
            assert c.opened == "ok 3"
            assert c.say("set k v") == "cluster-down nobody serves slot 7629"


def test_nonsense_instead_of_a_slot_map():
    for nonsense in (b":1\r\n", b"*1\r\n:1\r\n", b"*1\r\n*3\r\n:5\r\n:1\r\n*2\r\n+h\r\n:1\r\n", b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n+h\r\n:1\r\n"):
        with Peer(lambda argv: nonsense) as peer, Shell(peer.address) as c:
            assert c.opened.startswith("protocol-error ")
