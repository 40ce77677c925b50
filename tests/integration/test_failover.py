"""FAILOVER: the primary hands its role to a replica. Between larder nodes, and with Redis on either side."""

import os
import socket
import threading

import pytest
import redis

from harness import REDIS_SERVER, free_port, is_redis, next_word, wait_until
from test_replica import acknowledged as online  # only such may be targets
from test_replica import data_of, fill, follow, in_step, offset_of, primary, same, servers, single  # noqa: F401

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")

PAIRS = ["larder larder", "larder redis", "redis larder", "redis redis"]


def start(servers, kind):
    return primary(servers) if kind == "redis" else servers()


def state(client):
    return client.info("replication")["master_failover_state"]


def refused(client, *argv):
    with pytest.raises(redis.exceptions.ResponseError) as e:
        client.execute_command(*argv)
    return str(e.value)


@pytest.mark.parametrize("pair", PAIRS)
def test_roles_are_exchanged_and_nothing_is_lost(servers, pair):
    one, two = (start(servers, kind) for kind in pair.split())
    a, b = single(one), single(two)
    fill(a, 300)
    follow(two, one.port)
    in_step(a, b)
    for i in range(3):
        online(a)
        a.incr("round")
        assert a.execute_command("FAILOVER", "TIMEOUT", "600000")
        wait_until(lambda: state(a) == "no-failover" and b.info("replication")["role"] == "master", what="the exchange")
        assert a.info("replication")["role"] == "slave"
        b.set(f"after:{i}", i)
        in_step(b, a)
        same(a, b)
        (one, a), (two, b) = (two, b), (one, a)
    assert sum(int(c.info("stats")["sync_full"]) for c in (a, b)) == 1


@pytest.mark.parametrize("pair", ["larder larder", "larder redis"])
def test_acknowledged_writes_survive_under_load(servers, pair):
    """Writers go on until they are told that this is a replica now: whatever was acknowledged is in both."""
    one, two = (start(servers, kind) for kind in pair.split())
    a, b = one.client(), two.client()
    follow(two, one.port)
    in_step(a, b)
    online(a)
    acknowledged = [0] * 4
    told = []

    def write(n):
        c = one.client()
        try:
            while True:
                c.set(f"w:{n}:{acknowledged[n]}", 1)
                acknowledged[n] += 1
        except redis.exceptions.ReadOnlyError:
            told.append(n)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    wait_until(lambda: min(acknowledged) > 100, what="some writes")
    assert a.execute_command("FAILOVER", "TO", "127.0.0.1", two.port)
    for t in threads:
        t.join(240)
    assert sorted(told) == [0, 1, 2, 3]
    wait_until(lambda: b.info("replication")["role"] == "master", what="the exchange")
    assert b.dbsize() == sum(acknowledged)
    in_step(b, a)
    assert data_of(a) == data_of(b)


def ask_for_copy(server, port=7777, capa=None):
    s = socket.create_connection(("127.0.0.1", server.port))
    f = s.makefile("rb")
    for words in (f"listening-port {port}", *([f"capa {capa}"] if capa else [])):
        s.sendall(f"REPLCONF {words}\r\n".encode())
        assert f.readline() == b"+OK\r\n"
    s.sendall(b"PSYNC ? -1\r\n")
    return s, f


def acknowledging_replica(server, port):
    """One that acknowledges every byte at once."""
    s, f, at = stuck_replica(server, port)

    def follow_stream(at):
        try:
            while data := f.read1(65536):
                at += len(data)
                s.sendall(b"REPLCONF ACK %d\r\n" % at)
        except OSError:
            pass

    threading.Thread(target=follow_stream, args=(at,), daemon=True).start()


def stuck_replica(server, port=7777):
    """A replica that takes everything and acknowledges nothing but its beginning."""
    s, f = ask_for_copy(server, port)
    line = next_word(f)
    assert line.startswith(b"+FULLRESYNC")
    f.read(int(next_word(f)[1:]))
    at = int(line.split()[2])
    s.sendall(b"REPLCONF ACK %d\r\n" % at)
    wait_until(lambda: server.client().info("replication")["slave0"]["state"] == "online", what="it online")
    return s, f, at


