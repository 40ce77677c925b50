"""What the tests of liblarder stand on: the library behind a prompt, servers in a cluster, and peers
that do as they are told.

    Shell        tests/liblarder/shell.c as a process: say("get k") returns its line
    Frail        the same, in which any allocation can be made to fail
    Listener     a TCP server, a thread a connection
    Peer         one whose answers are a Python function
    Relay        one before a real server, which is slow or resets connections
    Xor          the other end of a transport that changes every byte
    Cluster      six nodes, three primaries with a replica each
"""

import os
import re
import socket
import struct
import subprocess
import threading
import time

import harness
import pytest


def program(name):
    """As built beside the server, else by the plain build."""
    beside = os.path.join(os.path.dirname(harness.LARDER_SERVER), "tests", "liblarder", name)
    return beside if os.path.exists(beside) else os.path.join(harness.ROOT, "build", "tests", "liblarder", name)


# Of a handle whose options say nothing else: whoever answers, answers, however slow the machine is.
PATIENT = "connect_timeout_ms=30000 command_timeout_ms=30000 deadline_ms=120000"
# Where nobody answers and a call must end: how long it may take to notice that. Who greets, greets in time.
DEAF = "command_timeout_ms=300"


class Shell:
    """One process with one handle. Its end is checked: no leak, no race, no sanitizer's report."""

    program = program("larder-client-shell")

    def __init__(self, addresses=None, options=""):
        environ = dict(os.environ)
        environ.setdefault("ASAN_OPTIONS", "abort_on_error=1:detect_leaks=1")
        self.process = subprocess.Popen([self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environ)
        if addresses is not None:
            self.opened = self.say(f"open {addresses} {PATIENT} {options}")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.process.kill()  # what it waits for may never come
        out, err = self.process.communicate(timeout=240)
        if kind is None:
            assert (self.process.returncode, out, err) == (0, "", ""), err

    def send(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().rstrip("\n")

    def say(self, line):
        self.send(line)
        answer = self.hear()
        assert not answer.endswith(" LATE"), f"{line}: {answer}"
        assert answer or self.process.poll() is None, f"the shell died at: {line}\n{self.process.stderr.read()}"
        return answer

    def stats(self):
        return {name: int(value) for name, value in (word.split("=") for word in self.say("stats").split()[1:])}


class Frail(Shell):
    """With the objects of a debug build, where there is one."""

    program = program("larder-client-frail")


def at(server):
    return f"127.0.0.1:{server.port}"


def has_commands(server):
    with server.wire() as w:
        try:
            return not str(w("CACHE.GET", "probe")).startswith("ERR unknown")
        except Exception:  # noqa: BLE001 - an error reply
            return False


def fetched(answer):
    """(status, freshness, version, value or None, loads)"""
    m = re.fullmatch(r'(ok|miss) (\w+) (\d+)(?: "(.*)")? loads=(\d+)', answer)
    assert m, answer
    return m.group(1), m.group(2), int(m.group(3)), m.group(4), int(m.group(5))


def leased(w):
    try:
        return b"lease" in (view := w("CACHE.INSPECT", "k")) and view[view.index(b"lease") + 1] is not None
    except Exception:  # noqa: BLE001 - no such command, then EXISTS has told
        return False


class Listener:
    """Serves each connection by `serve(socket)`, which may fail as sockets do."""

    def __init__(self, port=0):
        self.connections = 0
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.sockets:
            s.close()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.sockets.append(s)
            threading.Thread(target=self._guarded, args=(s,), daemon=True).start()

    def _guarded(self, s):
        try:
            with s:
                self.serve(s)
        except (OSError, ValueError):
            pass

    def serve(self, s):
        raise NotImplementedError


CLOSE = object()  # what a peer answers to hang up
RESET = object()  # the same, by RST


class Peer(Listener):
    """Answers each request with what `answer(argv)` returns: bytes, None for silence, CLOSE, RESET, or a list of
    these. HELLO is answered unless `hello` is False."""

    def __init__(self, answer, hello=True):
        self.answer = answer
        self.hello = hello
        self.requests = []
        super().__init__()

    def count(self, name):
        return sum(1 for argv in self.requests if argv[0] == name)

    def serve(self, s):
        with s.makefile("rb") as f:
            while head := f.readline():
                argv = [f.read(int(f.readline()[1:]) + 2)[:-2].decode() for _ in range(int(head[1:]))]
                self.requests.append(argv)
                if argv[0] == "HELLO" and self.hello:
                    s.sendall(b"%1\r\n+proto\r\n:3\r\n")
                    continue
                answers = self.answer(argv)
                for a in answers if isinstance(answers, list) else [answers]:
                    if a is CLOSE:
                        s.shutdown(socket.SHUT_RDWR)
                        return
                    if a is RESET:
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    if a is not None:
                        s.sendall(a)


class Xor(Listener):
    """The other end of tests/liblarder/xor.c, before a real server. `deaf` never ends the handshake, `rude` ends it
    with another byte, `cut` hangs up after so many bytes of replies."""

    MASK = bytes(i ^ 0x5A for i in range(256))

    def __init__(self, port, deaf=False, rude=False, cut=None):
        self.target, self.deaf, self.rude, self.cut = port, deaf, rude, cut
        self.greeted = 0
        super().__init__()

    def serve(self, client):
        with socket.create_connection(("127.0.0.1", self.target)) as server:
            if client.recv(1) != b"H":
                return
            self.greeted += 1
            if self.deaf:
                client.recv(1)
                return
            client.sendall(b"?" if self.rude else b"W")
            there = threading.Thread(target=self._pump, args=(client, server, None), daemon=True)
            there.start()
            self._pump(server, client, self.cut)
            there.join()

    def _pump(self, source, target, left):
        try:
            while left != 0 and (data := source.recv(65536)):
                data = data if left is None else data[:left]
                left = None if left is None else left - len(data)
                target.sendall(data.translate(self.MASK))
        except OSError:
            pass
        finally:
            for s in (source, target):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Relay(Listener):
    """Before a real server. Of each connection's replies `reset` bytes arrive, then comes an RST; or they come `drip` bytes
    at a time, after `pause` seconds each."""

    def __init__(self, port, reset=None, drip=65536, pause=0):
        self.target, self.reset, self.drip, self.pause = port, reset, drip, pause
        super().__init__()

    def serve(self, client):
        with socket.create_connection(("127.0.0.1", self.target)) as server:
            there = threading.Thread(target=self._requests, args=(client, server), daemon=True)
            there.start()
            left = self.reset
            while data := server.recv(self.drip if left is None else min(self.drip, left)):
                time.sleep(self.pause)
                client.sendall(data)
                left = None if left is None else left - len(data)
                if left == 0:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.shutdown(socket.SHUT_RD)  # or the other thread's recv() would keep it open
                    there.join()
                    return

    def _requests(self, client, server):
        try:
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Cluster:
    """Node i < 3 begins as a primary, node i + 3 as its replica (redis-cli pairs them as it likes)."""

    def __init__(self, binary=harness.REDIS_SERVER):
        options = {"cluster-enabled": "yes", "cluster-node-timeout": "3000", "cluster-config-file": "nodes.conf",
                   "cluster-replica-validity-factor": "0"}
        self.servers = [harness.Server(binary, options, workers=1).start() for _ in range(6)]
        addresses = [f"127.0.0.1:{s.port}" for s in self.servers]
        subprocess.run(["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"],
                       check=True, capture_output=True, timeout=480)
        self.addresses = addresses
        harness.wait_until(self.settled, what="the cluster to settle")

    def settled(self):
        for s in self.servers:
            if not s.alive():
                continue
            with s.wire() as w:
                info = w("CLUSTER", "INFO").decode()
                if "cluster_state:ok" not in info or "cluster_slots_ok:16384" not in info:
                    return False
                if all(t.alive() for t in self.servers) and any(len(row) < 4 for row in w("CLUSTER", "SLOTS")):
                    return False
                if "slave" in w("INFO", "replication").decode().split("role:")[1][:6]:
                    if "master_link_status:up" not in w("INFO", "replication").decode():
                        return False
        return True

    def all_know(self, slot, owner):
        """Does everybody say that the slot is served by that node?"""
        for s in self.servers:
            with s.wire() as w:
                if not any(row[0] <= slot <= row[1] and row[2][1] == self.servers[owner].port for row in w("CLUSTER", "SLOTS")):
                    return False
        return True

    def role(self, i):
        with self.servers[i].wire() as w:
            return w("INFO", "replication").decode().split("role:")[1].split("\r")[0]

    def owner_of(self, key):
        """(index of the primary that serves the key, index of its replica)"""
        with self.servers[0].wire() as w:
            slot = w("CLUSTER", "KEYSLOT", key)
            for row in w("CLUSTER", "SLOTS"):
                if row[0] <= slot <= row[1]:
                    ports = [node[1] for node in row[2:]]
                    return tuple(next(i for i, s in enumerate(self.servers) if s.port == port) for port in ports)
        return None

    def close(self):
        harness.end_all(self.servers)


@pytest.fixture(scope="module", params=[harness.REDIS_SERVER, harness.LARDER_SERVER], ids=["redis", "larder"])
def cluster(request):
    c = Cluster(request.param)
    yield c
    c.close()
