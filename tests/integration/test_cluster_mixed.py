"""Slots between a larder and a Redis node, in both directions, by redis-cli: strings and sets, with their deadlines."""

import pytest

import harness
from clusters import Cluster, address, ask, cli, larder, my_id, row_of

L, R = harness.LARDER_SERVER, harness.REDIS_SERVER
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def cluster():
    with Cluster.create([L, R, L]) as c:
        yield c


def fill(node, tag):
    with node.wire() as w:
        w("DEL", *(f"{{{tag}}}{name}" for name in ("s", "n", "long", "ints", "words")))
        replies = w.pipeline(("SET", f"{{{tag}}}s", b"\0\xff" * 50, "PX", HOUR_MS), ("SET", f"{{{tag}}}n", "-7"), ("SET", f"{{{tag}}}long", "x" * 100_000),
                             ("SADD", f"{{{tag}}}ints", 1, -5, 2**40), ("SADD", f"{{{tag}}}words", *(f"w{i}" for i in range(1000))),
                             ("PEXPIRE", f"{{{tag}}}words", HOUR_MS))  # fmt: skip
    assert replies == ["OK", "OK", "OK", 3, 1000, 1]


def check(node, tag):
    with node.wire() as w:
        assert w("MGET", f"{{{tag}}}s", f"{{{tag}}}n", f"{{{tag}}}long") == [b"\0\xff" * 50, b"-7", b"x" * 100_000]
        assert set(w("SMEMBERS", f"{{{tag}}}ints")) == {b"1", b"-5", b"%d" % 2**40}
        assert set(w("SMEMBERS", f"{{{tag}}}words")) == {b"w%d" % i for i in range(1000)}
        for name, until in (("s", HOUR_MS), ("words", HOUR_MS)):
            assert HOUR_MS / 2 < w("PTTL", f"{{{tag}}}{name}") <= until
        for name in ("n", "long", "ints"):
            assert w("PTTL", f"{{{tag}}}{name}") == -1


def tag_of(cluster, slot):
    """A tag of this slot, by asking: few slots are needed."""
    return next(t for t in map(str, range(200_000)) if key_slot(t) == slot)


def key_slot(text):
    from redis.crc import key_slot as of

    return of(text.encode())


@pytest.mark.parametrize("source, target", [(0, 1), (1, 2)], ids=["larder to redis", "redis to larder"])
def test_reshard(cluster, source, target):
    a, b = cluster[source], cluster[target]
    first = next(r[0] for r in sorted(ask(a, "CLUSTER", "SLOTS")) if r[2][1] == a.port)
    tags = [tag_of(cluster, first + i) for i in (0, 4, 9)]
    for tag in tags:
        fill(a, tag)
    out = cli("reshard", address(cluster[0]), "--cluster-from", my_id(a), "--cluster-to", my_id(b), "--cluster-slots", 10, "--cluster-yes")
    assert "[ERR]" not in out
    cluster.settle()
    for tag in tags:
        assert cluster.owner_of(f"{{{tag}}}s") is b
        check(b, tag)
        assert ask(a, "CLUSTER", "COUNTKEYSINSLOT", key_slot(tag)) == 0
    assert "[OK] All 16384 slots covered." in cli("check", address(a))


def test_rebalance(cluster):
    """The Redis node gets more slots than the others, then as many as they have: from both, and to both."""
    redis = cluster[1]
    keys = [f"r:{i}" for i in range(500)]
    for key in keys:
        with cluster.owner_of(key).wire() as w:
            assert w("SET", key, key) == "OK"
    had = row_of(cluster[0], redis).slot_count()
    for weight in (1.03, 1):
        out = cli("rebalance", address(cluster[0]), "--cluster-weight", f"{my_id(redis)}={weight}", "--cluster-threshold", 1)
        assert "[ERR]" not in out
        cluster.settle()
        has = row_of(cluster[0], redis).slot_count()
        assert has > had if weight > 1 else has in (5461, 5462)
        for key in keys:
            with cluster.owner_of(key).wire() as w:
                assert w("GET", key) == key.encode()


