"""Conversations on connections of their own: what closes, mutes or breaks a connection.

Each case is sent whole, then the sending side is closed; what the server answered until
it closed its side must be the same bytes.
"""

import rdb
from resp import encode, encode_inline
from words import EDGES


def c(*words):
    return encode([w.encode() if isinstance(w, str) else w for w in words])


PING, ECHO = c("PING"), c("ECHO", "still here")
LENGTHS = [e for e in EDGES if b"\x00" not in e] + [b"1048576", b"1048577", b"536870912", b"536870913", b"-0", b"10", b"11", b"16384", b"16385"]


def malformed():
    """Requests that break the protocol, and requests that only look as if they did."""
    for n in LENGTHS:
        # A count that the server has to wait for can only be judged by its silence.
        yield b"*" + n + b"\r\n" + PING
        yield b"*1\r\n$" + n + b"\r\nPING\r\n" + PING
        yield b"*2\r\n$4\r\nECHO\r\n$" + n + b"\r\nab\r\n" + PING
    for body in (
        b"\r\n", b"\n", b"\r\n\r\n\r\n", b" \r\n", b"\t\r\n", b"PING\n", b"PING\r\n", b"ping hello\r\n", b"  PING  \r\n", b"PING\rx\n",
        b"*\r\n", b"$\r\n", b"$4\r\nPING\r\n", b"*1\r\nPING\r\n", b"*1\r\n*1\r\n", b"*1\r\n:1\r\n", b"*1\r\n+PING\r\n", b"*0\r\n", b"*-1\r\n",
        b"*1\n$4\nPING\n", b"*1\r\n$4\r\nPING", b"*1\r\n$4\r\nPINGxx", b"*1\r\n$4\r\nPI\r\n\r\n", b"*1\r\n$0\r\n\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n",
        b"*1\r\n$-1\r\n", b"*1\r\n$ 4\r\nPING\r\n", b"*1\r\n$+4\r\nPING\r\n", b"*1\r\n$4 \r\nPING\r\n", b"* 1\r\n$4\r\nPING\r\n", b"*+1\r\n$4\r\nPING\r\n",
        b"*01\r\n$4\r\nPING\r\n", b"*1\r\n$04\r\nPING\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"Host: x\r\n",
        b"SET k \"unbalanced\r\n", b"SET k 'unbalanced\r\n", b"ECHO \"a\"b\r\n", b"ECHO 'a'b\r\n", b"ECHO \"\\x41\\n\\q\\xzz\"\r\n", b"ECHO 'it\\'s'\r\n",
        b"ECHO \"\"\r\n", b"ECHO ''\r\n", b"\"\"\r\n", b"\"PING\"\r\n", b"ECHO a\"b\"\r\n", b"ECHO \"\\\"\"\r\n", b"ECHO '\\\\'\r\n", b"\x00\r\n", b"PING\x00\r\n",
        b"\xff\xfe\r\n", b"-ERR\r\n", b"+OK\r\n", b":1\r\n", b"_\r\n", b"%1\r\n", b"~1\r\n", b">1\r\n", b"#t\r\n", b"(1\r\n", b"=1\r\n",
    ):  # fmt: skip
        yield body
        yield body + ECHO
        yield PING + body + PING
    yield b"ECHO " + b"a" * 60000 + b"\r\n" + PING
    yield b"a" * 65537
    yield b"*" + b"1" * 65537
    yield b"*1\r\n$" + b"1" * 65537
    yield b"*100000\r\n" + b"$1\r\na\r\n" * 100000 + PING
    yield encode([b"ECHO", b"b" * 500000]) + PING


def conversations():
    """(payload, tags): well-formed, but each needs a connection of its own."""
    quit_, off, on, skip = c("QUIT"), c("CLIENT", "REPLY", "OFF"), c("CLIENT", "REPLY", "ON"), c("CLIENT", "REPLY", "SKIP")
    for i in range(14):
        name = c("ECHO", f"number {i}")
        yield name + quit_ + ECHO, ["QUIT"]
        yield c("QUIT", "now") + ECHO, ["QUIT"]
        yield encode_inline([b"quit"]) + ECHO, ["QUIT"]
        yield c("MULTI") + name + quit_ + ECHO, ["QUIT"]
        yield c("HELLO", "3")[:0] + c("PING") * i + quit_, ["QUIT"]
        yield b"*1\r\n$4\r\nqUiT\r\n", ["QUIT"]
        yield c("SELECT", str(i)) + quit_ + quit_, ["QUIT"]
        yield c("CLIENT", "SETNAME", "q") + quit_, ["QUIT"]
        yield off + name + c("GET") + on + ECHO, ["CLIENT REPLY OFF"]
        yield off + off + on + ECHO, ["CLIENT REPLY OFF"]
        yield off + skip + on + ECHO, ["CLIENT REPLY OFF"]
        yield off + c("MULTI") + name + c("EXEC") + on + ECHO, ["CLIENT REPLY OFF"]
        yield off + c("MULTI") + on + c("EXEC") + ECHO, ["CLIENT REPLY OFF"]
        yield off + c("RESET") + ECHO, ["CLIENT REPLY OFF"]
        yield off + quit_ + ECHO, ["CLIENT REPLY OFF", "QUIT"]
        yield off + b"\r\n" + c("NOSUCH") + on + name, ["CLIENT REPLY OFF"]
        yield skip + name + ECHO, ["CLIENT REPLY SKIP"]
        yield skip + skip + name + ECHO, ["CLIENT REPLY SKIP"]
        yield skip + on + ECHO, ["CLIENT REPLY SKIP"]
        yield skip + off + on + ECHO, ["CLIENT REPLY SKIP"]
        yield skip + c("NOSUCH") + name, ["CLIENT REPLY SKIP"]
        yield skip + b"\r\n*0\r\n" + name + ECHO, ["CLIENT REPLY SKIP"]
        yield skip + c("MULTI") + name + c("EXEC") + ECHO, ["CLIENT REPLY SKIP"]
        yield c("MULTI") + skip + name + c("EXEC") + ECHO, ["CLIENT REPLY SKIP"]


