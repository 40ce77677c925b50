"""`larder doctor`: what it says about running nodes, and its exit codes."""

import os
import subprocess

import pytest

from harness import LARDER_SERVER, REDIS_SERVER, free_port, wait_until
from test_replica import follow, in_step, primary, servers  # noqa: F401

TOOL = os.path.join(os.path.dirname(LARDER_SERVER), "larder")


def doctor(*argv, env=None):
    p = subprocess.run([TOOL, "doctor", *map(str, argv)], capture_output=True, text=True, timeout=240, env={**os.environ, **(env or {})})
    return p.returncode, p.stdout, p.stderr


def test_two_healthy_nodes(servers):
    p, r = servers(maxmemory="64mb"), servers(maxmemory="64mb")
    follow(r, p.port)
    in_step(p.client(), r.client())
    wait_until(lambda: p.client().info("replication")["slave0"]["state"] == "online", what="it online")
    code, out, err = doctor("-p", p.port)
    assert (code, err) == (0, "")
    assert "ok    This node is a primary with 1 replica.\n" in out
    assert f"ok    Replica 127.0.0.1:{r.port} is in step" in out
    assert out.endswith(f"127.0.0.1:{p.port}: 0 bad, 0 worth a look.\n")
    code, out, _ = doctor(f"127.0.0.1:{r.port}")
    assert code == 0 and f"replica of 127.0.0.1:{p.port}; the link is up" in out


def test_a_broken_link_is_bad(servers):
    r = servers()
    follow(r, free_port())
    code, out, _ = doctor("--port", r.port)
    assert code == 1 and "BAD   The link to the primary 127.0.0.1:" in out


@pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")
def test_redis_and_passwords(servers):
    p = primary(servers, requirepass="secret")
    assert doctor("-p", p.port)[0] == 1
    for argv, env in ((["-a", "secret"], {}), (["--user", "default", "--password", "secret"], {}), ([], {"REDISCLI_AUTH": "secret"})):
        code, out, err = doctor("-p", p.port, *argv, env=env)
        assert (code, err) == (0, "") and "primary without a replica" in out


def test_wrong_usage():
    code, out, _ = doctor("--help")
    assert code == 0 and "usage: larder doctor" in out
    for argv in (["--nonsense", "1"], ["--port"], ["--port", "0"], ["--port", "x"], ["nohost"], ["--host", ""]):
        code, out, err = doctor(*argv)
        assert (code, out) == (2, "") and "Try 'larder doctor --help'" in err, argv
    port = free_port()
    code, out, err = doctor("-p", port)
    assert (code, out) == (1, "") and f"127.0.0.1:{port}" in err
