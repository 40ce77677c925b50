"""The cache commands against several workers and a replica: what has been purged is never fresh again, anywhere.

The origin is a number that only rises. A purger raises it, purges, and once the purge is acknowledged says so; whoever
loads stores what the origin is after the lease was granted. So a reader may hold every fresh value, at the primary
and at the replica, against what had been said before it asked.
"""

import multiprocessing
import random
import socket
import time

import pytest
import redis
from test_stress import STEPS, Server, quiet_children, run_all  # noqa: F401

KEYS = [f"key:{i}" for i in range(30)]
origin = multiprocessing.Value("q", 0)
said = multiprocessing.Value("q", 0)  # purged and acknowledged up to here
replica_port = multiprocessing.Value("i", 0)


def answer_of(reply):
    return dict(zip(reply[::2], reply[1::2], strict=True))


def connect(port):
    return redis.Redis(port=port, socket_timeout=120)


def loader(port, seed, steps):
    r, rng = connect(port), random.Random(seed)
    for _ in range(steps * 4):
        key = rng.choice(KEYS)
        floor = said.value
        how = rng.choice([["WAIT", 50], ["STALE"], ["EARLY", 1], []])
        answer = answer_of(r.execute_command("CACHE.GET", key, "LEASE", rng.choice([5, 1000]), *how))
        if answer[b"state"] == b"fresh":
            assert int(answer[b"value"]) >= floor, (answer, floor)
        if answer[b"lease"] is None:
            continue
        if rng.random() < 0.2:
            r.execute_command("CACHE.FAIL", key, answer[b"lease"], "RETRY", rng.choice([0, 2]))
            continue
        value = origin.value
        time.sleep(rng.random() / 500)
        tags = rng.choice([["TAGS", 1, "red"], ["TAGS", 2, "other", "red"]])
        filled = r.execute_command("CACHE.SET", key, value, "LEASE", answer[b"lease"], "PX", 200, "GRACE", 200, "COST", 50, *tags)
        assert filled in (b"OK", b"LEASELOST")


def reader(port, seed, steps):
    r, rng = connect(port), random.Random(seed)
    other = connect(replica_port.value)
    for _ in range(steps * 4):
        key, where = rng.choice(KEYS), rng.choice([r, other])
        floor = said.value
        answer = answer_of(where.execute_command("CACHE.GET", key))
        if answer[b"state"] == b"fresh":
            assert int(answer[b"value"]) >= floor, (answer, floor, where is other)
        floor = said.value
        plain = where.get(key)
        assert plain is None or int(plain) >= floor, (plain, floor, where is other)


def purger(port, seed, steps):
    r, done = connect(port), 0
    for _ in range(steps):
        with origin.get_lock():
            origin.value += 1
            now = origin.value
        answer = answer_of(r.execute_command("CACHE.PURGE", "TAG", "red"))
        if answer[b"pending"] == 0:
            done += 1
            with said.get_lock():
                said.value = max(said.value, now)
    assert done > 0


def meddler(port, seed, steps):
    r, rng = connect(port), random.Random(seed)
    for _ in range(steps):
        rng.choice([
            lambda: r.execute_command("CACHE.STATS"),
            lambda: r.execute_command("CACHE.HOT", "COUNT", 5),
            lambda: r.execute_command("CACHE.HOT", "BIG"),
            lambda: r.execute_command("CACHE.INSPECT", rng.choice(KEYS)),
            lambda: r.execute_command("CACHE.INVALIDATE", rng.choice(KEYS), *rng.choice([[], ["SOFT"]])),
            lambda: r.execute_command("CACHE.MGET", 3, *KEYS[:3], "LEASE", 1),
            lambda: r.execute_command("CONFIG", "SET", "cache-origin-budget", rng.choice(["", "key: 3", "key:1 1 key: 20"])),
            lambda: r.execute_command("CACHE.PURGE", "TAG", "other", "SOFT"),
            lambda: r.delete(rng.choice(KEYS)),
            lambda: r.flushall(),
            lambda: r.pipeline(transaction=True).execute_command("CACHE.PURGE", "TAG", "other").dbsize().execute(),
        ])()


def leaver(port, seed, steps):
    """Asks, waits, and is gone before the answer comes."""
    for _ in range(max(steps // 10, 10)):
        some = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        for s in some:
            s.sendall(f"CACHE.GET {KEYS[0]} LEASE 20 WAIT 100\r\n".encode())
        for s in some:
            s.close()


@pytest.mark.usefixtures("quiet_children")
def test_what_is_purged_is_never_fresh_again():
    primary = Server("--cache-purge-timeout", "60000")
    replica = Server("--replicaof", "127.0.0.1", str(primary.port))
    replica_port.value = replica.port
    deadline = time.monotonic() + 240
    while replica.client().info("replication")["master_link_status"] != "up":
        assert time.monotonic() < deadline, replica.text()
        time.sleep(0.05)
    failed = run_all(primary.port, [loader] * 5 + [reader] * 3 + [purger, purger, meddler, leaver])
    assert not failed, f"{failed}\n{primary.text()[:20000]}"
    assert said.value > STEPS
    replica.stop()
    primary.stop()
