"""Many workers, many clients, and a checker that knows what must hold.

Each test starts servers of 1, 2 and 4 workers. The keys of a test spread over shards,
the connections over workers, so a command's keys mostly belong to several shards and
the command to another worker than the one before.
"""

import random
import threading

import pytest

from test_transactions import run_all

PAIRS = [f"pair:{i}" for i in range(12)]


@pytest.fixture(params=[1, 2, 4], ids=lambda n: f"{n} workers")
def server(request, start_larder):
    return start_larder(workers=request.param)


def test_increments_add_up(server):
    """INCR of few keys from many connections: no update is lost."""
    clients, each = 8, 1500

    def work():
        rng = random.Random()
        with server.wire() as w:
            for _ in range(each // 50):
                w.pipeline(*[("INCR", f"n{rng.randrange(5)}") for _ in range(50)])

    run_all([work] * clients)
    with server.wire() as w:
        assert sum(int(v) for v in w("MGET", *[f"n{i}" for i in range(5)])) == clients * each


def test_every_kind_of_update_adds_up(server):
    """Appended bytes, set bits, counters in fields and floats, all on shared keys."""
    clients, each = 4, 600

    def work(n):
        with server.wire() as w:
            for i in range(each):
                w.pipeline(
                    ("APPEND", "log", "x"), ("INCRBYFLOAT", "float", "0.5"), ("BITFIELD", "bits", "INCRBY", "u32", "0", "1"),
                    ("SETBIT", "marks", n * each + i, "1"), ("DECRBY", "down", "3"),
                )  # fmt: skip

    run_all([lambda n=n: work(n) for n in range(clients)])
    with server.wire() as w:
        total = clients * each
        assert w("STRLEN", "log") == total
        assert float(w("GET", "float")) == total / 2
        assert w("BITFIELD", "bits", "GET", "u32", "0") == [total]
        assert w("BITCOUNT", "marks") == total
        assert int(w("GET", "down")) == -3 * total


def test_mset_is_never_half_seen(server):
    """Writers give all keys one value in one command; every reader sees one value."""
    stop = threading.Event()

    def write(n):
        rng = random.Random(n)
        with server.wire() as w:
            i = 0
            while not stop.is_set():
                names = rng.sample(PAIRS, len(PAIRS))
                value = f"{n}:{i}" * rng.choice((1, 20))
                w("MSET", *[x for name in names for x in (name, value)])
                i += 1

    def read(how):
        rng = random.Random(how)
        with server.wire() as w:
            for _ in range(700):
                names = rng.sample(PAIRS, len(PAIRS))
                if how == "mget":
                    values = w("MGET", *names)
                else:
                    values = w.pipeline(("MULTI",), *[("GET", n) for n in names], ("EXEC",))[-1]
                assert len(set(values)) == 1, values

    def readers_then_stop():
        run_all([lambda: read("mget"), lambda: read("exec")], stop)
        stop.set()

    with server.wire() as w:
        w("MSET", *[x for name in PAIRS for x in (name, "start")])
    run_all([readers_then_stop] + [lambda n=n: write(n) for n in range(3)], stop)


def test_rename_moves_one_token(server):
    """A value wanders between keys of several shards; there is always exactly one."""
    names = [f"place:{i}" for i in range(6)]
    stop = threading.Event()

    def move(n):
        rng = random.Random(n)
        with server.wire() as w:
            while not stop.is_set():
                w("RENAMENX" if rng.random() < 0.5 else "RENAME", *rng.sample(names, 2))

    def watch():
        with server.wire() as w:
            for i in range(1500):
                if i % 2:
                    assert w("EXISTS", *names) == 1
                else:
                    assert [v for v in w("MGET", *names) if v is not None] == [b"token"]
        stop.set()

    with server.wire() as w:
        w("SET", names[0], "token")
    run_all([watch] + [lambda n=n: move(n) for n in range(3)], stop)


def test_copies_are_whole(server):
    """COPY and BITOP between shards read a source that others overwrite: never a mixture."""
    stop = threading.Event()
    letters = "abcdefgh"

    def write(n):
        rng = random.Random(n)
        with server.wire() as w:
            while not stop.is_set():
                w("SET", "source", rng.choice(letters) * rng.choice((10, 1000, 50000)))

    def copy():
        with server.wire() as w:
            for i in range(400):
                if i % 2:
                    w("COPY", "source", f"dest:{i % 7}", "REPLACE")
                else:
                    w("BITOP", "OR", f"dest:{i % 7}", "source")
                value = w("GET", f"dest:{i % 7}")
                assert value and value.count(value[:1]) == len(value)
        stop.set()

    with server.wire() as w:
        w("SET", "source", "a")
    run_all([copy, lambda: write(1), lambda: write(2)], stop)


def test_flushall_among_writers(server):
    """FLUSHALL is a moment: what MSET wrote together goes together."""
    stop = threading.Event()

    def write():
        with server.wire() as w:
            while not stop.is_set():
                w("MSET", *[x for name in PAIRS for x in (name, "1")])

    def flush():
        with server.wire() as w:
            for i in range(150):
                assert w("FLUSHALL" if i % 2 else "FLUSHDB") == "OK"
        stop.set()

    def read():
        with server.wire() as w:
            while not stop.is_set():
                assert w("EXISTS", *PAIRS) in (0, len(PAIRS))

    run_all([flush, write, write, read], stop)


def test_swapdb_is_a_moment(server):
    """Both databases hold 8 keys of their own value: no reader sees them mixed."""
    stop = threading.Event()
    with server.wire() as w:
        for db in (0, 1):
            w("SELECT", db)
            w("MSET", *[x for name in PAIRS for x in (name, db)])

    def swap():
        with server.wire() as w:
            for _ in range(200):
                assert w("SWAPDB", "0", "1") == "OK"
        stop.set()

    def read():
        with server.wire() as w:
            while not stop.is_set():
                assert len(set(w("MGET", *PAIRS))) == 1

    run_all([swap, read, read], stop)


def test_everything_at_once(server):
    """No checker but the server's own assertions, and that it answers at the end."""
    stop = threading.Event()

    def chaos(n):
        rng = random.Random(n)
        with server.wire() as w:
            for _ in range(250):
                commands = [one(rng) for _ in range(20)]
                replies = w.pipeline(*commands)
                assert len(replies) == 20

    def one(rng):
        k = [f"k{rng.randrange(40)}" for _ in range(6)]
        return rng.choice(
            [
                ("SET", k[0], "v" * rng.randrange(2000)), ("GET", k[0]), ("DEL", *k), ("MSET", k[0], "1", k[1], "2"), ("MGET", *k), ("INCR", k[0]), ("RENAME", k[0], k[1]),
                ("COPY", k[0], k[1], "REPLACE"), ("EXPIRE", k[0], "100"), ("PEXPIRE", k[0], "1"), ("APPEND", k[0], "x" * 300), ("SETRANGE", k[0], rng.randrange(5000), "y"),
                ("SCAN", "0", "COUNT", "50"), ("DBSIZE",), ("KEYS", "k1*"), ("RANDOMKEY",), ("DUMP", k[0]), ("BITOP", "XOR", *k[:4]), ("FLUSHDB",), ("INFO",),
                ("CLIENT", "LIST"), ("OBJECT", "ENCODING", k[0]), ("MOVE", k[0], "1"), ("SWAPDB", "0", "1"), ("GETDEL", k[0]), ("GETEX", k[0], "PX", "5"),
            ]
        )  # fmt: skip

    run_all([lambda n=n: chaos(n) for n in range(6)], stop)
    with server.wire() as w:
        assert w("PING") == "PONG"
        w("FLUSHALL")
        assert w("DBSIZE") == 0


def test_clients_are_spread_over_workers(start_larder):
    """A command of each of many connections is served while one connection keeps a worker busy."""
    server = start_larder(workers=4)
    conns = [server.wire() for _ in range(64)]
    for i, c in enumerate(conns):
        assert c("SET", f"k{i}", i) == "OK"
    with server.wire() as w:
        assert len(w("CLIENT", "LIST").splitlines()) == 65
        assert w("MGET", *[f"k{i}" for i in range(64)]) == [b"%d" % i for i in range(64)]
    for c in conns:
        c.close()


def test_what_one_client_wrote_another_reads_at_once(server):
    """An acknowledged write is seen by every connection, whichever worker serves it."""
    conns = [server.wire() for _ in range(9)]
    rng = random.Random(6)
    for i in range(1500):
        a, b = rng.sample(conns, 2)
        assert a("SET", "k", i) == "OK"
        assert b("GET", "k") == b"%d" % i
    for c in conns:
        c.close()
