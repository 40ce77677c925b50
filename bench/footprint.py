"""What memory costs: bytes for each key of a full server, and RSS while everything changes."""

import dataclasses
import math
import pathlib
import threading
import time

from loader import Loader
from servers import KINDS

SAMPLE_SECONDS = 0.2
PIPELINE = 50
CLIENTS = 8
DAY = 86400
ROOM_PERCENT = 80  # of the free memory may be filled
OVERHEAD_GUESS = 150  # bytes a key, to see beforehand whether a case fits
PREFIX = "mem:"  # what keys begin with; 12 digits and more follow


def load_options(keys, key_size, value_size, ttl):
    expiry = ["--ttl", ttl] if ttl else []
    return ["--keys", keys, "--key-size", key_size, "--key-prefix", PREFIX, "--value-size", value_size,
            "--clients", CLIENTS, "--pipeline", PIPELINE, *expiry]  # fmt: skip


def available():
    """Bytes that could be used without swapping."""
    for line in pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


# ---- bytes for each key -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Shape:
    """Keys and values of one size."""

    key: int
    value: int
    ttl: bool

    def title(self):
        return f"{self.key} + {self.value} B, {'with' if self.ttl else 'no'} TTL"

    def fits(self, keys, most):
        """`most`: bytes that may be used, whatever is free."""
        return keys * (self.key + self.value + OVERHEAD_GUESS) < min(available() * ROOM_PERCENT / 100, most)


SHAPES = [Shape(key, value, ttl) for key, value in ((16, 16), (16, 100), (40, 300)) for ttl in (False, True)]


@dataclasses.dataclass
class Filled:
    """One server filled once. Bytes; seconds."""

    server: str
    shape: Shape
    asked: int
    keys: int  # that it held in the end
    growth: int  # VmHWM after less VmRSS before
    seconds: float

    def overhead(self):
        return self.growth / self.keys - self.shape.key - self.shape.value


@dataclasses.dataclass
class Bed:
    """Where everything runs. `settle`: seconds after start and load in which background threads come to rest."""

    build: pathlib.Path
    loader: Loader
    cpu: int
    settle: float

    def fresh(self, name, maxmemory=None):
        """A server just started, and its RSS before the first key."""
        server = KINDS[name](self.build)
        if maxmemory:
            server.bound(maxmemory)
        server.start(self.cpu)
        time.sleep(self.settle)
        return server, server.rss()


def fill(bed, name, shape, keys):
    # memcached has a bound always: one that is never reached.
    bound = keys * (shape.key + shape.value + 3 * OVERHEAD_GUESS) + (256 << 20) if name == "memcached" else None
    server, before = bed.fresh(name, bound)
    try:
        row = bed.loader.run(server, *load_options(keys, shape.key, shape.value, f"{DAY // 2}-{DAY}" if shape.ttl else None),
                         "--load", "--requests", 0)  # fmt: skip
        time.sleep(bed.settle)
        held = server.keys()
        if int(row["errors"]) or held < keys:
            raise RuntimeError(f"{name} holds {held} of {keys} keys, {row['errors']} errors")
        return Filled(name, shape, keys, held, server.peak_rss() - before, float(row["seconds"]))
    finally:
        server.stop()


# ---- everything changes -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Phase:
    """A time with values of certain sizes. `share`: how many times maxmemory is written."""

    name: str
    value_size: str
    mean: float
    ttl: str
    share: float


def lognormal_mean(median, sigma):
    return median * math.exp(sigma * sigma / 2)


PHASES = [
    Phase("100 B", "100", 100, "", 2),
    Phase("400 B, TTL 5-60 s", "400", 400, "5-60", 2),
    Phase("20-1000 B, TTL 10-300 s", "20-1000", 510, "10-300", 2),
    Phase("lognormal 300 B", "lognormal:300:1.2", lognormal_mean(300, 1.2), "", 2),
    Phase("4-16 KB", "4096-16384", 10240, "", 2),
    Phase("60 B, TTL 30-600 s", "60", 60, "30-600", 2),
]
KEY_SIZE = 24
FOOTPRINT = 3  # keys are so many that all of them would take so many times maxmemory


