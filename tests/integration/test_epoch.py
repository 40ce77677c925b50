"""Which data set a node has and in which epoch: what is older does not replace what is newer, unless somebody says so."""

import os
import shutil

import pytest

from harness import REDIS_SERVER, wait_until
from test_primary import record_of
from test_replica import acknowledged, data_of, follow, in_step, same, servers, single  # noqa: F401
from test_restart import forget, loaded, pair, primary_is, start, write_some

pytestmark = [
    pytest.mark.larder,
    pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server"),
]


def identity(server):
    info = server.client().info("replication")
    return info["larder_dataset_id"], info["larder_epoch"]


def promote(server):
    return server.client().execute_command("REPLICAOF", "NO", "ONE")


def test_each_promotion_begins_an_epoch_and_every_replica_hears_of_it(servers):  # noqa: F811
    p, r, last = servers(), servers(), servers()
    dataset, epoch = identity(p)
    assert epoch == 1 and identity(r)[0] != dataset
    follow(r, p.port)
    follow(last, r.port)
    in_step(p.client(), last.client())
    assert identity(p) == identity(r) == identity(last) == (dataset, 1)
    promote(r)
    in_step(r.client(), last.client())  # which goes on without a copy
    assert identity(r) == identity(last) == (dataset, 2)
    follow(p, last.port)
    in_step(r.client(), p.client())
    assert identity(p) == (dataset, 2)
    promote(r)  # it is a primary already
    assert identity(r) == (dataset, 2)
    acknowledged(r.client())
    r.client().execute_command("FAILOVER", "TO", "127.0.0.1", last.port)
    wait_until(lambda: last.client().info("replication")["role"] == "master", what="the failover")
    in_step(last.client(), r.client())
    in_step(last.client(), p.client())
    assert identity(last) == identity(r) == identity(p) == (dataset, 3)


def test_redis_counts_no_epochs(servers):  # noqa: F811
    p, r, last = servers(REDIS_SERVER), servers(), servers(REDIS_SERVER)
    p.client().set("k", 1)
    follow(r, p.port)
    follow(last, r.port)
    in_step(p.client(), r.client())
    assert identity(r)[1] == 0
    promote(r)
    dataset, epoch = identity(r)
    assert len(dataset) == 40 and epoch == 1
    r.client().set("k", 2)
    in_step(r.client(), last.client())
    follow(p, r.port)
    in_step(r.client(), p.client())
    assert p.client().get("k") == last.client().get("k") == b"2"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_is_the_same_after_a_restart(servers, how):  # noqa: F811
    p, r, a = pair(servers, "larder", "larder")
    promote(r)
    write_some(r.client(), "new")
    want = identity(r)
    assert want[1] == 2
    if how == "stop":
        r.stop()
    else:  # without a file: what it had is gone, but not what it was called
        wait_until(lambda: b"dataset %s %d\n" % (want[0].encode(), want[1]) in record_of(r), what="the record")
        r.kill(9)
    r.start()
    loaded(r)
    assert identity(r) == want


def older_primary(servers, forgets):  # noqa: F811
    """A backup of the first epoch is put where the primary of the third was."""
    p, r, a = pair(servers, "larder", "larder")
    a.save()
    shutil.copy(os.path.join(p.dir, "dump.rdb"), os.path.join(p.dir, "backup"))
    promote(r)
    follow(p, r.port)
    in_step(r.client(), p.client())
    promote(p)
    follow(r, p.port)
    write_some(single(p), "new")
    in_step(p.client(), r.client())
    assert identity(p) == identity(r) and identity(p)[1] == 3
    want = data_of(r.client())
    wait_until(lambda: b" 3\nend" in record_of(p), what="the record")
    p.kill(9)
    shutil.copy(os.path.join(p.dir, "backup"), os.path.join(p.dir, "dump.rdb"))
    if forgets:
        forget(p)
    p.options.pop("replicaof", None)
    p.start()
    loaded(p)
    assert identity(p)[1] == 1
    return p, r, want


def test_an_older_primary_does_not_replace_its_replicas(servers):  # noqa: F811
    p, r, want = older_primary(servers, forgets=True)
    wait_until(lambda: b"earlier epoch" in r.log(), what="the refusal")
    assert data_of(r.client()) == want and identity(r)[1] == 3
    follow(r, p.port)  # somebody wants it so
    in_step(p.client(), r.client())
    assert r.client().get("new") is None and identity(r) == identity(p)


def test_an_older_primary_becomes_a_replica(servers):  # noqa: F811
    p, r, want = older_primary(servers, forgets=True)
    promote(r)
    follow(p, r.port)
    in_step(r.client(), p.client())
    assert data_of(p.client()) == want and identity(p) == identity(r) and identity(r)[1] == 4


def test_what_is_given_up_is_older_than_what_goes_on(servers):  # noqa: F811
    p, r, _ = older_primary(servers, forgets=False)
    wait_until(lambda: b"NOMASTERLINK" in r.log(), what="the refusal")
    promote(p)
    in_step(p.client(), r.client())
    assert identity(p) == identity(r) and identity(r)[1] == 4 and r.client().get("new") is None


@pytest.mark.parametrize("logged", [True, False])
def test_a_configuration_of_long_ago_does_not_bring_older_data(servers, logged):  # noqa: F811
    """A promoted replica whose file still says whose replica it was."""
    p, r, a = pair(servers, "larder", "larder")
    promote(r)
    if not logged:
        r.client().config_set("repl-backlog-ttl", 1)
        wait_until(lambda: r.client().info("replication")["repl_backlog_active"] == 0, what="the end of the log")
    write_some(r.client(), "new")
    want = data_of(r.client())
    r.stop()
    r.options["replicaof"] = primary_is(p.port)
    r.start()
    loaded(r)
    wait_until(lambda: b"earlier epoch" in r.log(), what="the refusal")
    assert data_of(r.client()) == want and r.client().get("new") == b"1"


def test_hostile_identities(servers):  # noqa: F811
    p = start(servers, "larder")
    p.client().set("k", 1)
    p.stop()
    path = os.path.join(p.dir, "dump.rdb")
    with open(path, "rb") as f:
        file = f.read()
    at = file.index(b"larder-dataset") + len(b"larder-dataset")
    for text in (b"x" * 42, b"a" * 40 + b"\n9", b"a" * 40 + b" 0", b"\0" * 42):
        with open(path, "wb") as f:
            f.write(file[: at + 1] + text + file[at + 1 + len(text) : -8] + bytes(8))
        p.start()
        assert loaded(p).get("k") == b"1"
        assert len(identity(p)[0]) == 40 and identity(p)[1] == 1
        p.kill(9)
    p.start()
    w = p.wire()
    w("PING", b"larder.dataset.1:" + b"c" * 40 + b" 9")  # from a client it is a word like any other
    assert identity(p)[1] == 1
