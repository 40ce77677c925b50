"""Holds both servers' answers and states against each other, and shrinks what fails."""

import random
import time

import differences
from compare import agree
from link import Link, Lost
from resp import elements, is_error, parse, show
from stream import CONNECTIONS, setup

QUEUED = b"+QUEUED\r\n"
BIG_DUMP = 60000
SHRINK_SECONDS = 20
# What the state of a key is compared by, and the rule for each.
QUESTIONS = (
    ("DUMP", "dump"), ("PEXPIRETIME", "at_ms"), ("TYPE", "exact"), ("OBJECT ENCODING", "exact"), ("STRLEN", "exact"), ("SMEMBERS", "unordered"),
)  # fmt: skip


class Mismatch:
    def __init__(self, what, theirs, ours, command=None):
        self.what = what
        self.theirs = theirs
        self.ours = ours
        self.command = command

    def signature(self):
        """The same bug seen twice has the same signature."""
        name = self.command.name() if self.command else b""
        kind = lambda raw: raw[:40].upper().split(b"\r\n")[0] if is_error(raw) else raw[:1]  # noqa: E731
        return self.what, name, kind(self.theirs), kind(self.ours)


class Judge:
    """One epoch: its connections and everything that was sent on them."""

    def __init__(self, control, addresses, flavour, count):
        self.control = control
        self.addresses = addresses
        self.flavour = flavour
        self.count = count  # count(tag) for each non-error reply
        self.links = []
        self.history = []  # (connection, Command)

    def __enter__(self):
        self.control.commands(*setup(self.flavour))
        self.links = [Link(self.addresses) for _ in range(CONNECTIONS)]
        if self.flavour != "auth":
            self.links[1].commands([b"HELLO", b"3"])
        return self

    def __exit__(self, *exc):
        for link in self.links:
            link.close()

    def run(self, connection, commands):
        """Send a chunk; yield its mismatches."""
        link = self.links[connection]
        self.history += [(connection, c) for c in commands]
        try:
            theirs, ours = link.exchange(b"".join(c.bytes() for c in commands), len(commands))
        except Lost as e:
            yield Mismatch("connection", b"", str(e).encode(), commands[min(e.got, len(commands) - 1)])
            return
        for command, a, b in zip(commands, theirs, ours):
            mismatch = self._reply(link, command, a, b)
            if mismatch:
                yield mismatch
        a, b = link.surplus()
        if a != b:
            yield Mismatch("unasked bytes", a[:500], b[:500], commands[-1])

    def _reply(self, link, command, a, b):
        name = command.name()
        if a == QUEUED:
            link.queue.append(command)
            return None if a == b else Mismatch("reply", a, b, command)
        if name == b"EXEC":
            return self._exec(link, command, a, b)
        if name in (b"DISCARD", b"RESET", b"MULTI"):
            if not is_error(a):
                link.queue = []
        return self._one(command, command, a, b)

    def _exec(self, link, command, a, b):
        queue, link.queue = link.queue, []
        ea, eb = elements(a), elements(b)
        if ea is None or eb is None or len(ea) != len(eb) or len(ea) != len(queue):
            return self._one(command, command, a, b)
        self._count(command, a)
        for queued, x, y in zip(queue, ea, eb):
            mismatch = self._one(command, queued, x, y)
            if mismatch:
                mismatch.what = f"reply inside EXEC to {show(queued.args)}"
                return mismatch
        return None

    def _one(self, sent, command, a, b):
        self._count(command, a)
        rule = "exact" if command.rule == "exec" else command.rule
        if a == b or agree(rule, a, b) or differences.explanation(command.args, a, b):
            return None
        return Mismatch("reply", a, b, command if sent is command else sent)

    def _count(self, command, raw):
        if not is_error(raw):
            for tag in command.tags:
                self.count(tag)

    # --- the whole keyspace ------------------------------------------------------------

    def state(self, r):
        """Compare every key of every database; yield mismatches."""
        for db in range(16):
            yield from self._database(db, r)
        self.control.commands([b"SELECT", b"0"])

    def _database(self, db, r):
        theirs, ours = self.control.commands([b"SELECT", b"%d" % db], [b"KEYS", b"*"], [b"DBSIZE"])
        names, ours_names = (sorted(k for _, k in parse(x[1])[0][1]) for x in (theirs, ours))
        if names != ours_names or theirs[2] != ours[2]:
            yield Mismatch(f"keys of database {db}", repr((names, theirs[2])).encode(), repr((ours_names, ours[2])).encode())
            return
        if not names:
            return
        yield from self._scan(db, set(names), r)
        rules = [rule for _ in names for _, rule in QUESTIONS]
        questions = [[word.encode() for word in q.split(" ")] + [k] for k in names for q, _ in QUESTIONS]
        theirs, ours = self.control.commands(*questions)
        exact = self.flavour != "relative"
        for q, rule, a, b in zip(questions, rules, theirs, ours):
            if not agree("exact" if rule == "at_ms" and exact else rule, a, b):
                if not differences.explanation(q, a, b):
                    yield Mismatch(f"state of database {db}: {show(q)}", a, b)
        big = [k for k, a in zip(names, theirs[:: len(QUESTIONS)]) if len(a) > BIG_DUMP]
        if big:
            self.control.commands([b"DEL"] + big)

    def _scan(self, db, names, r):
        """A full iteration must return exactly the keys there are."""
        count = b"%d" % r.choice((1, 2, 5, 10, 1000))
        cursor, seen = b"0", []
        for _ in range(100000):
            reply = parse(self.control.halves[1].ask([b"SCAN", cursor, b"COUNT", count]))[0]
            if reply[0] != b"*":
                break
            cursor = reply[1][0][1]
            seen += [k for _, k in reply[1][1][1]]
            if cursor == b"0":
                break
        if set(seen) != names:
            yield Mismatch(f"SCAN of database {db} COUNT {count.decode()}", repr(sorted(names)).encode(), repr(sorted(set(seen))).encode())


# --- shrinking -----------------------------------------------------------------------------


def _replay(make_judge, history, state):
    """The first mismatch of a history that starts from nothing."""
    with make_judge() as judge:
        for connection, command in history:
            for mismatch in judge.run(connection, [command]):
                return mismatch
        if state:
            for mismatch in judge.state(random.Random(0)):
                return mismatch
    return None


def shrink(make_judge, history, mismatch):
    """The shortest history found that still shows the mismatch; None if it will not repeat."""
    state = mismatch.command is None
    signature = mismatch.signature()
    deadline = time.monotonic() + SHRINK_SECONDS

    def fails(candidate):
        found = _replay(make_judge, candidate, state)
        return found is not None and found.signature()[1:] == signature[1:]

    if not fails(history):
        return None
    step = max(1, len(history) // 2)
    while time.monotonic() < deadline:
        at, cut = 0, False
        while at < len(history) and time.monotonic() < deadline:
            candidate = history[:at] + history[at + step :]
            if candidate and fails(candidate):
                history, cut = candidate, True
            else:
                at += step
        if step == 1 and not cut:
            break
        step = max(1, step // 2)
    return history


def tail(history, mismatch, limit=30):
    """Without a replay: the last commands that shared a key with the one that failed."""
    if mismatch.command is None:
        return history[-limit:]
    keys = set(mismatch.command.args[1:])
    state = {b"SELECT", b"MULTI", b"EXEC", b"DISCARD", b"RESET", b"HELLO", b"SWAPDB", b"FLUSHALL", b"FLUSHDB", b"MOVE", b"WATCH"}
    related = [(c, x) for c, x in history if x.name() in state or keys & set(x.args[1:])]
    return related[-limit:]
