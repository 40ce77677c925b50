"""OBJECT IDLETIME and FREQ: kept when the store notes accesses (docs/ROADMAP.md, the eviction policies)."""

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
    wait_until(lambda: w("OBJECT", "IDLETIME", "k") >= 1, seconds=5, what="a second of idleness")
    r.touch("k")
    assert w("OBJECT", "IDLETIME", "k") <= 1


def test_no_touch_leaves_the_idle_time(larder, r, w):
    r.set("k", "v")
    w("CLIENT", "NO-TOUCH", "ON")
    wait_until(lambda: r.object("idletime", "k") >= 2, what="idleness", seconds=4)
    w("GET", "k")
    assert r.object("idletime", "k") >= 1
    w("TOUCH", "k")
    assert r.object("idletime", "k") <= 1
