"""scripts/fuzz on made-up targets: every one is run on its corpus, and none that fails is lost among the others."""

import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/bash\n" + text + "\n")
    path.chmod(0o755)


def fuzz(tree, targets):
    (tree / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/fuzz", tree / "scripts")
    program(tree / "bin/ninja", "exit 0")
    (tree / "build-fuzz").mkdir()
    (tree / "build-fuzz/build.ninja").write_text("")
    for name, text in targets.items():
        program(tree / f"build-fuzz/fuzz/fuzz_{name}", text)
    run = subprocess.run(["scripts/fuzz", "7", "results"], cwd=tree, capture_output=True, text=True, check=False,
                         env=os.environ | {"PATH": f"{tree}/bin:{os.environ['PATH']}"})
    return run, sorted((tree / "results").read_text().splitlines())


def test_all_are_run_and_told(tmp_path):
    (tmp_path / "fuzz/corpus/a").mkdir(parents=True)
    run, results = fuzz(tmp_path, {name: f'echo "{name}: $@"' for name in "abcde"})
    assert (run.returncode, results) == (0, [f"pass {name}" for name in "abcde"])
    lines = run.stdout.splitlines()
    assert any(line.startswith("a: ") and "-max_total_time=7" in line and line.endswith(".run/fuzz/a fuzz/corpus/a") for line in lines)
    assert any(line.startswith("b: ") and line.endswith(".run/fuzz/b") for line in lines)


def test_one_that_fails_fails_all(tmp_path):
    for bad in "ace":
        tree = tmp_path / bad
        tree.mkdir()
        run, results = fuzz(tree, {name: f"echo of {name}; [ {name} != {bad} ]" for name in "abcde"})
        assert run.returncode == 1
        assert [line for line in results if line.startswith("fail")] == [f"fail {bad}: see .run/fuzz/{bad}-*"]
        assert len(results) == 5 and f"of {bad}" in run.stdout
