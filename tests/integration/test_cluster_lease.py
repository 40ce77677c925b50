"""Among larder nodes: who may have been replaced acknowledges no write."""

import os
import signal

import pytest

import clusters
import harness
from clusters import Cluster, ask
from wire import Error, encode

pytestmark = pytest.mark.larder


@pytest.fixture(scope="module")
def cluster():
    with Cluster.create([harness.LARDER_SERVER] * 6, replicas=1) as c:
        yield c


def first_words(wire):
    """Of the connection: a reply, or its end."""
    try:
        return wire.read()
    except (ConnectionError, EOFError):
        return Error("closed")


def all_threads_stopped(pid):
    """SIGSTOP is on its way until a thread takes it; till then the others serve."""
    states = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii", errors="replace") as f:
            states.append(f.read().rsplit(") ", 1)[1][0])
    return set(states) == {"T"}


def test_what_waited_for_a_frozen_primary_is_not_acknowledged(cluster):
    """Its commands are executed when it wakes, before it can have heard of its successor."""
    old = cluster.primaries()[0]
    new = cluster.replica_of(old)
    key = next(k for k in ("n%d" % i for i in range(1000)) if cluster.owner_of(k) is old)
    asked = [encode("SET", key, "late"), encode("MULTI") + encode("SET", key, "late") + encode("EXEC")]
    wires = [old.wire() for _ in range(2 * len(asked))]
    assert all(w("SET", key, "early") == "OK" for w in wires)
    os.kill(old.pid, signal.SIGSTOP)
    try:
        harness.wait_until(lambda: all_threads_stopped(old.pid), what="the process to stand still")
        for i, w in enumerate(wires):
            w.send(asked[i % 2])
        harness.wait_until(lambda: "role:master" in ask(new, "INFO", "replication"), what="the replica to take over")
    finally:
        os.kill(old.pid, signal.SIGCONT)
    for i, w in enumerate(wires):
        replies = [first_words(w) for _ in range(1 + 2 * (i % 2))]
        assert isinstance(replies[-1], Error), replies
        w.close()
    harness.wait_until(lambda: ask(new, "SET", key, "new") == "OK", what="the new primary to have its promises")
    cluster.settle()
    assert ask(new, "GET", key) == "new"


def test_there_and_back(cluster):
    """A primary that has been replaced and takes its place again is trusted by those who voted against it."""
    old = cluster.primaries()[0]
    new = cluster.replica_of(old)
    key = next(k for k in ("n%d" % i for i in range(1000)) if cluster.owner_of(k) is old)
    for giver, taker in ((old, new), (new, old)):
        harness.wait_until(lambda taker=taker: ask(taker, "CLUSTER", "FAILOVER") == "OK", what="the order to be taken")
        harness.wait_until(lambda taker=taker: clusters.ask(taker, "SET", key, "v") == "OK", what="it to serve")
        cluster.settle()


def test_a_first_slot_may_be_written_when_its_order_is_answered(cluster):
    """Also where nothing else makes the new owner ask for promises: its epoch is the greatest, and stays."""
    owner = cluster.primaries()[0]
    new = cluster.add()
    ask(new, "CLUSTER", "MEET", "127.0.0.1", owner.port)
    harness.wait_until(lambda: len(clusters.rows(new)) == 7, what="it to know everybody")
    cluster.settle()
    ask(new, "CLUSTER", "BUMPEPOCH")
    ask(new, "CONFIG", "SET", "cluster-allow-replica-migration", "no")  # it gives its last slot away, and stays
    key = next(k for k in ("f%d" % i for i in range(1000)) if cluster.owner_of(k) is owner)
    slot = ask(owner, "CLUSTER", "KEYSLOT", key)
    for _ in range(10):
        for giver, taker in ((owner, new), (new, owner)):
            assert ask(taker, "CLUSTER", "SETSLOT", slot, "IMPORTING", clusters.my_id(giver)) == "OK"
            assert ask(taker, "CLUSTER", "SETSLOT", slot, "NODE", clusters.my_id(taker)) == "OK"
            assert ask(taker, "SET", key, "v") == "OK"
            assert ask(taker, "DEL", key) == 1
            ask(giver, "CLUSTER", "SETSLOT", slot, "NODE", clusters.my_id(taker))
            cluster.settle()
            ask(new, "CLUSTER", "BUMPEPOCH")


def test_who_has_no_promises_still_answers_what_writes_nothing():
    """Also where a transaction does not run on the client's own thread."""
    with Cluster.create([harness.LARDER_SERVER] * 3) as c:
        for other in c.servers[1:]:
            c.kill(other)
        key = next(k for k in ("n%d" % i for i in range(1000)) if c.owner_of(k) is c[0])
        with c[0].wire() as w:
            harness.wait_until(lambda: str(w("SET", key, "v")).startswith("CLUSTERDOWN"), what="the promises to end")
            for command in (("DBSIZE",), ("KEYS", "*"), ("CLUSTER", "MYID"), ("CLUSTER", "INFO")):
                assert len(w.pipeline(("MULTI",), command, ("EXEC",))[-1]) == 1, command