def test_fix_ends_a_migration_between_both(cluster):
    """Keys of one slot on both sides, each way: they end up together."""
    for a, b in ((cluster[0], cluster[1]), (cluster[1], cluster[0])):
        slot = max(r[1] for r in ask(a, "CLUSTER", "SLOTS") if r[2][1] == a.port)
        tag = tag_of(cluster, slot)
        fill(a, tag)
        assert ask(b, "CLUSTER", "SETSLOT", slot, "IMPORTING", my_id(a)) == "OK"
        assert ask(a, "CLUSTER", "SETSLOT", slot, "MIGRATING", my_id(b)) == "OK"
        assert ask(a, "MIGRATE", "127.0.0.1", b.port, "", 0, 60000, "KEYS", f"{{{tag}}}s", f"{{{tag}}}words") == "OK"
        cli("fix", address(a))
        cluster.settle()
        check(cluster.owner_of(f"{{{tag}}}s"), tag)
        assert "[OK] All 16384 slots covered." in cli("check", address(b))


def has_slots(c, node, n):
    """As a primary."""
    c.settle()
    row = row_of(c[0], node)
    assert "master" in row.flags and row.slot_count() == n


@pytest.mark.parametrize("members, binary", [([R] * 3, L), ([L] * 3, R), ([L, R, L], L), ([L, R, R], R)],
                         ids=["larder to redis", "redis to larder", "larder to both", "redis to both"])
def test_a_primary_joins(members, binary):
    """redis-cli copies functions first: FUNCTION DUMP of a member, FUNCTION LIST and RESTORE of who joins."""
    with Cluster.create(members) as c:
        c.put(200)
        new = c.add(binary)
        out = cli("add-node", address(new), address(c[0]))
        assert "FUNCTION RESTORE" in out and "[ERR]" not in out and "Failed" not in out, out
        has_slots(c, new, 0)
        for source, slots in ((c[1], 100), (c[2], 62)):
            out = cli("reshard", address(c[0]), "--cluster-from", my_id(source), "--cluster-to", my_id(new),
                      "--cluster-slots", slots, "--cluster-yes")
            assert "[ERR]" not in out
        has_slots(c, new, 162)
        c.check_keys(200)
        assert "[OK] All 16384 slots covered." in cli("check", address(new))


@pytest.mark.larder
def test_a_larder_joins_redis_nodes_by_its_tool():
    with Cluster.create([R] * 3) as c:
        c.put(200)
        new = c.add(L)
        larder("add", address(new), address(c[0]), "--yes")
        larder("rebalance", address(c[0]), "--weight", f"{address(new)}=0.03", "--yes")
        has_slots(c, new, 162)
        c.check_keys(200)


@pytest.mark.larder
def test_functions_cannot_come_along():
    """Whoever has libraries is told why a larder does not join by redis-cli."""
    with Cluster.create([R] * 3) as c:
        assert ask(c[0], "FUNCTION", "LOAD", "#!lua name=a\nredis.register_function('f', function() return 1 end)") == "a"
        new = c.add(L)
        out = cli("add-node", address(new), address(c[0]), check=False)
        assert "larder runs no functions yet" in out
        assert row_of(c[0], new) is None


def test_info_and_call(cluster):
    assert "in 3 masters." in cli("info", address(cluster[1]))
    assert cli("call", address(cluster[1]), "PING").count("PONG") == 3


def test_backup(cluster, tmp_path):
    """redis-cli asks each primary for a full copy; a Redis file each, and the shape of the cluster."""
    cli("backup", address(cluster[0]), tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names[0] == "nodes.json" and len(names) == 4
    assert all(p.read_bytes()[:5] == b"REDIS" for p in tmp_path.glob("*.rdb"))


def test_import(cluster):
    """What a node outside has comes to the owners of its slots."""
    for binary in (L, R):
        outside = harness.Server(binary).start()
        try:
            with outside.wire() as w:
                for i in range(100):
                    w("SET", f"{outside.port}:{i}", i, "PX", HOUR_MS)
            cli("import", address(cluster[0]), "--cluster-from", address(outside))
            for i in range(100):
                with cluster.owner_of(f"{outside.port}:{i}").wire() as w:
                    assert w("GET", f"{outside.port}:{i}") == b"%d" % i and w("PTTL", f"{outside.port}:{i}") > 0
            assert ask(outside, "DBSIZE") == 0
        finally:
            harness.end_all([outside])
