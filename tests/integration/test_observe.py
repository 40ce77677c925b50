"""What operators look at: INFO, COMMAND, SLOWLOG, LATENCY, MONITOR, TIME."""

import re
import threading
import time

import pytest

from harness import wait_until
from wire import Verbatim, encode

def info(w, section):
    return dict(line.split(":", 1) for line in w("INFO", section).decode().split("\r\n") if ":" in line)


# What tools and clients read; INFO is an API.
INFO_FIELDS = {
    "server": "redis_version redis_mode os arch_bits process_id run_id tcp_port uptime_in_seconds uptime_in_days hz executable config_file",
    "clients": "connected_clients maxclients blocked_clients tracking_clients client_recent_max_input_buffer client_recent_max_output_buffer cluster_connections",
    "memory": "used_memory used_memory_human used_memory_rss used_memory_peak used_memory_dataset used_memory_overhead used_memory_startup "
    "total_system_memory maxmemory maxmemory_policy mem_fragmentation_ratio mem_allocator used_memory_lua number_of_cached_scripts allocator_frag_ratio",
    "persistence": "loading rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status aof_enabled aof_rewrite_in_progress",
    "stats": "total_connections_received total_commands_processed instantaneous_ops_per_sec total_net_input_bytes total_net_output_bytes rejected_connections "
    "expired_keys evicted_keys keyspace_hits keyspace_misses pubsub_channels latest_fork_usec total_error_replies",
    "replication": "role connected_slaves master_replid master_repl_offset repl_backlog_size repl_backlog_active",
    "cpu": "used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children",
    "cluster": "cluster_enabled",
}


@pytest.mark.parametrize("section", INFO_FIELDS)
def test_info_sections(r, section):
    info = r.info(section)
    assert [f for f in INFO_FIELDS[section].split() if f not in info] == []
    everything = r.info("everything")
    assert [f for f in INFO_FIELDS[section].split() if f not in everything] == []
    assert [f for f in INFO_FIELDS[section].split() if f not in r.info()] == []


def test_info_form(w, w3):
    text = w("INFO")
    assert text.startswith(b"# Server\r\n") and text.endswith(b"\r\n")
    for line in text.split(b"\r\n"):
        assert line == b"" or line.startswith(b"# ") or b":" in line, line
    assert isinstance(w3("INFO", "server"), Verbatim)
    assert w("INFO", "bogus") == b""
    both = w("INFO", "server", "clients")
    assert both.count(b"# ") == 2


@pytest.mark.larder
def test_info_says_what_it_is(r):
    info = r.info("server")
    assert str(info["redis_version"]).startswith("7.2.")
    assert "larder_version" in info


def test_info_tells_the_truth(larder, r):
    wait_until(lambda: r.info("clients")["connected_clients"] == 1, what="the ends of the fixtures' own connections")
    wait_until(lambda: not r.info("memory").get("larder_flushed"), what="what the fixture has flushed to be gone")
    before = r.info("everything")
    with larder.wire() as w:
        w.pipeline(*[("SET", f"k{i}", "v" * 1000) for i in range(1000)])
        w.pipeline(*[("GET", f"k{i}") for i in range(1000)])
        w.pipeline(*[("GET", f"n{i}") for i in range(500)])
        w.pipeline(*[("NOSUCH",)] * 20)
        after = r.info("everything")
        assert after["connected_clients"] == before["connected_clients"] + 1
    assert after["total_connections_received"] == before["total_connections_received"] + 1
    assert after["keyspace_hits"] - before["keyspace_hits"] == 1000
    assert after["keyspace_misses"] - before["keyspace_misses"] == 500
    assert after["total_commands_processed"] - before["total_commands_processed"] >= 2500
    assert after["total_error_replies"] - before["total_error_replies"] == 20
    assert after["total_net_input_bytes"] - before["total_net_input_bytes"] > 10**6
    assert after["total_net_output_bytes"] - before["total_net_output_bytes"] > 10**6
    assert after["used_memory"] - before["used_memory"] > 900000
    assert after["used_memory_peak"] >= after["used_memory"]
    assert after["db0"]["keys"] == 1000
    assert after["process_id"] == larder.pid and after["tcp_port"] == larder.port


