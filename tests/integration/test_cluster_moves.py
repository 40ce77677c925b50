"""`larder cluster` interrupted while slots move, and with passwords."""

import os
import pty
import signal
import subprocess

import pytest
from redis.crc import key_slot

import clusters
import harness
from clusters import Cluster, address, larder, my_id, row_of
from liblarder import CLOSE, Peer

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


def whole(server):
    """How the moves away from here ended that CLUSTER MIGRATESLOTS did."""
    with server.wire() as w:
        w("AUTH", "secret")
        rows = [dict(zip(m[::2], m[1::2])) for m in w("CLUSTER", "GETSLOTMIGRATIONS")]
    return [m[b"state"].decode() for m in rows if m[b"operation"] == b"EXPORT"]


def three(extra=None, binaries=(NODE,) * 3):
    """Two primaries that have the slots and some keys, and one that has joined."""
    c = Cluster([clusters.node(b, extra).start() for b in binaries])
    larder("create", *map(address, c.servers[:2]), "--yes")
    c.put(300) if not extra else fill(c[0])  # pylint: disable=expression-not-assigned
    larder("add", address(c[2]), address(c[0]), "--yes")
    return c


def on_terminal(*args):
    """What it says there."""
    ours, its = pty.openpty()
    with subprocess.Popen([clusters.TOOL, "cluster", *args], stdin=subprocess.DEVNULL, stdout=its, stderr=its) as run:
        os.close(its)
        said = b""
        try:
            while data := os.read(ours, 4096):
                said += data
        except OSError:  # its end
            pass
        os.close(ours)
    assert run.returncode == 0, said
    return said.decode()


def test_slots_move_whole_between_larder_nodes():
    with three() as c:
        weight = "--weight", f"{address(c[2])}=0.1"
        said = larder("rebalance", address(c[0]), *weight, "--dry-run")
        assert "+780" in said and whole(c[0]) == [] and row_of(c[0], c[2]).slots == []
        said = larder("rebalance", address(c[0]), *weight, "--yes")
        assert "780 of 780 slots moved" in said and "one by one" not in said
        assert whole(c[0]) == ["success"] * 2 == whole(c[1])  # 390 slots each, 256 at a time
        c.check_keys(300)  # everybody knows already
        said = on_terminal("remove", address(c[0]), address(c[2]), "--yes")
        assert "780 of 780 slots moved" in said and "has left" in said and whole(c[2]) == ["success"] * 4
        frames = [f for f in said.split("\r") if f.startswith("[")]
        assert frames[0].endswith("0 of 780 slots ") and all(" s to go" in f for f in frames[1:]) and len(frames) > 4
        c.settle_without(c[2])
        c.check_keys(300)


def test_slots_to_and_from_redis_move_one_by_one():
    with three(binaries=(NODE, NODE, "/usr/bin/redis-server")) as c:
        said = larder("rebalance", address(c[0]), "--weight", f"{address(c[2])}=0.02", "--yes")
        assert "162 of 162 slots moved" in said and "one by one" not in said
        assert whole(c[0]) == [] == whole(c[1])
        c.settle()
        c.check_keys(300)
        larder("rebalance", address(c[0]), "--weight", f"{address(c[2])}=0", "--yes")
        c.settle()
        c.check_keys(300)


def test_what_cannot_move_whole_moves_one_by_one():
    """Nodes that cannot log in to each other."""
    with three() as c:
        assert "162 of 162 slots moved" in larder("rebalance", address(c[0]), "--weight", f"{address(c[2])}=0.02", "--yes")
        assert whole(c[0]) == ["success"] == whole(c[1])
        for s in c.servers:
            clusters.ask(s, "CONFIG", "SET", "requirepass", "secret")
        said = larder("rebalance", address(c[0]), "--weight", f"{address(c[2])}=0", "--yes", "--password", "secret")
        assert "162 of 162 slots moved" in said and said.count("do not move whole") == 2 and "unauthenticated" in said


def tag_of(slot):
    return next("{%d}" % i for i in range(1000000) if key_slot(b"%d" % i) == slot)


def cut(slot, source, target):
    """As if a run had been killed while it moved the slot one by one: two of its four keys are at the target."""
    keys = [f"{tag_of(slot)}:{i}" for i in range(4)]
    for key in keys:
        assert clusters.ask(source, "SET", key, key) == "OK"
    assert clusters.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(source)) == "OK"
    assert clusters.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", my_id(target)) == "OK"
    assert clusters.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 60000, "KEYS", *keys[:2]) == "OK"


