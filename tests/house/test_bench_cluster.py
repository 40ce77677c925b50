"""bench/cluster: its arithmetic on invented results, its writer, its refusals, and one tiny real run."""

import json
import pathlib
import socket
import subprocess
import threading
import time
import types

from test_bench_replication import script

ROOT = pathlib.Path(__file__).resolve().parents[2]
bench = script("cluster")
shards = bench.shards


def run(*args):
    return subprocess.run([ROOT / "bench/cluster", *map(str, args)], capture_output=True, text=True, check=False)


def crash(timeout, outage, server="larder"):
    return {"server": server, "timeout": timeout, "outage": outage, "lost": 3}


def bus_row(role, percent, nodes=1000):
    row = {"role": role, "nodes": nodes, "timeout_ms": 15000, "seconds": 60, "cpu_percent": percent}
    return row | dict.fromkeys(("frames_in_s", "frames_out_s", "bytes_in_s", "bytes_out_s", "machine_percent", "lease_percent", "wire_percent"), 1.0)


def test_targets():
    found = {
        "crash": [crash(2000, 2.4), crash(2000, 2.6), crash(2000, 2.4), crash(500, 1.01), crash(500, 0.2), crash(500, 99.0, "redis")],
        "handover": [{"server": "larder", "way": "SIGTERM", "pause": 0.049, "troubles": [], "lost": 1}],
        "slots": [{"server": "larder", "way": "classic", "took": 1.0, "quiet": 10.0, "during": 11.0, "pause": 0.011, "troubles": [], "lost": 0}],
        "calm": [{"server": "larder", "minutes": 1, "snapshots": 3, "failovers": 0}],
        "bus": [bus_row("primary", 2.01), bus_row("replica", 0.5), bus_row("replica", 7.0, nodes=100)],
    }
    met = {row[0]: row[3] for row in bench.targets(found)}
    assert met["crash at 2 s, writes to the shard fail for, p50 s"] is True and met["crash at 500 ms, longest s"] is False
    assert met["SIGTERM, longest pause ms"] is True and met["SIGTERM, errors and lost writes"] is False
    assert met["CLUSTER FAILOVER, longest pause ms"] is None
    assert met["classic move, p99 of other slots / quiet"] is True and met["classic move, longest pause of a moving slot, ms"] is False
    assert met["failovers without need at 500 ms"] is True
    assert met["CPU of the bus among 1,000 nodes, % of a core"] is False
    assert bench.targets({"bus": [bus_row("primary", 2.0)]})[-1][3] is True
    assert "primary of 1000" in bench.summary(found) and "2.01" in bench.summary(found)
    assert "2.60" in bench.summary(found) and "99.00" in bench.summary(found)
    assert {row[3] for row in bench.targets({})} == {None}


def test_slots_and_tags():
    assert shards.slot_of(b"123456789") == 12739  # CRC16's usual check
    assert shards.slot_of(b"{123456789}x") == 12739 and shards.slot_of(b"{}123456789") != 12739
    assert [shards.slot_of(tag) for slot, tag in sorted(shards.tags([0, 1, 16383]).items())] == [0, 1, 16383]
    assert [shards.shard_of(b"{%s}" % shards.tags([s])[s]) for s in (0, 5460, 5461, 10921, 10922, 16383)] == [0, 0, 1, 1, 2, 2]


class Node:
    """Answers each request by the next of a list; '' hangs up."""

    def __init__(self, replies):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.replies = self.listener.getsockname()[1], iter(replies)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            peer = self.listener.accept()[0]
            with peer:
                while peer.recv(65536):
                    reply = next(self.replies, "+OK\r\n")
                    if not reply:
                        break
                    peer.sendall((reply() if callable(reply) else reply).encode())


def test_the_writer_follows_and_counts():
    """It is sent elsewhere, refused, hung up on; nothing is acknowledged that was not, nothing is left out."""
    b = Node(["+OK\r\n"] * 20 + ["-CLUSTERDOWN Hash slot not served\r\n", ""])
    a = Node(["+OK\r\n", lambda: f"-MOVED 0 127.0.0.1:{b.port}\r\n"] + [lambda: f"-MOVED 0 127.0.0.1:{b.port}\r\n"] * 99)
    writer = shards.Writer(types.SimpleNamespace(nodes=[a, b]), b"t", a)
    began = time.monotonic()
    writer.start()
    writer.flow(30)
    writer.end()
    gap, troubles = writer.since(began)
    assert troubles == ["-CLUSTERDOWN Hash slot not served", "ConnectionResetError"]
    assert writer.redirects == 2 and len(writer.acknowledged) >= 30 and 0 < gap < 60
    owner = Node([":0\r\n:1\r\n" + ":1\r\n" * (len(writer.acknowledged) - 2)])
    assert len(writer.acknowledged) > 500 or writer.lost(owner) == 1


def test_wrong_options():
    for args in (["--only", "x"], ["--servers", "valkey"], ["--minutes", 0]):
        done = run(*args)
        assert done.returncode == 2 and "usage" in done.stderr


def test_the_bus(tmp_path):
    """As many frames as the cadence asks for: all other primaries each T/5, their replicas each T/2, with a tick's delay."""
    done = run("--quick", "--servers", "larder", "--only", "bus", "--out", tmp_path / "b.md")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "b.json").read_text())["bus"]
    assert [(r["role"], r["nodes"], r["seconds"]) for r in found] == [("primary", 60, 60), ("replica", 60, 60)]
    for row, pings in zip(found, (30 / 3 + 29 / 7.5 + 1, 1 / 3 + 58 / 7.5 + 1)):
        assert row["frames_in_s"] == row["frames_out_s"] and 0.9 * 2 * pings < row["frames_in_s"] < 1.05 * 2 * pings, row
        assert 2256 + 6 * 104 <= row["bytes_in_s"] / row["frames_in_s"] < 2256 + 6 * 104 + 100
        assert 0 < row["machine_percent"] < row["cpu_percent"] and row["wire_percent"] > 0
    assert "primary of 60" in (tmp_path / "b.md").read_text()


def test_the_bus_tool_refuses():
    for args in (["queen"], ["primary", "5"], ["primary", "100", "0"], ["primary", "100", "1", "x"]):
        done = subprocess.run([ROOT / "build/bench/bus_bench", *args], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "usage" in done.stderr


def test_a_tiny_run(tmp_path):
    done = run("--quick", "--servers", "larder", "--only", "handover,slots", "--out", tmp_path / "c.md")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "c.json").read_text())
    for part, ways in (("handover", bench.WAYS), ("slots", bench.MOVES)):
        assert [row["way"] for row in found[part]] == list(ways["larder"])
        assert all(row["pause"] > 0 for row in found[part]), found
        assert found[part][0]["lost"] == 0, found  # by CLUSTER FAILOVER, or by a move
