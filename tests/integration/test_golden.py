"""Files that Redis 7.2 and Valkey 8 have written (golden/README.md), and what they say about how keys were used."""

import importlib.util
import os
import shutil

import pytest

from harness import REDIS_SERVER, Server, wait_until
from test_restart import loaded

pytestmark = pytest.mark.larder

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
spec = importlib.util.spec_from_file_location("golden_make", os.path.join(GOLDEN, "make.py"))
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)

WRITERS = ["redis-7.2", "valkey-8"]


@pytest.fixture
def with_file():
    """A server that starts with that file."""
    started = []

    def begin(name, binary=None, **options):
        options = {k.replace("_", "-"): v for k, v in options.items()}
        s = Server(binary, options) if binary else Server(options=options)
        shutil.copy(name if os.path.isabs(name) else os.path.join(GOLDEN, name + ".rdb"), os.path.join(s.dir, "dump.rdb"))
        started.append(s)
        return s

    yield begin
    trouble = [t for t in (s.close() for s in started) if t]
    assert not trouble, "\n".join(trouble)


def single(server):
    loaded(server)
    return server.client(single_connection_client=True)


def check(c):
    for (db, key), value in golden.STRINGS.items():
        c.select(db)
        assert c.get(key) == value, key
        assert c.pexpiretime(key) == golden.DEADLINES.get((db, key), -1)
    for (db, key), members in golden.SETS.items():
        c.select(db)
        assert c.smembers(key) == members, key
        assert c.pexpiretime(key) == golden.DEADLINES.get((db, key), -1)
    for db in (0, 9):
        c.select(db)
        assert c.dbsize() == sum(at == db for at, _ in [*golden.STRINGS, *golden.SETS])


@pytest.mark.parametrize("writer", WRITERS)
def test_every_kind_is_loaded(with_file, writer):
    s = with_file(writer).start()
    check(single(s))
    w = s.wire()
    assert w("OBJECT", "ENCODING", "few") == b"listpack" and w("OBJECT", "ENCODING", "ints 64") == b"intset"
    w("SAVE")
    s.kill(9)
    s.start()
    check(single(s))  # and from the file that this node has written


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", list(golden.STRANGERS))
def test_what_is_not_known_is_refused_by_name(with_file, writer, kind):
    s = with_file(f"{writer}-{kind}")
    s.expect_alarm = True
    s.spawn()
    assert s.wait() == 1
    log = s.log()
    if kind == "function":
        assert b"a library of functions" in log
    else:
        name = {"zset": b"sorted set"}.get(kind.replace("long-", ""), kind.replace("long-", "").encode())
        assert b"(%s" % name in log and b"'stranger'" in log


@pytest.mark.parametrize("writer", WRITERS)
def test_idle_times(with_file, writer, tmp_path):
    s = with_file(writer + "-lru", maxmemory_policy="allkeys-lru").start()
    c = single(s)
    assert c.object("idletime", "idle") >= 5000 > 1000 > c.object("idletime", "used")
    c.save()
    path = tmp_path / "again.rdb"
    shutil.copy(os.path.join(s.dir, "dump.rdb"), path)
    again = single(with_file(str(path), maxmemory_policy="allkeys-lru").start())
    assert again.object("idletime", "idle") >= 5000 > 1000 > again.object("idletime", "used")
    if os.path.exists(REDIS_SERVER):
        other = single(with_file(str(path), REDIS_SERVER, maxmemory_policy="allkeys-lru").start())
        assert other.object("idletime", "idle") >= 4999 > 1000 > other.object("idletime", "used")
    plain = single(with_file(str(path)).start())  # a policy that does not want to know
    assert plain.dbsize() == 3 and plain.object("idletime", "idle") < 1000


@pytest.mark.parametrize("writer", WRITERS)
def test_counters(with_file, writer, tmp_path):
    lfu = {"maxmemory_policy": "allkeys-lfu", "lfu_decay_time": 0}
    s = with_file(writer + "-lfu", **lfu).start()
    c = single(s)
    assert c.object("freq", "busy") == 200 > 20 > c.object("freq", "used")
    c.save()
    path = tmp_path / "again.rdb"
    shutil.copy(os.path.join(s.dir, "dump.rdb"), path)
    again = single(with_file(str(path), **lfu).start())
    assert again.object("freq", "busy") == 200
    if os.path.exists(REDIS_SERVER):
        other = single(with_file(str(path), REDIS_SERVER, **lfu).start())
        assert other.object("freq", "busy") == 200


@pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")
def test_a_full_copy_tells_them_too(with_file):
    p = with_file("redis-7.2-lru", maxmemory_policy="allkeys-lru", repl_diskless_sync_delay=0).start()
    loaded(p)
    for binary in (None, REDIS_SERVER):
        r = Server(binary, {"maxmemory-policy": "allkeys-lru"}) if binary else Server(options={"maxmemory-policy": "allkeys-lru"})
        r.start()
        try:
            r.client().execute_command("REPLICAOF", "127.0.0.1", p.port)
            wait_until(lambda: r.client().info("replication")["master_link_status"] == "up", what="the link")
            assert r.client().object("idletime", "idle") >= 4999
        finally:
            trouble = r.close()
        assert not trouble