def unauthenticated():
    """For a server with the password `secret`: what it takes before it has heard it."""
    auth = c("AUTH", "secret")
    for args in (1, 9, 10, 11, 1000):
        request = encode([b"ECHO"] + [b"x"] * (args - 1))
        yield request + PING
        yield auth + request + PING
    for size in (16383, 16384, 16385, 100000):
        yield encode([b"ECHO", b"y" * size]) + PING
        yield auth + encode([b"ECHO", b"y" * size]) + PING
    for words in (
        ("PING",), ("QUIT",), ("AUTH",), ("AUTH", "wrong"), ("AUTH", "default", "wrong"), ("AUTH", "nobody", "secret"), ("AUTH", "a", "b", "c"),
        ("HELLO",), ("HELLO", "3"), ("HELLO", "4"), ("HELLO", "x"), ("HELLO", "3", "AUTH", "default"), ("HELLO", "3", "AUTH", "default", "wrong"),
        ("HELLO", "4", "AUTH", "default", "secret"), ("RESET",), ("MULTI",), ("EXEC",), ("WATCH", "k"), ("NOSUCH", "a"), ("GET",), ("CLIENT", "ID"), ("MONITOR",),
        ("SHUTDOWN", "BOGUS"), ("COMMAND",), ("CLIENT", "REPLY", "OFF"), ("SELECT", "99"),
    ):  # fmt: skip
        yield c(*words) + PING
        yield c("AUTH", "wrong") + c(*words) + auth + PING
    yield auth + c("RESET") + PING + auth + PING
    yield auth + c("MULTI") + PING + c("RESET") + PING
    yield b"AUTH secret\r\nPING\r\n"
    yield b"*1\r\n$16385\r\n"
    yield b"*11\r\n"
    yield auth + c("AUTH", "wrong") + PING


def harmless_failures():
    """Commands that would end or change the server if their arguments were right."""
    for words in (
        ("SHUTDOWN", "BOGUS"), ("SHUTDOWN", "NOSAVE", "SAVE"), ("SHUTDOWN", "ABORT"), ("SHUTDOWN", "ABORT", "NOW"), ("SHUTDOWN", "SAVE", "SAVE", "x"),
        ("MONITOR", "x"), ("CLIENT", "REPLY"), ("CLIENT", "REPLY", "MAYBE"), ("CLIENT", "PAUSE"), ("CLIENT", "PAUSE", "x", "ALL"),
        ("CLIENT", "PAUSE", "10", "SOME"), ("CLIENT", "KILL"), ("CLIENT", "KILL", "ID"), ("CLIENT", "KILL", "ID", "x"), ("CLIENT", "KILL", "TYPE", "bogus"),
        ("CLIENT", "KILL", "SKIPME", "maybe"), ("CLIENT", "KILL", "USER", "nobody"), ("CLIENT", "KILL", "BOGUS", "1"), ("CLIENT",), ("CONFIG",), ("CONFIG", "GET"),
        ("CONFIG", "SET"), ("CONFIG", "SET", "a"), ("CONFIG", "REWRITE"), ("CONFIG", "REWRITE", "x"), ("CONFIG", "SET", "port", "x"), ("OBJECT",), ("MEMORY",), ("COMMAND", "GETKEYS"), ("COMMAND", "GETKEYS", "GET"), ("COMMAND", "GETKEYSANDFLAGS", "GET"), ("LOLWUT", "VERSION", "x"),
        ("HELLO", "3", "BOGUS"), ("HELLO", "3", "AUTH"), ("HELLO", "3", "AUTH", "a"), ("HELLO", "3", "SETNAME"), ("HELLO", "3", "SETNAME", "a b", "BOGUS"),
        ("HELLO", "x", "SETNAME", "a"), ("HELLO", "4", "BOGUS"), ("HELLO", ""), ("HELLO", "3", "AUTH", "nobody", "x", "SETNAME", "a b"), ("HELLO", "3", "setname", "a", "auth", "nobody", "x"),
       
        ("DEBUG",), ("DEBUG", "SLEEP", "0"), ("SLOWLOG",), ("LATENCY",), ("LATENCY", "DOCTOR", "x"), ("LATENCY", "GRAPH", "none"), ("CONFIG", "SET", "requirepass"),
        ("CONFIG", "SET", "maxmemory", ""), ("CONFIG", "SET", "maxmemory", "0", "maxmemory", "0"), ("CONFIG", "SET", "slowlog-max-len", "5", "bogus", "1"), ("CONFIG", "GET", "a", "b", "nothing"),
    ):  # fmt: skip
        yield c(*words) + ECHO
    yield c("SCAN", b"1\x00") + ECHO
    yield c("EXPIRE", "k", "1", "h" * 70000) + ECHO
    yield c("CONFIG", "SET", "DataBases", "1") + ECHO
    yield c("CONFIG", "SET", "maxmemory-policy", "best") + ECHO
    yield c("BITFIELD", "k", "GET", "i64", "#1152921504606846976") + ECHO
    yield c("RESTORE", "k", "0", rdb.seal(b"\x00\xc3\x04\x00\x02abc")) + ECHO