def test_commandstats_errorstats_latencystats(r, w):
    r.config_resetstat()
    w.pipeline(*[("SET", "k", i) for i in range(10)], ("INCRBY", "k", "x"), ("GET",), ("CLIENT", "ID"))
    stats = r.info("commandstats")
    assert stats["cmdstat_set"]["calls"] == 10 and stats["cmdstat_set"]["failed_calls"] == 0
    assert stats["cmdstat_incrby"] == {**stats["cmdstat_incrby"], "calls": 1, "failed_calls": 1, "rejected_calls": 0}
    assert stats["cmdstat_get"]["rejected_calls"] == 1
    assert stats["cmdstat_client|id"]["calls"] == 1
    assert {"usec", "usec_per_call"} <= set(stats["cmdstat_set"])
    assert r.info("errorstats")["errorstat_ERR"] in ({"count": 2}, "count=2")  # as redis-py parses it
    latency = r.info("latencystats")
    assert set(latency["latency_percentiles_usec_set"]) == {"p50", "p99", "p99.9"}


def test_commandstats_of_runs(r, w):
    """Calls of the same command that come together are timed together, and still counted one by one."""
    w("DEL", "run", "runset")
    w("SADD", "runset", "m")
    r.config_resetstat()
    requests = [("GET", "run")] * 7 + [("GET", "runset")] + [("GET", "run")] * 4 + [("GET",)] + [("GET", "run")] * 3
    requests += [("SET", "run", "v")] * 5 + [("SET", "run", "v" * 40000)] + [("SET", "run", "v")] * 2 + [("STRLEN", "run")]
    requests += [("NOSUCH", "x")] * 2 + [("GET", "run")] * 40 + [("SELECT", "0")] + [("GET", "run")] * 2
    replies = w.pipeline(*requests)
    assert [i for i, reply in enumerate(replies) if isinstance(reply, str) and reply[:3] in ("ERR", "WRO")] == [7, 12, 25, 26]
    stats = r.info("commandstats")
    assert {k: stats["cmdstat_get"][k] for k in ("calls", "failed_calls", "rejected_calls")} == {"calls": 57, "failed_calls": 1, "rejected_calls": 1}
    assert stats["cmdstat_set"]["calls"] == 8 and stats["cmdstat_strlen"]["calls"] == 1
    assert w("LATENCY", "HISTOGRAM", "get")[1][1] == 57
    w("SLOWLOG", "RESET")
    try:
        r.config_set("slowlog-log-slower-than", 0)
        w.pipeline(*[("GET", "run")] * 20)
        assert sum(e[3][0] == b"GET" for e in w("SLOWLOG", "GET", "-1")) == 20
    finally:
        r.config_set("slowlog-log-slower-than", 10000)


def test_command(w):
    total = w("COMMAND", "COUNT")
    assert total > 80 and len(w("COMMAND")) == total
    names = w("COMMAND", "LIST")
    assert len(set(names)) == len(names) >= total and {b"get", b"set", b"bitfield", b"client", b"client|id"} <= set(names)
    get, nothing = w("COMMAND", "INFO", "get", "nosuch")
    assert nothing is None and get[0] == b"get" and get[1] == 2 and get[3:6] == [1, 1, 1]
    assert set(get[2]) == {"readonly", "fast"} and set(get[6]) == {"@read", "@string", "@fast"}
    docs = dict(zip(*[iter(w("COMMAND", "DOCS", "set", "nosuch"))] * 2))
    assert list(docs) == [b"set"]
    assert {b"summary", b"since", b"group", b"complexity", b"arguments"} <= set(docs[b"set"][::2])
    assert w("COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2") == [b"a", b"b"]
    assert w("COMMAND", "GETKEYSANDFLAGS", "SET", "k", "v") == [[b"k", ["OW", "update"]]]
    assert w("COMMAND", "GETKEYS", "PING", "x") == "ERR The command has no key arguments"
    assert w("COMMAND", "GETKEYS", "NOSUCH", "x") == "ERR Invalid command specified"
    assert w("COMMAND", "GETKEYS", "GET", "a", "b") == "ERR Invalid number of arguments specified for command"
    assert w("COMMAND", "LIST", "FILTERBY", "PATTERN", "getb*") == [b"getbit"]
    assert w("COMMAND", "LIST", "FILTERBY", "MODULE", "nosuch") == []
    assert b"get" in w("COMMAND", "LIST", "FILTERBY", "ACLCAT", "string") and b"ping" not in w("COMMAND", "LIST", "FILTERBY", "ACLCAT", "string")