@pytest.mark.parametrize("kind", ["larder", "redis"])
def test_abort_and_timeout(servers, kind):
    p = start(servers, kind)
    a = p.client()
    s, f, _ = stuck_replica(p)
    a.set("before", 1)
    blocked = []

    def write():
        blocked.append(p.client().set("held", 1))

    def hold(ms=None):
        """A writer that waits; None if the failover's time was over before it did."""
        t = threading.Thread(target=write)
        t.start()
        wait_until(lambda: a.info("clients")["blocked_clients"] == 1 or not t.is_alive(), what="the writer to be held")
        assert a.get("before") == b"1"  # reads go on
        if ms is not None and (a.get("held") or not t.is_alive()):
            t.join(240)
            return None
        assert a.get("held") is None
        return t

    assert a.execute_command("FAILOVER")
    assert state(a) == "waiting-for-sync"
    t = hold()
    assert refused(a, "FAILOVER") == "FAILOVER already in progress."
    assert refused(a, "REPLICAOF", "NO", "ONE") == "REPLICAOF not allowed while failing over."
    w = p.wire()
    assert w("PSYNC", "?", "-1") == "NOMASTERLINK Can't SYNC while failing over"
    assert a.execute_command("FAILOVER", "ABORT")
    t.join(240)
    assert state(a) == "no-failover" and a.get("held") == b"1"

    for ms in (500, 4000, 32000):  # long enough for a slow machine
        blocked.clear()
        a.delete("held")
        assert a.execute_command("FAILOVER", "TIMEOUT", ms)
        if t := hold(ms):
            break
        wait_until(lambda: state(a) == "no-failover", what="the end of the time")
    t.join(240)
    assert state(a) == "no-failover" and a.get("held") == b"1"
    assert a.info("replication")["role"] == "master"
    assert len(blocked) == 1
    f.close()
    s.close()


@pytest.mark.parametrize("kind", ["larder", "redis"])
def test_refusals(servers, kind):
    p, r = start(servers, kind), servers()
    a, b = p.client(), r.client()
    assert refused(a, "FAILOVER") == "FAILOVER requires connected replicas."
    assert refused(a, "FAILOVER", "ABORT") == "No failover in progress."
    for nonsense in (["TO"], ["TO", "x"], ["ABORT", "ABORT"], ["FORCE", "FORCE"], ["TIMEOUT"], ["NOW"], ["TIMEOUT", "1", "TIMEOUT", "2"]):
        assert refused(a, "FAILOVER", *nonsense) == "syntax error", nonsense
    assert refused(a, "FAILOVER", "TIMEOUT", "x") == "value is not an integer or out of range"
    assert refused(a, "FAILOVER", "TIMEOUT", "0") == refused(a, "FAILOVER", "TIMEOUT", "-1") == "FAILOVER timeout must be greater than 0"
    follow(r, p.port)
    in_step(a, b)
    online(a)
    assert refused(b, "FAILOVER") == "FAILOVER is not valid when server is a replica."
    force = "FAILOVER with force option requires both a timeout and target HOST and IP."
    assert refused(a, "FAILOVER", "FORCE") == refused(a, "FAILOVER", "FORCE", "TIMEOUT", "1") == force
    assert refused(a, "FAILOVER", "TO", "127.0.0.1", r.port, "FORCE") == force
    for host, port in (("127.0.0.1", 1), ("10.0.0.1", r.port), ("x" * 1000, r.port)):
        assert refused(a, "FAILOVER", "TO", host, port) == "FAILOVER target HOST and PORT is not a replica."
    w = p.wire()
    assert w("PSYNC", "a" * 40, "1", "FAILOVER") == "ERR PSYNC FAILOVER can't be sent to a master."
    assert r.wire()("PSYNC", "a" * 40, "1", "FAILOVER") == "ERR PSYNC FAILOVER replid must match my replid."
    assert a.info("replication")["role"] == "master" and b.info("replication")["role"] == "slave"


def test_a_replica_on_its_way_is_not_a_target(servers):
    p = servers()
    a = p.client()
    a.config_set("repl-diskless-sync-delay", 1000)
    s, f = ask_for_copy(p)
    wait_until(lambda: a.info("replication")["connected_slaves"] == 1, what="the replica")
    assert refused(a, "FAILOVER", "TO", "127.0.0.1", 7777) == "FAILOVER target replica is not online."
    f.close()
    s.close()


