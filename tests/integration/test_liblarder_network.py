"""liblarder when the network itself fails: packets that vanish, names that point elsewhere. Each test has a
network of its own, made of namespaces; what the machine does not allow is skipped."""

import os
import shutil
import socket
import subprocess
import time

import harness
import netns
import pytest
from liblarder import Shell
from netns import sh

HERE, THERE, PORT = "10.77.0.1", "10.77.0.2", 6379
# Where nobody answers. The first call of all, which somebody answers, may be too slow for it, and is made again.
SHORT = "connect_timeout_ms=300 command_timeout_ms=300"

needs_tools = pytest.mark.skipif(not all(map(shutil.which, ("ip", "unshare", "nsenter"))), reason="no iproute2 or util-linux")


def opened(shell, words):
    harness.wait_until(lambda: shell.say("open " + words) == "ok 1", what="the handle")


def apart(work):
    try:
        netns.run_apart(work)
    except netns.Unavailable as e:
        pytest.skip(str(e))


class Island:
    """A redis-server in a namespace of its own at THERE, behind a cable from HERE. sink(): what is sent to it
    vanishes without a word. rise(): it is back."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        self.server = None
        try:
            mine = os.readlink("/proc/self/ns/net")
            harness.wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != mine, what="the namespace")
            sh("ip", "link", "add", "here0", "type", "veth", "peer", "name", "there0")
            sh("ip", "link", "set", "there0", "netns", str(self.holder.pid))
            sh("ip", "addr", "add", HERE + "/24", "dev", "here0")
            sh("ip", "link", "set", "here0", "up")
            self.inside("ip", "link", "set", "lo", "up")
            self.rise()
            self.inside("ip", "link", "set", "there0", "up")
            # The hardware's address is known for good, or a vanished peer would be "no route to host".
            sh("ip", "neigh", "replace", THERE, "lladdr", self.hardware(), "dev", "here0", "nud", "permanent")
            self.server = subprocess.Popen(["nsenter", "-t", str(self.holder.pid), "-n", "redis-server", "--port", str(PORT), "--bind",
                                            THERE, "--protected-mode", "no", "--save", ""], stdout=subprocess.DEVNULL)
            harness.wait_until(self.answers, what="redis-server on its island")
        except BaseException:
            self.close()
            raise

    def inside(self, *words):
        return sh("nsenter", "-t", str(self.holder.pid), "-n", *words)

    def hardware(self):
        words = self.inside("ip", "-o", "link", "show", "there0").split()
        return words[words.index("link/ether") + 1]

    def answers(self):
        try:
            socket.create_connection((THERE, PORT), timeout=1).close()
            return True
        except OSError:
            return False

    def sink(self):
        self.inside("ip", "addr", "del", THERE + "/24", "dev", "there0")

    def rise(self):
        self.inside("ip", "addr", "add", THERE + "/24", "dev", "there0")

    def close(self):
        for process in (self.server, self.holder):
            if process is not None:
                process.kill()
                process.wait()


@needs_tools
def test_a_black_hole_costs_no_more_than_the_deadline():
    def work():
        island = Island()
        try:
            with Shell() as c:  # which marks what is late
                opened(c, f"{THERE}:{PORT} {SHORT} deadline_ms=2000 breaker_ms=200")
                harness.wait_until(lambda: c.say("set k v") == "ok", what="the connection")
                island.sink()
                answers = {c.say(line).split()[0] for line in ("get k", "set k w", "incr n 1", "mget a b c") * 4}
                assert answers <= {"timeout", "unavailable"} and "timeout" in answers, answers
                assert c.say("storm 20 5").startswith("ok answered=0 failed=100 wrong=0 late=0 ")
                begun, before = time.monotonic(), c.stats()["connects"]
                while time.monotonic() < begun + 3:
                    assert c.say("get k").split()[0] in ("timeout", "unavailable")
                # A probe at most every 200 ms, and fewer each time; without a breaker it would be hundreds.
                connects = c.stats()["connects"] - before
                assert connects <= (time.monotonic() - begun) / 0.2 + 1
                island.rise()
                harness.wait_until(lambda: c.say("get k").startswith('ok "'), what="the client to find the node again")
                assert c.say("get k") in ('ok "v"', 'ok "w"')
        finally:
            island.close()

    apart(work)


@needs_tools
def test_fetches_go_to_the_source_while_the_cache_is_a_black_hole():
    def work():
        island = Island()
        try:
            with Shell() as c:
                opened(c, f"{THERE}:{PORT} {SHORT} deadline_ms=500")
                harness.wait_until(lambda: " fresh " in c.say("fetch k"), what="the cache to be used")
                loads = int(c.say("loads")[6:])
                island.sink()
                assert c.say("fetch k") == f'ok loaded 0 "v{loads + 1}" loads={loads + 1}'
                assert c.say("inv k").split()[0] in ("timeout", "unavailable"), "an invalidation that did not happen is not claimed"
                assert c.say("write k").split()[0] in ("timeout", "unavailable")
                assert c.say("loads") == f"loads={loads + 1}", "nothing was written"
                island.rise()
                harness.wait_until(lambda: " fresh " in c.say("fetch k"), what="the cache to be used again")
        finally:
            island.close()

    apart(work)


def test_a_name_that_points_elsewhere(tmp_path):
    """Names are resolved anew for each connection: after a failure the client goes where DNS says by then."""
    hosts = tmp_path / "hosts"

    def point(address):
        hosts.write_text(f"127.0.0.1 localhost\n{address} cache.example\n")

    def work():
        netns.own_mounts()
        point("127.0.0.2")
        sh("mount", "--bind", str(hosts), "/etc/hosts")
        servers = [subprocess.Popen(["redis-server", "--port", str(PORT), "--bind", address, "--save", ""], stdout=subprocess.DEVNULL)
                   for address in ("127.0.0.2", "127.0.0.3")]
        try:
            for address in ("127.0.0.2", "127.0.0.3"):
                harness.wait_until(lambda at=address: reachable(at), what="redis-server")
            with Shell(f"cache.example:{PORT}", "connect_timeout_ms=5000 deadline_ms=20000 breaker_ms=100") as c:
                assert c.opened == "ok 1"
                assert c.say("set k first") == "ok"
                point("127.0.0.3")
                assert c.say("get k") == 'ok "first"', "a connection that works is kept"
                servers[0].kill()
                servers[0].wait()
                harness.wait_until(lambda: c.say("get k") == "miss", what="the client to follow the name")
                assert c.say("set k second") == "ok" and c.say("get k") == 'ok "second"'
                point("")
                servers[1].kill()
                servers[1].wait()
                assert c.say("get k").split()[0] in ("cannot-connect", "timeout", "connection-closed", "unavailable")
        finally:
            for s in servers:
                s.kill()
                s.wait()

    apart(work)


def reachable(address):
    try:
        socket.create_connection((address, PORT), timeout=1).close()
        return True
    except OSError:
        return False
