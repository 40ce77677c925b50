"""CACHE.PURGE MATCH and CACHE.JOB: what matches is nothing any more, at once, on every node, in copies and after a restart."""

import signal

import clusters
import harness
import pytest
from cachekit import as_dict, get
from test_purge import SHORT_MS, TIMEOUT_MS, key_at, pair, purge, stop  # noqa: F401
from test_replica import follow, in_step, servers, single  # noqa: F401

pytestmark = pytest.mark.larder
LONG = "600000"


def match(client, glob, *options):
    answer = purge(client, "MATCH", glob, *options)
    assert list(answer) == ["job", "shards", "acked", "pending", "unsupported"]
    return answer.pop("job").decode(), answer


def job(client, number):
    answer = as_dict(client("CACHE.JOB", "STATUS", number))
    assert answer["job"].decode() == number
    return answer


def wait_for(client, number, state="done"):
    harness.wait_until(lambda: job(client, number)["state"] == state, what=f"the job to be {state}")
    return job(client, number)


def fill(client, n, *stems):
    client.pipeline(*[("SET", f"{stem}:{i}", "x" * 20) for stem in stems for i in range(n)])


ALONE = {"shards": 1, "acked": 1, "pending": 0, "unsupported": 0}


# ---- one node ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [(), ("RATE", "1")])  # swept at once; as good as never
def test_nothing_that_matches_is_there_any_more(larder, rate):
    with larder.wire() as c:
        fill(c, 200, "user", "other")
        c("CACHE.SET", "user:c", "v", "PX", LONG, "GRACE", LONG)
        c("CACHE.SET", "user:neg", "", "NEGATIVE", "PX", LONG)
        c("SADD", "user:set", "a", "b")
        number, answer = match(c, "user:*", *rate)
        assert answer == ALONE
        assert c("GET", "user:1") is None and c("EXISTS", "user:2", "user:set") == 0
        assert c("MGET", "user:3", "other:3") == [None, b"x" * 20]
        assert c("TTL", "user:4") == -2 and c("TYPE", "user:set") == "none" and c("SMEMBERS", "user:set") == []
        assert c("KEYS", "user:*") == [] and len(c("KEYS", "*")) == 200
        assert get(c, "user:c", "STALE")["state"] == "miss" and get(c, "user:neg")["state"] == "miss"
        for i in range(20):
            assert not c("RANDOMKEY").startswith(b"user:")
        assert c("EXPIRE", "user:5", "100") == 0 and c("DEL", "user:6") == 0 and c("RENAME", "user:7", "x").startswith("ERR no such key")
        # What is written from now on is not meant.
        assert c("SET", "user:8", "new") == "OK" and c("APPEND", "user:9", "ab") == 2 and c("INCR", "user:10") == 1
        assert c("SADD", "user:set", "c") == 1 and c("SETRANGE", "user:11", "2", "z") == 3
        assert c("CACHE.SET", "user:c", "w", "PX", LONG) == "OK" and get(c, "user:c")["state"] == "fresh"
        assert sorted(c("KEYS", "user:*")) == [b"user:10", b"user:11", b"user:8", b"user:9", b"user:c", b"user:set"]
        if not rate:
            assert wait_for(c, number)["matched"] == 203
            assert c("DBSIZE") == 206
        assert c("GET", "user:8") == b"new" and c("SMEMBERS", "user:set") == [b"c"]


def test_soft_keeps_the_grace(larder):
    with larder.wire() as c:
        c("CACHE.SET", "page:1", "v", "PX", LONG, "GRACE", LONG)
        c("CACHE.SET", "page:2", "", "NEGATIVE", "PX", LONG)
        c("SET", "page:3", "plain")
        number, _ = match(c, "page:*", "SOFT", "RATE", "1")
        for _ in range(2):  # before and behind the sweep
            assert c("GET", "page:1") is None and get(c, "page:1")["state"] == "miss"
            assert get(c, "page:1", "STALE")["value"] == b"v"
            assert get(c, "page:2")["state"] == "miss" and c("GET", "page:3") is None
            wait_for(c, match(c, "page:*", "SOFT")[0])
        assert job(c, number)["soft"] == 1


def test_a_sweep_takes_no_lease_away(larder):
    with larder.wire() as c:
        c("CACHE.SET", "page:1", "v", "PX", LONG, "GRACE", LONG)
        number, _ = match(c, "page:*", "SOFT", "RATE", "1")
        token = get(c, "page:1", "STALE", "LEASE", LONG)["lease"]
        wait_for(c, number)
        assert c("CACHE.SET", "page:1", "new", "LEASE", token) == "OK"


