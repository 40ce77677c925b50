"""Debian's own tools, unchanged: redis-cli, redis-benchmark, prometheus-redis-exporter."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import urllib.request

import pytest

import harness
from wire import encode

SECONDS = 120  # a tool that takes longer hangs


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name} (Debian: redis-tools, prometheus-redis-exporter)")
    return path


def cli(server, *args, stdin=None, ok=True):
    done = subprocess.run([tool("redis-cli"), "-p", str(server.port), *args], input=stdin, capture_output=True, timeout=SECONDS, check=False)
    if ok:
        assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8", "replace")


def watch(command, enough, env=None):
    """Run a tool that never ends until its output is enough; return the output."""
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
    out, deadline = b"", time.monotonic() + SECONDS
    try:
        while not enough(out):
            assert time.monotonic() < deadline, out
            if select.select([p.stdout], [], [], 1)[0]:
                data = os.read(p.stdout.fileno(), 65536)
                assert data, f"it ended: {out}"
                out += data
    finally:
        p.send_signal(signal.SIGINT)
        try:
            p.wait(timeout=60)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
        p.stdout.close()
    return out.decode("utf-8", "replace")


# --- redis-cli -----------------------------------------------------------------------------


def test_commands_and_their_output(larder):
    assert cli(larder, "set", "k", "hello world") == "OK\n"
    assert cli(larder, "get", "k") == "hello world\n"
    assert cli(larder, "--no-raw", "get", "nothing") == "(nil)\n"
    assert cli(larder, "--no-raw", "incrby", "n", "5") == "(integer) 5\n"
    assert cli(larder, "-3", "--no-raw", "config", "get", "databases") == '1# "databases" => "16"\n'
    assert cli(larder, "--csv", "mget", "k", "n") == '"hello world","5"\n'
    assert cli(larder, "--json", "mget", "k", "n") == '["hello world","5"]\n'
    assert cli(larder, "-n", "3", "set", "x", "1") == "OK\n" and cli(larder, "-n", "3", "dbsize") == "1\n"
    assert cli(larder, "-r", "3", "incr", "count") == "1\n2\n3\n"
    assert "ERR wrong number of arguments" in cli(larder, "get", ok=False)
    assert cli(larder, "-x", "set", "fromstdin", stdin=b"\x00binary\xff") == "OK\n"
    assert cli(larder, stdin=b"set a 1\nget a\n") == "OK\n1\n"
    assert cli(larder, "info", "server").startswith("# Server")


def test_stat(larder):
    out = watch([tool("redis-cli"), "-p", str(larder.port), "-i", "0.1", "--stat"], lambda o: o.count(b"\n") > 8)
    rows = [line.split() for line in out.splitlines() if re.match(r"^\d+ ", line)]
    assert len(rows) > 4 and all(len(row) >= 6 for row in rows), out


def test_latency(larder):
    out = cli(larder, "--latency")
    assert re.match(r"^\d+ \d+ [\d.]+ \d+", out), out
    out = watch([tool("redis-cli"), "-p", str(larder.port), "-i", "1", "--latency-history"], lambda o: o.count(b"\n") > 1)
    assert "avg" in out or re.search(r"\d+ \d+ [\d.]+ \d+", out)


def test_scan_option(larder, r):
    names = {f"key:{i}" for i in range(3000)}
    r.mset({n: 1 for n in names})
    assert set(cli(larder, "--scan").split()) == names
    assert set(cli(larder, "--scan", "--pattern", "key:1??").split()) == {f"key:1{i:02}" for i in range(100)}


def test_pipe(larder, r):
    n = 50000
    protocol = b"".join(encode("SET", f"key:{i}", f"value:{i}") for i in range(n))
    out = cli(larder, "--pipe", stdin=protocol)
    assert f"errors: 0, replies: {n}" in out
    assert r.dbsize() == n and r.get("key:777") == b"value:777"
    lines = b"".join(b"INCR inline:%d\r\n" % (i % 7) for i in range(7000)) + b"NOSUCH\r\n"
    out = cli(larder, "--pipe", stdin=lines, ok=False)
    assert "errors: 1, replies: 7001" in out
    assert r.get("inline:3") == b"1000"


def test_bigkeys(larder, r):
    r.mset({f"k{i}": "x" * i for i in range(1, 1000)})
    out = cli(larder, "--bigkeys")
    assert "Sampled 999 keys in the keyspace!" in out
    assert re.search(r"""Biggest string +found ['"]+k999['"]+ has 999 bytes""", out), out
    assert "999 strings with 499500 bytes" in out


def test_memkeys(larder, r):
    r.mset({f"k{i}": "x" * i for i in range(1, 300)})
    out = cli(larder, "--memkeys")
    assert "Sampled 299 keys in the keyspace!" in out and "Biggest string found" in out


def test_monitor_option(larder):
    p = subprocess.Popen([tool("redis-cli"), "-p", str(larder.port), "monitor"], stdout=subprocess.PIPE)
    try:
        assert p.stdout.readline() == b"OK\n"
        cli(larder, "set", "k", "v")
        lines = []
        while not any(b'"set" "k" "v"' in line for line in lines):
            lines.append(p.stdout.readline())
            assert lines[-1], lines
    finally:
        p.terminate()
        p.wait()
        p.stdout.close()


