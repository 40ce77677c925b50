"""`larder cluster` against larder nodes; set LARDER_SERVER to redis-server to see that it manages those too."""

import os
import signal
import subprocess
import time

import pytest

import clusters
import harness
from clusters import Cluster, address, ask, my_id, row_of
from liblarder import Peer, Shell

LARDER = os.environ.get("LARDER_TOOL", os.path.join(os.path.dirname(harness.LARDER_SERVER), "larder"))
if harness.is_redis(harness.LARDER_SERVER):
    LARDER = os.path.join(harness.ROOT, "build", "larder")
NODE = harness.LARDER_SERVER


def larder(*args, code=0, env=None, stdin=""):
    done = subprocess.run([LARDER, "cluster", *map(str, args)], capture_output=True, text=True, timeout=240, input=stdin,
                          env=os.environ | (env or {}))
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster():
    with Cluster([clusters.node(NODE).start() for _ in range(6)]) as c:
        said = larder("create", *map(address, c.servers), "--replicas", 1, "--dry-run")
        assert "slots 0-5460" in said and "slots 5461-10922" in said and "slots 10923-16383" in said
        assert all(len(clusters.rows(s)) == 1 for s in c.servers), "a dry run changes nothing"
        said = larder("create", *map(address, c.servers), "--replicas", 1, "--yes")
        assert "3 primaries, 3 replicas" in said
        c.settle()
        c.put(300)
        yield c


def test_created_as_said(cluster):
    for i, slots in enumerate(("0-5460", "5461-10922", "10923-16383")):
        assert row_of(cluster[5], cluster[i]).slots == [slots]
    assert len({row_of(cluster[0], cluster[i]).primary for i in (3, 4, 5)}) == 3
    assert len({row_of(cluster[0], s).epoch for s in cluster.servers[:3]}) == 3


def test_status(cluster):
    said = larder("status", address(cluster[4]))
    assert "state ok, 6 nodes, 3 primaries with slots" in said
    for s in cluster.servers:
        assert address(s) in said
    assert said.count("5461 slots") + said.count("5462 slots") == 3


def test_add_rebalance_remove(cluster):
    new = cluster.add(NODE)
    assert "a primary without slots" in larder("add", address(new), address(cluster[0]), "--yes")
    replica = cluster.add(NODE)
    larder("add", address(replica), address(cluster[0]), "--replica-of", address(new), "--yes")
    assert row_of(cluster[0], replica).primary == my_id(new)
    assert "4096 slots" not in larder("rebalance", address(cluster[0]), "--dry-run")
    assert row_of(cluster[0], new).slots == []
    assert "4096 of 4096 slots moved" in larder("rebalance", address(cluster[0]), "--yes")
    cluster.settle()
    cluster.check_keys(300)
    assert "Every primary has its share" in larder("rebalance", address(cluster[0]), "--yes")
    assert "has replicas" in larder("remove", address(cluster[0]), address(new), "--yes", code=1)
    assert "has left" in larder("remove", address(cluster[0]), my_id(replica)[:12], "--yes")
    assert "4096 of 4096 slots moved" in larder("remove", address(cluster[0]), address(new), "--yes")
    cluster.settle_without(new, replica)
    cluster.check_keys(300)
    assert all(len(clusters.rows(s)) == 6 for s in cluster.servers)


def test_interrupted_and_gone_on(cluster):
    new = cluster.add(NODE)
    larder("add", address(new), address(cluster[0]), "--yes")
    run = subprocess.Popen([LARDER, "cluster", "rebalance", address(cluster[0]), "--yes"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    harness.wait_until(lambda: row_of(cluster[0], new).slots != [], what="the first slot to move")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
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


def supervised(servers, *args, code=0):
    """`larder cluster` while servers that end are started again, as systemd would; by this thread, whose children die with it."""
    run = subprocess.Popen([LARDER, "cluster", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
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
    with Shell(address(cluster[1]), "deadline_ms=30000") as c:
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
    time.sleep(1.1)  # a node's start is known by the second
    done = os.path.join(cluster[0].dir, "restarted")
    command = f"echo $PORT >> {done} && [ $(wc -l < {done}) != 3 ] && redis-cli -h $HOST -p $PORT SHUTDOWN"
    said = supervised(cluster.servers, "rolling-restart", address(cluster[0]), "--yes", "--command", command, code=1)
    assert "--command ended with 1" in said and f"larder cluster rolling-restart {address(cluster[0])} --since " in said
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


def test_a_node_that_loads_is_waited_for():
    asked = []

    def answer(argv):
        asked.append(argv[0])
        if asked.count(argv[0]) <= 2:
            return b"-LOADING larder is loading the dataset in memory\r\n"
        if argv[0] == "DBSIZE":
            return b":7\r\n"
        text = {"INFO": b"used_memory_human:1.00M\r\n", "CLUSTER": b"%s 127.0.0.1:%d@1 myself,master - 0 0 1 connected 0-16383\n" %
                (b"a" * 40, peer.port) if argv[1:] == ["NODES"] else b"cluster_state:ok\r\n"}[argv[0]]
        return b"$%d\r\n%s\r\n" % (len(text), text)

    with Peer(answer) as peer:
        said = larder("status", peer.address)
    assert "7 keys" in said and "16384 slots" in said and "state ok" in said


def test_what_cannot_be(cluster):
    plain = harness.Server(NODE).start()
    said = larder("create", address(plain), "--yes", code=1)
    assert "cluster-enabled yes" in said
    assert "knows other nodes" in larder("create", address(cluster[0]), "--yes", code=1)
    assert "is the node running" in larder("status", f"127.0.0.1:{harness.free_port()}", code=1)
    assert "is no address" in larder("status", "nonsense", code=1)
    assert "no node" in larder("remove", address(cluster[0]), "zzzz", "--yes", code=1)
    assert "cannot be primaries with 1 replicas" in larder("create", "h:1", "h:2", "h:3", "--replicas", 1, code=1)
    larder("rebalance", code=2)
    larder("nosuch", code=2)
    larder("status", "h:1", "--nosuch", code=2)
    larder("create", "h:1", "--replicas", "x", code=2)
    assert "usage:" in larder("--help")
    plain.process.kill()
    plain.process.wait()
    plain.remove()


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
