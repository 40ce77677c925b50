"""./quickstart for real, on a port of its own and beside a node that may run already."""

import os
import pathlib
import socket
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def quickstart(tmp_path):
    def run(*arguments):
        result = subprocess.run([ROOT / "quickstart", *arguments], cwd=tmp_path, capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, check=False,
                                env=os.environ | {"LARDER_RUN": str(tmp_path / "run")})
        return result.returncode, result.stdout + result.stderr

    yield run
    run("stop")


def ask(port, *words):
    return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True, check=False).stdout


def test_start_again_and_stop(quickstart, port, tmp_path):
    status, said = quickstart("--port", str(port))
    assert status == 0, said
    assert f"redis-cli -p {port}" in said and "./quickstart stop" in said
    assert ask(port, "SET", "k", "v") == "OK\n"
    assert quickstart("status")[0] == 0

    status, said = quickstart("--port", str(port))
    assert status == 0 and f"already runs on port {port}" in said
    assert ask(port, "GET", "k") == "v\n", "the second start disturbed the first node"

    status, said = quickstart("--port", str(port - 1))
    assert status == 1 and f"already runs from this tree, on port {port}" in said

    status, said = quickstart("stop")
    assert status == 0 and f"port {port} has ended" in said
    assert not (tmp_path / "run/node").exists()
    assert quickstart("status")[0] == 3
    status, said = quickstart("stop")
    assert status == 0 and "No larder of this tree is running" in said


def test_a_taken_port_is_named(quickstart):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        status, said = quickstart("--port", str(port))
    assert status == 1
    assert f"port {port} is taken" in said and "./quickstart --port" in said


@pytest.mark.parametrize("arguments", [("--port", "0"), ("--port", "65536"), ("--port", "x"), ("--port",), ("begin",)])
def test_nonsense_is_refused(quickstart, arguments):
    status, said = quickstart(*arguments)
    assert status == 1 and "quickstart: " in said
