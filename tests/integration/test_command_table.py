"""The command table as clients see it, beside Debian's redis-server 7.0.15.

larder speaks Redis 7.2. Where 7.2 tells something else than 7.0 about a command, the
difference stands in a list here with what 7.2 says, so that any other is a failure.
"""

import os
import pty
import re
import select
import subprocess
import time

import pytest

from wire import encode

REDIS_CLI = os.environ.get("REDIS_CLI", "/usr/bin/redis-cli")

FIELDS = ("name", "arity", "flags", "first key", "last key", "step", "categories", "tips", "key specs", "subcommands")

# (command, field): what 7.2 has instead of what 7.0 has.
INFO_OF_72 = {
    ("msetnx", "tips"): set(),
    ("randomkey", "tips"): {"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
    ("scan", "tips"): {"nondeterministic_output", "request_policy:special", "response_policy:special"},
    ("client|setname", "tips"): {"request_policy:all_nodes", "response_policy:all_succeeded"},
    ("command|getkeys", "arity"): -3,
    ("command|getkeysandflags", "arity"): -3,
    ("config|resetstat", "tips"): {"request_policy:all_nodes", "response_policy:all_succeeded"},
    ("config|rewrite", "tips"): {"request_policy:all_nodes", "response_policy:all_succeeded"},
    ("latency|reset", "tips"): {"request_policy:all_nodes", "response_policy:agg_sum"},
}

# What 7.0 does not have at all.
NEW_IN_72 = {"client|no-touch", "client|setinfo", "cluster|myshardid", "waitaof"}
VALKEYS = {"cluster|slot-stats",  # 8.0's, and 9.0's
           "cluster|cancelslotmigrations", "cluster|getslotmigrations", "cluster|migrateslots", "cluster|syncslots"}
LARDERS_OWN = "cache."  # names that begin so are in no Redis

DOCS_OF_72 = {
    ("setex", "deprecated_since"): "2.6.12",
    ("psetex", "deprecated_since"): "2.6.12",
    ("setnx", "deprecated_since"): "2.6.12",
    ("quit", "deprecated_since"): "7.2.0",
    ("client|pause", "since"): "3.0.0",
}

# Commands whose arguments 7.2 describes in another shape than 7.0: the names of the
# parts that differ are in the unit tests' hands.
RESHAPED_IN_72 = {"bitop", "client|kill", "client|list", "command|getkeys", "command|getkeysandflags", "config|get"}

# Our sentences; they must be there exactly where Redis has one.
SENTENCES = ("summary", "complexity", "replaced_by")


def plain(v):
    """Replies of both protocols as plain Python."""
    if isinstance(v, bytes):
        return v.decode()
    if isinstance(v, dict):
        return {plain(k): plain(x) for k, x in v.items()}
    if isinstance(v, list):
        return [plain(x) for x in v]
    return str(v) if isinstance(v, str) else v


def pairs(v):
    """A map, which RESP2 sends as a flat array."""
    v = plain(v)
    return v if isinstance(v, dict) else dict(zip(v[::2], v[1::2]))


def key_spec(v):
    v = pairs(v)
    out = {"flags": set(v["flags"]), "notes": "notes" in v}
    for part in ("begin_search", "find_keys"):
        search = pairs(v[part])
        out[part] = (search["type"], pairs(search["spec"]))
    return out


def info_of(row):
    """COMMAND INFO's element as {field: value}, unordered where order says nothing."""
    assert len(row) == len(FIELDS)
    out = dict(zip(FIELDS, row))
    for field in ("flags", "categories", "tips"):
        out[field] = set(plain(out[field]))
    out["name"] = plain(out["name"])
    out["key specs"] = [key_spec(k) for k in out["key specs"]]
    out["subcommands"] = {plain(s[0]): s for s in out["subcommands"]}
    return out


def all_infos(wire):
    """Every command and subcommand by name."""
    out = {}
    for row in wire("COMMAND"):
        info = info_of(row)
        out[info["name"]] = info
        for sub in info["subcommands"].values():
            sub = info_of(sub)
            out[sub["name"]] = sub
    return out


def all_docs(wire):
    out = {}
    for name, doc in pairs(wire("COMMAND", "DOCS")).items():
        out[name] = pairs(doc)
        for sub, subdoc in pairs(out[name].get("subcommands", {})).items():
            out[sub] = pairs(subdoc)
    return out


# ---- COMMAND INFO ----------------------------------------------------------------------


@pytest.mark.larder
@pytest.mark.parametrize("protocol", [2, 3])
def test_info_is_redis_own(larder, redis_server, protocol):
    with larder.wire(protocol=protocol) as ours, redis_server.wire(protocol=protocol) as theirs:
        mine, redis = all_infos(ours), all_infos(theirs)
    differences = []
    for name, info in mine.items():
        if name not in redis:
            if name not in NEW_IN_72 | VALKEYS and not name.startswith(LARDERS_OWN):
                differences.append((name, "is unknown to Redis"))
            continue
        for field in FIELDS[1:-1]:
            want = INFO_OF_72.get((name, field), redis[name][field])
            if info[field] != want:
                differences.append((name, field, info[field], want))
    assert not differences
    assert NEW_IN_72 | VALKEYS <= set(mine)
    for name, field in INFO_OF_72:
        assert redis[name][field] != INFO_OF_72[name, field], f"{name}'s {field} is no difference any more"


def test_info_is_sent_as_redis_sends_it(larder, redis_server):
    """Byte for byte, for rows without sentences of our own and with one order of parts."""
    names = ("get", "mset", "bitop", "rename", "incr", "object|freq", "nosuch", "client|nosuch", "get|x", "|", "multi", "exec")
    for protocol in (2, 3):
        with larder.wire(protocol=protocol) as ours, redis_server.wire(protocol=protocol) as theirs:
            for name in names:
                assert raw(ours, "COMMAND", "INFO", name) == raw(theirs, "COMMAND", "INFO", name)


def raw(wire, *command):
    """The reply's bytes. The ECHO behind it shows where it ends."""
    end = b"$3\r\nend\r\n"
    wire.send(encode(*command) + encode("ECHO", "end"))
    data = wire.buf[wire.at :]
    while not data.endswith(end):
        data += wire.sock.recv(1 << 16)
    wire.buf, wire.at = b"", 0
    return data[: -len(end)]


def test_info_counts(w):
    everything = w("COMMAND")
    assert w("COMMAND", "COUNT") == len(everything)
    assert plain(w("COMMAND", "INFO")) == plain(everything)
    assert w("COMMAND", "INFO", "nosuch", "get", "")[0::2] == [None, None]


# ---- COMMAND DOCS ----------------------------------------------------------------------


def shape(args):
    """Arguments without their names, which 7.2 changed in many commands."""
    out = []
    for a in args:
        a = pairs(a)
        flags = set(a.get("flags", ()))
        out.append((a["type"], a.get("token"), a.get("since"), flags, a.get("key_spec_index"), shape(a.get("arguments", ()))))
    return out


@pytest.mark.larder
@pytest.mark.parametrize("protocol", [2, 3])
def test_docs_tell_the_same_facts(larder, redis_server, protocol):
    with larder.wire(protocol=protocol) as ours, redis_server.wire(protocol=protocol) as theirs:
        mine, redis = all_docs(ours), all_docs(theirs)
    differences = []
    for name, doc in mine.items():
        if name in NEW_IN_72 | VALKEYS or name.startswith(LARDERS_OWN):
            continue
        facts = {k: redis[name].get(k) for k in ("since", "group", "deprecated_since")}
        facts.update({field: v for (command, field), v in DOCS_OF_72.items() if command == name})
        for field, want in facts.items():
            if doc.get(field) != want:
                differences.append((name, field, doc.get(field), want))
        history = [[plain(h)[0] for h in d.get("history", ())] for d in (doc, redis[name])]
        if history[0] != history[1]:
            differences.append((name, "history", *history))
        if name not in RESHAPED_IN_72 and shape(doc.get("arguments", ())) != shape(redis[name].get("arguments", ())):
            differences.append((name, "arguments", doc.get("arguments"), redis[name].get("arguments")))
        if ("deprecated" in doc.get("doc_flags", ())) != (facts["deprecated_since"] is not None):
            differences.append((name, "doc_flags"))
        for field in SENTENCES[:2]:
            if (field in doc) != (field in redis[name]):
                differences.append((name, field, "only one has it"))
        if ("replaced_by" in doc) != (facts["deprecated_since"] is not None):
            differences.append((name, "replaced_by"))
    assert not differences


@pytest.mark.larder
def test_docs_by_name(w, w3):
    doc = plain(w3("COMMAND", "DOCS", "nosuch", "GetDel", "CLIENT|ID", "get|x"))
    assert list(doc) == ["getdel", "client|id"]
    assert doc["getdel"]["arguments"] == [{"name": "key", "type": "key", "display_text": "key", "key_spec_index": 0}]
    flat = plain(w("COMMAND", "DOCS", "getdel"))
    assert flat[0] == "getdel" and pairs(flat[1])["group"] == "string"
    assert w3("COMMAND", "DOCS", "nosuch") == {}
    everything = plain(w3("COMMAND", "DOCS"))
    assert len(everything) == w3("COMMAND", "COUNT")
    assert sorted(plain(x[0]) for x in w3("COMMAND")) == sorted(everything)


@pytest.mark.larder
def test_docs_of_72(w3):
    """What 7.2 describes otherwise than 7.0, for one command of each kind."""
    args = plain(w3("COMMAND", "DOCS", "bitfield_ro"))["bitfield_ro"]["arguments"]
    assert args[1] == {
        "name": "get-block",
        "type": "block",
        "token": "GET",
        "flags": ["optional", "multiple", "multiple_token"],
        "arguments": [
            {"name": "encoding", "type": "string", "display_text": "encoding"},
            {"name": "offset", "type": "integer", "display_text": "offset"},
        ],
    }
    old_format = plain(w3("COMMAND", "DOCS", "client|kill"))["client|kill"]["arguments"][0]["arguments"][0]
    assert old_format == {
        "name": "old-format",
        "type": "string",
        "display_text": "ip:port",
        "deprecated_since": "2.8.12",
    }


# ---- COMMAND LIST ----------------------------------------------------------------------


def test_list(w):
    names = plain(w("COMMAND", "LIST"))
    assert len(names) == len(set(names))
    assert {"get", "client", "client|list"} <= set(names)
    assert len([n for n in names if "|" not in n]) == w("COMMAND", "COUNT")
    assert plain(w("COMMAND", "LIST", "FILTERBY", "PATTERN", "*bit*_ro")) == ["bitfield_ro"]
    assert set(plain(w("COMMAND", "LIST", "filterby", "pattern", "CONFIG|*"))) == {n for n in names if n.startswith("config|")}
    assert w("COMMAND", "LIST", "FILTERBY", "MODULE", "x") == []
    assert w("COMMAND", "LIST", "FILTERBY", "ACLCAT", "nosuch") == []


@pytest.mark.parametrize("category", ["string", "Bitmap", "keyspace", "fast", "dangerous", "connection", "transaction", "admin"])
def test_list_by_category_agrees(larder, redis_server, category):
    with larder.wire() as ours, redis_server.wire() as theirs:
        known = set(plain(ours("COMMAND", "LIST")))
        mine = set(plain(ours("COMMAND", "LIST", "FILTERBY", "ACLCAT", category)))
        redis = set(plain(theirs("COMMAND", "LIST", "FILTERBY", "ACLCAT", category)))
    mine = {name for name in mine if not name.startswith(LARDERS_OWN)}
    assert mine and mine - NEW_IN_72 - VALKEYS == redis & known


# ---- replies that must be the same bytes -----------------------------------------------

SAME = [
    # keys
    ("COMMAND", "GETKEYS", "get", "k"),
    ("COMMAND", "GETKEYS", "GeT", "k"),
    ("COMMAND", "GETKEYS", "mget", "a", "b", "c"),
    ("COMMAND", "GETKEYS", "mset", "a", "1", "b", "2"),
    ("COMMAND", "GETKEYS", "mset", "a", "1", "b"),
    ("COMMAND", "GETKEYS", "bitop", "and", "d", "a", "b"),
    ("COMMAND", "GETKEYS", "rename", "a", "b"),
    ("COMMAND", "GETKEYS", "lcs", "a", "b", "idx"),
    ("COMMAND", "GETKEYS", "object", "freq", "k"),
    ("COMMAND", "GETKEYS", "memory", "usage", "k", "samples", "0"),
    ("COMMAND", "GETKEYS", "watch", "a", "b"),
    ("COMMAND", "GETKEYS", "get", ""),
    ("COMMAND", "GETKEYS", "del", *[f"k{i}" for i in range(100)]),
    ("COMMAND", "GETKEYSANDFLAGS", "get", "k"),
    ("COMMAND", "GETKEYSANDFLAGS", "set", "k", "v"),
    ("COMMAND", "GETKEYSANDFLAGS", "set", "k", "v", "EX", "5", "get"),
    ("COMMAND", "GETKEYSANDFLAGS", "set", "k", "get"),
    ("COMMAND", "GETKEYSANDFLAGS", "bitfield", "k", "get", "u8", "0"),
    ("COMMAND", "GETKEYSANDFLAGS", "bitfield", "k", "get", "u8", "0", "overflow", "wrap"),
    ("COMMAND", "GETKEYSANDFLAGS", "bitfield", "k", "incrby", "u8", "0", "1"),
    ("COMMAND", "GETKEYSANDFLAGS", "bitfield", "k", "nonsense", "x"),
    ("COMMAND", "GETKEYSANDFLAGS", "copy", "a", "b", "replace"),
    ("COMMAND", "GETKEYSANDFLAGS", "unlink", "a", "b"),
    # no keys, no command, wrong number of arguments
    ("COMMAND", "GETKEYS", "nosuch", "x"),
    ("COMMAND", "GETKEYS", "", "x"),
    ("COMMAND", "GETKEYS", "ping", "x"),
    ("COMMAND", "GETKEYS", "client", "id"),
    ("COMMAND", "GETKEYS", "client", "nosuch"),
    ("COMMAND", "GETKEYS", "get", "a", "b"),
    ("COMMAND", "GETKEYS", "mset", "a"),
    ("COMMAND", "GETKEYS", "object", "freq"),
    ("COMMAND", "GETKEYSANDFLAGS", "select", "1"),
    ("COMMAND", "GETKEYS"),
    # refusals
    ("COMMAND", "LIST", "x"),
    ("COMMAND", "LIST", "FILTERBY"),
    ("COMMAND", "LIST", "FILTERBY", "ACLCAT"),
    ("COMMAND", "LIST", "FILTERBY", "x", "y"),
    ("COMMAND", "LIST", "FILTERBY", "ACLCAT", "x", "y"),
    ("COMMAND", "LIST", "FILTERBY", "ACLCAT", "x", "FILTERBY", "ACLCAT", "y"),
    ("COMMAND", "COUNT", "x"),
    ("COMMAND", "HELP", "x"),
    ("COMMAND", "nosuch"),
    ("COMMAND", ""),
    ("nosuch",),
    ("",),
    ("nosuch", "a", "b c", "", "d"),
    ("no\r\nsuch", "a\nb"),
    ("no\0such", "a\0b"),
    ("client|list",),
    ("nosuch", *["x" * 50] * 5),
    ("n" * 200, "y" * 200, "z"),
    ("config", "n" * 200),
    ("cOnFiG", "no\r\nsuch"),
    ("config",),
    ("client",),
    ("get",),
    ("GET", "a", "b"),
    ("set", "a"),
    ("Client", "Id", "x"),
    ("object", "freq"),
    ("multi", "x"),
]


@pytest.mark.parametrize("command", SAME, ids=lambda c: " ".join(c)[:40].encode("unicode_escape").decode())
def test_same_bytes(larder, redis_server, command):
    for protocol in (2, 3):
        with larder.wire(protocol=protocol) as ours, redis_server.wire(protocol=protocol) as theirs:
            assert raw(ours, *command) == raw(theirs, *command)


@pytest.mark.larder
def test_getkeys_needs_one_word_only(w):
    """7.2 lets a command without arguments through to the question itself."""
    assert w("COMMAND", "GETKEYS", "ping") == "ERR The command has no key arguments"
    assert w("COMMAND", "GETKEYS", "get") == "ERR Invalid number of arguments specified for command"
    assert w("COMMAND", "GETKEYS", "nosuch") == "ERR Invalid command specified"


def test_help(w, w3):
    for wire in (w, w3):
        lines = plain(wire("COMMAND", "HELP"))
        assert lines[0].startswith("COMMAND <subcommand>")
        assert any(line.startswith("GETKEYSANDFLAGS") for line in lines)


# ---- rename-command --------------------------------------------------------------------


def test_rename_and_remove(start_larder):
    server = start_larder({"rename-command": [("GET", "fetch-it-under-a-long-name"), ("KEYS", ""), ("config", "Conf")]})
    with server.wire() as w:
        assert w("SET", "k", "v") == "OK"
        assert w("Fetch-It-Under-A-Long-Name", "k") == b"v"
        assert w("GET", "k") == "ERR unknown command 'GET', with args beginning with: 'k' "
        assert w("KEYS", "*") == "ERR unknown command 'KEYS', with args beginning with: '*' "
        assert w("CONF", "nosuch") == "ERR unknown subcommand 'nosuch'. Try CONF HELP."
        assert w("fetch-it-under-a-long-name") == "ERR wrong number of arguments for 'get' command"
        assert w("COMMAND", "INFO", "get") == [None]
        assert plain(w("COMMAND", "INFO", "fetch-it-under-a-long-name"))[0][0] == "get"
        names = plain(w("COMMAND", "LIST"))
        assert "keys" not in names and "get" in names
        assert plain(w("COMMAND", "INFO", "conf|get"))[0][0] == "config|get"


@pytest.mark.parametrize("rename", [("nosuch", "x"), ("get", "SET")])
def test_bad_rename_stops_the_start(start_larder, rename):
    server = start_larder({"rename-command": [rename]}, wait=False)
    server.spawn()
    assert server.wait() != 0
    server.process = None  # it ended as it should


# ---- redis-cli -------------------------------------------------------------------------


def type_into_cli(server, lines, *options):
    """An interactive redis-cli, which reads COMMAND DOCS for its hints. Returns what it printed."""
    leader, follower = pty.openpty()
    env = dict(os.environ, TERM="dumb", HOME=server.dir)
    cli = subprocess.Popen(
        [REDIS_CLI, "-h", "127.0.0.1", "-p", str(server.port), *options],
        stdin=follower, stdout=follower, stderr=follower, env=env, close_fds=True,
    )
    os.close(follower)
    out = b""
    try:
        for line in [*lines, "quit"]:
            out += read_until(leader, b"> ")
            os.write(leader, line.encode() + b"\n")
        out += read_until(leader, None)
        assert cli.wait(120) == 0, out
    finally:
        cli.kill()
        cli.wait()
        os.close(leader)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.replace(b"\r\n", b"\n").decode())


def read_until(fd, what):
    """Everything up to and with `what`, or to the end."""
    out, deadline = b"", time.monotonic() + 120
    while what is None or not out.endswith(what):
        ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"redis-cli said only {out!r}"
        try:
            data = os.read(fd, 1 << 16)
        except OSError:
            break
        if not data:
            break
        out += data
    return out


@pytest.mark.parametrize("options", [(), ("-3",)])
def test_cli_understands_the_docs(larder, redis_server, options):
    """redis-cli dies of replies in another shape; its help then shows what it understood."""
    commands = ["set", "getex", "expire", "copy", "scan", "restore", "object freq", "getrange", "memory usage", "lolwut"]
    questions = [f"help {c}" for c in commands]
    ours = type_into_cli(larder, questions, *options)
    theirs = type_into_cli(redis_server, questions, *options)
    for command in commands:
        line = re.compile(rf"^ +{command.upper()}\b.*$", re.MULTILINE)
        mine, redis = line.findall(ours), line.findall(theirs)
        assert mine and mine == redis


@pytest.mark.larder
def test_cli_shows_our_help(larder):
    text = type_into_cli(larder, ["help getrange"])
    assert "summary: Gives the part of a string between two offsets" in text
    assert "since: 2.4.0" in text and "group: string" in text
