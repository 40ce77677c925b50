"""CLUSTER MIGRATESLOTS: slots change hands at one moment, under load, and whatever fails leaves one owner with everything."""

import contextlib
import os
import re
import shutil
import signal
import threading
import time

import pytest
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

import clusters
import harness
from clusters import Cluster, ask, my_id, row_of
from slot_moves import begin, migrations, move, one, outcome
from wire import Error, encode

NODE = harness.LARDER_SERVER
NAME = "0123456789" * 4


@pytest.fixture(scope="module")
def cluster():
    """Of patient nodes, so that none is held for failed because the disk is busy."""
    with Cluster.create([NODE] * 6, replicas=1, extra={"cluster-node-timeout": 15000}) as c:
        c.put(300)
        yield c


def first_range(server):
    """Some slots that it owns."""
    first, _, last = row_of(server, server).slots[0].partition("-")
    return int(first), min(int(last or first), int(first) + 2000)


class Load(threading.Thread):
    """Counts up counters, and remembers how far each was acknowledged."""

    def __init__(self, cluster, keys):
        super().__init__(daemon=True)
        self.client = RedisCluster(startup_nodes=[ClusterNode(*s.address()) for s in cluster.alive()], cluster_error_retry_attempts=60)
        self.keys, self.counts, self.errors, self.halt, self.turns = keys, dict.fromkeys(keys, 0), [], threading.Event(), 0

    def run(self):
        while not self.halt.is_set():
            for key in self.keys:
                try:
                    got = self.client.incr(key)
                except Exception as e:  # pylint: disable=broad-except
                    self.errors.append(repr(e))
                    return
                if got != self.counts[key] + 1:
                    self.errors.append(f"{key}: {got} follows {self.counts[key]}")
                    return
                self.counts[key] = got
            self.turns += 1

    def some_turns(self):
        turns = self.turns
        harness.wait_until(lambda: self.turns > turns + 2 or self.errors, what="the load to go on")

    def stop(self):
        self.halt.set()
        self.join(60)
        return self.errors


def refused(server, *words):
    reply = ask(server, "CLUSTER", "MIGRATESLOTS", *words)
    assert isinstance(reply, Error), reply
    return str(reply)


def test_arguments(cluster):
    s, t = cluster.primaries()[:2]
    first, _ = first_range(s)
    other, _ = first_range(t)
    here, there = my_id(s), my_id(t)
    assert "wrong number of arguments" in refused(s, "SLOTSRANGE", first, first, "NODE")
    assert refused(s, "SLOTS", first, first, "NODE", there) == "ERR syntax error"
    assert refused(s, "SLOTSRANGE", "x", first, "NODE", there) == "ERR No slot ranges specified"
    assert refused(s, "SLOTSRANGE", first, 16384, "NODE", there) == "ERR Invalid or out of range slot"
    assert refused(s, "SLOTSRANGE", first + 1, first, "NODE", there) == f"ERR Start slot number {first + 1} is greater than end slot number {first}."
    assert "overlaps with previous range" in refused(s, "SLOTSRANGE", first, first + 2, first + 1, first + 3, "NODE", there)
    assert refused(s, "SLOTSRANGE", first, first, other, other, "NODE", there) == "ERR Requested slots span multiple shards"
    assert refused(s, "SLOTSRANGE", other, other, "NODE", there) == "ERR Slots are not served by this node."
    assert refused(s, "SLOTSRANGE", first, first, "NODE", here) == "ERR Target node can not be this node."
    assert refused(s, "SLOTSRANGE", first, first, "NODE", "f" * 40) == "ERR Unknown node name: " + "f" * 40
    assert refused(s, "SLOTSRANGE", first, first, "NODE", "nobody") == "ERR Invalid node name: nobody"
    assert refused(s, "SLOTSRANGE", first, first, "NODE", there, "SLOTSRANGE", first, first, "NODE", there) == "ERR Slot ranges in migrations overlap"
    assert "primary" in refused(s, "SLOTSRANGE", first, first, "NODE", my_id(cluster.replica_of(t)))
    assert "primary" in refused(cluster.replica_of(s), "SLOTSRANGE", first, first, "NODE", there)
    assert ask(s, "CLUSTER", "CANCELSLOTMIGRATIONS") == "ERR No migrations ongoing"
    assert migrations(s) == []


