"""The servers that are measured: how each is started, found out about and stopped.

All are bound to one CPU, listen on free loopback ports, keep nothing on disk and run
at the same time; only the one being measured has anything to do.
"""

import ctypes
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLIENTS_MAX = 16000
START_SECONDS = 30


prctl = ctypes.CDLL(None).prctl
PR_SET_PDEATHSIG = 1


def become_server(cpu):
    """In the child. It ends with the benchmark, also when that is interrupted before it knows of its child."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


class Missing(Exception):
    """A program that is needed and not there; the text says how to get it."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One process. Subclasses say what the program is and how it is told port and folder."""

    name = ""
    protocol = "resp"
    stores = True
    main_thread_serves = True
    package = ""
    wrapper = ()  # a program to run it under: valgrind
    more = ()  # arguments behind the usual ones, which they override
    environment = None  # variables beside our own

    def __init__(self, build, wrapper=()):
        self.build = build
        self.wrapper = tuple(wrapper)
        self.clients_max = 100 if wrapper else CLIENTS_MAX  # valgrind lowers the limit of descriptors
        self.port = free_port()
        self.process = None
        self.folder = None

    def program(self):
        found = shutil.which(self.name)
        if found is None:
            raise Missing(f"{self.name} is not installed (Debian: apt-get install {self.package})")
        return found

    def arguments(self):
        raise NotImplementedError

    def version(self):
        done = subprocess.run([self.program(), "--version"], capture_output=True, text=True, check=False)
        return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "unknown"

    def start(self, cpu=None):
        self.folder = tempfile.TemporaryDirectory(prefix="larder-bench-")
        return self.launch(cpu)

    def launch(self, cpu):
        """Start it, or start it again, with the folder that it has."""
        command = [*self.wrapper, self.program(), *map(str, [*self.arguments(), *self.more])]
        log = open(os.path.join(self.folder.name, "log"), "ab")  # noqa: SIM115
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                        cwd=self.folder.name, preexec_fn=lambda: become_server(cpu),
                                        env={**os.environ, **(self.environment or {})})  # fmt: skip
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = pathlib.Path(self.folder.name, "log").read_text(errors="replace")
                self.stop()
                raise Missing(f"{self.name} did not start ({' '.join(command)}):\n{text[-2000:]}")
            time.sleep(0.02)
        return self

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        except OSError:
            return False

    def stop(self):
        """End it politely, so that valgrind writes what it has counted."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None

    @property
    def pid(self):
        return self.process.pid

    def cpu_seconds(self):
        """User and system time of all its threads."""
        after_name = pathlib.Path(f"/proc/{self.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        """Resident bytes."""
        return self.status_bytes("VmRSS")

    def peak_rss(self):
        """The most that has ever been resident."""
        return self.status_bytes("VmHWM")

    def ask(self, *words):
        """The reply to one request, as bytes; a memcached's until END."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as s, s.makefile("rb") as f:
            if self.protocol == "memcached":
                s.sendall(" ".join(map(str, words)).encode() + b"\r\n")
                return b"".join(iter(f.readline, b"END\r\n"))
            parts = [str(word).encode() for word in words]
            s.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
            line = f.readline().rstrip(b"\r\n")
            if line.startswith(b"-"):
                raise RuntimeError(f"{self.name}: {' '.join(map(str, words))}: {line[1:].decode()}")
            return f.read(int(line[1:])) if line.startswith(b"$") else line[1:]

    def scan_set(self, key, count):
        """How many members each call of SSCAN gives, until it has been through the set."""
        cursor = b"0"
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as s, s.makefile("rb", buffering=1 << 20) as f:
            while True:
                s.sendall(b"SSCAN %s %s COUNT %d\r\n" % (key.encode(), cursor, count))
                if (line := f.readline()) != b"*2\r\n":
                    raise RuntimeError(f"{self.name}: SSCAN: {line[1:].decode().strip()}")
                f.readline()  # the length of the cursor
                cursor = f.readline().rstrip(b"\r\n")
                n = int(f.readline()[1:])
                for _ in range(n):
                    f.read(int(f.readline()[1:]) + 2)
                yield n
                if cursor == b"0":
                    return

    def figures(self, *section):
        """INFO, or memcached's stats: names and values as text."""
        if self.protocol == "memcached":
            return {w[1]: w[2] for w in (line.split() for line in self.ask("stats").decode().splitlines())}
        lines = self.ask("INFO", *section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def keys(self):
        """How many it holds."""
        return int(self.figures()["curr_items"]) if self.protocol == "memcached" else int(self.ask("DBSIZE"))

    def bound(self, maxmemory):
        """Before the start: at most so many bytes of data; beyond it the server evicts as is recommended for it."""
        self.more = (*self.more, *self.bounded(maxmemory))

    def bounded(self, maxmemory):
        raise NotImplementedError

    def status_bytes(self, field):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"{self.name} has ended")


class Larder(Server):
    name = "larder"
    main_thread_serves = False

    def program(self):
        path = self.build / "larder-server"
        if not os.access(path, os.X_OK):
            raise Missing(f"{path} is not built: run make")
        return str(path)

    def arguments(self):
        # valgrind holds all threads while one waits in io_uring, so that a signal would never be seen.
        epoll = ["--io-uring", "no"] if self.wrapper else []
        return ["--port", self.port, "--bind", "127.0.0.1", "--workers", 1, "--maxclients", self.clients_max, "--save", "", *epoll]

    def bounded(self, maxmemory):
        return ["--maxmemory", maxmemory, "--maxmemory-policy", "allkeys-auto"]


class Floor(Server):
    name = "floor"
    stores = False

    def __init__(self, build, wrapper=(), value_size=100):
        super().__init__(build, wrapper)
        self.value_size = value_size

    def program(self):
        path = self.build / "bench" / "floor"
        if not os.access(path, os.X_OK):
            raise Missing(f"{path} is not built: run make")
        return str(path)

    def arguments(self):
        return ["--port", self.port, "--value-size", self.value_size]

    def version(self):
        return "bench/floor.c of this tree"


class Redis(Server):
    name = "redis"
    package = "redis-server"

    def program(self):
        found = shutil.which("redis-server")
        if found is None:
            raise Missing("redis-server is not installed (Debian: apt-get install redis-server)")
        return found

    def arguments(self):
        return ["--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--maxclients", self.clients_max]  # fmt: skip

    def bounded(self, maxmemory):
        return ["--maxmemory", maxmemory, "--maxmemory-policy", "allkeys-lru"]


class Memcached(Server):
    name = "memcached"
    protocol = "memcached"
    package = "memcached"

    def arguments(self):
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        return ["-p", self.port, "-l", "127.0.0.1", "-U", 0, "-t", 1, "-m", 8192, "-c", self.clients_max, *user]

    def bounded(self, maxmemory):
        return ["-m", maxmemory >> 20]


KINDS = {kind.name: kind for kind in (Larder, Floor, Redis, Memcached)}


def raise_fd_limit():
    """As many descriptors as are allowed; servers inherit them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize
