"""Nodes that are restarted from their snapshots: who goes on, who needs a copy, and who must not be given one."""

import os
import shutil
import signal
import time

import pytest

from harness import REDIS_SERVER, free_port, next_word, wait_until
from test_doctor import doctor
from test_failover import ask_for_copy
from test_primary import record_of
from test_replica import acknowledged, data_of, fill, follow, in_step, offset_of, same, servers, single  # noqa: F401

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")

SAVES = {"save": [("3600", "1")]}


def start(servers, kind, **options):  # noqa: F811
    options.setdefault("repl_ping_replica_period", 3600)  # no PING puts a replica ahead of a snapshot or a record
    return servers(REDIS_SERVER if kind == "redis" else None, **SAVES, **options)


def primary_is(port):
    return [("127.0.0.1", str(port))]


def loaded(server):
    wait_until(lambda: server.client().info("persistence")["loading"] == 0, what="the snapshot")
    return server.client()


def forget(server):
    path = os.path.join(server.dir, "larder.history")
    if os.path.exists(path):
        os.unlink(path)


def syncs(server):
    stats = server.client().info("stats")
    return stats["sync_full"], stats["sync_partial_ok"]


def write_some(client, tag):
    """Over a connection of its own database 5, too, so that the stream's database matters."""
    client.select(5)
    client.set(f"{tag}:five", 1, ex=1000)
    client.select(0)
    client.sadd("words", tag)
    client.set(tag, 1)


def pair(servers, first, second):  # noqa: F811
    p, r = start(servers, first), start(servers, second)
    a = single(p)
    fill(a, 300)
    follow(r, p.port)
    in_step(a, r.client())
    write_some(a, "before")
    in_step(a, r.client())
    acknowledged(a)
    return p, r, a


@pytest.mark.parametrize("kinds", [("larder", "larder"), ("redis", "larder"), ("larder", "redis")])
@pytest.mark.parametrize("selected", [0, 5])
def test_a_replica_goes_on_from_its_file(servers, kinds, selected):  # noqa: F811
    p, r, a = pair(servers, *kinds)
    a.select(selected)
    a.set("the last word", 1)
    in_step(a, r.client())
    r.stop()
    a.append("the last word", "2")
    a.set("one more", 1)
    a.select(0)
    write_some(a, "meanwhile")
    r.options["replicaof"] = primary_is(p.port)
    r.start()
    in_step(a, loaded(r))
    same(a, single(r), (0, 5))
    assert syncs(p) == (1, 1)


@pytest.mark.parametrize("kind", ["larder", "redis"])
def test_replicas_go_on_with_a_primary_that_ended_and_came_back(servers, kind):  # noqa: F811
    p, r, a = pair(servers, "larder", kind)
    a.set("soon gone", 1, px=300)
    a.set("stays", 1)
    old = a.info("replication")["master_replid"]
    p.stop()
    time.sleep(0.4)
    p.start()
    a = single(p)
    loaded(p)
    in_step(a, r.client())
    info = a.info("replication")
    assert info["master_replid2"] == old != info["master_replid"]
    write_some(a, "after")
    in_step(a, r.client())
    wait_until(lambda: a.dbsize() == r.client().dbsize(), what="the expired key's end")
    same(a, single(r), (0, 5))
    assert syncs(p) == (0, 1)
    p.stop()  # and once more, from the file that the second life has written
    p.start()
    loaded(p)
    in_step(p.client(), r.client())
    assert syncs(p) == (0, 1)