def test_slots_move_under_load(cluster):
    source, target = cluster.primaries()[:2]
    first, last = first_range(source)
    moved = [f"c:{i}" for i in range(4000) if first <= key_slot(b"c:%d" % i) <= last][:20]
    load = Load(cluster, moved + [f"d:{i}" for i in range(20)])
    load.start()
    load.some_turns()
    m = move(source, target, (first, last))
    load.some_turns()
    assert load.stop() == []
    assert m["operation"] == "EXPORT" and m["slot_ranges"] == f"{first}-{last}" and m["target_node"] == my_id(target)
    assert one(target, m["name"])["state"] == "success" and one(target, m["name"])["operation"] == "IMPORT"
    for key in load.counts:
        assert int(load.client.get(key)) == load.counts[key]
    assert all(cluster.owner_of(key) is target for key in moved)
    cluster.settle()
    cluster.check_keys(300)
    replica = cluster.replica_of(target)
    with replica.wire() as w:
        w("READONLY")
        harness.wait_until(lambda: [w("GET", k) for k in moved] == [b"%d" % load.counts[k] for k in moved], what="the target's replica")
    for node in (source, cluster.replica_of(source)):
        harness.wait_until(lambda n=node: all(ask(n, "CLUSTER", "COUNTKEYSINSLOT", key_slot(k.encode())) == 0 for k in moved), what="the source to be empty")


MEMBERS = 100000


class LongLoad(threading.Thread):
    """Transactions that are so long that the lane runs them, until the slot is elsewhere, or `halt`."""

    def __init__(self, server, tag):
        super().__init__(daemon=True)
        self.server, self.tag, self.done, self.said, self.halt = server, tag, 0, None, False

    def fill(self):
        with self.server.wire() as w:
            for at in range(0, MEMBERS, 10000):
                assert w("SADD", self.tag + "s", *range(at, at + 10000)) == 10000

    def run(self):
        with self.server.wire() as w:
            while self.said is None and not self.halt:
                replies = w.pipeline(("MULTI",), ("INCR", self.tag), ("SINTERCARD", 2, self.tag + "s", self.tag + "s"), ("EXEC",))
                errors = [r for r in replies if isinstance(r, Error)]
                if errors:
                    self.said = errors[0]
                else:
                    self.done += 1
                    assert replies[-1] == [self.done, MEMBERS], replies


def test_long_commands_wait_like_short_ones(cluster):
    """Whose turn on the lane comes while the slot is handed over is neither refused nor lost."""
    source, target = cluster.primaries()[:2]
    first, last = first_range(source)
    tags = [t for t in ("{long:%d}" % i for i in range(1000)) if first <= key_slot(t.strip("{}").encode()) <= last]
    for _ in range(3):
        load, *others = [LongLoad(source, t) for t in tags[:9]]  # the lane has one of the others before nearly each of the load
        for x in (load, *others):
            x.fill()
            x.start()
        harness.wait_until(lambda all_=(load, *others): all(x.done > 1 for x in all_), what="the load to begin")
        slot = key_slot(load.tag.strip("{}").encode())
        move(source, target, (slot, slot))
        for x in others:
            x.halt = True
        for x in (load, *others):
            x.join(120)
        assert str(load.said).startswith("MOVED") and {x.said for x in others} == {None}
        assert ask(target, "GET", load.tag) == str(load.done)
        ask(target, "DEL", load.tag, load.tag + "s")
        for x in others:
            ask(source, "DEL", x.tag, x.tag + "s")
        move(target, source, (slot, slot))
        cluster.settle()


