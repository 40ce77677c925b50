"""What connections cost, and who goes when it is too much."""

import resource
import select
import socket
import time

import pytest

from harness import sanitized, wait_until
from wire import encode

KB, MB = 1 << 10, 1 << 20


def info(w, section):
    lines = w("INFO", section).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def listed(w):
    """CLIENT LIST as dicts by id."""
    lines = w("CLIENT", "LIST").decode().splitlines()
    clients = [dict(f.split("=", 1) for f in line.split(" ")) for line in lines]
    return {int(c["id"]): c for c in clients}


def connect_many(server, n):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= n + 500, f"{n} connections need more open files than {hard} (ulimit -n)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return [socket.create_connection(server.address(), timeout=60) for _ in range(n)]


def test_idle_connections_cost_little(start_larder):
    """15,000 connections that have all been served once, and CLIENT LIST among them."""
    n = 15000
    server = start_larder({"maxclients": str(n + 100)})
    with server.wire() as w:
        w("CLIENT", "LIST")
        before, memory = server.rss(), int(info(w, "memory")["mem_clients_normal"])
        conns = connect_many(server, n)
        for c in conns:
            c.sendall(b"PING\r\n")
        for c in conns:
            assert c.recv(100) == b"+PONG\r\n"
        grown = server.rss() - before
        counted = int(info(w, "memory")["mem_clients_normal"]) - memory
        clients = listed(w)
        assert len(clients) == n + 1
        assert len({c["addr"] for c in clients.values()}) == n + 1
        assert 100 * n < counted < KB * n
        if not sanitized(server):
            assert grown < 15 * MB, f"{grown / n:.0f} bytes a connection"
        for c in conns:
            c.close()
        wait_until(lambda: info(w, "clients")["connected_clients"] == "1", seconds=240, what="all to be gone")
        wait_until(lambda: int(info(w, "memory")["mem_clients_normal"]) <= memory + KB, what="their memory to be gone, too")


def test_clients_come_and_go_while_they_are_listed(start_larder):
    """Every connection that is there all the time is in every list exactly once."""
    server = start_larder(workers=2)
    with server.wire() as w:
        stay = [server.wire() for _ in range(700)]
        ids = {c("CLIENT", "ID") for c in stay}
        flux = []
        for i in range(60):
            flux.extend(socket.create_connection(server.address(), timeout=60) for _ in range(10))
            if i % 2:
                w.send(encode("CLIENT", "LIST"))
                for c in flux[::2]:
                    c.close()
                flux = flux[1::2]
                lines = w.read().decode().splitlines()
                seen = [int(line.split(" ", 1)[0][3:]) for line in lines]
                assert len(seen) == len(set(seen))
                assert ids <= set(seen)
        for c in stay + flux:
            c.close()


def test_kill_of_many_at_once(start_larder):
    server = start_larder(workers=3)
    with server.wire() as w:
        victims = connect_many(server, 1500)
        for c in victims:
            c.sendall(b"PING\r\n")
            c.recv(100)
        assert w("CLIENT", "KILL", "TYPE", "normal") == 1500
        assert all(c.recv(100) == b"" for c in victims)
        assert info(w, "clients")["connected_clients"] == "1"


def test_commandstats_count_client_list(w):
    w("CONFIG", "RESETSTAT")
    for _ in range(3):
        w("CLIENT", "LIST")
    stats = info(w, "commandstats")
    assert stats["cmdstat_client|list"].startswith("calls=3,")


# --- maxmemory-clients ---------------------------------------------------------------------


def test_the_biggest_client_goes_first(start_larder):
    server = start_larder({"maxmemory-clients": "8mb"}, workers=4)
    with server.wire() as w:
        w("SET", "k", "v" * 8000)
        small = [server.wire() for _ in range(20)]
        for c in small:
            c("MULTI")
            c("SET", "x", "y" * 50 * KB)
        assert info(w, "stats")["evicted_clients"] == "0"
        big = server.wire()
        big("CLIENT", "SETNAME", "big")
        big("MULTI")
        try:
            for _ in range(300):
                big("SET", "x", "y" * 50 * KB)
        except (EOFError, OSError):
            pass
        assert big.closed()
        assert info(w, "stats")["evicted_clients"] == "1"
        assert all(c("EXEC") == ["OK"] for c in small)
        assert b"maxmemory-clients" in server.log()


