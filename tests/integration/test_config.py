"""Configuration: files, arguments, standard input, and CONFIG while running."""

import os
import re
import stat
import subprocess

import pytest

import harness


def run_to_end(start_larder, **keywords):
    """Start a server that is expected to refuse; return (exit code, what it printed)."""
    server = start_larder(wait=False, **keywords)
    server.expect_alarm = True
    server.spawn()
    code = server.wait()
    return code, server.log().decode()


# --- CONFIG --------------------------------------------------------------------------------


def test_config_get(r, w):
    assert w("CONFIG", "GET", "databases") == [b"databases", b"16"]
    assert w("CONFIG", "GET", "DATABASES")[1:] == [b"16"]
    assert w("CONFIG", "GET", "nothing") == []
    several = r.config_get("*")
    for name in ("databases", "save", "appendonly", "maxmemory", "maxmemory-policy", "timeout", "maxclients", "port", "bind", "dir", "slowlog-max-len", "requirepass"):
        assert name in several, name
    assert several["appendonly"] == "no" and several["save"] == "" and several["maxmemory"] == "0"
    assert set(r.config_get("slowlog*")) == {"slowlog-log-slower-than", "slowlog-max-len"}
    both = w("CONFIG", "GET", "databases", "timeout", "databases")
    assert dict(zip(both[::2], both[1::2])) == {b"databases": b"16", b"timeout": b"0"} and len(both) == 4
    assert w("CONFIG", "GET") == "ERR wrong number of arguments for 'config|get' command"


def test_config_set_and_errors(r, w):
    assert w("CONFIG", "SET", "slowlog-max-len", "55") == "OK" and r.config_get("slowlog-max-len") == {"slowlog-max-len": "55"}
    assert w("CONFIG", "SET", "maxmemory", "100gb", "slowlog-max-len", "56") == "OK"
    assert r.config_get("maxmemory")["maxmemory"] == str(100 << 30)
    assert w("CONFIG", "SET", "maxmemory", "0", "slowlog-max-len", "128") == "OK"
    failed = "ERR CONFIG SET failed (possibly related to argument '%s') - "
    assert w("CONFIG", "SET", "databases", "5") == failed % "databases" + "can't set immutable config"
    assert w("CONFIG", "SET", "timeout", "x") == failed % "timeout" + "argument couldn't be parsed into an integer"
    assert w("CONFIG", "SET", "timeout", "-1") == failed % "timeout" + "argument must be between 0 and 2147483647 inclusive"
    assert w("CONFIG", "SET", "maxmemory", "x") == failed % "maxmemory" + "argument must be a memory value"
    assert w("CONFIG", "SET", "loglevel", "x").startswith(failed % "loglevel" + "argument(s) must be one of the following: ")
    assert w("CONFIG", "SET", "lazyfree-lazy-user-del", "x") == failed % "lazyfree-lazy-user-del" + "argument must be 'yes' or 'no'"
    assert w("CONFIG", "SET", "nosuch", "1") == "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"
    assert w("CONFIG", "SET", "timeout", "0", "timeout", "0").startswith("ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter")
    assert w("CONFIG", "SET", "timeout") == "ERR wrong number of arguments for 'config|set' command"
    assert w("CONFIG", "SET", "slowlog-max-len", "7", "timeout", "x").startswith(failed % "timeout")
    assert r.config_get("slowlog-max-len") == {"slowlog-max-len": "128"}, "all or nothing"