def test_keys_on_their_way_are_hidden(cluster):
    source, target = cluster.primaries()[:2]
    first, _ = first_range(source)
    slot = next(s for s in range(first, first + 1000) if ask(source, "CLUSTER", "COUNTKEYSINSLOT", s) == 0)
    key = next(f"h:{i}" for i in range(200000) if key_slot(b"h:%d" % i) == slot)
    value = b"\x00\x01v\x0a\x00"
    with source.wire() as w:
        w("SET", key, "v")
        value = w("DUMP", key)
    before = ask(target, "DBSIZE")
    with target.wire() as w:
        assert w("CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", my_id(source), "NAME", NAME, "SLOTSRANGE", slot, slot) == "OK"
        assert w("RESTORE", key, 0, value) == "OK"
        assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 1
        assert ask(target, "DBSIZE") == before
        with target.wire() as other:
            assert other("KEYS", key) == []
            assert str(other("GET", key)).startswith("MOVED")
            assert str(other("RESTORE", key, 0, value, "REPLACE")).startswith("MOVED")
            seen, cursor = [], b"0"
            while True:
                cursor, found = other("SCAN", cursor, "COUNT", 1000)
                seen += found
                if cursor == b"0":
                    break
            assert key.encode() not in seen
            assert "already" in str(other("CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", my_id(source), "NAME", NAME, "SLOTSRANGE", slot, slot))
            mine, keys = first_range(target)[0], ask(target, "DBSIZE")
            assert "this node" in str(other("CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", my_id(target), "NAME", NAME, "SLOTSRANGE", mine, mine))
            assert ask(target, "DBSIZE") == keys
            assert str(other("CLUSTER", "SYNCSLOTS", "TAKE", 1)) == "ERR No such slot migration job"
        assert isinstance(w("CLUSTER", "SYNCSLOTS", "TAKE", 1), Error)  # an epoch of long ago
    assert "failed" == outcome(target, NAME)["state"]
    assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0 and ask(target, "DBSIZE") == before
    assert ask(source, "GET", key) == "v"
    ask(source, "DEL", key)


def test_what_the_cache_knows_goes_along(cluster):
    source, target = cluster.primaries()[:2]
    first, last = first_range(source)
    key = next(f"e:{i}" for i in range(4000) if first <= key_slot(b"e:%d" % i) <= last)
    slot = key_slot(key.encode())
    with source.wire() as w:
        assert w("CACHE.SET", key, "v", "EX", 1000, "VERSION", 7, "TAGS", 1, "t") == "OK"
    move(source, target, (slot, slot))
    with target.wire() as w:
        assert w("GET", key) == b"v"
        assert "OLDVERSION" in str(harness.wait_until(lambda: w("CACHE.SET", key, "old", "VERSION", 6), what="an answer"))
        w("CACHE.PURGE", "TAG", "t")
        harness.wait_until(lambda: w("GET", key) is None, what="the purge")


def stuck(source, target, first, last):
    """A move whose target takes no writes: it has begun, and does not end."""
    assert ask(target, "CLIENT", "PAUSE", 100000, "WRITE") == "OK"
    name = begin(source, target, (first, last))
    harness.wait_until(lambda: one(source, name)["state"] == "snapshotting", what="the copy")
    return name


def test_who_waits_for_a_lease_is_answered_though_its_slot_is_held(cluster):
    """The time of some of them ends in the milliseconds in which clients of the slot are held."""
    source, target = cluster.primaries()[:2]
    first, last = first_range(source)
    key = next(k for k in ("lease:%d" % i for i in range(1000)) if first <= key_slot(k.encode()) <= last)
    slot = key_slot(key.encode())
    waiters = [source.wire() for _ in range(200)]
    assert ask(source, "CACHE.GET", key, "LEASE", 60000)
    for i, w in enumerate(waiters):
        w.send(encode("CACHE.GET", key, "LEASE", 60000, "WAIT", 2 * i + 1) + encode("PING"))
    move(source, target, (slot, slot))
    for w in waiters:
        answer, pong = w.read(), w.read()
        assert answer != "PONG" and pong == "PONG"
        w.close()
    move(target, source, (slot, slot))
    cluster.settle()


def with_keys(server):
    """A slot of it that has keys."""
    first, last = first_range(server)
    return next(s for s in range(first, last) if ask(server, "CLUSTER", "COUNTKEYSINSLOT", s) > 0)


def test_cancelled(cluster):
    source, target = cluster.primaries()[:2]
    slot = with_keys(source)
    name = stuck(source, target, slot, slot)
    assert f"ERR I am already migrating slot {slot}." == refused(source, "SLOTSRANGE", slot, slot, "NODE", my_id(target))
    assert ask(source, "CLUSTER", "CANCELSLOTMIGRATIONS") == "OK"
    assert outcome(source, name)["state"] == "cancelled"
    assert ask(target, "CLIENT", "UNPAUSE") == "OK"
    assert outcome(target, name)["state"] == "failed"
    assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0
    cluster.check_keys(300)