def ahead(servers, kind, how):  # noqa: F811
    """A primary that was killed and comes back with less than its replica has."""
    p, r, a = pair(servers, "larder", kind)
    if how == "saved":
        a.save()
    elif how == "saved before":
        p.stop()
        p.options["save"] = ""
        p.start()
        loaded(p)
        a = single(p)
        in_step(a, r.client())
    write_some(a, "lost")
    in_step(a, r.client())
    want = data_of(r.client())
    wait_until(lambda: b"offset %d\n" % offset_of(a) in record_of(p), what="the record")
    p.kill(9)
    if how == "foreign file":
        other = servers()
        other.client().set("foreign", 1)
        other.client().save()
        shutil.copy(os.path.join(other.dir, "dump.rdb"), p.dir)
    p.start()
    loaded(p)
    wait_until(lambda: b"NOMASTERLINK" in r.log(), what="the refusal")
    assert str(p.wire()("SYNC")).find("NOMASTERLINK") >= 0
    assert data_of(r.client()) == want
    info = p.client().info("replication")
    assert info["larder_restarted_behind"] == 1 and info["larder_replicas_ahead_refused"] > 0
    code, out, _ = doctor("-p", p.port)
    assert code == 1 and "refuses to overwrite" in out
    return p, r, want


@pytest.mark.parametrize("kind", ["larder", "redis"])
@pytest.mark.parametrize("how", ["saved", "saved before", "foreign file"])
def test_less_does_not_replace_more(servers, kind, how):  # noqa: F811
    p, r, want = ahead(servers, kind, how)
    r.client().execute_command("REPLICAOF", "NO", "ONE")
    follow(p, r.port)
    in_step(r.client(), p.client())
    assert data_of(p.client()) == want


def test_more_may_be_given_up(servers):  # noqa: F811
    p, r, _ = ahead(servers, "larder", "saved")
    p.client().execute_command("REPLICAOF", "NO", "ONE")
    in_step(p.client(), r.client())
    same(single(p), single(r), (0, 5))
    assert r.client().get("lost") is None
    assert p.client().info("replication")["larder_replicas_ahead_refused"] == 0


def test_the_record_is_not_needed_to_see_who_is_ahead(servers):  # noqa: F811
    p, r, a = pair(servers, "larder", "larder")
    a.save()
    write_some(a, "lost")
    in_step(a, r.client())
    want = data_of(r.client())
    p.kill(9)
    forget(p)
    p.start()
    loaded(p)
    wait_until(lambda: b"NOMASTERLINK" in r.log(), what="the refusal")
    assert data_of(r.client()) == want


@pytest.mark.parametrize("kind", ["larder", "redis"])
def test_whoever_is_not_ahead_is_served(servers, kind):  # noqa: F811
    """The snapshot is all there is, and a replica that has less gets the copy that it needs."""
    p, r, a = pair(servers, "larder", "larder")
    late = start(servers, kind, replicaof=primary_is(p.port))
    in_step(a, late.client())
    late.stop()
    write_some(a, "more")
    in_step(a, r.client())
    a.save()
    p.kill(9)
    p.start()
    loaded(p)
    in_step(p.client(), r.client())
    late.start()
    in_step(p.client(), loaded(late))
    same(single(p), single(late), (0, 5))
    assert syncs(p) == (1, 1)


def test_an_old_primary_goes_on_as_a_replica(servers):  # noqa: F811
    p, r, a = pair(servers, "larder", "larder")
    p.stop()
    b = single(r)
    b.execute_command("REPLICAOF", "NO", "ONE")
    write_some(b, "new")
    p.start()
    loaded(p)
    follow(p, r.port)
    in_step(b, p.client())
    same(b, single(p), (0, 5))
    assert syncs(r) == (0, 1)


def test_redis_goes_on_from_a_file_of_larder(servers):  # noqa: F811
    p, r, a = pair(servers, "larder", "larder")
    r.stop()
    write_some(a, "meanwhile")
    heir = start(servers, "redis")
    heir.kill(9)
    shutil.copy(os.path.join(r.dir, "dump.rdb"), heir.dir)
    heir.options["replicaof"] = primary_is(p.port)
    heir.start()
    in_step(a, loaded(heir))
    same(a, single(heir), (0, 5))
    assert syncs(p) == (1, 1)


