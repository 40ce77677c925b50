"""larder as a replica of Redis: full copy, stream, cut links, promotion."""

import os
import socket
import threading
import time

import pytest
import redis

from harness import REDIS_SERVER, Server, free_port, wait_until

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")


@pytest.fixture
def servers():
    started = []

    def start(binary=None, env=None, **options):
        options = {name.replace("_", "-"): value for name, value in options.items()}
        s = Server(binary, options, env=env) if binary else Server(options=options, env=env)
        started.append(s)
        return s.start()

    yield start
    trouble = [t for t in (s.close() for s in started) if t]
    assert not trouble, "\n".join(trouble)


def primary(servers, **options):
    return servers(REDIS_SERVER, **options)


def data_of(client, db=0):
    """Every key with its value and deadline, expired ones not."""
    keys = sorted(client.keys("*"))
    pipe = client.pipeline(transaction=False)
    for k in keys:
        pipe.dump(k)
        pipe.pexpiretime(k)
    got = pipe.execute()
    values = [g[:-10] if g else g for g in got[0::2]]  # without the version and checksum of DUMP
    for i, k in enumerate(keys):
        if k.startswith((b"ints", b"words")):  # written in any order
            values[i] = tuple(sorted(client.smembers(k)))
    return [one for one in zip(keys, values, got[1::2]) if one[1] is not None]  # it expired since KEYS


def offset_of(client):
    return client.info("replication")["master_repl_offset"]


def in_step(a, b):
    wait_until(lambda: b.info("replication").get("master_link_status") == "up", 120, what="the link")
    wait_until(lambda: offset_of(b) == offset_of(a), 120, what="the same offset")


def same(a, b, databases=(0,)):
    for db in databases:
        a.select(db)
        b.select(db)
        ours, theirs = data_of(a), data_of(b)
        assert (db, set(ours) ^ set(theirs)) == (db, set())
    a.select(0)
    b.select(0)


def acknowledged(primary):
    """Its replicas have said that they have their copies: from then on WAIT and the end of a primary wait for them."""

    def are():
        info = primary.info("replication")
        states = [v["state"] for k, v in info.items() if k.startswith("slave") and isinstance(v, dict)]
        return states and set(states) == {"online"}

    wait_until(are, what="the first acknowledgements")


def follow(replica, port):
    assert replica.client().execute_command("REPLICAOF", "127.0.0.1", port)


def test_a_password_with_a_zero_byte(servers):
    p, r = primary(servers), servers()
    secret = b"one\0two"
    assert r.client().config_set("masterauth", secret)
    assert p.client().config_set("requirepass", secret)
    follow(r, p.port)
    in_step(p.client(password=secret), r.client())


def fill(client, n=2000):
    pipe = client.pipeline(transaction=False)
    for i in range(n):
        pipe.set(f"key:{i}", "value %d " % i * (1 + i % 50), px=10_000_000 + i if i % 3 == 0 else None)
    pipe.set("number", 12345)
    pipe.set("negative", -7)
    pipe.set("large", os.urandom(300_000))
    pipe.set("pattern", b"abc" * 50_000)
    pipe.set("empty", "")
    pipe.sadd("ints", *range(100))
    pipe.sadd("words", *(f"word {i}" for i in range(1000)))
    pipe.execute()


def single(server):
    """One connection, so that SELECT means something."""
    return server.client(single_connection_client=True)


def fill_two_databases(client):
    fill(client)
    client.select(7)
    client.set("elsewhere", 1)
    client.select(0)


def streams_every_database(a, b):
    """What a names of several databases and whole ones reaches b. They begin with fill_two_databases()."""
    a.select(7)
    a.set("more", 2)
    a.copy("more", "copied", destination_db=3)
    a.move("elsewhere", 5)
    a.select(0)
    in_step(a, b)
    same(a, b, (0, 3, 5, 7))
    a.flushdb()
    a.set("after", 1)
    a.swapdb(0, 7)
    in_step(a, b)
    same(a, b, (0, 7))
    a.flushall()
    in_step(a, b)
    assert b.dbsize() == 0


