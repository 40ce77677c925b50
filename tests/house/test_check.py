"""./check on a small tree: what it counts, and that nothing slips through uncounted."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "tests/house").mkdir(parents=True)
    shutil.copy(ROOT / "check", tmp_path)
    shutil.copy(ROOT / "scripts/tally", tmp_path / "scripts")
    script(tmp_path / "scripts/deps", "exit 0")
    (tmp_path / "Makefile").write_text("all:\n\t@echo built\n")
    return tmp_path


def script(path, text):
    path.write_text("#!/bin/bash\n" + text + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def check(tree, *stages, ci=False):
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | ({"CI": "true"} if ci else {})
    run = subprocess.run(["./check", *stages], cwd=tree, capture_output=True, text=True, env=environment,
                         stdin=subprocess.DEVNULL, check=False)
    return run.returncode, run.stdout.splitlines()


GOOD = "def test_good(): pass\n"
BAD = "def test_bad(): assert 1 == 2\n"
ABSENT = "import pytest\n@pytest.mark.skip(reason='no moon')\ndef test_absent(): pass\n"


def test_counts_what_passes(tree):
    (tree / "tests/house/test_a.py").write_text(GOOD)
    status, out = check(tree, "house")
    assert (status, out[-1]) == (0, "1 passed, 0 failed")


def test_counts_and_names_what_fails(tree):
    (tree / "tests/house/test_a.py").write_text(GOOD + BAD)
    status, out = check(tree, "house")
    assert (status, out[-1]) == (1, "1 passed, 1 failed")
    assert any(line.startswith("failed: house: ") and "test_bad" in line for line in out)


def test_files_side_by_side_are_counted_as_one_suite(tree):
    (tree / "tests/integration").mkdir()
    for name in "abcdef":
        (tree / f"tests/integration/test_{name}.py").write_text(GOOD + ABSENT)
    (tree / "tests/integration/test_g.py").write_text(GOOD + BAD)
    status, out = check(tree, "integration")
    assert (status, out[-1]) == (1, "7 passed, 1 failed")
    assert any(line.startswith("failed: integration: ") and "test_bad" in line for line in out)
    assert sum(line.startswith("not run: integration: ") for line in out) == 6


def test_a_test_that_cannot_run_is_named(tree):
    (tree / "tests/house/test_a.py").write_text(GOOD + ABSENT)
    status, out = check(tree, "house")
    assert (status, out[-1]) == (0, "1 passed, 0 failed")
    assert any(re.match("not run: house: .*test_absent.*no moon", line) for line in out)


def test_a_test_that_cannot_run_fails_in_ci(tree):
    (tree / "tests/house/test_a.py").write_text(GOOD + ABSENT)
    status, out = check(tree, "house", ci=True)
    assert (status, out[-1]) == (1, "1 passed, 1 failed")


def test_a_suite_without_tests_is_a_failure(tree):
    status, out = check(tree, "house")
    assert (status, out[-1]) == (1, "0 passed, 1 failed")


def test_a_suite_that_does_not_load_is_a_failure(tree):
    (tree / "tests/house/test_a.py").write_text("import nonsense_that_is_not_there\n")
    status, out = check(tree, "house")
    assert (status, out[-1]) == (1, "0 passed, 1 failed")


def test_a_suite_that_is_not_there_is_said(tree):
    status, out = check(tree, "clients")
    assert (status, out[-1]) == (0, "0 passed, 0 failed")
    assert any("there is no tests/clients in this tree" in line for line in out)


def test_a_build_that_fails_is_counted_and_the_rest_goes_on(tree):
    (tree / "tests/house/test_a.py").write_text(GOOD)
    (tree / "Makefile").write_text("all:\n\t@test -e once || { touch once; echo broken; exit 1; }\n")
    status, out = check(tree, "build", "house")
    assert (status, out[-1]) == (1, "1 passed, 1 failed")
    assert any("failed: build: ended with exit code 2" in line for line in out)


def test_a_server_left_running_is_a_failure_and_is_ended(tree):
    (tree / "build").mkdir()
    shutil.copy("/bin/sleep", tree / "build/larder-server")
    (tree / "tests/house/test_a.py").write_text(
        "import subprocess\ndef test_forgetful():\n"
        f"    p = subprocess.Popen(['{tree}/build/larder-server', '1000'], start_new_session=True)\n"
        f"    open('{tree}/pid', 'w').write(str(p.pid))\n")
    status, out = check(tree, "house")
    assert (status, out[-1]) == (1, "1 passed, 1 failed")
    pid = (tree / "pid").read_text()
    assert any(f"left running: {tree}/build/larder-server (pid {pid})" in line for line in out)
    deadline = time.monotonic() + 120
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


def running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_an_unknown_stage_is_refused(tree):
    status, _ = check(tree, "everything")
    assert status == 2
