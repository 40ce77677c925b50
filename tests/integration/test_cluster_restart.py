"""`larder cluster rolling-restart`."""

import os
import subprocess
import time

import pytest

import clusters
import harness
from clusters import Cluster, address, larder
from liblarder import Shell

NODE = harness.LARDER_SERVER


@pytest.fixture(scope="module")
def cluster():
    with clusters.created_by_tool() as c:
        yield c


def supervised(servers, *args, code=0):
    """`larder cluster` while servers that end are started again, as systemd would; by this thread, whose children die with it."""
    run = subprocess.Popen([clusters.TOOL, "cluster", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while run.poll() is None:
        for s in servers:
            if not s.alive():
                s.process.wait()
                s.start()
        time.sleep(0.02)
    said = run.stdout.read()
    for s in servers:
        if not s.alive():
            s.start()
    assert run.returncode == code, f"{run.returncode}\n{said}"
    return said


def run_ids(c):
    out = {}
    for s in c.servers:
        with s.wire() as w:
            out[s.port] = w("INFO", "server").decode().split("run_id:")[1].split("\r")[0]
    return out


def test_rolling_restart(cluster):
    """Under load, without an error at the client; every node is another run afterwards; roles have changed places."""
    before, primaries = run_ids(cluster), {s.port for s in cluster.primaries()}
    said = larder("rolling-restart", address(cluster[0]), "--dry-run")
    assert said.count("hands over and restarts") == 3 and said.count(" restarts\n") == 6
    assert run_ids(cluster) == before
    with Shell(address(cluster[1]), "deadline_ms=240000") as c:
        c.send("storm 2 20000")
        said = supervised(cluster.servers, "rolling-restart", address(cluster[0]), "--yes")
        assert c.hear().startswith("ok answered=40000 failed=0 wrong=0 ")
    assert "All 6 nodes have been restarted." in said
    after = run_ids(cluster)
    assert all(after[port] != before[port] for port in before)
    assert {s.port for s in cluster.primaries()}.isdisjoint(primaries)
    cluster.settle()
    cluster.check_keys(300)


def test_rolling_restart_goes_on(cluster):
    """A command that fails at the third node ends it; with --since the first two are left alone."""
    before = run_ids(cluster)
    begun = int(time.time())
    # A node's start is known by the second: no run of before may count as one of this command's.
    harness.wait_until(lambda: all(int(s.client().info("server")["uptime_in_seconds"]) >= 3 for s in cluster.servers), what="nodes of some age")
    done = os.path.join(cluster[0].dir, "restarted")
    command = f"echo $PORT >> {done} && [ $(wc -l < {done}) != 3 ] && redis-cli -h $HOST -p $PORT SHUTDOWN"
    said = supervised(cluster.servers, "rolling-restart", address(cluster[0]), "--yes", "--command", command, code=1)
    assert "--command ended with 1" in said and f"with the other options as before: larder cluster rolling-restart {address(cluster[0])} --since " in said
    since = int(said.split("--since ")[1].split()[0])
    assert begun <= since <= time.time()
    half = run_ids(cluster)
    assert sum(half[port] != before[port] for port in before) == 2
    said = supervised(cluster.servers, "rolling-restart", address(cluster[0]), "--yes", "--since", since)
    assert said.count("has been restarted already") == 2 and "All 6 nodes have been restarted." in said
    after = run_ids(cluster)
    assert sum(after[port] == half[port] for port in before) == 2
    cluster.settle()
    cluster.check_keys(300)
    larder("rolling-restart", address(cluster[0]), "--since", "soon", code=2)


def test_rolling_restart_needs_replicas():
    with Cluster.create([NODE] * 3) as c:
        before = run_ids(c)
        assert "has no replica in step" in larder("rolling-restart", address(c[0]), "--yes", code=1)
        assert run_ids(c) == before
