"""`larder bench` against real servers: what it counts is what they saw.

Nothing here looks at a time. Each test runs against Debian's redis-server and
against the server under test; memcached's text protocol against memcached itself.
"""

import csv
import io
import json
import os
import pty
import signal
import socket
import subprocess
import time

import harness
import pytest

_BESIDE = os.path.join(os.path.dirname(harness.LARDER_SERVER), "larder")
TOOL = _BESIDE if os.access(_BESIDE, os.X_OK) else os.path.join(harness.ROOT, "build", "larder")
SECONDS_MAX = 120  # bounds a hang, nothing else


def bench(*args, env=None):
    environ = dict(os.environ, **(env or {}))
    if env is None:
        environ.pop("REDISCLI_AUTH", None)
    return subprocess.run([TOOL, "bench", *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=SECONDS_MAX, env=environ, check=False)


def measured(*args, code=0, **keywords):
    done = bench(*args, "--output", "json", **keywords)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def refused(code, *args, **keywords):
    done = bench(*args, **keywords)
    assert done.returncode == code
    assert done.stdout == ""
    return done.stderr


@pytest.fixture(params=["redis_server", "larder"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[harness.REDIS_SERVER, harness.LARDER_SERVER], ids=["redis_server", "larder"])
def start(request):
    """A function that starts a server of the test's own; what it ends with is the test's affair."""
    mine = []

    def go(options=None):
        one = harness.Server(request.param, options)
        mine.append(one)
        return one.start()

    yield go
    for one in mine:
        one.expect_alarm = True
        one.close()


@pytest.fixture
def memcached():
    port = harness.free_port()
    process = subprocess.Popen(["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1", "-u", "nobody"])
    harness.wait_until(lambda: answers(port), what="memcached")
    yield port
    process.terminate()
    process.wait(timeout=60)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


def memcached_stats(port):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s, s.makefile("rwb") as f:
        f.write(b"stats\r\n")
        f.flush()
        rows = iter(f.readline, b"END\r\n")
        return {name.decode(): value.decode() for _, name, value in (row.split(None, 2) for row in rows)}


def calls(server):
    """Command -> how often the server has executed it."""
    with server.client() as r:
        return {name[len("cmdstat_"):]: row["calls"] for name, row in r.info("commandstats").items()}


def test_the_server_saw_what_was_counted(server):
    out = measured("-p", server.port, "--load", "--keys", 500, "-n", 11000, "-c", 11)
    seen = calls(server)
    gets, sets = out["latency_us"]["get"]["count"], out["latency_us"]["set"]["count"]
    assert out["requests"] == 11000 == gets + sets
    assert gets == 10 * sets
    assert seen["get"] == gets == out["hits"]
    assert seen["set"] == sets + 500
    assert out["misses"] == out["errors"] == out["unsent"] == out["unanswered"] == 0
    with server.client() as r:
        assert r.dbsize() == 500


def test_nothing_loaded_means_misses(server):
    out = measured("-p", server.port, "--ratio", "1:0", "-n", 300)
    assert (out["hits"], out["misses"]) == (0, 300)
    assert "set" not in out["latency_us"]


@pytest.mark.parametrize("args", [
    ("-t", 2, "-c", 7, "-P", 13), ("-c", 50, "-P", 100), ("-t", 3, "-c", 3), ("-c", 1, "-P", 1000),
    ("--rate", 20000, "-P", 7), ("--rate", 20000, "--arrivals", "poisson", "-t", 2), ("--resp3", "-P", 16),
])  # fmt: skip
def test_exactly_so_many_requests(server, args):
    out = measured("-p", server.port, "--ratio", "1:1", "--keys", 100, "-n", 1001, *args)
    seen = calls(server)
    assert out["requests"] == 1001 == seen["get"] + seen["set"]
    assert out["hits"] + out["misses"] == seen["get"]


def test_a_load_alone(server):
    out = measured("-p", server.port, "--load", "-n", 0, "--keys", 1234, "-t", 3)
    assert out["requests"] == 1234 == calls(server)["set"]
    with server.client() as r:
        assert r.dbsize() == 1234
        assert r.exists("key:000000000000", "key:000000001233") == 2


def test_sequential_keys_are_all_of_them(server):
    measured("-p", server.port, "--ratio", "0:1", "--distribution", "sequential", "--keys", 700, "-n", 700, "-t", 2)
    with server.client() as r:
        assert r.dbsize() == 700


def test_zipf_asks_for_keys_that_exist(server):
    out = measured("-p", server.port, "--load", "--keys", 1000, "--ratio", "1:0", "--distribution", "zipf", "-n", 2000)
    assert out["hits"] == 2000


def test_sizes_and_times_to_live(server):
    measured("-p", server.port, "--load", "-n", 0, "--keys", 300, "--key-size", 30, "--key-prefix", "tale:",
             "--value-size", "10-40", "--ttl", "600-900")  # fmt: skip
    with server.client() as r:
        keys = list(r.scan_iter(count=1000))
        assert len(keys) == 300
        assert all(len(k) == 30 and k.startswith(b"tale:") for k in keys)
        sizes = [r.strlen(k) for k in keys]
        assert min(sizes) == 10 and max(sizes) == 40
        ttls = [r.ttl(k) for k in keys]
        assert all(0 < t <= 900 for t in ttls) and len(set(ttls)) > 20


def test_large_values_go_through(server):
    out = measured("-p", server.port, "--load", "--keys", 20, "--value-size", "300kb", "--ratio", "1:1", "-n", 400,
                   "-c", 5, "-P", 20)  # fmt: skip
    assert out["requests"] == 400
    assert out["hits"] == out["latency_us"]["get"]["count"]
    assert out["bytes_in"] > out["hits"] * 300 * 1024


def test_a_batch_may_be_larger_than_the_socket_holds(server):
    out = measured("-p", server.port, "--ratio", "0:1", "--value-size", "1mb", "--keys", 5, "-c", 2, "-P", 30, "-n", 60)
    assert out["requests"] == 60 == calls(server)["set"]
    assert out["bytes_out"] > 60 * 1024 * 1024
    with server.client() as r:
        assert all(r.strlen(k) == 1024 * 1024 for k in r.keys())


def test_lognormal_values_are_what_they_say(server):
    measured("-p", server.port, "--load", "-n", 0, "--keys", 400, "--value-size", "lognormal:200:1")
    with server.client() as r:
        sizes = sorted(r.strlen(k) for k in r.scan_iter(count=1000))
        assert len(sizes) == 400 and 150 < sizes[200] < 260
        assert sizes[-1] > 1000


def test_any_command(server):
    out = measured("-p", server.port, "--command", "INCRBY count:__key__ 5", "--keys", 10, "-n", 1000)
    assert out["requests"] == 1000 == calls(server)["incrby"]
    with server.client() as r:
        assert sum(int(r.get(k)) for k in r.keys()) == 5000


def test_errors_are_counted_and_the_first_is_told(server):
    out = measured("-p", server.port, "--load", "--keys", 10, "--command", "INCR __key__", "-n", 50, code=1)
    assert out["errors"] == 50 and out["requests"] == 50
    assert out["first_error"] == "ERR value is not an integer or out of range"
    done = bench("-p", server.port, "--command", "NOSUCHTHING", "-n", 50)
    assert done.returncode == 1
    assert "50 errors, the first: ERR unknown command 'NOSUCHTHING'" in done.stdout


def test_errors_while_loading_end_the_run(start):
    server = start({"maxmemory": "1b"})
    stderr = refused(1, "-p", server.port, "--load", "--keys", 10, "-n", 10)
    assert "loading got 10 errors, the first: OOM command not allowed" in stderr


def test_csv_has_a_row_for_each_part(server):
    done = bench("-p", server.port, "--ratio", "1:1", "-n", 100, "--output", "csv", "--server-pid", server.pid)
    assert done.returncode == 0
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["op"] for row in rows] == ["all", "get", "set"]
    assert int(rows[0]["requests"]) == 100 == int(rows[1]["requests"]) + int(rows[2]["requests"])
    assert all(float(row["p50_us"]) <= float(row["p99_9_us"]) <= float(row["max_us"]) for row in rows)
    assert float(rows[0]["server_cpu_us"]) > 0
    assert None not in rows[0] and None not in rows[0].values()


def test_text_is_for_people(server):
    done = bench("-p", server.port, "--load", "--keys", 100, "-n", 2200, "--server-pid", server.pid)
    assert done.returncode == 0 and done.stderr == ""
    for words in (f"127.0.0.1:{server.port}: 50 connections", "2,200", "2,000 hits, 0 misses (100.00 % hit)",
                  "us of CPU a request"):  # fmt: skip
        assert words in done.stdout


def test_a_terminal_gets_a_progress_line(server):
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([TOOL, "bench", "-p", str(server.port), "--seconds", "1.2"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=theirs, timeout=SECONDS_MAX, check=False)
        line = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0
    assert "measure" in line and "p99" in line and "errors 0" in line


def test_an_interrupt_tells_what_was_measured(server):
    process = subprocess.Popen([TOOL, "bench", "-p", str(server.port), "--seconds", "3600", "--output", "json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    harness.wait_until(lambda: calls(server).get("get", 0) > 1000, what="some requests")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 130, stderr
    out = json.loads(stdout)
    assert out["interrupted"] and out["requests"] > 1000 and out["unanswered"] == 0
    assert out["requests"] == calls(server)["get"] + calls(server)["set"]


def test_a_server_that_dies_ends_the_run(start):
    server = start()
    process = subprocess.Popen([TOOL, "bench", "-p", str(server.port), "--seconds", "3600", "--output", "json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    harness.wait_until(lambda: calls(server).get("get", 0) > 1000, what="some requests")
    server.kill(signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 1
    assert f"127.0.0.1:{server.port}".encode() in stderr
    assert json.loads(stdout)["requests"] > 1000


def unread(server):
    """Is it frozen, with requests in its sockets?"""
    tasks = os.listdir(f"/proc/{server.pid}/task")
    states = [open(f"/proc/{server.pid}/task/{t}/stat").read().rsplit(") ", 1)[1][0] for t in tasks]
    with open("/proc/net/tcp") as f:
        ends = [line.split()[1:5] for line in f]
    waiting = [queues for here, _, state, queues in ends if here.endswith(f":{server.port:04X}") and state == "01"]
    return set(states) == {"T"} and any(int(queues.split(":")[1], 16) > 0 for queues in waiting)


def test_a_frozen_server_does_not_freeze_the_tool(start):
    server = start()
    process = subprocess.Popen([TOOL, "bench", "-p", str(server.port), "--seconds", "3600"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    harness.wait_until(lambda: calls(server).get("get", 0) > 1000, what="some requests")

    def frozen():
        """One that stops when it has read from everybody, and answered nobody, leaves nothing unread: on with it."""
        server.process.send_signal(signal.SIGSTOP)
        for _ in range(100):
            if unread(server):
                return True
            time.sleep(0.01)
        server.process.send_signal(signal.SIGCONT)
        return False

    harness.wait_until(frozen, what="requests that nobody reads")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=SECONDS_MAX)
    server.process.send_signal(signal.SIGCONT)
    assert process.returncode == 1
    assert b"no reply to" in stderr and b"were never answered" in stdout


def test_too_high_a_rate_is_said_so(server):
    out = measured("-p", server.port, "-c", 1, "--rate", 50000000, "--seconds", 0.2)
    assert out["unsent"] > 0
    done = bench("-p", server.port, "-c", 1, "--rate", 50000000, "--seconds", 0.2)
    assert "the server does not keep up with --rate 50000000" in done.stdout


def test_passwords(start):
    server = start({"requirepass": "sesame"})
    assert "give --password" in refused(1, "-p", server.port, "-n", 1)
    assert "check --user and --password" in refused(1, "-p", server.port, "-n", 1, "-a", "wrong")
    assert measured("-p", server.port, "-n", 10, "-a", "sesame")["requests"] == 10
    assert measured("-p", server.port, "-n", 10, "--resp3", "--user", "default", "-a", "sesame")["requests"] == 10
    assert measured("-p", server.port, "-n", 10, env={"REDISCLI_AUTH": "sesame"})["requests"] == 10


def test_a_password_that_nobody_asked_for(server):
    assert "the server wants no password" in refused(1, "-p", server.port, "-n", 1, "-a", "x")


def test_a_database(server):
    measured("-p", server.port, "--load", "-n", 0, "--keys", 7, "--db", 3)
    with server.client(db=3) as r:
        assert r.dbsize() == 7
    assert "give a smaller --db" in refused(1, "-p", server.port, "-n", 1, "--db", 999999)


def test_a_unix_socket(start):
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"larder-bench-{os.getpid()}.sock")
    server = start({"unixsocket": path})
    out = measured("-s", path, "-n", 100)
    assert out["requests"] == 100 and out["load"]["server"] == path
    seen = calls(server)
    assert seen["get"] + seen["set"] == 100
    assert "No such file" in refused(1, "-s", path + ".not", "-n", 1)


def test_memcached(memcached):
    out = measured("-p", memcached, "--protocol", "memcached", "--load", "--keys", 400, "-n", 1100, "-c", 11, "-P", 8)
    stats = memcached_stats(memcached)
    gets, sets = out["latency_us"]["get"]["count"], out["latency_us"]["set"]["count"]
    assert gets + sets == 1100
    assert int(stats["cmd_get"]) == gets == int(stats["get_hits"]) == out["hits"]
    assert int(stats["cmd_set"]) == sets + 400
    assert int(stats["curr_items"]) == 400
    assert out["misses"] == out["errors"] == 0


def test_memcached_misses_sizes_and_ttls(memcached):
    args = ("-p", memcached, "--protocol", "memcached", "--keys", 50)
    assert measured(*args, "-n", 100, "--ratio", "1:0")["misses"] == 100
    out = measured(*args, "-n", 200, "--ratio", "1:1", "--load", "--value-size", "0-20000", "--ttl", "60-600", "-P", 4)
    assert out["hits"] == out["latency_us"]["get"]["count"] and out["errors"] == 0
    out = measured(*args, "-n", 20, "--ratio", "0:1", "--value-size", "2mb", code=1)
    assert out["errors"] == 20 and out["first_error"].startswith("SERVER_ERROR object too large for cache")


def test_the_wrong_protocol_is_named(server, memcached):
    assert "try --protocol memcached" in refused(1, "-p", memcached, "-n", 1)
    assert "try --protocol resp" in refused(1, "-p", server.port, "-n", 1, "--protocol", "memcached")


def test_nobody_there():
    port = harness.free_port()
    stderr = refused(1, "-p", port)
    assert f"127.0.0.1:{port}: Connection refused" in stderr and "is the server running there?" in stderr


def test_no_such_process(server):
    assert "there is no such process" in refused(1, "-p", server.port, "-n", 1, "--server-pid", 4194303)


@pytest.mark.parametrize("args, words", [
    (("--cleints", 5), "did you mean --clients?"),
    (("--clients", 0), "--clients 0 is outside 1 to 100000"),
    (("--output", "xml"), "--output xml is none of text|csv|json"),
    (("-n", 5, "--seconds", 5), "exclude each other"),
    (("--cpu", "all"), "is not a list such as 1 or 0,2-3"),
])  # fmt: skip
def test_wrong_options(args, words):
    stderr = refused(2, *args)
    assert words in stderr and "larder bench --help" in stderr


def test_help_and_version():
    run = lambda *args: subprocess.run([TOOL, *args], capture_output=True, text=True, check=False)  # noqa: E731
    assert "--pipeline" in run("bench", "--help").stdout and run("bench", "--help").returncode == 0
    assert "bench" in run("--help").stdout
    assert run("--version").stdout.startswith("larder ")
    assert run().returncode == 2
    wrong = run("bnech")
    assert wrong.returncode == 2 and "did you mean 'bench'?" in wrong.stderr
