"""Six islands and a hub: nodes of a cluster in network namespaces, and what can go wrong between them.

        hub (this process, and the clients)          island i, a node of the cluster
        172.30.i.1  c<i> ------------ veth ---------- i<i>  172.30.i.2

The hub routes between the islands, so every packet passes its nftables once; a fault is a rule there, and
heal() takes all rules away. A delay sends what leaves an island for another through a TUN device to the Relay, which holds
each packet for its time: netem would do the same, but not every kernel has it. What is for the hub, that is for
clients, is not delayed. (The islands are not in 10/8: all of that is the loopback's in run_apart().)

Needs a namespace of its own (netns.run_apart), iproute2, util-linux and nftables.
"""

import fcntl
import heapq
import os
import select
import struct
import subprocess
import threading
import time

import harness
from netns import Unavailable, sh

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_TABLE = "77"  # of routes through the relay

_NFT = "/usr/sbin/nft"  # not on everybody's PATH

DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")

RULES = """
table inet chaos {
    chain forward { type filter hook forward priority 0; }
    chain output { type filter hook output priority 0; }
    chain input { type filter hook input priority 0; }
}
"""


def _write(path, text):
    try:
        with open(path, "w") as f:
            f.write(text)
    except OSError as e:
        raise Unavailable(f"{path}: {e}") from e


class Relay(threading.Thread):
    """Reads packets from a TUN device and writes them back to it, `seconds()` later each, in the order of their times."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.seconds = lambda: 0
        self.stop_read, self.stop_write = os.pipe()
        try:
            self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        except OSError as e:
            raise Unavailable(f"/dev/net/tun: {e}") from e
        self.start()

    def run(self):
        held, number = [], 0
        while True:
            wait = max(0, held[0][0] - time.monotonic()) if held else None
            ready, _, _ = select.select([self.tun, self.stop_read], [], [], wait)
            if self.stop_read in ready:
                return
            if self.tun in ready:
                heapq.heappush(held, (time.monotonic() + self.seconds(), number, os.read(self.tun, 65536)))
                number += 1
            while held and held[0][0] <= time.monotonic():
                try:
                    os.write(self.tun, heapq.heappop(held)[2])
                except OSError:
                    pass  # lost, as packets are

    def close(self):
        os.close(self.stop_write)
        self.join()
        os.close(self.stop_read)
        os.close(self.tun)


class Island:
    """A namespace with an address; it lives as long as its holder."""

    def __init__(self, i):
        self.address, self.hub, self.link = f"172.30.{i}.2", f"172.30.{i}.1", f"c{i}"
        self.holder = subprocess.Popen([*DIES_WITH_PARENT, "unshare", "-n", "sleep", "infinity"])
        self.namespace = f"/proc/{self.holder.pid}/ns/net"
        mine = os.readlink("/proc/self/ns/net")
        harness.wait_until(lambda: os.readlink(self.namespace) != mine, what="the namespace")
        sh("ip", "link", "add", self.link, "type", "veth", "peer", "name", f"i{i}")
        sh("ip", "link", "set", f"i{i}", "netns", str(self.holder.pid))
        sh("ip", "addr", "add", self.hub + "/30", "dev", self.link)
        sh("ip", "link", "set", self.link, "up")
        for words in (("link", "set", "lo", "up"), ("addr", "add", self.address + "/30", "dev", f"i{i}"),
                      ("link", "set", f"i{i}", "up"), ("route", "add", "default", "via", self.hub)):
            sh(*self.inside(), "ip", *words)

    def inside(self):
        """Before a command: it runs on the island."""
        return ("nsenter", "--net=" + self.namespace)

    def close(self):
        """The cable goes at once; the namespace, and with it the other end, in its own time."""
        subprocess.run(["ip", "link", "del", self.link], check=False, stderr=subprocess.DEVNULL)
        self.holder.kill()
        self.holder.wait()


class Network:
    def __init__(self, n):
        _write("/proc/sys/net/ipv4/ip_forward", "1")
        self.relay, self.islands, self.slow = None, [], []
        try:
            sh(_NFT, "-f", "-", stdin=RULES)
            for i in range(1, n + 1):
                self.islands.append(Island(i))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _rule(chain, text):
        sh(_NFT, "add", "rule", "inet", "chaos", chain, *text.split())

    @staticmethod
    def _set(islands):
        return "{" + ",".join(i.address for i in islands) + "}"

    def part(self, some, others, one_way=False):
        """What `some` say to `others` vanishes, and the other way."""
        self._rule("forward", f"ip saddr {self._set(some)} ip daddr {self._set(others)} drop")
        if not one_way:
            self._rule("forward", f"ip saddr {self._set(others)} ip daddr {self._set(some)} drop")

    def hide(self, some):
        """The clients do not reach them."""
        self._rule("output", f"ip daddr {self._set(some)} drop")
        self._rule("input", f"ip saddr {self._set(some)} drop")

    def lose(self, some, percent):
        """That share of what they send and of what is sent to them is lost."""
        for chain, way in (("forward", "saddr"), ("forward", "daddr"), ("input", "saddr"), ("output", "daddr")):
            self._rule(chain, f"ip {way} {self._set(some)} numgen random mod 100 < {percent} drop")

    def delay(self, some, seconds):
        """What they send to other islands takes seconds() longer."""
        if self.relay is None:
            self.relay = Relay("relay")
            sh("ip", "link", "set", "relay", "up")
            sh("ip", "route", "add", "default", "dev", "relay", "table", _TABLE)
        self.relay.seconds = seconds
        for island in some:
            sh("ip", "rule", "add", "iif", island.link, "lookup", _TABLE)
            self.slow.append(island)

    def heal(self):
        for chain in ("forward", "input", "output"):
            sh(_NFT, "flush", "chain", "inet", "chaos", chain)
        while self.slow:
            sh("ip", "rule", "del", "iif", self.slow.pop().link, "lookup", _TABLE)

    def close(self):
        for island in self.islands:
            island.close()
        if self.relay is not None:
            self.relay.close()
        sh(_NFT, "delete", "table", "inet", "chaos")


class IslandServer(harness.Server):
    """A server on its island. Its data are on a small disk of their own, its log is not."""

    DISK = 24 << 20
    preexec = None  # Python in the child of a process with threads may wait for a lock for ever

    def __init__(self, island, port, binary, options):
        super().__init__(binary, options, workers=1)
        self.island, self.port = island, port
        self.disk = os.path.join(self.dir, "disk")
        os.mkdir(self.disk)
        sh("mount", "-t", "tmpfs", "-o", f"size={self.DISK}", "disk", self.disk)
        self.options |= {"bind": island.address, "dir": self.disk}

    def command_line(self):
        return [*self.island.inside(), *DIES_WITH_PARENT, *super().command_line()]

    def address(self):
        return (self.island.address, self.port)

    def fill_disk(self):
        with open(os.path.join(self.disk, "filler"), "wb", buffering=0) as f:
            try:
                while f.write(bytes(1 << 16)) > 0:
                    pass
            except OSError:
                pass

    def free_disk(self):
        os.remove(os.path.join(self.disk, "filler"))

    def remove(self):
        sh("umount", "-l", self.disk)
        super().remove()
