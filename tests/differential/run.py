#!/usr/bin/python3
"""The differential test: the same random commands to larder and to redis-server.

    tests/differential/run.py                         200,000 commands, fixed seeds
    tests/differential/run.py --commands 2000000 --seed 7
    tests/differential/run.py --record docs/evidence/differential.md

Every reply is compared byte by byte, and after each batch every key of every database.
What may differ is listed in differences.py. On a failure it prints the seed, both
replies, and the shortest history found that shows the difference again.
"""

import argparse
import collections
import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

import differences
import expiry
import fresh
import grammar
import harness
from judge import Judge, Mismatch, shrink, tail
from link import Link, converse
from resp import show
from stream import FLAVOURS, CONNECTIONS, Generator

EPOCH = 2000  # commands from one empty keyspace on
BATCH = 400  # commands between two comparisons of the whole keyspace
LEAST = 100  # non-error replies for each command and option
ENOUGH = 150000  # commands from which on coverage and the list of differences are insisted on


class Run:
    def __init__(self, options):
        self.options = options
        self.counts = collections.Counter()
        self.sent = 0
        self.compared_states = 0
        self.failures = []
        self.signatures = collections.Counter()
        self.started = time.monotonic()

    # --- the servers -------------------------------------------------------------------

    def start(self):
        common = {"proto-max-bulk-len": "1mb", "databases": "16"}
        self.redis = harness.Server(harness.REDIS_SERVER, common).start()
        self.larder = harness.Server(self.options.larder, common, workers=self.options.workers).start()
        self.servers = (self.redis, self.larder)
        self.addresses = [s.address() for s in self.servers]
        self.control = Link(self.addresses)

    def stop(self):
        self.control.close()
        return [trouble for trouble in (self.redis.close(), self.larder.close()) if trouble]

    def recover(self):
        """After a failure: a new control connection, if anybody is there."""
        if not self.larder.alive():
            raise SystemExit(f"larder died:\n{self.larder.log_tail()}")
        self.control.close()
        self.control = Link(self.addresses)

    def judge(self, flavour, count):
        return Judge(self.control, self.addresses, flavour, count)

    # --- the parts ---------------------------------------------------------------------

    def streams(self):
        number = self.options.first_epoch
        while self.sent < self.options.commands and not self.too_many():
            flavour = FLAVOURS[number % len(FLAVOURS)]
            self.epoch(f"{self.options.seed}:{number}", flavour)
            number += 1
            self.progress()

    def epoch(self, seed, flavour):
        generator = Generator(seed, flavour)
        with self.judge(flavour, self.tally) as judge:
            mismatch = self.epoch_inside(judge, generator)
        if mismatch:
            self.fail(mismatch, f"seed {seed} ({flavour})")
            self.explain(mismatch, judge.history, flavour)

    def epoch_inside(self, judge, generator):
        """The epoch's first mismatch; what follows one is not worth comparing."""
        r = generator.r
        for _ in range(EPOCH // BATCH):
            left = BATCH
            while left > 0:
                connection = r.randrange(CONNECTIONS)
                chunk = generator.chunk(connection, left)
                left -= len(chunk)
                self.sent += len(chunk)
                for mismatch in judge.run(connection, chunk):
                    return mismatch
            self.compared_states += 1
            for mismatch in judge.state(r):
                return mismatch
        return None

    def expiry(self):
        r = random.Random(self.options.seed)
        with self.judge("relative", self.tally) as judge:
            for mismatch in expiry.rounds(judge, r, self.options.expiry_rounds):
                self.fail(mismatch, "expiry")

    def fresh(self):
        """Conversations that need a connection of their own."""
        for payload in list(fresh.malformed()) + list(fresh.harmless_failures()):
            self.conversation(payload)
        for payload, tags in fresh.conversations():
            self.conversation(payload, tags)
        with self.judge("auth", None):
            for payload in fresh.unauthenticated():
                self.conversation(payload)

    def conversation(self, payload, tags=()):
        theirs, ours = (converse(a, payload) for a in self.addresses)
        self.sent += 1
        if theirs == ours:
            self.counts.update(tags)
        elif not differences.explanation([b"(conversation)", payload], theirs, ours):
            self.fail(Mismatch(f"conversation {payload[:200]!r}", theirs, ours), "fresh")
        if not self.larder.alive():
            raise SystemExit(f"larder died of {payload[:200]!r}:\n{self.larder.log_tail()}")

    # --- bookkeeping -------------------------------------------------------------------

    def tally(self, tag):
        self.counts[tag] += 1

    def fail(self, mismatch, where):
        """Count a mismatch; print it if it is of a new kind."""
        signature = mismatch.signature()
        self.signatures[signature] += 1
        if self.signatures[signature] > 1:
            return
        self.failures.append(mismatch)
        print(f"\nDIFFERENT #{len(self.failures)} [{where}]: {mismatch.what}")
        if mismatch.command:
            print("  command:", show(mismatch.command.args))
        print("  redis:  ", short(mismatch.theirs))
        print("  larder: ", short(mismatch.ours), flush=True)

    def explain(self, mismatch, history, flavour):
        """How to see it again."""
        self.recover()
        if self.signatures[mismatch.signature()] > 1:
            return
        smallest = shrink(lambda: self.judge(flavour, lambda tag: None), history, mismatch)
        print("  shortest history found:" if smallest else "  did not repeat from nothing; what came before it:")
        for connection, command in smallest[-40:] if smallest else tail(history, mismatch):
            print(f"    {connection}> {show(command.args)}{'   (inline)' if command.inline else ''}", flush=True)
        self.recover()

    def too_many(self):
        return len(self.failures) >= self.options.max_failures

    def progress(self):
        if sys.stderr.isatty():
            print(f"\r{self.sent:,} commands, {sum(self.signatures.values())} differences ", end="", file=sys.stderr)

    # --- the verdict -------------------------------------------------------------------

    def table(self):
        tags = grammar.covered_tags()
        cells = [f"{t} {self.counts[t]}" for t in tags]
        width = max(map(len, cells)) + 2
        per_line = max(1, 120 // width)
        lines = []
        for i in range(0, len(tags), per_line):
            row = [t.ljust(width - 8) + str(self.counts[t]).rjust(6) + "  " for t in tags[i : i + per_line]]
            lines.append("".join(row).rstrip())
        return "Replies that were no errors, for each command and option:\n\n" + "\n".join(lines)

    def shortfalls(self):
        out = []
        if self.sent >= ENOUGH and not self.failures:
            thin = [f"{t} ({self.counts[t]})" for t in grammar.covered_tags() if self.counts[t] < LEAST]
            if thin:
                out.append(f"fewer than {LEAST} non-error replies: " + ", ".join(thin))
            unseen = [d.name for d in differences.DIFFERENCES if not d.seen]
            if unseen:
                out.append("listed differences that no longer occur: " + "; ".join(unseen))
        return out

    def summary(self):
        listed = sum(d.seen for d in differences.DIFFERENCES)
        return (
            f"{self.sent:,} commands, {sum(self.counts[t] for t in self.counts):,} non-error tags counted, {self.compared_states} keyspace comparisons, "
            f"{sum(self.signatures.values())} unlisted differences ({len(self.failures)} kinds), {listed} listed ones; "
            f"seed {self.options.seed}, {self.options.workers} workers, {time.monotonic() - self.started:.0f} s"
        )


def short(raw, limit=400):
    text = repr(bytes(raw))[2:-1]
    return text if len(text) <= limit else f"{text[:limit]}... ({len(raw)} bytes)"


def record(path, run):
    """Write the evidence that a reader of the repository sees."""
    with open(path, "w") as f:
        f.write("# Differential test against redis-server 7.0.15\n\n")
        f.write(f"`tests/differential/run.py --commands {run.options.commands} --seed {run.options.seed} --workers {run.options.workers}`\n\n")
        f.write(run.summary() + "\n\n## Intended differences\n\n")
        for d in differences.DIFFERENCES:
            f.write(f"- {d.name} ({d.seen} times): {d.reason}\n")
        f.write("\n## Coverage\n\n```\n" + run.table() + "\n```\n")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--commands", type=int, default=200000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--first-epoch", type=int, default=0, help="begin there: the N of `seed S:N`")
    p.add_argument("--workers", type=int, default=harness.LARDER_WORKERS)
    p.add_argument("--larder", default=harness.LARDER_SERVER, help="the server under test")
    p.add_argument("--expiry-rounds", type=int, default=24)
    p.add_argument("--max-failures", type=int, default=20, help="stop after so many kinds of difference")
    p.add_argument("--record", metavar="FILE", help="write the summary there")
    return p.parse_args()


def main():
    run = Run(arguments())
    run.start()
    try:
        run.fresh()
        run.expiry()
        run.streams()
    finally:
        troubles = run.stop()
    print("\n" + run.table() + "\n")
    for d in differences.DIFFERENCES:
        print(f"listed: {d.name}: {d.seen}")
    problems = troubles + run.shortfalls()
    for problem in problems:
        print("FAILED:", problem)
    print(run.summary())
    if run.options.record and not run.failures and not problems:
        record(run.options.record, run)
    sys.exit(1 if run.failures or problems else 0)


if __name__ == "__main__":
    main()
