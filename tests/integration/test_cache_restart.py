"""Cache metadata in full copies and in files: what was held and purged stays so, and what is loaded is not fresh."""

import os
import shutil

import pytest
from cachekit import get, inspect
from harness import REDIS_SERVER, wait_until
from test_replica import follow, in_step, servers, single  # noqa: F401
from test_restart import SAVES, loaded, primary_is, start, syncs

pytestmark = [
    pytest.mark.larder,
    pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server"),
]

LONG = "600000"


def hold_and_purge(w):
    """A version held with and without an entry, tags purged, and one of everything that stays."""
    w("CACHE.SET", "held", "v", "VERSION", "5")
    w("CACHE.INVALIDATE", "held", "VERSION", "6", "HOLD", LONG)
    w("CACHE.INVALIDATE", "{held}missing", "VERSION", "6", "HOLD", LONG)
    w("CACHE.SET", "{held}dead", "v", "VERSION", "6")
    w("DEL", "{held}dead")
    for i in range(300):
        w("CACHE.PURGE", "TAG", f"other {i}")
    token = get(w, "late", "LEASE", LONG)["lease"]
    w("CACHE.PURGE", "TAG", "red")
    w("CACHE.PURGE", "TAG", "blue", "SOFT")
    w("CACHE.SET", "k", "v", "PX", LONG, "GRACE", "500000", "VERSION", "7", "COST", "30", "TAGS", "2", "red", "green")
    w("CACHE.SET", "graceless", "v", "PX", LONG)
    w("CACHE.SET", "for ever", "v", "TAGS", "1", "green")
    w("SET", "plain", "1")
    return token


def check_held(w):
    for key in ("held", "{held}missing", "{held}dead"):
        assert w("CACHE.SET", key, "old", "VERSION", "5") == "OLDVERSION", key
        assert w("CACHE.SET", key, "new", "VERSION", "6") == "OK", key
    assert w("CACHE.SET", "{held}another", "v", "VERSION", "1") == "OK"


def fill_late(w, token, tag="red"):
    """A load that began before the tag was purged ends after the copy has been made."""
    assert w("CACHE.SET", "late", "v", "LEASE", token, "PX", LONG, "TAGS", "1", tag) == "OK"


def test_a_full_copy_carries_what_is_held_and_purged(servers):  # noqa: F811
    p, r = servers(), servers()
    with p.wire() as a, r.wire() as b:
        token = hold_and_purge(a)
        follow(r, p.port)
        in_step(p.client(), r.client())
        fill_late(a, token)
        in_step(p.client(), r.client())
        b("REPLICAOF", "NO", "ONE")
        assert get(b, "late")["state"] == get(a, "late")["state"] == "miss"
        check_held(b)
        seen = inspect(b, "k")
        assert get(b, "k")["state"] == "fresh" and 0 < seen["grace"] <= 500000 and seen["version"] == 7


@pytest.mark.parametrize("tag", ["red", "blue"])
def test_a_second_copy_and_a_chain_carry_it_on(servers, tag):  # noqa: F811
    p, r, last = servers(), servers(), servers()
    with p.wire() as a, last.wire() as c:
        token = hold_and_purge(a)
        follow(r, p.port)
        in_step(p.client(), r.client())
        follow(last, r.port)
        in_step(p.client(), last.client())
        fill_late(a, token, tag)
        in_step(p.client(), last.client())
        c("REPLICAOF", "NO", "ONE")
        assert get(c, "late")["state"] == "miss"
        check_held(c)