def keys_in(c, slot):
    return [clusters.ask(s, "CLUSTER", "COUNTKEYSINSLOT", slot) for s in c.servers]


def none_is_open(c):
    return not any("[" in " ".join(row_of(s, s).slots) for s in c.servers)


def test_a_slot_that_was_cut_goes_first_to_where_it_went():
    """And not to where the next run would have it, which would leave keys behind."""
    with three() as c:
        cut(0, c[0], c[1])
        assert "1 slots are half moved" in larder("status", address(c[2]))
        command = "rebalance", address(c[2]), "--weight", f"{address(c[2])}=0.02"
        assert "1 slots were left half moved" in larder(*command, "--dry-run")
        assert keys_in(c, 0) == [2, 2, 0]
        assert "1 slots were left half moved" in larder(*command, "--yes")
        assert sorted(keys_in(c, 0)) == [0, 0, 4] and none_is_open(c)
        c.settle()
        assert clusters.ask(c.owner_of(tag_of(0)), "CLUSTER", "COUNTKEYSINSLOT", 0) == 4
        # Its target leaves.
        slot = int(row_of(c[0], c[0]).slots[-1].split("-")[-1])
        cut(slot, c[0], c[2])
        assert "1 slots were left half moved" in larder("remove", address(c[0]), address(c[2]), "--yes")
        c.settle_without(c[2])
        assert sorted(keys_in(c, slot)) == [0, 4]
        assert clusters.ask(c.owner_of(tag_of(slot)), "CLUSTER", "COUNTKEYSINSLOT", slot) == 4
        assert len(c.alive()) == 2 and none_is_open(c)


def test_a_slot_that_is_open_for_nothing_is_closed():
    with three() as c:
        command = "rebalance", address(c[0]), "--weight", f"{address(c[2])}=0"
        clusters.ask(c[2], "CLUSTER", "SETSLOT", 7, "IMPORTING", my_id(c[0]))
        assert "closed first" in larder(*command, "--dry-run") and not none_is_open(c)
        larder(*command, "--yes")
        assert none_is_open(c) and whole(c[0]) == []
        assert "Every primary has its share" in larder(*command, "--yes")
        # Keys at a node that their owner does not send them to: nobody but the operator knows why.
        cut(7, c[0], c[1])
        clusters.ask(c[0], "CLUSTER", "SETSLOT", 7, "MIGRATING", my_id(c[2]))
        assert "--cluster fix" in larder(*command, "--yes", code=1)
        assert keys_in(c, 7) == [2, 2, 0]
        # Its owner has forgotten it, as a replica that took over does not know it: where its keys went tells where to go on.
        clusters.ask(c[0], "CLUSTER", "SETSLOT", 7, "STABLE")
        assert "1 slots were left half moved" in larder(*command, "--yes")
        assert sorted(keys_in(c, 7)) == [0, 0, 4] and none_is_open(c)
        c.settle()
        c.check_keys(300)


def test_a_run_that_was_killed_is_waited_for():
    with three() as c:
        tag = tag_of(0)
        with c[0].wire() as w:
            for at in range(0, 200000, 1000):
                assert w.pipeline(*(("SET", f"{tag}:{i}", "x" * 100) for i in range(at, at + 1000))) == ["OK"] * 1000
        weight = "--weight", f"{address(c[2])}=0.02"
        command = [clusters.TOOL, "cluster", "rebalance", address(c[0]), "--yes", *weight]
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        harness.wait_until(lambda: whole(c[0]) != [], every=0.001, what="the first move to begin")
        run.kill()
        run.wait()
        larder("rebalance", address(c[0]), *weight, "--yes")
        assert row_of(c[0], c[2]).slot_count() == 162 and set(whole(c[0])) == {"success"}
        assert clusters.ask(c[2], "CLUSTER", "COUNTKEYSINSLOT", 0) == 200000
        # Called off by Ctrl-C, whole.
        command[-1] = f"{address(c[2])}=0"
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        harness.wait_until(lambda: whole(c[2]) != [], every=0.001, what="the first move to begin")
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=240)
        assert run.returncode == 0 or (run.returncode == 130 and "run the same command again" in err)
        c.settle()
        assert sum(clusters.ask(s, "CLUSTER", "COUNTKEYSINSLOT", 0) for s in c.servers) >= 200000
        larder("rebalance", address(c[0]), "--weight", f"{address(c[2])}=0", "--yes")
        c.settle()
        assert row_of(c[0], c[2]).slots == []
        c.check_keys(300)


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())


