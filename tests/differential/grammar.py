"""The commands, as a table: how to say each one well, and with each of its options.

A row makes a list of (kind, bytes) arguments and the tags that it covers ("SET",
"SET NX"). Whoever adds a command to the server adds its row here; coverage() then
insists that enough of its replies were not errors.

`rule` names how replies may differ (compare.py); most may not. `mutate` is False
where a damaged argument could reach something that the stream depends on.
"""

import rdb
from words import (
    EDGES, LONE_MEMBER, any_key, bit, bit_offset, bitfield_offset, bitfield_type, count, database, draw_count, index, integer, junk, key,
    lone_key, member, members, milliseconds, number, offset, pattern, pop_count, seconds, set_key, short_key, small_value, text, unix_milliseconds, unix_seconds, value,
)  # fmt: skip


class Option:
    def __init__(self, word, *makers, needs=()):
        self.word = word
        self.makers = makers
        self.needs = needs  # bare words that must come along

    def make(self, r):
        out = [("word", w.encode()) for w in self.word.split(" ")]
        for maker in self.makers:
            out.append(maker(r))
        return out + [("word", w.encode()) for w in self.needs]


class Row:
    def __init__(self, name, *makers, options=(), rule="exact", mutate=True, weight=1.0, build=None, when=None, tags=()):
        self.name = name
        self.words = [("name", w.encode()) for w in name.split(" ")]
        self.makers = makers
        self.options = {o.word: o for o in options}
        self.rule = rule
        self.mutate = mutate
        self.weight = weight
        self.build = build
        self.when = when  # only in epochs of this flavour
        self.extra_tags = tags

    def tags(self):
        return [self.name] + [f"{self.name} {t}" for t in list(self.options) + list(self.extra_tags)]

    def make(self, r, forced=None):
        """(arguments, tags). `forced` is an option that must be there."""
        if self.build:
            args, used = self.build(r, forced)
            return self.words + args, [self.name] + [f"{self.name} {t}" for t in used]
        args = list(self.words)
        for maker in self.makers:
            made = maker(r)
            args += made if isinstance(made, list) else [made]
        used = self._choose(r, forced)
        for word in used:
            args += self.options[word].make(r)
        return args, [self.name] + [f"{self.name} {w}" for w in used]

    def _choose(self, r, forced):
        if not self.options:
            return []
        names = list(self.options)
        pick = r.random()
        if forced:
            return [forced] if pick < 0.7 else [forced, r.choice(names)] if pick < 0.85 else [r.choice(names), forced]
        if pick < 0.5:
            return []
        return [r.choice(names) for _ in range(1 if pick < 0.8 else r.randrange(2, 5))]


def several(maker, low=1, high=4):
    return lambda r: [maker(r) for _ in range(r.randrange(low, high + 1))]


def pairs(r):
    return [x for _ in range(r.randrange(1, 5)) for x in (key(r), value(r))]


def one_of(*words):
    return lambda r: ("word", r.choice(words).encode())


def fixed(word):
    return lambda r: ("word", word.encode())


# --- commands whose shape depends on choices -----------------------------------------------


def range_with_unit(r, forced):
    """[start end [BYTE|BIT]] of BITCOUNT."""
    if forced:
        return [any_key(r), index(r), index(r), ("word", forced.encode())], [forced]
    if r.random() < 0.4:
        return [any_key(r)], []
    args = [any_key(r), index(r), index(r)]
    return (args + [("word", b"bogus")], []) if r.random() < 0.05 else (args, ["range"])


def bitpos(r, forced):
    args = [any_key(r), bit(r)]
    if forced in ("BYTE", "BIT"):
        return args + [index(r), index(r), ("word", forced.encode())], [forced]
    how_many = {"start": 1, "end": 2}.get(forced, r.randrange(3))
    return args + [index(r) for _ in range(how_many)], [None, "start", "end"][how_many : how_many + 1] if how_many else []