def test_an_empty_primary_does_not_wipe_a_replica_that_was_restarted(servers):  # noqa: F811
    p, r, a = pair(servers, "larder", "larder")
    want = data_of(r.client())
    r.stop()
    p.kill(9)
    forget(p)
    p.start()
    r.options["replicaof"] = primary_is(p.port)
    r.start()
    loaded(r)
    wait_until(lambda: b"has lost its data" in r.log(), what="the refusal")
    assert data_of(r.client()) == want


def test_a_history_that_was_given_up_is_forgotten(servers):  # noqa: F811
    p, r, a = pair(servers, "larder", "larder")
    wait_until(lambda: record_of(p), what="the record")
    a.config_set("repl-backlog-ttl", 1)
    r.stop()
    wait_until(lambda: not record_of(p), what="its end")
    write_some(a, "unlogged")
    p.stop()
    p.start()
    loaded(p)
    r.options["replicaof"] = primary_is(p.port)
    r.start()
    in_step(p.client(), loaded(r))
    same(single(p), single(r), (0, 5))
    assert syncs(p) == (1, 0)


def test_a_primary_ends_when_its_replicas_have_everything(servers):  # noqa: F811
    """One stands still while much is written and the end begins; it gets everything all the same."""
    p, r, a = pair(servers, "larder", "larder")
    r.process.send_signal(signal.SIGSTOP)
    pipe = a.pipeline(transaction=False)
    for i in range(30):
        pipe.set(f"big:{i}", os.urandom(1 << 20))
    pipe.execute()
    want = data_of(a)
    a.config_set("shutdown-timeout", 600)
    p.process.send_signal(signal.SIGTERM)
    wait_until(lambda: b"The snapshot is on disk" in p.log(), what="the snapshot")
    time.sleep(0.2)
    r.process.send_signal(signal.SIGCONT)
    p.wait()
    assert data_of(r.client()) == want
    assert b"not acknowledged" not in p.log()


def test_an_end_waits_for_a_replica_that_loads_its_copy(servers):  # noqa: F811
    """It has been sent all of it, and has not said a word since when the end begins."""
    p = start(servers, "larder", repl_diskless_sync_delay=0)
    p.client().set("k", 1)
    s, f = ask_for_copy(p, capa="eof")
    at = int(next_word(f).split()[2])
    mark = next_word(f)[5:].strip()
    data = b""
    while not data.endswith(mark):
        data += f.read1(65536)
    p.client().set("later", 1)
    p.process.send_signal(signal.SIGTERM)
    wait_until(lambda: b"The snapshot is on disk" in p.log(), what="the snapshot")
    s.sendall(b"REPLCONF ACK %d\r\n" % at)
    stream = b""
    while b"GETACK" not in stream or not stream.endswith(b"*\r\n"):
        more = f.read1(65536)
        assert more, stream
        stream += more
    assert b"later" in stream
    s.sendall(b"REPLCONF ACK %d\r\n" % (at + len(stream)))
    assert p.wait() == 0
    assert b"not acknowledged" not in p.log()


@pytest.mark.parametrize("how", ["timeout", "now"])
def test_an_end_does_not_wait_for_ever(servers, how):  # noqa: F811
    p, r, a = pair(servers, "larder", "larder")
    a.config_set("shutdown-timeout", 1 if how == "timeout" else 100000)
    r.process.send_signal(signal.SIGSTOP)
    a.set("k", os.urandom(1 << 20))
    with p.wire() as w:
        w.send(b"SHUTDOWN NOW\r\n" if how == "now" else b"SHUTDOWN\r\n")
        assert p.wait() == 0
    assert (b"not acknowledged" in p.log()) == (how == "timeout")
    r.process.send_signal(signal.SIGCONT)


