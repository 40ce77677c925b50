"""CONFIG beside Debian's redis-server: the same defaults, the same values, the same words.

Every intended difference stands in a list here. A difference that is not listed fails,
and so does a listed one that is gone.
"""

import threading

import pytest

import harness
from wire import Error

# What a test server is started with, or what the machine decides.
STARTED_WITH = {"port", "dir", "bind"}

# name: (Redis 7.0.15, larder). The reasons are in src/server/options.def.
DIFFERENT = {
    "save": ("3600 1 300 100 60 10000", ""),
    "syslog-ident": ("redis", "larder"),
    "client-output-buffer-limit": (
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        "normal 1073741824 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    ),
}

# New in Redis 7.2, and our own.
ONLY_LARDER = {
    "cluster-announce-human-nodename": "",
    "locale-collate": "",
    "set-max-listpack-entries": "128",
    "set-max-listpack-value": "64",
    "availability-zone": "",
    "io-uring": "yes",
    "cluster-bus-open": "no",
    "cluster-slot-stats-enabled": "no",
    "cache-leases-max": "1048576",
    "cache-version-hold": "10000",
    "cache-negative-ttl": "10000",
    "cache-negative-max-memory": "16777216",
    "cache-origin-budget": "",
    "cache-purge-timeout": "1000",
    "workers": None,  # what the test server was started with
}

HIDDEN = {  # CONFIG GET shows these by their exact name only
    "key-load-delay": "0",
    "rdb-key-save-delay": "0",
    "use-exit-on-panic": "no",
    "watchdog-period": "0",
    "loading-process-events-interval-bytes": "2097152",
}


@pytest.fixture
def plain_redis():
    server = harness.Server(harness.REDIS_SERVER, {"save": None, "appendonly": None}).start()
    yield server
    server.close()


@pytest.fixture
def plain_larder(start_larder):
    return start_larder()


def config_of(server, *patterns):
    with server.wire() as w:
        reply = w("CONFIG", "GET", *(patterns or ("*",)))
    pairs = [(k.decode(), v.decode()) for k, v in zip(reply[::2], reply[1::2])]
    assert len(dict(pairs)) == len(pairs), "a name stands twice"
    return dict(pairs)


@pytest.mark.larder
def test_every_default_is_rediss_or_listed(plain_redis, plain_larder):
    theirs, ours = config_of(plain_redis), config_of(plain_larder)
    assert set(theirs) - set(ours) == set()
    assert set(ours) - set(theirs) == set(ONLY_LARDER)
    found = {n: (theirs[n], ours[n]) for n in theirs if theirs[n] != ours[n] and n not in STARTED_WITH}
    assert found == DIFFERENT
    for name, value in ONLY_LARDER.items():
        assert value is None or ours[name] == value


def test_hidden_options(plain_larder):
    shown = config_of(plain_larder)
    for name, value in HIDDEN.items():
        assert name not in shown
        assert config_of(plain_larder, name) == {name: value}


# ---- the same commands to both ----------------------------------------------------------

BOTH = """
GET MaxMemory
GET maxmemory MAXMEMORY
GET nosuch
GET h? [hH]z
GET slave-priority
GET *-priority lua-time-*
SET maxmemory 1mb
GET maxmemory
SET maxmemory 10k
GET maxmemory
SET maxmemory 010
GET maxmemory
SET maxmemory 18446744073709551615
GET maxmemory
SET maxmemory 0
SET maxmemory -1
SET maxmemory 10%
SET maxmemory 1.5gb
SET maxmemory 1x
SET maxmemory x timeout 1
SET timeout 1 maxmemory x
GET timeout
SET TIMEOUT abc
SET timeout | 5|
SET timeout -1
SET timeout 2147483648
SET timeout 99999999999999999999
SET timeout 1 timeout 2
SET timeout
SET timeout 1 tcp-keepalive
SET nosuch 1
SET nosuch 1 databases 3
SET databases 3 nosuch 1
SET databases 3
SET include x
SET rename-command x
SET dir /tmp
SET dbfilename x
SET replicaof |no one|
SET lua-time-limit x
SET slave-priority 1 replica-read-only maybe
SET maxmemory-clients 0%
GET maxmemory-clients
SET maxmemory-clients 5%
GET maxmemory-clients
SET maxmemory-clients 200%
SET maxmemory-clients -5
SET maxmemory-clients %
SET maxmemory-clients 0
SET hz 0
GET hz
SET hz 10000
GET hz
SET hz -1
SET hz 10
SET save |100 1 2 3|
GET save
SET save |1 2 3|
SET save |0 1|
SET save |a b|
SET save ||
GET save
SET client-output-buffer-limit |normal 0 0 0|
SET client-output-buffer-limit |slave 1mb 2kb 3|
GET client-output-buffer-limit
SET client-output-buffer-limit ||
SET client-output-buffer-limit |normal 1 2|
SET client-output-buffer-limit |normal 1 2 -1|
SET client-output-buffer-limit |normal a 2 1|
SET client-output-buffer-limit |master 1 2 1|
GET client-output-buffer-limit
SET notify-keyspace-events KEA
GET notify-keyspace-events
SET notify-keyspace-events g$lshzxetdmnKE
GET notify-keyspace-events
SET notify-keyspace-events nmEKdtxg
GET notify-keyspace-events
SET notify-keyspace-events Q
SET notify-keyspace-events ||
SET shutdown-on-sigterm |now nosave|
GET shutdown-on-sigterm
SET shutdown-on-sigterm |default now|
GET shutdown-on-sigterm
SET shutdown-on-sigterm |save nosave|
SET shutdown-on-sigterm ||
SET shutdown-on-sigterm default
SET latency-tracking-info-percentiles |50 99.9 100 0.001 3.0|
GET latency-tracking-info-percentiles
SET latency-tracking-info-percentiles abc
SET latency-tracking-info-percentiles 101
GET latency-tracking-info-percentiles
SET latency-tracking-info-percentiles ||
GET latency-tracking-info-percentiles
SET oom-score-adj-values |1 2|
SET oom-score-adj-values |1 2 3000|
SET loglevel NOTICE
SET loglevel x
SET appendonly 1
SET appendonly no
SET unixsocketperm 1
SET proto-max-bulk-len 1
SET client-query-buffer-limit 1048575
SET maxclients 4294967296
SET maxclients 0
SET slowlog-log-slower-than -2
SET slowlog-max-len -1
SET tracking-table-max-keys 9223372036854775808
SET list-max-listpack-size -2147483649
SET list-max-ziplist-size -2147483648
GET list-max-*-size
SET cluster-announce-hostname |a b|
SET cluster-announce-hostname a.b-c
GET cluster-announce-hostname
SET cluster-announce-bus-port 65536
SET proc-title-template {foo
SET proc-title-template ||
SET requirepass ||
SET masterauth |a b|
GET masterauth
SET masterauth ||
SET tls-auth-clients x
SET acl-pubsub-default x
SET sanitize-dump-payload x
SET appendfsync x
SET repl-diskless-load x
SET supervised no
SET replica-announce-ip |x y|
GET replica-announce-ip
GET
SET
RESETSTAT
RESETSTAT x
REWRITE
REWRITE x
HELP
HELP x
nosuch
"""

# Words that differ on purpose: the command, what Redis says, what larder says.
BOTH_DIFFERENT = """
SET maxmemory ||
    OK
    ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value
SET maxmemory gb
    OK
    ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value
SET maxmemory 18446744073709551616
    OK
    ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value
SET hash-max-ziplist-entries 1 hash-max-listpack-entries 2
    OK
    ERR CONFIG SET failed (possibly related to argument 'hash-max-listpack-entries') - duplicate parameter
SET maxmemory-policy x
    ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction
    ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction, allkeys-auto, volatile-auto
SET activedefrag yes
    ERR CONFIG SET failed (possibly related to argument 'activedefrag') - Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc like the one shipped by default with the Redis source distribution
    OK
"""  # noqa: E501


def words(line):
    """Split at spaces, but keep what stands between bars."""
    out = []
    for i, part in enumerate(line.split("|")):
        out += [part] if i % 2 else part.split()
    return out


def sorted_pairs(reply):
    """CONFIG GET's pairs come in no particular order."""
    return sorted(zip(reply[::2], reply[1::2])) if isinstance(reply, list) else reply


def test_the_same_words(plain_redis, plain_larder):
    with plain_redis.wire() as theirs, plain_larder.wire() as ours:
        # Defaults of ours that would show in the replies.
        for name in DIFFERENT:
            if name != "syslog-ident":
                for w in (theirs, ours):
                    assert w("CONFIG", "SET", name, DIFFERENT[name][0]) == "OK"
        for line in BOTH.strip().split("\n"):
            argv = words(line)
            expected, got = theirs("CONFIG", *argv), ours("CONFIG", *argv)
            if argv[0] == "GET":
                expected, got = sorted_pairs(expected), sorted_pairs(got)
            assert (line, type(got), got) == (line, type(expected), expected)


@pytest.mark.larder
def test_listed_words_differ(plain_redis, plain_larder):
    lines = BOTH_DIFFERENT.strip().split("\n")
    with plain_redis.wire() as theirs, plain_larder.wire() as ours:
        for line, expected, own in zip(lines[::3], lines[1::3], lines[2::3]):
            argv = words(line)
            assert (line, str(theirs("CONFIG", *argv))) == (line, expected.strip())
            assert (line, str(ours("CONFIG", *argv))) == (line, own.strip())


# ---- starting ---------------------------------------------------------------------------


def start_fails(start_larder, **keywords):
    server = start_larder(wait=False, **keywords).spawn()
    assert server.wait() == 1
    server.expect_alarm = True  # a server that ends with 1 is what this is about
    return server.log().decode()


@pytest.mark.larder
def test_a_wrong_line_stops_the_start(start_larder):
    text = start_fails(start_larder, config="# fine\nmaxclients 100\n  maxmemry 1gb\n")
    assert "\n*** FATAL CONFIG FILE ERROR (larder " in text
    assert ", at line 3\n>>> 'maxmemry 1gb'\n" in text
    assert text.endswith("Bad directive or wrong number of arguments: did you mean 'maxmemory'?\n")


@pytest.mark.larder
@pytest.mark.parametrize(
    "line, why",
    [
        ("port 70000", "argument must be between 0 and 65535 inclusive"),
        ("appendonly yes", "'appendonly' is refused: there is no append-only file"),
        ("loadmodule /x.so", "'loadmodule' is refused: larder loads no modules"),
        ("rename-command GETT x", "no such command"),
        ("include /nonexistent", "can't open config file '/nonexistent': No such file or directory"),
    ],
)
def test_what_stops_the_start(start_larder, line, why):
    text = start_fails(start_larder, config=line + "\n")
    assert why in text


def test_file_stdin_and_options(start_larder):
    server = start_larder({"maxclients": "300", "client-output-buffer-limit": ("pubsub", "1mb", "0", "0")},
                          stdin="maxclients 200\ntimeout 7\n")
    assert config_of(server, "maxclients", "timeout") == {"maxclients": "300", "timeout": "7"}
    assert config_of(server, "client-output*").popitem()[1].endswith("pubsub 1048576 0 0")


def test_rename_command(start_larder):
    server = start_larder(config='rename-command FLUSHALL ""\nrename-command GET fetch\n')
    with server.wire() as w:
        assert w("SET", "k", "v") == "OK"
        assert w("FETCH", "k") == b"v"
        assert isinstance(w("GET", "k"), Error)
        assert isinstance(w("FLUSHALL"), Error)


@pytest.mark.larder
def test_accepted_options_warn_once(start_larder):
    server = start_larder(config="io-threads 4\nrdb-del-sync-files yes\n")
    log = server.log().decode()
    assert log.count("Option 'io-threads' is accepted but changes nothing") == 1
    assert log.count("Option 'rdb-del-sync-files' is accepted but changes nothing") == 1
    with server.wire() as w:
        assert w("CONFIG", "SET", "maxmemory-samples", "5") == "OK"
        assert w("CONFIG", "SET", "maxmemory-samples", "6") == "OK"
        assert w("CONFIG", "SET", "rdb-del-sync-files", "no") == "OK"
    log = server.log().decode()
    assert log.count("Option 'maxmemory-samples' is accepted but changes nothing") == 1
    assert log.count("Option 'rdb-del-sync-files' is accepted but changes nothing") == 1


def test_debians_file_starts_it(start_larder):
    try:
        with open("/etc/redis/redis.conf") as f:
            text = f.read()
    except OSError as e:
        pytest.skip(f"Debian's redis.conf cannot be read: {e}")
    server = start_larder({"daemonize": "no", "pidfile": "", "logfile": "", "supervised": "no"}, config=text)
    assert "accepted but changes nothing" not in server.log().decode()
    assert config_of(server, "acllog-max-len") == {"acllog-max-len": "128"}


def test_rewrite(start_larder):
    server = start_larder(config="# mine\nmaxmemory 100mb\n\n# the end\n")
    with server.wire() as w:
        assert w("CONFIG", "SET", "maxmemory", "1gb", "slowlog-max-len", "7") == "OK"
        assert w("CONFIG", "REWRITE") == "OK"
    with open(server.dir + "/server.conf") as f:
        lines = f.read().split("\n")
    assert lines[:2] == ["# mine", "maxmemory 1gb"]
    assert lines.index("# the end") < lines.index("# Generated by CONFIG REWRITE") < lines.index("slowlog-max-len 7")
    again = harness.Server(server.binary, {"port": None, "dir": None, "bind": None, "save": None, "appendonly": None},
                           workers=None, config="\n".join(lines))
    again.port = server.port
    server.stop()
    try:
        again.start()
        assert config_of(again, "maxmemory", "slowlog-max-len") == {"maxmemory": "1073741824", "slowlog-max-len": "7"}
    finally:
        assert again.close() is None


def test_passwords_stay_out_of_sight(start_larder):
    server = start_larder({"slowlog-log-slower-than": "0"})
    with server.wire() as w:
        assert w("CONFIG", "SET", "masterauth", "hush-hush", "timeout", "77") == "OK"
        assert isinstance(w("CONFIG", "SET", "REQUIREPASS", "hush-hush", "timeout", "x"), Error)
        log = repr(w("SLOWLOG", "GET", "-1"))
    assert "hush-hush" not in log
    assert log.count("b'(redacted)', b'timeout', b'77'") == 1
    assert log.count("b'(redacted)', b'timeout', b'x'") == 1


def test_values_are_whole_while_they_change(start_larder):
    """Strings and lists are replaced while other threads print them."""
    server = start_larder(workers=4)
    values = {letter * 1000 for letter in "abcdefgh"}
    stop, wrong = threading.Event(), []

    def setter():
        with server.wire() as w:
            while not stop.is_set():
                for value in values:
                    if w("CONFIG", "SET", "masterauth", value, "save", "60 1 300 10") != "OK":
                        wrong.append(value)

    def getter():
        with server.wire() as w:
            for _ in range(400):
                reply = w("CONFIG", "GET", "masterauth", "save")
                found = dict(zip(reply[::2], reply[1::2]))
                if found[b"masterauth"].decode() not in values or found[b"save"] != b"60 1 300 10":
                    wrong.append(found)

    with server.wire() as w:
        assert w("CONFIG", "SET", "masterauth", next(iter(values)), "save", "60 1 300 10") == "OK"
    setters = [threading.Thread(target=setter) for _ in range(2)]
    getters = [threading.Thread(target=getter) for _ in range(4)]
    for t in setters + getters:
        t.start()
    for t in getters:
        t.join()
    stop.set()
    for t in setters:
        t.join()
    assert wrong == []


def test_inside_a_transaction(start_larder):
    server = start_larder()
    with server.wire() as w:
        w("MULTI")
        w("CONFIG", "SET", "timeout", "78")
        w("CONFIG", "GET", "timeout")
        w("CONFIG", "SET", "timeout", "x")
        replies = w("EXEC")
    assert replies[:2] == ["OK", [b"timeout", b"78"]]
    assert isinstance(replies[2], Error)
