"""Snapshots on disk: written, loaded, both ways with Redis, and never half of one."""

import os
import random
import signal
import time

import pytest
import redis

from harness import REDIS_SERVER, Server, refuses_writes, wait_until
from test_full_copy import Writer, contents, fill, same
from test_replica import servers, single  # noqa: F401

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")


def every_kind(client):
    """Strings and sets in all encodings, deadlines, several databases."""
    pipe = client.pipeline(transaction=False)
    for n in (0, 7, -1, 127, -128, 128, 32767, -32768, 32768, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63)):
        pipe.set(f"number {n}", n)
    pipe.set("not quite a number", "007")
    for n in (1, 20, 21, 63, 64, 16383, 16384, 70000, 3 << 20):
        pipe.set(f"packed {n}", "ab" * n)
        pipe.set(f"random {n}", os.urandom(n))
    pipe.set("", "an empty name")
    pipe.set(b"\x00\xff\r\n", b"\x00" * 30)
    pipe.set("long name " * 3000, 1)
    pipe.sadd("ints16", *range(100))
    pipe.sadd("ints32", *range(2**20, 2**20 + 100))
    pipe.sadd("ints64", *range(2**40, 2**40 + 100))
    pipe.sadd("many ints", *range(2000))
    pipe.sadd("short words", "a", "b", "12", "x" * 60)
    pipe.sadd("long words", *("w" * (100 + i) for i in range(50)))
    pipe.sadd("many words", *(f"word {i}" for i in range(3000)))
    for db in (0, 3, 15):
        pipe.execute_command("SELECT", db)
        pipe.set(f"in {db}", db, px=10**9)
        pipe.set(f"much later {db}", db, pxat=2**44)
        pipe.set(f"gone {db}", db, px=1)
    pipe.execute_command("SELECT", 0)
    pipe.execute()


def all_of(client):
    return {db: contents(client, db) for db in range(16)}


def up(server):
    """A connection to a server that has loaded what there was."""
    client = single(server)
    wait_until(lambda: client.info("persistence")["loading"] == 0, 60, what="the load")
    return client


def test_the_saver_gives_way(servers):  # noqa: F811
    """Of all threads only who writes snapshots is niced, and who prepares pages."""
    server = servers()

    def niced():
        nice = {}
        for task in os.listdir(f"/proc/{server.pid}/task"):
            with open(f"/proc/{server.pid}/task/{task}/stat", encoding="ascii") as stat:
                name, fields = stat.read().split("(", 1)[1].rsplit(")", 1)
            nice[name] = int(fields.split()[16])
        return {name for name, n in nice.items() if n > os.getpriority(os.PRIO_PROCESS, 0)}

    wait_until(lambda: niced() == {"saver", "pages"})


def test_saved_and_loaded(servers):
    a = servers()
    client = single(a)
    every_kind(client)
    time.sleep(0.01)
    before = all_of(client)
    assert client.save()
    assert client.lastsave() is not None
    for binary in (None, REDIS_SERVER, None):
        b = servers(binary, dir=a.dir)
        theirs = up(b)
        assert all_of(theirs) == before
        assert theirs.info("persistence")["rdb_last_load_keys_loaded"] == sum(len(v) for v in before.values())
        if binary:
            theirs.config_set("rdbcompression", "no")
            assert theirs.save()


@pytest.mark.parametrize("compression", ["yes", "no"])
def test_files_of_redis(servers, compression):
    a = servers(REDIS_SERVER, rdbcompression=compression)
    client = single(a)
    every_kind(client)
    time.sleep(0.01)
    before = all_of(client)
    assert client.save()
    b = servers(dir=a.dir)
    assert all_of(up(b)) == before


def test_a_type_that_is_not_known_is_refused_by_name(servers):
    a = servers(REDIS_SERVER)
    single(a).xadd("the-stream", {"f": "v"})
    assert single(a).save()
    b = Server(options={"dir": a.dir})
    b.spawn()
    assert b.wait() == 1
    assert b"(stream)" in b.log() and b"the-stream" in b.log() and b"Nothing is served" in b.log()
    b.remove()


