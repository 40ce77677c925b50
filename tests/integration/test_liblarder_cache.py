"""larder/cache.h against live servers: cache-aside, write-through, versions, invalidation. Every test runs
with the cache commands (larder) and with scripts and envelopes (redis-server), unless it says why not."""

import re

import harness
import pytest
from cachekit import as_dict
from liblarder import Peer, Shell, at, fetched, has_commands, leased, cluster  # noqa: F401

ENVELOPE = 116


@pytest.fixture(params=["larder", "redis_server"])
def node(request):
    return request.getfixturevalue(request.param)


# ---- cache-aside -------------------------------------------------------------------------


def test_a_value_is_loaded_once(node):
    with Shell(at(node)) as c:
        assert c.opened == "ok 1"
        assert c.say("fetch k") == 'ok loaded 0 "v1" loads=1'
        assert c.say("fetch k") == 'ok fresh 0 "v1" loads=1'
        assert c.say("inv k") == "ok"
        assert c.say("inv k") == "miss"
        assert c.say("fetch k") == 'ok loaded 0 "v2" loads=2'
        with node.wire() as w:
            assert w("DEL", "k") == 1, "a plain DEL is an invalidation too"
        assert c.say("fetch k") == 'ok loaded 0 "v3" loads=3'


def test_a_plain_value_is_a_fresh_one(node):
    with Shell(at(node)) as c, node.wire() as w:
        assert w("SET", "k", "by hand") == "OK"
        assert c.say("fetch k") == 'ok fresh 0 "by hand" loads=0'
        assert w("DEL", "k") == 1 and w("SADD", "k", "member") == 1
        assert "WRONGTYPE" in c.say("fetch k")


@pytest.mark.parametrize("threads", [1000])
def test_a_thousand_threads_and_one_load(node, threads):
    with Shell(at(node), "deadline_ms=60000") as c:
        assert c.say("loader delay=200") == "ok"
        assert c.say(f"rush {threads} cold") == f"ok={threads} miss=0 failed=0 values=1 loads=1"
        assert c.say("loader says=1 delay=50") == "ok" and c.say("option negative_ttl_ms=600000") == "ok"
        assert c.say(f"rush {threads} nothing") == f"ok=0 miss={threads} failed=0 values=0 loads=2"


def test_two_processes_and_one_load(node):
    with Shell(at(node), "deadline_ms=60000") as a, Shell(at(node), "deadline_ms=60000") as b:
        for c in (a, b):
            assert c.say("loader delay=300") == "ok"
        for key in ("cold1", "cold2", "cold3"):
            before = sum(int(c.say("loads")[6:]) for c in (a, b))
            for c in (a, b):
                c.send(f"rush 300 {key}")
            answers = [c.hear() for c in (a, b)]
            assert all(re.match("ok=300 miss=0 failed=0 values=1 ", answer) for answer in answers), answers
            assert sum(int(c.say("loads")[6:]) for c in (a, b)) == before + 1


def test_a_holder_that_dies_has_a_successor(node):
    with Shell(at(node), "deadline_ms=60000") as b:
        a = Shell(at(node))
        assert a.say("option lock_ms=4000") == "ok" and a.say("loader delay=60000") == "ok"
        a.send("fetch k")
        with node.wire() as w:
            # The lease is there when the key's state says so: on plain Redis the key, else what INSPECT tells.
            harness.wait_until(lambda: w("EXISTS", "k") == 1 or leased(w), what="the lease to be taken")
        a.process.kill()
        a.process.communicate()
        assert b.say("fetch k") == 'ok loaded 0 "v1" loads=1'
        assert b.say("fetch k") == 'ok fresh 0 "v1" loads=1'


def test_nothing_is_remembered_too(node):
    with Shell(at(node)) as c:
        assert c.say("loader says=1") == "ok"
        assert c.say("fetch k") == "miss loaded 0 loads=1"
        assert c.say("fetch k") == "miss fresh 0 loads=1"
        assert c.say("option negative_ttl_ms=0") == "ok"
        assert [c.say("fetch n") for _ in range(2)] == [f"miss loaded 0 loads={i}" for i in (2, 3)]
        assert c.say("inv k") in ("ok", "miss")
        assert c.say("loader says=0") == "ok"
        assert c.say("fetch k") == 'ok loaded 0 "v4" loads=4'


