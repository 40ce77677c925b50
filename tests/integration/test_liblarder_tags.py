"""Invalidation by tag: CACHE.PURGE where a node has it, tokens on plain Redis (src/client/tags.h)."""

import harness
import pytest
from liblarder import CLOSE, Peer, Shell, at, fetched, has_commands, leased, cluster  # noqa: F401


@pytest.fixture(params=["larder", "redis_server"])
def node(request):
    return request.getfixturevalue(request.param)


def freshness(shell, key):
    return fetched(shell.say(f"fetch {key}"))[1]


def wait_for_load(node, tag):
    """Until a load of the key k, which gets this tag, has begun."""
    with node.wire() as w:
        harness.wait_until(lambda: w("EXISTS", "k") == 1 or leased(w), what="the lease to be taken")
        if not has_commands(node):
            harness.wait_until(lambda: w("EXISTS", f"larder:tag:{tag}") == 1, what="the token to be put")


# ---- one node ----------------------------------------------------------------------------


def test_every_value_with_the_tag_and_no_other(node):
    with Shell(at(node)) as a, Shell(at(node)) as b:
        for i, tags in enumerate(("tag=red tag=blue", "tag=red", "tag=blue", "")):
            assert a.say(f"option {tags}".rstrip()) == "ok"
            assert [freshness(a, f"k{i}"), freshness(a, f"k{i}")] == ["loaded", "fresh"]
        assert b.say("tag red") == "ok"
        assert [freshness(b, f"k{i}") for i in range(4)] == ["loaded", "loaded", "fresh", "fresh"], "a reader need not name tags"
        assert b.say("tag nobody-has-this") == "ok"
        assert [freshness(a, f"k{i}") for i in range(4)] == ["fresh"] * 4


def test_a_tag_that_the_reader_does_not_name_and_one_too_many(node):
    with Shell(at(node)) as a, Shell(at(node)) as b:
        assert a.say("option tag=red tag=blue") == "ok" and b.say("option tag=blue tag=green") == "ok"
        assert freshness(a, "k") == "loaded" and freshness(b, "k") == "fresh"
        assert a.say("tag red") == "ok"
        assert freshness(b, "k") == "loaded", "red"
        assert a.say("tag red") == "ok"
        assert freshness(a, "k") == "fresh", "it is blue and green now"
        assert a.say("tag green") == "ok"
        assert freshness(a, "k") == "loaded"


def test_a_load_that_began_before(node, tmp_path):
    """The token, or the lease, is older than the invalidation, though the tag was never seen before."""
    over = tmp_path / "over"
    with Shell(at(node)) as a, Shell(at(node)) as b:
        for c in (a, b):
            assert c.say("option tag=new") == "ok"
        assert a.say(f"loader until={over} value=old") == "ok" and b.say("loader value=new") == "ok"
        a.send("fetch k")
        wait_for_load(node, "new")
        assert b.say("tag new") == "ok"
        over.touch()
        assert fetched(a.hear())[3] == "old1", "it asked before, so it may have the old value"
        assert fetched(b.say("fetch k"))[1:4] == ("loaded", 0, "new1")
        assert fetched(a.say("fetch k"))[3] == "new1"


def test_those_who_wait_for_such_a_load_are_not_given_it(node, tmp_path):
    """Threads of the loading process itself, which ask while it loads."""
    over = tmp_path / "over"
    with Shell(at(node)) as a, Shell(at(node)) as b:
        assert a.say("option tag=red") == "ok" and a.say(f"loader until={over}") == "ok"
        a.send("rush 20 k")
        wait_for_load(node, "red")
        assert b.say("tag red") == "ok"
        over.touch()
        answer = a.hear()
        assert answer.startswith("ok=20 miss=0 failed=0 values=2 "), "who led has the first, the others the second: " + answer
        assert a.say("loads") == "loads=2"


def test_after_an_invalidation_one_loads(node):
    with Shell(at(node)) as a, Shell(at(node)) as b:
        for c in (a, b):
            assert c.say("option tag=red") == "ok" and c.say("loader delay=200") == "ok"
        assert freshness(a, "k") == "loaded"
        assert b.say("tag red") == "ok"
        before = sum(int(c.say("loads")[6:]) for c in (a, b))
        for c in (a, b):
            c.send("rush 200 k")
        assert all(c.hear().startswith("ok=200 miss=0 failed=0 values=1 ") for c in (a, b))
        assert sum(int(c.say("loads")[6:]) for c in (a, b)) == before + 1


def test_nothing_and_stale_values_have_tags_too(node):
    with Shell(at(node)) as c:
        assert c.say("loader says=1") == "ok" and c.say("option tag=red") == "ok"
        assert [freshness(c, "none"), freshness(c, "none")] == ["loaded", "fresh"]
        assert c.say("tag red") == "ok" and freshness(c, "none") == "loaded"
        assert c.say("loader says=0") == "ok" and c.say("option tag=red ttl_ms=1 grace_ms=60000") == "ok"
        assert freshness(c, "k") == "loaded"
        assert c.say("loader says=-3") == "ok"
        harness.wait_until(lambda: freshness(c, "k") == "stale", what="its time to end")
        assert c.say("tag red") == "ok"
        assert c.say("fetch k").startswith("load-failed "), "an invalidated value is no stale one"


