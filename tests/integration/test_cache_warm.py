"""CACHE.WARM: a cold node takes what a peer or a snapshot has, what is hot there first, and overwrites nothing."""

import pathlib
import shutil
import socket
import threading

import harness
import pytest
from cachekit import as_dict, get, inspect
from wire import Error, encode

pytestmark = pytest.mark.larder


def status(w):
    named = as_dict(w("CACHE.WARM", "STATUS"))
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in named.items()}


def wait_for_end(w):
    harness.wait_until(lambda: status(w)["state"] != "running", what="the end of the warming")
    return status(w)


def warmth(w):
    lines = w("INFO", "persistence").decode().splitlines()
    return next(line.split(":")[1] for line in lines if line.startswith("larder_warmth:"))


@pytest.fixture
def pair(start_larder):
    cold, peer = start_larder(workers=2), start_larder(workers=2)
    with cold.wire() as a, peer.wire() as b:
        yield cold, peer, a, b


def test_everything_comes_and_nothing_is_overwritten(pair):
    cold, peer, a, b = pair
    for i in range(500):
        b("SET", f"plain:{i}", f"theirs {i}", "PX", 600000)
    b("CACHE.SET", "rich", "v", "PX", 600000, "GRACE", 600000, "VERSION", 7, "TAGS", 1, "red")
    b("CACHE.SET", "soft", "v", "PX", 600000, "GRACE", 600000)
    b("CACHE.INVALIDATE", "soft", "SOFT")
    b("CACHE.SET", "none", "", "NEGATIVE", "PX", 600000)
    b("CACHE.SET", "old", "v", "VERSION", 3)
    b("SADD", "set", *range(1000))
    b("SET", "big", "x" * 3_000_000)
    a("SET", "plain:1", "mine")
    a("SADD", "plain:2", "mine")
    a("CACHE.SET", "plain:3", "", "NEGATIVE", "PX", 600000)
    a("CACHE.INVALIDATE", "old", "VERSION", 4, "HOLD", 600000)
    assert warmth(a) == "cold"
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port, "RATE", 1_000_000) == "OK"
    end = wait_for_end(a)
    assert end["state"] == warmth(a) == "warm", end
    assert end["from"] == f"127.0.0.1:{peer.port}" and end["error"] == ""
    assert end["present"] >= 3 and end["installed"] == 497 + 3, end  # all that is fresh there
    assert end["seen"] == end["present"] + end["installed"] + end["gone"] + end["overtaken"]
    assert a("GET", "plain:0") == b"theirs 0" and 0 < a("PTTL", "plain:0") <= 600000
    assert a("GET", "plain:1") == b"mine"
    assert a("SMEMBERS", "plain:2") == [b"mine"]
    assert get(a, "plain:3")["state"] == "negative"
    assert inspect(a, "rich")["version"] == 7 and inspect(a, "rich")["tags"] == 1
    assert a("EXISTS", "soft", "none", "old") == 0, "what is not to be read there, and what is held here"
    assert a("SCARD", "set") == 1000 and a("STRLEN", "big") == 3_000_000
    a("CACHE.PURGE", "TAG", "red")
    assert a("EXISTS", "rich") == 0
    # Again: all is here.
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port) == "OK"
    assert wait_for_end(a)["installed"] == 0


def test_what_is_hot_comes_first(pair):
    cold, peer, a, b = pair
    for i in range(2000):
        b("SET", f"k:{i}", "v")
    for _ in range(100):
        b.send(b"".join(encode("GET", f"k:{i}") for i in (7, 11, 13) for _ in range(100)))
        for _ in range(300):
            b.read()
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port, "TOP", 3) == "OK"
    assert wait_for_end(a)["seen"] == 3
    assert a("EXISTS", "k:7", "k:11", "k:13") == 3


class Peer:
    """A larder in front of which somebody decides what is answered to CACHE.DUMP, and when."""

    def __init__(self, names, dump):
        self.names, self.dump = names, dump
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        sock, _ = self.listener.accept()
        with sock, sock.makefile("rb") as lines:
            while line := lines.readline():
                words = []
                for _ in range(int(line[1:])):
                    words.append(lines.read(int(lines.readline()[1:]) + 2)[:-2])
                try:
                    sock.sendall(self.answer(words))
                except OSError:
                    return

    def answer(self, words):
        if words[0] == b"READONLY":
            return b"-ERR no cluster\r\n"
        if words[0] == b"CACHE.HOT":
            return b"*0\r\n"
        if words[0] == b"CACHE.HELD":
            return b"*2\r\n:0\r\n$0\r\n\r\n"
        if words[0] == b"SCAN":
            return b"*2\r\n$1\r\n0\r\n" + encode(*self.names)
        return self.dump(words[1])


