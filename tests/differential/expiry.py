"""Expiry with real time: what has expired is gone for every command, on both servers.

Keys get relative times that have surely passed, or surely not, when the next command
asks; how long anything takes is never judged.
"""

import time

from stream import Command
from words import KEYS

SHORT = [b"1", b"5", b"20", b"60"]
PAUSE = 0.25  # longer than any of SHORT by a wide margin
LONG = b"10000000"


def _short_lived(key, ms, i):
    """Different ways to give a key a short life."""
    return [
        [[b"SET", key, b"v", b"PX", ms]],
        [[b"SET", key, b"12", b"EX", b"900"], [b"PEXPIRE", key, ms]],
        [[b"PSETEX", key, ms, b"v"]],
        [[b"SET", key, b"v"], [b"GETEX", key, b"PX", ms]],
        [[b"SET", key, b"v"], [b"PEXPIRE", key, ms, b"NX"]],
        [[b"SET", key, b"v", b"PX", LONG], [b"PEXPIRE", key, ms, b"LT"]],
        [[b"SETBIT", key, b"3", b"1"], [b"PEXPIRE", key, ms]],
    ][i % 7]


# Each must behave as if the key had never been. {k} is the expired key.
QUESTIONS = [
    [b"GET", b"{k}"], [b"EXISTS", b"{k}", b"{k}"], [b"TYPE", b"{k}"], [b"TTL", b"{k}"], [b"PTTL", b"{k}"], [b"PEXPIRETIME", b"{k}"],
    [b"STRLEN", b"{k}"], [b"GETRANGE", b"{k}", b"0", b"-1"], [b"GETBIT", b"{k}", b"3"], [b"BITCOUNT", b"{k}"], [b"BITPOS", b"{k}", b"1"],
    [b"DUMP", b"{k}"], [b"OBJECT", b"ENCODING", b"{k}"], [b"MEMORY", b"USAGE", b"{k}"], [b"TOUCH", b"{k}"], [b"MGET", b"{k}", b"{k}"],
    [b"DEL", b"{k}"], [b"UNLINK", b"{k}"], [b"PERSIST", b"{k}"], [b"EXPIRE", b"{k}", b"100"], [b"RENAME", b"{k}", b"other"], [b"RENAMENX", b"{k}", b"other"],
    [b"COPY", b"{k}", b"other"], [b"MOVE", b"{k}", b"1"], [b"GETDEL", b"{k}"], [b"GETSET", b"{k}", b"new"], [b"GETEX", b"{k}", b"PERSIST"],
    [b"SET", b"{k}", b"new", b"XX"], [b"SET", b"{k}", b"new", b"NX"], [b"SET", b"{k}", b"new", b"GET"], [b"SET", b"{k}", b"new", b"KEEPTTL"],
    [b"SETNX", b"{k}", b"new"], [b"MSETNX", b"{k}", b"new", b"other", b"x"], [b"APPEND", b"{k}", b"new"], [b"INCR", b"{k}"], [b"INCRBYFLOAT", b"{k}", b"1.5"],
    [b"SETRANGE", b"{k}", b"2", b"new"], [b"SETBIT", b"{k}", b"7", b"1"], [b"BITFIELD", b"{k}", b"INCRBY", b"u8", b"0", b"3"], [b"BITOP", b"OR", b"other", b"{k}"],
    [b"BITOP", b"NOT", b"{k}", b"{k}"], [b"LCS", b"{k}", b"{k}"], [b"RESTORE", b"{k}", b"0", b"\x00\xc0\x07\x0a\x00\x37\xe1\x09\x65\x6c\x0a\x49\x12"],
    [b"KEYS", b"*"], [b"SCAN", b"0", b"COUNT", b"1000"], [b"RANDOMKEY"], [b"COPY", b"other", b"{k}"],
]  # fmt: skip


def rounds(judge, r, how_many):
    """Yield mismatches of so many rounds; every key dies in every round."""
    for n in range(how_many):
        judge.control.commands([b"FLUSHALL"])
        judge.history = []
        keys = [k for k in KEYS if k]
        births = [c for i, k in enumerate(keys) for c in _short_lived(k, r.choice(SHORT), i + n)]
        watch = [[b"WATCH"] + keys] if n % 3 == 0 else []
        yield from _send(judge, births + watch)
        time.sleep(PAUSE)
        yield from _ask(judge, keys, r, bool(watch))
        yield from _send(judge, [[b"SELECT", b"0"], [b"TTL", b"other"], [b"GET", b"other"]])
        _await_sweep(judge)
        yield from judge.state(r)


def _await_sweep(judge):
    """Both servers remove what is dead in their own time; the comparison of the keyspace
    counts what is left, so give them a while. It fails there if it was not enough."""
    for _ in range(100):
        sizes = judge.control.commands([b"SELECT", b"0"], [b"DBSIZE"])
        if sizes[0] == sizes[1]:
            break
        time.sleep(0.05)


def _ask(judge, keys, r, watching):
    """Most questions change the key, so each key gets one, and reads come first."""
    commands = []
    for i, question in enumerate(r.sample(QUESTIONS, len(keys))):
        commands.append([keys[i] if a == b"{k}" else a for a in question])
    if watching:
        commands = [[b"MULTI"]] + commands + [[b"EXEC"]]
    yield from _send(judge, commands)


def _send(judge, commands):
    rules = {b"KEYS": "unordered", b"MEMORY": "number", b"PTTL": "ttl_ms", b"TTL": "ttl_s", b"PEXPIRETIME": "at_ms", b"RANDOMKEY": "random_key", b"SCAN": "scan_all", b"EXEC": "exec"}
    for mismatch in judge.run(0, [Command(c, rules.get(c[0], "exact")) for c in commands]):
        mismatch.what = "after expiry: " + mismatch.what
        yield mismatch