def test_in_the_background_while_everybody_writes(servers):
    a = servers()
    fill(a, 6000)
    client = single(a)
    writer = Writer(a, 3)
    writer.start()
    for _ in range(3):
        was = client.info("persistence")["rdb_saves"]
        assert client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_saves"] > was, 60, what="the snapshot")
    writer.end()
    assert client.info("persistence")["rdb_last_bgsave_status"] == "ok"
    assert client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_saves"] > was + 1, 60, what="the snapshot")
    info = client.info("persistence")
    assert (info["rdb_changes_since_last_save"], info["rdb_bgsave_in_progress"]) == (0, 0)
    b = servers(REDIS_SERVER, dir=a.dir)
    same(client, up(b))


def test_killed_at_any_moment(servers, tmp_path):
    """kill -9 in the middle of BGSAVE: there is a whole file, the old or the new."""
    rng = random.Random(5)
    old = None
    for round_ in range(12):
        s = servers(dir=str(tmp_path))
        client = up(s)
        if old is None:
            fill(s, 6000)
            client.set("round", 0)
            client.save()
        else:
            assert client.get("round") in (b"%d" % old, b"%d" % (old + 1))
            assert client.dbsize() > 9000
        old = int(client.get("round"))
        client.set("round", old + 1)
        client.bgsave()
        time.sleep(rng.random() * 0.15)
        s.kill(signal.SIGKILL)
        s.process = None
    left = [name for name in os.listdir(tmp_path) if name.startswith("temp-")]
    assert len(left) <= 1, left


def test_save_points(servers):
    s = servers(save=("1", "5"))
    client = single(s)
    for i in range(4):
        client.set(f"k{i}", 1)
    assert client.info("persistence")["rdb_changes_since_last_save"] == 4
    client.set("k4", 1)
    wait_until(lambda: client.info("persistence")["rdb_saves"] == 1, 30, what="the save point")
    assert client.info("persistence")["rdb_changes_since_last_save"] == 0
    assert os.path.exists(os.path.join(s.dir, "dump.rdb"))


def test_writes_stop_when_the_disk_fails(servers):
    s = servers(save=("3600", "1000000"))
    client = single(s)
    os.mkdir(os.path.join(s.dir, "dump.rdb"))
    client.set("k", 1)
    with pytest.raises(redis.exceptions.ResponseError):
        client.save()
    wait_until(lambda: refuses_writes(client, "MISCONF"), what="the refusal")
    assert client.get("k") == b"1"
    assert client.info("persistence")["rdb_last_bgsave_status"] == "err"
    os.rmdir(os.path.join(s.dir, "dump.rdb"))
    assert client.save()
    wait_until(lambda: not refuses_writes(client, "MISCONF"), what="writes again")


@pytest.mark.parametrize(
    "save, how, kept",
    [
        ("", "SIGTERM", False),
        (("3600", "1000"), "SIGTERM", True),
        (("3600", "1000"), "SIGINT", True),
        (("3600", "1000"), "SHUTDOWN", True),
        (("3600", "1000"), "SHUTDOWN NOSAVE", False),
        ("", "SHUTDOWN", False),
        ("", "SHUTDOWN SAVE", True),
    ],
)
def test_the_end(servers, save, how, kept):
    s = servers(save=save)
    client = single(s)
    client.set("k", "v")
    if how.startswith("SIG"):
        s.process.send_signal(getattr(signal, how))
    else:
        with pytest.raises(redis.exceptions.ConnectionError):
            client.execute_command(*how.split())
            client.ping()
    assert s.wait() == 0
    assert os.path.exists(os.path.join(s.dir, "dump.rdb")) == kept
    if kept:
        assert up(servers(dir=s.dir)).get("k") == b"v"


def test_an_end_that_cannot_save_is_none(servers):
    s = servers(save=("3600", "1000"))
    client = single(s)
    client.set("k", "v")
    os.mkdir(os.path.join(s.dir, "dump.rdb"))
    s.process.send_signal(signal.SIGTERM)
    wait_until(lambda: b"this node stays" in s.log(), what="its word")
    assert client.get("k") == b"v"
    with pytest.raises(redis.exceptions.ResponseError):
        client.execute_command("SHUTDOWN", "SAVE")
    with pytest.raises(redis.exceptions.ConnectionError):
        client.execute_command("SHUTDOWN", "NOSAVE")
        client.ping()
    assert s.wait() == 0