def test_full_copy_then_stream(servers):
    p, r = primary(servers), servers()
    a, b = single(p), single(r)
    fill_two_databases(a)
    b.set("mine", "will go")
    follow(r, p.port)
    in_step(a, b)
    same(a, b, (0, 7))
    a.incr("number")
    a.append("empty", "x" * 100)
    a.expire("key:1", 1000)
    a.getex("key:3", persist=True)
    a.mset({"m1": 1, "m2": 2, "m3": 3})
    a.rename("m1", "m4")
    pipe = a.pipeline()
    pipe.set("t1", 1)
    pipe.incrbyfloat("t1", 0.25)
    pipe.delete("key:5")
    pipe.execute()
    streams_every_database(a, b)


def test_a_replica_refuses_writes_and_shows_its_link(servers):
    p, r = primary(servers), servers()
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    with pytest.raises(redis.exceptions.ReadOnlyError):
        b.set("k", 1)
    with pytest.raises(redis.exceptions.ReadOnlyError):
        b.flushall()
    with pytest.raises(redis.exceptions.ExecAbortError):
        pipe = b.pipeline()
        pipe.set("k", 1)
        try:
            pipe.execute()
        except redis.exceptions.ReadOnlyError as e:  # redis-py shows the queueing error
            raise redis.exceptions.ExecAbortError() from e
    role = b.execute_command("ROLE")
    assert role[:4] == [b"slave", b"127.0.0.1", p.port, b"connected"]
    wait_until(lambda: b.execute_command("ROLE")[4] == offset_of(a), what="the same offset")
    info = b.info("replication")
    assert (info["role"], info["master_host"], info["master_port"]) == ("slave", "127.0.0.1", p.port)
    assert a.info("replication")["slave0"]["port"] == r.port
    wait_until(lambda: a.info("replication")["slave0"]["state"] == "online", what="the first acknowledgement")
    a.set("k", 1)
    wait_until(lambda: a.wait(1, 1000) == 1, what="the acknowledgement")
    assert b.get("k") == b"1"
    b.config_set("replica-read-only", "no")
    assert b.set("own", 1)


BEHIND_THE_CLOCK = """
for _, k in ipairs(KEYS) do redis.call('SET', k, '7', 'PX', 1) end
for i = 1, 20000000 do end
redis.call('APPEND', KEYS[1], 'a')
redis.call('SET', KEYS[2], 'v', 'KEEPTTL')
redis.call('SETRANGE', KEYS[3], 40000, 'z')
redis.call('INCR', KEYS[4])
redis.call('SETBIT', KEYS[5], 1, 1)
redis.call('RENAME', KEYS[6], 'renamed')
for _, k in ipairs({'renamed', unpack(KEYS, 1, 5)}) do redis.call('PERSIST', k) end
"""


def test_the_stream_finds_keys_that_are_over_by_the_replicas_clock(servers):
    """In a script time stands still for the primary, as it does for one whose clock is behind."""
    master = primary(servers)
    replica = servers()
    follow(replica, master.port)
    m, r = master.client(), replica.client()
    in_step(m, r)
    m.eval(BEHIND_THE_CLOCK, 6, "appended", "kept", "grown", "incremented", "bits", "moved")
    in_step(m, r)
    assert m.dbsize() == 6
    same(m, r)
    assert r.mget("appended", "kept", "incremented", "renamed") == [b"7a", b"v", b"8", b"7"]


def test_expired_keys_are_invisible_and_the_primarys_to_delete(servers):
    p, r = primary(servers, enable_debug_command="yes"), servers()
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    a.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    a.set("k", "v", px=50)
    in_step(a, b)
    wait_until(lambda: b.get("k") is None, what="the end of the key")
    assert b.dbsize() == 1  # it is still there
    assert b.exists("k") == 0
    a.get("k")
    in_step(a, b)
    wait_until(lambda: b.dbsize() == 0, what="the DEL")


class Proxy:
    """Passes bytes on until it is cut."""

    def __init__(self, port):
        self.to = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            try:
                other = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                one.close()
                continue
            self.pairs.append((one, other))
            for x, y in ((one, other), (other, one)):
                threading.Thread(target=self.pump, args=(x, y), daemon=True).start()

    @staticmethod
    def pump(x, y):
        try:
            while data := x.recv(65536):
                y.sendall(data)
        except OSError:
            pass
        for s in (x, y):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        pairs, self.pairs = self.pairs, []  # who comes back meanwhile is not cut again
        for pair in pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # or the thread in accept() would take one more
        self.listener.close()
        self.cut()


