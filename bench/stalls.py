"""What may make a server stall: each case prepares a server, and then disturbs it while it is being measured.

A new case is a class with `name`, `title` and `disturb()`, and a row in CASES. It may also have

    start()     a server with the options it needs, running
    prepare()   what it holds before anything is measured
    quiet()     what else goes on while the quiet figure is taken: something like the event, but harmless
    window()    seconds that are measured around the event
    servers     which can do it at all
"""

import contextlib
import dataclasses
import subprocess
import threading
import time

from servers import KINDS

PROBE_KEYS = 10000
PROBE_SIZE = 100
LEAD_SECONDS = 0.5  # the event comes so long after the measurement has begun
LOAD_CLIENTS = 8
LOAD_PIPELINE = 50
POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Size:
    """How large everything is."""

    growth_from: int  # keys in the table before it grows
    growth_to: int
    fill_rate: int  # keys a second while it grows
    flush_keys: int
    expire_keys: int
    set_members: int
    tagged_keys: int
    maxmemory: int  # before it is halved
    window: float  # seconds of a measurement
    patience: float  # seconds after which an effect is given up


FULL = Size(1_000_000, 50_000_000, 200_000, 10_000_000, 10_000_000, 10_000_000, 1_000_000, 4 << 30, 10, 30)
QUICK = Size(10_000, 60_000, 50_000, 50_000, 50_000, 50_000, 20_000, 64 << 20, 1, 5)


@dataclasses.dataclass
class Bed:
    """Where it all runs."""

    build: object
    loader: object
    cpu: int
    size: Size
    rate: int  # of the probe, requests a second


