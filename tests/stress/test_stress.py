"""Everything at once against several workers: data races, lock order, torn effects.

Meant for the TSan build (LARDER_SERVER names the binary); it also holds without. Client
processes run a fixed number of steps, so the run has no length in time. What they check:

  - INCR by many clients adds up;
  - MSET over many shards, and MULTI/EXEC, are never seen half-done;
  - a member that SMOVE carries is never in both sets, and what SUNIONSTORE stores has as many members as
    its sources say, though sets are evicted, expire and are flushed meanwhile;
  - a client that is killed, a shard that is busy, a pause, or a stopped world delays, and never
    loses or invents a reply;
  - the server ends by SIGTERM with code 0, and the sanitizer has nothing to say.
"""

import multiprocessing
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest
import redis

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness import free_port  # noqa: E402

SERVER = os.environ.get("LARDER_SERVER", str(ROOT / "build" / "larder-server"))
STEPS = int(os.environ.get("LARDER_STRESS_STEPS", "400"))
GROUP = [f"group:{i}" for i in range(24)]  # spread over shards


class Server:
    def __init__(self, *options):
        self.port = free_port()
        self.dir = tempfile.TemporaryDirectory()
        self.out = open(os.path.join(self.dir.name, "out"), "w+b")
        args = [SERVER, "--port", str(self.port), "--workers", "4", "--dir", self.dir.name,
                "--enable-debug-command", "yes", *options]
        self.process = subprocess.Popen(args, stdout=self.out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 240
        while True:
            try:
                self.client().ping()
                return
            except redis.exceptions.ConnectionError:
                assert self.process.poll() is None, self.text()
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)

    def client(self, **kw):
        return redis.Redis(port=self.port, socket_timeout=120, **kw)

    def text(self):
        self.out.flush()
        self.out.seek(0)
        return self.out.read().decode(errors="replace")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=240)
        text = self.text()
        assert "WARNING: ThreadSanitizer" not in text, text
        assert "AddressSanitizer" not in text, text
        assert code == 0, text


def adder(port, seed, steps):
    """Counts, and keys that come and go."""
    r = redis.Redis(port=port, socket_timeout=120)
    rng = random.Random(seed)
    for _ in range(steps):
        p = r.pipeline(transaction=False)
        for _ in range(20):
            p.incr("total")
            k = f"k:{rng.randrange(500)}"
            p.set(k, "v" * rng.randrange(200), px=rng.choice([None, 1, 50, 10_000]))
            p.get(f"k:{rng.randrange(500)}")
            p.append(f"a:{rng.randrange(20)}", "x" * rng.randrange(30))
            p.delete(f"k:{rng.randrange(500)}", f"a:{rng.randrange(20)}")
            p.expire(f"k:{rng.randrange(500)}", 5)
        p.execute()


def group_writer(port, seed, steps):
    r = redis.Redis(port=port, socket_timeout=120)
    for i in range(steps):
        stamp = f"{seed}-{i}"
        if i % 2:
            r.mset({k: stamp for k in GROUP})
        else:
            p = r.pipeline(transaction=True)
            for k in GROUP:
                p.set(k, stamp)
            p.execute()


def group_reader(port, seed, steps):
    r = redis.Redis(port=port, socket_timeout=120)
    for i in range(steps):
        values = r.mget(GROUP) if i % 2 else r.pipeline(transaction=True).mget(GROUP).execute()[0]
        assert len(set(values)) == 1, values


def watcher(port, seed, steps):
    """Optimistic increments: the sum is exact although most attempts fail."""
    r = redis.Redis(port=port, socket_timeout=120)
    done = 0
    while done < steps // 4:
        with r.pipeline() as p:
            p.watch("watched", "watched2")
            v = int(p.get("watched") or 0)
            p.multi()
            p.set("watched", v + 1)
            p.set("watched2", v + 1)
            try:
                p.execute()
                done += 1
            except redis.WatchError:
                pass


