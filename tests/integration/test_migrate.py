"""MIGRATE: to another larder, to redis-server and from it; what happens to keys when something goes wrong."""

import signal
import socket
import threading

import pytest

import harness
from cachekit import get
from wire import Error, encode


@pytest.fixture
def pair(start_larder):
    source, target = start_larder({"requirepass": ""}, workers=2), start_larder(workers=2)
    with source.wire() as a, target.wire() as b:
        yield source, target, a, b


def test_one_key_with_its_deadline(pair):
    source, target, a, b = pair
    a("SET", "k", "v", "PX", 100000)
    assert a("MIGRATE", "127.0.0.1", target.port, "k", 0, 60000) == "OK"
    assert a("GET", "k") is None
    assert b("GET", "k") == b"v"
    assert 0 < b("PTTL", "k") <= 100000
    assert a("MIGRATE", "127.0.0.1", target.port, "k", 0, 60000) == "NOKEY"


def test_many_keys_of_every_type_in_batches(pair):
    source, target, a, b = pair
    names = [b"k%d" % i for i in range(1000)]
    for n in names:
        a("SET", n, b"v" + n)
    a("SADD", "s", *range(1000))
    a("SADD", "ints", 1, 2, 3)
    a("SET", "big", b"x" * 3_000_000)
    all_names = names + [b"s", b"ints", b"big", b"absent"]
    assert a("MIGRATE", "127.0.0.1", target.port, "", 0, 60000, "KEYS", *all_names) == "OK"
    assert a("DBSIZE") == 0
    assert b("DBSIZE") == len(all_names) - 1
    assert b("MGET", *names) == [b"v" + n for n in names]
    assert b("SCARD", "s") == 1000
    assert b("STRLEN", "big") == 3_000_000


def test_copy_replace_and_a_database(pair):
    source, target, a, b = pair
    a("SET", "k", "here")
    assert a("MIGRATE", "127.0.0.1", target.port, "k", 3, 60000, "COPY") == "OK"
    assert a("GET", "k") == b"here"
    b("SELECT", 3)
    assert b("GET", "k") == b"here"
    a("SET", "k", "newer")
    refused = a("MIGRATE", "127.0.0.1", target.port, "k", 3, 60000)
    assert refused == Error("ERR Target instance replied with error: BUSYKEY Target key name already exists.")
    assert a("GET", "k") == b"newer", "a refused key stays"
    assert a("MIGRATE", "127.0.0.1", target.port, "k", 3, 60000, "REPLACE") == "OK"
    assert a("GET", "k") is None
    assert b("GET", "k") == b"newer"


def test_what_was_taken_is_gone_and_what_was_refused_is_here(pair):
    source, target, a, b = pair
    for k in "abc":
        a("SET", k, "mine")
    b("SET", "b", "theirs")
    reply = a("MIGRATE", "127.0.0.1", target.port, "", 0, 60000, "KEYS", "a", "b", "c")
    assert isinstance(reply, Error) and "BUSYKEY" in reply
    assert a("MGET", "a", "b", "c") == [None, b"mine", None]
    assert b("MGET", "a", "b", "c") == [b"mine", b"theirs", b"mine"]


def test_passwords(start_larder):
    source, target = start_larder(workers=1), start_larder({"requirepass": "keys"}, workers=1)
    with source.wire() as a, target.wire() as b, source.wire() as monitor:
        assert monitor("MONITOR") == "OK"
        a("CONFIG", "SET", "slowlog-log-slower-than", 0)
        a("SET", "k", "v")
        reply = a("MIGRATE", "127.0.0.1", target.port, "k", 0, 60000)
        assert isinstance(reply, Error) and "NOAUTH" in reply
        reply = a("MIGRATE", "127.0.0.1", target.port, "k", 0, 60000, "AUTH", "wrong")
        assert isinstance(reply, Error) and "WRONGPASS" in reply
        assert a("GET", "k") == b"v"
        assert a("MIGRATE", "127.0.0.1", target.port, "", 0, 60000, "AUTH", "keys", "KEYS", "k") == "OK"
        a("SET", "l", "w")
        assert a("MIGRATE", "127.0.0.1", target.port, "l", 0, 60000, "AUTH2", "default", "keys") == "OK"
        b("AUTH", "keys")
        assert b("MGET", "k", "l") == [b"v", b"w"]
        assert "wrong" not in str(a("SLOWLOG", "GET", 100))
        a("PING")
        seen = ""
        while "ping" not in seen.lower():
            seen += str(monitor.read())
        assert "MIGRATE" in seen and "wrong" not in seen


