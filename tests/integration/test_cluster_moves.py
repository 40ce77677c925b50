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
    run = subprocess.Popen([clusters.TOOL, "cluster", "rebalance", address(cluster[0]), "--yes"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    harness.wait_until(lambda: row_of(cluster[0], new).slots != [], what="the first slot to move")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=240)
    if run.returncode == 130:
        assert "run the same command again" in err
    else:
        assert run.returncode == 0, err  # it was faster
    cluster.check_keys(300)
    larder("rebalance", address(cluster[0]), "--yes")
    cluster.settle()
    cluster.check_keys(300)
    larder("remove", address(cluster[0]), my_id(new), "--yes")
    cluster.settle_without(new)
    cluster.check_keys(300)


def test_passwords():
    secret = {"requirepass": "secret", "masterauth": "secret"}
    with Cluster([clusters.node(NODE, secret).start() for _ in range(2)]) as c:
        assert "NOAUTH" in larder("create", *map(address, c.servers), "--yes", code=1)
        assert "WRONGPASS" in larder("create", *map(address, c.servers), "--yes", "--password", "no", code=1)
        assert "the same node" in larder("create", address(c[0]), address(c[0]), "--yes", "--password", "secret", code=1)
        with c[1].wire() as w:
            w("AUTH", "secret")
            w("CONFIG", "SET", "cluster-require-full-coverage", "no")
            w("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            harness.wait_until(lambda: w("SET", "k", 1) == "OK", what="the node to serve")
            assert "has slots already" in larder("create", *map(address, c.servers), "--yes", "--password", "secret", code=1)
            w("FLUSHALL")
            assert w("CLUSTER", "RESET") == "OK"
        assert "The cluster serves" in larder("create", *map(address, c.servers), "--yes", env={"REDISCLI_AUTH": "secret"})
        said = larder("remove", address(c[0]), address(c[1]), "--yes", "--password", "secret")
        assert "8192 of 8192 slots moved" in said and "has left" in said