def test_write_through_with_tags(node):
    with Shell(at(node)) as a, Shell(at(node)) as b:
        assert a.say("option tag=red") == "ok" and a.say("write k") == "ok"
        assert fetched(b.say("fetch k"))[1:4] == ("fresh", 0, "v1")
        assert b.say("tag red") == "ok" and freshness(b, "k") == "loaded"


def test_what_is_no_tag(node):
    with Shell(at(node)) as c:
        assert c.say("tag").startswith("bad-argument a tag has from 1 to 255 bytes")
        for tags in ("tag=" + "x" * 256, "tag="):
            assert c.say(f"option {tags}") == "ok"
            assert c.say("fetch k").startswith("bad-argument a tag has from 1 to 255 bytes")
            assert c.say("write k").startswith("bad-argument a tag has from 1 to 255 bytes")
        assert c.say("option " + " ".join(f"tag={i}" for i in range(17))) == "ok"
        assert c.say("fetch k").startswith("bad-argument a value has at most 16 tags")
        assert c.say("loads") == "loads=0"
        assert c.say("option " + " ".join(f"tag={i}" + "x" * 250 for i in range(16))) == "ok"
        assert [freshness(c, "k"), freshness(c, "k")] == ["loaded", "fresh"]
        assert c.say("tag 15" + "x" * 250) == "ok" and freshness(c, "k") == "loaded"


# ---- tokens ------------------------------------------------------------------------------


def test_whatever_happens_to_a_token_invalidates(redis_server):
    with Shell(at(redis_server)) as c, redis_server.wire() as w:
        assert c.say("option tag=red") == "ok" and freshness(c, "k") == "loaded"
        for command in (("DEL", "larder:tag:red"), ("SET", "larder:tag:red", "f" * 16), ("SET", "larder:tag:red", ""),
                        ("INCR", "larder:tag:blue"), ("RENAME", "larder:tag:red", "elsewhere")):
            w(*command)
            assert freshness(c, "k") == ("loaded" if "red" in command[1] else "fresh"), command
            assert freshness(c, "k") == ("fresh" if command[0] != "SET" or command[2] else "loaded")
            if command[0] == "SET" and not command[2]:
                w("DEL", "larder:tag:red")
                freshness(c, "k")


def test_a_token_never_comes_back(redis_server):
    """An old value that reappears, as out of a backup, is still overtaken."""
    with Shell(at(redis_server)) as c, redis_server.wire() as w:
        assert c.say("option tag=red") == "ok" and freshness(c, "k") == "loaded"
        old, token = w("GET", "k"), w("GET", "larder:tag:red")
        assert old[116:].startswith(b"00000023:" + token + b"003:red")
        assert c.say("tag red") == "ok" and freshness(c, "k") == "loaded"
        assert w("SET", "k", old) == "OK"
        assert freshness(c, "k") == "loaded"
        assert w("GET", "larder:tag:red") != token


def test_a_token_lives_longer_than_its_values(redis_server):
    with Shell(at(redis_server)) as c, redis_server.wire() as w:
        for ttl_ms, grace_ms in ((5000, 0), (100000, 50000), (1000, 0)):
            assert c.say(f"option tag=red ttl_ms={ttl_ms} grace_ms={grace_ms}") == "ok"
            assert freshness(c, f"k{ttl_ms}") == "loaded"
            assert w("PTTL", "larder:tag:red") > w("PTTL", f"k{ttl_ms}")
        assert w("PTTL", "larder:tag:red") > 150000, "it is not cut short by a value that lives shorter"
        assert c.say("option tag=red ttl_ms=-1") == "ok"
        assert freshness(c, "for-ever") == "loaded"
        assert w("PTTL", "larder:tag:red") == w("PTTL", "for-ever") == -1


def enveloped(*tags, grace_ms=0):
    entries = b"".join(b"0123456789abcdef%03d:%s" % (len(t), t) for t in tags)
    head = b"larder1:v" + (b"+" if tags else b":") + b":".join([b"0" * 20, b"%016d" % grace_ms, *[b"0" * 16] * 4]) + b"\n"
    return head + (b"%08d:" % len(entries) + entries if tags else b"") + b"v"


def bulk(b):
    return b"$%d\r\n%s\r\n" % (len(b), b)


@pytest.mark.parametrize("trouble", [CLOSE, None, b"-ERR no\r\n"])
def test_a_tag_that_cannot_be_asked_for(trouble):
    """What cannot be known to hold is not used, and what cannot be given its tags is not stored."""
    def answer(argv):
        if argv[0] in ("CACHE.GET", "CACHE.PURGE"):
            return b"-ERR unknown command '%s'\r\n" % argv[0].encode()
        if argv[0] == "PTTL":
            return b":1000\r\n"
        if argv[:2] == ["GET", "k"]:
            return bulk(enveloped(b"red"))
        return trouble

    limit = "" if trouble else "command_timeout_ms=300"  # for the one that says nothing
    with Peer(answer) as peer, Shell(peer.address, f"topology=1 backoff_ms=5 retries=1 {limit}") as c:
        for i, option in enumerate(("", " tag=red")):
            assert c.say("option" + option) == "ok"
            if trouble == b"-ERR no\r\n":
                assert c.say("fetch k").startswith("error-reply ")
            else:
                assert c.say("fetch k") == f'ok loaded 0 "v{i + 1}" loads={i + 1}'
        assert c.say("tag red").split()[0] in ("connection-closed", "timeout", "error-reply", "unavailable")
        assert peer.count("EVAL") == 0