def test_stale_is_served_while_one_refreshes_and_when_that_fails(node):
    with Shell(at(node)) as c:
        assert c.say("option grace_ms=600000 beta=0 retry_ms=0") == "ok"
        assert fetched(c.say("fetch k"))[1] == "loaded"
        assert c.say("soft k") == "ok"
        assert c.say("loader says=-3") == "ok"
        assert c.say("fetch k") == 'ok stale 0 "v1" loads=2', "fail-safe"
        assert c.say("option grace_ms=600000 beta=0 retry_ms=0 fail_safe=0") == "ok"
        assert c.say("fetch k") == "load-failed the loader failed: cannot connect loads=3"
        assert c.say("loader says=0") == "ok"
        assert c.say("fetch k") == 'ok loaded 0 "v4" loads=4'
        assert c.say("fetch k") == 'ok fresh 0 "v4" loads=4'
        # Behind the caller's back.
        assert c.say("option grace_ms=600000 beta=0 behind=1") == "ok" and c.say("soft k") == "ok"
        assert c.say("fetch k").startswith('ok stale 0 "v4" ')
        harness.wait_until(lambda: c.say("fetch k") == 'ok fresh 0 "v5" loads=5', what="the refresh")


def test_plain_readers_do_not_see_what_is_stale_or_negative(larder):
    with Shell(at(larder)) as c, larder.wire() as w:
        assert c.say("option grace_ms=600000") == "ok"
        assert fetched(c.say("fetch k"))[1] == "loaded"
        assert w("GET", "k") == b"v1"
        assert c.say("soft k") == "ok"
        assert w("GET", "k") is None


def test_after_a_failure_nobody_tries_for_a_while(node):
    with Shell(at(node)) as c:
        assert c.say("option retry_ms=60000 wait_ms=200 grace_ms=600000") == "ok"
        assert fetched(c.say("fetch k"))[1] == "loaded"
        assert c.say("soft k") == "ok" and c.say("loader says=-3") == "ok"
        assert [c.say("fetch k") for _ in range(5)] == ['ok stale 0 "v1" loads=2'] * 5
        assert c.say("inv k") == "ok"