def test_a_load_that_began_before_is_refused(larder):
    with larder.wire() as c, larder.wire() as other:
        token = get(c, "user:1", "LEASE", LONG)["lease"]
        elsewhere = get(c, "other:1", "LEASE", LONG)["lease"]
        match(c, "user:*")
        assert c("CACHE.SET", "user:1", "old", "LEASE", token) == "LEASELOST"
        assert c("CACHE.SET", "other:1", "v", "LEASE", elsewhere) == "OK"
        token = get(c, "user:2", "LEASE", LONG)["lease"]
        number, _ = match(c, "user:*")
        wait_for(c, number)  # nobody remembers the pattern then, but the lease is void
        assert c("CACHE.SET", "user:2", "old", "LEASE", token) == "LEASELOST"
        token = get(c, "user:3", "LEASE", LONG)["lease"]
        match(c, "user:*")
        fresh = get(other, "user:3", "LEASE", LONG)["lease"]  # somebody else may load at once
        assert fresh is not None
        assert c("CACHE.SET", "user:3", "old", "LEASE", token) == "LEASELOST"
        assert other("CACHE.SET", "user:3", "new", "LEASE", fresh) == "OK"


def test_dryrun_counts_and_touches_nothing(larder):
    with larder.wire() as c:
        c("FLUSHALL")
        fill(c, 500, "user", "other")
        number, answer = match(c, "user:*", "DRYRUN")
        assert answer == ALONE
        seen = wait_for(c, number)
        assert seen["matched"] == 500 and seen["kind"] == "dryrun"
        assert c("DBSIZE") == 1000 and c("GET", "user:1") is not None
        slow, _ = match(c, "*", "DRYRUN", "RATE", "1")
        assert job(c, slow)["state"] == "running"
        assert c("CACHE.JOB", "CANCEL", slow) == "OK"
        wait_for(c, slow, "cancelled")
        assert c("CACHE.JOB", "CANCEL", slow).startswith("ERR this job is cancelled already")
        listed = [as_dict(x)["job"].decode() for x in c("CACHE.JOB", "LIST")]  # the warming of another test, if any, comes first
        assert [x for x in listed if ":w" not in x][:2] == [slow, number]


def test_only_the_selected_database(pair):  # noqa: F811
    _, _, primary, replica = pair
    for db in ("1", "2", "0"):
        primary("SELECT", db)
        fill(primary, 20, "user")
    primary("SELECT", "2")
    number, _ = match(primary, "user:*", "DRYRUN")
    assert wait_for(primary, number)["matched"] == 20
    number, answer = match(primary, "user:*", "RATE", "1")
    assert answer == ALONE
    for client in (primary, replica):
        for db, want in (("2", 0), ("1", 1), ("0", 1)):
            client("SELECT", db)
            assert client("EXISTS", "user:7") == want


def test_a_purge_cannot_be_cancelled(larder):
    with larder.wire() as c:
        fill(c, 10, "user")
        number, _ = match(c, "user:*", "RATE", "1")
        assert "DRYRUN" in c("CACHE.JOB", "CANCEL", number)
        assert c("GET", "user:1") is None


def test_a_watched_key_that_is_purged_fails_the_exec(larder):
    with larder.wire() as c, larder.wire() as other:
        for how in (("MATCH", "acc*"), ("TAG", "red")):
            c("CACHE.SET", "account", "1", "PX", LONG, "TAGS", "1", "red")
            c("WATCH", "account", "absent")
            other("CACHE.PURGE", *how)
            c("MULTI")
            c("SET", "account", "2")
            assert c("EXEC") is None, how
        c("SET", "account", "1")
        c("WATCH", "account", "absent")
        other("CACHE.PURGE", "MATCH", "absent")
        c("MULTI")
        c("SET", "account", "2")
        assert c("EXEC") == ["OK"]


@pytest.mark.parametrize(
    "words, part",
    [
        (("MATCH",), "wrong number"),
        (("MATCH", ""), "1 to 1024 bytes"),
        (("MATCH", "x" * 1025), "1 to 1024 bytes"),
        (("MATCH", "a", "b"), "'b' is no option of MATCH; it takes SOFT, DRYRUN and RATE"),
        (("MATCH", "a", "SOFT", "SOFT"), "SOFT is given twice"),
        (("MATCH", "a", "DRYRUN", "SOFT", "DRYRUN"), "DRYRUN is given twice"),
        (("MATCH", "a", "RATE", "-1"), "RATE takes"),
        (("MATCH", "a", "RATE"), "RATE takes"),
        (("MATCH", "a", "RATE", "0"), "RATE takes"),
        (("MATCH", "a", "RATE", "2147483648"), "RATE takes"),
        (("MATCH", "a", "RATE", "1", "RATE", "1"), "RATE is given twice"),
        (("HERE", "id", "MATCH"), "TAG or MATCH"),
    ],
)
def test_bad_requests(larder, words, part):
    with larder.wire() as c:
        reply = c("CACHE.PURGE", *words)
        assert reply.startswith("ERR ") and part in reply


