"""nodes.conf and the journal beside it: what a node promises is on the disk, and an operator finds and edits one file."""

import os

import clusters
import harness
import pytest
from clusters import Cluster, ask

NODE = harness.LARDER_SERVER


@pytest.fixture
def cluster():
    with Cluster.create([NODE] * 3) as c:
        yield c


def path(server, name="nodes.conf"):
    return os.path.join(server.dir, name)


def read(server):
    with open(path(server), encoding="ascii") as f:
        return f.read()


def write(server, text):
    with open(path(server), "w", encoding="ascii") as f:
        f.write(text)


def again(c, server):
    server.killed = False
    server.start()
    c.settle()


def bumped(server):
    """The promise that is made here: an epoch that nobody else has."""
    said = ask(server, "CLUSTER", "BUMPEPOCH")
    assert said.startswith("BUMPED"), said
    return said


def my_epoch(server):
    return int(clusters.info(server)["cluster_my_epoch"])


def test_what_was_promised_survives_a_nodes_conf_that_is_older(cluster):
    """As after a power failure: the name of the newest file has not reached the disk."""
    node = cluster[1]
    for other in (cluster[0], node, cluster[0]):  # whoever has the greatest epoch already gets no other
        ask(other, "CLUSTER", "BUMPEPOCH")
        cluster.settle()
    old = read(node)
    epoch = int(bumped(node).split(" ")[1])
    cluster.kill(node)
    write(node, old)
    again(cluster, node)
    assert my_epoch(node) == epoch
    assert b"nodes.conf.journal is newer than nodes.conf" in node.log()


def test_an_edited_nodes_conf_counts_after_a_crash(cluster):
    node = cluster[1]
    ask(node, "CLUSTER", "BUMPEPOCH")
    cluster.kill(node)
    text = read(node)
    vote = next(w for w in text.split("lastVoteEpoch ")[1].split(" "))
    write(node, text.replace(f"lastVoteEpoch {vote}", "lastVoteEpoch 77"))
    again(cluster, node)
    assert "lastVoteEpoch 77 " in read(node)
    assert b"is newer than" not in node.log()


def test_a_removed_nodes_conf_is_a_new_node_after_a_crash(cluster):
    node = cluster[1]
    was = ask(node, "CLUSTER", "MYID")
    cluster.kill(node)
    os.unlink(path(node))
    node.killed = False
    node.start()
    assert ask(node, "CLUSTER", "MYID") != was


def test_after_an_orderly_end_nodes_conf_is_everything(cluster):
    node = cluster[1]
    ask(node, "CLUSTER", "BUMPEPOCH")
    epoch = my_epoch(node)
    assert os.path.exists(path(node, "nodes.conf.journal"))
    node.process.terminate()
    node.process.wait()
    assert not os.path.exists(path(node, "nodes.conf.journal"))
    assert f" {epoch} connected" in next(line for line in read(node).splitlines() if "myself" in line)
    again(cluster, node)
    assert my_epoch(node) == epoch