def test_values_of_the_scripts_on_a_node_that_has_the_commands(larder):
    """As after a move from Redis: what they say still holds, tags included."""
    with Shell(at(larder)) as c, larder.wire() as w:
        assert w("SET", "plain", enveloped(), "PX", 60000) == "OK"
        assert fetched(c.say("fetch plain"))[1:4] == ("fresh", 0, "v")
        assert w("SET", "k", enveloped(b"red"), "PX", 60000) == "OK"
        assert w("SET", "larder:tag:red", "0123456789abcdef") == "OK"
        assert fetched(c.say("fetch k"))[1:4] == ("fresh", 0, "v")
        assert c.say("tag red") == "ok"
        assert freshness(c, "k") == "loaded" and freshness(c, "k") == "fresh"
        assert w("SET", "old", enveloped(grace_ms=90000), "PX", 60000) == "OK"
        assert freshness(c, "old") == "loaded" and freshness(c, "old") == "fresh"


# ---- several nodes -----------------------------------------------------------------------


def purging(*fields):
    """A node that knows CACHE.PURGE and answers with such a map."""
    words = b"".join(b"+%s\r\n:%d\r\n" % (name, value) for name, value in fields)
    answers = {"CACHE.PURGE": b"%%%d\r\n" % len(fields) + words, "DEL": b":0\r\n"}
    return lambda argv: answers.get(argv[0], b"-ERR unknown command\r\n")


def test_an_invalidation_reaches_every_node_of_a_ring():
    good = purging((b"shards", 1), (b"acked", 1), (b"pending", 0), (b"unsupported", 0))
    slow = purging((b"shards", 3), (b"acked", 2), (b"pending", 1), (b"unsupported", 0))
    mixed = purging((b"shards", 3), (b"acked", 2), (b"pending", 0), (b"unsupported", 1))
    with Peer(good) as a, Peer(good) as b, Peer(slow) as c, Peer(mixed) as d:
        with Shell(f"{a.address},{b.address}", "topology=2") as p:
            assert p.say("tag red") == "ok"
        for peer in (a, b):
            assert peer.requests[-2:] == [["DEL", "larder:tag:red"], ["CACHE.PURGE", "TAG", "red"]]
        with Shell(f"{c.address},{a.address}", "topology=2") as p:
            assert p.say("tag blue").startswith(f"unavailable {c.address}: ")
        assert a.requests[-1] == ["CACHE.PURGE", "TAG", "blue"], "the others are told all the same"
        with Shell(d.address, "topology=1") as p:
            assert p.say("tag red") == "ok", "primaries that know no tags have tokens"


def test_a_ring_of_redis_servers():
    servers = [harness.Server(harness.REDIS_SERVER).start() for _ in range(3)]
    try:
        with Shell(",".join(at(s) for s in servers), "breaker_ms=100") as c:
            assert c.say("option tag=red") == "ok"
            assert [freshness(c, f"k{i}") for i in range(30)] == ["loaded"] * 30
            assert [freshness(c, f"k{i}") for i in range(30)] == ["fresh"] * 30
            assert c.say("tag red") == "ok"
            assert [freshness(c, f"k{i}") for i in range(30)] == ["loaded"] * 30
            gone = servers[0]
            mine = [f"k{i}" for i in range(30) if c.say(f"where k{i}") == f"ok {at(gone)}"]
            gone.stop()
            assert c.say("tag red").split()[0] in ("cannot-connect", "unavailable", "connection-closed"), "one has not acknowledged"
            assert [freshness(c, k) for k in mine] == ["loaded"] * len(mine), "no stand-in for what has tags"
            assert [freshness(c, k) for k in mine] == ["loaded"] * len(mine)
            others = [f"k{i}" for i in range(30) if f"k{i}" not in mine]
            assert [freshness(c, k) for k in others] == ["loaded"] * len(others), "the others have"
    finally:
        harness.end_all(servers)


def test_a_cluster_of_six(cluster):  # noqa: F811
    with Shell(cluster.addresses[0]) as a, Shell(cluster.addresses[3]) as b:
        assert a.say("option tag=red tag=blue") == "ok"
        for key in ("k1", "k2", "k3", "k4", "{t}k", "a}b"):
            assert [freshness(a, key), freshness(b, key)] == ["loaded", "fresh"]
        assert b.say("tag blue") == "ok"
        for key in ("k1", "k2", "k3", "k4", "{t}k", "a}b"):
            assert [freshness(b, key), freshness(a, key)] == ["loaded", "fresh"]
