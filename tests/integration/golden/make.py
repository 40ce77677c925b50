#!/usr/bin/python3
"""Test vectors: RDB files as other servers write them.

    make.py SERVER NAME     for example: make.py ~/redis-7.2.6/src/redis-server redis-7.2

Starts that server, fills it with what CONTENTS says, and keeps the files that it saves as NAME*.rdb here. README.md says
which server has made which file. Only outputs of running servers are kept, none of their code.
"""

import contextlib
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness import Server  # noqa: E402

FAR = 4102444800000  # 2100-01-01: deadlines that no test run sees

# What test_golden.py expects: (database, key) -> value. All kinds of strings and of sets.
STRINGS = {
    (0, b"tiny"): b"7",
    (0, b"int8"): b"-128",
    (0, b"int16"): b"-30000",
    (0, b"int32"): b"2147483647",
    (0, b"int64"): b"9223372036854775807",
    (0, b"no number"): b"007",
    (0, b"empty"): b"",
    (0, b""): b"the empty key",
    (0, b"binary"): bytes(range(256)),
    (0, b"packed"): b"abcabcabc" * 1000,
    (0, b"long"): b"".join(b"%d," % (i * 7919) for i in range(4000)),
    (0, b"k" * 300): b"a long key",
    (9, b"elsewhere"): b"in database 9",
}
SETS = {
    (0, b"ints 16"): {b"%d" % i for i in range(-50, 50)},
    (0, b"ints 32"): {b"%d" % (i * 100000) for i in range(100)},
    (0, b"ints 64"): {b"%d" % (i << 40) for i in range(100)},
    (0, b"few"): {b"one", b"two", b"3", b"-400000", b"x" * 60},
    (0, b"many"): {b"member %d" % i for i in range(600)},
    (0, b"long member"): {b"y" * 5000, b"z"},
    (9, b"few"): {b"in database 9"},
}
DEADLINES = {(0, b"int16"): FAR, (0, b"many"): FAR + 1, (9, b"elsewhere"): FAR + 999}

# One file each: a type that larder may not know, under the key b"stranger".
STRANGERS = {
    "list": [("RPUSH", "stranger", "a", "b")],
    "long-list": [("RPUSH", "stranger", *map(str, range(2000)))],
    "hash": [("HSET", "stranger", "f", "v")],
    "long-hash": [("HSET", "stranger", *map(str, range(2000)))],
    "zset": [("ZADD", "stranger", "1.5", "m")],
    "long-zset": [("ZADD", "stranger", *map(str, range(600)))],
    "stream": [("XADD", "stranger", "1-1", "f", "v"), ("XGROUP", "CREATE", "stranger", "g", "0")],
    "function": [("FUNCTION", "LOAD", "#!lua name=stranger\nredis.register_function('f', function() return 1 end)")],
}


def fill(c):
    for (db, key), value in STRINGS.items():
        c.select(db)
        c.set(key, value)
    for (db, key), members in SETS.items():
        c.select(db)
        c.sadd(key, *sorted(members))
    for (db, key), at in DEADLINES.items():
        c.select(db)
        c.pexpireat(key, at)


@contextlib.contextmanager
def saved(binary, name, **options):
    """A server to be filled; its file is kept as NAME.rdb."""
    server = Server(binary, {k.replace("_", "-"): v for k, v in options.items()}).start()
    try:
        c = server.client(single_connection_client=True)
        yield c
        c.save()
        shutil.copy(os.path.join(server.dir, "dump.rdb"), os.path.join(HERE, name + ".rdb"))
    finally:
        server.kill(9)
        server.remove()


def main():
    server, name = sys.argv[1:3]
    with saved(server, name) as c:
        fill(c)
    with saved(server, name + "-lru", maxmemory_policy="allkeys-lru") as c:
        c.set("used", "a value")
        c.set("unused", "a value")
        c.restore("idle", 0, c.dump("used"), idletime=5000)
    with saved(server, name + "-lfu", maxmemory_policy="allkeys-lfu", lfu_decay_time=0) as c:
        c.set("used", "a value")
        c.restore("busy", 0, c.dump("used"), frequency=200)
    for kind, commands in STRANGERS.items():
        with saved(server, f"{name}-{kind}") as c:
            c.set("before", 1)
            for command in commands:
                c.execute_command(*command)


if __name__ == "__main__":
    main()