def test_many_equal_clients_are_evicted_until_it_fits(start_larder):
    server = start_larder({"maxmemory-clients": "4mb"}, workers=3)
    with server.wire() as w:
        w("CLIENT", "NO-EVICT", "ON")
        conns = [server.wire() for _ in range(60)]
        for c in conns:
            try:
                c.send(encode("MULTI") + encode("SET", "x", "y" * 200 * KB))
            except OSError:
                pass

        def settled():
            """How many are left, once each has either been evicted or has its transaction, and all fit."""
            left = [c for c in listed(w).values() if "e" not in c["flags"]]
            evicted, memory = int(info(w, "stats")["evicted_clients"]), int(info(w, "memory")["mem_clients_normal"])
            return all(c["multi"] == "1" for c in left) and len(left) + evicted == 60 and memory <= 4 * MB and len(left)

        assert 10 <= wait_until(settled, what="the clients to fit") <= 25


def test_no_evict_and_percent(start_larder):
    server = start_larder({"maxmemory": "100mb", "maxmemory-clients": "4%"}, workers=2)
    with server.wire() as w, server.wire() as kept, server.wire() as bystander:
        assert w("CONFIG", "GET", "maxmemory-clients") == [b"maxmemory-clients", b"4%"]
        for c in (w, kept):
            c("CLIENT", "NO-EVICT", "ON")
        bystander("MULTI")
        bystander("SET", "x", "y" * MB)
        kept("MULTI")
        for _ in range(8):
            kept("SET", "x", "y" * MB)
        assert bystander.closed(), "who may be evicted goes, although another is bigger"
        assert len(kept("EXEC")) == 8
        assert w("CONFIG", "SET", "maxmemory-clients", "0") == "OK"
        with server.wire() as free:
            free("MULTI")
            for _ in range(8):
                free("SET", "x", "y" * MB)
            assert len(free("EXEC")) == 8


def test_memory_of_names_and_watches_is_counted(w, larder):
    with larder.wire() as c:
        me = c("CLIENT", "ID")
        before = int(listed(w)[me]["tot-mem"])
        c("CLIENT", "SETNAME", "n" * 100000)
        for i in range(100):
            c("WATCH", f"{i}" + "k" * 1000)
        after = int(listed(w)[me]["tot-mem"])
        assert after - before > 200000
        c("UNWATCH")
        c("CLIENT", "SETNAME", "")
        assert int(listed(w)[me]["tot-mem"]) == before


def test_recent_buffers(larder, w):
    with larder.wire() as c:
        c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000\r\n" + b"x" * 300000)
        wait_until(lambda: int(info(w, "clients")["client_recent_max_input_buffer"]) >= 300000, what="the input buffer to show")
        c.send(b"x" * 200000 + b"\r\n")
        assert c.read() == "OK"


# --- limits of replies ---------------------------------------------------------------------


def dropped(w):
    return int(info(w, "stats")["client_output_buffer_limit_disconnections"])


def test_one_reply_beyond_the_limit(start_larder):
    """It ends the connection while it grows, on a worker, on the lane and in EXEC."""
    server = start_larder({"client-output-buffer-limit": [("normal", "1mb", "0", "0")], "enable-debug-command": "yes"})
    with server.wire() as w:
        assert w("DEBUG", "POPULATE", "30000", "key", "1000") == "OK"
        requests = (
            encode("MGET", *[f"key:{i}" for i in range(30000)]),
            encode("KEYS", "*" * 100) * 20,
            encode("MULTI") + encode("GET", "key:1") * 10000 + encode("EXEC"),
            encode("SCAN", "0", "COUNT", "1000000") * 20,
        )
        for n, request in enumerate(requests, 1):
            with server.wire() as c:
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                try:
                    c.send(request)
                except OSError:
                    pass
                wait_until(lambda n=n: dropped(w) == n, what=f"request {n} to be cut off")
        assert w("PING") == "PONG"


