"""Random commands in the order in which a few clients would send them.

An epoch starts from an empty keyspace and has a flavour:

    absolute   times are absolute, so that EXPIRETIME and PEXPIRETIME compare exactly
    relative   relative times too, and what they lead to compares within a slack
    lfu        maxmemory-policy allkeys-lfu, for OBJECT FREQ
    auth       requirepass is set, connections begin unauthenticated
"""

import random

import grammar
from mutate import damaged, respelled, steady
from resp import encode, encode_inline

FLAVOURS = ("absolute", "relative", "lfu", "absolute", "relative", "absolute", "relative", "auth")
CONNECTIONS = 3
PASSWORD = b"secret"


class Command:
    """What is sent, how its reply is judged, and what it counts for."""

    __slots__ = ("args", "rule", "tags", "inline")

    def __init__(self, args, rule="exact", tags=(), inline=False):
        self.args = args
        self.rule = rule
        self.tags = tags
        self.inline = inline

    def bytes(self):
        return encode_inline(self.args) if self.inline else encode(self.args)

    def name(self):
        return self.args[0].upper() if self.args else b""


class Generator:
    """Commands of one epoch, reproducible from its seed."""

    def __init__(self, seed, flavour):
        self.r = random.Random(seed)
        self.flavour = flavour
        self.r.flavour = flavour
        self.r.relative = flavour == "relative"
        rows = [row for row in grammar.ROWS if row.when in (None, flavour)]
        # Half of the stream aims at each command and option in turn, half is by weight.
        self.targets = [(row, t[len(row.name) + 1 :] or None) for row in rows for t in row.tags()]
        self.rows = rows
        self.weights = [row.weight for row in rows]
        self.in_multi = [False] * CONNECTIONS

    def command(self, connection):
        r = self.r
        if self.in_multi[connection] and r.random() < 0.12:
            return self._end(connection, b"EXEC" if r.random() < 0.85 else b"DISCARD")
        if self.flavour == "auth" and r.random() < 0.15:
            return self._login()
        if r.random() < 0.5:
            row, option = r.choice(self.targets)
        else:
            row, option = r.choices(self.rows, self.weights)[0], None
        if row.name in ("MULTI", "EXEC", "DISCARD", "RESET") and r.random() < 0.5:
            self.in_multi[connection] = row.name == "MULTI"
        args, tags = row.make(r, option)
        if row.name == "MULTI":
            self.in_multi[connection] = True
        if row.mutate and r.random() < 0.22:
            args = damaged(r, args)
        words = steady(r, respelled(r, args))
        if not words or self.flavour == "auth" and not self._small(words):
            return self.command(connection)
        inline = r.random() < 0.04 and sum(map(len, words)) < 4000
        return Command(words, self._rule(row), tags, inline)

    def chunk(self, connection, most):
        """What one client sends before it reads. The unauthenticated may leave little unread,
        and RESET makes a client one of them with whatever is unread then."""
        size = 1 if self.flavour == "auth" else min(most, self.r.choice((1, 3, 10, 40, 150)))
        return [self.command(connection) for _ in range(size)]

    @staticmethod
    def _small(words):
        """Within the limits of the unauthenticated; beyond them the connection ends (fresh.py)."""
        return len(words) <= 10 and max(map(len, words)) <= 16384

    def _rule(self, row):
        if row.rule in ("at_s", "at_ms") and not self.r.relative:
            return "exact"
        return row.rule

    def _end(self, connection, word):
        self.in_multi[connection] = False
        return Command([word], "exec", [word.decode()])

    def _login(self):
        if self.r.random() < 0.5:
            return Command([b"AUTH", PASSWORD], tags=["AUTH"])
        return Command([b"HELLO", b"3", b"AUTH", b"default", PASSWORD], "hello", ["HELLO", "HELLO 3", "HELLO AUTH"])


def setup(flavour):
    """What the control connection sends before an epoch, whatever the last one left."""
    return [
        [b"AUTH", PASSWORD],  # an error when there is no password
        [b"CONFIG", b"SET", b"requirepass", PASSWORD if flavour == "auth" else b""],
        [b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lfu" if flavour == "lfu" else b"noeviction"],
        [b"FLUSHALL"],
        [b"SLOWLOG", b"RESET"],
    ]
