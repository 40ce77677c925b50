"""`make` on a machine that lacks something says what, and what to do."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = "bash sh env sed tr id dirname cat test nproc cc make pkg-config meson ninja".split()


def make(tmp_path, without=()):
    """`make needs` with a PATH of only the tools named above."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in TOOLS:
        if tool not in without:
            (bin_folder / tool).symlink_to(shutil.which(tool))
    return subprocess.run([shutil.which("make"), "needs"], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={"PATH": str(bin_folder), "HOME": os.environ.get("HOME", "/")})


def test_nothing_is_missing(tmp_path):
    result = make(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("tool, package", [("meson", "meson"), ("ninja", "ninja-build"), ("cc", "gcc")])
def test_a_missing_tool_is_named(tmp_path, tool, package):
    result = make(tmp_path, without=[tool])
    assert result.returncode != 0
    assert f"Missing: {package}\n" in result.stderr and "make deps" in result.stderr


def test_missing_libraries_are_named(tmp_path):
    result = make(tmp_path, without=["pkg-config"])
    assert result.returncode != 0
    assert "Missing: pkg-config libjemalloc-dev liblzf-dev libsystemd-dev liburing-dev libmd-dev\n" in result.stderr