def test_what_happens_here_meanwhile_wins(pair):
    cold, real, a, b = pair
    b("SET", "x", "theirs")
    dump = b("DUMP", "x")

    def answer(name):
        with cold.wire() as w:  # between the lease and the value
            if name == b"written":
                w("SET", name, "mine")
            elif name == b"deleted":
                w("DEL", name)
            elif name == b"invalidated":
                w("CACHE.INVALIDATE", name)
        return b"*3\r\n:0\r\n$%d\r\n%s\r\n$0\r\n\r\n" % (len(dump), dump)

    peer = Peer(["written", "deleted", "invalidated", "left"], answer)
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port) == "OK"
    end = wait_for_end(a)
    assert (end["installed"], end["overtaken"]) == (1, 3), end
    assert a("MGET", "written", "deleted", "invalidated", "left") == [b"mine", None, None, b"theirs"]


def test_who_misses_meanwhile_waits_for_the_peer(pair):
    cold, real, a, b = pair
    b("SET", "x", "theirs")
    dump = b("DUMP", "x")
    asked, go = threading.Event(), threading.Event()

    def answer(name):
        asked.set()
        go.wait(60)
        return b"$-1\r\n" if name == b"gone" else b"*3\r\n:0\r\n$%d\r\n%s\r\n$0\r\n\r\n" % (len(dump), dump)

    peer = Peer(["x", "gone"], answer)
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port) == "OK"
    assert asked.wait(60)
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port).startswith("ERR this node is being warmed")
    assert warmth(a) == "running"
    with cold.wire() as x, cold.wire() as gone:
        x.send(encode("CACHE.GET", "x", "LEASE", 60000, "WAIT", 60000))
        gone.send(encode("CACHE.GET", "gone", "LEASE", 60000, "WAIT", 60000))
        for key in ("x", "gone"):
            harness.wait_until(lambda k=key: inspect(a, k)["waiters"] == 1, what="a waiting client")
        go.set()
        assert as_dict(x.read())["value"] == b"theirs"
        assert as_dict(gone.read())["lease"], "nobody else loads it"
    assert wait_for_end(a)["installed"] == 1


@pytest.mark.parametrize("answer, says", [
    (b"-ERR unknown command 'CACHE.DUMP'\r\n", "no larder"),
    (b"!garbage\r\n", "does not answer"),
    (b"$99999999999\r\n", "does not answer"),
    (b"", "does not answer"),
], ids=["redis", "garbage", "huge", "hangs-up"])
def test_hostile_peers(pair, answer, says):
    cold, real, a, b = pair

    def dump(name):
        if not answer:
            raise OSError("hangs up")
        return answer

    peer = Peer([f"k:{i}" for i in range(100)], dump)
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port) == "OK"
    end = wait_for_end(a)
    assert end["state"] == "failed" and says in end["error"], end
    assert get(a, "k:0", "LEASE", 1000)["lease"], "the lease has come back"


def test_values_that_are_none(pair):
    cold, real, a, b = pair
    bad = [b"*0\r\n", b":5\r\n", b"*3\r\n:0\r\n$1\r\nx\r\n$0\r\n\r\n", b"*3\r\n:-5\r\n$1\r\nx\r\n$1\r\ny\r\n", b"-LOADING\r\n", b"-MOVED 1 x:1\r\n"]
    peer = Peer(range(len(bad)), lambda name: bad[int(name)])
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port) == "OK"
    end = wait_for_end(a)
    assert end["state"] == "warm" and end["gone"] == len(bad), end
    assert a("DBSIZE") == 0


