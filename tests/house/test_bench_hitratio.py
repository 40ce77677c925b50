"""bench/hitratio: the search for equal memory and the arithmetic on invented runs, the traces it
invents, replays that must lose nothing, and one small real run. Counts and states, no times."""

import csv
import lzma
import pathlib
import random
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import equal  # noqa: E402
import hit_report  # noqa: E402
import plot  # noqa: E402
import servers  # noqa: E402
import traces  # noqa: E402

BUILD = ROOT / "build"
MB = 1 << 20


@pytest.fixture(scope="module")
def tool():
    return traces.Tool(BUILD)


# ---- equal memory -------------------------------------------------------------------------


def run_of(limit=0, growth=0, budget=0, misses=0, subject="s", expired=-1, objects=10):
    return equal.Run("t", 0.1, 0, subject, limit, growth, budget, 1000, misses, misses, 0, objects, 0, expired, 1.0, "")


def search(growth_of, budget, first, step=1, smallest=1):
    limits = []

    def run(limit):
        limits.append(limit)
        return run_of(limit, growth_of(limit), budget)

    return equal.fit(run, budget, first, step, smallest), limits


@pytest.mark.parametrize("growth_of", [lambda x: x * 1.3 + MB, lambda x: x * 0.7, lambda x: x + 3 * MB, lambda x: x,
                                       lambda x: (x + 2 * MB) // (2 * MB) * 2 * MB])  # fmt: skip
def test_the_search_ends_near_the_budget_and_never_beyond(growth_of):
    best, limits = search(growth_of, 50 * MB, 50 * MB)
    assert 0.9 * 50 * MB <= best.growth <= 50 * MB
    assert len(limits) == len(set(limits)) <= equal.TRIES


def test_a_server_that_cannot_be_small_is_told_at_its_smallest():
    best, limits = search(lambda x: 26 * MB + x / 10, 10 * MB, 10 * MB, MB, 2 * MB)
    assert best.over() and best.limit == min(limits) == 2 * MB


def test_memory_that_is_not_used_ends_the_search():
    best, limits = search(lambda x: min(x, 5 * MB), 50 * MB, 50 * MB)
    assert best.growth == 5 * MB and len(limits) == 2


def test_limits_are_whole_steps():
    _, limits = search(lambda x: x * 1.7, 50 * MB, 50 * MB + 77, MB, 2 * MB)
    assert all(limit % MB == 0 for limit in limits)


# ---- arithmetic ----------------------------------------------------------------------------


def point(misses, first=100, unavoidable=150, belady=200, requests=1000, growth=None, expired=-1):
    trace = traces.Trace("t", pathlib.Path("t"), "a test", {"first": first, "requests": requests, "footprint": 1000})
    p = hit_report.Point(trace, 0.1, 10 * MB, {"belady": belady, "lru": 1, "least": 1, "bytes": 1, "belady_objects": 1}, unavoidable)
    for name, count in misses.items():
        p.runs[name] = run_of(growth=(growth or {}).get(name, 5 * MB), budget=5 * MB, misses=count, subject=name, expired=expired)
    return p


LRU, DECAY_0, DECAY_1, AUTO = hit_report.LRU, *hit_report.LFU, hit_report.AUTO


def test_excess_is_what_first_requests_do_not_explain():
    p = point({LRU: 300, DECAY_0: 260, DECAY_1: 250, AUTO: 220})
    assert p.excess(LRU) == 200
    assert p.ratio(AUTO, LRU) == pytest.approx(120 / 200)
    assert p.best_lfu() == DECAY_1
    assert p.ratio(AUTO, p.best_lfu()) == pytest.approx(120 / 150)
    assert p.ratio(AUTO, LRU, p.unavoidable) == pytest.approx(70 / 150)
    assert p.against_belady(AUTO) == pytest.approx(1.1)


def test_the_budget_is_the_least_that_a_redis_has_grown_by():
    p = point({LRU: 300, DECAY_0: 260, AUTO: 1}, growth={LRU: 9, DECAY_0: 7, AUTO: 3})
    assert p.budget() == 7
    assert point({AUTO: 1}).budget() is None


def test_a_point_without_excess_decides_nothing():
    assert point({LRU: 100, AUTO: 500}).ratio(AUTO, LRU) is None
    assert point({LRU: 300, AUTO: 100}).ratio(AUTO, LRU) == pytest.approx(1 / 200)  # not 0: a geomean would be lost
    assert point({LRU: 300}).ratio(AUTO, LRU) is None


def verdicts(points):
    return {what: (value, met) for what, _, value, met in hit_report.verdicts(points)}


def test_verdicts_are_the_targets_own():
    met = verdicts([point({LRU: 300, DECAY_0: 280, DECAY_1: 300, AUTO: 250}, expired=5 * MB // 100)])
    assert met["excess misses / Redis allkeys-lru, geomean"] == ("0.75", True)
    assert met["excess misses / Redis allkeys-lfu at its best, geomean"] == ("0.83", True)
    assert met["all misses / Belady (uniform size), geomean"] == ("1.25", True)
    assert met["expired but resident at the end, % of memory, the worst point"] == ("1.00", True)
    assert met["RSS growth at or under Redis's"] == ("always", True)
    missed = verdicts([point({LRU: 300, DECAY_0: 280, AUTO: 252}, expired=5 * MB // 90), point({LRU: 300, AUTO: 320}, growth={AUTO: 6 * MB})])
    assert missed["excess misses / Redis allkeys-lru, geomean"] == ("0.91", False)
    assert missed["excess misses / Redis allkeys-lru, the worst point"] == ("1.10", False)
    assert missed["excess misses / Redis allkeys-lfu at its best, geomean"][1] is False or missed["excess misses / Redis allkeys-lfu at its best, geomean"][0] == "0.84"
    assert missed["all misses / Belady (uniform size), geomean"] == ("1.42", False)
    assert missed["RSS growth at or under Redis's"] == ("over at 1 points", False)
    assert missed["expired but resident at the end, % of memory, the worst point"][1] is False
    assert {met for _, met in verdicts([]).values()} == {None}


def test_a_plot_is_a_picture_with_all_points():
    picture = plot.svg("a < b", "x", "y", [("one", [(5, 30), (10, 20), (20, 12.5)], False), ("two", [(5, 10)], True), ("none", [], True)])
    tree = xml.etree.ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in tree.iter(space + "circle")]
    assert len(dots) == 4
    assert dots[0][0] < dots[1][0] < dots[2][0] and dots[0][1] < dots[1][1] < dots[2][1]  # fewer misses lie lower
    assert all(0 <= x <= plot.WIDTH and 0 <= y <= plot.HEIGHT for x, y in dots)
    words = {t.text for t in tree.iter(space + "text")}
    assert {"a < b", "x", "y", "one", "two", "0", "10", "30"} <= words and "none" not in words
    flat = plot.svg("t", "x", "y", [("one", [(5, 0)], False)])
    assert xml.etree.ElementTree.fromstring(flat).tag == space + "svg"


# ---- traces --------------------------------------------------------------------------------


@pytest.mark.parametrize("row", traces.table(), ids=lambda row: row["cluster"])
def test_invented_traces_have_the_published_statistics(row, tool, tmp_path):
    s = traces.invent(tool, row, tmp_path, 500000).stats
    assert s["requests"] == pytest.approx(500000, rel=0.01)
    assert s["key_bytes"] == int(row["key_bytes"])
    assert s["value_mean"] == pytest.approx(float(row["value_bytes"]), rel=0.1)
    assert s["accesses"] == pytest.approx(float(row["accesses"]), rel=0.02)
    assert s["one_hit_percent"] == pytest.approx(float(row["one_hit_percent"]), abs=0.2)
    assert s["compulsory_percent"] == pytest.approx(float(row["compulsory_percent"]), abs=0.3)
    assert s["seconds"] == pytest.approx(float(row["seconds"]), rel=0.02)
    listed = [entry.split(":") for entry in row["ttls"].split()]
    whole = sum(float(share) for _, share in listed)
    told = dict(map(tuple, s["ttls"]))
    for ttl, share in listed:
        if "-" not in ttl and float(share) > 0.02:
            assert told[int(ttl)] == pytest.approx(float(share) / whole, abs=0.04)


def test_traces_of_both_kinds_are_read(tool, tmp_path):
    text = b"10,1,300,60\n10,2,400,0\n75,1,300,60\n"
    (tmp_path / "plain.csv").write_bytes(text)
    (tmp_path / "small.csv.xz").write_bytes(lzma.compress(text))
    for name in ("plain.csv", "small.csv.xz"):
        t = traces.pack(tool, tmp_path / name, tmp_path)
        assert t.name == name.split(".")[0]
        assert (t.stats["requests"], t.stats["keys"], t.stats["first"], t.stats["expired"]) == (3, 2, 2, 1)
        assert t.stats["footprint"] == 2 * traces.KEY_BYTES + 700


def test_points_have_a_floor_and_are_not_repeated():
    t = traces.Trace("t", pathlib.Path("t"), "", {"footprint": 100 * MB})
    assert t.points([0.05, 0.1, 0.2], 8 * MB) == [(0.05, 8 * MB), (0.1, 10 * MB), (0.2, 20 * MB)]
    assert t.points([0.05, 0.1, 0.2], 15 * MB) == [(0.05, 15 * MB), (0.2, 20 * MB)]


# ---- replays -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(tool, tmp_path_factory):
    """Few hot keys, so that most requests find their key under way; and some TTLs, far apart."""
    folder = tmp_path_factory.mktemp("crowded")
    rng = random.Random(7)
    lines = [f"0,{int(rng.random() ** 6 * 300)},{rng.randrange(20000)},0" for _ in range(30000)]
    lines += [f"{second},ttl{key},50,100" for second in (1000, 1050, 1500, 1550, 5000) for key in range(40)]
    (folder / "crowded.csv").write_text("\n".join(lines) + "\n")
    return traces.pack(tool, folder / "crowded.csv", folder)


@pytest.mark.parametrize("subject", [equal.Subject("redis", "allkeys-lru"), equal.Subject("memcached"), equal.Subject("larder", "noeviction")],
                         ids=lambda s: s.server)  # fmt: skip
def test_a_cache_with_room_misses_only_what_nobody_can_serve(subject, crowded, tool):
    """One miss too many, and a GET has overtaken the SET of its key, or time went wrong."""
    replayer = equal.Replayer(tool, BUILD, None)
    r = replayer.run(crowded, 1.0, 256 * MB, subject, 256 * MB)
    unavoidable = crowded.stats["first"] + crowded.stats["expired"]
    assert crowded.stats["expired"] == 2 * 40
    assert (r.requests, r.misses, r.stored, r.refused, r.evicted) == (crowded.stats["requests"], unavoidable, unavoidable, 0, 0)
    assert r.growth > 0 and r.error == "" and replayer.running == []


def test_a_server_that_does_not_take_the_clock_is_found_out(crowded, tool, monkeypatch):
    replayer = equal.Replayer(tool, BUILD, None)
    real_server = replayer.server

    def without_clock(subject, limit):
        made = real_server(subject, limit)
        type(made).environment = property(lambda self: None, lambda self, value: None)
        return made

    monkeypatch.setattr(replayer, "server", without_clock)
    try:
        with pytest.raises(RuntimeError, match="the clock of redis went"):
            replayer.run(crowded, 1.0, 256 * MB, equal.REDIS[0], 256 * MB)
    finally:
        del servers.Redis.environment


def test_a_wrong_protocol_is_no_miss(crowded, tool):
    server = servers.Redis(BUILD)
    server.start()
    try:
        with pytest.raises(RuntimeError, match="a reply that is not expected|the server is gone"):
            tool.run("play", crowded.path, "--port", server.port, "--memcached")
    finally:
        server.stop()


# ---- the command ---------------------------------------------------------------------------


def hitratio(*args):
    return subprocess.run([ROOT / "bench/hitratio", *map(str, args)], capture_output=True, text=True, check=False)


def test_what_is_missing_is_named(tmp_path):
    done = hitratio("--build", tmp_path)
    assert done.returncode == 1 and "is not built: run make" in done.stderr and done.stdout == ""
    done = hitratio("--trace", tmp_path / "none.csv")
    assert done.returncode == 1 and "there is no such file" in done.stderr
    (tmp_path / "bad.csv").write_text("1,2,3,0\n0,2,3,0\n")
    done = hitratio("--trace", tmp_path / "bad.csv", "--out", tmp_path / "o.md")
    assert done.returncode == 1 and "line 2: is earlier than the line before it" in done.stderr


def test_wrong_options_are_refused():
    assert "there is only larder, redis, memcached" in hitratio("--servers", "redis,valkey").stderr
    assert "redis sets the measure" in hitratio("--servers", "larder").stderr
    assert "there is only allkeys-auto" in hitratio("--policies", "fifo").stderr
    assert hitratio("--shares", "five").returncode == 2


def test_a_quick_run_measures_everything(tmp_path):
    out = tmp_path / "summary.md"
    command = ("--quick", "--requests", 30000, "--servers", "larder,redis", "--out", out, "--raw", tmp_path / "raw.csv")
    done = hitratio(*command)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert text in done.stdout and str(ROOT) not in text
    rows = list(csv.DictReader((tmp_path / "raw.csv").open(encoding="utf-8")))
    subjects = {row["subject"] for row in rows}
    assert {*hit_report.LFU, LRU, "larder allkeys-auto"} == subjects
    for row in rows:
        assert int(row["misses"]) == int(row["stored"]) + int(row["refused"]) > 0
        assert int(row["growth"]) > 0
    for heading in ("## Against the targets", "## Over all points", "## Traces", "Belady", "nothing can have fewer"):
        assert heading in text
    assert {bool(row["program"]) for row in rows if row["subject"].startswith("larder")} == {True}
    # Resumed it repeats nothing and says the same; what another larder has done is done again, Redis's not.
    again = hitratio(*command, "--resume")
    assert again.returncode == 0 and ", limit " in done.stderr and ", limit " not in again.stderr
    assert tables(out.read_text(encoding="utf-8")) == tables(text)
    raw = (tmp_path / "raw.csv").read_text(encoding="utf-8").replace(rows[-1]["program"], "another")
    (tmp_path / "raw.csv").write_text(raw, encoding="utf-8")
    again = hitratio(*command, "--resume")
    assert again.returncode == 0 and "larder allkeys-auto, limit" in again.stderr and "redis allkeys-lru, limit" not in again.stderr


def test_ended_from_outside_it_leaves_no_server(tmp_path):
    process = subprocess.Popen([ROOT / "bench/hitratio", "--quick", "--out", tmp_path / "o.md", "--raw", tmp_path / "raw.csv"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    while ", limit " not in process.stderr.readline():
        assert process.poll() is None
    process.terminate()
    assert "--resume goes on" in process.communicate(timeout=240)[1] and process.returncode == 130
    # What has ended counts as gone, also before init has collected it.
    deadline = time.monotonic() + 120
    while members_alive(process.pid):
        assert time.monotonic() < deadline, members_alive(process.pid)
        time.sleep(0.05)


def members_alive(group):
    """The programs of a process group, zombies left out."""
    out = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text(encoding="utf-8").split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        state, _, pgrp = rest.split()[:3]
        if int(pgrp) == group and state not in "ZX":
            out.append(name)
    return out


def tables(text):
    return [line for line in text.splitlines() if line.startswith("|")]