class Witness:
    """How long the machine itself stood still on the server's CPU, in microseconds: witness.c. None where it may not tell."""

    def __init__(self, bed):
        self.longest = self.sum = None
        self.process = subprocess.Popen([bed.build / "bench/witness", str(bed.cpu)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        out, _ = self.process.communicate()
        if self.process.returncode == 0:
            self.longest, self.sum = map(float, out.split(","))


class Case:
    name = ""
    title = ""
    servers = ("larder", "redis")

    def __init__(self, bed, server_name):
        self.bed = bed
        self.size = bed.size
        self.server = KINDS[server_name](bed.build)
        self.note = ""  # what else the event has shown

    # ---- what a case may change ----

    def options(self):
        """Beside the usual ones of its server."""
        return ()

    def prepare(self):
        pass

    def quiet(self):
        return contextlib.nullcontext()

    def window(self):
        return self.size.window

    def disturb(self):
        raise NotImplementedError

    # ---- what cases share ----

    def start(self):
        self.server.more = (*self.server.more, *map(str, self.options()))
        self.server.start(self.bed.cpu)
        self.fill(PROBE_KEYS, "probe:", PROBE_SIZE)
        self.prepare()

    def load(self, keys, prefix, *more):
        return ["--keys", keys, "--key-size", 20, "--key-prefix", prefix, "--clients", LOAD_CLIENTS, "--pipeline", LOAD_PIPELINE, *more]

    def fill(self, keys, prefix, size, *more):
        self.bed.loader.run(self.server, *self.load(keys, prefix, "--value-size", size, "--load", "--requests", 0, *more))

    @contextlib.contextmanager
    def beside(self, process):
        """Something quiet is measured while that runs."""
        try:
            yield
        finally:
            self.bed.loader.finish(self.server, process)

    def quiet_writes(self):
        """How many keep a writer at the fill rate busy for as long as quiet is measured."""
        return int(self.size.fill_rate * (self.size.window + 2))

    def probe(self, seconds, event=None):
        """One measurement; the event happens while it runs. Returns the row of larder bench."""
        process = self.bed.loader.start(self.server, "--keys", PROBE_KEYS, "--key-size", 20, "--key-prefix", "probe:", "--value-size", PROBE_SIZE,
                                        "--clients", 50, "--ratio", "10:1", "--rate", self.bed.rate, "--seconds", seconds)  # fmt: skip
        failure = []
        thread = threading.Thread(target=self.guarded, args=(event, failure)) if event else None
        if thread:
            thread.start()
        row = self.bed.loader.finish(self.server, process, may_err=True)
        if thread:
            thread.join()
        if failure:
            raise failure[0]
        return row

    @staticmethod
    def guarded(event, failure):
        try:
            time.sleep(LEAD_SECONDS)
            event()
        except Exception as e:  # handed to the thread that waits
            failure.append(e)

    def until(self, done, what):
        """Seconds until done(), which is noted."""
        began = time.monotonic()
        while not done():
            if time.monotonic() - began > self.size.patience:
                self.note = f"{what}: not within {self.size.patience:g} s"
                return
            time.sleep(POLL_SECONDS)
        self.note = f"{what} after {time.monotonic() - began:.1f} s"


class Growth(Case):
    """Keys are added at a fixed rate. Quiet is the same writing on keys that are there already."""

    name = "growth"

    @property
    def title(self):
        return f"the table grows to {self.size.growth_to:,} keys, {self.size.fill_rate:,} a second"

    def prepare(self):
        self.fill(self.size.growth_from, "old:", 16)

    def window(self):
        return (self.size.growth_to - self.size.growth_from) / self.size.fill_rate + 2 * LEAD_SECONDS

    def sequence(self, keys, prefix, count):
        return self.bed.loader.start(self.server, *self.load(keys, prefix, "--value-size", 16, "--ratio", "0:1", "--rate", self.size.fill_rate,
                                                             "--distribution", "sequential", "--requests", count))  # fmt: skip

    def quiet(self):
        return self.beside(self.sequence(self.size.growth_from, "old:", self.quiet_writes()))

    def disturb(self):
        count = self.size.growth_to - self.size.growth_from
        row = self.bed.loader.finish(self.server, self.sequence(count, "new:", count))
        self.note = f"{self.server.keys():,} keys, {float(row['per_second']):,.0f} added a second"


class Halving(Case):
    """maxmemory is halved while it is full."""

    name = "halving"

    @property
    def title(self):
        return f"maxmemory is halved, from {self.size.maxmemory / 2**20:,.0f} MB"

    def options(self):
        return self.server.bounded(self.size.maxmemory)

    def prepare(self):
        self.empty = self.server.rss()
        self.fill(int(self.size.maxmemory * 1.1 / 320), "data:", 300)

    def disturb(self):
        half = self.size.maxmemory // 2
        self.server.ask("CONFIG", "SET", "maxmemory", half)
        self.until(lambda: self.server.rss() - self.empty <= 1.1 * half, "RSS growth at 1.1 x the new maxmemory")


class Flush(Case):
    name = "flushall"

    @property
    def title(self):
        return f"FLUSHALL of {self.size.flush_keys:,} keys"

    def prepare(self):
        self.empty = self.server.rss()
        self.fill(self.size.flush_keys, "data:", 100)

    def disturb(self):
        full = self.server.rss()
        self.server.ask("FLUSHALL")
        self.until(lambda: self.server.rss() < self.empty + (full - self.empty) / 4, "3/4 of the memory is given back")


class Expiry(Case):
    """All keys of a kind have one deadline, and it comes."""

    name = "expiry"
    LOADS_A_SECOND = 200_000  # at the least

    @property
    def title(self):
        return f"{self.size.expire_keys:,} keys expire in the same second"

    def prepare(self):
        ahead = self.size.expire_keys / self.LOADS_A_SECOND + 3 * self.size.window + 10
        self.deadline = time.time() + ahead
        self.bed.loader.run(self.server, *self.load(self.size.expire_keys, "short:", "--command", f"SET __key__ __value__ PXAT {int(self.deadline * 1000)}",
                                                    "--value-size", 100, "--distribution", "sequential", "--requests", self.size.expire_keys))  # fmt: skip
        self.loaded = self.server.keys()
        if time.time() + 1.5 * self.size.window > self.deadline:
            raise RuntimeError(f"{self.server.name} is too slow to be loaded before the deadline")

    def before_event(self):
        time.sleep(max(0.0, self.deadline - LEAD_SECONDS - time.time()))

    def disturb(self):
        left = self.loaded - self.size.expire_keys
        self.until(lambda: self.server.keys() <= left + self.size.expire_keys // 100, "99 % of them are gone")


class BigSet(Case):
    """One key with very many members."""

    KEY = "big"

    def members(self, key, prefix, count, requests):
        """What larder bench is to do for that many SADDs of that many members, in turn."""
        return self.load(count, prefix, "--command", f"SADD {key} __key__", "--distribution", "sequential", "--requests", requests)

    def prepare(self):
        self.empty = self.server.rss()
        self.bed.loader.run(self.server, *self.members(self.KEY, "member:", self.size.set_members, self.size.set_members))
        self.must_hold(int(self.server.ask("SCARD", self.KEY)))

    def must_hold(self, found):
        if found < self.size.set_members:
            raise RuntimeError(f"{self.server.name}: the set has {found} of {self.size.set_members} members")

    def until_freed(self, full):
        self.until(lambda: self.server.rss() < self.empty + (full - self.empty) / 4, "3/4 of the memory is given back")


class SetCreate(BigSet):
    """Members are added at a fixed rate. Quiet is the same writing of members that are there already, in a smaller set."""

    name = "set-create"

    @property
    def title(self):
        return f"a set of {self.size.set_members:,} members is created, {self.size.fill_rate:,} members a second"

    def prepare(self):
        self.bed.loader.run(self.server, *self.members("old", "old:", self.size.growth_from, self.size.growth_from))

    def window(self):
        return self.size.set_members / self.size.fill_rate + 2 * LEAD_SECONDS

    def adding(self, key, prefix, count, requests):
        return self.bed.loader.start(self.server, *self.members(key, prefix, count, requests), "--rate", self.size.fill_rate)

    def quiet(self):
        return self.beside(self.adding("old", "old:", self.size.growth_from, self.quiet_writes()))

    def disturb(self):
        count = self.size.set_members
        row = self.bed.loader.finish(self.server, self.adding(self.KEY, "member:", count, count))
        self.must_hold(int(self.server.ask("SCARD", self.KEY)))
        self.note = f"{float(row['per_second']):,.0f} members added a second"


class SetScan(BigSet):
    """From one end to the other, a thousand members a call."""

    name = "set-scan"
    COUNT = 1000

    @property
    def title(self):
        return f"a set of {self.size.set_members:,} members is scanned (SSCAN, COUNT {self.COUNT:,})"

    def disturb(self):
        began = time.monotonic()
        self.must_hold(sum(self.server.scan_set(self.KEY, self.COUNT)))
        self.note = f"all were seen after {time.monotonic() - began:.1f} s"


class SetDelete(BigSet):
    name = "set-delete"

    @property
    def title(self):
        return f"a set of {self.size.set_members:,} members is deleted (DEL)"

    def disturb(self):
        full = self.server.rss()
        self.server.ask("DEL", self.KEY)
        self.until_freed(full)


class SetExpiry(BigSet):
    name = "set-expiry"

    @property
    def title(self):
        return f"a set of {self.size.set_members:,} members expires"

    def disturb(self):
        full = self.server.rss()
        self.server.ask("PEXPIRE", self.KEY, 1)
        self.until_freed(full)


class SetUnion(BigSet):
    name = "set-union"

    @property
    def title(self):
        return f"a set of {self.size.set_members:,} members is united with a small one (SUNIONSTORE)"

    def prepare(self):
        super().prepare()
        self.server.ask("SADD", "small", "one", "two")

    def disturb(self):
        began = time.monotonic()
        self.server.ask("SUNIONSTORE", "all", self.KEY, "small")
        self.note = f"done after {time.monotonic() - began:.1f} s"


class Purge(Case):
    """Every tagged key is void at once; what it takes is given back in the background."""

    name = "purge"
    servers = ("larder",)

    @property
    def title(self):
        return f"CACHE.PURGE TAG of {self.size.tagged_keys:,} keys"

    def prepare(self):
        self.bed.loader.run(self.server, *self.load(self.size.tagged_keys, "tagged:", "--command", "CACHE.SET __key__ __value__ EX 86400 TAGS 1 t",
                                                    "--value-size", 100, "--distribution", "sequential", "--requests", self.size.tagged_keys))  # fmt: skip

    def disturb(self):
        began = time.monotonic()
        self.server.ask("CACHE.PURGE", "TAG", "t")
        self.note = f"done after {1000 * (time.monotonic() - began):.1f} ms"


CASES = {case.name: case for case in (Growth, Halving, Flush, Expiry, SetCreate, SetScan, SetUnion, SetExpiry, SetDelete, Purge)}


@dataclasses.dataclass
class Result:
    """Latencies in microseconds."""

    round: int
    server: str
    case: str
    quiet: float  # p99.9
    during: float
    quiet_max: float
    during_max: float
    errors: int
    unsent: int
    note: str
    still_quiet: float = None  # how long the machine itself stood still, at the longest
    still_during: float = None
    still_sum: float = None  # in all while it happened

    def ratio(self):
        return self.during / self.quiet


def run(bed, round_, case_name, server_name):
    """Quiet and event, one after the other on the same server."""
    case = CASES[case_name](bed, server_name)
    try:
        case.start()
        with case.quiet(), Witness(bed) as before:
            quiet = case.probe(bed.size.window)
        if hasattr(case, "before_event"):
            case.before_event()
        with Witness(bed) as then:
            during = case.probe(case.window(), case.disturb)
        return Result(round_, server_name, case_name, float(quiet["p99_9_us"]), float(during["p99_9_us"]), float(quiet["max_us"]),
                      float(during["max_us"]), int(quiet["errors"]) + int(during["errors"]), int(during["unsent"]), case.note, before.longest, then.longest,
                      then.sum), case.title  # fmt: skip
    finally:
        case.server.stop()