def test_dead_redis_and_cancelled(start_larder, redis_server):
    with start_larder(workers=2).wire() as a:
        assert a("CACHE.WARM", "PEER", "127.0.0.1", harness.free_port()) == "OK"
        end = wait_for_end(a)
        assert end["state"] == warmth(a) == "failed" and "cannot connect" in end["error"]
        assert a("CACHE.WARM", "PEER", "127.0.0.1", redis_server.port) == "OK"
        assert wait_for_end(a)["state"] == "failed"
        with socket.create_server(("127.0.0.1", 0)) as silent:
            assert a("CACHE.WARM", "PEER", "127.0.0.1", silent.getsockname()[1]) == "OK"
            assert a("CACHE.WARM", "CANCEL") == "OK"
            assert wait_for_end(a)["state"] == "cancelled"
        assert a("CACHE.WARM", "CANCEL").startswith("ERR this node is not being warmed")


def test_it_stops_before_memory_is_full(start_larder):
    cold, peer = start_larder({"maxmemory": "32mb", "maxmemory-policy": "allkeys-lru"}, workers=2), start_larder(workers=2)
    with cold.wire() as a, peer.wire() as b:
        for i in range(800):
            b("SET", f"k:{i}", "x" * 100_000)
        a("SET", "mine", "v")
        assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port, "RATE", 1_000_000) == "OK"
        end = wait_for_end(a)
        assert end["state"] == "full" and 0 < end["installed"] < 800, end
        assert a("GET", "mine") == b"v", (end, [x for x in a("INFO").split() if b"evicted_keys" in x or x.startswith((b"larder_used", b"larder_rss", b"larder_blocks"))])


def test_replicas_and_bad_arguments(start_larder):
    primary = start_larder(workers=2)
    with primary.wire() as a, start_larder(workers=2).wire() as r:
        assert r("REPLICAOF", "127.0.0.1", primary.port) == "OK"
        harness.wait_until(lambda: b"master_link_status:up" in r("INFO", "replication"), what="the replica")
        assert r("CACHE.WARM", "PEER", "127.0.0.1", 1).startswith("ERR a replica")
        assert warmth(r) == "warm"
        for bad in (("PEER",), ("PEER", "h"), ("PEER", "h", 0), ("PEER", "h", 65536), ("PEER", "h", "x"), ("PEER", "", 1),
                    ("PEER", "h" * 300, 1), ("PEER", "h\0h", 1), ("PEER", "h", 1, "TOP"), ("PEER", "h", 1, "TOP", 0), ("PEER", "h", 1, "TOP", -1),
                    ("PEER", "h", 1, "RATE", 2**31), ("PEER", "h", 1, "RATE", 2**63), ("PEER", "h", 1, "FAST", 1), ("STATUS", "x"), ("CANCEL", "x"),
                    ("WHAT",)):
            assert isinstance(a("CACHE.WARM", *bad), Error), bad
        assert a("CACHE.WARM", "PEER", "h", 1, "TOP", 1, "TOP", 1) == "ERR TOP is given twice; give it once"
        assert status(a)["state"] == "cold"
        # What is installed goes to replicas.
        peer = start_larder(workers=2)
        with peer.wire() as b:
            b("SET", "plain", "v")
            b("CACHE.SET", "rich", "v", "PX", 600000, "VERSION", 5)
            assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port) == "OK"
            assert wait_for_end(a)["installed"] == 2
            harness.wait_until(lambda: r("MGET", "plain", "rich") == [b"v", b"v"], what="the replica to have them")
            assert inspect(r, "rich")["version"] == 5


# ---- snapshots, lists of names, jobs -----------------------------------------------------------------------------


def save_on(server, w, where):
    """What `server` has now, as a file of that name."""
    assert w("SAVE") == "OK"
    shutil.move(f"{server.dir}/dump.rdb", where)
    return str(where)