def test_force_and_a_target_that_is_gone(servers):
    """FORCE gives the role to one that cannot be reached: it is tried until ABORT, and nobody takes writes."""
    p = servers()
    a = p.client()
    a.set("k", 1)
    s, f, _ = stuck_replica(p)
    a.set("k", 2)
    assert a.execute_command("FAILOVER", "TO", "127.0.0.1", 7777, "FORCE", "TIMEOUT", "100")
    wait_until(lambda: state(a) == "failover-in-progress", what="the force")
    f.close()
    s.close()
    assert refused(a, "SET", "k", "3") == "You can't write against a read only replica."
    assert a.execute_command("FAILOVER", "ABORT")
    info = a.info("replication")
    assert (info["role"], info["master_failover_state"]) == ("master", "no-failover")
    assert a.set("k", 3) and a.get("k") == b"3"


class Target(threading.Thread):
    """A replica that listens, too, and answers PSYNC as the test says."""

    def __init__(self, server, answers):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answers = answers
        self.asked = []
        acknowledging_replica(server, self.port)
        self.start()

    def run(self):
        while self.answers:
            c, _ = self.listener.accept()
            f = c.makefile("rb")
            while line := f.readline():
                words = [f.readline() and f.readline().strip() for _ in range(int(line[1:]))]
                if words[0] == b"PSYNC":
                    self.asked.append(words)
                    answer = self.answers.pop(0)
                    if answer is None:
                        break
                    c.sendall(answer)
                else:
                    c.sendall(b"+PONG\r\n" if words[0] == b"PING" else b"+OK\r\n")
            f.close()
            c.close()


def test_a_target_that_refuses(servers):
    p = servers()
    a = p.client()
    t = Target(p, [b"-ERR PSYNC FAILOVER replid must match my replid.\r\n"])
    before = a.info("replication")
    assert a.execute_command("FAILOVER")
    wait_until(lambda: t.asked and state(a) == "no-failover", what="the refusal")
    info = a.info("replication")
    assert info["role"] == "master"
    assert info["master_replid2"] == before["master_replid"]
    assert t.asked == [[b"PSYNC", before["master_replid"].encode(), b"%d" % info["second_repl_offset"], b"FAILOVER"]]
    assert info["second_repl_offset"] > before["master_repl_offset"]
    assert a.set("k", 1)


def test_an_answer_that_is_lost(servers):
    """The target has taken over, but the line broke: we follow it, and do not become a second primary."""
    p = servers()
    a = p.client()
    t = Target(p, [None, b"-ERR PSYNC FAILOVER can't be sent to a master.\r\n", b"+CONTINUE " + b"f" * 40 + b"\r\n"])
    assert a.execute_command("FAILOVER", "TO", "127.0.0.1", t.port)
    wait_until(lambda: state(a) == "no-failover" and a.info("replication").get("master_link_status") == "up", what="the end")
    info = a.info("replication")
    assert (info["role"], info["master_replid"], info["master_link_status"]) == ("slave", "f" * 40, "up")
    assert [len(words) for words in t.asked] == [4, 4, 3]


def test_expired_keys_stay_until_the_role_is_settled(servers):
    """A key that expires while the target catches up is hidden; its DEL would be a write."""
    p = servers(repl_ping_replica_period=3600)  # after the first one the offset stands still
    a = p.client()
    s, f, _ = stuck_replica(p)
    wait_until(lambda: offset_of(a) > 0, what="the first PING")
    with p.wire() as w:
        for ms in (50, 1000, 20000):  # it is still there when the failover begins, on a slow machine too
            assert w.pipeline(("SET", "short", 1, "PX", ms), ("FAILOVER",), ("EXISTS", "short"))[:2] == ["OK", "OK"]
            if w("DBSIZE") == 1:
                break
            assert w("FAILOVER", "ABORT") == "OK"
    before = offset_of(a)
    wait_until(lambda: a.get("short") is None, what="its end")
    assert offset_of(a) == before
    assert a.execute_command("FAILOVER", "ABORT")
    wait_until(lambda: offset_of(a) > before and a.dbsize() == 0, what="its DEL")
    f.close()
    s.close()


@pytest.mark.parametrize("kind", ["larder", "redis"])
def test_siblings_follow(servers, kind):
    """A third node, told to follow the new primary, goes on without a full copy."""
    p, r, third = servers(), servers(), start(servers, kind)
    a, b, c = single(p), single(r), single(third)
    fill(a, 100)
    for one in (r, third):
        follow(one, p.port)
    in_step(a, b)
    in_step(a, c)
    online(a)
    a.execute_command("FAILOVER", "TO", "127.0.0.1", r.port)
    wait_until(lambda: b.info("replication")["role"] == "master", what="the exchange")
    follow(third, r.port)
    b.set("new", 1)
    in_step(b, a)
    in_step(b, c)
    same(b, c)
    assert b.info("stats")["sync_full"] == 0
