"""Bit commands, held against a plain model of a bit string."""

import random

import pytest


def bits_of(data):
    return [byte >> (7 - i) & 1 for byte in data for i in range(8)]


def test_setbit_getbit(r, w):
    assert [r.setbit("k", 7, 1), r.setbit("k", 7, 0), r.setbit("k", 100, 1)] == [0, 1, 0]
    assert r.getbit("k", 100) == 1 and r.getbit("k", 101) == 0 and r.getbit("k", 10**6) == 0
    assert r.strlen("k") == 13
    assert w("SETBIT", "k", "4294967296", "1") == "ERR bit offset is not an integer or out of range"
    assert w("SETBIT", "k", "-1", "1") == "ERR bit offset is not an integer or out of range"
    assert w("SETBIT", "k", "0", "2") == "ERR bit is not an integer or out of range"
    assert w("GETBIT", "k", "x") == "ERR bit offset is not an integer or out of range"


def test_bitcount_against_a_model(r):
    rng = random.Random(1)
    data = rng.randbytes(700)
    r.set("k", data)
    bits = bits_of(data)
    assert r.bitcount("k") == sum(bits)
    for _ in range(300):
        s, e = rng.randrange(-800, 800), rng.randrange(-800, 800)
        assert r.bitcount("k", s, e) == sum(bits_of(slice_of(data, s, e)))
        s, e = rng.randrange(-6000, 6000), rng.randrange(-6000, 6000)
        assert r.bitcount("k", s, e, "BIT") == sum(slice_of(bits, s, e))


def slice_of(seq, s, e):
    """Redis's inclusive ranges, negative from the end."""
    n = len(seq)
    if s < 0 and e < 0 and s > e:
        return seq[:0]
    s, e = (s + n if s < 0 else s), (e + n if e < 0 else e)
    s, e = max(s, 0), min(max(e, 0), n - 1)
    return seq[s : e + 1] if s <= e else seq[:0]


def test_bitpos_against_a_model(r):
    rng = random.Random(2)
    for data in (b"", b"\x00" * 40, b"\xff" * 40, b"\x00" * 33 + b"\x01", b"\xff" * 33 + b"\xfe", rng.randbytes(100)):
        r.set("k", data)
        bits = bits_of(data)
        for bit in (0, 1):
            found = [i for i, b in enumerate(bits) if b == bit]
            nothing = len(bits) if bit == 0 and data else -1
            assert r.bitpos("k", bit) == (found[0] if found else nothing)
            for _ in range(60):
                s, e = sorted((rng.randrange(0, 60), rng.randrange(0, 60)))
                inside = [i for i in found if s * 8 <= i < (e + 1) * 8]
                assert r.execute_command("BITPOS", "k", bit, s, e) == (inside[0] if inside else -1)
                s, e = s * 5, e * 5 + 3
                inside = [i for i in found if s <= i <= e]
                assert r.execute_command("BITPOS", "k", bit, s, e, "BIT") == (inside[0] if inside else -1)


def test_bitpos_of_nothing(w):
    assert w("BITPOS", "nothing", "0") == 0
    assert w("BITPOS", "nothing", "1") == -1
    assert w("BITPOS", "nothing", "2") == "ERR The bit argument must be 1 or 0."


@pytest.mark.parametrize("op", ["AND", "OR", "XOR"])
def test_bitop_against_a_model(r, op):
    rng = random.Random(op)
    for _ in range(40):
        sources = [rng.randbytes(rng.choice((0, 1, 7, 8, 31, 32, 33, 200))) for _ in range(rng.randrange(1, 9))]
        for i, data in enumerate(sources):
            r.set(f"s{i}", data)
        n = max(map(len, sources))
        columns = zip(*(s.ljust(n, b"\x00") for s in sources))
        fold = {"AND": lambda c: all_and(c), "OR": lambda c: any_or(c), "XOR": lambda c: xor(c)}[op]
        expect = bytes(fold(c) for c in columns)
        assert r.bitop(op, "dest", *[f"s{i}" for i in range(len(sources))]) == n
        assert (r.get("dest") or b"") == expect


def all_and(column):
    out = 0xFF
    for b in column:
        out &= b
    return out


def any_or(column):
    out = 0
    for b in column:
        out |= b
    return out