def test_a_snapshot_comes_under_what_is_here(pair, tmp_path):
    cold, peer, a, b = pair
    for i in range(300):
        b("SET", f"plain:{i}", f"theirs {i}", "PX", 600000)
    b("SADD", "set", *range(1000))
    b("SET", "big", "x" * 3_000_000)
    b("CACHE.SET", "rich", "v", "PX", 600000, "GRACE", 600000, "VERSION", 7, "TAGS", 1, "red")
    b("CACHE.SET", "purged-here", "v", "PX", 600000, "GRACE", 600000, "TAGS", 1, "blue")
    b("CACHE.SET", "none", "", "NEGATIVE", "PX", 600000)
    b("CACHE.SET", "older", "v", "VERSION", 3)
    b("CACHE.INVALIDATE", "held", "VERSION", 9, "HOLD", 600000)
    path = save_on(peer, b, tmp_path / "theirs.rdb")
    a("SET", "plain:1", "mine")
    a("SADD", "plain:2", "mine")
    a("CACHE.SET", "plain:3", "", "NEGATIVE", "PX", 600000)
    a("CACHE.PURGE", "TAG", "blue")
    a("CACHE.INVALIDATE", "older", "VERSION", 4, "HOLD", 600000)
    lease = get(a, "plain:4", "LEASE", 600000)["lease"]
    assert lease, "somebody here is loading it"
    assert a("CACHE.WARM", "SNAPSHOT", path, "RATE", 1_000_000) == "OK"
    end = wait_for_end(a)
    assert (end["state"], end["error"], end["from"]) == ("warm", "", path), end
    assert end["installed"] == 296 + 2 + 1 and end["present"] == 4, end  # plain ones, set and big, rich
    assert end["seen"] == end["present"] + end["installed"] + end["gone"] + end["overtaken"]
    assert a("GET", "plain:0") == b"theirs 0" and 0 < a("PTTL", "plain:0") <= 600000
    assert a("GET", "plain:1") == b"mine" and a("SMEMBERS", "plain:2") == [b"mine"]
    assert get(a, "plain:3")["state"] == "negative"
    assert a("CACHE.SET", "plain:4", "loaded", "LEASE", lease) == "OK", "its loader was not disturbed"
    assert a("SCARD", "set") == 1000 and a("STRLEN", "big") == 3_000_000
    # Loaded is not fresh.
    assert a("EXISTS", "rich", "purged-here", "none", "older") == 0
    assert get(a, "rich")["state"] == "miss"
    assert get(a, "rich", "STALE")["value"] == b"v" and inspect(a, "rich")["version"] == 7
    assert get(a, "purged-here", "STALE")["state"] == "miss", "it was purged here"
    assert get(a, "none")["state"] == "miss"
    # What was held there is held here, too.
    assert a("CACHE.SET", "held", "old", "VERSION", 8) == "OLDVERSION"
    assert a("CACHE.SET", "held", "new", "VERSION", 9) == "OK"
    # Again: all is here.
    assert a("CACHE.WARM", "SNAPSHOT", path) == "OK"
    assert wait_for_end(a)["installed"] == 0


def test_what_a_peer_holds_is_held_here(pair):
    cold, peer, a, b = pair
    b("CACHE.INVALIDATE", "held", "VERSION", 9, "HOLD", 600000)
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port) == "OK"
    assert wait_for_end(a)["state"] == "warm"
    assert a("CACHE.SET", "held", "old", "VERSION", 8) == "OLDVERSION"


def test_a_ban_here_counts_for_what_comes(pair, tmp_path):
    """While a pattern is being swept here nothing that matches may come from elsewhere."""
    cold, peer, a, b = pair
    for i in range(50):
        b("SET", f"x:{i}", "theirs")
        b("SET", f"y:{i}", "theirs")
    a.pipeline(*[("SET", f"x:mine:{i}", "v" * 500) for i in range(20_000)])  # more segments than one: the rate holds the sweep up
    path = save_on(peer, b, tmp_path / "theirs.rdb")
    job = as_dict(a("CACHE.PURGE", "MATCH", "x:*", "RATE", 1))["job"]
    for source in (("SNAPSHOT", path), ("PEER", "127.0.0.1", peer.port)):
        assert as_dict(a("CACHE.JOB", "STATUS", job))["state"] == "running", "else this test proves nothing"
        assert a("CACHE.WARM", *source) == "OK"
        wait_for_end(a)
        assert a("EXISTS", *(f"x:{i}" for i in range(50))) == 0
        assert a("EXISTS", *(f"y:{i}" for i in range(50))) == 50


