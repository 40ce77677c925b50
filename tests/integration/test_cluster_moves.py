"""`larder cluster` interrupted while slots move, and with passwords."""

import signal
import subprocess

import pytest

import clusters
import harness
from clusters import Cluster, address, larder, my_id, row_of

NODE = harness.LARDER_SERVER


@pytest.fixture(scope="module")
def cluster():
    with clusters.created_by_tool() as c:
        yield c


def test_interrupted_and_gone_on(cluster):
    new = cluster.add(NODE)
    larder("add", address(new), address(cluster[0]), "--yes")
    weight = "--weight", f"{address(new)}=0.1"  # 528 slots; the other nodes give, so all kinds of them move
    run = subprocess.Popen([clusters.TOOL, "cluster", "rebalance", address(cluster[0]), "--yes", *weight],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    harness.wait_until(lambda: row_of(cluster[0], new).slots != [], what="the first slot to move")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=240)
    if run.returncode == 130:
        assert "run the same command again" in err
    else:
        assert run.returncode == 0, err  # it was faster
    cluster.check_keys(300)
    larder("rebalance", address(cluster[0]), "--yes", *weight)
    assert row_of(cluster[0], new).slot_count() == 528
    cluster.settle()
    cluster.check_keys(300)
    larder("remove", address(cluster[0]), my_id(new), "--yes")
    cluster.settle_without(new)
    cluster.check_keys(300)


def size(server):
    with server.wire() as w:
        w("AUTH", "secret")
        return w("DBSIZE")


def fill(server):
    """Keys in every part of its slots; returns how many."""
    with server.wire() as w:
        w("AUTH", "secret")
        return [w("SET", f"k:{i}", i) for i in range(1500)].count("OK")


def test_passwords():
    secret = {"requirepass": "secret", "masterauth": "secret"}
    with Cluster([clusters.node(NODE, secret).start() for _ in range(3)]) as c:
        said = ["--yes", "--password", "secret"]
        two = [address(s) for s in c.servers[:2]]
        assert "NOAUTH" in larder("create", *two, "--yes", code=1)
        assert "WRONGPASS" in larder("create", *two, "--yes", "--password", "no", code=1)
        assert "the same node" in larder("create", address(c[0]), address(c[0]), *said, code=1)
        with c[1].wire() as w:
            w("AUTH", "secret")
            w("CONFIG", "SET", "cluster-require-full-coverage", "no")
            w("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            harness.wait_until(lambda: w("SET", "k", 1) == "OK", what="the node to serve")
            assert "has slots already" in larder("create", *two, *said, code=1)
            w("FLUSHALL")
            assert w("CLUSTER", "RESET") == "OK"
        assert "The cluster serves" in larder("create", *two, "--yes", env={"REDISCLI_AUTH": "secret"})
        # Keys go to a third node and come back: MIGRATE has the password, too.
        keys = fill(c[1])
        larder("add", address(c[2]), address(c[0]), *said)
        larder("rebalance", address(c[0]), "--weight", f"{address(c[2])}=0.05", *said)
        assert 0 < size(c[2]) < keys and size(c[1]) + size(c[2]) == keys
        told = larder("remove", address(c[0]), address(c[2]), *said)
        assert "399 of 399 slots moved" in told and "has left" in told
        assert size(c[0]) + size(c[1]) == keys and size(c[2]) == 0