@dataclasses.dataclass
class Sample:
    seconds: float
    rss: int
    used: int  # larder's own: what maxmemory bounds
    live: int  # larder's own: keys and values, headers included


class Watch(threading.Thread):
    """Looks at a server now and then, and when it is told to look(), until stop()."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.samples = []
        self.over = threading.Event()
        self.one_at_a_time = threading.Lock()
        self.began = time.monotonic()

    def look(self):
        with self.one_at_a_time:
            used = live = 0
            if self.server.name == "larder":
                info = self.server.figures("memory")
                used = int(info["larder_used"])
                live = int(info["larder_segments_live"]) + int(info["larder_blocks"])
            self.samples.append(Sample(time.monotonic() - self.began, self.server.rss(), used, live))

    def run(self):
        while not self.over.wait(SAMPLE_SECONDS):
            self.look()

    def stop(self):
        self.over.set()
        self.join()
        self.look()


@dataclasses.dataclass
class Churned:
    """One server through all phases."""

    server: str
    maxmemory: int
    written: int  # bytes of keys and values
    growth: int
    set_us: float  # server CPU of a SET
    errors: int
    keys: int
    seconds: float
    before: int  # RSS before the first key
    samples: list

    def bound(self):
        """RSS growth as a multiple of maxmemory."""
        return self.growth / self.maxmemory

    def live_share(self, least):
        """Of what counts as used: the least, or the last, once the memory has been full."""
        full = [s.live / s.used for s in self.samples if s.used > 0.9 * self.maxmemory]
        return None if not full else min(full) if least else full[-1]


def churn(bed, name, maxmemory, progress):
    server, before = bed.fresh(name, maxmemory)
    watch = None
    try:
        watch = Watch(server)
        watch.start()
        written, cpu_us, sets, errors = 0, 0.0, 0, 0
        for i, phase in enumerate(PHASES):
            progress(f"churn, {name}, {phase.name}")
            each = KEY_SIZE + phase.mean
            requests, keys = int(phase.share * maxmemory / each), int(FOOTPRINT * maxmemory / each) + 1
            row = bed.loader.run(server, "--keys", keys, "--key-size", KEY_SIZE, "--key-prefix", f"churn{i}:", "--value-size", phase.value_size,
                             *(["--ttl", phase.ttl] if phase.ttl else []), "--distribution", "zipf", "--theta", 0.9, "--ratio", "0:1",
                             "--requests", requests, "--clients", CLIENTS, "--pipeline", PIPELINE,
                             "--server-pid", server.pid, "--seed", i + 1, may_err=True)  # fmt: skip
            written += int(requests * each)
            sets += requests
            cpu_us += requests * float(row["server_cpu_us"])
            errors += int(row["errors"])
            watch.look()
        watch.stop()
        return Churned(name, maxmemory, written, server.peak_rss() - before, cpu_us / sets, errors, server.keys(),
                       watch.samples[-1].seconds, before, watch.samples)  # fmt: skip
    finally:
        if watch is not None:
            watch.over.set()
        server.stop()


# ---- one large run ----------------------------------------------------------------------


def fill_beyond(bed, shape, maxmemory):
    """Larder, filled to its limit and a fifth beyond, so that it evicts: bytes a key and RSS bound of one run."""
    keys = int(1.2 * maxmemory / (shape.key + shape.value + 16))
    if maxmemory * 1.15 > available():
        raise RuntimeError(f"--big needs {maxmemory * 1.15 / 2**30:.0f} GB of free memory and there are {available() / 2**30:.0f}")
    server, before = bed.fresh("larder", maxmemory)
    try:
        row = bed.loader.run(server, *load_options(keys, shape.key, shape.value, None), "--load", "--requests", 0)
        time.sleep(bed.settle)
        return Filled("larder", shape, keys, server.keys(), server.peak_rss() - before, float(row["seconds"]))
    finally:
        server.stop()


