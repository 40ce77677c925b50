"""CLUSTER's subcommands: replies and errors beside those of redis-server 7.0.15, on lone nodes and in a pair."""

import re
import time

import pytest

import clusters
import harness
from clusters import Cluster, ask, my_id
from wire import Error

ALONE = """
CLUSTER INFO
CLUSTER NODES
CLUSTER SLOTS
CLUSTER SHARDS
CLUSTER LINKS
CLUSTER MYID
CLUSTER
CLUSTER NOSUCH
CLUSTER ADDSLOTS
CLUSTER ADDSLOTS x
CLUSTER ADDSLOTS -1
CLUSTER ADDSLOTS 16384
CLUSTER ADDSLOTS 5 5
CLUSTER ADDSLOTSRANGE 1
CLUSTER ADDSLOTSRANGE 1 2 3
CLUSTER ADDSLOTSRANGE 5 3
CLUSTER ADDSLOTSRANGE 5 x
CLUSTER DELSLOTS 5
CLUSTER DELSLOTS 16384
CLUSTER DELSLOTSRANGE 5 6
CLUSTER DELSLOTSRANGE 6 5
CLUSTER SETSLOT 1 NODE x
CLUSTER SETSLOT 1 FOO
CLUSTER SETSLOT 1 NODE
CLUSTER SETSLOT 1 MIGRATING x
CLUSTER SETSLOT 1 IMPORTING 1234
CLUSTER SETSLOT 99999 STABLE
CLUSTER SETSLOT 1 STABLE
CLUSTER MEET 127.0.0.1
CLUSTER MEET foo 1
CLUSTER MEET 127.0.0.1 99999
CLUSTER MEET 127.0.0.1 x
CLUSTER MEET 127.0.0.1 1 999999
CLUSTER MEET 127.0.0.1 1 x
CLUSTER MEET 127.0.0.1 1 2 3
CLUSTER FORGET x
CLUSTER FORGET me
CLUSTER REPLICATE x
CLUSTER REPLICATE me
CLUSTER FAILOVER
CLUSTER FAILOVER FOO
CLUSTER FAILOVER FORCE x
CLUSTER RESET FOO
CLUSTER RESET SOFT x
CLUSTER SET-CONFIG-EPOCH x
CLUSTER SET-CONFIG-EPOCH -1
CLUSTER SET-CONFIG-EPOCH 0
CLUSTER COUNT-FAILURE-REPORTS x
CLUSTER COUNT-FAILURE-REPORTS me
CLUSTER SLAVES x
CLUSTER SLAVES me
CLUSTER REPLICAS x
CLUSTER REPLICAS me
CLUSTER KEYSLOT a
CLUSTER KEYSLOT {user1000}.following
CLUSTER KEYSLOT foo{}{bar}
CLUSTER COUNTKEYSINSLOT 5
CLUSTER COUNTKEYSINSLOT -1
CLUSTER COUNTKEYSINSLOT 16384
CLUSTER COUNTKEYSINSLOT x
CLUSTER GETKEYSINSLOT 1 -1
CLUSTER GETKEYSINSLOT 16384 1
CLUSTER GETKEYSINSLOT 1 x
CLUSTER GETKEYSINSLOT 1 10
CLUSTER BUMPEPOCH
CLUSTER SAVECONFIG
CLUSTER FLUSHSLOTS
CLUSTER ADDSLOTS 1 2 3 10
CLUSTER ADDSLOTS 2
CLUSTER ADDSLOTSRANGE 100 200 300 310
CLUSTER ADDSLOTSRANGE 400 410 405 415
CLUSTER DELSLOTS 2
CLUSTER DELSLOTS 1 7
CLUSTER DELSLOTSRANGE 150 160
CLUSTER SLOTS
CLUSTER SHARDS
CLUSTER NODES
CLUSTER INFO
CLUSTER SETSLOT 1 MIGRATING me
CLUSTER SETSLOT 1 IMPORTING me
CLUSTER SETSLOT 3 NODE me
CLUSTER SET-CONFIG-EPOCH 5
CLUSTER FLUSHSLOTS
CLUSTER NODES
CLUSTER RESET
CLUSTER RESET HARD
CLUSTER INFO
CLUSTER SET-CONFIG-EPOCH 7
CLUSTER SET-CONFIG-EPOCH 8
CLUSTER INFO
CLUSTER BUMPEPOCH
ASKING
READONLY
READWRITE
REPLICAOF NO ONE
GET a
INFO cluster
"""