def bitfield(r, forced):
    args, used = [key(r)], set()
    for i in range(r.randrange(1, 5)):
        op = forced if i == 0 and forced else r.choice(("GET", "SET", "INCRBY", "OVERFLOW WRAP", "OVERFLOW SAT", "OVERFLOW FAIL"))
        args += [("word", w.encode()) for w in op.split(" ")]
        used.add(op)
        if op.startswith("OVERFLOW"):
            op = r.choice(("INCRBY", "SET"))
            args.append(("word", op.encode()))
            used.add(op)
        args += [bitfield_type(r), bitfield_offset(r)]
        if op != "GET":
            args.append(integer(r))
    if "OVERFLOW FAIL" in used:
        # Redis tells WATCH nothing of a key that it made and then failed to write; larder does.
        # A last change that succeeds makes both tell.
        args += [("word", w) for w in (b"OVERFLOW", b"WRAP", b"SET", b"u8", b"0", b"77")]
    return args, sorted(used)


def bitfield_ro(r, forced):
    args = [any_key(r)]
    for _ in range(r.randrange(1, 4)):
        args += [("word", b"GET"), bitfield_type(r), bitfield_offset(r)]
    if r.random() < 0.05:
        args += [("word", b"SET"), bitfield_type(r), bitfield_offset(r), integer(r)]
    return args, ["GET"]


def bitop(r, forced):
    op = forced or r.choice(("AND", "OR", "XOR", "NOT"))
    sources = 1 if op == "NOT" and r.random() < 0.9 else r.randrange(1, 5)
    return [("word", op.encode()), key(r)] + [any_key(r) for _ in range(sources)], [op]


def restore(r, forced):
    args, used = [key(r)], []
    absolute = forced == "ABSTTL" or r.random() < 0.3
    if absolute:
        args.append(unix_milliseconds(r))
    elif r.random() < 0.7 or not r.relative:
        args.append(("rel", b"0"))
    else:
        args.append(milliseconds(r))
    args.append(("payload", rdb.good(r) if r.random() < 0.85 or forced else rdb.bad(r)))
    if absolute:
        used.append("ABSTTL")
    if r.random() < 0.85:
        used.append("REPLACE")
    aging = forced if forced in ("IDLETIME", "FREQ") else r.choice(("IDLETIME", "FREQ")) if r.random() < 0.1 else None
    r.shuffle(used)
    args += [("word", u.encode()) for u in used]
    if aging:
        args += [("word", aging.encode()), ("int", r.choice((b"0", b"1", b"255", b"256", b"-1", b"x")) if r.random() < 0.3 else b"7")]
        used.append(aging)
    return args, used


def lcs(r, forced):
    args = [short_key(r), short_key(r)]
    used = [forced] if forced else []
    if forced in ("WITHMATCHLEN", "MINMATCHLEN") and r.random() < 0.8:
        used.append("IDX")
    if r.random() < 0.2:
        used.append(r.choice(("LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN")))
    r.shuffle(used)
    for u in used:
        args.append(("word", u.encode()))
        if u == "MINMATCHLEN":
            args.append(("int", b"%d" % r.randrange(0, 6)))
    return args, used


def scan(r, forced):
    """One call from the start; whole iterations are compared by the driver."""
    args, used = [("int", r.choice((b"0", b"0", b"0", b"0", b"x", b"-1", b"", b"1.5", b" 0")))], []
    for word, maker in (("COUNT", count), ("MATCH", pattern), ("TYPE", one_of("string", "STRING", "set", "hash", "bogus"))):
        if forced == word or r.random() < 0.25:
            args += [("word", word.encode()), maker(r)]
            used.append(word)
    return args, used


def sscan(r, forced):
    args, used = [set_key(r), ("int", r.choice((b"0", b"0", b"0", b"0", b"x", b"-1", b"", b"1.5", b" 0")))], []
    for word, maker in (("COUNT", count), ("MATCH", pattern)):
        if forced == word or r.random() < 0.25:
            args += [("word", word.encode()), maker(r)]
            used.append(word)
    return args, used


def sintercard(r, forced):
    n = r.randrange(1, 4)
    args, used = [("int", b"%d" % n if r.random() < 0.95 else r.choice(EDGES))] + [set_key(r) for _ in range(n)], []
    if forced or r.random() < 0.4:
        args += [("word", b"LIMIT"), ("int", b"%d" % r.randrange(0, 20))]
        used.append("LIMIT")
    return args, used


