"""`larder cluster` against larder nodes; set LARDER_SERVER to redis-server to see that it manages those too."""

import pytest

import clusters
import harness
from clusters import Cluster, address, larder, my_id, row_of
from liblarder import Peer

NODE = harness.LARDER_SERVER


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
    said = larder("rebalance", address(cluster[0]), "--dry-run")
    assert f"{address(new)}  0 slots  +4096" in said
    assert row_of(cluster[0], new).slots == []
    # A small share of them: however many slots move, they move one by one.
    weight = "--weight", f"{address(new)}=0.05"
    assert "268 of 268 slots moved" in larder("rebalance", address(cluster[0]), "--yes", *weight)
    cluster.settle()
    cluster.check_keys(300)
    assert "Every primary has its share" in larder("rebalance", address(cluster[0]), "--yes", *weight)
    assert "has replicas" in larder("remove", address(cluster[0]), address(new), "--yes", code=1)
    assert "has left" in larder("remove", address(cluster[0]), my_id(replica)[:12], "--yes")
    assert "268 of 268 slots moved" in larder("remove", address(cluster[0]), address(new), "--yes")
    cluster.settle_without(new, replica)
    cluster.check_keys(300)
    harness.wait_until(lambda: all(len(clusters.rows(s)) == 6 for s in cluster.servers), what="everybody to forget both")


def test_names_instead_of_numbers():
    """For those who create, join and leave; a node may be called by another address than the others know it by."""
    with Cluster([clusters.node(NODE).start() for _ in range(3)]) as c:
        names = [f"localhost:{s.port}" for s in c.servers]
        larder("create", *names[:2], "--yes")
        larder("add", names[2], names[0], "--replica-of", names[1], "--yes")
        c.settle()
        assert row_of(c[0], c[2]).primary == my_id(c[1])
        assert all(r.address.startswith("127.0.0.1:") for s in c.servers for r in clusters.rows(s))
        assert "has left" in larder("remove", names[0], names[2], "--yes")
        c.settle_without(c[2])


def test_a_bus_at_another_port():
    with Cluster([clusters.node(NODE, {"cluster-port": harness.free_port()}).start() for _ in range(3)]) as c:
        larder("create", *map(address, c.servers[:2]), "--yes")
        larder("add", address(c[2]), address(c[0]), "--yes")
        c.settle()


def test_nodes_that_are_down():
    """One that has slots and nobody to take them, and one that has none."""
    with Cluster.create([NODE] * 3) as c:
        empty = c.add(NODE)
        larder("add", address(empty), address(c[0]), "--yes")
        c.kill(empty)
        harness.wait_until(lambda: "fail" in row_of(c[0], empty).flags, what="its failure to be known")
        assert "FAILED\n" in larder("status", address(c[0]), code=1)
        assert "is forgotten" in larder("remove", address(c[0]), address(empty), "--yes")
        c.kill(c[1])
        harness.wait_until(lambda: "fail" in row_of(c[0], c[1]).flags, what="its failure to be known")
        assert "FAILED, and nobody serves its slots" in larder("status", address(c[0]), code=1)
        lost = f"{address(c[1])} has failed and still owns 5462 slots"
        for words in (("rebalance", address(c[0])), ("remove", address(c[0]), address(c[1])), ("rolling-restart", address(c[0]))):
            assert lost in larder(*words, "--yes", code=1)


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


def test_a_frozen_node_is_asked_once():
    def answer(argv):
        line = b"%s 127.0.0.1:%d@1 %s - 0 0 1 connected %s\n"
        text = {"INFO": b"used_memory_human:1.00M\r\n", "CLUSTER": b"cluster_state:ok\r\n"}.get(argv[0])
        if argv[1:] == ["NODES"]:
            text = line % (b"a" * 40, peer.port, b"myself,master", b"0-8191") + line % (b"b" * 40, frozen.port, b"master", b"8192-16383")
        return b":7\r\n" if text is None else b"$%d\r\n%s\r\n" % (len(text), text)

    with Peer(lambda argv: None) as frozen, Peer(answer) as peer:
        said = larder("status", peer.address, code=1)
    assert f"{frozen.address}: no answer in time" in said and "does not answer" in said
    assert frozen.requests == [["DBSIZE"]]


def test_what_cannot_be(cluster):
    plain = harness.Server(NODE).start()
    said = larder("create", address(plain), "--yes", code=1)
    assert "cluster-enabled yes" in said
    assert "knows other nodes" in larder("create", address(cluster[0]), "--yes", code=1)
    assert "is the node running" in larder("status", f"127.0.0.1:{harness.free_port()}", code=1)
    assert "is no address" in larder("status", "nonsense", code=1)
    assert "no node" in larder("remove", address(cluster[0]), "zzzz", "--yes", code=1)
    with Cluster([clusters.node(NODE).start()]) as full:
        assert "is a replica itself" in larder("add", address(full[0]), address(cluster[0]), "--replica-of", address(cluster[5]), "--yes", code=1)
        with full[0].wire() as w:
            w("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            harness.wait_until(lambda: w("SET", "k", 1) == "OK", what="the node to serve")
            assert "has slots already" in larder("add", address(full[0]), address(cluster[0]), "--yes", code=1)
            w("CLUSTER", "DELSLOTSRANGE", 0, 16383)
            assert w("DBSIZE") == 1
            assert "holds 1 keys" in larder("add", address(full[0]), address(cluster[0]), "--yes", code=1)
            assert "holds 1 keys" in larder("create", address(full[0]), "--yes", code=1)
            w("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            harness.wait_until(lambda: w("FLUSHALL") == "OK", what="the node to be empty")
    assert "cannot be primaries with 1 replicas" in larder("create", "h:1", "h:2", "h:3", "--replicas", 1, code=1)
    assert "larder cluster rebalance ADDR" in larder("rebalance", code=2)
    assert "wants NODE=NUMBER" in larder("rebalance", address(cluster[0]), "--weight", address(cluster[1]), code=1)
    assert "wants NODE=NUMBER" in larder("rebalance", address(cluster[0]), "--weight", address(cluster[1]) + "=-1", code=1)
    assert "wants NODE=NUMBER" in larder("rebalance", address(cluster[0]), "--weight", address(cluster[1]) + "=1001", code=1)
    assert "no node" in larder("rebalance", address(cluster[0]), "--weight", "zzzz=1", code=1)
    assert "is a replica" in larder("rebalance", address(cluster[0]), "--weight", address(cluster[5]) + "=1", code=1)
    nobody = [word for s in cluster.servers[:3] for word in ("--weight", address(s) + "=0")]
    assert "somebody must have the slots" in larder("rebalance", address(cluster[0]), *nobody, code=1)
    assert "--weight belongs to 'larder cluster rebalance', not to 'status'" in larder("status", "h:1", "--weight", "a=1", code=2)
    assert "--replicas belongs to 'larder cluster create'" in larder("add", "h:1", "h:2", "--replicas=1", code=2)
    larder("nosuch", code=2)
    larder("status", "h:1", "--nosuch", code=2)
    larder("create", "h:1", "--replicas", "x", code=2)
    for words in ((), ("create",), ("status",), ("add",), ("remove",), ("rebalance",), ("rolling-restart",)):
        assert "usage:" in larder(*words, "--help")
    assert "too few for a primary with 5 replicas" in larder("create", "h:1", "h:2", "--replicas", 5, code=1)
    plain.process.kill()
    plain.process.wait()
    plain.remove()


