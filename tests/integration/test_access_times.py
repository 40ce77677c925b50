"""OBJECT IDLETIME and FREQ: kept when the store notes accesses (docs/ROADMAP.md, the eviction policies)."""

import time

import pytest
from harness import wait_until


def test_object_freq_under_lfu(r, w):
    try:
        r.config_set("maxmemory-policy", "allkeys-lfu")
        r.set("k", "v")
        before = w("OBJECT", "FREQ", "k")
        for _ in range(500):
            r.get("k")
        assert w("OBJECT", "FREQ", "k") > before
        assert w("OBJECT", "IDLETIME", "k").startswith("ERR An LFU maxmemory policy is selected")
    finally:
        r.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("policy", ["noeviction", *[f"{keys}-{kind}" for keys in ("allkeys", "volatile") for kind in ("lru", "lfu", "random")], "volatile-ttl"])
def test_which_of_them_answers(larder, r, w, policy):
    answers_by_policy(r, w, policy)


@pytest.mark.larder
@pytest.mark.parametrize("policy", ["allkeys-auto", "volatile-auto"])
def test_which_of_them_answers_under_auto(r, w, policy):
    answers_by_policy(r, w, policy)


def answers_by_policy(r, w, policy):
    later = " Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
    no_freq = "ERR An LFU maxmemory policy is not selected, access frequency not tracked." + later
    no_idletime = "ERR An LFU maxmemory policy is selected, idle time not tracked." + later
    lfu = policy.endswith("lfu")
    try:
        r.config_set("maxmemory-policy", policy)
        r.set("other", "v")
        dump = r.dump("other")
        r.set("k", "v")
        r.sadd("s", "a")
        for key in ("k", "s"):
            assert w("OBJECT", "FREQ", key) == (5 if lfu else no_freq)
            assert w("OBJECT", "IDLETIME", key) == (no_idletime if lfu else 0)
        assert (w("OBJECT", "FREQ", "none"), w("OBJECT", "IDLETIME", "none")) == (None, None)
        assert w("RESTORE", "f", "0", dump, "FREQ", "100") == "OK" and w("RESTORE", "i", "0", dump, "IDLETIME", "100") == "OK"
        assert w("OBJECT", "FREQ", "f") == (100 if lfu else no_freq)
        assert w("OBJECT", "IDLETIME", "i") in ([no_idletime] if lfu else [100, 101])
    finally:
        r.config_set("maxmemory-policy", "noeviction")


@pytest.mark.larder
def test_policies_do_not_misread_each_others_clocks(r, w):
    """What LRU has noted is no count to LFU."""
    try:
        r.config_set("maxmemory-policy", "allkeys-lru")
        for i in range(100):
            w("SET", f"k{i}", "v")
            time.sleep(0.005)
        r.config_set("maxmemory-policy", "allkeys-lfu")
        assert [w("OBJECT", "FREQ", f"k{i}") for i in range(100)] == [5] * 100
    finally:
        r.config_set("maxmemory-policy", "noeviction")


def test_idletime_counts_seconds_and_touch_resets_it(r, w):
    r.set("k", "v")
    wait_until(lambda: w("OBJECT", "IDLETIME", "k") >= 2, what="idleness")
    is_idle_since_a_touch(w)


def is_idle_since_a_touch(w):
    """By no more than what has passed here since before it, in seconds of which one may just have begun."""
    before = time.monotonic()
    w("TOUCH", "k")
    idle = w("OBJECT", "IDLETIME", "k")
    assert idle <= time.monotonic() - before + 1


def test_no_touch_leaves_the_idle_time(larder, r, w):
    r.set("k", "v")
    w("CLIENT", "NO-TOUCH", "ON")
    wait_until(lambda: r.object("idletime", "k") >= 2, what="idleness")
    w("GET", "k")
    assert r.object("idletime", "k") >= 2
    is_idle_since_a_touch(w)