def test_clients_wait_while_it_loads(servers):
    s = servers(enable_debug_command="yes")
    client = single(s)
    client.execute_command("DEBUG", "POPULATE", 300000, "k", 100)
    assert client.save()
    # A busy machine may let the whole load pass before it looks.
    assert any(was_told_to_wait(s.dir) for _ in range(20)), "nobody saw the load"


def was_told_to_wait(folder):
    """Of a node that loads what is in that folder, which it then serves."""
    t, told = Server(options={"dir": folder}), False
    t.spawn()
    while True:
        try:
            with t.wire() as w:
                reply, loading = w("GET", "k:1"), w("INFO", "persistence")
        except (OSError, EOFError):
            assert t.alive(), t.log_tail()
            continue
        if not str(reply).startswith("LOADING"):
            break
        told = True
        assert b"loading:1" in loading or b"loading:0" in loading
    assert t.client().dbsize() == 300000
    assert t.close() is None
    return told


def test_reload(servers):
    s = servers(enable_debug_command="yes")
    client = single(s)
    every_kind(client)
    time.sleep(0.01)
    before = all_of(client)
    client.execute_command("DEBUG", "RELOAD")
    assert all_of(client) == before
    client.set("more", 1)
    client.execute_command("DEBUG", "RELOAD", "NOSAVE")
    assert all_of(client) == before


def test_a_flush_in_the_middle(servers):
    """The file is begun anew: it never holds a part of what was."""
    s = servers()
    client = single(s)
    for _ in range(5):
        fill(s, 6000)
        was = client.info("persistence")["rdb_saves"]
        client.bgsave()
        client.flushall()
        client.set("after", 1)
        wait_until(lambda: client.info("persistence")["rdb_saves"] > was, 60, what="the snapshot")
        t = servers(dir=s.dir)
        assert up(t).dbsize() in (0, 1) or up(t).dbsize() > 9000


def test_names_and_directories(servers, tmp_path):
    s = servers(enable_protected_configs="yes", dbfilename="one.rdb")
    client = single(s)
    client.set("k", 1)
    client.config_set("dir", str(tmp_path))
    client.config_set("dbfilename", "other.rdb")
    assert client.save()
    assert sorted(os.listdir(tmp_path)) == ["other.rdb"]
    for bad in ("a/b", "/abs"):
        with pytest.raises(redis.exceptions.ResponseError):
            client.config_set("dbfilename", bad)


def test_damaged_files(servers, tmp_path):
    """Cut and changed files: the node says what is wrong and does not start with a part."""
    s = servers()
    client = single(s)
    every_kind(client)
    for key in client.keys("*3145728*") + client.keys("*70000*") + client.keys("*16384*"):
        client.delete(key)
    assert client.save()
    whole = open(os.path.join(s.dir, "dump.rdb"), "rb").read()
    rng = random.Random(1)
    cases = [whole[: rng.randrange(len(whole))] for _ in range(12)]
    for _ in range(12):
        at = rng.randrange(9, len(whole) - 8)
        cases.append(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
    cases += [b"", b"REDIS9999" + whole[9:], b"garbage" * 100, b"REDIS0013" + whole[9:]]
    for case in cases:
        (tmp_path / "dump.rdb").write_bytes(case)
        t = Server(options={"dir": str(tmp_path)})
        t.spawn()
        assert t.wait() == 1, t.log()
        assert b"Cannot load" in t.log() and t.alarms() is None, t.log()
        t.remove()


def test_errors(servers):
    client = single(servers())
    for args in (("BGSAVE", "NOW"), ("BGSAVE", "SCHEDULE", "x"), ("SAVE", "x"), ("SHUTDOWN", "SAVE", "NOSAVE")):
        with pytest.raises(redis.exceptions.ResponseError):
            client.execute_command(*args)
    assert client.execute_command("BGSAVE", "SCHEDULE")