def test_what_is_loaded_is_not_fresh(servers):  # noqa: F811
    p, r = start(servers, "larder"), servers()
    follow(r, p.port)
    in_step(p.client(), r.client())
    with p.wire() as a:
        hold_and_purge(a)
    in_step(p.client(), r.client())
    with r.wire() as b:
        assert get(b, "k")["state"] == "fresh"
    p.stop()
    p.start()
    loaded(p)
    in_step(p.client(), r.client())
    assert syncs(p) == (0, 1)
    with p.wire() as a, r.wire() as b:
        for w in (a, b):
            assert w("GET", "plain") == b"1" and w("GET", "k") is None
            for key in ("k", "graceless", "for ever"):
                assert get(w, key)["state"] == "miss"
                answer = get(w, key, "STALE")
                assert (answer["state"], answer["value"]) == ("stale", b"v"), key
            assert inspect(w, "k")["version"] == 7 and inspect(w, "k")["tags"] == 2
        assert a("CACHE.SET", "k", "older", "VERSION", "6") == "OLDVERSION"
        assert a("CACHE.SET", "k", "new", "VERSION", "7", "PX", LONG, "TAGS", "1", "red") == "OK"
        in_step(p.client(), r.client())
        assert get(a, "k")["state"] == get(b, "k")["state"] == "fresh"
        check_held(a)
        a("CACHE.PURGE", "TAG", "red")  # counts on from where it was
        assert get(a, "k")["state"] == "miss"


def test_a_replica_that_goes_on_is_as_fresh_as_its_primary(servers):  # noqa: F811
    p, r = start(servers, "larder"), start(servers, "larder")
    with p.wire() as a:
        token = hold_and_purge(a)
        follow(r, p.port)
        in_step(p.client(), r.client())
        r.stop()
        a("CACHE.PURGE", "TAG", "green", "SOFT")
        a("CACHE.SET", "meanwhile", "v", "PX", LONG)
        fill_late(a, token)
        r.options["replicaof"] = primary_is(p.port)
        r.start()
        in_step(p.client(), loaded(r))
        assert syncs(p) == (1, 1)
    with r.wire() as b:
        assert get(b, "meanwhile")["state"] == get(b, "graceless")["state"] == "fresh"
        assert get(b, "k", "STALE")["state"] == "stale"
        b("REPLICAOF", "NO", "ONE")
        assert get(b, "late")["state"] == "miss" and get(b, "graceless")["state"] == "fresh"
        check_held(b)


def test_a_replica_that_never_heard_its_primary_again_is_not_fresh(servers):  # noqa: F811
    p, r = start(servers, "larder"), start(servers, "larder")
    with p.wire() as a:
        hold_and_purge(a)
    follow(r, p.port)
    in_step(p.client(), r.client())
    r.stop()
    p.stop()
    r.options["replicaof"] = primary_is(p.port)
    r.start()
    loaded(r)
    with r.wire() as b:
        assert get(b, "k")["state"] == "fresh"  # as a replica whose link is down
        b("REPLICAOF", "NO", "ONE")
        assert get(b, "k", "STALE")["state"] == "stale" and get(b, "k")["state"] == "miss"
        check_held(b)


def test_reload(servers):  # noqa: F811
    p = servers(enable_debug_command="yes")
    with p.wire() as w:
        hold_and_purge(w)
        assert w("DEBUG", "RELOAD") == "OK"
        assert get(w, "k")["state"] == "fresh"
        assert w("DEBUG", "RELOAD", "NOSAVE") == "OK"
        assert get(w, "k", "STALE")["state"] == "stale"
        check_held(w)


def test_redis_reads_such_files_and_copies(servers):  # noqa: F811
    p, r = start(servers, "larder"), servers(REDIS_SERVER)
    with p.wire() as a:
        hold_and_purge(a)
    follow(r, p.port)
    in_step(p.client(), r.client())
    heir = servers(REDIS_SERVER, **SAVES)
    p.stop()
    heir.kill(9)
    shutil.copy(os.path.join(p.dir, "dump.rdb"), heir.dir)
    heir.start()
    wait_until(lambda: heir.client().info("persistence")["loading"] == 0)
    for c in (r.client(), heir.client()):
        assert sorted(c.keys()) == [b"for ever", b"graceless", b"k", b"plain"]
        assert 0 < c.pttl("k") <= 600000 and c.pttl("for ever") == -1