def whole_world(port, seed, steps):
    """What needs the gate, the lane, or every worker."""
    r = redis.Redis(port=port, socket_timeout=120)
    other = redis.Redis(port=port, db=9, socket_timeout=120)
    rng = random.Random(seed)
    r.set("{big}a", os.urandom(2_000_000))
    r.set("{big}b", os.urandom(2_000_000))
    r.set("{lcs}a", "ab" * 1500)
    r.set("{lcs}b", "ba" * 1500)
    for i in range(max(steps // 10, 10)):
        other.mset({f"o:{k}": k for k in range(30)})
        rng.choice([
            lambda: r.keys("k:*"),
            lambda: r.execute_command("BITOP", "XOR", "{big}c", "{big}a", "{big}b"),
            lambda: r.bitcount("{big}a"),
            lambda: r.execute_command("LCS", "{lcs}a", "{lcs}b", "LEN"),
            lambda: other.flushdb(),
            lambda: r.swapdb(8, 9),
            lambda: r.config_set("slowlog-log-slower-than", rng.choice([0, 10000])),
            lambda: r.config_set("maxmemory", rng.choice(["1gb", "2gb"])),
            lambda: r.config_resetstat(),
            lambda: r.client_list(),
            lambda: r.info("all"),
            lambda: r.client_pause(5),
            lambda: r.slowlog_get(10),
            lambda: [None for _ in r.scan_iter("k:*", count=50)],
            lambda: r.randomkey(),
            lambda: r.dbsize(),
            lambda: r.pipeline(transaction=True).client_list().dbsize().set("k:1", 1).execute(),
            lambda: r.execute_command("LATENCY", "HISTOGRAM"),
        ])()


def killer(port, seed, steps):
    """Connections that appear, leave requests half-sent, and are killed."""
    r = redis.Redis(port=port, socket_timeout=120)
    for i in range(max(steps // 10, 10)):
        victims = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        for n, s in enumerate(victims):
            s.sendall(b"CLIENT SETNAME victim\r\nMULTI\r\nSET k:1 1\r\n" if n % 2 else b"WATCH k:1\r\n*2\r\n$3\r\nGE")
        for c in r.client_list():
            if c["name"] == "victim":
                r.execute_command("CLIENT", "KILL", "ID", c["id"])
        for s in victims:
            s.close()


def monitor(port, seed, steps):
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(120)
    s.sendall(b"MONITOR\r\n")
    got = 0
    while got < steps * 20:
        data = s.recv(65536)
        assert data, "the monitor was dropped"
        got += len(data)
    s.close()


def set_writer(port, seed, steps):
    """Small sets that change their encoding, share copies, and come and go."""
    r = redis.Redis(port=port, socket_timeout=120)
    rng = random.Random(seed)
    for _ in range(steps):
        p = r.pipeline(transaction=False)
        for _ in range(10):
            k, other = (f"s:{i}" for i in rng.sample(range(60), 2))
            p.sadd(k, *(rng.choice([rng.randrange(300), f"m{rng.randrange(300)}"]) for _ in range(rng.choice([1, 3, 200]))))
            p.srem(other, rng.randrange(300), f"m{rng.randrange(300)}")
            p.spop(other, rng.choice([1, 2, 150]))
            p.smove(k, other, rng.randrange(300))
            p.copy(k, other, replace=True)
            p.sinterstore(other, k, f"s:{rng.randrange(60)}")
            p.sdiffstore(other, k, f"s:{rng.randrange(60)}")
            p.srandmember(k, -3)
            p.sscan(k, rng.randrange(64), count=20)
            p.pexpire(other, rng.choice([1, 30, 5000]))
        p.execute()


def set_mover(port, seed, steps):
    r = redis.Redis(port=port, socket_timeout=120)
    rng = random.Random(seed)
    for _ in range(steps):
        p = r.pipeline(transaction=False)
        p.sadd("{pair}a", *range(seed * 1000, seed * 1000 + 20))
        p.srem("{pair}b", *range(seed * 1000, seed * 1000 + 20))
        for _ in range(20):
            n = seed * 1000 + rng.randrange(20)
            p.smove("{pair}a", "{pair}b", n)
            p.smove("{pair}b", "{pair}a", n)
        p.execute()


def set_reader(port, seed, steps):
    r = redis.Redis(port=port, socket_timeout=120)
    ours = [f"r{seed}-{i}" for i in range(10)]
    for _ in range(steps):
        p = r.pipeline(transaction=True)
        p.sunionstore(f"{{pair}}sum{seed}", "{pair}a", "{pair}b")
        p.scard("{pair}a").scard("{pair}b").sintercard(2, ["{pair}a", "{pair}b"]).sunion("{pair}a", "{pair}b")
        p.sadd(f"{{pair}}mine{seed}", *ours).sinter(f"{{pair}}mine{seed}", f"{{pair}}sum{seed}")
        stored, a, b, both, union, _, mine = p.execute()
        assert stored == a + b - both == len(union), (stored, a, b, both, len(union))
        assert both <= 40 and not mine, (both, mine)  # SADD of one mover may overtake its own SREM


def set_combiner(port, seed, steps):
    """Sets that the lane combines: large ones, on other keys than the small ones."""
    r = redis.Redis(port=port, socket_timeout=240)
    keys = ["big:even", "big:third"]
    for i in range(max(steps // 20, 6)):
        for key, by in zip(keys, (2, 3)):
            p = r.pipeline(transaction=False)
            for start in range(0, 12000, 1000):
                p.sadd(key, *range(start * by, (start + 1000) * by, by))
            p.execute()
        cut = r.sinterstore(f"big:sixth:{seed}", keys)
        assert cut <= 12000, cut
        for m in r.sinter(keys):
            assert int(m) % 6 == 0
        assert len(r.sunion(keys)) <= 24000 and r.sdiffstore(f"big:rest:{seed}", keys) <= 12000
        r.sunionstore("big:all", keys)
        r.delete("big:all") if i % 2 else r.pexpire("big:all", 5)


def marker_mover(port, seed, steps):
    r = redis.Redis(port=port, socket_timeout=120)
    for _ in range(steps):
        p = r.pipeline(transaction=False)
        for _ in range(10):
            p.smove("{big}a", "{big}b", "marker").smove("{big}b", "{big}a", "marker")
        p.execute()


def result_keeper(port, seed, steps):
    """The lane lets go of the sources while it works; what it stores is of one moment nevertheless."""
    r = redis.Redis(port=port, socket_timeout=240)
    to = f"{{big}}kept{seed}"
    for _ in range(max(steps // 20, 10)):
        assert r.sunionstore(to, "{big}a", "{big}b") == 12001 and r.sismember(to, "marker")
        assert r.sinterstore(to, "{big}a", "{big}b") == 0
        assert r.sdiffstore(to, "{big}a", "{big}b") in (6000, 6001)


def filler(port, seed, steps):
    """More than there is room for: everything may be evicted."""
    r = redis.Redis(port=port, socket_timeout=120)
    rng = random.Random(seed)
    for i in range(steps):
        p = r.pipeline(transaction=False)
        for j in range(50):
            p.set(f"f:{seed}:{i}:{j}", "v" * rng.randrange(3000), px=rng.choice([None, 20, 60_000]))
        p.execute()
        if i % 100 == 99:
            rng.choice([r.flushall, r.dbsize, lambda: [None for _ in r.scan_iter("s:*", count=100)], lambda: r.info("all"),
                        lambda: r.config_set("maxmemory", rng.choice(["12mb", "16mb"]))])()


def run_all(port, jobs):
    processes = [multiprocessing.Process(target=fn, args=(port, seed, STEPS)) for seed, fn in enumerate(jobs)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    return [(jobs[i].__name__, p.exitcode) for i, p in enumerate(processes) if p.exitcode != 0]


def test_everything_at_once():
    server = Server()
    r = server.client()
    r.mset({k: "start" for k in GROUP})
    jobs = [adder, adder, adder, group_writer, group_writer, group_reader, group_reader, watcher, watcher,
            whole_world, whole_world, killer, monitor]
    failed = run_all(server.port, jobs)
    assert not failed, f"{failed}\n{server.text()[:20000]}"
    assert int(r.get("total")) == 3 * STEPS * 20
    assert int(r.get("watched")) == 2 * (STEPS // 4) == int(r.get("watched2"))
    server.stop()


def test_sets_at_once():
    """Several workers, the lane, eviction, expiry and FLUSHALL on sets."""
    server = Server("--maxmemory", "12mb", "--maxmemory-policy", "allkeys-auto")
    r = server.client()
    jobs = [set_writer, set_writer, set_writer, set_mover, set_mover, set_reader, set_reader, set_combiner, set_combiner, filler, filler]
    failed = run_all(server.port, jobs)
    assert not failed, f"{failed}\n{server.text()[:20000]}"
    stats = r.info("stats")
    assert stats["expired_keys"] > 100 and stats["evicted_keys"] > 100
    server.stop()


def test_stored_results_are_of_one_moment():
    server = Server()
    r = server.client()
    r.sadd("{big}a", "marker", *range(6000))
    r.sadd("{big}b", *range(6000, 12000))
    failed = run_all(server.port, [marker_mover, marker_mover, result_keeper, result_keeper])
    assert not failed, f"{failed}\n{server.text()[:20000]}"
    server.stop()


def test_stop_while_busy():
    """SIGTERM in the middle of everything."""
    server = Server()
    server.client().mset({k: "start" for k in GROUP})
    processes = [multiprocessing.Process(target=fn, args=(server.port, seed, 10**9))
                 for seed, fn in enumerate([adder, group_writer, whole_world, killer, watcher])]
    for p in processes:
        p.start()
    time.sleep(2)
    try:
        server.stop()
    finally:
        for p in processes:
            p.kill()
            p.join()


@pytest.fixture(autouse=True)
def quiet_children(monkeypatch):
    multiprocessing.set_start_method("fork", force=True)
    yield