def test_bad_jobs_and_transactions(larder):
    with larder.wire() as c:
        assert "takes LIST" in c("CACHE.JOB", "SHOW")
        assert "no such job" in c("CACHE.JOB", "STATUS", "1")
        assert "takes LIST" in c("CACHE.JOB", "LIST", "1")
        c("SET", "k", "v")
        c("MULTI")
        c("CACHE.PURGE", "MATCH", "k")
        assert "transaction" in c("EXEC")[0] and c("GET", "k") == b"v"


def test_too_many_at_once(larder):
    with larder.wire() as c:
        fill(c, 200, "k")
        jobs = [c("CACHE.PURGE", "MATCH", f"k:{i}", "RATE", "1") for i in range(66)]
        refused = [r for r in jobs if isinstance(r, str)]
        for r in refused:
            assert "already" in r
        for i in range(66):
            assert (c("GET", f"k:{i}") is None) == (not isinstance(jobs[i], str))


# ---- replicas, copies, restarts -------------------------------------------------------------------------------


def test_replicas_have_it_when_it_is_acknowledged(pair):  # noqa: F811
    p, r, primary, replica = pair
    for i in range(5):
        fill(primary, 50, "user", "other")
        number, answer = match(primary, "user:*", *(("RATE", "1") if i % 2 else ()))
        assert answer == ALONE
        assert replica("GET", "user:1") is None, f"round {i}: acknowledged, yet not there"
        assert replica("EXISTS", "other:1") == 1
    # What the primary writes afterwards arrives, and stays when the replica is promoted in the middle.
    primary("SET", "user:1", "new")
    primary("APPEND", "user:2", "ab")
    in_step(p.client(), r.client())
    replica("REPLICAOF", "NO", "ONE")
    assert replica("GET", "user:1") == b"new" and replica("GET", "user:2") == b"ab" and replica("GET", "user:3") is None
    harness.wait_until(lambda: replica("DBSIZE") == 52, what="the promoted node's sweep")


def test_a_silent_replica_leaves_it_pending(pair):  # noqa: F811
    _, r, primary, replica = pair
    fill(primary, 10, "user")
    assert primary("WAIT", "1", "60000") == 1
    primary("CONFIG", "SET", "cache-purge-timeout", SHORT_MS)
    stop(r)
    try:
        _, answer = match(primary, "user:*")
        assert answer == {"shards": 1, "acked": 0, "pending": 1, "unsupported": 0}
        assert primary("GET", "user:1") is None
    finally:
        r.process.send_signal(signal.SIGCONT)
    harness.wait_until(lambda: replica("GET", "user:1") is None, what="the purge at the replica")


def test_a_redis_replica_gets_the_deletions(servers):  # noqa: F811
    p = servers()
    other = servers(binary=harness.REDIS_SERVER) if not harness.is_redis(harness.LARDER_SERVER) else servers()
    follow(other, p.port)
    in_step(p.client(), other.client())
    with p.wire() as c, other.wire() as w:
        fill(c, 100, "user", "other")
        match(c, "user:*")
        harness.wait_until(lambda: w("DBSIZE") == 100, what="the deletions")
        assert w("GET", "user:1") is None and w("GET", "other:1") is not None


@pytest.mark.parametrize("soft", [(), ("SOFT",)])
def test_a_copy_made_meanwhile_has_nothing_of_it(servers, soft):  # noqa: F811
    p, r = servers(), servers()
    with p.wire() as c, r.wire() as w:
        fill(c, 100, "user", "other")
        c("CACHE.SET", "user:c", "v", "PX", LONG, "GRACE", LONG)
        match(c, "user:*", "RATE", "1", *soft)
        follow(r, p.port)
        in_step(p.client(), r.client())
        assert w("GET", "user:99") is None and w("GET", "other:99") is not None
        w("REPLICAOF", "NO", "ONE")
        assert w("GET", "user:99") is None and get(w, "user:c")["state"] == "miss"


