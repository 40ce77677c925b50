"""One replay against one server, and the search for the limit at which servers use equal memory."""

import dataclasses
import socket
import tempfile
import time

import servers

WINDOW = 32  # GETs under way: few, since replies that wait count as memory of Redis
TRIES = 6
NEAR = 0.97  # of the memory allowed: near enough, no further try
MB = 1 << 20
CLOCK_SLACK_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class Subject:
    """A server with a policy."""

    server: str
    policy: str = ""
    more: tuple = ()

    def title(self):
        return f"{self.server} {self.policy}".strip()


REDIS = (Subject("redis", "allkeys-lru"),
         Subject("redis", "allkeys-lfu, decay 0", ("--lfu-decay-time", 0)),
         Subject("redis", "allkeys-lfu, decay 1", ("--lfu-decay-time", 1)))  # fmt: skip
# It gives each size class a page of 1 MB whatever its limit is, so at small points it can stay within
# only with fewer classes.
MEMCACHED = (Subject("memcached"), Subject("memcached", "few classes", ("-f", 2)))
MEMCACHED_MIN = 2 << 20
LARDER_POLICIES = ("allkeys-auto", "allkeys-lru", "allkeys-lfu", "allkeys-random",
                   "volatile-auto", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "noeviction")  # fmt: skip


@dataclasses.dataclass
class Run:
    """What one replay has shown. Bytes, requests."""

    trace: str
    share: float
    memory: int  # what the point asks for
    subject: str
    limit: int  # what the server was told
    growth: int  # RSS: highest less before the first key
    budget: int  # what its growth was allowed to be; 0: it sets the measure
    requests: int
    misses: int
    stored: int
    refused: int
    objects: int
    evicted: int
    expired_resident: int  # bytes; -1: the server does not tell
    seconds: float
    error: str
    program: str = ""  # of larder: which one, by its hash

    def over(self):
        return self.budget and self.growth > self.budget


class Link:
    """A word with the server beside the replay."""

    def __init__(self, server):
        self.server = server
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def ask(self, *words):
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(str(w)), str(w).encode()) for w in words))
        line = self.file.readline().decode().strip()
        if line.startswith("-") or not line:
            raise RuntimeError(f"{self.server.name} answered {' '.join(map(str, words))} with {line or 'nothing'}")
        if line.startswith("$"):
            return self.file.read(int(line[1:]) + 2)[:-2].decode()
        return line[1:]

    def facts(self):
        """INFO or stats as a dictionary."""
        if self.server.protocol == "memcached":
            self.socket.sendall(b"stats\r\n")
            lines = iter(lambda: self.file.readline().decode().strip(), "END")
            return dict(line.split(" ", 2)[1:] for line in lines)
        return dict(line.split(":", 1) for line in self.ask("INFO", "everything").splitlines() if ":" in line)


def number(facts, *names):
    for name in names:
        if name in facts:
            return int(float(facts[name]))
    return -1


class Replayer:
    """Starts a server for each run, on its own CPU, its clock moved by the trace."""

    def __init__(self, tool, build, server_cpu):
        self.tool = tool
        self.build = build
        self.cpu = server_cpu
        self.running = []

    def all(self):
        """For host.Noise."""
        return self.running

    def server(self, subject, limit):
        made = servers.KINDS[subject.server](self.build)
        if subject.server == "memcached":
            made.more = [*subject.more, "-m", limit // MB]
        elif subject.server == "larder":
            made.more = [*subject.more, "--maxmemory", limit, "--maxmemory-policy", subject.policy]
        else:
            made.more = [*subject.more, "--maxmemory-policy", subject.policy.partition(",")[0]]
        return made

    def run(self, trace, share, memory, subject, limit, budget=0):
        server = self.server(subject, limit)
        with tempfile.NamedTemporaryFile(prefix="larder-clock-") as clock:
            clock.write(bytes(8))
            clock.flush()
            server.environment = {"LD_PRELOAD": str(self.tool.clock), "LARDER_CLOCK_FILE": clock.name}
            server.start(self.cpu)
            self.running.append(server)
            try:
                with Link(server) as link:
                    return self.measure(link, trace, share, memory, subject, limit, budget, clock.name)
            finally:
                self.running.remove(server)
                server.stop()

    def measure(self, link, trace, share, memory, subject, limit, budget, clock):
        server = link.server
        began = time.monotonic()
        before = link.facts()
        if subject.server == "redis":  # its limit counts the empty process, too
            limit += number(before, "used_memory")
            link.ask("CONFIG", "SET", "maxmemory", limit)
        protocol = ["--memcached"] if server.protocol == "memcached" else []
        done = self.tool.run("play", trace.path, "--port", server.port, "--server-pid", server.pid, "--window", WINDOW,
                             "--clock", clock, *protocol)  # fmt: skip
        after = link.facts()
        passed = seconds_of(link, after) - seconds_of(link, before)
        expected = max(trace.stats["seconds"], done["seconds"])
        around = time.monotonic() - began - done["seconds"]  # before and after the replay the clock went by itself
        if not -CLOCK_SLACK_SECONDS <= passed - expected <= around + CLOCK_SLACK_SECONDS:
            raise RuntimeError(f"the clock of {server.name} went {passed} s in a trace of {trace.stats['seconds']} s")
        if done["hits"] + done["misses"] != trace.stats["requests"] or done["stored"] + done["refused"] != done["misses"]:
            raise RuntimeError(f"{server.name}: requests are missing in {done}")
        objects = number(after, "curr_items") if protocol else int(link.ask("DBSIZE"))
        return Run(trace.name, share, memory, subject.title(), limit, done["rss_peak"] - done["rss_before"], budget,
                   trace.stats["requests"], done["misses"], done["stored"], done["refused"], objects,
                   number(after, "evicted_keys", "evictions"), number(after, "larder_expired_resident"),
                   done["seconds"], done["first_error"])  # fmt: skip


def seconds_of(link, facts):
    return int(facts["time"]) if link.server.protocol == "memcached" else int(facts["uptime_in_seconds"])


def fit(run, budget, first, step=1, smallest=1):
    """The run with the highest limit whose growth stays within the budget, near it if TRIES
    tries get there. `run` makes one, given a limit. If none stays within, the smallest.

    Growth follows the limit about one to one, so the next guess is off by what is missing; what is
    known to be too much, or little enough, brackets it."""
    below, above, best, least = 0, None, None, None
    limit = max(smallest, int(first) // step * step)
    for _ in range(TRIES):
        r = run(limit)
        least = r if least is None or r.growth < least.growth else least
        if r.growth <= budget:
            if best is not None and r.growth - best.growth < (limit - best.limit) / 5:
                best = max(best, r, key=lambda one: one.limit)
                break  # it holds all there is: more memory is not used
            best = r if best is None or limit > best.limit else best
            below = max(below, limit)
            if r.growth >= NEAR * budget:
                break
            guess = limit + (budget - r.growth) * 0.97
        else:
            above = limit if above is None else min(above, limit)
            guess = limit - (r.growth - budget) * 1.03
        if above is not None and not below < guess < above:
            guess = (below + above) / 2
        guess = max(smallest, int(guess) // step * step)
        if guess in (below, above, limit):
            break
        limit = guess
    return best or least
