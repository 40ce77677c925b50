"""The traces that are replayed: files that are given, or invented from published statistics."""

import csv
import dataclasses
import json
import lzma
import os
import pathlib
import subprocess

from servers import ROOT, Missing

TABLE = ROOT / "bench/twitter.csv"
KEY_BYTES = 20  # of traces that do not say
FOOTPRINT_AIM = 160_000_000  # bytes that an invented trace's keys and values should have ...
REQUESTS_MIN, REQUESTS_MAX = 4_000_000, 12_000_000  # ... if so many requests make it


class Tool:
    """build/bench/replay: each command answers with one JSON object."""

    def __init__(self, build, cpu=None):
        self.program = build / "bench" / "replay"
        self.clock = build / "bench" / "libtraceclock.so"
        self.cpu = cpu
        for path in (self.program, self.clock):
            if not path.exists():
                raise Missing(f"{path} is not built: run make")

    def run(self, *arguments, feed=None):
        pin = ["taskset", "-c", str(self.cpu)] if self.cpu is not None else []
        command = [*pin, str(self.program), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        if feed:
            try:
                while block := feed.read(1 << 20):
                    process.stdin.write(block)
            except BrokenPipeError:
                pass  # it has found a mistake, and says so
        out, error = process.communicate()
        if process.returncode:
            raise RuntimeError(error.decode().splitlines()[0] if error else f"{command[0]} ended with {process.returncode}")
        return json.loads(out)


@dataclasses.dataclass(frozen=True)
class Trace:
    name: str
    path: pathlib.Path  # packed
    about: str
    stats: dict

    def points(self, shares, floor):
        """Memory in bytes for each share of the footprint, none below the floor, none twice."""
        chosen = {}
        for share in shares:
            chosen.setdefault(max(round(floor), round(share * self.stats["footprint"])), share)
        return [(share, size) for size, share in sorted(chosen.items())]


def pack(tool, path, folder):
    """A trace in the shared format, plain or compressed by xz."""
    if not path.is_file():
        raise Missing(f"--trace {path}: there is no such file")
    out = folder / f"{path.name.split('.')[0]}.trace"
    fresh = out.with_suffix(f".{os.getpid()}")  # another run may be replaying the one that is there
    with lzma.open(path) if path.suffix == ".xz" else open(path, "rb") as f:
        try:
            stats = tool.run("pack", "--key-bytes", KEY_BYTES, fresh, feed=f)
        except (RuntimeError, lzma.LZMAError) as e:
            fresh.unlink(missing_ok=True)
            raise Missing(f"--trace {path}: {e}") from e
    fresh.replace(out)
    return Trace(path.name.split(".")[0], out, f"the file {path.name}", stats)


def table():
    with open(TABLE, encoding="utf-8") as f:
        return list(csv.DictReader(line for line in f if not line.startswith("#")))


def invent(tool, row, folder, requests=None, seed=1):
    """A trace that is like a cluster of the table."""
    accesses = float(row["accesses"])
    if requests is None:
        keys = FOOTPRINT_AIM / (int(row["key_bytes"]) + int(row["value_bytes"]))
        requests = min(max(round(keys * accesses), REQUESTS_MIN), REQUESTS_MAX)
    out = folder / f"twitter-{row['cluster']}.trace"
    fresh = out.with_suffix(f".{os.getpid()}")
    stats = tool.run("make", "--requests", requests, "--accesses", accesses, "--one-hit", row["one_hit_percent"],
                     "--key-bytes", row["key_bytes"], "--value-bytes", row["value_bytes"], "--seconds", row["seconds"],
                     "--ttls", row["ttls"].replace(" ", ","), "--seed", seed, fresh)  # fmt: skip
    fresh.replace(out)
    return Trace(f"twitter-{row['cluster']}", out, f"invented, like Twitter's cluster {row['cluster']}", stats)
