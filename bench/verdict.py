"""From results to tables and to met or missed. Pure functions of the rows.

Machines drift, so nothing is compared across rounds: a ratio is made of two runs of the
same round, and what is told is the median of the rounds' ratios.
"""

import statistics

from measure import CLOSED, FEW, FEW_CONNECTIONS, IDLE_CONNECTIONS, LARGE, MANY, OPEN, on

LATENCY_MAX_MS = 1
IDLE_MAX_MB = 15


class Figures:
    """All results of a run. Those that were not measured are None."""

    def __init__(self, results, idle):
        self.results = results
        self.idle = idle  # server -> bytes

    def of(self, server, case):
        return {r.round: r for r in self.results if r.server == server and r.case == case}

    def median(self, server, case, field):
        values = [getattr(r, field) for r in self.of(server, case).values()]
        return statistics.median(values) if values else None

    def spread(self, server, case, field):
        values = [getattr(r, field) for r in self.of(server, case).values()]
        return (max(values) - min(values)) / statistics.median(values) if values else None

    def ratio(self, server, base, case, field="cpu"):
        """Median over the rounds of server / base."""
        ours, theirs = self.of(server, case), self.of(base, case)
        ratios = [getattr(ours[i], field) / getattr(theirs[i], field) for i in ours if i in theirs]
        return statistics.median(ratios) if ratios else None

    def growth(self, server, base, few, many):
        """How much of server / base is left when the connections become many."""
        a, b, c, d = self.of(server, many), self.of(base, many), self.of(server, few), self.of(base, few)
        ratios = [(a[i].cpu / b[i].cpu) / (c[i].cpu / d[i].cpu) for i in a if i in b and i in c and i in d]
        return statistics.median(ratios) if ratios else None

    def kept_up(self, server, case):
        runs = self.of(server, case).values()
        return all(r.kept_up() for r in runs) if runs else None


def targets(f):
    """(what, limit as text, value as text, met: True, False or None)."""
    rows = []

    def at_most(what, value, limit, form="{:.2f}"):
        rows.append((what, "<= " + form.format(limit), form.format(value) if value is not None else "not measured",
                     None if value is None else value <= limit))  # fmt: skip

    def at_least(what, value, limit):
        rows.append((what, f">= {limit:.2f}", f"{value:.2f}" if value is not None else "not measured",
                     None if value is None else value >= limit))  # fmt: skip

    for data in (FEW, LARGE):
        unpipelined, pipelined, deep, sets = on(data)
        keys = f", {data.name} keys"
        at_least("the floor is honest, unpipelined: Redis / floor" + keys, f.ratio("redis", "floor", unpipelined), 1.15)
        at_least("the floor is honest, pipeline 16: Redis / floor" + keys, f.ratio("redis", "floor", pipelined), 2.2)
        at_most("CPU unpipelined: larder / floor" + keys, f.ratio("larder", "floor", unpipelined), 1.05)
        at_most("CPU at pipeline 16: larder / floor" + keys, f.ratio("larder", "floor", pipelined), 1.2)
        at_most("CPU at pipeline 16: larder / Redis" + keys, f.ratio("larder", "redis", pipelined), 0.52)
        at_most("CPU at pipeline 50: larder / Redis" + keys, f.ratio("larder", "redis", deep), 0.52)
        at_most("CPU of SETs at pipeline 16: larder / floor" + keys, f.ratio("larder", "floor", sets), 1.27)
    for case in OPEN:
        p99 = f.median("larder", case, "p99")
        kept = f.kept_up("larder", case)
        value = "not measured" if p99 is None else f"{p99 / 1000:.3f} ms" if kept else "rate not held"
        rows.append((f"{case.rate:,} requests/s on one core, pipeline {case.pipeline}: p99", f"< {LATENCY_MAX_MS} ms", value,
                     None if p99 is None else kept and p99 < LATENCY_MAX_MS * 1000))  # fmt: skip
    for few, many in zip(FEW_CONNECTIONS, MANY):
        at_most(f"CPU over the floor's, {many.clients:,} against {few.clients} connections, pipeline {few.pipeline}",
                f.growth("larder", "floor", few, many), 1.05)  # fmt: skip
    idle = f.idle.get("larder")
    at_most(f"{IDLE_CONNECTIONS:,} idle connections, MB", idle / 1e6 if idle is not None else None, IDLE_MAX_MB, "{:.1f}")
    return rows


def table(header, rows):
    """Aligned Markdown: first column left, the others right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells):
        first, *others = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths)))
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def times(value):
    return "" if value is None else f"{value:.2f}"


def case_table(f, case, servers):
    rows = []
    for name in servers:
        if not f.of(name, case):
            continue
        rows.append([name, f"{f.median(name, case, 'per_second'):,.0f}",
                     *(f"{f.median(name, case, q) / 1000:.3f}" for q in ("p50", "p99", "p99_9")),
                     f"{f.median(name, case, 'cpu'):.3f}", f"{100 * f.spread(name, case, 'cpu'):.0f} %",
                     times(f.ratio(name, "floor", case)), times(f.ratio(name, "redis", case)),
                     *([] if not case.rate else ["yes" if f.kept_up(name, case) else "no"])])  # fmt: skip
    header = ["", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us", "spread", "x floor", "x redis"]
    return table(header + (["held"] if case.rate else []), rows) if rows else None


def verdict_table(rows):
    """Of (what, limit, measured, met)."""
    mark = {True: "met", False: "**missed**", None: ""}
    return table(["target", "limit", "measured", ""], [[*row[:3], mark[row[3]]] for row in rows])


def summary(f, servers):
    """The whole story in Markdown."""
    parts = ["## Against the targets", verdict_table(targets(f))]
    for title, cases in (("## Closed loop", CLOSED), ("## Open loop", OPEN), ("## Many connections", MANY)):
        tables = [(case, case_table(f, case, servers)) for case in cases]
        if any(t for _, t in tables):
            parts.append(title)
            parts += [f"{case.title()}\n\n{t}" for case, t in tables if t]
    if f.idle:
        rows = [[n, f"{b / 1e6:.1f}", f"{b / IDLE_CONNECTIONS:.0f}"] for n, b in f.idle.items()]
        parts += ["## Idle connections", f"{IDLE_CONNECTIONS:,} of them, each after one request",
                  table(["", "RSS MB", "bytes each"], rows)]  # fmt: skip
    return "\n\n".join(parts) + "\n"