def test_slowlog(r, w):
    try:
        r.config_set("slowlog-log-slower-than", 0)
        w("CLIENT", "SETNAME", "slow")
        w("SLOWLOG", "RESET")
        w("SET", "k", "v" * 300)
        w("MSET", *[x for i in range(100) for x in (f"k{i}", "v")])
        r.config_set("slowlog-log-slower-than", -1)
        entries = w("SLOWLOG", "GET", "-1")
        by_name = {e[3][0].lower(): e for e in entries}
        ident, when, micros, args, addr, name = by_name[b"set"]
        assert ident >= 0 and abs(when - time.time()) < 300 and micros >= 0 and name == b"slow"
        assert addr.decode() == "%s:%d" % w.sock.getsockname()
        assert args[2] == b"v" * 128 + b"... (172 more bytes)"
        assert len(by_name[b"mset"][3]) == 32 and by_name[b"mset"][3][-1] == b"... (170 more arguments)"
        assert w("SLOWLOG", "LEN") == len(entries)
        assert [e[0] for e in entries] == sorted((e[0] for e in entries), reverse=True)
        assert len(w("SLOWLOG", "GET", "1")) == 1 and w("SLOWLOG", "GET", "0") == []
        assert w("SLOWLOG", "GET", "-2") == "ERR count should be greater than or equal to -1"
        assert w("SLOWLOG", "RESET") == "OK" and w("SLOWLOG", "LEN") == 0
        r.config_set("slowlog-max-len", 3)
        r.config_set("slowlog-log-slower-than", 0)
        w.pipeline(*[("PING",)] * 20)
        assert w("SLOWLOG", "LEN") == 3
    finally:
        r.config_set("slowlog-log-slower-than", 10000)
        r.config_set("slowlog-max-len", 128)


def test_slowlog_hides_passwords(r, w):
    try:
        r.config_set("slowlog-log-slower-than", 0)
        w("AUTH", "hunter2")
        w("HELLO", "2", "AUTH", "default", "hunter2")
        w("CONFIG", "SET", "masterauth", "hunter2")
        r.config_set("slowlog-log-slower-than", -1)
        assert b"hunter2" not in repr(w("SLOWLOG", "GET", "-1")).encode()
    finally:
        w("CONFIG", "SET", "masterauth", "")
        r.config_set("slowlog-log-slower-than", 10000)


def test_latency_monitor(r, w):
    try:
        r.config_set("latency-monitor-threshold", 20)
        w("LATENCY", "RESET")
        w("DEBUG", "SLEEP", "0.06")
        w("DEBUG", "SLEEP", "0.03")
        r.config_set("latency-monitor-threshold", 0)  # on a slow machine other commands are slow, too
        name, when, last, worst = w("LATENCY", "LATEST")[0]
        assert name == b"command" and abs(when - time.time()) < 300 and 20 <= last and 60 <= worst
        history = w("LATENCY", "HISTORY", "command")
        assert history and all(ms >= 20 for _, ms in history) and max(ms for _, ms in history) >= 60
        assert w("LATENCY", "HISTORY", "bogus") == []
        assert isinstance(w("LATENCY", "GRAPH", "command"), bytes)
        assert w("LATENCY", "GRAPH", "bogus") == "ERR No samples available for event 'bogus'"
        assert isinstance(w("LATENCY", "DOCTOR"), bytes)
        assert w("LATENCY", "RESET", "command", "bogus") == 1
        assert b"command" not in [event[0] for event in w("LATENCY", "LATEST")]
    finally:
        r.config_set("latency-monitor-threshold", 0)


def test_latency_histogram(r, w, w3):
    r.config_resetstat()
    w.pipeline(*[("SET", "k", "v")] * 50)
    name, data = w("LATENCY", "HISTOGRAM", "set", "nosuch")
    assert name == b"set" and data[0] == b"calls" and data[1] == 50 and data[2] == b"histogram_usec"
    buckets = data[3][::2], data[3][1::2]
    assert list(buckets[0]) == sorted(buckets[0]) and list(buckets[1]) == sorted(buckets[1]) and buckets[1][-1] == 50
    assert w3("LATENCY", "HISTOGRAM", "set")[b"set"][b"calls"] == 50
    assert b"config|resetstat" in w("LATENCY", "HISTOGRAM") or w("LATENCY", "HISTOGRAM", "client|id") == []


def test_time_and_lolwut(w):
    seconds, micros = w("TIME")
    assert abs(int(seconds) - time.time()) < 300 and 0 <= int(micros) < 10**6
    assert isinstance(w("LOLWUT"), bytes) and isinstance(w("LOLWUT", "VERSION", "5"), bytes)
    assert w("LOLWUT", "VERSION", "x") == "ERR value is not an integer or out of range"


MONITOR_LINE = re.compile(r"^\d+\.\d{6} \[(\d+) ([^\]]+)\] (\".*\")$")


