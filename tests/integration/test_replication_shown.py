"""What operators and clients see of replication, and what they can ask of it: CLIENT, CONFIG, WAITAOF, delays."""

import os

import pytest
import redis

from harness import REDIS_SERVER, free_port, next_word, wait_until
from test_failover import ask_for_copy, online, refused, stuck_replica
from test_replica import fill, follow, in_step, offset_of, primary, servers  # noqa: F401

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")


def listed(client, *argv):
    lines = client.execute_command("CLIENT", "LIST", *argv)
    lines = lines if isinstance(lines, list) else lines.decode().splitlines()
    return [x if isinstance(x, dict) else dict(word.split("=", 1) for word in x.split()) for x in lines]


@pytest.mark.parametrize("kind", ["larder", "redis"])
def test_client_list_shows_replicas_and_the_primary(servers, kind):
    p, r = servers(), servers() if kind == "larder" else primary(servers)
    for _ in range(2):
        a, b = p.client(), r.client()
        follow(r, p.port)
        in_step(a, b)
        (s,) = [x for x in listed(a) if x["flags"] == "S"]
        (m,) = [x for x in listed(b) if x["flags"] == "M"]
        assert (s["addr"], s["laddr"]) == (m["laddr"], m["addr"])
        assert m["addr"] == f"127.0.0.1:{p.port}"
        assert set(s) >= {"id", "addr", "laddr", "fd", "name", "age", "idle", "db", "multi", "cmd", "user", "resp", "omem", "tot-mem"}
        assert [x["id"] for x in listed(a, "TYPE", "replica")] == [s["id"]]
        assert [x["id"] for x in listed(b, "TYPE", "master")] == [m["id"]]
        assert listed(a, "TYPE", "master") == listed(b, "TYPE", "replica") == []
        assert s["id"] not in [x["id"] for x in listed(a, "TYPE", "normal")]
        assert [x["flags"] for x in listed(a, "ID", s["id"])] == ["S"]
        b.execute_command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: not listed(a, "TYPE", "replica"), what="its end")
        assert not listed(b, "TYPE", "master")
        p, r = r, p


def test_the_period_of_pings_changes_at_once(servers):
    """Not after the next of the old period, which may be hours away."""
    p, r = servers(repl_ping_replica_period=3600), servers()
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    wait_until(lambda: offset_of(a) >= 14, what="the first PING")
    a.config_set("repl-ping-replica-period", 1)
    begun = offset_of(a)
    wait_until(lambda: offset_of(a) >= begun + 2 * 14, what="two more")


@pytest.mark.parametrize("how", ["TYPE replica", "ADDR", "ID", "old", "TYPE master", "primary's ID"])
def test_client_kill_cuts_links(servers, how):
    p, r = servers(), servers()
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    (s,), (m,) = listed(a, "TYPE", "replica"), listed(b, "TYPE", "master")
    client, argv, reply = {
        "TYPE replica": (a, ["TYPE", "replica"], 1),
        "ADDR": (a, ["ADDR", s["addr"]], 1),
        "ID": (a, ["ID", s["id"], "ID", "99999"], 1),
        "old": (a, [s["addr"]], b"OK"),
        "TYPE master": (b, ["TYPE", "master"], 1),
        "primary's ID": (b, ["ID", m["id"]], 1),
    }[how]
    assert client.execute_command("CLIENT", "KILL", *argv) == reply
    a.set("k", 1)
    wait_until(lambda: a.info("stats")["sync_partial_ok"] == 1, what="its return")
    in_step(a, b)
    assert b.get("k") == b"1"
    assert client.execute_command("CLIENT", "KILL", "ID", "999999", "TYPE", "replica") == 0


def test_config_knows_the_primary(servers):
    conf = "# mine\nmaxclients 5000\nreplicaof 127.0.0.1 1\n"
    p, r = servers(), servers()
    r.stop()
    r.config = conf
    r.start()
    b = r.client()
    assert b.config_get("replicaof") == {"replicaof": "127.0.0.1 1"}
    follow(r, p.port)
    assert b.config_get("replicaof") == {"replicaof": f"127.0.0.1 {p.port}"}
    b.config_rewrite()
    path = os.path.join(r.dir, "server.conf")
    with open(path) as f:
        assert f"replicaof 127.0.0.1 {p.port}\n" in f.read()
    in_step(p.client(), b)  # while it loads the copy it refuses
    b.execute_command("REPLICAOF", "NO", "ONE")
    assert b.config_get("replicaof") == {"replicaof": ""}
    b.config_rewrite()
    with open(path) as f:
        text = f.read()
    assert "replicaof" not in text and "# mine" in text


def test_failover_is_in_the_configuration(servers):
    p, r = servers(), servers()
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    online(a)
    a.execute_command("FAILOVER")
    wait_until(lambda: a.config_get("replicaof") == {"replicaof": f"127.0.0.1 {r.port}"}, what="the exchange")
    wait_until(lambda: b.config_get("replicaof") == {"replicaof": ""}, what="the exchange")


