"""What is measured: cases, and one run of `larder bench` for each."""

import dataclasses
import pathlib
import socket
import time

from loader import Loader

IDLE_CONNECTIONS = 15000
MANY_CONNECTIONS = 10000
SETTLE_SECONDS = 4  # what servers take to give back the buffers of connections that went idle


@dataclasses.dataclass(frozen=True)
class Data:
    """A set of keys, all loaded before anything is measured.

    How many there are decides what a server pays for cache misses: with few keys all
    entries stay in the CPU's caches, and the cost of protocol and commands shows;
    with many, each request waits for memory a few times. Both are true."""

    name: str
    size: int
    share: float  # of --keys; 0: `fixed` of them
    fixed: int = 0

    def keys(self, many):
        return self.fixed or int(many * self.share)

    def title(self):
        size = f"{self.size // 1024} KB" if self.size >= 1024 else f"{self.size} B"
        return f"{size}, {self.name} keys"


FEW = Data("few", 100, 0, 1000)
LARGE = Data("many", 100, 1)
BIG = Data("many", 4096, 0.1)
ALL_DATA = (FEW, LARGE, BIG)


@dataclasses.dataclass(frozen=True)
class Case:
    """One way of driving a server. `rate` 0 is the closed loop."""

    pipeline: int
    clients: int
    ratio: str
    data: Data
    rate: int = 0

    def title(self):
        mix = {"10:1": "10 GET : 1 SET", "0:1": "SET only"}[self.ratio]
        loop = f", open loop at {self.rate:,}/s" if self.rate else ""
        return f"pipeline {self.pipeline}, {self.clients:,} connections, {mix}, {self.data.title()}{loop}"


def on(data):
    """The four cases that have targets: unpipelined, pipelined, deeply pipelined, SETs."""
    return [Case(1, 50, "10:1", data), Case(16, 50, "10:1", data), Case(50, 20, "10:1", data), Case(16, 50, "0:1", data)]


CLOSED = [*on(FEW), *(Case(pipeline, clients, ratio, data) for data in (LARGE, BIG) for ratio in ("10:1", "0:1")
                      for pipeline, clients in ((1, 50), (16, 50), (50, 20)))]  # fmt: skip
OPEN = [Case(16, 50, "10:1", LARGE, 1000000), Case(1, 50, "10:1", LARGE, 100000)]
MANY = [Case(1, MANY_CONNECTIONS, "10:1", LARGE), Case(16, MANY_CONNECTIONS, "10:1", LARGE)]
FEW_CONNECTIONS = on(LARGE)[:2]  # what MANY are compared with


@dataclasses.dataclass
class Result:
    """One run. Times in microseconds."""

    round: int
    server: str
    case: Case
    per_second: float
    p50: float
    p99: float
    p99_9: float
    max: float
    cpu: float
    user: float
    hits: int
    misses: int
    errors: int
    unsent: int

    def kept_up(self):
        return self.unsent == 0 and self.per_second > 0.995 * self.case.rate


class Bench:
    """The load generator on sets of keys."""

    def __init__(self, build, cpu, keys):
        self.loader = Loader(build, cpu)
        self.keys = keys

    def run(self, server, data, *more):
        return self.loader.run(server, "--keys", data.keys(self.keys), "--key-prefix", f"{data.name}:{data.size}:",
                               "--key-size", 20, "--value-size", data.size, *more)  # fmt: skip

    def load(self, server, data):
        self.run(server, data, "--load", "--requests", 0)

    def measure(self, round_, server, case, seconds, warmup):
        rate = ["--rate", case.rate] if case.rate else []
        row = self.run(server, case.data, "--pipeline", case.pipeline, "--clients", case.clients, "--ratio", case.ratio,
                       "--seconds", seconds, "--warmup", warmup, "--server-pid", server.pid, "--seed", round_ + 1, *rate)  # fmt: skip
        result = Result(round_, server.name, case, float(row["per_second"]), float(row["p50_us"]), float(row["p99_us"]),
                        float(row["p99_9_us"]), float(row["max_us"]), float(row["server_cpu_us"]),
                        float(row["server_user_us"]), int(row["hits"]), int(row["misses"]), int(row["errors"]),
                        int(row["unsent"]))  # fmt: skip
        if result.misses:
            raise RuntimeError(f"{server.name} has lost keys: {result.misses} misses in {case.title()}")
        return result


def idle_memory(server, connections):
    """RSS growth by so many connections that have sent one request each and then nothing."""
    probe, reply = (b"version\r\n", b"VERSION") if server.protocol == "memcached" else (b"*1\r\n$4\r\nPING\r\n", b"+PONG")
    held = []
    try:
        held.append(connect(server, probe, reply))
        before = server.rss()
        for _ in range(connections - 1):
            held.append(connect(server, probe, reply))
        time.sleep(SETTLE_SECONDS)
        return server.rss() - before
    finally:
        for s in held:
            s.close()


def connect(server, probe, reply):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    s.sendall(probe)
    if not s.recv(64).startswith(reply):
        raise RuntimeError(f"{server.name} did not answer on a new connection")
    return s


# One file of counts for each thread: callgrind.out-01 is the main one.
CALLGRIND = ("valgrind", "--tool=callgrind", "--separate-threads=yes", "--callgrind-out-file=callgrind.out")


def instructions(make_server, bench_for, sets, n, pipeline=16, attach=lambda server: None):
    """User-space instructions of one request, by the difference of two runs under CALLGRIND. attach: somebody
    else who is there meanwhile; it may return what is to be closed."""
    totals = []
    for times in (1, 2):
        server = make_server()
        counts = None
        server.start()
        try:
            attached = attach(server)
            bench = bench_for()
            bench.run(server, FEW, "--load", "--ratio", "0:1" if sets else "1:0", "--clients", 1, "--pipeline", pipeline,
                      "--requests", times * n)  # fmt: skip
            if attached is not None:
                attached.close()
            server.process.terminate()
            server.process.wait(timeout=120)
            counts = callgrind_total(server.folder.name, server.main_thread_serves)
        finally:
            server.stop()
        totals.append(counts)
    return (totals[1] - totals[0]) / n


def callgrind_total(folder, main_thread_serves):
    """Of all threads, or of all but the main one. That has nothing to do with requests where it serves nobody, but looks
    around by the clock, and how often it does in a run is chance."""
    files = sorted(pathlib.Path(folder).glob("callgrind.out-*"))
    counts = [thread_total(f) for f in files if main_thread_serves or not f.name.endswith("-01")]
    if not counts:
        raise RuntimeError("callgrind has written no counts")
    return sum(counts)


def thread_total(path):
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith(("summary:", "totals:")):
                return int(line.split()[1])
    raise RuntimeError(f"callgrind has written no total to {path}")