def hello(r, forced):
    protocol = r.choice((b"2", b"3", b"3", b"3"))
    if not forced and r.random() < 0.3:
        return ([], []) if r.random() < 0.5 else ([("word", r.choice((b"1", b"4", b"0", b"-1", b"x", b"", b"3.0", b"9223372036854775808")))], [])
    args, used = [("word", protocol)], [protocol.decode()]
    if forced == "AUTH" or r.random() < 0.2:
        good = r.random() < 0.8
        args += [("word", b"AUTH"), ("word", b"default" if good else b"nobody"), ("word", b"secret" if good else b"wrong")]
        used.append("AUTH")
    stranger = r.flavour == "auth" and "AUTH" not in used  # 7.0 names it before it refuses it
    if not stranger and (forced == "SETNAME" or r.random() < 0.2):
        names = (b"me", b"", b"n" * 60) + (() if "AUTH" in used else (b"with space", b"new\nline"))
        args += [("word", b"SETNAME"), ("word", r.choice(names))]
        used.append("SETNAME")
    if r.random() < 0.05 and not used[1:]:  # 7.0 has done AUTH and SETNAME by then, 7.2 not
        args += [("word", r.choice((b"AUTH", b"SETNAME", b"BOGUS")))]
    return args, used


# CONFIG parameters that can change under the stream without changing what it tests.
SAFE_CONFIG = {
    "slowlog-log-slower-than": ("-1", "0", "10000", "x", "1.5", "", "-2", "9223372036854775808"),
    "slowlog-max-len": ("0", "128", "-1", "x", ""),
    "latency-monitor-threshold": ("0", "-1", "x"),
    "lfu-log-factor": ("0", "10", "-1", "x", "2147483648"),
    "lfu-decay-time": ("0", "1", "-1", "x"),
    "maxmemory-samples": ("1", "5", "64", "0", "-1", "65", "x"),
    "maxmemory": ("0", "100gb", "200000mb", "1x", "-1", "x"),
    "timeout": ("0", "100000", "-1", "x", "2147483648"),
    "tcp-keepalive": ("0", "300", "-1", "x"),
    "maxclients": ("x", "0", "-1"),
    "maxmemory-policy": ("bogus", "", "lru"),
    "proto-max-bulk-len": ("1mb", "1048576", "1024kb", "1", "x", "-1"),
    "client-query-buffer-limit": ("1gb", "1", "x"),
    "lazyfree-lazy-user-del": ("yes", "no", "maybe", "1"),
    "lazyfree-lazy-user-flush": ("yes", "no", "maybe"),
    "loglevel": ("notice", "warning", "NOTICE", "loud", ""),
    "databases": ("16", "8"),
    "port-nonsense": ("1",),
}


def config_set(r, forced):
    args = []
    for _ in range(1 if r.random() < 0.8 else 2):
        name = r.choice(list(SAFE_CONFIG))
        args += [("word", name.encode()), ("word", r.choice(SAFE_CONFIG[name]).encode())]
    if r.random() < 0.03:
        args.pop()
    return args, []


def config_get(r, forced):
    names = list(SAFE_CONFIG) + ["nothing", "slowlog-*", "lfu-*", "maxmemory-?ample[rs]", "SLOWLOG-MAX-LEN", "maxmemory-policy", "databases"]
    return [("word", r.choice(names).encode()) for _ in range(1 if r.random() < 0.8 else 3)], []


def unknown(r, forced):
    name = r.choice((b"foo", b"", b"getx", b"NOSUCH", b"se t", b"\x00", b"x" * 200, b"get\r\n", b"'q'"))
    return [("name", name)] + [junk(r) for _ in range(r.randrange(0, 5))], []


def getkeys_of(r, forced):
    """Ask for the keys of some other command of this table."""
    row = r.choice(WITH_KEYS)
    args, _ = row.make(r, r.choice(row.tags()[1:])[len(row.name) + 1 :] if row.options and r.random() < 0.5 else None)
    args = [a for a in args if len(a[1]) < 1000]
    if r.random() < 0.05:
        args = args[: r.randrange(2, len(args) + 1)]
    return args, []  # never the bare name: the arity of GETKEYS itself differs (fresh.py)


EXPIRE_CONDITIONS = [Option("NX"), Option("XX"), Option("GT"), Option("LT")]
SET_TTL = [Option("EX", seconds), Option("PX", milliseconds), Option("EXAT", unix_seconds), Option("PXAT", unix_milliseconds)]