def test_what_moves_whole_is_not_moved_by_hand(cluster):
    """MIGRATE would take a key away that the move then deletes, SETSLOT NODE make the target an owner that empties the slot."""
    source, target = cluster.primaries()[:2]
    slot = with_keys(source)
    by_hand = [("MIGRATING", my_id(target)), ("IMPORTING", my_id(source)), ("NODE", my_id(target)), ("NODE", my_id(source))]
    keys = ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot)
    name = stuck(source, target, slot, slot)

    def assert_refused(server, word, where):
        for words in by_hand:
            reply = ask(server, "CLUSTER", "SETSLOT", slot, *words)
            assert isinstance(reply, Error) and str(reply).startswith(f"ERR Slot {slot} {word} by CLUSTER MIGRATESLOTS") and str(reply).endswith(where), reply

    assert_refused(source, "leaves", "CANCELSLOTMIGRATIONS here")
    assert_refused(target, "arrives", "CANCELSLOTMIGRATIONS on its source")
    assert ask(source, "CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
    assert ask(source, "CLUSTER", "CANCELSLOTMIGRATIONS") == "OK"
    assert outcome(source, name)["state"] == "cancelled"
    assert_refused(target, "arrives", "CANCELSLOTMIGRATIONS on its source")  # it takes no writes, so it has not cleaned up
    assert ask(target, "CLIENT", "UNPAUSE") == "OK"
    assert outcome(target, name)["state"] == "failed"
    # And the other way round: keys that MIGRATE has brought are nowhere else.
    assert ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(source)) == "OK"
    failed = outcome(source, begin(source, target, (slot, slot)))
    assert failed["state"] == "failed" and "importing by CLUSTER SETSLOT" in failed["message"]
    assert ask(target, "CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", my_id(target)) == "OK"
    assert "migrating by CLUSTER SETSLOT" in refused(source, "SLOTSRANGE", slot, slot, "NODE", my_id(target))
    assert ask(source, "CLUSTER", "SETSLOT", slot, "STABLE") == "OK"
    assert ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot) == keys
    cluster.check_keys(300)


def test_a_slot_that_the_target_owns_meanwhile_is_not_emptied(cluster):
    source, target = cluster.primaries()[:2]
    slot = first_range(source)[0]
    key = next(f"o:{i}" for i in range(1000000) if key_slot(b"o:%d" % i) == slot)
    name = NAME[::-1][:39] + "a"
    with source.wire() as w:
        w("SET", key, "v")
        value = w("DUMP", key)
        w("DEL", key)
    keys = ask(target, "DBSIZE")
    with target.wire() as w, target.wire() as other:
        assert w("CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", my_id(source), "NAME", name, "SLOTSRANGE", slot, slot) == "OK"
        assert w("RESTORE", key, 0, value) == "OK"
        assert ask(source, "CLUSTER", "DELSLOTS", slot) == "OK"
        assert other.pipeline(("MULTI",), ("CLUSTER", "DELSLOTS", slot), ("CLUSTER", "ADDSLOTS", slot), ("EXEC",))[-1] == ["OK", "OK"]
    assert outcome(target, name)["state"] == "failed"
    assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 1 and ask(target, "DBSIZE") == keys + 1
    cluster.settle()
    assert ask(target, "GET", key) == "v"
    ask(target, "DEL", key)
    move(target, source, (slot, slot))
    cluster.settle()


