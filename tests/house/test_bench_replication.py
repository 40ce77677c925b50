"""bench/replication: its arithmetic on invented results, its refusals, and one tiny real run."""

import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import replications  # noqa: E402


def script(name):
    """The command itself, as a module: it has no suffix."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader(f"bench_{name}", str(ROOT / "bench" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


bench = script("replication")


def run(*args):
    return subprocess.run([ROOT / "bench/replication", *map(str, args)], capture_output=True, text=True, check=False)


def copied(event, during, peak, server="larder"):
    return replications.Copied(0, server, event, 1000.0, 100.0, during, during * 2, 1000, peak, 50_000_000, 2.0, 0)


def test_targets():
    logged = [replications.Logged(0, "larder", 1, 1e-6, 1.05e-6), replications.Logged(0, "larder", 50, 1e-6, 2e-6)]
    figures = bench.Figures([copied("bgsave", 150, 1099), copied("fullsync", 151, 1101), copied("bgsave", 900, 9000, "redis")], logged)
    assert [row[3] for row in bench.targets(figures)] == [True, True, False, False, True]
    assert [row[3] for row in bench.targets(bench.Figures([], []))] == [None] * 5
    assert figures.copies("larder", "bgsave")[0].rate_mb() == 25
    text = bench.summary(figures, ["larder", "redis"])
    assert "1.50" in text and "5.0%" in text


def test_wrong_options():
    for args in (["--servers", "memcached"], ["--only", "x"], ["--rounds", 0], ["--keys", 0]):
        done = run(*args)
        assert done.returncode == 2 and "usage" in done.stderr


def test_a_tiny_run(tmp_path):
    out = tmp_path / "r.md"
    done = run("--quick", "--keys", 2000, "--servers", "larder", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text()
    assert "not measured" not in text and "| larder" in text
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 3
    assert len((tmp_path / "r-log.csv").read_text().splitlines()) == 3
