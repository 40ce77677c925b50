"""FUNCTION of a server that has no library: what is true without one is Redis's reply to the byte, the rest says that there is no engine."""

import pytest

from wire import Error

EMPTY = bytes.fromhex("0a005d9b5c400f7fa2da")  # FUNCTION DUMP of redis-server 7.0.15
LIBRARY = b"#!lua name=ours\nredis.register_function('one', function() return 1 end)"

SAME = [
    (),
    ("nosuch",),
    ("LIST",),
    ("LIST", "WITHCODE"),
    ("LIST", "libraryname", "x*"),
    ("list", "LIBRARYNAME", "withcode", "WithCode"),
    ("LIST", "LIBRARYNAME"),
    ("LIST", "WITHCODE", "WITHCODE"),
    ("LIST", "LIBRARYNAME", "a", "LIBRARYNAME", "b"),
    ("LIST", "a\r\nb", "c"),
    ("LIST", ""),
    ("DUMP",),
    ("DUMP", "x"),
    ("RESTORE",),
    ("RESTORE", ""),
    ("RESTORE", EMPTY[1:]),
    ("RESTORE", EMPTY[:-1] + b"\0"),
    ("RESTORE", EMPTY),
    ("RESTORE", EMPTY, "FLUSH"),
    ("RESTORE", EMPTY, "append"),
    ("RESTORE", EMPTY, "Replace"),
    ("RESTORE", EMPTY, "x"),
    ("RESTORE", "no payload", "x"),
    ("RESTORE", EMPTY, "FLUSH", "FLUSH"),
    ("FLUSH",),
    ("FLUSH", "ASYNC"),
    ("FLUSH", "sync"),
    ("FLUSH", "x"),
    ("FLUSH", "SYNC", "SYNC"),
    ("STATS", "x"),
    ("KILL",),
    ("KILL", "x"),
    ("DELETE",),
    ("DELETE", "x"),
    ("LOAD",),
    ("HELP", "x"),
]


@pytest.mark.parametrize("protocol", [2, 3])
def test_without_libraries_it_is_redis(larder, redis_server, protocol):
    with larder.wire(protocol=protocol) as ours, redis_server.wire(protocol=protocol) as theirs:
        for args in SAME:
            mine, redis = (w("FUNCTION", *args) for w in (ours, theirs))
            assert (type(mine), mine) == (type(redis), redis), args


def test_dump_is_what_redis_takes(larder, redis_server):
    with larder.wire() as ours, redis_server.wire() as theirs:
        assert ours("FUNCTION", "DUMP") == EMPTY
        assert theirs("FUNCTION", "RESTORE", EMPTY, "FLUSH") == "OK"


@pytest.mark.larder
def test_libraries_are_refused(w, redis_server):
    with redis_server.wire() as theirs:
        assert theirs("FUNCTION", "LOAD", LIBRARY) == b"ours"
        payload = theirs("FUNCTION", "DUMP")
        assert theirs("FUNCTION", "FLUSH") == "OK"
    for command in (("RESTORE", payload), ("RESTORE", payload, "REPLACE"), ("LOAD", LIBRARY), ("LOAD", "REPLACE", LIBRARY)):
        reply = w("FUNCTION", *command)
        assert isinstance(reply, Error) and reply.startswith("ERR larder runs no functions yet"), command
    assert w("FUNCTION", "LIST") == []
    assert w("FCALL", "one", 0).startswith("ERR unknown command")


@pytest.mark.larder
def test_stats_name_no_engine(w, w3):
    assert w("FUNCTION", "STATS") == [b"running_script", None, b"engines", []]
    assert w3("FUNCTION", "STATS") == {b"running_script": None, b"engines": {}}


def test_help(w):
    lines = w("FUNCTION", "HELP")
    assert lines[0].startswith("FUNCTION <subcommand>")
    assert {line.split(" ")[0] for line in lines[1:]} >= {"LIST", "DUMP", "RESTORE", "FLUSH", "STATS", "KILL", "DELETE", "LOAD"}


def test_in_a_transaction(w):
    assert w("MULTI") == "OK"
    assert [w("FUNCTION", *args) for args in (("FLUSH",), ("DUMP",), ("DELETE", "x"))] == ["QUEUED"] * 3
    assert w("EXEC") == ["OK", EMPTY, "ERR Library not found"]