def test_a_cut_link_goes_on_where_it_was(servers):
    p, r = primary(servers), servers()
    a, b = single(p), single(r)
    proxy = Proxy(p.port)
    fill(a, 300)
    follow(r, proxy.port)
    in_step(a, b)
    for round in range(5):
        a.select(round)
        proxy.cut()
        for i in range(50):
            a.set(f"round:{round}:{i}", i)
        in_step(a, b)
    assert a.info("stats")["sync_full"] == 1
    assert a.info("stats")["sync_partial_ok"] == 5
    same(a, b, range(5))
    proxy.close()


def test_promotion_goes_on_with_the_same_data(servers):
    p, r = primary(servers, repl_ping_replica_period=3600), servers()  # the offset stands still
    a, b = p.client(), r.client()
    fill(a, 200)
    follow(r, p.port)
    in_step(a, b)
    before = b.info("replication")
    b.execute_command("REPLICAOF", "NO", "ONE")
    after = b.info("replication")
    assert after["role"] == "master"
    assert after["master_replid2"] == before["master_replid"] != after["master_replid"]
    assert after["second_repl_offset"] == before["master_repl_offset"] + 1
    assert data_of(a) == data_of(b)
    b.set("own", 1)
    b.set("short", 1, px=30)
    wait_until(lambda: b.dbsize() == len(data_of(a)) + 1, what="expiry by itself")


def test_password(servers):
    p, r = primary(servers, requirepass="secret"), servers(masterauth="wrong")
    a, b = p.client(password="secret"), r.client()
    a.set("k", 1)
    follow(r, p.port)
    wait_until(lambda: b"does not accept masterauth" in r.log(), what="the reason in the log")
    assert b.info("replication")["master_link_status"] == "down"
    assert b.get("k") is None
    b.config_set("masterauth", "secret")
    in_step(a, b)
    assert b.get("k") == b"1"


def test_user_and_password(servers):
    p, r = primary(servers), servers(masteruser="copier", masterauth="secret")
    a, b = p.client(), r.client()
    a.execute_command("ACL", "SETUSER", "copier", "on", ">secret", "+psync", "+replconf", "+ping")
    a.set("k", 1)
    follow(r, p.port)
    in_step(a, b)
    assert b.get("k") == b"1"


def test_configured_replica_and_stale_data(servers):
    port = free_port()
    r = servers(replicaof=[("127.0.0.1", str(port))], replica_serve_stale_data="no")
    b = r.client()
    with pytest.raises(redis.exceptions.ResponseError, match="MASTERDOWN"):
        b.get("k")
    assert b.execute_command("ROLE")[:3] == [b"slave", b"127.0.0.1", port]
    b.config_set("replica-serve-stale-data", "yes")
    assert b.get("k") is None


def test_an_empty_primary_does_not_wipe_its_replica(servers):
    p, r = primary(servers), servers()
    a, b = p.client(), r.client()
    fill(a, 100)
    follow(r, p.port)
    in_step(a, b)
    want = data_of(b)
    p.kill(9)
    p.start()  # on the same port, without its data
    wait_until(lambda: b"has lost its data" in r.log(), what="the refusal")
    assert data_of(b) == want
    assert b.info("replication")["master_link_status"] == "down"
    follow(r, p.port)  # said again: then so be it
    in_step(p.client(), b)
    assert b.dbsize() == 0


def test_values_that_are_not_known_are_refused_by_name(servers):
    p, r = primary(servers), servers()
    a, b = p.client(), r.client()
    b.set("mine", 1)
    a.xadd("stream-key", {"f": "v"})
    follow(r, p.port)
    wait_until(lambda: b"at the key 'stream-key'" in r.log(), what="the refusal")
    assert b.get("mine") == b"1"


def test_a_large_transaction_is_one_step(servers):
    p, r = primary(servers), servers()
    a, b = p.client(), r.client()
    follow(r, p.port)
    in_step(a, b)
    for i in range(20):
        pipe = a.pipeline()
        for k in range(400):
            pipe.set(f"t{k}", i)
        pipe.execute()
        assert len(set(b.mget([f"t{k}" for k in range(100)]))) == 1
    in_step(a, b)
    assert data_of(a) == data_of(b)
