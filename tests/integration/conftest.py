"""Fixtures of the integration tests: servers, clients, and the evidence when one fails.

    r               a redis-py client of a shared larder with empty databases
    w               a bare connection to the same server
    larder          that server itself
    redis_server    Debian's redis-server, shared
    start_larder    start_larder(options..., workers=N): a server of the test's own

Marks: `larder` is on tests of what Redis 7.0 does not have or does otherwise, so that
`LARDER_SERVER=/usr/bin/redis-server pytest -m "not larder"` proves that all the
others expect what Redis really does.
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402

_running = []


def pytest_configure(config):
    config.addinivalue_line("markers", "larder: not true of Redis 7.0")
    if not os.access(harness.LARDER_SERVER, os.X_OK):
        pytest.exit(f"no server to test at {harness.LARDER_SERVER}: build it, or set LARDER_SERVER", 2)


# Side by side, the files that take longest begin first: none of them is left over when the others are done.
LONGEST = ("cluster_failover", "full_copy", "cluster_restart", "liblarder_cache", "restart", "liblarder", "cluster_moves",
           "cluster_tool", "cluster_redis_cli", "evict", "hostile_replication", "limits", "chaos")


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.module.__name__, len(rank)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for server in _running:
            report.sections.append((f"log of {server}", server.log_tail()))


class Keeper:
    """Keeps one server for many tests, and replaces it when a test has killed it."""

    def __init__(self, binary):
        self.binary = binary
        self.server = None

    def get(self):
        if self.server is None or not self.server.alive():
            self.drop()
            self.server = harness.Server(self.binary, {"enable-debug-command": "yes"}).start()
            _running.append(self.server)
        return self.server

    def drop(self):
        if self.server is None:
            return None
        trouble = self.server.close()
        _running.remove(self.server)
        self.server = None
        return trouble


@pytest.fixture(scope="session")
def _larder_keeper():
    keeper = Keeper(harness.LARDER_SERVER)
    yield keeper
    trouble = keeper.drop()
    if trouble:
        pytest.fail(trouble)


@pytest.fixture(scope="session")
def _redis_keeper():
    keeper = Keeper(harness.REDIS_SERVER)
    yield keeper
    keeper.drop()


def _fresh(keeper):
    server = keeper.get()
    with server.wire() as w:
        for command in (("FLUSHALL",), ("CONFIG", "RESETSTAT"), ("SLOWLOG", "RESET")):
            assert w(*command) == "OK"
    return server


@pytest.fixture
def larder(_larder_keeper):
    server = _fresh(_larder_keeper)
    yield server
    alarm = server.alarms()
    if alarm:
        pytest.fail(f"{server} reported:\n{alarm}")
    if not server.alive():
        pytest.fail(f"{server} died:\n{server.log_tail()}")


@pytest.fixture
def redis_server(_redis_keeper):
    return _fresh(_redis_keeper)


@pytest.fixture
def r(larder):
    client = larder.client()
    yield client
    client.close()
    client.connection_pool.disconnect()


@pytest.fixture
def w(larder):
    with larder.wire() as wire:
        yield wire


@pytest.fixture
def w3(larder):
    with larder.wire(protocol=3) as wire:
        yield wire


@pytest.fixture
def start_larder():
    """A function that starts servers which end with the test."""
    mine = []

    def start(options=None, *, wait=True, **keywords):
        server = harness.Server(harness.LARDER_SERVER, options, **keywords)
        mine.append(server)
        _running.append(server)
        return server.start() if wait else server

    yield start
    troubles = []
    for server in mine:
        troubles.append(server.close())
        _running.remove(server)
    if any(troubles):
        pytest.fail("\n".join(filter(None, troubles)))