def xor(column):
    out = 0
    for b in column:
        out ^= b
    return out


def test_bitop_not_and_empty(r, w):
    r.set("k", b"\x00\xff\x0f")
    assert r.bitop("NOT", "dest", "k") == 3 and r.get("dest") == b"\xff\x00\xf0"
    assert w("BITOP", "NOT", "dest", "k", "k") == "ERR BITOP NOT must be called with a single source key."
    assert w("BITOP", "BOGUS", "dest", "k") == "ERR syntax error"
    assert w("BITOP", "AND", "dest", "nothing") == 0 and w("EXISTS", "dest") == 0


def test_bitfield_against_a_model(r):
    """GET, SET and INCRBY of every width, wrapping, on one shared string."""
    rng = random.Random(3)
    model = [0] * 1024
    r.set("k", bytes(128))
    for _ in range(1500):
        signed = rng.random() < 0.5
        width = rng.randrange(1, 65 if signed else 64)
        at = rng.randrange(0, 1024 - width)
        old = number_at(model, at, width, signed)
        kind = ("i" if signed else "u") + str(width)
        op = rng.choice(("GET", "SET", "INCRBY"))
        by = rng.choice((0, 1, -1, rng.randrange(-(1 << 40), 1 << 40), (1 << 63) - 1, -(1 << 63)))
        if op == "GET":
            assert r.execute_command("BITFIELD", "k", "GET", kind, at) == [old]
            assert r.execute_command("BITFIELD_RO", "k", "GET", kind, at) == [old]
            continue
        new = wrapped(by if op == "SET" else old + by, width, signed)
        put(model, at, width, new)
        assert r.execute_command("BITFIELD", "k", op, kind, at, by) == [old if op == "SET" else new]
    assert bits_of(r.get("k")) == model


def number_at(model, at, width, signed):
    value = int("".join(map(str, model[at : at + width])), 2)
    return value - (1 << width) if signed and value >> (width - 1) else value


def wrapped(value, width, signed):
    value &= (1 << width) - 1
    return value - (1 << width) if signed and value >> (width - 1) else value


def put(model, at, width, value):
    value &= (1 << width) - 1
    model[at : at + width] = [value >> (width - 1 - i) & 1 for i in range(width)]


def test_bitfield_overflow(w):
    assert w("BITFIELD", "k", "OVERFLOW", "SAT", "INCRBY", "u2", "0", "5") == [3]
    assert w("BITFIELD", "k", "OVERFLOW", "FAIL", "INCRBY", "u2", "0", "1") == [None]
    assert w("BITFIELD", "k", "OVERFLOW", "WRAP", "INCRBY", "u2", "0", "1") == [0]
    assert w("BITFIELD", "k", "OVERFLOW", "SAT", "SET", "i8", "#1", "200", "GET", "i8", "#1") == [0, 127]
    low = -(1 << 63)
    assert w("BITFIELD", "k2", "OVERFLOW", "SAT", "INCRBY", "i64", "#1", low, "OVERFLOW", "FAIL", "INCRBY", "i64", "#1", "-1") == [low, None]
    assert w("BITFIELD", "k2", "OVERFLOW", "SAT", "INCRBY", "i64", "#1", low, "GET", "i64", "#1") == [low, low]


def test_bitfield_errors(w):
    bad_type = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
    for kind in ("u64", "i65", "i0", "u0", "x8", "8", "", "i", "i-1"):
        assert w("BITFIELD", "k", "GET", kind, "0") == bad_type, kind
    assert w("BITFIELD", "k", "GET", "u8", "-1") == "ERR bit offset is not an integer or out of range"
    assert w("BITFIELD", "k", "GET", "u8", "#9223372036854775807") == "ERR bit offset is not an integer or out of range"
    assert w("BITFIELD", "k", "OVERFLOW", "BOGUS") == "ERR Invalid OVERFLOW type specified"
    assert w("BITFIELD", "k", "SET", "u8", "0", "x") == "ERR value is not an integer or out of range"
    assert w("BITFIELD", "k", "BOGUS", "u8", "0") == "ERR syntax error"
    assert w("BITFIELD_RO", "k", "SET", "u8", "0", "1") == "ERR BITFIELD_RO only supports the GET subcommand"
    assert w("BITFIELD", "k") == []
    assert w("EXISTS", "k") == 0