def test_monitor(larder, w):
    with larder.wire() as m1, larder.wire() as m2:
        assert m1("MONITOR") == "OK" and m2("MONITOR") == "OK"
        w("SELECT", "2")
        w("SET", "k\x00\n", 'va"l')
        w("AUTH", "hunter2")
        w("PING")
        for m in (m1, m2):
            lines = [MONITOR_LINE.match(m.read()) for _ in range(4)]
            assert all(lines), lines
            addr = "%s:%d" % w.sock.getsockname()
            assert [x.group(2) for x in lines] == [addr] * 4
            assert [x.group(3) for x in lines][:2] == ['"SELECT" "2"', '"SET" "k\\x00\\n" "va\\"l"'], "names as they were sent"
            assert lines[1].group(1) == "2" and lines[3].group(3) == '"PING"'
            assert "hunter2" not in lines[2].group(3)
        wait_until(lambda: w("CLIENT", "LIST").count(b" flags=O ") == 2, what="no other monitors")


def test_monitor_sees_every_worker(larder):
    """Commands of many connections all arrive, each connection's in its own order."""
    conns = [larder.wire() for _ in range(8)]
    with larder.wire() as m:
        assert m("MONITOR") == "OK"

        def work(n, c):
            for i in range(200):
                c("SET", f"conn{n}", i)

        threads = [threading.Thread(target=work, args=a) for a in enumerate(conns)]
        for t in threads:
            t.start()
        seen = {n: [] for n in range(8)}
        for _ in range(8 * 200):
            args = MONITOR_LINE.match(m.read()).group(3).replace('"', "").split()
            seen[int(args[1][4:])].append(int(args[2]))
        for t in threads:
            t.join()
    assert all(order == list(range(200)) for order in seen.values())
    for c in conns:
        c.close()


def test_monitor_shows_what_exec_runs(larder, w):
    with larder.wire() as m:
        m("MONITOR")
        w.pipeline(("MULTI",), ("SET", "k", "1"), ("AUTH", "default", "hunter2"), ("EXEC",))
        seen = [MONITOR_LINE.match(m.read()).group(3) for _ in range(4)]
        assert seen == ['"MULTI"', '"SET" "k" "1"', '"AUTH" "(redacted)" "(redacted)"', '"EXEC"']


def test_a_monitor_that_does_not_read_hurts_nobody(start_larder):
    server = start_larder({"client-output-buffer-limit": [("normal", "4mb", "0", "0")]})
    with server.wire() as w, server.wire() as m:
        assert m("MONITOR") == "OK"
        big = "v" * 100000
        deadline = time.monotonic() + 120
        while b"cmd=monitor" in w("CLIENT", "LIST"):
            w.pipeline(*[("SET", "k", big)] * 50)
            assert time.monotonic() < deadline, "the monitor's buffer has no limit"
        assert w("PING") == "PONG"
    assert server.rss() < 400 << 20


def test_monitor_ends_with_reset_and_quit(larder, w):
    with larder.wire() as m:
        m("MONITOR")
        m.send(encode("RESET"))
        lines = []
        while "RESET" not in lines:
            lines.append(m.read())
        w("SET", "k", "1")
        assert m("PING") == "PONG"
    wait_until(lambda: b"flags=O" not in w("CLIENT", "LIST"), what="the monitors to go")


def test_rounds_are_counted(larder):
    with larder.wire() as w:
        stats = lambda section: {k: int(v) for k, v in info(w, section).items() if k.startswith("eventloop_")}  # noqa: E731
        assert w("CONFIG", "RESETSTAT") == "OK"
        assert w.pipeline(*[["PING"]] * 500) == ["PONG"] * 500
        debug, first = stats("debug"), stats("stats")  # so that the sum has the longest in it
        assert w("GET", "k") is None
        assert stats("stats")["eventloop_cycles"] > first["eventloop_cycles"] > 0
        assert 0 < first["eventloop_duration_cmd_sum"]
        assert 0 < debug["eventloop_duration_max"] <= first["eventloop_duration_sum"]
        assert 1 < debug["eventloop_cmd_per_cycle_max"] <= 501
        assert "eventloop_duration_max" not in info(w, "everything") and "eventloop_duration_max" not in info(w, "all")


def test_refused_passwords_are_counted(larder):
    with larder.wire() as w:
        before = int(info(w, "stats")["acl_access_denied_auth"])
        assert w("CONFIG", "SET", "requirepass", "secret") == "OK"
        with larder.wire() as other:
            for words in (["AUTH", "guess"], ["AUTH", "nobody", "secret"], ["HELLO", "3", "AUTH", "default", "guess"]):
                assert other(*words).startswith("WRONGPASS")
        assert int(info(w, "stats")["acl_access_denied_auth"]) == before + 3
        assert w("CONFIG", "RESETSTAT") == "OK"
        assert int(info(w, "stats")["acl_access_denied_auth"]) == 0
        assert w("CONFIG", "SET", "requirepass", "") == "OK"
