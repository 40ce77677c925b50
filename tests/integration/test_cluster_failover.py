"""A primary that dies is replaced, comes back as a replica, and hands over when asked."""

import os
import signal

import pytest

import clusters
import harness
from clusters import Cluster, ask, info, my_id, row_of
from wire import Error

L, R = harness.LARDER_SERVER, harness.REDIS_SERVER
# Primaries first: 3 and 3; redis-cli pairs them.
KINDS = {
    "ours": [L] * 6,
    "redis takes over from larder": [L, L, L, R, R, R],
    "larder takes over from redis": [R, R, R, L, L, L],
}


@pytest.fixture(params=KINDS, scope="module")
def cluster(request):
    with Cluster.create(KINDS[request.param], replicas=1) as c:
        yield c


def roles_changed(new, old):
    """`new` owns slots in everybody's eyes, and `old`, if it lives, follows it."""

    def check():
        if "role:master" not in ask(new, "INFO", "replication"):
            return False
        return not old.alive() or "role:slave" in ask(old, "INFO", "replication")

    return check


def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(cluster):
    cluster.put(200)
    old = cluster.primaries()[0]
    new = cluster.replica_of(old)
    harness.wait_until(lambda: ask(new, "DBSIZE") == ask(old, "DBSIZE"), what="the replica to have it all")
    slots = row_of(new, old).slots
    epoch = int(info(new)["cluster_current_epoch"])
    key = next(k for k in ("count%d" % i for i in range(1000)) if cluster.owner_of(k) is old)
    with old.wire() as w:
        acknowledged = [w("INCR", key) for _ in range(200)][-1]
        cluster.kill(old)  # at once: what it has said is on its way
    harness.wait_until(roles_changed(new, old), what="the replica to take over")
    cluster.settle()
    assert int(ask(new, "GET", key)) == acknowledged
    assert row_of(new, new).slots == slots
    assert int(info(new)["cluster_current_epoch"]) > epoch
    assert "fail" in row_of(new, old).flags
    cluster.check_keys(200)
    old.killed = False
    old.start()
    harness.wait_until(roles_changed(new, old), what="the old one to follow")
    cluster.settle()
    assert "fail" not in row_of(new, old).flags
    harness.wait_until(lambda: ask(new, "DBSIZE") == ask(old, "DBSIZE"), what="the old one to have it all")


def test_a_frozen_primary_is_replaced(cluster):
    old = cluster.primaries()[0]
    new = cluster.replica_of(old)
    os.kill(old.pid, signal.SIGSTOP)
    try:
        harness.wait_until(lambda: "role:master" in ask(new, "INFO", "replication"), what="the replica to take over")
    finally:
        os.kill(old.pid, signal.SIGCONT)
    harness.wait_until(roles_changed(new, old), what="the old one to follow")
    cluster.settle()


@pytest.mark.parametrize("how", [(), ("FORCE",), ("TAKEOVER",)])
def test_a_handover_by_hand(cluster, how):
    old = cluster.primaries()[-1]
    new = cluster.replica_of(old)
    assert ask(new, "CLUSTER", "FAILOVER", *how) == "OK"
    harness.wait_until(roles_changed(new, old), what="the handover")
    cluster.settle()
    assert my_id(new) == row_of(old, old).primary


@pytest.mark.parametrize("kinds", [[L, L, L, R, R, R], [R, L, R, L, R, L]], ids=["larder votes for redis", "both vote for both"])
def test_forced_handovers(kinds):
    """Of every shard, while its primary lives: a redis-server asks for votes once. Each has its turn once, as Redis lets
    seconds go by between two elections of one replica."""
    with Cluster.create(kinds, replicas=1) as c:
        for old in c.primaries():
            new = c.replica_of(old)
            assert ask(new, "CLUSTER", "FAILOVER", "FORCE") == "OK"
            harness.wait_until(roles_changed(new, old), what="the handover")
            c.settle()


def test_no_write_is_lost_in_a_handover(cluster):
    old = cluster.primaries()[0]
    new = cluster.replica_of(old)
    key = next(k for k in ("n%d" % i for i in range(1000)) if cluster.owner_of(k) is old)
    acknowledged, wire = 0, old.wire()
    wire("SET", key, 0)
    assert ask(new, "CLUSTER", "FAILOVER") == "OK"
    while True:
        reply = wire("INCR", key)
        if isinstance(reply, Error):
            break
        acknowledged = reply
    assert reply.startswith("MOVED") and reply.endswith(f":{new.port}"), reply
    assert int(ask(new, "GET", key)) == acknowledged
    cluster.settle()


def linked(primary, replica):
    """Who was restarted just now cannot be asked to take over yet."""
    harness.wait_until(lambda: row_of(primary, replica).link == "connected", what="the link to the replica")


def hands_over(old, new, end):
    """end(old) ends it after its replica has taken over; then it is started again, and follows."""
    said = b"A replica has taken over the slots of this node."
    before = old.log().count(said)
    end(old)
    old.wait()
    assert old.log().count(said) == before + 1
    assert "role:master" in ask(new, "INFO", "replication")
    old.start()
    harness.wait_until(roles_changed(new, old), seconds=60, what="the old one to follow")


def shut_down(server, how="SHUTDOWN"):
    with server.wire() as w:
        w.send(how.encode() + b"\r\n")
        assert w.read_all() == b""


