"""scripts/tally counts what pytest, node, meson, cmocka and the shell stages leave behind."""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tally(folder):
    run = subprocess.run([ROOT / "scripts/tally", folder], capture_output=True, text=True, check=True)
    counts, *lines = run.stdout.splitlines()
    return tuple(map(int, counts.split())), lines


def meson_line(name, result, stdout="", stderr="", returncode=0):
    return json.dumps({"name": f"larder:unit / {name}", "result": result, "stdout": stdout, "stderr": stderr,
                       "returncode": returncode}) + "\n"


def test_nothing(tmp_path):
    assert tally(tmp_path) == ((0, 0, 0), [])


def test_real_pytest(tmp_path):
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_x.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "@pytest.mark.skip(reason='no such thing here')\n"
        "def test_absent(): pass\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError('boom')\n"
        "def test_error(broken): pass\n")
    subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", f"--junitxml={tmp_path}/a.xml", suite],
                   capture_output=True, check=False)
    counts, lines = tally(tmp_path)
    assert counts == (1, 2, 1)
    assert sorted(line.split(": ")[0] for line in lines) == ["failed", "failed", "not run"]
    assert any("test_absent: no such thing here" in line for line in lines)


def test_tap_counts_leaves(tmp_path):
    (tmp_path / "node.tap").write_text(
        "TAP version 13\n"
        "# Subtest: a.test.js\n"
        "    ok 1 - gets\n"
        "      ---\n      duration_ms: 1\n      ...\n"
        "    not ok 2 - sets\n"
        "    ok 3 - subscribes # SKIP no network\n"
        "    1..3\n"
        "not ok 1 - a.test.js\n"
        "    ok 1 - one\n"
        "ok 2 - b.test.js\n"
        "not ok 3 - c.test.js\n"
        "    ok 1 - fine\n"
        "not ok 4 - d.test.js\n"
        "1..4\n")
    counts, lines = tally(tmp_path)
    assert counts == (3, 3, 1)
    assert lines == ["failed: sets", "failed: c.test.js", "failed: d.test.js", "not run: subscribes: SKIP no network"]


CMOCKA = (
    "[==========] tests: Running 4 test(s).\n[ RUN      ] one\n[       OK ] one\n"
    "[ RUN      ] two\n[  ERROR   ] --- 1 != 2\n[  FAILED  ] two\n[ RUN      ] three\n[  SKIPPED ] three\n"
    "[ RUN      ] four\n[       OK ] four\n[==========] tests: 4 test(s) run.\n[  PASSED  ] 2 test(s).\n"
    "[  SKIPPED ] tests: 1 test(s), listed below:\n[  SKIPPED ] three\n"
    "[  FAILED  ] tests: 1 test(s), listed below:\n[  FAILED  ] two\n\n 1 FAILED TEST(S)\n")


def test_meson_with_cmocka_inside(tmp_path):
    (tmp_path / "testlog.json").write_text(
        meson_line("str", "FAIL", stderr=CMOCKA, returncode=1)
        + meson_line("plain", "OK")
        + meson_line("broken", "FAIL", returncode=3)
        + meson_line("absent", "SKIP", returncode=77)
        + meson_line("tap", "OK", stdout="1..2\nok 1 - a\nok 2 - b\n"))
    counts, lines = tally(tmp_path)
    assert counts == (5, 2, 2)
    assert "failed: str: two" in lines and "failed: broken: fail, exit code 3" in lines


def test_a_crash_in_the_middle_is_a_failure(tmp_path):
    half = "[==========] tests: Running 9 test(s).\n[ RUN      ] one\n[       OK ] one\n[ RUN      ] two\n"
    (tmp_path / "testlog.json").write_text(meson_line("str", "ERROR", stderr=half, returncode=-11))
    assert tally(tmp_path) == ((1, 1, 0), ["failed: str: two"])


def test_a_program_that_fails_after_its_tests_is_a_failure(tmp_path):
    good = "[ RUN      ] one\n[       OK ] one\n"
    (tmp_path / "testlog.json").write_text(meson_line("str", "FAIL", stderr=good, returncode=66))
    assert tally(tmp_path) == ((1, 1, 0), ["failed: str: fail, exit code 66"])


def test_shell_results(tmp_path):
    (tmp_path / "fuzz.results").write_text("pass resp\nfail config: crash-1234\nskip tsan: no such kernel\n")
    assert tally(tmp_path) == ((1, 1, 1), ["failed: config: crash-1234", "not run: tsan: no such kernel"])
