"""C programs as a stranger writes them: the examples with liblarder, and one with hiredis."""

import os
import re
import subprocess

import harness
import pytest

BUILD = os.path.join(harness.ROOT, "build")  # never a sanitizer's: these programs are linked plainly
SOURCES = {"examples/hello.c": None, "examples/loop_libuv.c": "libuv", "examples/loop_libevent.c": "libevent_core"}


def compiled(tmp_path, source, *flags):
    program = str(tmp_path / "program")
    done = subprocess.run(["cc", "-std=gnu99", "-Wall", "-Wextra", "-Werror", os.path.join(harness.ROOT, source), *flags,
                           "-o", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def flags_of(package):
    return subprocess.run(["pkg-config", "--cflags", "--libs", package], capture_output=True, text=True,
                          check=True).stdout.split()


@pytest.mark.skipif(not os.path.exists(os.path.join(BUILD, "liblarder.so")), reason="no plain build beside the sanitizer's")
@pytest.mark.parametrize("source", SOURCES)
def test_examples_run(larder, tmp_path, source):
    more = flags_of(SOURCES[source]) if SOURCES[source] else []
    program = compiled(tmp_path, source, "-I" + os.path.join(harness.ROOT, "include"), "-L" + BUILD, "-llarder",
                       "-Wl,-rpath," + BUILD, *more)
    done = subprocess.run([program, f"127.0.0.1:{larder.port}"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    failed = subprocess.run([program, "127.0.0.1:1"], capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1 and "127.0.0.1:1: connect: " in failed.stdout + failed.stderr


def test_the_guide_shows_the_example_that_runs():
    with open(os.path.join(harness.ROOT, "examples/hello.c")) as f:
        example = f.read()
    with open(os.path.join(harness.ROOT, "docs/client.md")) as f:
        assert example in re.findall(r"```c\n(.*?)```", f.read(), re.DOTALL)


def test_hiredis_works_with_the_server(larder, tmp_path):
    program = compiled(tmp_path, "tests/liblarder/hiredis.c", *flags_of("hiredis"))
    done = subprocess.run([program, str(larder.port)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "0 failures\n")