def test_keys_that_expired_before_the_snapshot_end_on_replicas_too(servers):  # noqa: F811
    """Nobody had noticed yet when it was written, and so nobody had told the replica."""
    p, r = start(servers, "larder", enable_debug_command="yes"), start(servers, "larder")
    follow(r, p.port)
    in_step(p.client(), r.client())
    with p.wire() as w:
        assert w("DEBUG", "SET-ACTIVE-EXPIRE", "0") == "OK"
        w("SET", "over", "1", "PX", "1")
        w("SET", "stays", "1")
    time.sleep(0.05)
    in_step(p.client(), r.client())
    assert r.client().dbsize() == 2
    acknowledged(p.client())
    p.stop()
    p.start()
    loaded(p)
    in_step(p.client(), r.client())
    assert syncs(p) == (0, 1)
    wait_until(lambda: r.client().dbsize() == 1, what="the expired key's end")


def test_hostile_places(servers):  # noqa: F811
    """A head that names no place, or one that cannot be: the data are loaded, and a new history begins."""
    p = servers()
    p.client().set("k", 1)
    p.client().save()
    with open(os.path.join(p.dir, "dump.rdb"), "rb") as f:
        head = f.read()[:9]
    for id_, offset, db in ((b"x" * 40, b"5", b"0"), (b"a" * 40, b"-1", b"0"), (b"a" * 40, b"5", b"99"),
                            (b"a" * 40, b"9223372036854775807", b"0"), (b"a" * 39, b"5", b"0")):
        fields = ((b"repl-id", id_), (b"repl-offset", offset), (b"repl-stream-db", db))
        aux = b"".join(b"\xfa%c%s%c%s" % (len(n), n, len(v), v) for n, v in fields)
        p.kill(9)
        with open(os.path.join(p.dir, "dump.rdb"), "wb") as f:
            f.write(head + aux + b"\xfe\x00\x00\x01k\x011\xff" + bytes(8))
        p.start()
        c = loaded(p)
        assert c.get("k") == b"1" and c.info("replication")["master_replid2"] in (0, "0" * 40)
    r = servers(replicaof=primary_is(free_port()))
    assert r.client().info("replication")["role"] == "slave"


@pytest.mark.parametrize("kind", ["larder", "redis"])
def test_data_of_the_first_moment_are_not_wiped(servers, kind):  # noqa: F811
    """The record is on disk before anybody gets anything, even of a node that had nothing then."""
    p, r = servers(), start(servers, kind)
    follow(r, p.port)
    wait_until(lambda: r.client().info("replication")["master_link_status"] == "up", what="the link")
    a = p.client()
    a.set("k", 1)
    assert a.wait(1, 60000) == 1
    p.kill(9)
    p.start()
    wait_until(lambda: b"NOMASTERLINK" in r.log(), what="the refusal")
    assert r.client().get("k") == b"1"


def test_nobody_is_refused_for_nothing(servers):  # noqa: F811
    p, r = servers(repl_ping_replica_period=3600), servers()
    follow(r, p.port)
    wait_until(lambda: offset_of(p.client()) > 0, what="the first PING")
    in_step(p.client(), r.client())
    wait_until(lambda: b"offset %d\n" % offset_of(p.client()) in record_of(p), what="the record")
    p.kill(9)
    p.start()
    in_step(p.client(), r.client())
    assert b"NOMASTERLINK" not in r.log()


def test_an_end_that_cannot_be_goes_on_feeding(servers):  # noqa: F811
    """SHUTDOWN and SIGTERM fail, since there is nowhere to save: the log goes on where it was."""
    p, r, a = pair(servers, "larder", "larder")
    a.config_set("stop-writes-on-bgsave-error", "no")
    os.mkdir(os.path.join(p.dir, "dump.rdb"))
    with p.wire() as w:
        assert w("SHUTDOWN").startswith("ERR Errors trying to SHUTDOWN")
        assert w("SET", "on the same connection", "1") == "OK"
    p.process.send_signal(signal.SIGTERM)
    wait_until(lambda: b"this node stays" in p.log(), what="its word")
    write_some(a, "after")
    in_step(a, r.client())
    same(a, single(r), (0, 5))
    assert syncs(p) == (1, 0)
    os.rmdir(os.path.join(p.dir, "dump.rdb"))