def test_lists_of_names(pair, tmp_path):
    cold, peer, a, b = pair
    for i in range(100):
        b("SET", f"k:{i}", "theirs")
    names = tmp_path / "names"
    names.write_bytes(b"k:5\r\n\nnot there\nk:7\nk:9")
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port, "KEYS", str(names)) == "OK"
    end = wait_for_end(a)
    assert (end["seen"], end["installed"], end["gone"]) == (4, 3, 1), end
    assert a("DBSIZE") == 3
    path = save_on(peer, b, tmp_path / "theirs.rdb")
    a("FLUSHALL")
    assert a("CACHE.WARM", "SNAPSHOT", path, "KEYS", str(names), "RATE", 1000) == "OK"
    assert wait_for_end(a)["installed"] == 3 and a("EXISTS", "k:5", "k:7", "k:9") == 3
    assert a("CACHE.WARM", "SNAPSHOT", path, "TOP", 10) == "OK"
    assert wait_for_end(a)["seen"] == 10
    # Without a source: the file that this node saves to.
    assert a("SAVE") == "OK"
    a("DEL", "k:5", "k:7")
    assert a("CACHE.WARM", "KEYS", str(names)) == "OK"
    end = wait_for_end(a)
    assert (end["state"], end["installed"], end["present"]) == ("warm", 2, 1), end


def test_files_that_are_none(pair, tmp_path):
    cold, peer, a, b = pair
    b("SET", "k", "v")
    b("SADD", "s", *range(100))
    whole = pathlib.Path(save_on(peer, b, tmp_path / "theirs.rdb")).read_bytes()
    bad = tmp_path / "bad"
    for content in (b"", b"REDIS", b"no snapshot at all", whole[:-20], whole[:-1] + bytes([whole[-1] ^ 1])):
        bad.write_bytes(content)
        assert a("CACHE.WARM", "SNAPSHOT", str(bad)) == "OK"
        end = wait_for_end(a)
        assert end["state"] == "failed" and end["error"], (content[:20], end)
    for path in (tmp_path / "nothing here", tmp_path):
        assert a("CACHE.WARM", "SNAPSHOT", str(path)) == "OK"
        assert "cannot read" in wait_for_end(a)["error"]
        assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port, "KEYS", str(path)) == "OK"
        assert "cannot read" in wait_for_end(a)["error"]
    bad.write_bytes(b"\n\r\n")
    assert a("CACHE.WARM", "PEER", "127.0.0.1", peer.port, "KEYS", str(bad)) == "OK"
    assert "names no key" in wait_for_end(a)["error"]
    for args in (("SNAPSHOT",), ("SNAPSHOT", ""), ("SNAPSHOT", "a\0b"), ("SNAPSHOT", "x" * 2000), ("SNAPSHOT", "x", "KEYS"), ("KEYS",), ("KEYS", ""),
                 ("KEYS", "x", "KEYS", "x"), ("SNAPSHOT", "x", "TOP", 1, "TOP", 1), ("PEER", "h", 1, "RATE", 1, "RATE", 1)):
        assert isinstance(a("CACHE.WARM", *args), Error), args


def test_a_warming_is_a_job(pair):
    cold, real, a, b = pair
    assert a("CACHE.JOB", "LIST") == [] and as_dict(a("CACHE.WARM", "STATUS"))["job"] is None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert a("CACHE.WARM", "PEER", "127.0.0.1", silent.getsockname()[1], "RATE", 77) == "OK"
        job = as_dict(a("CACHE.WARM", "STATUS"))["job"]
        (shown,) = a("CACHE.JOB", "LIST")
        shown = as_dict(shown)
        assert (shown["job"], shown["kind"], shown["state"], shown["rate"]) == (job, "warm", "running", 77), shown
        assert list(shown) == ["job", "kind", "pattern", "soft", "rate", "state", "age", "shards", "acked", "pending", "unsupported", "matched"]
        assert as_dict(a("CACHE.JOB", "STATUS", job))["pending"] == 1
        assert a("CACHE.JOB", "CANCEL", job) == "OK"
        assert wait_for_end(a)["state"] == "cancelled"
    assert as_dict(a("CACHE.JOB", "STATUS", job))["state"] == "cancelled"
    assert a("CACHE.JOB", "CANCEL", job).startswith("ERR this job is cancelled already")
    b("SET", "k", "v")
    assert a("CACHE.WARM", "PEER", "127.0.0.1", real.port) == "OK"
    assert wait_for_end(a)["state"] == "warm"
    assert as_dict(a("CACHE.JOB", "LIST")[0])["matched"] == 1
    assert isinstance(a("CACHE.JOB", "STATUS", job), Error), "the one before is not known any more"