def test_nothing_is_written_while_writes_are_paused(cluster):
    """Who takes over waits for the offset that it was told: neither the notes for replicas nor what is deleted may add to it."""
    source, target = cluster.primaries()[:2]
    slot = next(s for s in range(first_range(source)[0], 16384) if ask(source, "CLUSTER", "COUNTKEYSINSLOT", s) == 0)
    key = next(f"p:{i}" for i in range(1000000) if key_slot(b"p:%d" % i) == slot)
    name = NAME[::-1][:39] + "b"

    def written():
        return int(re.search(r"master_repl_offset:(\d+)", ask(target, "INFO", "replication")).group(1))

    assert ask(target, "CONFIG", "SET", "repl-ping-replica-period", 3600) == "OK"
    with source.wire() as w:
        w("SET", key, "v")
        value = w("DUMP", key)
        w("DEL", key)
    with target.wire() as w:
        assert w("CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", my_id(source), "NAME", name, "SLOTSRANGE", slot, slot) == "OK"
        assert w("RESTORE", key, 0, value) == "OK"
        before = written()
        harness.wait_until(lambda: written() > before, what="a note to replicas")
        assert ask(target, "CLIENT", "PAUSE", 100000, "WRITE") == "OK"
        before = written()
        time.sleep(1.5)  # a note is said once a second
        assert written() == before
    harness.wait_until(lambda: one(target, name)["state"] == "cleaning-up", what="the target to see the end")
    assert f"Slot {slot} arrives" in str(ask(target, "CLUSTER", "SETSLOT", slot, "NODE", my_id(target)))
    time.sleep(0.5)
    assert written() == before and ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 1
    assert ask(target, "CLIENT", "UNPAUSE") == "OK"
    assert outcome(target, name)["state"] == "failed"
    assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0 and written() > before
    replica = cluster.replica_of(target)
    harness.wait_until(lambda: ask(replica, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0, what="the replica to hear of it")
    assert ask(target, "CONFIG", "SET", "repl-ping-replica-period", 10) == "OK"


def test_full_target(cluster):
    source, target = cluster.primaries()[:2]
    slot = with_keys(source)
    assert ask(target, "CONFIG", "SET", "maxmemory", 1) == "OK"
    m = outcome(source, begin(source, target, (slot, slot)))
    assert m["state"] == "failed" and "OOM" in m["message"]
    assert ask(target, "CONFIG", "SET", "maxmemory", 0) == "OK"
    outcome(target, m["name"])
    assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0
    cluster.check_keys(300)


def test_flushed(cluster):
    source, target = cluster.primaries()[:2]
    slot = with_keys(source)
    with target.wire() as w, target.wire() as other:
        assert w("CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", my_id(source), "NAME", NAME[::-1], "SLOTSRANGE", slot, slot) == "OK"
        assert other("FLUSHALL") == "OK"
        assert outcome(target, NAME[::-1])["state"] == "failed"
        assert isinstance(w("CLUSTER", "SYNCSLOTS", "TAKE", 1 << 40), Error)
    assert cluster.owner_of("x") is not None and alive_owner(cluster, slot) is source


def alive_owner(cluster, slot):
    """Who owns it, when all that live agree and the owner lives."""
    owners = set()
    for s in cluster.alive():
        for r in clusters.rows(s):
            for word in r.slots:
                first, _, last = word.partition("-")
                if word[0] != "[" and int(first) <= slot <= int(last or first):
                    owners.add(r.port)
    living = {s.port: s for s in cluster.alive()}
    return living.get(owners.pop()) if len(owners) == 1 else None


@pytest.fixture
def impatient(cluster):
    for s in cluster.alive():
        assert ask(s, "CONFIG", "SET", "cluster-node-timeout", clusters.NODE_TIMEOUT_MS) == "OK"
    return cluster


def test_killed_target(impatient):
    cluster = impatient
    source, target = cluster.primaries()[:2]
    slot = with_keys(source)
    keys = ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot)
    name = stuck(source, target, slot, slot)
    lost, _ = first_range(target)
    cluster.kill(target)
    assert outcome(source, name)["state"] == "failed"
    harness.wait_until(lambda: alive_owner(cluster, slot) is source, what="one owner")
    assert ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot) == keys
    harness.wait_until(lambda: alive_owner(cluster, lost) is not None, seconds=60, what="the failover")
    cluster.settle()


def test_killed_source(impatient):
    cluster = impatient
    source = cluster.primaries()[0]
    target = next(s for s in cluster.primaries() if s is not source and row_of(s, s).slots)
    slot = with_keys(source)
    keys = ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot)
    name = stuck(source, target, slot, slot)
    heir = cluster.replica_of(source)
    cluster.kill(source)
    harness.wait_until(lambda: alive_owner(cluster, slot) is heir, seconds=60, what="the replica to own it")
    assert ask(target, "CLIENT", "UNPAUSE") == "OK"
    assert outcome(target, name)["state"] == "failed"
    assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0
    assert ask(heir, "CLUSTER", "COUNTKEYSINSLOT", slot) == keys