def neutral(reply, server):
    """What may differ between two nodes: ids, ports, times."""
    if isinstance(reply, (list, tuple)):
        return [neutral(x, server) for x in reply]
    if isinstance(reply, dict):
        return {neutral(k, server): neutral(v, server) for k, v in reply.items()}
    if reply == server.port:
        return "PORT"
    if not isinstance(reply, (bytes, str)):
        return reply
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    text = re.sub(r"\b1\d{12}\b", "TIME", re.sub(r"[0-9a-f]{40}", "ID", text))
    text = re.sub(rf"\b{server.port}\b", "PORT", re.sub(rf"\b{server.port + 10000}\b", "BUS", text))
    return re.sub(r"nodes.*\.conf", "CONF", text)



@pytest.mark.larder
@pytest.mark.parametrize("protocol", [2, 3])
def test_alone_as_redis(protocol):
    with Cluster([clusters.node().start(), clusters.node(harness.REDIS_SERVER).start()]) as pair:
        answers = []
        for s in pair.servers:
            with s.wire(protocol=protocol) as w:
                mine = []
                for line in ALONE.strip().splitlines():
                    words = [w("CLUSTER", "MYID") if x == "me" else x for x in line.split()]
                    mine.append((line, neutral(w(*words), s)))
                answers.append(mine)
        differences = [(a, b) for a, b in zip(*answers) if a != b]
        assert not differences, "\n".join(f"{a}\n{b}" for a, b in differences)


def test_disabled(larder, redis_server):
    for command in (("CLUSTER", "INFO"), ("CLUSTER", "KEYSLOT", "a"), ("ASKING",), ("READONLY",), ("READWRITE",)):
        assert ask(larder, *command) == ask(redis_server, *command) == Error("ERR This instance has cluster support disabled")


def test_disabled_in_a_transaction(larder, redis_server):
    commands = ("MULTI",), ("SET", "k", 1), ("CLUSTER", "INFO"), ("ASKING",), ("CLUSTER", "KEYSLOT", "k"), ("EXEC",), ("GET", "k")
    answers = []
    for s in (larder, redis_server):
        with s.wire() as w:
            answers.append(w.pipeline(*commands))
    refused = Error("ERR This instance has cluster support disabled")
    assert answers[0] == answers[1] and answers[0][5:] == [["OK", refused, refused, refused], b"1"]


@pytest.mark.parametrize("binary", [harness.LARDER_SERVER, harness.REDIS_SERVER])
def test_watched_keys_are_looked_at_before(binary):
    """A transaction of nothing but CLUSTER subcommands is not run, either, when a watched key has changed or expired."""
    with Cluster([clusters.node(binary).start()]) as alone:
        assert ask(alone[0], "CLUSTER", "ADDSLOTSRANGE", 0, 16383) == "OK"
        alone.settle()
        with alone[0].wire() as w, alone[0].wire() as other:
            def transaction(change):
                assert w("WATCH", "k") == "OK"
                change()
                return w.pipeline(("MULTI",), ("CLUSTER", "BUMPEPOCH"), ("EXEC",))[-1]

            assert transaction(lambda: other("SET", "k", 1)) is None
            assert transaction(lambda: other("SET", "other", 1))[0].startswith(("BUMPED", "STILL"))
            assert transaction(lambda: other("DEL", "k")) is None
            assert other("SET", "k", 1, "PX", 50) == "OK"
            assert transaction(lambda: time.sleep(0.1)) is None
            assert transaction(lambda: None)[0].startswith(("BUMPED", "STILL"))


@pytest.mark.parametrize("theirs", [harness.LARDER_SERVER, harness.REDIS_SERVER])
def test_a_pair(theirs):
    """MEET, REPLICATE, FORGET between two kinds of node."""
    with Cluster([clusters.node().start(), clusters.node(theirs).start()]) as pair:
        ours, other = pair.servers
        assert ask(ours, "CLUSTER", "ADDSLOTSRANGE", 0, 16383) == "OK"
        assert ask(ours, "CLUSTER", "MEET", "127.0.0.1", other.port) == "OK"
        harness.wait_until(lambda: all(len(clusters.rows(s)) == 2 and not any("handshake" in r.flags for r in clusters.rows(s))
                                       for s in pair.servers), what="the nodes to know each other")
        harness.wait_until(lambda: clusters.row_of(other, ours).slots == ["0-16383"], what="the slots to be known")
        assert ask(other, "CLUSTER", "ADDSLOTS", 1) == Error("ERR Slot 1 is already busy")
        harness.wait_until(lambda: ask(ours, "SET", "k", "v") == "OK", what="the cluster to serve")
        assert ask(other, "CLUSTER", "REPLICATE", my_id(ours)) == "OK"
        pair.settle()
        harness.wait_until(lambda: ask(other, "DBSIZE") == 1, what="the key to arrive")
        assert ask(other, "CLUSTER", "FORGET", my_id(ours)) == Error("ERR Can't forget my master!")
        assert str(ask(ours, "CLUSTER", "REPLICATE", my_id(other))).startswith("ERR")
        for line in (("SETSLOT", 1, "STABLE"), ("RESET", "FOO")):
            assert isinstance(ask(other, "CLUSTER", *line), Error)
        harness.wait_until(lambda: len(ask(ours, "CLUSTER", "SLOTS")[0]) == 4, what="the replica to be listed")
        slots = ask(ours, "CLUSTER", "SLOTS")
        assert [slots[0][2][1], slots[0][3][1]] == [ours.port, other.port]
        lines = ask(ours, "CLUSTER", "REPLICAS", my_id(ours))
        assert len(lines) == 1 and lines[0].decode().startswith(my_id(other))
        harness.wait_until(lambda: len(ask(ours, "CLUSTER", "LINKS")) == 2, what="a link each way")
        # A replica leaves: it is empty and free.
        assert ask(other, "CLUSTER", "RESET", "HARD") == "OK"
        assert ask(other, "DBSIZE") == 0
        assert len(clusters.rows(other)) == 1