def test_a_restarted_node_serves_nothing_of_it(servers):  # noqa: F811
    s = servers()
    with s.wire() as c:
        fill(c, 100, "user", "other")
        match(c, "user:*", "RATE", "1")
        c("SET", "user:0", "new")
        assert c("SAVE") == "OK"
    s.kill(signal.SIGKILL)
    s.start()
    with s.wire() as c:
        harness.wait_until(lambda: isinstance(c("KEYS", "*"), list), what="the node to have loaded")
        assert sorted(c("KEYS", "*")) == sorted([b"user:0"] + [b"other:%d" % i for i in range(100)])


def test_a_purge_that_is_asked_for_again_bans_once(larder):
    with larder.wire() as c:
        fill(c, 3, "user")
        for word in ("x", "y"):
            answer = purge(c, "HERE", "me:m1", "MATCH", "user:*")
            assert answer["acked"] == 1 and list(answer)[4:] == ["swept", "matched"]
            c("SET", "user:1", word)
        assert c("GET", "user:1") == b"y"
        harness.wait_until(lambda: purge(c, "HERE", "me:m1", "MATCH", "user:*")["swept"] == 1, what="the sweep")
        assert c("GET", "user:1") == b"y"


def test_who_was_sent_keys_meanwhile_bans_again(larder):
    """Once all nodes have a ban, each that was sent keys since its own bans once more, and only then."""
    with larder.wire() as c:
        fill(c, 3, "user")
        dump = c("DUMP", "user:1")
        here, again = ("HERE", "me:again", "MATCH", "user:*"), ("AGAIN", "me:again", "MATCH", "user:*")

        def arrives(key):
            harness.wait_until(lambda: c("RESTORE-ASKING", key, 0, dump) == "OK" and c("EXISTS", key) == 1, what="the ban to be over")

        assert purge(c, *here)["acked"] == 1
        c("SET", "user:new", "v")
        assert purge(c, *again)["acked"] == 1 and c("GET", "user:new") == b"v", "nothing has come from elsewhere"
        assert purge(c, *here)["acked"] == 1
        arrives("user:late")
        assert purge(c, *again)["acked"] == 1
        assert c("EXISTS", "user:late", "user:new") == 0
        arrives("user:later")
        assert purge(c, *again)["acked"] == 1 and c("EXISTS", "user:later") == 1, "whoever sent that one has banned it"


# ---- a cluster ---------------------------------------------------------------------------------------------------


def test_a_cluster_with_replicas_and_one_primary_away():
    extra = {"cluster-node-timeout": 60000, "cache-purge-timeout": TIMEOUT_MS}
    with clusters.Cluster.create([harness.LARDER_SERVER] * 6, replicas=1, extra=extra) as cluster:
        primaries = cluster.primaries()
        keys = {s: [key_at(cluster, s, stem) for stem in ("a", "b", "z")] for s in primaries}
        for s in primaries:
            with s.wire() as w:
                for key in keys[s]:
                    assert w("SET", key, "v") == "OK"
        with primaries[1].wire() as w:
            number, answer = match(w, "a:*", "DRYRUN")
            assert answer == {"shards": 3, "acked": 3, "pending": 0, "unsupported": 0}
            assert wait_for(w, number)["matched"] == 3
            number, answer = match(w, "a:*")
            assert answer == {"shards": 3, "acked": 3, "pending": 0, "unsupported": 0}
            for s in primaries:
                with s.wire() as there, cluster.replica_of(s).wire() as replica:
                    replica("READONLY")
                    assert there("GET", keys[s][0]) is None and replica("GET", keys[s][0]) is None
                    assert there("GET", keys[s][2]) == b"v" and replica("GET", keys[s][2]) == b"v"
            assert wait_for(w, number)["matched"] == 3
        away, asked = primaries[2], primaries[0]
        with asked.wire() as w:
            w("CONFIG", "SET", "cache-purge-timeout", SHORT_MS)
            stop(away)
            try:
                number, answer = match(w, "b:*")
                assert answer == {"shards": 3, "acked": 2, "pending": 1, "unsupported": 0}
                assert w("GET", keys[asked][1]) is None and job(w, number)["pending"] == 1
                late = keys[primaries[1]][1]  # as if it came from the one that has not banned it
                with primaries[1].wire() as there:
                    dump = there("DUMP", keys[primaries[1]][2])
                    harness.wait_until(lambda: there("RESTORE-ASKING", late, 0, dump) == "OK" and there("EXISTS", late) == 1,
                                       what="the ban to be over")  # fmt: skip
            finally:
                away.process.send_signal(signal.SIGCONT)
            done = wait_for(w, number)
            assert (done["acked"], done["pending"]) == (3, 0) and done["matched"] >= 3
            assert clusters.ask(away, "GET", keys[away][1]) is None
            assert clusters.ask(primaries[1], "GET", late) is None
