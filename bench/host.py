"""What every benchmark here needs besides servers: CPUs to run on, how noisy the machine
is, how far we are, and where the summary goes."""

import datetime
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

from servers import ROOT, Missing


def known(parser, option, text, names):
    """The names of a list, each of which must be one of those."""
    chosen = text.split(",")
    for name in chosen:
        if name not in names:
            parser.error(f"{option} {name}: there is only {', '.join(names)}")
    return chosen


def two_cpus():
    """One for the servers and one for the load; the same one twice if there is no other."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        print("bench: one CPU only: servers and load generator share it, and the figures mean little", file=sys.stderr)
    return cpus[0], cpus[-1]


class Noise:
    """What other programs took of the machine while we measured: above a few percent
    the figures are theirs as much as ours."""

    BAD_PERCENT = 5

    def __init__(self, fleet=None):
        """`fleet`: servers that run all the while; those that come and go are children that ended."""
        self.fleet = fleet
        self.began = time.monotonic()
        self.before = self.others()

    def others(self):
        """CPU seconds that neither we, nor our children, nor the servers have used."""
        words = pathlib.Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq, steal = map(int, words[:8])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        t = os.times()
        return busy - sum(t[:4]) - sum(server.cpu_seconds() for server in (self.fleet.all() if self.fleet else ()))

    def percent(self):
        spent = time.monotonic() - self.began
        return max(0.0, 100 * (self.others() - self.before) / (spent * os.cpu_count()))

    def line(self, spoils=True):
        """`spoils`: what was measured depends on time."""
        percent = self.percent()
        text = f"- noise: other programs used {percent:.1f} % of the machine meanwhile"
        if not spoils:
            return text + " (misses and memory do not depend on it; times do)"
        return text + (" (**too much: do not quote**)" if percent > self.BAD_PERCENT else "")


class Progress:
    """One line that is rewritten on a terminal; elsewhere a line now and then."""

    ELSEWHERE_SECONDS = 20

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.began = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.told = self.began

    def show(self, text):
        self.done += 1
        now = time.monotonic()
        if not self.terminal and now - self.told < self.ELSEWHERE_SECONDS:
            return
        self.told = now
        left = (now - self.began) / self.done * (self.total - self.done)
        begin, end = ("\r\033[K", "") if self.terminal else ("", "\n")
        print(f"{begin}{self.done}/{self.total}  about {left / 60:.0f} min left  {text}", end=end, file=sys.stderr, flush=True)

    def line(self, text):
        print(("\r\033[K" if self.terminal else "") + text, file=sys.stderr, flush=True)


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), os.uname().machine)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    virtual = ", virtual" if " hypervisor " in info else ""
    return f"{model}, {os.cpu_count()} CPUs{virtual}, {memory:.0f} GB, Linux {os.uname().release}"


def commit():
    """What is being measured; a tree without git or its history cannot say."""
    try:
        name = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + (" with changes" if dirty.stdout.strip() else "")


def program_hash(path):
    """Tells two builds apart; empty for what is not there."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""


def write_summary(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
    where = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    print(f"bench: written to {where}", file=sys.stderr)


def conditions(title, command, argv, versions, more=()):
    """The head of a summary: what was run, when, on what, against what."""
    return "\n".join([f"# {title}", "",
                      f"- command: `{' '.join([command, *argv])}`",
                      f"- date: {datetime.date.today().isoformat()}, commit {commit()}",
                      f"- machine: {machine()}",
                      *(f"- {name}: {version}" for name, version in versions.items()), *more]) + "\n\n"  # fmt: skip


def interruptible():
    """Ended by whatever signal, servers are stopped on the way; a job in the background would ignore SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def guarded(run):
    """Run it and turn what can go wrong into one line and an exit code."""
    interruptible()
    try:
        run()
    except Missing as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    except (RuntimeError, OSError) as e:
        print(f"bench: a run failed: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench: interrupted, nothing written", file=sys.stderr)
        return 130
    return 0
