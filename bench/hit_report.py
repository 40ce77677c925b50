"""What replays add up to: ratios, verdicts, tables, plots. Pure functions of the rows.

Excess misses are misses less the compulsory ones, the first request for each key, as
TARGETS defines it; where TTLs make more misses unavoidable, ratios of what remains beyond those
are told beside it. A point at which Redis has next to no excess decides nothing: both have room
for everything, and a ratio of two small numbers is noise."""

import math

import plot
from verdict import table

NOISE_SHARE = 0.001  # of the requests: less excess than this is no basis for a ratio
EXCESS_LRU_MAX = 0.75
EXCESS_EACH_MAX = 1.02
EXCESS_LFU_MAX = 0.85
BELADY_MAX = 1.30
EXPIRED_MAX_PERCENT = 1

LRU = "redis allkeys-lru"
LFU = ("redis allkeys-lfu, decay 0", "redis allkeys-lfu, decay 1")
AUTO = "larder allkeys-auto"


def geomean(values):
    values = [v for v in values if v is not None]
    return math.exp(sum(map(math.log, values)) / len(values)) if values and min(values) > 0 else None


class Point:
    """A trace at one size of memory: all servers, and what could be had at best."""

    def __init__(self, trace, share, memory, bounds, unavoidable):
        self.trace = trace
        self.share = share
        self.memory = memory
        self.bounds = bounds  # lru, belady, belady_objects, least at the budget; None while unknown
        self.unavoidable = unavoidable
        self.runs = {}

    def budget(self):
        """What larder and memcached may grow by: the least that a Redis has grown by."""
        grown = [r.growth for name, r in self.runs.items() if name.startswith("redis")]
        return min(grown) if grown else None

    def excess(self, subject, compulsory=None):
        r = self.runs.get(subject)
        return None if r is None else r.misses - (self.trace.stats["first"] if compulsory is None else compulsory)

    def ratio(self, subject, base, compulsory=None):
        """excess / excess, None when it says nothing."""
        ours, theirs = self.excess(subject, compulsory), self.excess(base, compulsory)
        if ours is None or theirs is None or theirs < NOISE_SHARE * self.trace.stats["requests"]:
            return None
        return max(ours, 1) / theirs

    def best_lfu(self):
        there = [name for name in LFU if name in self.runs]
        return min(there, key=lambda name: self.runs[name].misses) if there else None

    def against_belady(self, subject):
        r = self.runs.get(subject)
        return r.misses / self.bounds["belady"] if r is not None and self.bounds else None

    def title(self):
        return f"{self.trace.name}, {100 * self.share:g} % ({self.memory / 1e6:.1f} MB)"


def verdicts(points, subject=AUTO):
    """(what, limit, measured, met: True, False or None)."""
    rows = []

    def row(what, limit, value, form="{:.2f}"):
        rows.append((what, "<= " + form.format(limit), form.format(value) if value is not None else "not measured",
                     None if value is None else value <= limit))  # fmt: skip

    lru = [p.ratio(subject, LRU) for p in points]
    lfu = [p.ratio(subject, p.best_lfu()) for p in points]
    row("excess misses / Redis allkeys-lru, geomean", EXCESS_LRU_MAX, geomean(lru))
    row("excess misses / Redis allkeys-lru, the worst point", EXCESS_EACH_MAX, max((v for v in lru if v is not None), default=None))
    row("excess misses / Redis allkeys-lfu at its best, geomean", EXCESS_LFU_MAX, geomean(lfu))
    row("all misses / Belady (uniform size), geomean", BELADY_MAX, geomean([p.against_belady(subject) for p in points]))
    shares = [100 * r.expired_resident / r.growth for p in points
              if (r := p.runs.get(subject)) is not None and r.expired_resident >= 0 and r.growth > 0]  # fmt: skip
    row("expired but resident at the end, % of memory, the worst point", EXPIRED_MAX_PERCENT, max(shares, default=None))
    over = [p for p in points if (r := p.runs.get(subject)) is not None and r.over()]
    if any(subject in p.runs for p in points):
        rows.append(("RSS growth at or under Redis's", "always", f"over at {len(over)} points" if over else "always", not over))
    return rows


def ratio_text(value):
    return "" if value is None else f"{value:.2f}"


