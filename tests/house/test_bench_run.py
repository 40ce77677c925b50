"""bench/run: its arithmetic on invented results, its refusals, and one tiny real run.

Figures of the tiny run are not looked at, only that it measures everything it says.
"""

import csv
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import measure  # noqa: E402
import verdict  # noqa: E402
from measure import FEW, LARGE, MANY, OPEN, Result, on  # noqa: E402

UNPIPELINED, PIPELINED = on(LARGE)[:2]


def result(server, case, cpu, round_=0, per_second=1e6, p99=500.0, unsent=0):
    return Result(round_, server, case, per_second, 100.0, p99, 900.0, 1000.0, cpu, cpu / 2, 1, 0, 0, unsent)


def test_ratios_are_made_within_a_round():
    # The machine is twice as slow in the second round: the ratio is 1.5 in all three.
    f = verdict.Figures([result(s, PIPELINED, cpu * slow, i) for i, slow in enumerate((1, 2, 1.1))
                         for s, cpu in (("larder", 3.0), ("floor", 2.0))], {})  # fmt: skip
    assert f.ratio("larder", "floor", PIPELINED) == pytest.approx(1.5)
    assert f.median("larder", PIPELINED, "cpu") == pytest.approx(3.3)
    assert f.spread("floor", PIPELINED, "cpu") == pytest.approx((4 - 2) / 2.2)
    assert f.ratio("larder", "redis", PIPELINED) is None
    assert f.median("larder", UNPIPELINED, "cpu") is None


def test_growth_compares_the_cost_over_the_floor():
    rows = [result("larder", UNPIPELINED, 6), result("floor", UNPIPELINED, 5), result("larder", MANY[0], 13.2), result("floor", MANY[0], 10)]
    assert verdict.Figures(rows, {}).growth("larder", "floor", UNPIPELINED, MANY[0]) == pytest.approx(1.1)


def verdicts(results, idle=None):
    return {what: (value, met) for what, _, value, met in verdict.targets(verdict.Figures(results, idle or {}))}


def test_few_and_many_keys_are_judged_apart():
    few = on(FEW)[1]
    met = verdicts([result("larder", few, 1.0), result("floor", few, 1.0), result("larder", PIPELINED, 2.0), result("floor", PIPELINED, 1.0)])
    assert met["CPU at pipeline 16: larder / floor, few keys"] == ("1.00", True)
    assert met["CPU at pipeline 16: larder / floor, many keys"] == ("2.00", False)


def test_what_was_not_measured_is_neither_met_nor_missed():
    assert {met for _, met in verdicts([]).values()} == {None}
    assert {value for value, _ in verdicts([]).values()} == {"not measured"}


def test_limits_are_the_targets_own():
    at_limit = [result("floor", PIPELINED, 1.0), result("larder", PIPELINED, 1.2), result("redis", PIPELINED, 2.4)]
    met = verdicts(at_limit)
    assert met["CPU at pipeline 16: larder / floor, many keys"] == ("1.20", True)
    assert met["CPU at pipeline 16: larder / Redis, many keys"] == ("0.50", True)
    assert met["the floor is honest, pipeline 16: Redis / floor, many keys"] == ("2.40", True)
    beyond = [result("floor", PIPELINED, 1.0), result("larder", PIPELINED, 1.21), result("redis", PIPELINED, 2.1)]
    missed = verdicts(beyond)
    assert missed["CPU at pipeline 16: larder / floor, many keys"] == ("1.21", False)
    assert missed["CPU at pipeline 16: larder / Redis, many keys"] == ("0.58", False)
    assert missed["the floor is honest, pipeline 16: Redis / floor, many keys"] == ("2.10", False)


def test_a_rate_must_be_held_and_be_fast():
    name = "1,000,000 requests/s on one core, pipeline 16: p99"
    assert verdicts([result("larder", OPEN[0], 1)])[name] == ("0.500 ms", True)
    assert verdicts([result("larder", OPEN[0], 1, p99=1000.0)])[name] == ("1.000 ms", False)
    assert verdicts([result("larder", OPEN[0], 1, unsent=1)])[name] == ("rate not held", False)
    assert verdicts([result("larder", OPEN[0], 1, per_second=990000)])[name] == ("rate not held", False)


def test_idle_connections():
    name = "15,000 idle connections, MB"
    assert verdicts([], {"larder": 15_000_000})[name] == ("15.0", True)
    assert verdicts([], {"larder": 15_100_000})[name] == ("15.1", False)


def bench_run(*args):
    return subprocess.run([ROOT / "bench/run", *map(str, args)], capture_output=True, text=True, check=False)


def test_what_is_missing_is_named(tmp_path):
    done = bench_run("--build", tmp_path)
    assert done.returncode == 1
    assert f"bench: {tmp_path}/" in done.stderr and "is not built: run make" in done.stderr
    assert done.stdout == ""


def test_names_are_checked():
    assert "there is only larder, floor, redis, memcached" in bench_run("--servers", "larder,valkey").stderr
    assert "there is only idle, closed, open, many" in bench_run("--only", "fast").stderr
    assert bench_run("--rounds", 0).returncode == 2


def test_a_tiny_run_measures_everything(tmp_path):
    out = tmp_path / "summary.md"
    done = bench_run("--rounds", 1, "--seconds", 0.02, "--keys", 2000, "--only", "closed,open", "--out", out)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert text in done.stdout
    cases = [*measure.CLOSED, *measure.OPEN]
    assert all(f"\n{case.title()}\n" in text for case in cases)
    rows = list(csv.DictReader((tmp_path / "summary.csv").open(encoding="utf-8")))
    assert len(rows) == 4 * len(cases)
    assert {row["server"] for row in rows} == {"larder", "floor", "redis", "memcached"}
    assert all(float(row["cpu"]) > 0 and int(row["errors"]) == 0 for row in rows)
    assert str(ROOT) not in text
