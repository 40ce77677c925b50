"""larder as a primary: of Redis, of itself, chained, and taking over."""

import os
import socket
import threading
import time

import pytest
import redis

from harness import REDIS_SERVER, Server, free_port, next_word, refuses_writes, wait_until
from test_replica import Proxy, data_of, fill, fill_two_databases, follow, in_step, primary, same, servers, single, streams_every_database  # noqa: F401

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")


def busy(client, rounds=300):
    """Writes of every kind whose effect is not the request."""
    for i in range(rounds):
        k = f"busy:{i % 40}"
        client.set(k, i, ex=1000 + i)
        client.incrbyfloat(f"float:{i % 7}", 0.1)
        client.expire(k, 500 + i)
        if i % 3 == 0:
            client.getex(k, persist=True)
        if i % 5 == 0:
            client.getdel(f"busy:{(i + 1) % 40}")
        client.sadd("words", f"more {i}")
        client.spop("words")
        if i % 7 == 0:
            client.set(f"gone:{i}", 1, px=1)
        if i % 11 == 0:
            pipe = client.pipeline()
            pipe.mset({f"m{j}": i for j in range(5)})
            pipe.append("long", "x" * 100)
            pipe.rename("m1", "m9")
            pipe.execute()


@pytest.mark.parametrize("kind", ["redis", "larder"])
def test_full_copy_then_stream(servers, kind):
    p, r = servers(), servers(REDIS_SERVER) if kind == "redis" else servers()
    a, b = single(p), single(r)
    fill_two_databases(a)
    follow(r, p.port)
    in_step(a, b)
    same(a, b, (0, 7))
    busy(a)
    streams_every_database(a, b)


def test_what_is_shown(servers):
    p, r = servers(), servers(REDIS_SERVER)
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    wait_until(lambda: a.info("replication")["slave0"]["state"] == "online", what="the first acknowledgement")
    info = a.info("replication")
    assert info["connected_slaves"] == 1
    assert (info["slave0"]["ip"], info["slave0"]["port"], info["slave0"]["state"]) == ("127.0.0.1", r.port, "online")
    assert info["master_replid"] == b.info("replication")["master_replid"]
    a.set("k", 1)
    wait_until(lambda: a.info("replication")["slave0"]["offset"] == offset(a), what="the acknowledgement")
    role = wait_until(lambda: role_if_acknowledged(a), what="an acknowledgement of all that ROLE tells of")
    assert role[0] == b"master" and role[2] == [[b"127.0.0.1", b"%d" % r.port, b"%d" % role[1]]]
    stats = a.info("stats")
    assert (stats["sync_full"], stats["sync_partial_ok"]) == (1, 0)


def role_if_acknowledged(client):
    role = client.execute_command("ROLE")
    return role[2][0][2] == b"%d" % role[1] and role


def offset(client):
    return client.info("replication")["master_repl_offset"]


def test_wait(servers):
    p, r1, r2 = servers(), servers(REDIS_SERVER), servers()
    a = p.client()
    assert a.wait(0, 10) == 0
    assert a.wait(1, 10) == 0
    follow(r1, p.port)
    follow(r2, p.port)
    in_step(a, r1.client())
    in_step(a, r2.client())
    for i in range(20):
        a.set("k", i)
        assert a.wait(2, 60000) == 2
        assert r1.client().get("k") == r2.client().get("k") == b"%d" % i
    assert a.wait(3, 50) == 2
    with pytest.raises(redis.exceptions.ResponseError, match="WAIT cannot be used with replica"):
        r2.client().wait(1, 1)


def test_a_cut_link_goes_on_where_it_was(servers):
    p, r1, r2 = servers(), servers(REDIS_SERVER), servers()
    a, b, c = single(p), single(r1), single(r2)
    one, two = Proxy(p.port), Proxy(p.port)
    follow(r1, one.port)
    follow(r2, two.port)
    in_step(a, b)
    in_step(a, c)
    for i in range(4):
        a.select(i)
        one.cut()
        two.cut()
        busy(a, 20)
        in_step(a, b)
        in_step(a, c)
    stats = a.info("stats")
    assert (stats["sync_full"], stats["sync_partial_ok"]) == (2, 8)
    same(a, b, range(4))
    same(a, c, range(4))
    one.close()
    two.close()