def test_a_replica_that_takes_over_in_the_middle_drops_what_came():
    with Cluster.create([NODE] * 6, replicas=1) as c:
        source, target = c.primaries()[:2]
        replica = c.replica_of(target)
        slot, _ = first_range(source)
        tag = next("{%d}" % i for i in range(1000000) if key_slot(b"%d" % i) == slot)
        here, _ = first_range(target)
        mine = next(f"mine:{i}" for i in range(1000000) if key_slot(b"mine:%d" % i) == here)
        by_hand, _ = first_range(c.primaries()[2])
        theirs = next(f"theirs:{i}" for i in range(1000000) if key_slot(b"theirs:%d" % i) == by_hand)
        with source.wire() as w:
            for at in range(0, 200000, 1000):
                assert w.pipeline(*(("SET", f"{tag}:{i}", "x" * 200) for i in range(at, at + 1000))) == ["OK"] * 1000
        assert ask(target, "SET", mine, 1) == "OK"
        # What MIGRATE has brought is nowhere else, and stays.
        assert ask(target, "CLUSTER", "SETSLOT", by_hand, "IMPORTING", my_id(c.primaries()[2])) == "OK"
        with target.wire() as w:
            w("ASKING")
            assert w("SET", theirs, 1) == "OK"
        name = begin(source, target, (slot, slot))
        harness.wait_until(lambda: ask(replica, "CLUSTER", "COUNTKEYSINSLOT", slot) > 1000, every=0.001, what="the copy to be under way")
        c.kill(target)
        assert outcome(source, name)["state"] == "failed"
        harness.wait_until(lambda: "role:master" in ask(replica, "INFO", "replication"), what="the replica to take over")
        assert ask(replica, "DBSIZE") == 2  # at once
        harness.wait_until(lambda: ask(replica, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0, what="what came to go")
        assert ask(replica, "DBSIZE") == 2 and ask(replica, "GET", mine) == "1"
        assert ask(replica, "CLUSTER", "GETKEYSINSLOT", by_hand, 10) == [theirs.encode()]
        assert ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot) == 200000
        c.settle()
        move(source, replica, (slot, slot))
        assert ask(replica, "CLUSTER", "COUNTKEYSINSLOT", slot) == 200000


@contextlib.contextmanager
def given_and_not_served(journal=True):
    """A replica of the source is stopped and does not concede: the target waits for it with 100 keys of a slot.

    Without a journal: the target's promises are kept in nodes.conf."""
    with Cluster.create([NODE] * 3, extra={"cluster-node-timeout": 10000}) as c:
        source, target = c[0], c[1]
        replica = c.add(extra={"cluster-node-timeout": 10000})
        clusters.larder("add", clusters.address(replica), clusters.address(source), "--replica-of", clusters.address(source), "--yes")
        c.settle()
        slot, _ = first_range(source)
        tag = next("{%d}" % i for i in range(1000000) if key_slot(b"%d" % i) == slot)
        with source.wire() as w:
            assert w.pipeline(*(("SET", f"{tag}:{i}", i) for i in range(100))) == ["OK"] * 100
        harness.wait_until(lambda: ask(replica, "CLUSTER", "COUNTKEYSINSLOT", slot) == 100, what="the replica")
        if not journal:
            c.kill(target)
            os.unlink(os.path.join(target.dir, "nodes.conf.journal"))
            os.symlink("/dev/null", os.path.join(target.dir, "nodes.conf.journal"))  # which cannot be flushed
            target.killed = False
            target.start()
            c.settle()
        replica.process.send_signal(signal.SIGSTOP)
        name = begin(source, target, (slot, slot))
        assert outcome(source, name)["state"] == "success"
        assert one(target, name)["state"] == "failover-granted"
        yield c, source, target, replica, slot, tag


