"""What a copy of the data costs while it is made, and what the log of changes costs a write.

A replica here is a sink: it asks for a full copy, reads it and the stream behind it, and throws both away. So
only the primary is measured, and two CPUs are enough. Memory is what is resident in the server, and what a child
of it has for itself alone (Redis forks).
"""

import csv
import dataclasses
import io
import pathlib
import signal
import socket
import threading
import time

import measure
from servers import KINDS

PROBE_KEYS = 10000
VALUE_SIZE = 100
LEAD_SECONDS = 0.5  # the event comes so long after the measurement has begun
SAMPLE_SECONDS = 0.05
EVENTS = ("bgsave", "fullsync")
PIPELINES = (1, 50)
INTERRUPTED = 130  # larder bench's exit code
MARK = 40  # bytes at the end of a copy whose length was not known


@dataclasses.dataclass(frozen=True)
class Size:
    keys: int
    window: float  # seconds of the quiet measurement
    patience: float  # seconds for a copy
    writes: int  # a run that measures the log


FULL = Size(5_000_000, 10, 600, 1_000_000)
QUICK = Size(20_000, 1, 60, 20_000)


@dataclasses.dataclass
class Copied:
    """Latencies in microseconds, memory in bytes."""

    round: int
    server: str
    event: str
    rate: float  # requests a second, half of what it can
    quiet: float  # p99.9
    during: float
    during_max: float
    rss: int
    peak: int
    bytes: int
    seconds: float
    errors: int

    def ratio(self):
        return self.during / self.quiet

    def growth(self):
        return self.peak / self.rss - 1

    def rate_mb(self):
        return self.bytes / self.seconds / 1e6


@dataclasses.dataclass
class Logged:
    """CPU seconds of the server for each write."""

    round: int
    server: str
    pipeline: int
    alone: float
    fed: float  # with one replica

    def cost(self):
        """Of a write's CPU time; a run too short for the clock of CPU time says nothing."""
        return self.fed / self.alone - 1 if self.alone > 0 else 0.0


class Sink:
    """A replica that throws everything away. `took`: bytes and seconds of its copy."""

    def __init__(self, server):
        self.took = None
        self.s = socket.create_connection(("127.0.0.1", server.port), timeout=600)
        self.f = self.s.makefile("rb", buffering=1 << 20)
        for words in ("REPLCONF listening-port 1", "REPLCONF capa eof capa psync2"):
            self.s.sendall(words.encode() + b"\r\n")
            if not self.f.readline().startswith(b"+"):
                raise RuntimeError(f"{server.name} refuses '{words}'")
        self.began = time.monotonic()
        self.s.sendall(b"PSYNC ? -1\r\n")
        self.copied = threading.Event()
        threading.Thread(target=self.drain, daemon=True).start()

    def line(self):
        while not (text := self.f.readline()).strip():
            if not text:
                raise EOFError("the primary closed the connection")
        return text.strip()

    def drain(self):
        try:
            at = int(self.line().split()[2])
            head = self.line()
            n = self.marked(head[5:]) if head.startswith(b"$EOF:") else self.counted(int(head[1:]))
            self.took = n, time.monotonic() - self.began
            self.s.sendall(b"REPLCONF ACK %d\r\n" % at)
            self.copied.set()
            while self.f.read1(1 << 20):
                pass
        except (OSError, ValueError, EOFError):
            pass  # closed
        self.copied.set()

    def counted(self, n):
        left = n
        while left:
            data = self.f.read1(min(left, 1 << 20))
            if not data:
                raise EOFError
            left -= len(data)
        return n

    def marked(self, mark):
        """The mark comes last, and nothing behind it before we acknowledge."""
        n, tail = 0, b""
        while tail != mark:
            data = self.f.read1(1 << 20)
            if not data:
                raise EOFError
            n += len(data)
            tail = (tail + data)[-MARK:]
        return n - MARK

    def wait(self, seconds):
        if not self.copied.wait(seconds) or self.took is None:
            raise RuntimeError("the full copy did not come to its end")
        return self.took

    def close(self):
        self.s.shutdown(socket.SHUT_RDWR)
        self.s.close()


def children_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def private_bytes(pid):
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty:", "Private_Clean:"))) * 1024


