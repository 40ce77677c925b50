"""What commands are made of: keys, values, numbers, and the edges of each.

Every maker takes the generator's random.Random. An argument is made as (kind, bytes):
the kind tells the mutator what would hurt there.
"""

KEYS = (
    [b"k%d" % i for i in range(9)]
    + [b"{tag}a", b"{tag}b", b"key with space", b"bin\x00\r\n\xff", b"", b"123", b"L" * 200]
)
# LCS is quadratic in time and memory: its keys only ever hold short strings.
SHORT_KEYS = [b"lcs%d" % i for i in range(5)]
# Mostly sets live there; other commands come by now and then, for WRONGTYPE.
SET_KEYS = [b"set%d" % i for i in range(6)]
# Sets that never have more than this one member, so that taking one at random is no choice.
LONE_KEYS = [b"lone%d" % i for i in range(3)]
LONE_MEMBER = b"hermit"
DATABASES = (0, 0, 0, 0, 0, 0, 1, 1, 2, 9)

EDGES = [
    b"0", b"1", b"-1", b"2", b"7", b"8", b"9",
    b"2147483647", b"2147483648", b"2147483649", b"-2147483647", b"-2147483648", b"-2147483649",
    b"4294967295", b"4294967296", b"4294967297", b"-4294967295", b"-4294967296", b"-4294967297",
    b"9007199254740993", b"9223372036854775806", b"9223372036854775807", b"9223372036854775808",
    b"-9223372036854775807", b"-9223372036854775808", b"-9223372036854775809",
    b"18446744073709551615", b"18446744073709551616", b"18446744073709551617", b"1" * 40,
    b"1.5", b"-0.0", b"1e3", b"0x10", b"inf", b"-inf", b"nan", b"+1", b"-0", b"00", b"01", b" 1", b"1 ", b"1\x00",
    b"", b"-", b"+", b"junk", b"1junk", b"\x00", b"\xff\xfe",
]  # fmt: skip

FLOATS = [
    b"0", b"1", b"-1", b"0.1", b"3.0e3", b"1e308", b"-1e308", b"1e-320", b"5.0e4931", b"1e4932", b"1e5000", b"1e-5000",
    b"inf", b"-inf", b"+inf", b"Infinity", b"nan", b"-nan", b"0x1p3", b"0x.8", b" 1", b"1 ", b"1.", b".5", b"-.5e1", b"1e", b"e1",
    b"1,5", b"--1", b"+5", b"1\x00", b"", b"junk", b"12345678901234567890.12345678901234567890", b"0.30000000000000004",
    b"100000000000000000000", b"1e17", b"1e18", b"123456789012345.678", b"1" * 300,
]  # fmt: skip

# Past is past and far future is far future however slowly the test runs; nothing lies between.
PAST_S = [b"0", b"1", b"-1", b"1000000000"]
PAST_MS = PAST_S + [b"2147483648", b"4294967297", b"1000000000000"]
NOT_RELATIVE = [e for e in EDGES if not (e.isdigit() and 0 < int(e) < 92 * 10**17)]


def key(r):
    return "key", r.choice(SET_KEYS if r.random() < 0.07 else KEYS)


def set_key(r):
    return "key", r.choice(KEYS if r.random() < 0.08 else SET_KEYS)


def lone_key(r):
    return "lone_key", r.choice(LONE_KEYS)


def member(r):
    pick = r.random()
    if pick < 0.45:
        return "value", b"%d" % r.randrange(-5, 30)
    if pick < 0.55:
        return "value", b"%d" % r.choice((32767, 32768, -32769, 2147483647, 2147483648, -(1 << 63), (1 << 63) - 1))
    if pick < 0.85:
        return "value", b"m%d" % r.randrange(30)
    if pick < 0.93:
        return "value", r.choice(EDGES)
    return "value", bytes([97 + r.randrange(4)]) * r.choice((64, 65, 253, 254, 255, 256, 1000))


def members(r):
    """Some members, now and then so many that the set outgrows every small encoding."""
    if r.random() < 0.04:
        n, first = r.choice((120, 140, 500, 520, 700)), r.randrange(100)
        return [("value", (b"%d" if r.random() < 0.6 else b"many%d") % (first + i)) for i in range(n)]
    return [member(r) for _ in range(r.randrange(1, 6))]


def pop_count(r):
    """None, or more than any set has: both servers take the same."""
    return "count", r.choice((b"0", b"100000", b"100000", b"100000", b"2147483648", b"9223372036854775807", b"-1", b"9223372036854775808", b"x", b"1.5", b""))


def draw_count(r):
    return "count", r.choice((b"0", b"1", b"3", b"20", b"600", b"-1", b"-3", b"-40", b"-9223372036854775808", b"9223372036854775807", b"x", b""))


def short_key(r):
    return "short_key", r.choice(SHORT_KEYS)


def any_key(r):
    pick = r.random()
    return "key", r.choice(SHORT_KEYS if pick < 0.1 else SET_KEYS if pick < 0.2 else KEYS)