def test_what_was_given_and_not_served_comes_back_whole():
    """A target without replicas dies before it serves what it has claimed: nobody but the source has it."""
    with given_and_not_served() as (c, source, target, replica, slot, tag):
        assert ask(source, "DBSIZE") == 0 and ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot) == 100
        assert str(ask(source, "GET", f"{tag}:7")).startswith("MOVED")
        waiters = [target.wire() for _ in range(20)]  # for the slot; each tries once, not whenever the node has something to do
        for w in waiters:
            w.send(encode("GET", f"{tag}:7"))
        parked = lambda: int(re.search(r"larder_parked:(\d+)", ask(target, "INFO", "stats")).group(1))  # noqa: E731
        harness.wait_until(lambda: parked() >= 20, what="them to wait")
        for _ in range(100):
            assert ask(target, "PING") == "PONG"
        assert parked() <= 80
        c.kill(target)
        replica.process.send_signal(signal.SIGCONT)
        target.killed = False
        target.start()
        c.settle()
        assert alive_owner(c, slot) is source
        assert ask(source, "DBSIZE") == 100 and [ask(source, "GET", f"{tag}:{i}") for i in range(100)] == [str(i) for i in range(100)]
        assert ask(replica, "CLUSTER", "COUNTKEYSINSLOT", slot) == 100
        move(source, target, (slot, slot))
        for node in (source, replica):
            harness.wait_until(lambda n=node: ask(n, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0, what="what is served elsewhere to go")
        assert ask(target, "DBSIZE") == 100 and ask(target, "GET", f"{tag}:7") == "7"


def has_saved_all(target, source):
    """Nothing of what it has heard since its claim is still to be written."""
    with open(os.path.join(target.dir, "nodes.conf"), encoding="ascii") as f:
        words = f.read().splitlines()[-1].split(" ")[1:]
    said = dict(zip(words[::2], words[1::2]))
    return said["larderDataEpoch"] == said["larderTakesIn"] and said["currentEpoch"] == clusters.info(source)["cluster_current_epoch"]


def test_what_came_is_served_before_the_file_says_so():
    """If the target is killed before that, it is the source's again, as it gave it."""
    with given_and_not_served(journal=False) as (c, source, target, replica, slot, tag):
        harness.wait_until(lambda: has_saved_all(target, source), what="the target's file")
        fresh = os.path.join(target.dir, "nodes.conf.new")
        os.mkfifo(fresh)  # who writes it waits until somebody reads
        replica.process.send_signal(signal.SIGCONT)
        assert ask(target, "GET", f"{tag}:7") == "7"
        assert ask(target, "SET", f"{tag}:7", "lost") == "OK"
        assert ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot) == 100
        c.kill(target)
        os.unlink(fresh)
        target.killed = False
        target.start()
        c.settle()
        assert alive_owner(c, slot) is source
        assert [ask(source, "GET", f"{tag}:{i}") for i in range(100)] == [str(i) for i in range(100)]


def start_again(server):
    server.killed = False
    server.start()
    harness.wait_until(lambda: clusters.info(server)["cluster_state"] == "ok", what="the snapshot to be loaded, and the node to serve")


def empty(server, *slots):
    harness.wait_until(lambda: all(ask(server, "CLUSTER", "COUNTKEYSINSLOT", s) == 0 for s in slots), what="the slots to be empty")


def test_a_target_restarted_from_a_snapshot_of_the_middle_keeps_nothing():
    with Cluster.create([NODE] * 3) as c:
        source, target = c[0], c[1]
        slot, mine = first_range(source)[0], first_range(target)[0]
        tag = next("{%d}" % i for i in range(1000000) if key_slot(b"%d" % i) == slot)
        own = next(f"own:{i}" for i in range(1000000) if key_slot(b"own:%d" % i) == mine)
        with source.wire() as w:
            for at in range(0, 100000, 1000):
                assert w.pipeline(*(("SET", f"{tag}:{i}", i) for i in range(at, at + 1000))) == ["OK"] * 1000
        assert ask(target, "SET", own, 1) == "OK"
        name = begin(source, target, (slot, slot))
        harness.wait_until(lambda: ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) > 1000, every=0.001, what="the copy to be under way")
        assert ask(target, "CLIENT", "PAUSE", 100000, "WRITE") == "OK"
        came = ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot)
        assert 1000 < came < 100000 and ask(target, "SAVE") == "OK"
        c.kill(target)
        assert outcome(source, name)["state"] == "failed"
        start_again(target)
        empty(target, slot)
        assert b"The snapshot has %d keys of 1 slots that belong to other nodes" % came in target.log()
        assert ask(target, "DBSIZE") == 1 and ask(target, "GET", own) == "1"
        move(source, target, (slot, slot))
        assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 100000
        assert all(ask(target, "GET", f"{tag}:{i}") == str(i) for i in range(0, 100000, 9973))
        empty(source, slot)


def taken_elsewhere(server, other):
    """The other's snapshot, in the place of its own."""
    assert ask(other, "SAVE") == "OK"
    shutil.copy(os.path.join(other.dir, "dump.rdb"), server.dir)


