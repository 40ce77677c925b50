"""Payloads for RESTORE: well-formed ones in every encoding of strings and sets, and damaged ones.

    payload = type byte, object, RDB version (2 bytes LE), CRC-64 (8 bytes LE)

The checksum is CRC-64/Jones over all that precedes it, so that damage below it can be
told from damage that the checksum catches.
"""

import struct

_POLY = 0x95AC9329AC4BC9B5  # Jones, reflected


def _table():
    out = []
    for n in range(256):
        crc = n
        for _ in range(8):
            crc = (crc >> 1) ^ _POLY if crc & 1 else crc >> 1
        out.append(crc)
    return out


_TABLE = _table()


def crc64(data):
    crc = 0
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def seal(body, version=10):
    body = body + struct.pack("<H", version)
    return body + struct.pack("<Q", crc64(body))


def length(n, form=None):
    """RDB's length encoding; `form` forces a wider one than needed."""
    if form is None:
        form = 6 if n < 64 else 14 if n < 16384 else 32 if n < 1 << 32 else 64
    if form == 6:
        return bytes([n])
    if form == 14:
        return bytes([0x40 | n >> 8, n & 0xFF])
    if form == 32:
        return b"\x80" + struct.pack(">I", n)
    return b"\x81" + struct.pack(">Q", n)


def raw(value, form=None):
    return b"\x00" + length(len(value), form) + value


def a_set(r):
    if r.random() < 0.5:  # an intset
        width, code = r.choice(((2, "<h"), (4, "<i"), (8, "<q")))
        top = 1 << (8 * width - 1)
        numbers = sorted(r.sample(range(-top, top) if width == 2 else range(-100000, 100000), r.randrange(1, 20)))
        return seal(b"\x0b" + raw(struct.pack("<II", width, len(numbers)) + b"".join(struct.pack(code, n) for n in numbers))[1:])
    members = [raw(b"m%d" % i)[1:] for i in r.sample(range(100), r.randrange(1, 30))]
    return seal(b"\x02" + length(len(members)) + b"".join(members))


def bad_set(r):
    pick = r.randrange(5)
    if pick == 0:
        return seal(b"\x02\x00")
    if pick == 1:
        return seal(b"\x02\x02\x01a\x01a")
    if pick == 2:
        return seal(b"\x02" + length(r.choice((2, 1 << 32, (1 << 63) - 1))) + b"\x01a")
    if pick == 3:
        return seal(b"\x0b" + raw(b"")[1:])
    return seal(b"\x0b" + raw(struct.pack("<II", r.choice((0, 1, 3, 16)), 1) + b"xx")[1:])


def good(r):
    """The bytes of a payload that every server takes."""
    if r.random() < 0.2:
        return a_set(r)
    pick = r.randrange(9)
    text = bytes(r.choice(b"abc \x00\r\n01") for _ in range(r.choice((0, 1, 5, 44, 45, 63, 64, 200))))
    if pick == 0:
        return seal(raw(text))
    if pick == 1:
        return seal(b"\x00\xc0" + struct.pack("<b", r.randrange(-128, 128)))
    if pick == 2:
        return seal(b"\x00\xc1" + struct.pack("<h", r.randrange(-32768, 32768)))
    if pick == 3:
        return seal(b"\x00\xc2" + struct.pack("<i", r.randrange(-(1 << 31), 1 << 31)))
    if pick == 4:
        return seal(raw(str(r.choice((0, 7, -1, 10000, 1 << 40, -(1 << 63), 1 << 63))).encode()))
    if pick == 5:
        return seal(raw(text[:60], r.choice((14, 32, 64))))
    if pick == 6:
        return seal(raw(text), r.randrange(1, 11))
    if pick == 7:  # LZF: a run of literals
        literal = text[: r.randrange(1, 33)] or b"x"
        packed = bytes([len(literal) - 1]) + literal
        return seal(b"\x00\xc3" + length(len(packed)) + length(len(literal)) + packed)
    # LZF: one literal, repeated by a back reference
    repeat = r.randrange(3, 9)
    packed = b"\x00Z" + bytes([(repeat - 2) << 5, 0]) + b"\x00!"
    return seal(b"\x00\xc3" + length(len(packed)) + length(repeat + 2) + packed)


def bad(r):
    """A payload that is refused, or that only a careless server takes."""
    pick = r.randrange(13)
    base = good(r)
    if pick == 12:
        return bad_set(r)
    if pick == 0:
        return base[: r.randrange(len(base))]
    if pick == 1:
        i = r.randrange(len(base))
        return base[:i] + bytes([base[i] ^ (1 << r.randrange(8))]) + base[i + 1 :]
    if pick == 2:
        return seal(raw(b"abc"), r.choice((255, 65535)))
    if pick == 3:
        return seal(b"\x00" + length(r.choice((1, 64, 20000, (1 << 31) - 1, 1 << 32, (1 << 63) - 1))) + b"x")
    if pick == 4:
        return seal(b"\x00\xc3" + length(4) + length(r.choice((1, 3, 1000))) + b"\x02abc")
    if pick == 5:
        return seal(b"\x00\xc3" + length(6) + length(20) + b"\x00A\xff\xff\xff\xff")
    if pick == 6:
        return seal(b"\x00" + bytes([r.choice((0xC4, 0xC5, 0xFF, 0x82, 0x83, 0xBF))]) + b"abcdefgh")
    if pick == 7:
        return seal(bytes([r.choice((8, 22, 50, 99, 240, 246, 255))]) + b"\x01a")
    if pick == 8:
        return seal(b"\x00")
    if pick == 9:
        return seal(b"")
    if pick == 10:
        return seal(raw(b"abc")) + b"\x00"
    return bytes(r.randrange(256) for _ in range(r.randrange(0, 40)))
