"""Start, watch and stop the servers that tests talk to.

A Server owns one process, one port and one private directory, and nothing
outlives it: processes are ended by their pid, never by name. What the process
printed is kept in a file, so that a failed test can show it and a sanitizer's
report fails the test that caused it, even when every reply was right.

Environment:
    LARDER_SERVER   the binary under test (default: build/larder-server); it may
                    be redis-server, to prove that an expectation is Redis's own
    LARDER_WORKERS  worker threads of the servers that do not ask for a number
"""

import collections
import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
import redis

from wire import Wire

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REDIS_SERVER = os.environ.get("REDIS_SERVER", "/usr/bin/redis-server")
LARDER_SERVER = os.environ.get("LARDER_SERVER", os.path.join(ROOT, "build", "larder-server"))
LARDER_WORKERS = int(os.environ.get("LARDER_WORKERS", "4"))

def is_redis(binary):
    return os.path.basename(os.path.realpath(binary)).startswith(("redis-", "valkey-"))


# Generous, because a machine that builds something else beside us is slow, not wrong.
START_SECONDS = 180
STOP_SECONDS = 180

# What no log of a healthy server contains.
ALARM = re.compile(
    rb"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|UndefinedBehaviorSanitizer"
    rb"|runtime error:|BUG REPORT|CRASH REPORT|crashed by signal|assertion failed|Assertion .* failed|==ABORTING",
    re.IGNORECASE,
)


# Ports for servers lie below those that the kernel gives to clients (32768 on), so that no connection takes
# the port of a server that is restarted; a node's bus has the port 10000 further on. None is a number that a reply
# of a cluster has for other reasons: 16383, 16384.
PORTS, PORT_BLOCK = range(10240, 16360), 40