def test_config_set_is_atomic_about_what_it_has_begun(w):
    assert w("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "nosuch", "1").startswith("ERR Unknown option")
    assert w("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"noeviction"]


def test_resetstat(r):
    r.set("k", 1)
    r.get("k")
    r.get("nothing")
    before = r.info("stats")
    assert before["keyspace_hits"] >= 1 and before["keyspace_misses"] >= 1
    assert r.config_resetstat()
    after = r.info("stats")
    assert after["keyspace_hits"] == 0 and after["keyspace_misses"] == 0 and after["total_commands_processed"] < before["total_commands_processed"]


def test_rewrite(start_larder):
    server = start_larder(config="# mine\nslowlog-max-len 77\n\n# keep this comment\ntimeout 5\n")
    with server.wire() as w:
        assert w("CONFIG", "GET", "slowlog-max-len") == [b"slowlog-max-len", b"77"]
        assert w("CONFIG", "SET", "timeout", "9", "maxmemory", "3gb") == "OK"
        assert w("CONFIG", "REWRITE") == "OK"
    path = os.path.join(server.dir, "server.conf")
    text = open(path).read()
    assert "# mine" in text and "# keep this comment" in text and "timeout 9" in text and "slowlog-max-len 77" in text
    server.stop()
    again = start_larder(config=text)
    with again.wire() as w:
        assert w("CONFIG", "GET", "maxmemory") == [b"maxmemory", str(3 << 30).encode()]
        assert w("CONFIG", "GET", "timeout") == [b"timeout", b"9"]


def test_rewrite_without_a_file(w):
    assert w("CONFIG", "REWRITE") == "ERR The server is running without a config file"


# --- starting ------------------------------------------------------------------------------


def test_options_on_the_command_line(start_larder):
    server = start_larder({"slowlog-max-len": "99", "maxmemory": "2gb", "databases": "4"}, config="slowlog-max-len 1\n")
    with server.wire() as w:
        assert w("CONFIG", "GET", "slowlog-max-len") == [b"slowlog-max-len", b"99"], "an argument is stronger than the file"
        assert w("CONFIG", "GET", "maxmemory") == [b"maxmemory", str(2 << 30).encode()]
        assert w("SELECT", "4") == "ERR DB index is out of range"


def test_a_file_from_standard_input(start_larder):
    server = start_larder(stdin="slowlog-max-len 31\ntimeout 7\n")
    with server.wire() as w:
        assert w("CONFIG", "GET", "slowlog-max-len") == [b"slowlog-max-len", b"31"]


def test_include(start_larder, tmp_path):
    (tmp_path / "more.conf").write_text("slowlog-max-len 41\n")
    server = start_larder(config=f'include "{tmp_path}/more.conf"\n')
    with server.wire() as w:
        assert w("CONFIG", "GET", "slowlog-max-len") == [b"slowlog-max-len", b"41"]


DEBIAN_CONF = "/etc/redis/redis.conf"


def test_debians_own_redis_conf_starts_larder(start_larder, tmp_path):
    """Only what names places of the system is changed: another test run must not meet it."""
    try:
        text = open(DEBIAN_CONF).read()
    except PermissionError:
        pytest.fail(f"{DEBIAN_CONF} is not readable for this user; run as root or with sudo")
    options = {"logfile": str(tmp_path / "log"), "pidfile": str(tmp_path / "pid"), "daemonize": "no", "supervised": "no"}
    server = start_larder(options, config=text)
    with server.wire() as w:
        assert w("SET", "k", "v") == "OK"
        assert w("CONFIG", "GET", "databases") == [b"databases", b"16"]


@pytest.mark.parametrize("line", ["nosuch 1", "timeout abc", "timeout -1", "maxmemory 12zz", "databases 0", "appendonly maybe", "port 70000", "loglevel loud", 'requirepass "open', "timeout 1 2"])
def test_a_bad_line_stops_the_start(start_larder, line):
    code, text = run_to_end(start_larder, config=f"# first\nslowlog-max-len 3\n{line}\n")
    assert code == 1
    assert "line 3" in text.replace("line: 3", "line 3"), text
    assert line.split()[0] in text


@pytest.mark.larder
def test_a_typing_mistake_is_understood(start_larder):
    code, text = run_to_end(start_larder, config="maxmemry 1gb\n")
    assert code == 1 and "did you mean" in text and "maxmemory" in text and "server.conf" in text


@pytest.mark.parametrize("options", [{"nosuch": "1"}, {"timeout": "x"}])
def test_a_bad_argument_stops_the_start(start_larder, options):
    code, text = run_to_end(start_larder, options=options)
    assert code == 1 and list(options)[0] in text


def test_a_missing_file_stops_the_start(start_larder):
    code, text = run_to_end(start_larder, config='include "/nonexistent/file.conf"\n')
    assert code == 1 and "/nonexistent/file.conf" in text


@pytest.mark.larder
@pytest.mark.parametrize("option,word", [({"appendonly": "yes"}, "append-only")])
def test_what_cannot_be_promised_is_refused_with_its_reason(start_larder, option, word):
    code, text = run_to_end(start_larder, options=option)
    assert code == 1 and word in text and list(option)[0] in text


@pytest.mark.larder
def test_accepted_options_warn_once(start_larder):
    server = start_larder({"activedefrag": "yes", "io-threads": "4"})
    log = server.log().decode()
    assert log.count("activedefrag") == 1 and log.count("io-threads") == 1


def test_a_taken_port_is_a_clear_message(start_larder):
    first = start_larder()
    second = start_larder(wait=False)
    second.expect_alarm = True
    second.port = first.port
    second.spawn()
    assert second.wait() == 1
    text = second.log().decode()
    assert str(first.port) in text and "in use" in text
    assert first.client().ping()


def test_version_and_help():
    for option, pattern in (("--version", r"\d+\.\d+\.\d+"), ("-v", r"\d+\.\d+\.\d+"), ("--help", "Usage")):
        done = subprocess.run([harness.LARDER_SERVER, option], capture_output=True, text=True, timeout=60, check=False)
        assert re.search(pattern, done.stdout + done.stderr), option


# --- process -------------------------------------------------------------------------------


def test_unix_socket(start_larder):
    path = "s.sock"
    server = start_larder({"unixsocket": path, "unixsocketperm": "700"})
    full = os.path.join(server.dir, path)
    assert stat.S_IMODE(os.stat(full).st_mode) == 0o700
    client = server.client()
    import redis

    local = redis.Redis(unix_socket_path=full)
    assert local.set("k", "v") and client.get("k") == b"v"
    info = local.client_info()
    assert info["addr"].endswith(":0") and info["addr"] != ":0"
    server.stop()
    assert not os.path.exists(full)


def test_only_a_unix_socket(start_larder):
    server = start_larder({"unixsocket": "only.sock", "port": "0"}, wait=False)
    server.spawn()
    full = os.path.join(server.dir, "only.sock")


    def said():
        try:
            with harness.Wire(full) as w:
                return w("PING")
        except OSError:  # it is not there, or nobody listens yet
            return None

    assert harness.wait_until(said, what="the socket") == "PONG"


def test_pidfile_and_logfile(start_larder):
    server = start_larder({"pidfile": "p.pid", "logfile": "server.log"})
    pidfile = os.path.join(server.dir, "p.pid")
    harness.wait_until(lambda: os.path.exists(pidfile) and open(pidfile).read().strip(), what="the pid file")
    assert int(open(pidfile).read()) == server.pid
    harness.wait_until(lambda: b"Ready to accept connections" in open(os.path.join(server.dir, "server.log"), "rb").read(),
                       what="its word in the log")
    assert server.stop() == 0
    assert not os.path.exists(pidfile)


def test_daemonize(start_larder):
    server = start_larder({"daemonize": "yes", "pidfile": "p.pid", "logfile": "server.log"}, wait=False)
    server.spawn()
    assert server.wait() == 0, "the starter returns"
    pidfile = os.path.join(server.dir, "p.pid")
    pid = harness.wait_until(lambda: os.path.exists(pidfile) and open(pidfile).read().strip(), what="the pid file")
    try:
        harness.wait_until(lambda: answers(server), what="the daemon to answer")
        assert os.getsid(int(pid)) == int(pid), "it leads a session of its own"
    finally:
        os.kill(int(pid), 15)
    harness.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the daemon to end")


def answers(server):
    try:
        with server.wire() as w:
            return w("PING") == "PONG"
    except OSError:
        return False


@pytest.mark.larder
def test_files_are_private(start_larder):
    server = start_larder({"pidfile": "p.pid", "logfile": "server.log"})
    for name in ("server.log",):
        assert stat.S_IMODE(os.stat(os.path.join(server.dir, name)).st_mode) & 0o077 == 0


def test_rename_command(start_larder):
    server = start_larder({"rename-command": [("FLUSHALL", "wipe"), ("KEYS", "")]})
    with server.wire() as w:
        assert w("FLUSHALL").startswith("ERR unknown command 'FLUSHALL'")
        assert w("wipe") == "OK"
        assert w("KEYS", "*").startswith("ERR unknown command 'KEYS'")