def test_a_link_cut_for_too_long_needs_a_copy(servers):
    p, r = servers(repl_backlog_size=16384), servers()
    a, b = single(p), single(r)
    proxy = Proxy(p.port)
    follow(r, proxy.port)
    in_step(a, b)
    proxy.close()
    for i in range(50):
        a.set(f"k{i}", "x" * 5000)
    wait_until(lambda: a.info("replication")["repl_backlog_first_byte_offset"] > 150_000, what="the log's trimming")
    back = Proxy(p.port)
    follow(r, back.port)
    in_step(a, b)
    assert a.info("stats")["sync_full"] == 2
    same(a, b)
    back.close()


def test_chained(servers):
    """redis -> larder -> larder -> redis: the same bytes all the way."""
    chain = [primary(servers), servers(), servers(), servers(REDIS_SERVER)]
    clients = [single(s) for s in chain]
    fill(clients[0], 500)
    for up, down in zip(chain, chain[1:]):
        follow(down, up.port)
        in_step(up.client(), down.client())
    busy(clients[0], 100)
    clients[0].select(3)
    clients[0].set("in3", 1)
    clients[0].select(0)
    for c in clients[1:]:
        in_step(clients[0], c)
        same(clients[0], c, (0, 3))
    ids = {c.info("replication")["master_replid"] for c in clients}
    assert len(ids) == 1


def test_takeover(servers):
    """A primary on Redis, a replica on larder, promoted; then Redis is its replica. No key lost, no full copy but the first."""
    p, r = primary(servers), servers()
    a, b = single(p), single(r)
    fill(a, 500)
    follow(r, p.port)
    in_step(a, b)
    busy(a, 50)
    in_step(a, b)
    b.execute_command("REPLICAOF", "NO", "ONE")
    busy(b, 50)
    follow(p, r.port)
    in_step(b, a)
    same(b, a)
    busy(b, 50)
    in_step(b, a)
    same(b, a)
    assert b.info("stats")["sync_full"] <= 1


def test_siblings_follow_a_promoted_replica_without_a_copy(servers):
    p, r1, r2 = servers(repl_ping_replica_period=3600), servers(), servers(REDIS_SERVER)  # nobody is ahead by a PING
    a, b, c = single(p), single(r1), single(r2)
    follow(r1, p.port)
    follow(r2, p.port)
    busy(a, 50)
    in_step(a, b)
    in_step(a, c)
    p.kill(9)
    b.execute_command("REPLICAOF", "NO", "ONE")
    follow(r2, r1.port)
    busy(b, 30)
    in_step(b, c)
    same(b, c)
    stats = b.info("stats")
    assert (stats["sync_full"], stats["sync_partial_ok"]) == (0, 1)
    p.process = None


def test_min_replicas(servers):
    p, r = servers(min_replicas_to_write=1), servers()
    a, b = p.client(), r.client()
    wait_until(lambda: refuses_writes(a, "NOREPLICAS"), what="the refusal")
    assert a.get("k") is None
    follow(r, p.port)
    in_step(a, b)
    wait_until(lambda: not refuses_writes(a, "NOREPLICAS"), what="a good replica")
    assert a.info("replication")["min_slaves_good_slaves"] == 1
    for want in (2, 1) * 20:  # what has just been said counts, and not what the last look had found
        a.config_set("min-replicas-to-write", want)
        assert refuses_writes(a, "NOREPLICAS") == (want > 1)
    b.config_set("min-replicas-to-write", 1)
    b.config_set("replica-read-only", "no")
    assert b.set("mine", 1)  # a replica's own writes need no replicas
    b.config_set("min-replicas-to-write", 0)
    follow(r, free_port())
    wait_until(lambda: refuses_writes(a, "NOREPLICAS"), what="the refusal")
    a.config_set("min-replicas-to-write", 0)
    wait_until(lambda: not refuses_writes(a, "NOREPLICAS"), what="freedom")