STRINGS = [
    Row("GET", any_key, weight=2),
    Row("SET", key, value, options=[Option("NX"), Option("XX"), Option("GET"), Option("KEEPTTL")] + SET_TTL, weight=6),
    Row("SET", short_key, small_value, weight=2, mutate=False),
    Row("SETNX", key, value),
    Row("SETEX", key, seconds, value),
    Row("PSETEX", key, milliseconds, value),
    Row("GETSET", key, value),
    Row("GETDEL", key),
    Row("GETEX", key, options=SET_TTL + [Option("PERSIST")]),
    Row("MGET", several(any_key, 1, 6)),
    Row("MSET", pairs),
    Row("MSETNX", pairs),
    Row("APPEND", key, value),
    Row("STRLEN", any_key),
    Row("INCR", key),
    Row("DECR", key),
    Row("INCRBY", key, integer),
    Row("DECRBY", key, integer),
    Row("INCRBYFLOAT", key, number, weight=2),
    Row("GETRANGE", any_key, index, index),
    Row("SUBSTR", any_key, index, index),
    Row("SETRANGE", key, offset, value),
    Row("LCS", build=lcs, tags=("LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN")),
]

BITS = [
    Row("SETBIT", key, bit_offset, bit),
    Row("GETBIT", any_key, bit_offset),
    Row("BITCOUNT", build=range_with_unit, tags=("range", "BYTE", "BIT")),
    Row("BITPOS", build=bitpos, tags=("start", "end", "BYTE", "BIT")),
    Row("BITOP", build=bitop, tags=("AND", "OR", "XOR", "NOT")),
    Row("BITFIELD", build=bitfield, tags=("GET", "SET", "INCRBY", "OVERFLOW WRAP", "OVERFLOW SAT", "OVERFLOW FAIL")),
    Row("BITFIELD_RO", build=bitfield_ro, tags=("GET",)),
]

SETS = [
    Row("SADD", set_key, members, weight=6),
    Row("SREM", set_key, members),
    Row("SMEMBERS", set_key, rule="unordered", weight=2),
    Row("SISMEMBER", set_key, member),
    Row("SMISMEMBER", set_key, members),
    Row("SCARD", set_key),
    Row("SMOVE", set_key, set_key, member, weight=2),
    Row("SPOP", set_key, pop_count, rule="unordered", mutate=False),
    Row("SADD", lone_key, lambda r: ("value", LONE_MEMBER), weight=2, mutate=False),
    Row("SPOP", lone_key, rule="unordered", mutate=False),
    Row("SPOP", lone_key, one_of("1", "2", "0"), rule="unordered", mutate=False),
    Row("SRANDMEMBER", set_key, rule="shape"),
    Row("SRANDMEMBER", set_key, draw_count, rule="sample"),
    Row("SRANDMEMBER", lone_key, mutate=False),
    Row("SSCAN", build=sscan, rule="scan", tags=("COUNT", "MATCH")),
    Row("SINTER", several(set_key), rule="unordered"),
    Row("SINTERCARD", build=sintercard, tags=("LIMIT",)),
    Row("SINTERSTORE", set_key, several(set_key, 1, 3)),
    Row("SUNION", several(set_key), rule="unordered"),
    Row("SUNIONSTORE", set_key, several(set_key, 1, 3)),
    Row("SDIFF", several(set_key), rule="unordered"),
    Row("SDIFFSTORE", set_key, several(set_key, 1, 3)),
]