def test_soft_and_hard_timeouts(node, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with Shell(at(node)) as c:
        assert c.say("option grace_ms=600000 beta=0 soft_ms=50 hard_ms=100") == "ok"
        assert c.say(f"loader until={first}") == "ok"
        assert c.say("fetch k") == "load-failed the loader is still at it; what it loads will be cached loads=1"
        first.touch()
        assert c.say("loads") == "loads=1"
        harness.wait_until(lambda: c.say("fetch k") == 'ok fresh 0 "v1" loads=1', what="the late load to be cached")
        assert c.say("soft k") == "ok" and c.say(f"loader until={second}") == "ok"
        assert c.say("fetch k") == 'ok stale 0 "v1" loads=2'
        second.touch()
        assert c.say("loads") == "loads=2"
        harness.wait_until(lambda: c.say("fetch k") == 'ok fresh 0 "v2" loads=2', what="the late refresh")


def test_early_refresh(node):
    """With a huge beta every fresh hit is early, with 0 none is. Of many hits at beta 1 on a value with a long life none is:
    e^(-t/delta) is nothing there."""
    with Shell(at(node)) as c:
        assert c.say("loader delay=20") == "ok" and c.say("option beta=0") == "ok"
        assert c.say("fetch k") == 'ok loaded 0 "v1" loads=1'
        assert c.say("fetch k") == 'ok fresh 0 "v1" loads=1'
        assert c.say("option beta=1000000000000000") == "ok"
        assert c.say("fetch k") == 'ok loaded 0 "v2" loads=2'
        assert c.say("option beta=0") == "ok"
        assert c.say("fetch k") == 'ok fresh 0 "v2" loads=2'


def test_an_invalidation_beats_a_load_that_began_before(node, tmp_path):
    """By another process, so that nothing but the server can tell."""
    with Shell(at(node)) as a, Shell(at(node)) as b:
        for invalidate in ("inv k", "hold k 5 60000"):
            loads = int(a.say("loads")[6:])
            over = tmp_path / f"over-{loads}"
            assert a.say(f"loader until={over} value=old version=0") == "ok"
            a.send("fetch k")
            with node.wire() as w:
                harness.wait_until(lambda: w("EXISTS", "k") == 1 or leased(w), what="the lease to be taken")
            b.say(invalidate)
            over.touch()
            assert fetched(a.hear())[3] == f"old{loads + 1}", "it asked before, so it may have the old value"
            assert b.say("loader value=new version=5") == "ok"
            assert fetched(b.say("fetch k"))[3].startswith("new")
            b.say("inv k")


def test_versions_never_go_back(node):
    with Shell(at(node)) as c:
        assert c.say("loader version=7") == "ok"
        assert c.say("fetch k") == 'ok loaded 7 "v1" loads=1'
        assert c.say("fetch k") == 'ok fresh 7 "v1" loads=1'
        assert c.say("option min_version=9") == "ok" and c.say("loader version=9") == "ok"
        assert c.say("fetch k") == 'ok loaded 9 "v2" loads=2'
        assert c.say("option") == "ok"
        assert c.say("hold k 11 60000") == "ok"
        assert c.say("loader version=10 value=old") == "ok"
        assert [fetched(c.say("fetch k"))[1] for _ in range(3)] == ["loaded"] * 3, "version 10 is not stored"
        assert c.say("loader version=11 value=new") == "ok"
        assert fetched(c.say("fetch k"))[1] == "loaded" and fetched(c.say("fetch k"))[1:3] == ("fresh", 11)


def test_values_by_version(node):
    with Shell(at(node)) as c:
        assert c.say("getv k 3") == "miss"
        assert c.say("setv k 3 three") == "ok" and c.say("getv k 3") == 'ok "three"'
        assert c.say("getv k 4") == "miss"
        assert c.say("setv k 4 four") == "ok" and c.say("getv k 4") == 'ok "four"'
        assert c.say("setv k 0 x").startswith("bad-argument ")
        if has_commands(node):
            assert c.say("setv k 3 late") == "old-version"
        else:
            with node.wire() as w:
                assert w("GET", "k:v4") == b"four"


# ---- write-through -----------------------------------------------------------------------


def test_write_through(node):
    with Shell(at(node)) as c, Shell(at(node)) as other:
        assert c.say("loader value=w version=1") == "ok"
        assert c.say("write k") == "ok"
        assert other.say("fetch k") == 'ok fresh 1 "w1" loads=0'
        assert c.say("loader says=-3") == "ok"
        assert c.say("write k") == "cannot-connect the writer failed: cannot connect"
        assert other.say("loader value=old version=1") == "ok"
        assert fetched(other.say("fetch k"))[1] == "loaded", "certainly not committed: the lease is free"
        assert c.say("loader says=-4 version=2") == "ok"
        assert c.say("write k") == "timeout the writer failed: timeout; it may have committed"
        assert [fetched(other.say("fetch k"))[1] for _ in range(3)] == ["loaded"] * 3, "version 1 is kept out"
        assert other.say("loader value=new version=2") == "ok"
        assert fetched(other.say("fetch k"))[1] == "loaded" and fetched(other.say("fetch k"))[1:3] == ("fresh", 2)


def test_a_loader_cannot_store_what_it_read_before_a_write(node, tmp_path):
    over = tmp_path / "over"
    with Shell(at(node)) as a, Shell(at(node)) as b:
        assert a.say(f"loader until={over} value=old") == "ok"
        a.send("fetch k")
        with node.wire() as w:
            harness.wait_until(lambda: w("EXISTS", "k") == 1 or leased(w), what="the lease to be taken")
        assert b.say("loader value=new") == "ok" and b.say("write k") == "ok"
        over.touch()
        a.hear()
        assert fetched(b.say("fetch k"))[1:4] == ("fresh", 0, "new1")


def test_without_the_cache_nothing_is_written(start_larder):
    server = start_larder()
    with Shell(at(server), "topology=1") as c:
        server.stop()
        assert c.say("write k").startswith(("cannot-connect ", "unavailable ", "connection-closed "))
        assert c.say("loads") == "loads=0"
        assert c.say("option write_anyway=1") == "ok"
        assert c.say("write k") == "uncached"
        assert c.say("fetch k") == 'ok loaded 0 "v2" loads=2', "reads go to the source"
        assert c.say("loader delay=1000") == "ok"
        assert re.match("ok=50 miss=0 failed=0 ", c.say("rush 50 k"))
        assert int(c.say("loads")[6:]) < 20, "one at a time"
        server.start()


# ---- invalidation of many ----------------------------------------------------------------


def test_by_pattern(node):
    with Shell(at(node)) as c:
        for i in range(40):
            assert fetched(c.say(f"fetch user:{i}"))[1] == "loaded"
        assert fetched(c.say("fetch other"))[1] == "loaded"
        assert c.say("pattern user:1*") == "ok 11"
        assert fetched(c.say("fetch user:10"))[1] == "loaded"
        assert fetched(c.say("fetch user:2"))[1] == "fresh"
        assert c.say("pattern nothing*") == "ok 0"
    if not harness.is_redis(node.binary):
        with node.wire() as w:
            jobs = [as_dict(job) for job in w("CACHE.JOB", "LIST")[:2]]  # the latest first
        assert [(job["pattern"], job["matched"], job["state"]) for job in jobs] == [(b"nothing*", 0, "done"), (b"user:1*", 11, "done")]


ANSWER = {"state": b"$5\r\nfresh\r\n", "value": b"$1\r\nv\r\n", "ttl": b":900\r\n", "age": b":1\r\n", "version": b":7\r\n",
          "lease": b"_\r\n", "retry": b"_\r\n"}


def replying(resp, **changes):
    fields = {**ANSWER, **changes}
    head = b"%%%d\r\n" % len(fields) if resp == 3 else b"*%d\r\n" % (2 * len(fields))
    body = b"".join(b"$%d\r\n%s\r\n%s" % (len(name), name.encode(), value) for name, value in fields.items())
    return lambda argv: head + body if argv[0] == "CACHE.GET" else b"+OK\r\n"


@pytest.mark.parametrize("resp", [2, 3])
def test_the_wire_shape_of_cache_get(resp):
    """A map, flattened for RESP2; nil where a field is absent."""
    null = b"_\r\n" if resp == 3 else b"$-1\r\n"
    with Peer(replying(resp, lease=null, retry=null)) as peer, Shell(peer.address, f"topology=1 resp={resp}") as c:
        assert c.say("fetch k") == 'ok fresh 7 "v" loads=0'
        assert peer.requests[-1] == ["CACHE.GET", "k", "STALE", "LEASE", "10000", "EARLY", "1"]
        assert c.say("option min_version=9 beta=0 lock_ms=5000") == "ok"
        assert c.say("fetch k") == 'ok fresh 7 "v" loads=0'
        assert peer.requests[-1] == ["CACHE.GET", "k", "STALE", "LEASE", "5000", "MINVER", "9"]
    lease = replying(resp, state=b"$4\r\nmiss\r\n", value=null, version=null, lease=b"$3\r\nT-1\r\n", retry=null)
    with Peer(lease) as peer, Shell(peer.address, f"topology=1 resp={resp}") as c:
        assert c.say("option ttl_ms=1000 grace_ms=500 tag=red") == "ok" and c.say("loader version=3") == "ok"
        assert c.say("fetch k") == 'ok loaded 3 "v1" loads=1'
        request = next(argv for argv in peer.requests if argv[0] == "CACHE.SET")
        assert int(request.pop(12)) >= 0, "milliseconds that the load took"
        assert request == ["CACHE.SET", "k", "v1", "LEASE", "T-1", "PX", "1000", "GRACE", "500", "VERSION", "3", "COST", "TAGS",
                           "1", "red"]


def test_a_node_that_knows_neither_is_asked_again():
    """In a cluster that is being moved from one program to another, a slot's node may not know what its owner does."""
    knows = [False]

    def answer(argv):
        if argv[0] == "CACHE.GET" and knows[0]:
            return replying(3)(argv)
        if argv[0] in ("PTTL", "GET"):
            return b":-2\r\n" if argv[0] == "PTTL" else b"_\r\n"
        return b"-ERR unknown command '%s', with args beginning with: \r\n" % argv[0].encode()

    with Peer(answer) as peer, Shell(peer.address, "topology=1") as c:
        assert c.say("fetch k") == 'ok loaded 0 "v1" loads=1', "a cache that cannot be used is no error"
        assert c.say("fetch k") == 'ok loaded 0 "v2" loads=2'
        assert "unknown command" in c.say("inv k"), "but nothing is claimed"
        knows[0] = True
        assert c.say("fetch k") == 'ok fresh 7 "v" loads=2'


@pytest.mark.parametrize("odd", [b"+OK\r\n", b"*0\r\n", b"*2\r\n$5\r\nstate\r\n$5\r\nmoldy\r\n", b":1\r\n",
                                 b"*4\r\n$5\r\nstate\r\n$4\r\nmiss\r\n$5\r\nlease\r\n$200\r\n" + b"x" * 200 + b"\r\n"])
def test_an_odd_answer_is_an_error(odd):
    with Peer(lambda argv: odd) as peer, Shell(peer.address, "topology=1") as c:
        assert c.say("fetch k").startswith(f"protocol-error {peer.address}: CACHE.GET: ")


# ---- several nodes -----------------------------------------------------------------------


@pytest.fixture(params=[harness.REDIS_SERVER, harness.LARDER_SERVER], ids=["redis", "larder"])
def five(request):
    servers = [harness.Server(request.param, workers=1).start() for _ in range(5)]
    yield servers
    harness.end_all(servers)


def test_a_ring_of_five(five):
    servers = five
    with Shell(",".join(at(s) for s in servers)) as c:
        for i in range(100):
            assert fetched(c.say(f"fetch k:{i}"))[1] == "loaded"
        assert [fetched(c.say(f"fetch k:{i}"))[1] for i in range(100)] == ["fresh"] * 100
        held = []
        for s in servers:
            with s.wire() as w:
                held.append(w("DBSIZE"))
        assert sum(held) == 100 and min(held) > 0
        assert c.say("pattern k:*") == "ok 100"


def test_a_stand_in_of_a_ring(five):
    """The next node serves fetches while the owner is away; briefly, and never at the next outage."""
    def held(name):
        out = {}
        for s in five:
            if s.alive():
                with s.wire() as w:
                    out.update({key: w("PTTL", key) for key in w("KEYS", f"larder:standin:*:{name}")})
        return out

    with Shell(",".join(at(s) for s in five), "breaker_ms=100 standin_ttl_ms=300000") as c:
        assert c.say("option ttl_ms=-1") == "ok"
        name = c.say("where k").split()[1]
        owner = next(s for s in five if at(s) == name)
        assert c.say("fetch k") == 'ok loaded 0 "v1" loads=1'
        owner.stop()
        assert c.say("fetch k") == 'ok loaded 0 "v2" loads=2'
        assert c.say("fetch k") == 'ok fresh 0 "v2" loads=2'
        assert [0 < ms <= 300000 for ms in held("k").values()] == [True], "though it has no TTL"
        assert c.say("option ttl_ms=600000 grace_ms=6000000") == "ok"
        for key in (f"k{i}" for i in range(100)):
            if c.say(f"where {key}") == f"ok {at(owner)}":
                assert [fetched(c.say(f"fetch {key}"))[1] for _ in range(2)] == ["loaded", "fresh"]
                assert [0 < ms <= 300000 for ms in held(key).values()] == [True], "nor is its grace added"
                assert c.say(f"inv {key}").split()[0] in ("cannot-connect", "unavailable"), "its own node has not been told"
                assert c.say(f"write {key}").split()[0] in ("cannot-connect", "unavailable")
                break
        assert c.say("loader says=1") == "ok"
        assert fetched(c.say("fetch k"))[1:4] == ("fresh", 0, "v2")
        owner.start()
        assert c.say("loader says=0") == "ok" and c.say("option") == "ok"
        harness.wait_until(lambda: c.say("where k") and '"v2"' not in c.say("fetch k"), what="the owner to be trusted again")
        owner.stop()
        loads = int(c.say("loads")[6:])
        harness.wait_until(lambda: int(c.say("fetch k").rsplit("=")[1]) > loads, what="the stand-in to be asked")
        assert fetched(c.say("fetch k"))[3] == f"v{loads + 1}", "not what the first outage left there"
        owner.start()
    with Shell(",".join(at(s) for s in five), "failover=0 topology=2") as c:
        owner.stop()
        assert [fetched(c.say("fetch k"))[1] for _ in range(2)] == ["loaded"] * 2, "as policy says"
        owner.start()


def test_a_cluster_of_six(cluster):  # noqa: F811
    with Shell(cluster.addresses[0], "deadline_ms=60000") as a, Shell(cluster.addresses[3], "deadline_ms=60000") as b:
        for key in ("k", "{t}1", "a}b", "{}x", "}{"):
            assert fetched(a.say(f"fetch {key}"))[1] == "loaded"
            assert fetched(b.say(f"fetch {key}"))[1] == "fresh"
            assert b.say(f"inv {key}") == "ok"
            assert fetched(a.say(f"fetch {key}"))[1] == "loaded"
        for c in (a, b):
            assert c.say("loader delay=300") == "ok"
        before = sum(int(c.say("loads")[6:]) for c in (a, b))
        for c in (a, b):
            c.send("rush 500 cold")
        assert all(c.hear().startswith("ok=500 miss=0 failed=0 values=1 ") for c in (a, b))
        assert sum(int(c.say("loads")[6:]) for c in (a, b)) == before + 1
        assert b.say("pattern *") == "ok 6"


def test_fetches_while_a_slot_moves(cluster):  # noqa: F811
    """MIGRATING and IMPORTING give ASK, the end of the move gives MOVED; scripts follow both."""
    source, _ = cluster.owner_of("{move}1")
    target = next(i for i in range(6) if cluster.role(i) == "master" and i != source)
    with cluster.servers[source].wire() as s, cluster.servers[target].wire() as t, Shell(cluster.addresses[source]) as c:
        slot = s("CLUSTER", "KEYSLOT", "{move}1")
        source_id, target_id = s("CLUSTER", "MYID"), t("CLUSTER", "MYID")
        assert c.say("fetch {move}1") == 'ok loaded 0 "v1" loads=1'
        assert t("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id) == "OK"
        assert s("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id) == "OK"
        assert c.say("fetch {move}1") == 'ok fresh 0 "v1" loads=1'
        assert c.say("fetch {move}2") == 'ok loaded 0 "v2" loads=2'
        assert c.say("fetch {move}2") == 'ok fresh 0 "v2" loads=2'
        assert c.say("write {move}3") == "ok"
        assert c.say("inv {move}2") == "ok"
        assert s("MIGRATE", "127.0.0.1", cluster.servers[target].port, "", 0, 60000, "KEYS", "{move}1") == "OK"
        assert c.say("fetch {move}1") == 'ok fresh 0 "v1" loads=3'
        assert t("CLUSTER", "SETSLOT", slot, "NODE", target_id) == "OK"
        assert s("CLUSTER", "SETSLOT", slot, "NODE", target_id) == "OK"
        assert c.say("fetch {move}1") == 'ok fresh 0 "v1" loads=3'
        assert c.say("fetch {move}3") == 'ok fresh 0 "v3" loads=3'


def test_fetches_while_a_primary_hands_over_and_dies(cluster):  # noqa: F811
    primary, replica = cluster.owner_of("f:0")
    with Shell(cluster.addresses[0], "deadline_ms=5000 connect_timeout_ms=300 command_timeout_ms=500") as c:
        def fetch_all():
            """Every value is the key's own latest or one loaded just now; none is older than an invalidation."""
            for i in range(60):
                status, freshness, _, value, loads = fetched(c.say(f"fetch f:{i}"))
                assert status == "ok" and int(value[1:]) <= loads
                assert freshness == "loaded" or int(value[1:]) >= floor.get(i, 0), (i, value, floor)

        floor = {}
        fetch_all()
        with cluster.servers[replica].wire() as w:
            assert w("CLUSTER", "FAILOVER") == "OK"
        for i in range(60):
            if c.say(f"inv f:{i}") in ("ok", "miss"):  # acknowledged
                floor[i] = int(c.say("loads")[6:]) + 1
        fetch_all()
        harness.wait_until(lambda: cluster.role(replica) == "master", what="the replica to take over")
        harness.wait_until(cluster.settled, what="the cluster to settle")
        primary, replica = cluster.owner_of("f:0")
        cluster.servers[primary].process.kill()
        cluster.servers[primary].process.wait()
        fetch_all()
        harness.wait_until(lambda: cluster.role(replica) == "master", what="the replica to be promoted")
        harness.wait_until(lambda: c.say("fetch f:0") and " fresh " in c.say("fetch f:0"), what="the cache to be used again")
        cluster.servers[primary].start()
    harness.wait_until(cluster.settled, what="the cluster to settle")