def small_value(r):
    pick = r.random()
    if pick < 0.3:
        return "value", b"%d" % r.randrange(-20, 300)
    if pick < 0.9:
        return "value", bytes(r.choice(b"abcdefgh") for _ in range(r.randrange(0, 40)))
    return "value", r.choice(EDGES)


def value(r):
    pick = r.random()
    if pick < 0.40:
        return "value", b"%d" % r.randrange(-10, 20000)
    if pick < 0.50:
        return "value", b"%.3f" % r.uniform(-1000, 1000)
    if pick < 0.65:
        return "value", r.choice(EDGES)
    if pick < 0.70:
        return "value", r.choice(FLOATS)
    if pick < 0.80:  # around the border between embstr and raw
        return "value", b"v" * r.randrange(38, 52)
    if pick < 0.88:
        return "value", r.randbytes(r.randrange(0, 80))
    if pick < 0.97:  # compressible and not
        return "value", b"the quick brown fox " * r.randrange(1, 20)
    if pick < 0.998:
        return "value", r.randbytes(r.randrange(100, 3000))
    return "value", r.choice((b"x" * 70000, r.randbytes(40000)))


def text(r):
    return "text", r.choice((b"", b"hello", b"a b", b"\r\n", b"\x00", b"x" * 600, b"\xc3\xa9"))


def integer(r):
    return "int", b"%d" % r.randrange(-300, 300) if r.random() < 0.8 else r.choice(EDGES)


def number(r):
    if r.random() < 0.6:
        return "float", (b"%.*f" % (r.randrange(0, 18), r.uniform(-1e6, 1e6)))
    return "float", r.choice(FLOATS)


def index(r):
    return "int", b"%d" % r.randrange(-120, 120) if r.random() < 0.85 else r.choice(EDGES)


def offset(r):
    return "int", b"%d" % r.randrange(0, 400) if r.random() < 0.9 else b"%d" % r.randrange(0, 100000)


def bit_offset(r):
    return "int", b"%d" % r.randrange(0, 3000) if r.random() < 0.95 else b"%d" % r.randrange(0, 1 << 18)


def bit(r):
    return "int", r.choice((b"0", b"1"))


def count(r):
    return "int", b"%d" % r.randrange(1, 50)


def database(r):
    return "int", b"%d" % r.choice(DATABASES)


def pattern(r):
    return "pattern", r.choice((
        b"*", b"k*", b"k?", b"k[0-4]", b"k[^0-4]", b"k[4-0]", b"[k{]*", b"*tag*", b"{tag}?", b"\\k1", b"k\\1", b"", b"**", b"?*?",
        b"L*L*L", b"*L", b"k[", b"k[1", b"k[^", b"[]", b"[^]*", b"k\\", b"*\x00*", b"*\xff", b"k[\\1]", b"K1", b"123", b"nothing", b"[a-z][0-9]",
    ))  # fmt: skip


# The five makers of times. r.relative tells whether this epoch may use relative ones.


def seconds(r):
    if not r.relative:
        return "rel", r.choice(NOT_RELATIVE)
    return "rel", b"%d" % r.randrange(20000, 9 * 10**9)


def milliseconds(r):
    if not r.relative:
        return "rel", r.choice(NOT_RELATIVE)
    return "rel", b"%d" % r.randrange(20000000, 9 * 10**12)


def unix_seconds(r):
    if r.random() < 0.05:
        return "abs", r.choice(PAST_S)
    return "abs", b"%d" % (r.randrange(4 * 10**9, 9 * 10**9) if r.random() < 0.9 else 5 * 10**9)


def unix_milliseconds(r):
    if r.random() < 0.05:
        return "abs", r.choice(PAST_MS)
    return "abs", b"%d" % (r.randrange(4 * 10**12, 9 * 10**12) if r.random() < 0.9 else 5 * 10**12)


def bitfield_type(r):
    if r.random() < 0.9:
        sign = r.choice((b"i", b"u"))
        return "word", sign + b"%d" % r.randrange(1, 65 if sign == b"i" else 64)
    return "word", r.choice((b"i0", b"u0", b"i65", b"u64", b"i-1", b"x8", b"8", b"", b"i", b"I8", b"U7", b"i08", b"i8x", b"u1.5"))


def bitfield_offset(r):
    if r.random() < 0.9:
        return "int", (b"#%d" % r.randrange(0, 40)) if r.random() < 0.4 else b"%d" % r.randrange(0, 2000)
    return "int", r.choice((b"-1", b"#-1", b"#", b"", b"1.5", b"#x", b"4294967295", b"4294967296", b"9223372036854775807", b"#9223372036854775807", b"##1", b" 1"))  # fmt: skip


def junk(r):
    return "junk", r.choice((b"", b"junk", b"nx", b"GET", b"EX", b"*", b"\x00", b"10", b"-1", b"k1", b"\r\n", b"x" * 300))
