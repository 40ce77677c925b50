"""Arguments of no bytes, and requests of no arguments, for every command, as RESP and as a line.

What is asserted is that each request has exactly one reply and that the server lives; the
sanitizer builds see what a read of a byte that is not there would hide.
"""

import random

import pytest

from wire import Error, encode

ARGS_MAX = 6
# They end the connection or the server, or turn replies into something else, whatever their arguments.
LEFT_OUT = {"monitor", "quit", "shutdown", "replicaof", "slaveof", "sync", "psync", "replconf", "failover", "wait", "waitaof"}
EDGES = ["", "", "", "k", "other", "0", "1", "-1", "9", "\0", "*", "abcdefgh", "x" * 70, "y" * 2000, "z" * 40000]


def rows(w):
    """Every command that may be sent with any arguments, as a list of words."""
    out = []
    for row in w("COMMAND"):
        name = row[0].decode()
        if name in LEFT_OUT:
            continue
        out.append([name])
        out += [[s.split("|")[0], s.split("|")[1]] for s in (sub[0].decode() for sub in row[9])]
    assert len(out) > 100
    return out


def line(words):
    return " ".join(f'"{a}"' if a == "" else a for a in words).encode() + b"\r\n"


def one_reply_each(w, requests, fence="the end"):
    """Send them all; each has one reply, and none is behind the last."""
    w.send(b"".join(requests) + encode("ECHO", fence))
    replies = [w.read() for _ in requests]
    last = w.read()
    assert last in (fence.encode(), "QUEUED"), last
    return replies


@pytest.fixture
def filled(w):
    assert w("MSET", "", "", "k", "", "other", "v") == "OK"
    return w


@pytest.mark.parametrize("spell", [lambda words: encode(*words), line], ids=["resp", "inline"])
@pytest.mark.parametrize("in_multi", [False, True], ids=["alone", "in MULTI"])
def test_every_command_with_empty_arguments(filled, spell, in_multi):
    w = filled
    refused = done = 0
    for words in rows(w):
        for n in range(ARGS_MAX + 1):
            request = spell(words + [""] * n)
            before, after = ([encode("MULTI")], [encode("EXEC")]) if in_multi else ([], [])
            if words in (["exec"], ["reset"], ["discard"]) or "reply" in words:
                before = after = []
            replies = one_reply_each(w, before + [request] + after)
            refused += isinstance(replies[len(before)], Error)
            done += not isinstance(replies[len(before)], Error)
            assert one_reply_each(w, [encode("RESET"), encode("CLIENT", "UNPAUSE")]) == ["RESET", "OK"]
    assert refused > 500 and done > 100


def test_requests_of_nothing(filled):
    nothing = [b"\r\n", b"\n", b"   \r\n", b"\t \r\n", b"*0\r\n", b"*-1\r\n", b" \v\f\r\n"]
    for empty in nothing:
        assert one_reply_each(filled, [empty * 3 + encode("GET", "k"), empty + encode("PING") + empty]) == [b"", "PONG"]
    assert filled("") == "ERR unknown command '', with args beginning with: "
    assert filled("", "") == "ERR unknown command '', with args beginning with: '' "


def test_short_lines(filled):
    """The shortest names and arguments, which lie at the very end of what was read."""
    for name in ("G", "GE", "GET", "TTL", "DEL", "SET", "ECHO", "TYPE"):
        for rest in ([""], ["k"], ["", ""], ["k", "v"]):
            as_line, as_resp = one_reply_each(filled, [line([name] + rest), encode(name, *rest)])
            assert isinstance(as_line, Error) == isinstance(as_resp, Error)


def test_a_name_ends_where_it_ends(filled):
    """A NUL is a byte of the name like any other, also when the command has just been used."""
    for name in ("GET", "STRLEN", "BITCOUNT"):
        filled(name, "k")
        for n in (1, 2, 5):
            reply = filled(name + "\0" * n, "k")
            assert reply.startswith("ERR unknown command"), reply


def test_random_arguments_with_many_empty_ones(filled):
    w, rng = filled, random.Random(20)
    commands = [words for words in rows(w) if words[0] not in ("reset", "debug") and words[-1] not in ("reply", "pause", "kill")]
    for _ in range(150):
        requests = []
        for _ in range(20):
            words = rng.choice(commands) + [rng.choice(EDGES) for _ in range(rng.randrange(ARGS_MAX + 1))]
            requests.append(encode(*words))
            if rng.random() < 0.2:
                requests[-1] = b"\r\n*0\r\n" + requests[-1]
        one_reply_each(w, requests)
        w("RESET")