class Pair:
    """Two nodes that pretend to be larder, of which the first has all slots. `answer(pair, node, argv)` answers what is about moving."""

    def __init__(self, answer):
        self.answer, self.begun, self.moved, self.asked = answer, [], False, []
        self.peers = [Peer(lambda argv, i=i: self.say(i, argv)) for i in range(2)]

    def nodes(self, me):
        here, at = [], 0
        for first, last in self.begun if self.moved else []:
            here += [f"{at}-{first - 1}"] if at < first else []
            at = last + 1
        slots = [here + [f"{at}-16383"], [f"{a}-{b}" for a, b in self.begun] if self.moved else []]
        return "".join(f"{'ab'[i] * 40} 127.0.0.1:{p.port}@1 {'myself,' * (i == me)}master - 0 0 {i + 1} connected {' '.join(slots[i])}".strip() + "\n"
                       for i, p in enumerate(self.peers))

    def say(self, i, argv):
        if argv[0] != "CLUSTER":
            return b":0\r\n" if argv[0] == "DBSIZE" else bulk("larder_version:1\r\nused_memory_human:1M\r\n")
        if argv[1] in ("NODES", "INFO"):
            return bulk(self.nodes(i) if argv[1] == "NODES" else "cluster_state:ok\r\n")
        self.asked.append(argv[1])
        if argv[1] == "MIGRATESLOTS":
            numbers = [int(x) for x in argv[3:-2]]
            self.begun = list(zip(numbers[::2], numbers[1::2]))
        return self.answer(self, i, argv)

    def move(self, operation, state):
        """GETSLOTMIGRATIONS' reply."""
        words = "operation", operation, "slot_ranges", " ".join(f"{a}-{b}" for a, b in self.begun), "source_node", "a" * 40, "target_node", "b" * 40, "state", state
        return b"*1\r\n*%d\r\n" % len(words) + b"".join(map(bulk, words))

    def rebalance(self, code=0):
        with self.peers[0], self.peers[1]:
            return larder("rebalance", self.peers[0].address, "--weight", f"{self.peers[1].address}=0.02", "--yes", code=code)


def test_slots_that_are_under_way_are_waited_for():
    """By another run, or by this one, whose reply was lost."""
    for refusal in (b"-ERR I am already migrating slot 0.\r\n", CLOSE):
        def answer(pair, i, argv, refusal=refusal):
            if argv[1] == "MIGRATESLOTS":
                return refusal
            if argv[1] != "GETSLOTMIGRATIONS":
                return b"-ERR not by hand\r\n"
            pair.moved = pair.asked.count("GETSLOTMIGRATIONS") > 7
            return b"*0\r\n" if not pair.begun else pair.move(("EXPORT", "IMPORT")[i], "success" if pair.moved else "snapshotting")

        pair = Pair(answer)
        said = pair.rebalance()
        assert "slots moved" in said and "one by one" not in said and "SETSLOT" not in pair.asked


def test_a_source_that_does_not_say_what_it_moves_ends_the_run():
    def answer(pair, i, argv):
        if argv[1] == "MIGRATESLOTS":
            return b"+OK\r\n"
        return CLOSE if pair.begun or argv[1] != "GETSLOTMIGRATIONS" else b"*0\r\n"

    pair = Pair(answer)
    assert "does not say which slots it moves" in pair.rebalance(code=1)
    assert "SETSLOT" not in pair.asked and pair.asked.count("MIGRATESLOTS") == 1


def test_what_fails_moves_one_by_one_when_the_target_has_cleaned_up():
    def answer(pair, i, argv):
        if argv[1] == "MIGRATESLOTS":
            return b"+OK\r\n"
        if argv[1] != "GETSLOTMIGRATIONS":
            return b"-ERR here it ends\r\n"
        cleans = "SETSLOT" not in pair.asked and pair.asked.count("GETSLOTMIGRATIONS") < 12
        return b"*0\r\n" if not pair.begun else pair.move("IMPORT", "cleaning-up" if cleans else "failed") if i == 1 else pair.move("EXPORT", "failed")

    pair = Pair(answer)
    assert "here it ends" in pair.rebalance(code=1)
    assert pair.asked.index("SETSLOT") >= 12