KEYSPACE = [
    Row("DEL", several(key)),
    Row("UNLINK", several(key)),
    Row("EXISTS", several(any_key)),
    Row("TOUCH", several(any_key)),
    Row("TYPE", any_key),
    Row("RENAME", key, key),
    Row("RENAMENX", key, key),
    Row("COPY", key, key, options=[Option("DB", database), Option("REPLACE")]),
    Row("MOVE", key, database),
    Row("SWAPDB", database, database, weight=0.4),
    Row("FLUSHDB", options=[Option("ASYNC"), Option("SYNC")], weight=0.3),
    Row("FLUSHALL", options=[Option("ASYNC"), Option("SYNC")], weight=0.3),
    Row("DBSIZE"),
    Row("KEYS", pattern, rule="unordered"),
    Row("RANDOMKEY", rule="random_key"),
    Row("SCAN", build=scan, rule="scan", tags=("COUNT", "MATCH", "TYPE")),
    Row("EXPIRE", key, seconds, options=EXPIRE_CONDITIONS),
    Row("PEXPIRE", key, milliseconds, options=EXPIRE_CONDITIONS),
    Row("EXPIREAT", key, unix_seconds, options=EXPIRE_CONDITIONS),
    Row("PEXPIREAT", key, unix_milliseconds, options=EXPIRE_CONDITIONS),
    Row("PERSIST", key),
    Row("TTL", any_key, rule="ttl_s"),
    Row("PTTL", any_key, rule="ttl_ms"),
    Row("EXPIRETIME", any_key, rule="at_s"),
    Row("PEXPIRETIME", any_key, rule="at_ms"),
    Row("DUMP", any_key, rule="dump"),
    Row("RESTORE", build=restore, tags=("REPLACE", "ABSTTL", "IDLETIME", "FREQ"), weight=2),
    Row("OBJECT ENCODING", any_key),
    Row("OBJECT REFCOUNT", any_key, rule="number"),
    Row("OBJECT IDLETIME", any_key, rule="number"),
    Row("OBJECT FREQ", any_key, rule="number", when="lfu", weight=3),
    Row("OBJECT HELP", rule="help"),
    Row("OBJECT", one_of("ENCODING", "REFCOUNT", "IDLETIME", "FREQ", "HELP", "bogus"), several(any_key, 0, 2), weight=0.3, rule="number"),
    Row("MEMORY USAGE", any_key, options=[Option("SAMPLES", count)], rule="number"),
    Row("MEMORY STATS", rule="shape", weight=0.2, mutate=False),
    Row("MEMORY DOCTOR", rule="shape", weight=0.2, mutate=False),
    Row("MEMORY HELP", rule="help", weight=0.2),
]

CONNECTION = [
    Row("PING", weight=0.3),
    Row("PING", text),
    Row("ECHO", text),
    Row("SELECT", database),
    Row("AUTH", one_of("secret", "wrong", ""), when="auth"),
    Row("AUTH", one_of("default", "nobody", "Default"), one_of("secret", "wrong", "")),
    Row("HELLO", build=hello, tags=("2", "3", "AUTH", "SETNAME"), rule="hello", mutate=False),
    Row("RESET", weight=0.3),
    Row("CLIENT ID", rule="number", mutate=False),
    Row("CLIENT INFO", rule="shape", mutate=False),
    Row("CLIENT LIST", options=[Option("TYPE", one_of("normal", "NORMAL", "master", "replica", "slave", "pubsub", "bogus")), Option("ID", one_of("1", "2", "999999", "x", "-1", "0"))], rule="shape", mutate=False),
    Row("CLIENT GETNAME"),
    Row("CLIENT SETNAME", one_of("me", "", "with space", "new\nline", "n" * 60, "ünï", "tab\t", "~")),
    Row("CLIENT NO-EVICT", one_of("ON", "OFF", "on", "bogus"), tags=()),
    Row("CLIENT REPLY", one_of("ON", "on", "bogus"), mutate=False),
    Row("CLIENT UNBLOCK", one_of("999999", "0", "-1", "x", "9223372036854775808"), options=[Option("TIMEOUT"), Option("ERROR")], mutate=False),
    Row("CLIENT KILL", one_of("1.2.3.4:5", "x", "")),
    Row("CLIENT KILL ID", one_of("999999", "999998", "x", "-1", "0"), options=[Option("SKIPME", one_of("yes", "no", "maybe"))], mutate=False),
    Row("CLIENT KILL ADDR", one_of("1.2.3.4:5", "x"), options=[Option("USER", one_of("default", "nobody")), Option("TYPE", one_of("replica", "bogus"))], mutate=False),
    Row("CLIENT KILL LADDR", one_of("1.2.3.4:5", "x"), mutate=False),
    Row("CLIENT UNPAUSE"),
    Row("CLIENT PAUSE", one_of("0", "0", "0", "-1", "x", "1.5"), options=[Option("WRITE"), Option("ALL")], mutate=False),
    Row("CLIENT HELP", rule="help"),
    Row("CLIENT bogus", several(junk, 0, 3), weight=0.3),
]  # fmt: skip

