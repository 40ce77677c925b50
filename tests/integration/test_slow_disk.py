"""A disk that takes seconds to flush larder.history, or what a node promises: who waits for it, and who does not."""

import os
import subprocess
import time

import clusters
import pytest
from clusters import Cluster, ask, info, my_id, row_of
from harness import ROOT, wait_until
from test_primary import record_of
from test_replica import follow, in_step, servers  # noqa: F401

SECONDS = 4  # of a flush


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """The environment of a server whose disk can be made slow."""
    library = str(tmp_path_factory.mktemp("slow") / "slow_disk.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", os.path.join(ROOT, "tests/integration/slow_disk.c"), "-o",
                    library], check=True)
    return {"LD_PRELOAD": library, "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:verify_asan_link_order=0"}


def slow(server, on=True):
    path = os.path.join(server.dir, "slow")
    if on:
        with open(path, "w", encoding="ascii") as f:
            f.write(str(SECONDS))
    else:
        os.unlink(path)


def flushes(server):
    try:
        return os.path.getsize(os.path.join(server.dir, "flushes"))
    except FileNotFoundError:
        return 0


def settled(primary, server):
    """The server's record tells of all that the primary has written."""
    wait_until(lambda: b"offset %d\n" % primary.info("replication")["master_repl_offset"] in record_of(server), what="the record")


def test_acknowledgements_do_not_wait_for_the_disk(servers, disk):  # noqa: F811
    p, r = servers(repl_ping_replica_period=3600), servers(env=disk)
    follow(r, p.port)
    a = p.client()
    in_step(a, r.client())
    settled(a, r)
    slow(r)
    while flushes(r) < 2:  # the first is over then
        time.sleep(0.02)
        a.incr("n")
        assert a.wait(1, SECONDS * 500) == 1, f"at flush {flushes(r)}"
    slow(r, on=False)
    settled(a, r)


def test_another_history_is_on_the_disk_before_anybody_gets_it(servers, disk):  # noqa: F811
    p, r, third = servers(), servers(env=disk), servers()
    follow(r, p.port)
    p.client().set("k", 1)
    in_step(p.client(), r.client())
    slow(r)
    r.client().execute_command("REPLICAOF", "NO", "ONE")
    history = r.client().info("replication")["master_replid"].encode()
    follow(third, r.port)
    wait_until(lambda: flushes(r) > 0, what="the flush")
    assert history not in record_of(r)
    wait_until(lambda: third.client().info("replication")["master_replid"].encode() == history, every=0.001, what="the history")
    assert history in record_of(r)


def key_of(server):
    """Of a slot that it owns."""
    first, last = map(int, row_of(server, server).slots[0].split("-"))
    return next(k for k in map(str, range(10000)) if first <= ask(server, "CLUSTER", "KEYSLOT", k) <= last)


def test_a_voter_is_not_taken_for_dead(disk):
    """Five primaries, one of which dies and has a replica; the disk of a voter is slow, and the other three are enough."""
    options = {"cluster-node-timeout": 1500, "cluster-require-full-coverage": "no"}
    with Cluster([clusters.node(extra=options, env=disk).start() for _ in range(5)]).join(0) as c:
        lost, voter, other = c[0], c[1], c[2]
        replica = c.add(extra=options)
        assert ask(replica, "CLUSTER", "MEET", *lost.address()) == "OK"
        wait_until(lambda: row_of(replica, lost), what="the replica to know its primary")
        wait_until(lambda: ask(replica, "CLUSTER", "REPLICATE", my_id(lost)) == "OK", what="the replica")
        c.settle()
        key = key_of(voter)
        n = ask(voter, "INCR", key)
        slow(voter)
        c.kill(lost)
        until, elected = time.monotonic() + 3 * SECONDS, False
        while time.monotonic() < until:
            assert "fail" not in row_of(other, voter).flags
            if flushes(voter) > 0:
                n += 1
                assert ask(voter, "INCR", key) == n
            elected |= info(other)["cluster_state"] == "ok" and "master" in row_of(other, replica).flags
            time.sleep(0.05)
        assert flushes(voter) > 0 and elected
        slow(voter, on=False)
        c.settle()
        assert int(ask(voter, "GET", key)) == n