def test_many_writers_reach_every_replica(servers):
    p, r1, r2 = servers(), servers(REDIS_SERVER), servers()
    follow(r1, p.port)
    follow(r2, p.port)

    def write(n):
        c = p.client()
        for i in range(150):
            pipe = c.pipeline(transaction=i % 4 == 0)
            for j in range(10):
                pipe.incr(f"count:{j}")
                pipe.append(f"text:{j}", f"{n},")
                pipe.set(f"last:{n}:{j}", i, px=1 if (i + j) % 9 == 0 else 100000)
            pipe.execute()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    a = p.client()
    for r in (r1, r2):
        in_step(a, r.client())
    wait_until(lambda: data_of(a) == data_of(r1.client()), what="the same data")
    wait_until(lambda: data_of(a) == data_of(r2.client()), what="the same data")


def test_a_slow_replica_is_not_disconnected(servers):
    """It reads nothing for a while, far beyond the backlog: then it gets everything, from the file."""
    p = servers(repl_backlog_size=65536)
    a = p.client()
    s = socket.create_connection(("127.0.0.1", p.port))
    s.sendall(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n")
    file = s.makefile("rb")
    line = next_word(file)
    assert line.startswith(b"+FULLRESYNC")
    start = int(line.split()[2])
    for i in range(300):
        a.set(f"k{i}", "x" * 100_000)
    end = offset(a)
    assert end - start > 30_000_000
    file.read(int(next_word(file)[1:]))
    got = file.read(end - start)
    assert len(got) == end - start
    assert got.count(b"x" * 100_000) == 300
    assert a.info("replication")["connected_slaves"] == 1
    file.close()
    s.close()
    wait_until(lambda: a.info("replication")["connected_slaves"] == 0, what="its end")


@pytest.mark.parametrize("when", ["in its copy", "in the stream"])
def test_a_stalled_replica_is_given_up(servers, when):
    """Slow is one thing; one that takes nothing at all for repl-timeout is not there, and holds up the log."""
    p = servers(repl_backlog_size=65536)
    a = p.client()
    if when == "in its copy":
        for i in range(300):
            a.set(f"k{i}", os.urandom(100_000))
    s = socket.create_connection(("127.0.0.1", p.port))
    s.sendall(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n")
    wait_until(lambda: a.info("stats")["sync_full"] == 1, what="its copy")
    if when == "in the stream":
        for i in range(300):
            a.set(f"k{i}", "x" * 100_000)
        s.sendall(b"REPLCONF ACK 0\r\n")  # it is there, and not given up for its silence
        wait_until(lambda: a.info("replication")["slave0"]["state"] == "online", what="its acknowledgement")
    a.config_set("repl-timeout", 1)
    wait_until(lambda: a.info("replication")["connected_slaves"] == 0, what="its end")
    wait_until(lambda: b"has taken nothing" in p.log(), what="its reason in the log")
    assert a.set("k", 1)
    s.close()


def test_kill_replicas(servers):
    p, r = servers(), servers(REDIS_SERVER)
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    assert a.execute_command("CLIENT", "KILL", "TYPE", "replica") == 1
    a.set("k", 1)
    wait_until(lambda: a.info("stats")["sync_partial_ok"] == 1, what="its return")
    in_step(a, b)


def test_the_log_goes_off_when_nobody_wants_it(servers):
    p, r = servers(repl_backlog_ttl=1), servers()
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    before = a.info("replication")
    assert before["repl_backlog_active"] == 1
    b.execute_command("REPLICAOF", "NO", "ONE")
    wait_until(lambda: a.info("replication")["repl_backlog_active"] == 0, what="the end of the log")
    assert a.info("replication")["master_replid"] != before["master_replid"]
    a.set("k", 1)
    assert offset(a) >= before["master_repl_offset"]
    follow(r, p.port)
    in_step(a, b)
    assert b.get("k") == b"1"


def test_a_lying_replica_is_disconnected(servers):
    p = servers()
    a = p.client()
    for rude in (b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$10\r\n9999999999\r\n", b"*1\r\n$-5\r\n", b"x" * 200_000):
        s = socket.create_connection(("127.0.0.1", p.port))
        s.sendall(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n")
        assert next_word(s.makefile("rb")).startswith(b"+FULLRESYNC")
        try:
            s.sendall(rude)
        except OSError:
            pass
        wait_until(lambda: a.info("replication")["connected_slaves"] == 0, what="its end")
        s.close()
    assert a.set("k", 1)


@pytest.mark.parametrize("bad", [b"10.0.0.1\r\nrole:slave", b"a b", b"a,b", b"a=b", b"\0", b"\xff", b"x" * 64])
def test_what_a_replica_says_of_itself_cannot_forge_a_line(servers, bad):
    p = servers()
    w = p.wire()
    assert "ip-address" in str(w("REPLCONF", "ip-address", bad))
    assert str(w("REPLCONF", "listening-port", "65536")).find("not an integer or out of range") > 0
    assert "Unrecognized" in str(w("REPLCONF", "listening-port", "1234", "what", "1"))
    w.send(b"PSYNC ? -1\r\n")
    assert w.read_line().strip().startswith(b"+FULLRESYNC")
    shown = p.client().info("replication")["slave0"]
    assert (shown["ip"], shown["port"]) == ("127.0.0.1", 1234)


@pytest.mark.parametrize("ask", [b"PSYNC ? -1\r\n", b"SYNC\r\n"])
@pytest.mark.parametrize("marked", [False, True])
def test_who_wants_no_more_than_a_copy_is_let_go_with_it(servers, ask, marked):
    p = servers()
    p.client().set("k", "v")
    w = p.wire()
    w("REPLCONF", "rdb-only", "1", *(["capa", "eof"] if marked else []))
    w.send(ask)
    got = w.read_all()
    mark = got[got.index(b"$EOF:") + 5 :][:40] if marked else b""
    assert b"REDIS0" in got and got.endswith(mark) and (b"$EOF:" in got) == marked
    assert b"REPLCONF" not in got and b"PING" not in got
    wait_until(lambda: p.client().info("replication")["connected_slaves"] == 0, what="its end")


@pytest.mark.parametrize("kind", ["redis", "larder"])
def test_a_restarted_primary_does_not_wipe_its_replicas(servers, kind):
    p, r = servers(), servers(REDIS_SERVER) if kind == "redis" else servers()
    a, b = p.client(), r.client()
    fill(a, 100)
    follow(r, p.port)
    in_step(a, b)
    want = data_of(b)
    wait_until(lambda: b"keys %d\n" % len(want) in record_of(p), what="the record")
    p.kill(9)
    p.start()
    wait_until(lambda: b"NOMASTERLINK" in r.log(), what="the refusal")
    assert data_of(b) == want
    p.client().execute_command("REPLICAOF", "127.0.0.1", free_port())  # decided: it may take the data over
    b.execute_command("REPLICAOF", "NO", "ONE")
    follow(p, r.port)
    in_step(b, p.client())
    assert data_of(p.client()) == want


def record_of(server):
    path = os.path.join(server.dir, "larder.history")
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as f:
        return f.read()


def test_a_record_without_a_decision_stays(servers):
    p = servers()
    p.stop()
    with open(os.path.join(p.dir, "larder.history"), "w") as f:
        f.write(f"larder-history 1\nid {'a' * 40}\nid2 {'0' * 40}\nsecond -1\noffset 100\nkeys 5\nend\n")
    p.start()
    w = p.wire()
    assert str(w("PSYNC", "a" * 40, "50")).find("NOMASTERLINK") >= 0
    assert str(w("SYNC")).find("NOMASTERLINK") >= 0
    assert p.client().execute_command("REPLICAOF", "NO", "ONE")
    w.send(b"PSYNC %s 50\r\n" % (b"a" * 40))
    assert w.read_line().startswith(b"+FULLRESYNC")
