"""Every replay that was made, in a file that grows by a line with each: an interrupted benchmark goes on from it."""

import csv
import dataclasses

import host

TEXT = {"trace", "subject", "error", "program"}
REAL = {"share", "seconds"}


class Ledger:
    """A peer's replays stay true when larder changes; larder's own only count for the very same program."""

    def __init__(self, path, kind, larder, resume):
        self.path = path
        self.kind = kind
        self.larder = host.program_hash(larder)
        self.runs = {}
        if resume and path.exists():
            with open(path, newline="", encoding="utf-8") as f:
                for row in csv.DictReader(f):
                    self.keep(self.read(row))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8") as f:
            self.writer(f).writeheader()
            self.writer(f).writerows(map(dataclasses.asdict, self.runs.values()))

    def read(self, row):
        return self.kind(**{name: text if name in TEXT else float(text) if name in REAL else int(text) for name, text in row.items()})

    def writer(self, f):
        return csv.DictWriter(f, [field.name for field in dataclasses.fields(self.kind)])

    @staticmethod
    def key(run):
        limit = 0 if run.subject.startswith("redis") else run.limit  # its own depends on what it uses when empty
        return run.trace, run.requests, run.memory, run.subject, limit, run.program

    def keep(self, run):
        self.runs[self.key(run)] = run

    def find(self, trace, requests, memory, subject, limit, budget):
        """The same replay, if it has been made; its budget is that of this time."""
        program = self.larder if subject.server == "larder" else ""
        limit = 0 if subject.server == "redis" else limit
        found = self.runs.get((trace, requests, memory, subject.title(), limit, program))
        return None if found is None else dataclasses.replace(found, budget=budget)

    def add(self, run):
        run = dataclasses.replace(run, program=self.larder if run.subject.startswith("larder") else "")
        self.keep(run)
        with open(self.path, "a", newline="", encoding="utf-8") as f:
            self.writer(f).writerow(dataclasses.asdict(run))
        return run
