"""Documentation out of the headers of liblarder: a page for every function, a reference that is up to date."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAN3 = ROOT / "scripts/man3"


def run(*arguments):
    return subprocess.run([MAN3, *arguments], capture_output=True, text=True, check=True).stdout


def exported():
    """Every function of the headers, found in another way than the script does."""
    names = set()
    for header in (ROOT / "include/larder").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        names |= set(re.findall(r"LARDER_API[^;(]*?(larder_\w+)\s*\(", text))
    return names


def test_every_function_has_a_page():
    assert set(run("--list").split()) == exported()
    assert "larder_fetch" in exported() and len(exported()) > 60


def test_pages_say_what_the_header_says(tmp_path):
    run(str(tmp_path))
    page = (tmp_path / "larder_fetch.3").read_text()
    assert "#include <larder/cache.h>" in page and "struct larder_fetch_options {" in page
    assert "one\nloads" in page or "one loads" in page.replace("\n", " ")
    for path in tmp_path.glob("*.3"):
        assert ".SH DESCRIPTION" in path.read_text() and "See the header." not in path.read_text(), path.name


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_pages_are_good_roff(tmp_path):
    run(str(tmp_path))
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", *sorted(tmp_path.glob("*.3"))], capture_output=True,
                          text=True, check=False)
    wrong = [line for line in done.stderr.splitlines() if "break" not in line and "adjust" not in line]
    assert done.returncode == 0 and not wrong, wrong[:5]


def test_the_reference_is_up_to_date():
    assert (ROOT / "docs/api.md").read_text() == run("--reference"), "run scripts/man3 --reference >docs/api.md"
