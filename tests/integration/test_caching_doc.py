"""The examples of docs/caching.md, run as they stand there."""

import pathlib
import re
import shlex
import time

import pytest

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "caching.md").read_text(encoding="utf-8")


def blocks(kind):
    return re.findall(r"^```" + kind + r"\n(.*?)^```$", TEXT, re.M | re.S)


def test_python_examples(larder):
    def load(key):
        return b"the row of " + key.encode()

    with larder.client() as r:
        r.flushall()
        for code in blocks("python"):
            exec(compile(code, "docs/caching.md", "exec"), {"r": r, "load": load, "sleep": time.sleep})  # noqa: S102


def shown(reply):
    if reply is None:
        return "nil"
    if isinstance(reply, list):
        return " ".join(map(shown, reply))
    return reply.decode() if isinstance(reply, bytes) else str(reply)


@pytest.mark.parametrize("number", range(len(blocks(""))))
def test_dialogues(larder, number):
    with larder.wire() as w:
        lease = None
        w("FLUSHALL")
        for earlier in blocks("")[: number + 1]:
            for command, want in re.findall(r"^> (.*)\n(.*)$", earlier, re.M):
                words = [lease if word == "$lease" else word for word in shlex.split(command)]
                reply = w(*words)
                if isinstance(reply, list) and b"lease" in reply:
                    lease = reply[reply.index(b"lease") + 1] or lease
                pattern = re.escape(want).replace(r"\*", r"\S+")
                assert re.fullmatch(pattern, shown(reply)), (command, shown(reply), want)


def test_there_are_examples():
    assert len(blocks("python")) >= 3 and len(blocks("")) >= 4