SERVER = [
    Row("CONFIG SET", build=config_set, mutate=False),
    Row("CONFIG GET", build=config_get, rule="pairs", mutate=False),
    Row("CONFIG RESETSTAT", mutate=False),
    Row("CONFIG HELP", rule="help"),
    Row("CONFIG bogus", several(junk, 0, 3), weight=0.3, mutate=False),
    Row("INFO", one_of("server", "clients", "memory", "stats", "keyspace", "commandstats", "errorstats", "latencystats", "all", "everything", "default", "bogus", "replication", "cpu", "cluster", "persistence"), rule="shape"),
    Row("COMMAND COUNT", rule="number"),
    Row("COMMAND LIST", options=[Option("FILTERBY PATTERN", one_of("getbit", "bitfield*", "nothing*"))], rule="shape", weight=0.3, mutate=False),
    Row("COMMAND INFO", several(one_of("get", "SET", "bitpos", "nothing", "mget", "object|encoding"), 1, 3), rule="shape", mutate=False),
    Row("COMMAND DOCS", several(one_of("get", "SET", "bitpos", "nothing"), 1, 3), rule="shape", mutate=False),
    Row("COMMAND GETKEYS", build=getkeys_of, mutate=False),
    Row("COMMAND GETKEYSANDFLAGS", build=getkeys_of, mutate=False),
    Row("COMMAND HELP", rule="help"),
    Row("COMMAND bogus", several(junk, 0, 3), weight=0.3),
    Row("SLOWLOG LEN", rule="number"),
    Row("SLOWLOG GET", rule="shape", weight=0.3),
    Row("SLOWLOG GET", one_of("0", "1", "-1", "5"), rule="shape"),
    Row("SLOWLOG RESET", weight=0.5),
    Row("SLOWLOG HELP", rule="help"),
    Row("LATENCY LATEST", rule="shape"),
    Row("LATENCY HISTORY", one_of("command", "bogus"), rule="shape"),
    Row("LATENCY RESET", options=[Option("command"), Option("bogus")], rule="number"),
    Row("LATENCY HISTOGRAM", one_of("get", "set", "bogus"), rule="shape"),
    Row("LATENCY HELP", rule="help"),
    Row("DEBUG", one_of("SLEEP", "JMAP", "DIGEST", "HELP", "bogus"), one_of("0", "x"), weight=0.5),
    Row("TIME", rule="time"),
    Row("LOLWUT", rule="shape", weight=0.5, mutate=False),
    Row("LOLWUT", fixed("VERSION"), one_of("5", "6", "1", "x"), rule="shape", weight=0.3, mutate=False),
    Row("unknown command", build=unknown, weight=1),
]  # fmt: skip
SERVER[-1].words = []

FUNCTIONS = [
    Row("FUNCTION LIST", options=[Option("LIBRARYNAME", pattern), Option("WITHCODE")], weight=0.3),
    Row("FUNCTION DUMP", weight=0.3),
    Row("FUNCTION RESTORE", lambda r: ("payload", rdb.seal(b"")), options=[Option("FLUSH"), Option("APPEND"), Option("REPLACE")], weight=0.3),
    Row("FUNCTION FLUSH", options=[Option("ASYNC"), Option("SYNC")], weight=0.3),
    Row("FUNCTION DELETE", text, weight=0.3),
    Row("FUNCTION KILL", weight=0.3),
    Row("FUNCTION STATS", weight=0.3),
    Row("FUNCTION HELP", rule="help", weight=0.3),
    Row("FUNCTION bogus", several(junk, 0, 3), weight=0.3),
]

TRANSACTIONS = [
    Row("WATCH", several(any_key)),
    Row("UNWATCH"),
    Row("MULTI", weight=6),
    Row("DISCARD", weight=0.3),
    Row("EXEC", weight=0.3, rule="exec"),
]

ROWS = STRINGS + BITS + SETS + KEYSPACE + CONNECTION + SERVER + FUNCTIONS + TRANSACTIONS
WITH_KEYS = STRINGS + BITS + SETS + [row for row in KEYSPACE if row.makers and row.makers[0] in (key, any_key)]

# Rows that by nature answer with an error, or whose name is only an error's occasion.
NEVER_SUCCEED = {"DEBUG", "unknown command", "CLIENT bogus", "CONFIG bogus", "COMMAND bogus", "OBJECT", "CLIENT KILL", "LATENCY RESET bogus",
                 "FUNCTION DELETE", "FUNCTION KILL", "FUNCTION bogus"}  # fmt: skip
# Fresh connections (fresh.py) cover what would upset the stream.
FRESH = ["QUIT", "CLIENT REPLY OFF", "CLIENT REPLY SKIP"]


def covered_tags():
    """Every tag that must have its share of non-error replies."""
    tags = dict.fromkeys(t for row in ROWS for t in row.tags())
    return [t for t in tags if t not in NEVER_SUCCEED] + FRESH


def edge(r):
    return r.choice(EDGES)
