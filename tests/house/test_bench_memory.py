"""bench/memory and bench/stall: their arithmetic on invented results, their refusals, and tiny real runs.

Figures of the tiny runs are not looked at, only that everything is measured and told.
"""

import importlib.machinery
import importlib.util
import pathlib
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import footprint  # noqa: E402
import stalls  # noqa: E402


def script(name):
    """The command itself, as a module: it has no suffix."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader(f"bench_{name}", str(ROOT / "bench" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


memory, stall = script("memory"), script("stall")
MB = 1 << 20


def run(name, *args):
    return subprocess.run([ROOT / "bench" / name, *map(str, args)], capture_output=True, text=True, check=False)


# ---- memory ---------------------------------------------------------------------------------


def filled(growth, ttl=False, keys=2000000, server="larder"):
    return footprint.Filled(server, footprint.Shape(16, 16, ttl), keys, keys, growth, 1.0)


def churned(growth, samples, errors=0):
    return footprint.Churned("larder", 100 * MB, 1200 * MB, growth, 1.0, errors, 1000, 10.0, 5 * MB, samples)


def sample(used, live, rss=50 * MB):
    return footprint.Sample(1.0, rss, used, live)


def verdicts(filled_, churned_):
    results = memory.Results(filled_, set(), churned_)
    return {what: (value, met) for what, _, value, met in memory.targets(results, 2000000)}


def test_overhead_is_what_a_key_takes_beyond_itself():
    assert filled(2000000 * 48).overhead() == pytest.approx(16)
    met = verdicts([filled(2000000 * 48), filled(2000000 * 53, ttl=True)], [])
    assert met["bytes beyond 16 + 16, no TTL, 2,000,000 keys"] == ("16.0", True)
    assert met["bytes beyond 16 + 16, with TTL, 2,000,000 keys"] == ("21.0", False)


def test_what_was_not_measured_is_neither_met_nor_missed():
    assert {met for _, met in verdicts([], []).values()} == {None}


def test_churn_is_judged_by_its_peak_and_by_what_was_full():
    early, full, end = sample(10 * MB, MB), sample(95 * MB, 60 * MB), sample(99 * MB, 90 * MB)
    run_ = churned(109 * MB, [early, full, end])
    assert run_.bound() == pytest.approx(1.09)
    assert run_.live_share(least=True) == pytest.approx(60 / 95) and run_.live_share(least=False) == pytest.approx(90 / 99)
    met = verdicts([], [run_])
    assert met["RSS growth under churn / maxmemory"] == ("1.090", True)
    assert met["live bytes of used in the end, under churn"] == ("90.9%", True)
    assert met["writes refused under churn"] == ("0", True)
    assert verdicts([], [churned(111 * MB, [end], errors=7)])["writes refused under churn"] == ("7", False)
    assert verdicts([], [churned(111 * MB, [early])])["live bytes of used in the end, under churn"][1] is None


def test_plot_is_svg():
    root = xml.fromstring(memory.draw([churned(109 * MB, [sample(MB, MB, rss * MB) for rss in range(5, 100)])]))
    assert root.tag.endswith("svg") and len(root.findall("{http://www.w3.org/2000/svg}circle")) == 4  # of the two levels


def test_memory_refuses_what_it_does_not_know():
    assert "there is only larder, redis, memcached" in run("memory", "--servers", "floor").stderr
    assert "there is only keys, churn, big" in run("memory", "--only", "fast").stderr
    assert run("memory", "--keys", "0").returncode == 2 and run("memory", "--keys", "2,x").returncode == 2


def test_memory_names_what_is_missing(tmp_path):
    done = run("memory", "--build", tmp_path)
    assert done.returncode == 1 and "is not built: run make" in done.stderr


def test_a_tiny_memory_run(tmp_path):
    out = tmp_path / "m.md"
    done = run("memory", "--quick", "--keys", 2000, "--maxmemory-mb", 16, "--servers", "larder", "--out", out)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert text in done.stdout and str(ROOT) not in text
    assert all(shape.title() in text for shape in footprint.SHAPES)
    assert all(phase.name in text for phase in footprint.PHASES)
    filled_first = (tmp_path / "bench-memory.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(filled_first) == len(footprint.SHAPES)
    assert len((tmp_path / "bench-memory-churn.csv").read_text(encoding="utf-8").splitlines()) > len(footprint.PHASES)
    xml.fromstring((tmp_path / memory.PLOT).read_text(encoding="utf-8"))
    again = run("memory", "--quick", "--keys", "2000,3000", "--only", "keys", "--servers", "larder", "--out", out, "--resume")
    rows = (tmp_path / "bench-memory.csv").read_text(encoding="utf-8").splitlines()
    assert again.returncode == 0 and len(rows) == 1 + 2 * len(footprint.SHAPES)
    assert rows[1 : 1 + len(footprint.SHAPES)] == filled_first  # not measured again


def test_what_may_not_be_used_is_left_out(tmp_path):
    done = run("memory", "--quick", "--keys", 2000, "--only", "keys", "--servers", "larder", "--max-gb", 0.0001, "--out", tmp_path / "m.md")
    assert done.returncode == 0 and done.stdout.count("too large") == len(footprint.SHAPES)


# ---- stall ----------------------------------------------------------------------------------


def stalled(quiet, during, server="larder", round_=0):
    return stalls.Result(round_, server, "flushall", quiet, during, 2 * quiet, 2 * during, 0, 0, "done")


def test_a_ratio_is_made_within_a_round():
    figures = stall.Figures([stalled(100, 140), stalled(200, 290, round_=1), stalled(1000, 9000, round_=2)], {"flushall": "it is flushed"})
    assert stall.targets(figures, ["flushall"]) == [("p99.9 while it is flushed / quiet", "<= 1.5", "1.45", True)]
    worse = stall.Figures([stalled(100, 151)], {"flushall": "it is flushed"})
    assert stall.targets(worse, ["flushall"])[0][3] is False
    assert stall.targets(stall.Figures([stalled(1, 1, "redis")], {"flushall": "x"}), ["flushall"])[0][3] is None


def test_what_the_machine_did_stands_beside():
    result = stalled(100, 140)
    cells = lambda: [c.strip() for c in stall.case_table(stall.Figures([result], {}), "flushall", ["larder"]).splitlines()[-1].split("|")][-5:-1]  # noqa: E731
    assert cells() == ["", "", "", "done"]
    result.still_quiet, result.still_during, result.still_sum = 1000.0, 29500.0, 88100.0
    assert cells() == ["1.0", "29.5", "88.1", "done"]


def test_the_witness_is_late_when_it_is_stopped():
    bed = stalls.Bed(ROOT / "build", None, 0, stalls.QUICK, 0)
    with stalls.Witness(bed) as w:
        time.sleep(0.1)
        w.process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        w.process.send_signal(signal.SIGCONT)
    assert w.process.returncode == 1 or (w.longest >= 150000 and w.sum >= w.longest)


def test_stall_refuses_what_it_does_not_know():
    assert "there is only growth, halving, flushall, expiry, set-create, set-scan, set-union, set-expiry, set-delete, purge" in run("stall", "--only", "nap").stderr
    assert run("stall", "--quick", "--growth-to", 5).returncode == 2


def test_a_tiny_stall_run(tmp_path):
    out = tmp_path / "s.md"
    done = run("stall", "--quick", "--rate", 2000, "--only", "growth,flushall,set-create,set-scan,set-union,set-expiry,set-delete,purge", "--servers", "larder", "--out", out)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert text in done.stdout and "FLUSHALL of 50,000 keys" in text and "grows to 60,000 keys" in text
    assert "50,000 members is created" in text and "all were seen" in text and "members added a second" in text
    assert len((tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()) == 9
