"""Cache metadata in full copies and in files: what was held and purged stays so, and what is loaded is not fresh."""

import os
import shutil

import pytest
from cachekit import as_dict, get, inspect
from harness import REDIS_SERVER, wait_until
from test_replica import acknowledged, follow, in_step, servers, single  # noqa: F401
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


HIDDEN = ("soft", "over", "purged", "large")


def hide(w):
    """Entries that plain commands do not see: stale in every way, negative, and dead ones."""
    w("CACHE.SET", "soft", "v", "PX", LONG, "GRACE", "500000", "VERSION", "3", "COST", "30")
    w("CACHE.SET", "over", "v", "PX", "1", "GRACE", "500000")
    w("CACHE.SET", "purged", "v", "PX", LONG, "GRACE", "500000", "TAGS", "1", "pink")
    w("CACHE.SET", "dead", "buried", "PX", LONG, "GRACE", "500000", "TAGS", "1", "brown")
    w("CACHE.SET", "large", b"v" * 3_000_000, "PX", LONG, "GRACE", "500000")
    w("CACHE.SET", "none", "", "NEGATIVE", "PX", LONG, "VERSION", "4")
    w("CACHE.INVALIDATE", "soft", "SOFT")
    w("CACHE.INVALIDATE", "large", "SOFT")
    w("CACHE.PURGE", "TAG", "pink", "SOFT")
    w("CACHE.PURGE", "TAG", "brown")
    w("SELECT", "3")
    w("CACHE.SET", "elsewhere", "v", "PX", "1", "GRACE", "500000")
    wait_until(lambda: get(w, "elsewhere", "STALE")["state"] == "stale", what="the end of what is fresh")
    w("SELECT", "0")
    w("SET", "plain", "1")


def check_hidden(w, none="negative"):
    for key in HIDDEN:
        answer = get(w, key, "STALE")
        assert answer["state"] == "stale" and answer["value"][:1] == b"v", key
        assert get(w, key)["state"] == "miss" and w("GET", key) is None, key
        assert 0 < inspect(w, key)["grace"] <= 500000, key
    assert len(get(w, "large", "STALE")["value"]) == 3_000_000
    assert get(w, "none")["state"] == none and w("EXISTS", "none") == 0
    assert as_dict(w("CACHE.STATS"))["negative-bytes"] > 0
    assert get(w, "dead", "STALE")["state"] == "miss"
    assert inspect(w, "soft")["version"] == 3
    w("SELECT", "3")
    assert get(w, "elsewhere", "STALE")["state"] == "stale"
    w("SELECT", "0")
    assert w("KEYS", "*") == [b"plain"]


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
    acknowledged(p.client())
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


def test_copies_and_chains_carry_what_plain_commands_do_not_see(servers):  # noqa: F811
    p, r, last = servers(), servers(), servers()
    with p.wire() as a, r.wire() as b, last.wire() as c:
        hide(a)
        follow(r, p.port)
        in_step(p.client(), r.client())
        follow(last, r.port)
        in_step(p.client(), last.client())
        for w in (a, b, c):
            check_hidden(w)
        c("REPLICAOF", "NO", "ONE")
        assert c("CACHE.SET", "soft", "older", "VERSION", "2") == "OLDVERSION"
        check_hidden(c)


def test_the_stream_carries_what_plain_commands_do_not_see(servers):  # noqa: F811
    p, r, other = servers(), servers(), servers(REDIS_SERVER)
    with p.wire() as a, r.wire() as b:
        for replica in (r, other):
            follow(replica, p.port)
            in_step(p.client(), replica.client())
        hide(a)
        for replica in (r, other):
            in_step(p.client(), replica.client())
        check_hidden(a)
        check_hidden(b)
        assert set(other.client().keys()) - {b"dead", b"purged"} == {b"plain"}  # it knows no tags
        b("REPLICAOF", "NO", "ONE")
        check_hidden(b)
        assert b("SET", "none", "1") == "OK" and get(b, "none")["state"] == "fresh"
        assert b("DEL", "soft") == 0 and get(b, "soft", "STALE")["state"] == "miss"
        for key in ("over", "purged", "large", "none", "plain"):
            b("CACHE.INVALIDATE", key)
        assert as_dict(b("CACHE.STATS"))["negative-bytes"] == 0


def test_files_keep_what_plain_commands_do_not_see(servers):  # noqa: F811
    p, r = start(servers, "larder"), servers()
    with p.wire() as a:
        hide(a)
    follow(r, p.port)
    in_step(p.client(), r.client())
    with r.wire() as b:
        check_hidden(b)
    # Who has not acknowledged its copy yet is not waited for at the end, and may miss the end of the stream.
    acknowledged(p.client())
    p.stop()
    with open(os.path.join(p.dir, "dump.rdb"), "rb") as f:
        assert b"buried" not in f.read()
    p.start()
    loaded(p)
    in_step(p.client(), r.client())
    assert syncs(p) == (0, 1)
    with p.wire() as a, r.wire() as b:
        check_hidden(a, none="miss")  # who knows what has been added meanwhile
        check_hidden(b, none="miss")


def test_what_became_stale_after_the_copy_keeps_its_grace(servers):  # noqa: F811
    p = start(servers, "larder")
    with p.wire() as w:
        for ms in (2000, 10000, 50000):  # fresh when they are saved, on a slow machine too
            w("CACHE.SET", "k", "v", "PX", ms, "GRACE", "500000")
            w("CACHE.SET", "graceless", "v", "PX", ms)
            assert w("SAVE") == "OK"
            if w("KEYS", "*") != []:
                break
        wait_until(lambda: get(w, "k", "STALE")["state"] == "stale", what="the end of what is fresh")
    p.kill(9)
    p.start()
    loaded(p)
    with p.wire() as w:
        assert get(w, "k", "STALE")["state"] == "stale" and 0 < inspect(w, "k")["grace"] <= 500000
        assert get(w, "graceless", "STALE")["state"] == "miss"


def test_reload_keeps_what_plain_commands_do_not_see(servers):  # noqa: F811
    p = servers(enable_debug_command="yes")
    with p.wire() as w:
        hide(w)
        assert w("DEBUG", "RELOAD") == "OK"
        check_hidden(w)


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
        hide(a)
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