def test_sentinel_reads_rank_and_listing(servers):
    p, r = servers(), servers()
    b = r.client()
    follow(r, p.port)
    in_step(p.client(), b)
    assert (b.info("replication")["slave_priority"], b.info("replication")["replica_announced"]) == (100, 1)
    b.config_set("replica-priority", 7)
    b.config_set("replica-announced", "no")
    assert (b.info("replication")["slave_priority"], b.info("replication")["replica_announced"]) == (7, 0)


def test_a_full_copy_waits_for_more_replicas(servers):
    p = servers(repl_diskless_sync_delay=100000, repl_diskless_sync_max_replicas=2)
    a = p.client()
    fill(a, 10)
    s1, f1 = ask_for_copy(p, 7771)
    wait_until(lambda: a.info("replication")["connected_slaves"] == 1, what="the first")
    assert a.info("stats")["sync_full"] == 0
    assert a.info("replication")["slave0"]["state"] == "wait_bgsave"
    s2, f2 = ask_for_copy(p, 7772)
    for f in (f1, f2):
        assert next_word(f).startswith(b"+FULLRESYNC")
    wait_until(lambda: a.info("stats")["sync_full"] == 2, what="both to be counted")
    s3, f3 = ask_for_copy(p, 7773)
    wait_until(lambda: a.info("replication")["connected_slaves"] == 3, what="the third")
    a.config_set("repl-diskless-sync-delay", 0)
    assert next_word(f3).startswith(b"+FULLRESYNC")
    for one in (f1, f2, f3, s1, s2, s3):
        one.close()


def test_waitaof(servers):
    p, r = servers(), servers()
    a, b = p.client(), r.client()
    waitaof = lambda *argv: a.execute_command("WAITAOF", *argv)  # noqa: E731
    a.set("k", 1)
    assert waitaof(0, 0, 0) == [0, 0]
    assert waitaof(0, 1, 10) == [0, 0]
    assert refused(a, "WAITAOF", "2", "0", "0") == "value is out of range, value must between 0 and 1"
    assert refused(a, "WAITAOF", "0", "-1", "0") == "value is out of range, must be positive"
    assert refused(a, "WAITAOF", "0", "0", "-1") == refused(a, "WAIT", "0", "-1") == "timeout is negative"
    assert refused(a, "WAITAOF", "0", "0", "x") == refused(a, "WAIT", "0", "x") == "timeout is not an integer or out of range"
    assert "wrong number of arguments" in refused(a, "WAITAOF", "0", "0")
    assert refused(a, "WAITAOF", "1", "0", "0") == "WAITAOF cannot be used when numlocal is set but appendonly is disabled."
    follow(r, p.port)
    in_step(a, b)
    assert "WAITAOF cannot be used with replica instances" in refused(b, "WAITAOF", "0", "0", "0")
    a.set("k", 3)
    assert waitaof(0, 1, 200) == [0, 0]  # it has no append-only file
    s, f, at = stuck_replica(p)
    one = p.client(single_connection_client=True)
    one.set("k", 2)
    s.sendall(b"REPLCONF ACK %d FACK %d\r\n" % (at, at))
    assert one.execute_command("WAITAOF", 0, 1, 100) == [0, 0]
    end = offset_of(a)
    s.sendall(b"REPLCONF ACK %d FACK %d\r\n" % (end, at))
    assert one.execute_command("WAITAOF", 0, 1, 100) == [0, 0]
    s.sendall(b"REPLCONF ACK %d FACK %d\r\n" % (end, end))
    assert one.execute_command("WAITAOF", 0, 1, 0) == [0, 1]
    s.sendall(b"REPLCONF ACK %d FACK %d\r\n" % (end, end + 10**6))
    wait_until(lambda: a.info("replication")["connected_slaves"] == 1, what="the liar's end")
    f.close()
    s.close()


def test_a_replica_comes_from_where_it_is_told_to(servers):
    p, r = servers(), servers()
    a, b = p.client(), r.client()
    with pytest.raises(redis.ResponseError, match="must be an IPv4 or IPv6 address, not a name"):
        b.config_set("bind-source-addr", "localhost")
    for source, expected in (("127.0.0.7", "127.0.0.7"), ("192.0.2.1", "127.0.0.1"), ("", "127.0.0.1")):
        b.config_set("bind-source-addr", source)
        assert (b"'bind-source-addr 192.0.2.1' cannot be had now: bind 192.0.2.1:0: " in r.log()) == (source != "127.0.0.7")
        b.execute_command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: a.info("replication")["connected_slaves"] == 0, what="the link's end")
        follow(r, p.port)
        in_step(a, b)
        assert a.info("replication")["slave0"]["ip"] == expected
