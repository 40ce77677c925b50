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


needs_build = pytest.mark.skipif(not os.path.exists(os.path.join(BUILD, "liblarder.so")),
                                 reason="no plain build beside the sanitizer's")


@needs_build
@pytest.mark.parametrize("source", SOURCES)
def test_examples_run(larder, tmp_path, source):
    more = flags_of(SOURCES[source]) if SOURCES[source] else []
    program = compiled(tmp_path, source, "-I" + os.path.join(harness.ROOT, "include"), "-L" + BUILD, "-llarder",
                       "-Wl,-rpath," + BUILD, *more)
    done = subprocess.run([program, f"127.0.0.1:{larder.port}"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    failed = subprocess.run([program, "127.0.0.1:1"], capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1 and "127.0.0.1:1: connect: " in failed.stdout + failed.stderr


PATTERNS = {
    "examples/cache_aside.c": "user:1: Ada, from the database\nuser:2: Grace, from the database\nuser:1: Ada, from the cache\n"
                              "user:9: no such user, from the database\nuser:9: no such user, from the cache\n"
                              "user:1: Ada, from the cache\n3 queries\n",
    "examples/write_through.c": "version 2: Ada Byron\nversion 3: Ada King\nversion 4: Ada Lovelace\n",
    "examples/invalidation.c": "loaded           item:1 = 10\nnot yet told     item:1 = 10\nby key           item:1 = 11\n"
                               "by version       item:1 = 12\nloaded           item:2 = 12\nby pattern       item:1 = 13\n"
                               "by pattern       item:2 = 13\nby tag           item:1 = 14\nby tag           item:2 = 14\n2 keys matched\n",
    "examples/versions.c": "version 1, from the database: draft\nversion 1, from the cache: draft\n"
                           "version 2, from the database: final\nversion 2, from the cache: final\n",
}


def built(tmp_path, source, *packages, flags=()):
    return compiled(tmp_path, source, "-I" + os.path.join(harness.ROOT, "include"), "-L" + BUILD, "-llarder",
                    "-Wl,-rpath," + BUILD, "-lpthread", *flags, *(flag for p in packages for flag in flags_of(p)))


@needs_build
@pytest.mark.parametrize("source", PATTERNS)
@pytest.mark.parametrize("server", ["larder", "redis_server"])
def test_patterns_run_against_a_database(request, server, tmp_path, source):
    port = request.getfixturevalue(server).port
    done = subprocess.run([built(tmp_path, source, "sqlite3"), f"127.0.0.1:{port}"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, PATTERNS[source], "")


@needs_build
def test_the_stampede_has_numbers(redis_server, tmp_path):
    done = subprocess.run([built(tmp_path, "examples/stampede.c", "sqlite3"), f"127.0.0.1:{redis_server.port}", "200"],
                          capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = re.fullmatch(r"200 threads want one cold report\nget and set by hand: (\d+) queries of the database\n"
                        r"larder_fetch\(\):      (\d+) queries of the database\n", done.stdout)
    assert told and int(told.group(1)) > 1 and int(told.group(2)) == 1, done.stdout


@needs_build
def test_the_readme_shows_a_program_that_runs(redis_server, tmp_path):
    with open(os.path.join(harness.ROOT, "README.md")) as f:
        programs = re.findall(r"```c\n(.*?)```", f.read(), re.DOTALL)
    assert len(programs) == 1
    source = tmp_path / "readme.c"
    source.write_text(programs[0])
    program = built(tmp_path, str(source), flags=["-Wno-unused-parameter"])
    said = [subprocess.run([program, f"127.0.0.1:{redis_server.port}"], capture_output=True, text=True, timeout=60,
                           check=False) for _ in range(2)]
    assert [(s.returncode, s.stdout, s.stderr) for s in said] == [(0, "loading\nforty-two\n", ""), (0, "forty-two\n", "")]


def test_the_guide_shows_the_example_that_runs():
    with open(os.path.join(harness.ROOT, "examples/hello.c")) as f:
        example = f.read()
    with open(os.path.join(harness.ROOT, "docs/client.md")) as f:
        assert example in re.findall(r"```c\n(.*?)```", f.read(), re.DOTALL)


def test_hiredis_works_with_the_server(larder, tmp_path):
    program = compiled(tmp_path, "tests/liblarder/hiredis.c", *flags_of("hiredis"))
    done = subprocess.run([program, str(larder.port)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "0 failures\n")
