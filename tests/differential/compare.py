"""Whether two replies agree.

Most must be the same bytes. A rule is for the replies that two correct servers may
give differently (a time, an order, a random choice): it says what must still hold.
Errors always compare byte by byte, whatever the rule.
"""

from resp import elements, is_error, parse
SLACK_S, SLACK_MS = 120, 120000  # between the two servers' executing one command


def agree(rule, theirs, ours):
    """rule is a name, or for EXEC the list of its commands' rules."""
    if theirs == ours:
        return True
    if isinstance(rule, list):
        return _exec(rule, theirs, ours)
    if rule == "exact" or is_error(theirs) or is_error(ours):
        return False
    return RULES[rule](parse(theirs)[0], parse(ours)[0])


def _exec(rules, theirs, ours):
    a, b = elements(theirs), elements(ours)
    if a is None or b is None or len(a) != len(b) or len(a) != len(rules):
        return False
    return all(agree(rule, x, y) for rule, x, y in zip(rules, a, b))


def _same_kind(a, b):
    return a[0] == b[0]


def _number(a, b):
    return a[0] == b[0] == b":" or a == b


def _near(slack):
    def rule(a, b):
        return a[0] == b[0] == b":" and a[1] > 0 and b[1] > 0 and abs(a[1] - b[1]) <= slack

    return rule


def _unordered(a, b):
    return _same_kind(a, b) and sorted(a[1]) == sorted(b[1])


def _pairs(a, b):
    """A map, in any order; in RESP2 it comes flat."""
    if not _same_kind(a, b) or len(a[1]) != len(b[1]) or len(a[1]) % 2:
        return False
    return sorted(zip(a[1][::2], a[1][1::2])) == sorted(zip(b[1][::2], b[1][1::2]))


def _random_key(a, b):
    """Whose keys they are is for the integration tests; here both found one."""
    return a[0] == b[0] == b"$"


def _scan(a, b):
    """[cursor, keys], however far either got; the judge compares whole iterations."""
    for kind, items in (a, b):
        if kind != b"*" or len(items) != 2 or items[0][0] != b"$" or not items[0][1].isdigit():
            return False
        if items[1][0] != b"*" or any(key[0] != b"$" for key in items[1][1]):
            return False
    return True


def _scan_all(a, b):
    """One call that returned everything."""
    return _scan(a, b) and a[1][0][1] == b[1][0][1] == b"0" and _unordered(a[1][1], b[1][1])


def _sample(a, b):
    """One, or as many, drawn at random."""
    return _same_kind(a, b) and (a[0] == b"$" or len(a[1]) == len(b[1]))


RDB_SET = 2


def _dump(a, b):
    """A hashed set is written in no order, but with the same bytes for each member."""
    if a[0] != b"$" or b[0] != b"$" or a[1][:1] != bytes([RDB_SET]) or b[1][:1] != a[1][:1]:
        return False
    return sorted(a[1][1:-10]) == sorted(b[1][1:-10])


def _help(a, b):
    return a[0] == b[0] == b"*" and all(line[0] == b"+" for line in a[1] + b[1]) and a[1][0] == b[1][0]


def _time(a, b):
    return all(x[0] == b"*" and len(x[1]) == 2 and all(n[0] == b"$" and n[1].isdigit() for n in x[1]) for x in (a, b))


def _hello(a, b):
    """The same fields in the same order; version and id are each server's own."""
    if not _same_kind(a, b) or a[1][::2] != b[1][::2]:
        return False
    own = {b"version", b"id"}
    return all(name[1] in own or x == y for name, x, y in zip(a[1][::2], a[1][1::2], b[1][1::2]))


RULES = {
    "number": _number,
    "ttl_s": _near(SLACK_S),
    "ttl_ms": _near(SLACK_MS),
    "at_s": _near(SLACK_S),
    "at_ms": _near(SLACK_MS),
    "unordered": _unordered,
    "pairs": _pairs,
    "random_key": _random_key,
    "scan": _scan,
    "scan_all": _scan_all,
    "shape": _same_kind,
    "sample": _sample,
    "dump": _dump,
    "help": _help,
    "time": _time,
    "hello": _hello,
}