class Ports:
    """Ports that no other test process on this machine gets: blocks of them, each reserved by the name of an
    abstract socket, which ends with its process."""

    def __init__(self):
        self._begin()

    def _begin(self):
        self.owner, self.reserved, self.ports = os.getpid(), [], collections.deque()

    def _reserve(self):
        for first in random.sample(PORTS[::PORT_BLOCK], len(PORTS) // PORT_BLOCK):
            name = socket.socket(socket.AF_UNIX)
            try:
                name.bind(f"\0larder-test-ports-{first}")
            except OSError:
                name.close()
                continue
            self.reserved.append(name)
            self.ports.extendleft(range(first, first + PORT_BLOCK))
            return
        raise AssertionError(f"{len(self.reserved)} blocks of ports are taken: what holds all of {PORTS}?")

    def take(self):
        """The port that was taken longest ago and is free: a test may still use those it has asked for."""
        if self.owner != os.getpid():  # a forked child reserves its own
            self._begin()
        for _ in range(len(self.ports)):
            port = self.ports.popleft()
            self.ports.append(port)
            if is_free(port) and is_free(port + 10000):
                return port
        self._reserve()
        return self.take()


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


_ports = Ports()


def free_port():
    """A TCP port nobody listens on now, like its cluster bus port, and that no other test process is given."""
    return _ports.take()


def sanitized(server):
    """A sanitizer's build: its heap has its own idea of what is resident."""
    binary = open(server.binary, "rb").read()
    return b"__asan_init" in binary or b"__tsan_init" in binary


def refuses_writes(client, why):
    """True if a write is refused, and then for that reason: a word of the error."""
    try:
        client.set("k", 1)
    except redis.exceptions.ResponseError as e:
        assert why in str(e)
        return True
    return False


def next_word(file):
    """The next line of what a primary says to a replica; with empty ones it only keeps the link alive."""
    return next(line for line in file if line.strip())


def wait_until(true, seconds=120, every=0.02, what="the condition"):
    """Poll until true() holds; the deadline only bounds a hang. Of a node that loads it does not hold yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            result = true()
        except redis.exceptions.BusyLoadingError:
            result = False
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(every)


def end_all(servers):
    """At once, whatever state they are in, and their folders with them."""
    for s in servers:
        if s.alive():
            s.process.kill()
            s.process.wait()
        s.remove()


_prctl = ctypes.CDLL(None).prctl
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    """In the child: a test run that is killed leaves no server behind."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One server process. `options` maps option names to a value or a list of values."""

    preexec = staticmethod(_die_with_parent)

    def __init__(self, binary=LARDER_SERVER, options=None, workers=None, config=None, stdin=None, env=None):
        self.binary = binary
        self.dir = tempfile.mkdtemp(prefix="larder-test-")
        self.log_path = os.path.join(self.dir, "server.out")
        self.options = dict(options or {})
        self.workers = LARDER_WORKERS if workers is None else workers
        self.config = config
        self.stdin = stdin
        self.env = env
        self.port = None
        self.process = None
        self.expect_alarm = False  # for tests that make the server crash
        self._alarms_seen = 0

    def __repr__(self):
        return f"<{os.path.basename(self.binary)} pid={self.pid} port={self.port}>"

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def command_line(self):
        args = [self.binary]
        if self.config is not None:
            path = os.path.join(self.dir, "server.conf")
            with open(path, "wb") as f:
                f.write(self.config if isinstance(self.config, bytes) else self.config.encode())
            args.append(path)
        elif self.stdin is not None:
            args.append("-")
        # A full copy does not wait for more replicas: five seconds, otherwise, of each test that has one.
        options = {"port": self.port, "dir": self.dir, "bind": "127.0.0.1", "repl-diskless-sync-delay": 0}
        if is_redis(self.binary):
            options.update({"save": "", "appendonly": "no"})
        else:
            options["workers"] = self.workers
        options.update(self.options)
        for name, value in options.items():
            if value is None:
                continue
            for one in value if isinstance(value, list) else [value]:
                args += ["--" + name] + (list(one) if isinstance(one, tuple) else [str(one)])
        return args

    def spawn(self):
        """Start the process without waiting for it to serve."""
        if self.port is None:
            self.port = free_port()
        environ = dict(os.environ)
        # A sanitizer must not turn a leak check at exit into a hang under ptrace, and
        # must leave a core of evidence in the log rather than in some other file.
        environ.setdefault("ASAN_OPTIONS", "abort_on_error=1:detect_leaks=1")
        environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
        environ.setdefault("TSAN_OPTIONS", "halt_on_error=0:detect_deadlocks=1:second_deadlock_stack=1")
        environ.update(self.env or {})
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command_line(),
                stdin=subprocess.PIPE if self.stdin is not None else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.dir,
                preexec_fn=self.preexec,
                env=environ,
            )
        if self.stdin is not None:
            self.process.stdin.write(self.stdin.encode())
            self.process.stdin.close()
        return self

    def start(self):
        """Start and wait until the port answers. A port taken in between is tried again."""
        for attempt in range(3):
            self.spawn()
            if self.answers():
                return self
            if b"in use" not in self.log():
                break
            self.port = None
        raise AssertionError(f"{self.binary} did not start:\n{self.log_tail()}")

    def answers(self):
        """Wait until the port answers; False if the process ends, or never does."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                with self.wire(timeout=5) as w:
                    w.send(b"PING\r\n")
                    if w.read_line()[:1] in (b"+", b"-"):
                        w.send(b"QUIT\r\n")
                        w.read_all()  # its end: no test counts this connection
                        return True
            except (OSError, EOFError):
                time.sleep(0.01)
        self.kill(signal.SIGKILL)
        return False

    def address(self):
        return ("127.0.0.1", self.port)

    def wire(self, timeout=60, protocol=2):
        """A bare connection: bytes in, parsed replies out."""
        return Wire(self.address(), timeout=timeout, protocol=protocol)

    def client(self, **options):
        """A redis-py client."""
        options.setdefault("socket_timeout", 60)
        host, port = self.address()
        return redis.Redis(host=host, port=port, **options)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, sig):
        """Send a signal and wait for the end. Returns the exit code."""
        if self.alive():
            self.process.send_signal(sig)
        return self.wait()

    def wait(self, seconds=STOP_SECONDS):
        return self.process.wait(timeout=seconds)

    def stop(self):
        """End the process politely. Returns its exit code, None if it was never started."""
        if self.process is None:
            return None
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self} ignored SIGTERM for {STOP_SECONDS} s:\n{self.log_tail()}")

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def log(self):
        """Everything the process printed, and its log file if it was given one."""
        text = b""
        for path in (self.log_path, self.options.get("logfile")):
            try:
                with open(os.path.join(self.dir, path), "rb") as f:
                    text += f.read()
            except (OSError, TypeError):
                pass
        return text

    def log_tail(self, lines=80):
        return b"\n".join(self.log().splitlines()[-lines:]).decode("utf-8", "replace")

    def alarms(self):
        """The part of the log from the first new alarm on; None if there is none."""
        text = self.log()
        found = ALARM.search(text, self._alarms_seen)
        self._alarms_seen = len(text)
        return text[max(0, found.start() - 500) :][:20000].decode("utf-8", "replace") if found else None

    def close(self):
        """Stop, and return a sentence about what went wrong, or None."""
        trouble = None
        try:
            died = self.process is not None and self.process.poll() is not None
            code = self.stop()
            if not self.expect_alarm:
                alarm = self.alarms()
                if alarm:
                    trouble = f"{self} reported:\n{alarm}"
                elif code not in (None, 0):
                    when = "during the test" if died else "after SIGTERM"
                    trouble = f"{self} ended with {code} {when}:\n{self.log_tail()}"
        except AssertionError as e:
            trouble = str(e)
        if trouble is None:
            self.remove()
        return trouble

    def rss(self):
        """Resident bytes."""
        with open(f"/proc/{self.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
