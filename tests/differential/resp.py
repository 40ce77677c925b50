"""Replies as bytes: where one ends, what it says, and how a request is written.

The comparison is of bytes; a reply is only taken apart when the bytes differ and a
rule has to say whether they may.
"""

ARRAYS = b"*~>"
STRINGS = b"$=!"


def frame_end(buf, at):
    """The offset after the reply that starts at `at`; -1 when it is not whole yet."""
    todo = 1
    n = len(buf)
    while todo:
        eol = buf.find(b"\r\n", at)
        if eol < 0:
            return -1
        kind = buf[at]
        if kind in STRINGS:
            length = int(buf[at + 1 : eol])
            at = eol + 2
            if length >= 0:
                at += length + 2
                if at > n:
                    return -1
        else:
            if kind in ARRAYS:
                todo += max(0, int(buf[at + 1 : eol]))
            elif kind in b"%|":
                todo += 2 * int(buf[at + 1 : eol]) + (kind == 0x7C)
            elif kind not in b"+-:_#,(":
                raise ValueError(f"no reply starts with {bytes(buf[at:at + 60])!r}")
            at = eol + 2
        todo -= 1
    return at


class Tagged(tuple):
    """(kind, payload): what a reply says, with its RESP type."""

    __slots__ = ()


def parse(buf, at=0):
    """(kind, value) of the reply at `at`, and the offset after it. Maps come as flat lists."""
    eol = buf.index(b"\r\n", at)
    kind, rest = buf[at : at + 1], buf[at + 1 : eol]
    at = eol + 2
    if kind in (b"$", b"=", b"!"):
        length = int(rest)
        if length < 0:
            return Tagged((b"_", None)), at
        return Tagged((kind, buf[at : at + length])), at + length + 2
    if kind in (b"*", b"~", b">", b"%"):
        count = int(rest)
        if count < 0:
            return Tagged((b"_", None)), at
        items = []
        for _ in range(count * (2 if kind == b"%" else 1)):
            item, at = parse(buf, at)
            items.append(item)
        return Tagged((kind, items)), at
    if kind == b":":
        return Tagged((kind, int(rest))), at
    if kind == b"_":
        return Tagged((kind, None)), at
    return Tagged((kind, bytes(rest))), at


def elements(buf):
    """The raw replies inside the array reply `buf`; None if it is no array."""
    if buf[:1] != b"*":
        return None
    eol = buf.index(b"\r\n")
    count = int(buf[1:eol])
    if count < 0:
        return None
    at, out = eol + 2, []
    for _ in range(count):
        end = frame_end(buf, at)
        out.append(buf[at:end])
        at = end
    return out


def is_error(raw):
    return raw[:1] in (b"-", b"!")


def encode(args):
    out = [b"*%d\r\n" % len(args)]
    for a in args:
        out.append(b"$%d\r\n%b\r\n" % (len(a), a))
    return b"".join(out)


_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:{}()[]^?*+%,/=<>@#$&|~!;")
_ESCAPES = {0x0A: b"\\n", 0x0D: b"\\r", 0x09: b"\\t", 0x08: b"\\b", 0x07: b"\\a", 0x22: b'\\"', 0x5C: b"\\\\"}


def quote(arg):
    """An argument as an inline request spells it."""
    if arg and all(c in _PLAIN for c in arg):
        return arg
    out = bytearray(b'"')
    for c in arg:
        if c in _ESCAPES:
            out += _ESCAPES[c]
        elif 32 <= c < 127:
            out.append(c)
        else:
            out += b"\\x%02x" % c
    return bytes(out + b'"')


def encode_inline(args):
    return b" ".join(quote(a) for a in args) + b"\r\n"


def show(args, limit=160):
    """A command as a person reads it."""
    text = b" ".join(quote(a if len(a) <= limit else a[:limit] + b"...") for a in args)
    return text.decode("latin-1")