class Terminal:
    """An interactive redis-cli on a terminal of its own."""

    def __init__(self, server):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.environ["HOME"] = server.dir
            path = tool("redis-cli")
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
            os.execv(path, [path, "-p", str(server.port)])
        self.seen = b""

    def until(self, text):
        deadline = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 1)[0]:
                self.seen += os.read(self.fd, 65536)
        out, self.seen = self.seen, b""
        return out

    def line(self, text, expect):
        """Type a line; wait for what it must show and for the next prompt, since redis-cli
        throws away what is typed before it."""
        self.type(text + b"\r")
        deadline = time.monotonic() + SECONDS
        while not (expect in self.seen and self.seen.endswith(b"> ")):
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 1)[0]:
                self.seen += os.read(self.fd, 65536)
        out, self.seen = self.seen, b""
        return out

    def type(self, text):
        os.write(self.fd, text)

    def close(self):
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def test_interactive_with_hints_and_help(larder):
    """On a real terminal: hints while typing, the prompt that follows MULTI and SELECT, RESP3, help."""
    t = Terminal(larder)
    try:
        prompt = b"127.0.0.1:%d>" % larder.port
        t.until(prompt)
        t.type(b"set ")
        assert b"key value" in t.until(b"value")
        t.line(b"k 'hello world'", b"OK\r\n")
        t.line(b"get k", b'"hello world"')
        t.line(b"multi", b"(TX)>")
        t.line(b"incr n", b"QUEUED")
        t.line(b"exec", b"1) (integer) 1")
        t.line(b"select 2", b"[2]>")
        t.line(b"hello 3", b"proto")
        assert b"summary:" in t.line(b"help getdel", b"since:")
        t.line(b'client setname "a b"', b"ERR")
        t.type(b"quit\r")
    finally:
        t.close()


def test_password_options(start_larder):
    server = start_larder({"requirepass": "sesame"})
    assert "NOAUTH" in cli(server, "ping", ok=False)
    assert cli(server, "-a", "sesame", "--no-auth-warning", "ping") == "PONG\n"
    assert cli(server, "--user", "default", "--pass", "sesame", "--no-auth-warning", "ping") == "PONG\n"
    assert "WRONGPASS" in subprocess.run([tool("redis-cli"), "-p", str(server.port), "-a", "x", "ping"], capture_output=True, check=False).stderr.decode()


# --- redis-benchmark -----------------------------------------------------------------------


def test_redis_benchmark(larder):
    out = subprocess.run(
        [tool("redis-benchmark"), "-p", str(larder.port), "-t", "ping,set,get,incr,mset", "-n", "20000", "-P", "16", "-c", "20", "-r", "1000", "--csv"],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    rows = [line.split(",")[0].strip('"') for line in out.stdout.splitlines()]
    assert rows[0] == "test"
    assert [name.split(" ")[0] for name in rows[1:]] == ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"], out.stdout
    assert "ERR" not in out.stdout + out.stderr and "WARNING" not in out.stderr


def test_redis_benchmark_with_threads_and_a_command(larder):
    for extra in (["--threads", "2", "-t", "set,get"], ["-3", "-t", "get"], ["-d", "4096", "-t", "set"], ["getrange", "k", "0", "5"]):
        out = subprocess.run([tool("redis-benchmark"), "-p", str(larder.port), "-n", "5000", "-q", *extra], capture_output=True, text=True, timeout=SECONDS, check=False)
        assert out.returncode == 0 and "requests per second" in out.stdout, (extra, out)
        assert "ERR" not in out.stdout + out.stderr


# --- prometheus-redis-exporter -------------------------------------------------------------

# Metrics that only one of the two has, and why.
ONLY_REDIS = {}
ONLY_LARDER_PREFIXES = ("redis_larder_",)


def scrape(server):
    """The names of all metrics that the exporter makes of a server, and its log."""
    port = harness.free_port()
    p = subprocess.Popen(
        [tool("prometheus-redis-exporter"), "-redis.addr", f"redis://127.0.0.1:{server.port}", "-web.listen-address", f"127.0.0.1:{port}", "-include-system-metrics"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:

        def ask():
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
            except OSError:
                return None

        text = harness.wait_until(ask, what="the exporter")
    finally:
        p.terminate()
        log = p.stderr.read().decode()
        p.wait()
        p.stderr.close()
    return text, log


def names(text):
    return {re.match(r"^([a-zA-Z_:0-9]+)", line).group(1) for line in text.splitlines() if line.startswith("redis_")}


def value(text, name):
    return float(re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M).group(1))


def test_exporter_finds_what_it_finds_in_redis(larder, redis_server):
    tool("prometheus-redis-exporter")
    for server in (larder, redis_server):
        with server.wire() as w:
            w("SET", "k", "v", "EX", "1000")
            w("GET", "k")
            w("NOSUCH")
            w("CLIENT", "SETNAME", "somebody")
    theirs, _ = scrape(redis_server)
    ours, log = scrape(larder)
    assert value(ours, "redis_up") == 1
    assert value(ours, "redis_exporter_last_scrape_error") == 0
    assert "level=error" not in log, log
    missing = names(theirs) - names(ours) - set(ONLY_REDIS)
    assert not missing, f"metrics that the exporter has of Redis and not of larder: {sorted(missing)}"
    for name in ONLY_REDIS:
        assert name not in names(ours), f"{name} is listed as missing and is there"
    for metric in ("redis_connected_clients", "redis_memory_used_bytes", "redis_commands_processed_total", "redis_db_keys", "redis_uptime_in_seconds"):
        assert value(ours, metric) >= 0
    assert 'redis_db_keys{db="db0"} 1' in ours
    assert re.search(r'redis_commands_total\{cmd="get"\} \d+', ours)
