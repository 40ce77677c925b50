"""./quickstart for real, on ports of its own and beside nodes that may run already."""

import lzma
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def port():
    """The first of six that are free, with those of their buses; below what the kernel hands out."""
    return next(first for first in range(2000 + os.getpid() % 200 * 6, 4000, 6)
                if all(is_free(p) and is_free(p + 10000) for p in range(first, first + 6)))


@pytest.fixture
def quickstart(tmp_path):
    def run(*arguments):
        result = subprocess.run([ROOT / "quickstart", *arguments], cwd=tmp_path, capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, check=False,
                                env=os.environ | {"LARDER_RUN": str(tmp_path / "run")})
        return result.returncode, result.stdout + result.stderr

    yield run
    run("--stop")


def ask(port, *words):
    return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True, check=False).stdout


def pids(tmp_path):
    lines = (tmp_path / "run/nodes").read_text().split("\n")[1:]
    return {int(port): int(pid) for port, pid in (line.split() for line in lines if line)}


def test_a_cluster(quickstart, port, tmp_path):
    status, said = quickstart("--port", str(port))
    assert status == 0, said
    assert f"redis-cli -c -p {port}" in said and "./quickstart --stop" in said
    assert "state ok, 6 nodes, 3 primaries with slots" in said
    slots = ask(port, "CLUSTER", "NODES")
    for i, those in enumerate(("0-5460", "5461-10922", "10923-16383")):
        assert any(f":{port + i}@" in line and line.endswith(" " + those) for line in slots.splitlines()), slots
    assert ask(port, "-c", "SET", "k", "v") == "OK\n"
    assert ask(port, "CONFIG", "GET", "maxmemory-policy") == "maxmemory-policy\nallkeys-auto\n"
    assert quickstart("--status")[0] == 0

    status, said = quickstart("--port", str(port))
    assert status == 0 and f"already runs on port {port}; nothing to do" in said
    assert ask(port, "-c", "GET", "k") == "v\n", "the second start disturbed the first"
    status, said = quickstart("--port", str(port - 1))
    assert status == 1 and f"already runs from this tree, on port {port}" in said
    status, said = quickstart("--one")
    assert status == 1 and "with 6 nodes" in said

    before = pids(tmp_path)
    os.kill(before[port + 4], signal.SIGKILL)
    while pathlib.Path(f"/proc/{before[port + 4]}/exe").exists():
        time.sleep(0.05)
    status, said = quickstart()
    assert status == 0 and "only 5 of its 6 nodes" in said, said
    after = pids(tmp_path)
    assert after.keys() == before.keys() and [p for p in after if after[p] != before[p]] == [port + 4]

    status, said = quickstart("--stop")
    assert status == 0 and f"port {port} has ended" in said
    assert not (tmp_path / "run/nodes").exists() and ask(port, "PING") != "PONG\n"
    assert quickstart("--status")[0] == 3
    status, said = quickstart("stop")
    assert status == 0 and "No larder of this tree is running" in said

    status, said = quickstart("--port", str(port))
    assert status == 0 and "state ok, 6 nodes" in said, "it comes back as it was: " + said


def test_the_demo(quickstart, port, tmp_path):
    """A trace of its own, from a file beside the caller; a damaged one kills nobody."""
    lines = "".join(f"{i // 100},{i * 7919 % 3001 % (1 + i % 1000)},{i % 700},{i % 3 * 600}\n" for i in range(20000))
    with lzma.open(tmp_path / "short.csv.xz", "wt") as f:
        f.write(lines)
    status, said = quickstart("--demo", "--trace", "short.csv.xz", "--port", str(port))
    assert status == 0, said
    for words in ("20000 requests for 951 keys", "half-way: kill -9 ", "The whole trace", "throughput", "requests/s", "hit ratio",
                  "p99", "outage, writes", "outage, reads"):
        assert words in said, said
    assert "NOT OVER" not in said
    killed = int(re.search(r"The node on port (\d+) is started again", said)[1])
    assert sorted(pids(tmp_path)) == list(range(port, port + 6)) and ask(killed, "PING") == "PONG\n"
    assert "state ok, 6 nodes, 3 primaries with slots" in quickstart("--status")[1]

    before = pids(tmp_path)
    (tmp_path / "bad.csv").write_text("0,a,10,0\n1,b\n")
    status, said = quickstart("--demo", "--trace=bad.csv")
    assert status == 1 and "demo: the trace: line 2" in said and "started again" not in said, said
    assert pids(tmp_path) == before


@pytest.mark.parametrize(("arguments", "why"), [
    (("--demo", "--one"), "has only one"),
    (("--demo", "--trace", "none.csv"), "none.csv cannot be read"),
    (("--demo", "--trace", "no.xz"), "no.xz cannot be unpacked"),
    (("--trace", "no.xz"), "./quickstart --demo --trace"),
    (("--demo", "--trace"), "wants a file")])
def test_a_demo_that_cannot_be(quickstart, tmp_path, arguments, why):
    (tmp_path / "no.xz").write_text("no archive")
    status, said = quickstart(*arguments)
    assert status == 1 and why in said and not (tmp_path / "run").exists(), said


def test_one_node(quickstart, port):
    status, said = quickstart("--one", "--port", str(port))
    assert status == 0, said
    assert f"redis-cli -p {port}" in said and ask(port, "SET", "k", "v") == "OK\n"
    assert "cluster support disabled" in ask(port, "CLUSTER", "INFO")
    assert quickstart("--status")[0] == 0 and quickstart("--stop")[0] == 0


def test_a_port_without_room_for_the_bus(quickstart):
    status, said = quickstart("--port", "55531")
    assert status == 1 and "at most 55530" in said and "--one --port 55531" in said


def test_a_taken_port_is_named(quickstart, port):
    with socket.socket() as s:
        s.bind(("127.0.0.1", port + 10001))
        s.listen()
        status, said = quickstart("--port", str(port))
    assert status == 1
    assert f"port {port + 10001} is taken" in said and "the bus" in said and "./quickstart --port" in said


@pytest.mark.parametrize("arguments", [("--port", "0"), ("--port", "65536"), ("--port", "x"), ("--port",), ("begin",)])
def test_nonsense_is_refused(quickstart, arguments):
    status, said = quickstart(*arguments)
    assert status == 1 and "quickstart: " in said