class Watch:
    """The most memory that was in use at a time."""

    def __init__(self, server):
        self.server, self.peak, self.stop = server, 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.stop.is_set() and self.server.process is not None:
            self.peak = max(self.peak, self.server.rss() + sum(private_bytes(p) for p in children_of(self.server.pid)))
            self.stop.wait(SAMPLE_SECONDS)

    def end(self):
        self.stop.set()
        self.thread.join()
        return self.peak


def start(bed, name):
    server = KINDS[name](bed.build)
    server.more = ("--repl-diskless-sync-delay", "0")
    server.start(bed.cpu)
    server.more = ()
    return server


def load(bed, server, keys, prefix):
    bed.loader.run(server, "--keys", keys, "--key-size", 20, "--key-prefix", prefix, "--value-size", VALUE_SIZE,
                   "--clients", 8, "--pipeline", 50, "--load", "--requests", 0)  # fmt: skip


PROBE = ("--keys", PROBE_KEYS, "--key-size", 20, "--key-prefix", "probe:", "--value-size", VALUE_SIZE, "--clients", 50, "--ratio", "10:1")


def save(server, size):
    """BGSAVE to its end: bytes of the file, seconds."""
    began = time.monotonic()
    server.ask("BGSAVE")
    while server.figures("persistence")["rdb_bgsave_in_progress"] != "0":
        if time.monotonic() - began > size.patience:
            raise RuntimeError(f"{server.name}: BGSAVE does not end")
        time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - began
    return pathlib.Path(server.folder.name, "dump.rdb").stat().st_size, seconds


def sync(server, size):
    sink = Sink(server)
    try:
        return sink.wait(size.patience)
    finally:
        sink.close()


def cut_short(server, process):
    """The row of a larder bench that is told to end now."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    rows = list(csv.DictReader(io.StringIO(out)))
    if not rows or process.returncode not in (0, 1, INTERRUPTED):
        raise RuntimeError(f"{server.name}: {' '.join(process.args)}\n{out}{err}")
    return rows[0]


def copy(bed, round_, name, event):
    """Quiet, then the event, under half of the load that it can take."""
    size, server, watch = bed.size, start(bed, name), None
    try:
        load(bed, server, PROBE_KEYS, "probe:")
        load(bed, server, size.keys, "data:")
        rate = float(bed.loader.run(server, *PROBE, "--seconds", size.window)["per_second"]) / 2
        quiet = bed.loader.run(server, *PROBE, "--rate", rate, "--seconds", size.window)
        rss, watch = server.rss(), Watch(server)
        process = bed.loader.start(server, *PROBE, "--rate", rate, "--seconds", size.patience + size.window)
        time.sleep(LEAD_SECONDS)
        bytes_, seconds = (save if event == "bgsave" else sync)(server, size)
        during = cut_short(server, process)
        return Copied(round_, name, event, rate, float(quiet["p99_9_us"]), float(during["p99_9_us"]), float(during["max_us"]), rss,
                      watch.end(), bytes_, seconds, int(during["errors"]))  # fmt: skip
    finally:
        if watch is not None:
            watch.end()
        server.stop()


def cpu_a_write(bed, server, pipeline):
    before = server.cpu_seconds()
    bed.loader.run(server, *PROBE[:8], "--clients", 50, "--ratio", "0:1", "--pipeline", pipeline, "--requests", bed.size.writes)
    return (server.cpu_seconds() - before) / bed.size.writes


def log(bed, round_, name, pipeline):
    server = start(bed, name)
    try:
        load(bed, server, PROBE_KEYS, "probe:")
        cpu_a_write(bed, server, pipeline)  # warm
        alone = cpu_a_write(bed, server, pipeline)
        sink = Sink(server)
        sink.wait(bed.size.patience)
        fed = cpu_a_write(bed, server, pipeline)
        sink.close()
        return Logged(round_, name, pipeline, alone, fed)
    finally:
        server.stop()


def log_instructions(bed, name, pipeline, n):
    """User-space instructions of a write, without a replica and with one."""
    def make():
        server = KINDS[name](bed.build, measure.CALLGRIND)
        server.more = ("--repl-diskless-sync-delay", "0")
        return server

    def attach(server):
        sink = Sink(server)
        sink.wait(bed.size.patience)
        return sink

    bench_for = lambda: measure.Bench(bed.build, None, 0)  # noqa: E731
    return [measure.instructions(make, bench_for, True, n, pipeline, *more) for more in ((), (attach,))]