@pytest.mark.parametrize("how", ["SIGTERM", "SHUTDOWN", "SHUTDOWN NOSAVE FORCE", "SHUTDOWN while writes are paused"])
@pytest.mark.parametrize("cluster", ["ours"], indirect=True)  # Redis's replicas are not asked to take over
def test_who_is_ended_hands_over_first(cluster, how):
    """Nobody has to find out that it is gone: the replica has its slots, and all that was written, before."""
    old = cluster.primaries()[0]
    new = cluster.replica_of(old)
    linked(old, new)
    key = next(k for k in ("t%d" % i for i in range(1000)) if cluster.owner_of(k) is old)
    assert old.wire()("SET", key, "kept") == "OK"
    how, _, paused = how.partition(" while ")
    assert not paused or ask(old, "CLIENT", "PAUSE", 1000000, "WRITE") == "OK"
    hands_over(old, new, lambda old: os.kill(old.pid, signal.SIGTERM) if how == "SIGTERM" else shut_down(old, how))
    assert ask(new, "GET", key) == "kept"
    cluster.settle()


@pytest.mark.parametrize("cluster", ["ours"], indirect=True)
def test_a_client_that_leaves_takes_its_shutdown_along(cluster):
    """What it waited for comes to nothing, and that is over: the next SHUTDOWN begins a handover of its own."""
    late = b"No replica has taken over the slots of this node in time"
    old = cluster.primaries()[0]
    new = cluster.replica_of(old)
    linked(old, new)
    before = old.log().count(late)
    for s in cluster.servers:
        assert ask(s, "CONFIG", "SET", "cluster-node-timeout", 60000) == "OK"  # who is stopped has not failed
    assert ask(old, "CONFIG", "SET", "shutdown-timeout", 1) == "OK"
    new.process.send_signal(signal.SIGSTOP)
    try:
        with old.wire() as w:
            w.send(b"SHUTDOWN\r\n")
            harness.wait_until(lambda: "blocked_clients:1" in ask(old, "INFO", "clients"), what="it to wait")
        harness.wait_until(lambda: old.log().count(late) > before, what="the wait to end")
    finally:
        new.kill(signal.SIGKILL)  # what it was asked goes with it
    new.start()
    for s in cluster.servers:
        assert ask(s, "CONFIG", "SET", "cluster-node-timeout", clusters.NODE_TIMEOUT_MS) == "OK"
    cluster.settle()
    linked(old, new)
    assert cluster.replica_of(old) is new
    assert ask(old, "CONFIG", "SET", "shutdown-timeout", 10) == "OK"
    hands_over(old, new, shut_down)
    cluster.settle()


@pytest.mark.parametrize("cluster", ["ours"], indirect=True)
def test_nobody_waits_for_a_handover_without_an_heir(cluster):
    """A replica that does not answer is waited for as long as shutdown-timeout says, and not at all by SHUTDOWN NOW; another SHUTDOWN, with
    NOW, ends the wait of one that waits."""
    late = b"No replica has taken over the slots of this node in time"
    pairs = [(p, cluster.replica_of(p)) for p in cluster.primaries()[:2]]
    for s in cluster.servers:
        assert ask(s, "CONFIG", "SET", "cluster-node-timeout", 60000) == "OK"  # who is stopped has not failed
    for (old, new), seconds in zip(pairs, (1, 1000)):
        linked(old, new)
        assert ask(old, "CONFIG", "SET", "shutdown-timeout", seconds) == "OK"
        new.process.send_signal(signal.SIGSTOP)
    try:
        (patient, _), (impatient, _) = pairs
        with patient.wire() as w, impatient.wire() as waiting, impatient.wire() as hasty:
            w.send(b"SHUTDOWN\r\n")
            patient.wait()
            waiting.send(b"SHUTDOWN\r\n")
            harness.wait_until(lambda: "blocked_clients:1" in ask(impatient, "INFO", "clients"), what="it to wait")
            hasty.send(b"SHUTDOWN NOW\r\n")
            impatient.wait()
        assert late in patient.log() and late not in impatient.log()
    finally:
        for _, new in pairs:
            new.process.send_signal(signal.SIGCONT)
    for old, _ in pairs:
        old.start()
    for s in cluster.servers:
        assert ask(s, "CONFIG", "SET", "cluster-node-timeout", clusters.NODE_TIMEOUT_MS) == "OK"
    cluster.settle()


def test_restarts_remember(cluster):
    """Everybody at once: the same nodes, slots and roles as before. Nobody is suspected while the others end or begin."""
    cluster.settle()
    before = sorted((r.id, tuple(r.slots), r.primary) for r in clusters.rows(cluster[0]))
    for s in cluster.servers:
        assert ask(s, "CONFIG", "SET", "cluster-node-timeout", 15000) == "OK"
        s.options["cluster-node-timeout"] = 15000
        if not harness.is_redis(s.binary):  # or primaries would hand over to replicas that end, too
            assert ask(s, "CONFIG", "SET", "shutdown-on-sigterm", "now") == "OK"
    for s in cluster.servers:
        s.process.send_signal(signal.SIGKILL if harness.is_redis(s.binary) else signal.SIGTERM)
    for s in cluster.servers:
        s.wait()
    for s in cluster.servers:
        s.spawn()
    for s in cluster.servers:
        assert s.answers(), s.log_tail()
    cluster.settle()
    assert sorted((r.id, tuple(r.slots), r.primary) for r in clusters.rows(cluster[0])) == before