def test_bad_arguments(pair):
    source, target, a, b = pair
    a("SET", "k", "v")
    to = ("MIGRATE", "127.0.0.1", target.port, "k", 0, 100)
    syntax = Error("ERR syntax error")
    assert a(*to, "AUTH") == a(*to, "AUTH2", "x") == a(*to, "COPY", "foo") == syntax
    assert a(*to, "KEYS", "b") == Error(
        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string")
    number = Error("ERR value is not an integer or out of range")
    assert a("MIGRATE", "127.0.0.1", target.port, "k", "x", 100) == number
    assert a("MIGRATE", "127.0.0.1", target.port, "k", 0, "x") == number
    assert a("MIGRATE", "127.0.0.1", target.port, "", 0, 100, "KEYS") == "NOKEY"
    assert a("MIGRATE", "127.0.0.1", target.port, "", 0, 100) == "NOKEY"
    for port in (0, -1, 65536, "x"):
        assert isinstance(a("MIGRATE", "127.0.0.1", port, "k", 0, 100), Error)
    assert isinstance(a("MIGRATE", "no host", 1, "k", 0, 100), Error)
    assert isinstance(a("MIGRATE", "x" * 300, 1, "k", 0, 100), Error)
    reply = a("MIGRATE", "127.0.0.1", target.port, "k", 999999, 60000)
    assert reply == Error("ERR Target instance replied with error: ERR DB index is out of range")
    assert a("MIGRATE", "127.0.0.1", target.port, "k", 0, 60000) in ("OK",) or a("GET", "k") is None
    a("MULTI")
    assert isinstance(a(*to), Error)
    a("DISCARD")


def test_keys_of_the_request(w):
    assert w("COMMAND", "GETKEYS", "MIGRATE", "h", 1, "k", 0, 1) == [b"k"]
    assert w("COMMAND", "GETKEYS", "MIGRATE", "h", 1, "", 0, 1, "AUTH", "keys", "KEYS", "a", "b") == [b"a", b"b"]


def test_nobody_is_there(pair):
    source, target, a, b = pair
    a("SET", "k", "v")
    reply = a("MIGRATE", "127.0.0.1", harness.free_port(), "k", 0, 1000)
    assert isinstance(reply, Error) and reply.startswith("IOERR")
    assert a("GET", "k") == b"v"


class Peer:
    """Accepts one connection and answers as it is told, command by command."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def accept(self):
        self.sock, _ = self.listener.accept()
        return self.sock

    def close(self):
        self.listener.close()


def test_a_silent_target_holds_up_only_these_keys(start_larder):
    source = start_larder(workers=2)
    peer = Peer()
    with source.wire() as a, source.wire() as other, source.wire() as waiting:
        a("SET", "{k}", "v")
        a.send(encode("MIGRATE", "127.0.0.1", peer.port, "{k}", 0, 600000))
        sock = peer.accept()
        assert sock.recv(10) != b""
        # The others are served, the lane and the gate too; who wants the key waits.
        assert other("SET", "other", 1) == "OK"
        assert other("CONFIG", "SET", "maxclients", 5000) == "OK"
        assert other("KEYS", "o*") == [b"other"]
        waiting.send(encode("GET", "{k}"))
        assert waiting.silent()
        sock.sendall(b"+OK\r\n")
        assert a.read() == "OK"
        assert waiting.read() is None
    peer.close()


def test_a_target_that_hangs_up_or_talks_nonsense(start_larder):
    source = start_larder(workers=2)
    peer = Peer()
    with source.wire() as a:
        a("SET", "k", "v")
        for answer in (b"", b"nonsense\r\n", b"$99999999999\r\n", b"+O", b"*1\r\n" * 100):
            a.send(encode("MIGRATE", "127.0.0.1", peer.port, "k", 0, 60000))
            sock = peer.accept()
            sock.recv(1000)
            sock.sendall(answer)
            sock.close()
            reply = a.read()
            assert isinstance(reply, Error) and reply.startswith("IOERR"), answer
            assert a("GET", "k") == b"v"
    peer.close()


def test_a_key_that_changes_under_way_is_sent_again(start_larder):
    source = start_larder(workers=2)
    peer = Peer()
    with source.wire() as a, source.wire() as other:
        a("SET", "k", "old")
        a("SET", "gone", "old")
        a.send(encode("MIGRATE", "127.0.0.1", peer.port, "", 0, 600000, "KEYS", "k", "gone"))
        sock = peer.accept()
        sock.recv(1000)
        # What has the whole world does not wait for a busy shard.
        assert other.pipeline(("MULTI",), ("SET", "k", "new"), ("DEL", "gone"), ("DBSIZE",), ("KEYS", "*"), ("EXEC",))[-1][:2] == ["OK", 1]
        sock.sendall(b"+OK\r\n+OK\r\n")
        again = b""
        while again.count(b"\r\n") < 14:
            again += sock.recv(1000)
        assert b"new" in again and b"REPLACE" in again
        assert b"DEL\r\n$4\r\ngone" in again
        sock.sendall(b"+OK\r\n:1\r\n")
        assert a.read() == "OK"
        assert a("DBSIZE") == 0
    peer.close()


def test_the_end_does_not_wait_for_the_target(start_larder):
    source = start_larder(workers=2)
    peer = Peer()
    with source.wire() as a:
        a("SET", "k", "v")
        a.send(encode("MIGRATE", "127.0.0.1", peer.port, "k", 0, 6000000))
        peer.accept()
        source.stop()
    peer.close()


def test_replicas_hear_of_it(start_larder):
    source, target, replica = (start_larder(workers=2) for _ in range(3))
    with source.wire() as a, replica.wire() as c:
        assert c("REPLICAOF", "127.0.0.1", source.port) == "OK"
        a("SET", "k", "v")
        a("SET", "l", "v")
        harness.wait_until(lambda: c("DBSIZE") == 2, what="the replica to have the keys")
        assert a("MIGRATE", "127.0.0.1", target.port, "", 0, 60000, "KEYS", "k", "l") == "OK"
        harness.wait_until(lambda: c("DBSIZE") == 0, what="the replica to lose the keys")
        assert a("WAIT", 1, 60000) == 1


@pytest.mark.parametrize("ours_is_the_source", [True, False])
def test_with_redis(larder, redis_server, ours_is_the_source):
    source, target = (larder, redis_server) if ours_is_the_source else (redis_server, larder)
    with source.wire() as a, target.wire() as b:
        a("SET", "k", "v" * 1000, "EX", 1000)
        a("SADD", "s", 1, 2, 3, "x")
        assert a("MIGRATE", "127.0.0.1", target.port, "", 5, 60000, "KEYS", "k", "s") == "OK"
        b("SELECT", 5)
        assert b("GET", "k") == b"v" * 1000
        assert sorted(b("SMEMBERS", "s")) == [b"1", b"2", b"3", b"x"]
        assert a("DBSIZE") == 0


def test_many_at_once_with_traffic(pair):
    """Movers both ways and writers: nothing is lost, nothing is twice."""
    source, target, a, b = pair
    n = 400
    for i in range(n):
        a("SET", "k%d" % i, 0)
    troubles = []

    def move(frm, to):
        with frm.wire() as x:
            for _ in range(3):
                for i in range(0, n, 20):
                    keys = ["k%d" % j for j in range(i, i + 20)]
                    reply = x("MIGRATE", "127.0.0.1", to.port, "", 0, 60000, "KEYS", *keys)
                    if reply not in ("OK", "NOKEY"):
                        troubles.append(reply)

    threads = [threading.Thread(target=move, args=(source, target)) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert troubles == []
    assert a("DBSIZE") == 0 and b("DBSIZE") == n


def test_replicas_are_waited_for_when_nothing_could_be_moved(start_larder):
    """What nobody may read stays behind, and is gone: a write of that connection, whatever the target has got."""
    source, target, replica = (start_larder(workers=2) for _ in range(3))
    with source.wire() as setter, source.wire() as a, replica.wire() as r:
        assert r("REPLICAOF", "127.0.0.1", source.port) == "OK"
        assert setter("CACHE.SET", "none", "", "NEGATIVE", "PX", "600000") == "OK"
        harness.wait_until(lambda: setter("WAIT", 1, 100) == 1, what="the replica")
        replica.process.send_signal(signal.SIGSTOP)
        try:
            assert a("MIGRATE", "127.0.0.1", target.port, "none", 0, 60000) == "OK"
            assert a("WAIT", 1, 100) == 0
        finally:
            replica.process.send_signal(signal.SIGCONT)
        assert a("WAIT", 1, 60000) == 1


def test_a_kept_connection_says_anew_that_keys_come(pair):
    """Of a key that was plain when it was asked for, and has tags when its turn comes."""
    source, target, a, b = pair
    assert a("CACHE.SET", "rich", "v", "PX", "600000", "TAGS", "1", "red") == "OK"
    assert a("MIGRATE", "127.0.0.1", target.port, "rich", 0, 60000) == "OK"
    b("CACHE.PURGE", "AGAIN", "test:1", "MATCH", "nothing*")
    a("SET", "first", "v")
    a("SET", "k", "plain")
    with socket.create_server(("127.0.0.1", 0)) as silent, source.wire() as c, source.wire() as d:
        c.send(encode("MIGRATE", "127.0.0.1", silent.getsockname()[1], "first", 0, 60000))
        peer = silent.accept()[0]
        d.send(encode("MIGRATE", "127.0.0.1", target.port, "k", 0, 60000))
        harness.wait_until(lambda: a("CLIENT", "LIST").count(b"cmd=migrate") == 2, what="the one behind it")
        assert a("MIGRATE", "127.0.0.1", target.port, "absent", 0, 60000) == "NOKEY"  # after that has been looked at
        assert a("CACHE.SET", "k", "v", "PX", "600000", "TAGS", "1", "red") == "OK"
        peer.close()
        assert c.read().startswith("IOERR")
        assert d.read() == "OK"
    assert get(b, "k")["value"] == b"v"
