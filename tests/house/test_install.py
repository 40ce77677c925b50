"""What `make install` leaves: a library that a stranger's program finds, links and runs."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
VERSION = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text()).group(1)


def run(*command, **keywords):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **keywords)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", folder)
    return folder


def find(stage, name):
    found = list(stage.rglob(name))
    assert found, f"{name} was not installed"
    return found[0]


def pkg_config(stage, *arguments):
    folder = find(stage, "larder.pc").parent
    system = run("pkg-config", "--variable", "pc_path", "pkg-config").strip()
    return run("pkg-config", *arguments, "larder",
               env=os.environ | {"PKG_CONFIG_LIBDIR": f"{folder}:{system}", "PKG_CONFIG_SYSROOT_DIR": str(stage)}).split()


@pytest.mark.parametrize("linkage", ["shared", "static"])
def test_a_program_links_and_runs(stage, tmp_path, linkage):
    source = tmp_path / "hello.c"
    source.write_text("#include <larder/larder.h>\n#include <stdio.h>\n"
                      "int main(void)\n{\n    larder_ring *ring = larder_ring_new(LARDER_PLACEMENT_MD5, 0);\n"
                      '    larder_ring_add(ring, "node:1", 1);\n    puts(larder_version());\n'
                      '    puts(larder_ring_get(ring, larder_text("key")));\n    larder_ring_free(ring);\n    return 0;\n}\n')
    program = tmp_path / "hello"
    libraries = pkg_config(stage, "--libs")
    if linkage == "static":
        rest = [flag for flag in pkg_config(stage, "--libs", "--static") if flag != "-llarder"]
        libraries = [str(find(stage, "liblarder.a")), *rest]
    run("cc", "-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", *pkg_config(stage, "--cflags"),
        str(source), *libraries, "-o", str(program))
    said = run(str(program), env=os.environ | {"LD_LIBRARY_PATH": str(find(stage, "liblarder.so").parent)})
    assert said == VERSION + "\nnode:1\n"


def test_man_pages_are_installed(stage):
    pages = {p.name for p in stage.rglob("man3/*.3")}
    assert {"larder_fetch.3", "larder_get.3", "larder_loop_new.3", "larder_ring_get.3"} <= pages


def test_cplusplus_can_include_the_headers(stage, tmp_path):
    source = tmp_path / "hello.cc"
    headers = sorted(path.name for path in find(stage, "larder.h").parent.iterdir())
    source.write_text("".join(f"#include <larder/{name}>\n" for name in headers)
                      + 'int main() { return larder_text("x").n == 1 && larder_version() ? 0 : 1; }\n')
    run("c++", "-std=c++11", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", *pkg_config(stage, "--cflags"),
        str(source), *pkg_config(stage, "--libs"), "-o", str(tmp_path / "hello"))


def test_only_larder_names_leave_the_library(stage):
    names = run("nm", "-D", "--defined-only", "--format=posix", find(stage, "liblarder.so")).splitlines()
    names = [line.split()[0].split("@")[0] for line in names if " A " not in line]
    assert "larder_version" in names
    assert [n for n in names if not n.startswith("larder_")] == []


def test_the_soname_is_versioned(stage):
    dynamic = run("readelf", "-d", find(stage, "liblarder.so"))
    assert re.search(r"SONAME.*\[liblarder\.so\.0\]", dynamic)


def test_pkg_config_knows_the_version(stage):
    assert pkg_config(stage, "--modversion") == [VERSION]


def test_programs_unit_and_preset_are_installed(stage):
    server = find(stage, "larder-server")
    assert os.access(server, os.X_OK) and os.access(find(stage, "larder.conf"), os.R_OK)
    assert os.access(find(stage, "bin") / "larder", os.X_OK)
    unit = find(stage, "larder.service").read_text()
    assert f"ExecStart=/{server.relative_to(stage)} " in unit