def point_table(p):
    rows = []
    for name, r in p.runs.items():
        grown = f"{r.growth / 1e6:.1f}" + ("**!**" if r.over() else "")
        rows.append([name, f"{r.limit / 1e6:.2f}", grown, f"{r.misses:,}", f"{p.excess(name):,}", f"{100 * r.misses / r.requests:.2f}",
                     ratio_text(p.ratio(name, LRU)), ratio_text(p.ratio(name, p.best_lfu())), ratio_text(p.ratio(name, LRU, p.unavoidable)),
                     ratio_text(p.against_belady(name)), f"{r.objects:,}", f"{r.growth / r.objects:.0f}" if r.objects > 0 else "",
                     f"{r.refused:,}" if r.refused else ""])  # fmt: skip
    for name, key in (("exact LRU, no overhead", "lru"), ("Belady, uniform size", "belady"), ("nothing can have fewer", "least")):
        if p.bounds:
            misses = p.bounds[key]
            rows.append([name, "", f"{p.bounds['bytes'] / 1e6:.1f}", f"{misses:,}", f"{misses - p.trace.stats['first']:,}",
                         f"{100 * misses / p.trace.stats['requests']:.2f}", "", "", "", ratio_text(misses / p.bounds["belady"]),
                         f"{p.bounds['belady_objects']:,}" if key == "belady" else "", "", ""])  # fmt: skip
    return table(["", "limit MB", "RSS growth MB", "misses", "excess", "miss %", "x LRU", "x LFU", "x LRU beyond TTLs", "x Belady",
                  "objects", "bytes each", "refused"], rows)  # fmt: skip


def trace_table(traces):
    rows = []
    for t in traces:
        s = t.stats
        ttls = ", ".join(f"{ttl or 'none'} {100 * share:.0f} %" for ttl, share in s["ttls"][:3]) + (" ..." if len(s["ttls"]) > 3 else "")
        rows.append([t.name, t.about, f"{s['requests']:,}", f"{s['keys']:,}", f"{s['key_bytes']} + {s['value_mean']:.0f}",
                     f"{s['footprint'] / 1e6:.0f}", f"{s['accesses']:.1f}", f"{s['one_hit_percent']:.1f}", f"{s['compulsory_percent']:.1f}",
                     f"{100 * s['expired'] / s['requests']:.1f}", f"{s['seconds']:,.0f}", ttls])  # fmt: skip
    return table(["", "what", "requests", "keys", "bytes", "footprint MB", "requests a key", "one-hit %", "compulsory %", "expiry %",
                  "seconds", "TTLs (s), share of keys"], rows)  # fmt: skip


def summary_table(points, subjects):
    """One line a subject: geomeans over all points."""
    rows = []
    for name in subjects:
        lru, lfu = [p.ratio(name, LRU) for p in points], [p.ratio(name, p.best_lfu()) for p in points]
        beyond = [p.ratio(name, LRU, p.unavoidable) for p in points]
        worst = max((v for v in lru if v is not None), default=None)
        rows.append([name, *map(ratio_text, (geomean(lru), worst, geomean(lfu), geomean(beyond),
                                             geomean([p.against_belady(name) for p in points])))])  # fmt: skip
    return table(["geomean over points", "x LRU", "worst x LRU", "x LFU", "x LRU beyond TTLs", "x Belady"], rows)


def plots(points):
    """{trace name: SVG} of miss ratio over RSS growth allowed; traces with one point have no line to draw."""
    drawn = {}
    for trace in dict.fromkeys(p.trace.name for p in points):
        mine = [p for p in points if p.trace.name == trace]
        if len(mine) < 2:
            continue
        subjects = dict.fromkeys(name for p in mine for name in p.runs)
        series = [(name, [(p.runs[name].growth / 1e6, 100 * p.runs[name].misses / p.runs[name].requests) for p in mine if name in p.runs], False)
                  for name in subjects]  # fmt: skip
        for name, key in (("Belady, uniform size", "belady"), ("nothing can have fewer", "least")):
            series.append((name, [(p.bounds["bytes"] / 1e6, 100 * p.bounds[key] / p.trace.stats["requests"]) for p in mine if p.bounds], True))
        drawn[trace] = plot.svg(f"{trace}: misses over memory", "RSS growth, MB", "misses, % of requests", series)
    return drawn


def report(traces, points, subjects, pictures):
    """The whole story in Markdown; pictures: {trace name: file name}."""
    mark = {True: "met", False: "**missed**", None: ""}
    parts = ["## Against the targets", f"Judged is {AUTO}; the other policies are in the tables.",
             table(["target", "limit", "measured", ""], [[*row[:3], mark[row[3]]] for row in verdicts(points)]),
             "## Over all points", summary_table(points, subjects), "## Traces", trace_table(traces)]  # fmt: skip
    for t in traces:
        mine = [p for p in points if p.trace.name == t.name]
        if mine:
            parts.append(f"## {t.name}")
            parts += [f"![misses over memory]({pictures[t.name]})"] if t.name in pictures else []
            parts += [f"{p.title()}: {p.trace.stats['first']:,} compulsory misses, {p.unavoidable:,} unavoidable with TTLs\n\n{point_table(p)}"
                      for p in mine]  # fmt: skip
    return "\n\n".join(parts) + "\n"
