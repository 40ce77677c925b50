"""Every allocation that a call of liblarder makes fails once, one after the other: the call says so or does without, what it
says is true, nothing leaks (under ASan), and the handle goes on working."""

import os

import harness
import pytest
from liblarder import Frail, at

pytestmark = pytest.mark.skipif(not os.path.exists(Frail.program), reason="only debug builds can fail an allocation")

CALLS = ["set k v", "get k", "get nope", "mset a 1 b 2", "mget a b nope", "mdel a b", "exists k", "expire k 50000", "incr n 1",
         "cmd GET k", "cmd CONFIG GET maxmemory", "pipe GET k ; SET k v ; GET k", "scan", "where k", "loop 20"]
PATTERNS = ["fetch cold", "fetch k", "write k", "inv k", "soft k", "hold k 3 1000", "tag red", "pattern k*", "getv k 3", "setv k 3 x"]
ALLOCATIONS_MAX = 400


@pytest.fixture(params=["larder", "redis_server"])
def node(request):
    return request.getfixturevalue(request.param)


def until_none_fails(c, line, check):
    """How many allocations there were."""
    for n in range(1, ALLOCATIONS_MAX):
        answer, failed = c.say(f"frail {n} {line}").rsplit(" failed=", 1)
        check(answer, failed == "1")
        if failed == "0":
            return n - 1
    raise AssertionError(f"{line}: still allocating after {ALLOCATIONS_MAX}")


def told(answer):
    """An error that says why, or an answer."""
    first = answer.split()[0]
    assert first in ("ok", "miss", "old-version", "uncached", "out-of-memory", "load-failed") or \
        first.startswith("ok="), answer


@pytest.mark.parametrize("line", CALLS)
def test_calls(node, line):
    with Frail(at(node)) as c, node.wire() as w:
        w("SET", "k", "v")
        assert c.say("loop 20").startswith("ok sets=20 gets=20 "), "the keys are there"

        def check(answer, failed):
            if line.startswith("loop"):
                assert "wrong=0 left=0 pending=0" in answer or answer == "no loop", answer
            else:
                told(answer)
            assert failed or "out-of-memory" not in answer
            assert c.say("set probe v") == "ok" and c.say("get probe") == 'ok "v"', "it goes on"

        until_none_fails(c, line, check)


@pytest.mark.parametrize("option", ["option", "option tag=red tag=blue grace_ms=1000", "option behind=1 soft_ms=5000"])
def test_patterns(node, option):
    with Frail(at(node)) as c, node.wire() as w:
        assert c.say(option) == "ok"
        count = 0
        for line in PATTERNS:
            def check(answer, failed, line=line):
                told(answer)
                assert failed or not answer.startswith(("out-of-memory", "load-failed")), answer
                if line != "fetch k":
                    w("DEL", "cold", "k")
                assert c.say("fetch probe").startswith("ok "), "it goes on"

            assert c.say("fetch k").startswith("ok ")
            count += until_none_fails(c, line, check)
        assert count > 10
        assert c.say("loads").startswith("loads=")


def test_fresh_handles(node):
    """Nothing is connected yet, so that everything is made."""
    for line in ("get k", "mget a b", "fetch k", "loop 3", "tag red"):
        for n in range(1, ALLOCATIONS_MAX):
            with Frail(at(node), "topology=1") as c:
                answer, failed = c.say(f"frail {n} {line}").rsplit(" failed=", 1)
                assert c.say("set k v") == "ok" and c.say("fetch k").startswith("ok "), (line, n, answer)
            if failed == "0":
                break


def test_opening(node):
    with Frail() as c:
        for n in range(1, ALLOCATIONS_MAX):
            answer, failed = c.say(f"frail {n} open {at(node)}").rsplit(" failed=", 1)
            assert answer == "ok 1" or answer.startswith("out-of-memory"), answer
            assert c.say(f"open {at(node)}") == "ok 1" and c.say("set k v") == "ok"
            if failed == "0":
                break
        assert n > 5


def test_a_ring_and_its_stand_ins():
    servers = [harness.Server(harness.REDIS_SERVER).start() for _ in range(2)]
    try:
        with Frail(",".join(at(s) for s in servers), "topology=2 breaker_ms=50") as c:
            key = next(f"k{i}" for i in range(100) if c.say(f"where k{i}") == f"ok {at(servers[0])}")
            servers[0].stop()
            for line in (f"fetch {key}", f"get {key}", f"set {key} v", "tag red", f"mget {key} a b c"):
                for n in range(1, ALLOCATIONS_MAX):
                    answer, failed = c.say(f"frail {n} {line}").rsplit(" failed=", 1)
                    assert c.say(f"fetch {key}").startswith("ok "), (line, n, answer)
                    if failed == "0":
                        break
    finally:
        harness.end_all(servers)