def sources_of_links_to(server):
    """The addresses that bus links to this node come from; the kernel's list of sockets is the witness."""
    ends = [line.split()[1:4] for line in open("/proc/net/tcp", encoding="ascii")][1:]
    bus = f":{server.port + 10000:04X}"
    return {source.split(":")[0] for source, to, state in ends if to.endswith(bus) and state == "01"}


def test_the_bus_comes_from_where_it_is_told_to():
    own = {"cluster-announce-ip": "127.0.0.1"}
    with Cluster([clusters.node(extra={**own, "bind-source-addr": "127.0.0.9"}).start(), clusters.node(extra=own).start()]) as pair:
        told, other = pair.servers
        assert ask(told, "CLUSTER", "MEET", "127.0.0.1", str(other.port)) == "OK"
        harness.wait_until(lambda: sources_of_links_to(other) == {"0900007F"}, what="a link from 127.0.0.9")
        harness.wait_until(lambda: sources_of_links_to(told) == {"0100007F"}, what="a link from 127.0.0.1")
        assert ask(other, "CONFIG", "SET", "bind-source-addr", "127.0.0.8") == "OK"
        assert ask(other, "CLUSTER", "FORGET", my_id(told)) == "OK"
        harness.wait_until(lambda: not sources_of_links_to(told), what="the end of the link")
        assert ask(other, "CLUSTER", "MEET", "127.0.0.1", str(told.port)) == "OK"
        harness.wait_until(lambda: sources_of_links_to(told) == {"0800007F"}, what="a link from 127.0.0.8")


def endpoints(binary, protocol):
    """What two nodes, of which one has a name, tell clients about each other, by every kind of endpoint."""
    with Cluster([clusters.node(binary, {"cluster-announce-hostname": name}).start() for name in ("one.example.org", "")]) as pair:
        one, two = pair.servers
        ask(one, "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        ask(two, "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        ask(one, "CLUSTER", "SET-CONFIG-EPOCH", 1)
        ask(two, "CLUSTER", "MEET", "127.0.0.1", one.port)
        pair.settle()
        harness.wait_until(lambda: "one.example.org" in ask(two, "CLUSTER", "NODES"), what="the name to be known")
        told = []
        for kind in ("ip", "hostname", "unknown-endpoint"):
            for s, key, slot in ((one, "hello", 866), (two, "foo", 12182)):
                other = two if s is one else one
                assert ask(s, "CONFIG", "SET", "cluster-preferred-endpoint-type", kind) == "OK"
                assert ask(s, "CLUSTER", "SETSLOT", slot, "MIGRATING", my_id(other)) == "OK"
                with s.wire(protocol=protocol) as w:
                    harness.wait_until(lambda: w("GET", key).startswith("ASK"), what="the view")
                    answers = w("GET", "foo" if s is one else "hello"), w("GET", key), w("CLUSTER", "SLOTS"), sorted(w("CLUSTER", "SHARDS"), key=str)
                assert ask(s, "CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
                told.append((kind, neutral(neutral(answers, one), two)))
        return told


@pytest.mark.larder
@pytest.mark.parametrize("protocol", [2, 3])
def test_endpoints_as_redis(protocol):
    ours, theirs = endpoints(harness.LARDER_SERVER, protocol), endpoints(harness.REDIS_SERVER, protocol)
    assert re.sub(r"replication-offset', \d+", "", str(ours)) == re.sub(r"replication-offset', \d+", "", str(theirs))
    assert "MOVED 12182 ?:PORT" in str(ours) and "MOVED 866 one.example.org:PORT" in str(ours) and "ASK 866 :PORT" in str(ours)
