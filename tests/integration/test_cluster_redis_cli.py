"""redis-cli 7.0.15 --cluster against six nodes: create, check, info, reshard, rebalance, add-node, del-node, fix, call."""

import re

import pytest

import clusters
import harness
from clusters import Cluster, address, ask, cli, my_id, row_of

KEYS = 500


@pytest.fixture(scope="module")
def cluster():
    # Redis's own node timeout: nobody is to be replaced here, also where a process does not run for seconds.
    with Cluster.create([harness.LARDER_SERVER] * 6, replicas=1, extra={"cluster-node-timeout": 15000}) as c:
        c.put(KEYS)
        yield c


def test_create_gives_everybody_a_part(cluster):
    for i, slots in enumerate(("0-5460", "5461-10922", "10923-16383")):
        row = row_of(cluster[0], cluster[i])
        assert row.slots == [slots] and "master" in row.flags
    assert all("slave" in row_of(cluster[0], cluster[i]).flags for i in (3, 4, 5))
    assert len({row_of(cluster[0], cluster[i]).primary for i in (3, 4, 5)}) == 3


def test_check_and_info(cluster):
    out = cli("check", address(cluster[4]))
    assert "[OK] All nodes agree about slots configuration." in out
    assert "[OK] All 16384 slots covered." in out
    out = cli("info", address(cluster[0]))
    assert f"[OK] {KEYS} keys in 3 masters." in out


def test_call(cluster):
    out = cli("call", address(cluster[0]), "PING")
    assert out.count("PONG") == 6
    out = cli("call", "--cluster-only-masters", address(cluster[0]), "DBSIZE")
    assert sum(int(n) for n in re.findall(r": (?:\(integer\) )?(\d+)$", out, re.M)) == KEYS


def test_reshard_moves_keys(cluster):
    source, target = cluster[0], cluster[1]
    cli("reshard", address(source), "--cluster-from", my_id(source), "--cluster-to", my_id(target),
        "--cluster-slots", 300, "--cluster-yes")
    cluster.settle()
    assert "300-5460" in row_of(cluster[2], source).slots
    cluster.check_keys(KEYS)
    assert "[OK] All 16384 slots covered." in cli("check", address(source))


def test_rebalance_evens_out(cluster):
    cli("rebalance", address(cluster[0]), "--cluster-threshold", 1)
    cluster.settle()
    counts = [int(n) for n in re.findall(r"\| (\d+) slots", cli("info", address(cluster[0])))]
    assert sum(counts) == 16384 and max(counts) - min(counts) <= 2 * 164
    cluster.check_keys(KEYS)


def test_nodes_come_and_go(cluster):
    primary = cluster.add()
    cli("add-node", address(primary), address(cluster[0]))
    cluster.settle()
    replica = cluster.add()
    cli("add-node", address(replica), address(cluster[0]), "--cluster-slave", "--cluster-master-id", my_id(primary))
    cluster.settle()
    assert row_of(cluster[0], replica).primary == my_id(primary)
    # A small share of them: however many slots move, they move one by one.
    cli("rebalance", address(cluster[0]), "--cluster-use-empty-masters", "--cluster-weight", f"{my_id(primary)}=0.1")
    cluster.settle()
    assert row_of(cluster[0], primary).slots != []
    cluster.check_keys(KEYS)
    # Its slots go to another, then it leaves.
    slots = row_of(cluster[0], primary).slot_count()
    assert 500 < slots < 560
    cli("reshard", address(cluster[0]), "--cluster-from", my_id(primary), "--cluster-to", my_id(cluster[2]),
        "--cluster-slots", slots, "--cluster-yes")
    cluster.settle()
    cluster.check_keys(KEYS)
    for gone in (replica, primary):
        cli("del-node", address(cluster[0]), my_id(gone))
    harness.wait_until(lambda: all(len(clusters.rows(s)) == 6 for s in cluster.servers[:6]), what="everybody to forget both")
    for gone in (replica, primary):
        cluster.servers.remove(gone)
        trouble = gone.close() if not harness.is_redis(gone.binary) else gone.kill(9)
        assert not isinstance(trouble, str)
    cluster.settle()


def test_fix_ends_a_migration_that_was_cut(cluster):
    source = cluster.owner_of("key:1")
    target = next(s for s in cluster.primaries() if s is not source)
    slot = ask(source, "CLUSTER", "KEYSLOT", "key:1")
    assert ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(source)) == "OK"
    assert ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", my_id(target)) == "OK"
    assert "[WARNING]" in cli("check", address(source), check=False)
    cli("fix", address(source))
    cluster.settle()
    assert "[OK] All 16384 slots covered." in cli("check", address(source))
    cluster.check_keys(KEYS)


def test_fix_covers_slots_that_nobody_has(cluster):
    source = cluster.owner_of("{nobody}")
    slot = ask(source, "CLUSTER", "KEYSLOT", "{nobody}")
    before = [k for k in range(KEYS) if ask(source, "CLUSTER", "KEYSLOT", f"key:{k}") == slot]
    assert before == []
    primaries = sorted(cluster.primaries(), key=lambda s: s is not source)  # its owner first: it claims the slot in its pings

    def nobody_has_it():
        """A ping that was on its way may have given it back to its owner here."""
        held = [s for s in primaries if any(first <= slot <= last for first, last, *_ in ask(s, "CLUSTER", "SLOTS"))]
        for s in held:
            ask(s, "CLUSTER", "DELSLOTS", slot)
        return not held

    harness.wait_until(nobody_has_it, what="all primaries to know no owner")
    cli("fix", address(source), stdin="yes\n")
    cluster.settle()
    cluster.check_keys(KEYS)
