"""Damage to commands, and how they are spelled: what a hostile or confused client sends.

A damaged command must still do the same at whatever moment it runs, so a number that
would make a key expire during the test is moved out of the way.
"""

import re

from words import EDGES, FLOATS, NOT_RELATIVE, junk

HUGE = b"h" * 70000
NUMERIC = ("int", "float", "rel", "abs")
_RELATIVE_AT_2 = {b"EXPIRE", b"PEXPIRE", b"SETEX", b"PSETEX", b"RESTORE"}
_ENDLESS = re.compile(rb"-[0-9]{6,18}\Z|-9223372036854775807\Z")
_SMALL = re.compile(rb"[1-9][0-9]{0,8}\Z")


def damaged(r, args):
    """A copy of args with one or two things wrong. The command's own name stays."""
    out = list(args)
    fixed = sum(1 for kind, _ in args if kind == "name")
    for _ in range(1 if r.random() < 0.8 else 2):
        _damage_once(r, out, fixed)
    return out


def _damage_once(r, out, fixed):
    free = range(fixed, len(out))
    pick = r.random()
    if pick < 0.45:
        numeric = [i for i in free if out[i][0] in NUMERIC]
        if numeric:
            i = r.choice(numeric)
            out[i] = (out[i][0], r.choice(_edges(out[i][0])))
            return
    if pick < 0.55 and len(out) > fixed:
        del out[-1]
    elif pick < 0.65 and len(out) > fixed:
        del out[r.choice(free)]
    elif pick < 0.75:
        out.append(junk(r))
    elif pick < 0.80 and len(out) > fixed:
        i = r.choice(free)
        out.insert(i, out[i])
    elif pick < 0.85 and len(out) > fixed + 1:
        i, j = r.choice(free), r.choice(free)
        out[i], out[j] = out[j], out[i]
    elif pick < 0.93 and len(out) > fixed:
        i = r.choice(free)
        out[i] = (out[i][0], r.choice(EDGES))
    elif pick < 0.97 and len(out) > fixed:
        i = r.choice(free)
        if out[i][0] != "word":  # Redis reads its own words up to a NUL, or not, as their hashes fall
            out[i] = (out[i][0], out[i][1] + b"\x00tail")
    elif pick < 0.975 and len(out) > fixed:
        out[r.choice(free)] = ("junk", HUGE)
    else:
        out += [("word", r.choice((b"NX", b"XX", b"GET", b"KEEPTTL", b"REPLACE", b"BIT", b"COUNT", b"ABSTTL")))]


def _edges(kind):
    return FLOATS if kind == "float" else NOT_RELATIVE if kind == "rel" else EDGES


def steady(r, args):
    """Replace each time that damage brought near: a relative one by one in the far future
    where those are in use, else by one that is refused or deletes at once; and for SET
    one in the past, because such a key is gone but may still be counted."""
    out = list(args)
    name = out[0].upper() if out else b""
    if name == b"SRANDMEMBER" and len(out) == 3 and _ENDLESS.match(out[2]):
        out[2] = b"-7"  # Redis builds a reply of any size, and answers nobody until it has
    for i, arg in enumerate(out):
        if not arg.isdigit() or not 0 < int(arg) < 92 * 10**17:
            continue
        before = out[i - 1].upper() if i else b""
        if i > 1 and before in (b"EXAT", b"PXAT") and name == b"SET":
            if int(arg) < 4 * 10 ** (9 if before == b"EXAT" else 12):
                out[i] = b"-5"
        elif i == 2 and name in _RELATIVE_AT_2 or i > 1 and before in (b"EX", b"PX"):
            if not r.relative:
                if not (name == b"RESTORE" and b"ABSTTL" in map(bytes.upper, out)):
                    out[i] = b"-5"
            elif _SMALL.match(arg):
                out[i] = b"%d" % r.randrange(10**10, 10**11)
    return out


def respelled(r, args):
    """Names and options in some mix of cases."""
    if r.random() < 0.6:
        return [a for _, a in args]
    return [_mixed(r, a) if kind in ("name", "word") else a for kind, a in args]


def _mixed(r, word):
    pick = r.random()
    if pick < 0.4:
        return word.lower()
    if pick < 0.6:
        return word.upper()
    return bytes(c ^ 0x20 if 65 <= (c & 0xDF) <= 90 and r.random() < 0.5 else c for c in word)
