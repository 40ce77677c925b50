"""OBJECT IDLETIME and FREQ: kept when the store notes accesses (docs/ROADMAP.md, the eviction policies)."""

import time

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