def test_what_was_read_is_forgotten(larder, w):
    """A client that is always behind, but reads, costs what it has not read yet."""
    w("SET", "small", "v" * 4000)
    with larder.wire() as slow:
        me = slow("CLIENT", "ID")
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.sock.setblocking(False)
        worst, asked, got, total = 0, 0, 0, 120 * MB
        request, length = encode("GET", "small") * 100, (4000 + 9) * 100
        while got < total:
            ahead = asked - got
            readable, writable, _ = select.select([slow.sock], [slow.sock] if ahead < 6 * MB and asked < total else [], [], 60)
            assert readable or writable
            if writable:
                slow.sock.sendall(request)
                asked += length
            if readable and (ahead > 4 * MB or asked >= total):
                got += len(slow.sock.recv(1 << 16))
            if asked // length % 20 == 0:
                worst = max(worst, int(listed(w)[me]["tot-mem"]))
        assert 0 < worst < 40 * MB


def test_multi_counts_as_query_buffer(start_larder):
    server = start_larder({"client-query-buffer-limit": "1mb"})
    with server.wire() as w:
        w("MULTI")
        with pytest.raises((EOFError, OSError)):
            for _ in range(100):
                w("SET", "k", "x" * 50000)


# --- time ----------------------------------------------------------------------------------


def idle_is_dropped(server, idle, busy):
    """With a timeout of a second, who says nothing is dropped. Who talks every 50 ms is not, unless this machine let it be
    silent for about that second."""
    began = time.monotonic()
    assert busy("CONFIG", "SET", "timeout", "1") == "OK"
    try:
        while not idle.closed(0.05):
            began, before = time.monotonic(), began
            assert busy("PING") == "PONG"
    except (EOFError, OSError):
        assert time.monotonic() - before >= 0.5, "a client that talks was dropped"
        assert idle.closed()
    with server.wire() as w:
        assert w("CONFIG", "SET", "timeout", "0") == "OK"


@pytest.mark.parametrize("hz", ["1", "10", "500"])
def test_timeout_closes_idle_clients_only(start_larder, hz):
    server = start_larder({"hz": hz})
    with server.wire() as busy, server.wire() as idle, server.wire() as monitor:
        assert monitor("MONITOR") == "OK"
        me = idle("CLIENT", "ID")
        idle_is_dropped(server, idle, busy)
        with server.wire() as w:
            assert me not in listed(w)
    with server.wire() as busy, server.wire() as monitor:
        assert monitor("MONITOR") == "OK"
        assert busy("CONFIG", "SET", "hz", "0", "active-expire-effort", "10") == "OK"
        assert busy("CONFIG", "GET", "hz") == [b"hz", b"1"]
        assert b"flags=O" in busy("CLIENT", "LIST")


def test_a_short_pause_is_short_with_a_low_hz(start_larder):
    """What waits for the end of a pause does not wait for the next tick."""
    server = start_larder({"hz": "1"})
    with server.wire() as w:
        for _ in range(30):
            assert w("CLIENT", "PAUSE", "5", "ALL") == "OK"
            assert w("SET", "k", "v") == "OK"


def test_expiry_in_the_background(start_larder):
    server = start_larder({"hz": "1", "active-expire-effort": "10"})
    with server.wire() as w:
        w.pipeline(*[("SET", f"k{i}", "v" * 100, "PX", "1") for i in range(20000)])
        wait_until(lambda: w("DBSIZE") == 0, what="the sweep to find expired keys")
        wait_until(lambda: int(info(w, "stats")["expired_keys"]) == 20000, what="the last of them to be counted")
