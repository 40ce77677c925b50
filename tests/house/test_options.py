"""An option that calls itself implemented is read by more than the configuration."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def implemented_options():
    rows = (ROOT / "src/server/options.def").read_text()
    found = re.findall(r'^OPTION\(\w+, (\w+), "([^"]+)",(.*?)(?=^OPTION|^SECTION|\Z)', rows, re.MULTILINE | re.DOTALL)
    assert len(found) > 180
    return [(field, name) for field, name, row in found if re.search(r"\bIMPLEMENTED\b", row)]


def test_implemented_options_are_read():
    sources = ""
    for path in (ROOT / "src").rglob("*.[ch]"):
        if not re.fullmatch(r"config(_\w+)?\.[ch]", path.name):
            sources += path.read_text()
    unread = {name for field, name in implemented_options() if not re.search(rf"(->|\.){field}\b", sources)}
    assert unread == set()