def test_a_snapshot_taken_elsewhere():
    with Cluster.create([NODE] * 3) as c:
        c.put(300)
        source, node = c[0], c[1]
        kept = with_keys(source)
        n = ask(source, "CLUSTER", "COUNTKEYSINSLOT", kept)
        assert ask(node, "CLUSTER", "SETSLOT", kept, "IMPORTING", my_id(source)) == "OK"
        c.kill(node)
        taken_elsewhere(node, source)
        start_again(node)
        # What SETSLOT IMPORTING has opened stays: MIGRATE may have brought it.
        harness.wait_until(lambda: ask(node, "DBSIZE") == n, what="the others to go")
        assert ask(node, "CLUSTER", "COUNTKEYSINSLOT", kept) == n
        assert b"are dropped" in node.log() and b"that no node has" not in node.log()
        assert ask(source, "DBSIZE") > n


def test_keys_of_slots_that_nobody_has():
    with Cluster.create([NODE] * 3) as c:
        c.put(300)
        stranger, slot = clusters.node(), with_keys(c[0])
        taken_elsewhere(stranger, c[0])
        stranger.start()
        keys = ask(c[0], "DBSIZE")
        harness.wait_until(lambda: ask(stranger, "DBSIZE") == keys and b"that no node has" in stranger.log(), what="the snapshot")
        assert ask(stranger, "CLUSTER", "ADDSLOTS", slot) == "OK"
        key = ask(stranger, "CLUSTER", "GETKEYSINSLOT", slot, 1)[0].decode()
        assert ask(stranger, "GET", key) == ask(c[0], "GET", key) or ask(stranger, "GET", key).startswith("CLUSTERDOWN")
        assert ask(stranger, "CLUSTER", "DELSLOTS", slot) == "OK"
        assert ask(stranger, "DBSIZE") == keys
        assert ask(stranger, "CLUSTER", "MEET", *c[0].address()) == "OK"
        c.servers.append(stranger)
        c.settle()
        harness.wait_until(lambda: ask(stranger, "DBSIZE") == 0, what="what belongs to others to go")
        empty(stranger, slot)
        c.check_keys(300)


def test_what_was_given_and_may_come_back_survives_a_restart_of_its_source():
    with given_and_not_served() as (c, source, target, replica, slot, tag):
        target.process.send_signal(signal.SIGSTOP)
        assert ask(source, "SAVE") == "OK"
        c.kill(source)
        replica.process.send_signal(signal.SIGCONT)
        source.killed = False
        source.start()
        harness.wait_until(lambda: clusters.info(source)["cluster_state"] == "ok", what="the source to serve")
        assert ask(source, "DBSIZE") == 0 and ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot) == 100
        c.kill(target)
        target.killed = False
        target.start()
        c.settle()
        assert alive_owner(c, slot) is source
        assert ask(source, "DBSIZE") == 100 and [ask(source, "GET", f"{tag}:{i}") for i in range(100)] == [str(i) for i in range(100)]


def test_after_a_restart_replicas_know_no_arrivals_of_before():
    with Cluster.create([NODE] * 6, replicas=1) as c:
        source, target = c.primaries()[:2]
        replica = c.replica_of(target)
        slot, mine = first_range(source)[0], first_range(target)[0]
        there, brought = (next(k for k in (f"{name}:{i}" for i in range(1000000)) if key_slot(k.encode()) == slot) for name in ("there", "brought"))
        own = next(f"own:{i}" for i in range(1000000) if key_slot(b"own:%d" % i) == mine)
        assert ask(target, "SET", own, 1) == "OK" and ask(source, "SET", there, 1) == "OK"
        name = stuck(source, target, slot, slot)
        assert ask(target, "SAVE") == "OK"
        c.kill(target)
        assert outcome(source, name)["state"] == "failed"
        start_again(target)
        assert "role:master" in ask(target, "INFO", "replication") and ask(target, "GET", own) == "1"
        assert ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(source)) == "OK"
        with target.wire() as w:
            w("ASKING")
            assert w("SET", brought, 1) == "OK"
        harness.wait_until(lambda: ask(replica, "CLUSTER", "COUNTKEYSINSLOT", slot) == 1, what="the replica")
        c.kill(target)
        harness.wait_until(lambda: "role:master" in ask(replica, "INFO", "replication"), what="the replica to take over")
        c.settle()
        assert ask(replica, "CLUSTER", "GETKEYSINSLOT", slot, 10) == [brought.encode()]
