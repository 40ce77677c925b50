"""redis-py's cluster client on larder, while slots move and a primary dies; hostile bytes on the bus."""

import os
import random
import socket
import struct
import time

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster

import clusters
import harness
from clusters import Cluster, address, ask, cli, frame, my_id, say_on_the_bus
from test_replica import in_step


@pytest.fixture(scope="module")
def cluster():
    with Cluster.create([harness.LARDER_SERVER] * 6, replicas=1) as c:
        yield c


@pytest.fixture
def client(cluster):
    nodes = [ClusterNode("127.0.0.1", s.port) for s in cluster.alive()]
    c = RedisCluster(startup_nodes=nodes, cluster_error_retry_attempts=20)
    yield c
    c.close()


def test_plain_use(client):
    for i in range(200):
        assert client.set(f"k{i}", i)
    assert [int(client.get(f"k{i}")) for i in range(200)] == list(range(200))
    assert client.mset_nonatomic({f"m{i}": i for i in range(50)})
    assert len(client.mget_nonatomic([f"m{i}" for i in range(50)])) == 50
    assert client.delete(*[f"m{i}" for i in range(50)]) == 50
    with client.pipeline() as p:
        for i in range(100):
            p.incr(f"p{i}")
        assert p.execute() == [1] * 100
    assert len(client.keys("k*", target_nodes=RedisCluster.PRIMARIES)) == 200


def test_while_slots_move(cluster, client):
    source, target = cluster[0], cluster[1]
    for i in range(300):
        client.set(f"s{i}", i)
    cli("reshard", address(source), "--cluster-from", my_id(source), "--cluster-to", my_id(target),
        "--cluster-slots", 500, "--cluster-yes")
    for i in range(300):
        assert int(client.get(f"s{i}")) == i
    cluster.settle()


def test_while_a_primary_dies(cluster, client):
    for i in range(100):
        client.set(f"d{i}", i)
    victim = cluster.owner_of("d0")
    replica = cluster.replica_of(victim)
    in_step(victim.client(), replica.client())
    cluster.kill(victim)
    harness.wait_until(lambda: "role:master" in ask(replica, "INFO", "replication"), what="the takeover")
    cluster.settle()
    client.nodes_manager.initialize()
    for i in range(100):
        assert int(client.get(f"d{i}")) == i
        assert client.set(f"d{i}", i + 1)


def test_info_and_hello(cluster):
    with cluster[1].wire(protocol=3) as w:
        assert b"redis_mode:cluster" in bytes(w("INFO", "server"))
        assert b"cluster_enabled:1" in bytes(w("INFO", "cluster"))
        assert w("HELLO")[b"mode"] == b"cluster"


def test_frames_come_in_any_pieces(cluster):
    """A ping of anybody is answered, wherever it was cut on its way, and each of several that came at once."""
    ping = frame(0)
    with socket.create_connection(("127.0.0.1", cluster[1].port + 10000), timeout=60) as s, s.makefile("rb") as answers:

        def pong():
            head = answers.read(16)
            assert head[:4] == b"RCmb" and struct.unpack(">H", head[12:14]) == (1,)
            answers.read(struct.unpack(">I", head[4:8])[0] - 16)

        for cut in (1, 7, 8, 9, 2255):
            for piece in (ping[:cut], ping[cut:]):
                s.sendall(piece)
                time.sleep(0.05)  # so that they are read one by one
            pong()
        s.sendall(3 * ping + ping[:100])
        for _ in range(3):
            pong()
        s.sendall(ping[100:] + ping)
        pong()
        pong()


def test_strangers_on_the_bus_change_nothing(cluster):
    """Nonsense ends the link; well-formed messages of unknown nodes are not believed."""
    node = cluster[1]
    before = sorted((r.id, tuple(r.slots), r.primary) for r in clusters.rows(node))
    epoch = clusters.info(node)["cluster_current_epoch"]
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"RCmb" + b"\xff" * 4, b"RCmb" + struct.pack(">I", 5), random.Random(9).randbytes(5000),
                 frame(0, length=2256 + 104), frame(7), frame(3)):
        say_on_the_bus(node, data)
    for kind in range(12):
        body = {3: b"e" * 40, 7: struct.pack(">Q", 2**63) + my_id(cluster[1]).encode() + b"\xff" * 2048}.get(kind, b"")
        say_on_the_bus(node, frame(kind, body) if kind != 2 else b"")
    assert sorted((r.id, tuple(r.slots), r.primary) for r in clusters.rows(node)) == before
    assert clusters.info(node)["cluster_current_epoch"] == epoch


def test_the_bus_is_closed_to_the_network(start_larder):
    server = start_larder({"cluster-enabled": "yes", "bind": "0.0.0.0"})
    assert b"listens to this machine only" in server.log()
    socket.create_connection(("127.0.0.1", server.port + 10000), timeout=60).close()
    with open("/proc/net/tcp") as f:
        assert not any(line.split()[1] == "00000000:%04X" % (server.port + 10000) for line in f if ":" in line.split()[1])


def test_a_foreign_nodes_conf_is_refused(start_larder):
    server = start_larder({"cluster-enabled": "yes"}, wait=False)
    with open(os.path.join(server.dir, "nodes.conf"), "w") as f:
        f.write("nonsense\n")
    server.spawn()
    assert server.wait() == 1
    assert b"cannot be understood from line 1" in server.log()
    server.process = None
