"""bench/cache: its arithmetic on invented results, its refusals, and one tiny real run."""

import json
import pathlib
import subprocess

from test_bench_replication import script

ROOT = pathlib.Path(__file__).resolve().parents[2]
bench = script("cache")


def run(*args):
    return subprocess.run([ROOT / "bench/cache", *map(str, args)], capture_output=True, text=True, check=False)


def hits(cpu):
    return [{"round": i, "command": c, "pipeline": p, "cpu": v, "p50": v, "p99": v}
            for i in range(3) for p in (1, 16) for c, v in (("GET", 1.0), ("CACHE.GET", cpu[p]))]  # fmt: skip


def test_targets():
    found = {
        "hit": hits({1: 1.1, 16: 1.2}),
        "stampede": [{"round": 0, "fill": 3.1, "bare": 1.0}, {"round": 1, "fill": 2.9, "bare": 1.0}, {"round": 2, "fill": 2.0, "bare": 1.0}],
        "purge": {"ms": [1.0] * 98 + [11.0, 99.0], "quiet": 10.0, "during": 15.0, "fresh": 1, "healed": 1.0,
                  "pattern": {"ms": 3.0, "keys": 1_000_000, "given": 0, "during": 16.0, "bytes_before": 2 << 30, "bytes_after": 1 << 20}},
    }
    assert [row[3] for row in bench.targets(found)] == [True, True, True, False, False, False, True, False, True, False, False, True]
    assert [row[3] for row in bench.targets({})] == [None] * 12
    text = bench.summary(found, bench.QUICK)
    assert "2.90" in text and "2048 MB of data became 1 MB" in text and "MATCH of 1,000,000 keys" in text


def test_wrong_options():
    for args in (["--only", "x"], ["--rounds", 1]):
        done = run(*args)
        assert done.returncode == 2 and "usage" in done.stderr


def test_a_tiny_run(tmp_path):
    done = run("--quick", "--out", tmp_path / "c.md")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "c.md").read_text()
    assert "not measured" not in text and "| CACHE.GET |" in text
    found = json.loads((tmp_path / "c.json").read_text())
    assert len(found["purge"]["ms"]) == bench.QUICK.purges and found["purge"]["fresh"] == 0
    assert found["purge"]["pattern"]["keys"] > bench.QUICK.keys / 2 and found["purge"]["pattern"]["given"] == 0
