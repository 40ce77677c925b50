"""The differences from Redis 7.0.15 that are intended. Anything not listed here fails.

Each has a reason that a user would accept, and must be seen: a long enough run in
which one of them does not occur fails too, so that the list stays true.
"""

import re


class Difference:
    def __init__(self, name, reason, commands, *, args=None, theirs=b"", ours=b"", but_for_case=False):
        """`commands` are upper-case first words, `args` a pattern to be found in the rest; theirs and
        ours are what the raw replies begin with, or what they may begin with."""
        self.name = name
        self.reason = reason
        self.commands = commands
        self.args = args
        self.theirs = theirs
        self.ours = ours
        self.but_for_case = but_for_case  # upper and lower case is all that differs
        self.seen = 0

    def explains(self, args, theirs, ours):
        return (
            args[0].upper() in self.commands
            and (self.args is None or re.search(self.args, b" ".join(args[1:]).upper()))
            and theirs.startswith(self.theirs)
            and ours.startswith(self.ours)
            and (not self.but_for_case or theirs.upper() == ours.upper())
        )


CONFIG_FAILED = b"-ERR CONFIG SET failed (possibly related to argument "

DIFFERENCES = [
    Difference(
        "arguments of a request",
        "a request has at most 1,048,576 arguments, where Redis takes 2,147,483,647: a bound that no client needs is a bound less",
        [b"(CONVERSATION)"],
        theirs=b"-ERR Protocol error: expected '$'",
        ours=b"-ERR Protocol error: invalid multibulk length",
    ),
    Difference(
        "more eviction policies",
        "the list of maxmemory-policy's values also names allkeys-auto and volatile-auto",
        [b"CONFIG", b"(CONVERSATION)"],
        args=b"MAXMEMORY-POLICY",
        theirs=CONFIG_FAILED + b"'maxmemory-policy') - argument(s) must be one of",
        ours=CONFIG_FAILED + b"'maxmemory-policy') - argument(s) must be one of",
    ),
    Difference(
        "an empty memory value",
        "Redis takes it for 0; a script with an unset variable would lift the limit unawares",
        [b"(CONVERSATION)"],
        args=rb"MAXMEMORY\r\n\$0",
        theirs=b"+OK",
        ours=CONFIG_FAILED + b"'maxmemory') - argument must be a memory value",
    ),
    Difference(
        "the name in an error of CONFIG SET",
        "is spelled as the table of options spells it, whatever case was asked for",
        [b"CONFIG", b"(CONVERSATION)"],
        theirs=CONFIG_FAILED,
        ours=CONFIG_FAILED,
        but_for_case=True,
    ),
    Difference(
        "HELLO with a good AUTH and a bad option, or the reverse",
        "as in 7.2, all options are read before one takes effect",
        [b"(CONVERSATION)"],
        args=b"AUTH",
        theirs=b"-WRONGPASS",
        ours=b"-ERR ",
    ),
    Difference(
        "COMMAND GETKEYS of a command without arguments",
        "as in 7.2, the command's own arity is what counts",
        [b"(CONVERSATION)"],
        args=b"GETKEYS",
        theirs=b"-ERR wrong number of arguments for 'command|getkeys",
        ours=b"-ERR ",
    ),
    Difference(
        "small sets",
        "as in 7.2, a small set that is not all integers is a listpack",
        [b"OBJECT"],
        args=b"ENCODING",
        theirs=b"$9\r\nhashtable",
        ours=b"$8\r\nlistpack",
    ),
    Difference(
        "a count of keys that is no number, or beyond 32 bits",
        "is refused, as the command itself refuses it; COMMAND GETKEYS of Redis takes what C's atoi() makes of it",
        [b"COMMAND"],
        args=rb"^GETKEYS(ANDFLAGS)? SINTERCARD (?!\d{1,9} \S)",
        theirs=b"*",
        ours=b"-ERR Invalid arguments specified for command",
    ),
    Difference(
        "line ends at the end of FUNCTION LIST's error",
        "are cut off as they are in other errors; Redis makes spaces of them here",
        [b"FUNCTION"],
        args=rb"LIST.*[\r\n]",
        theirs=b"-ERR Unknown argument ",
        ours=b"-ERR Unknown argument ",
    ),
    Difference(
        "FUNCTION STATS",
        "larder has no engine for functions yet, and names none, where Redis names LUA",
        [b"FUNCTION"],
        args=b"STATS",
        theirs=(b"*4\r\n$14\r\nrunning_script", b"%2\r\n$14\r\nrunning_script"),
        ours=(b"*4\r\n$14\r\nrunning_script", b"%2\r\n$14\r\nrunning_script"),
    ),
    Difference(
        "a bit offset that overflows",
        "#N times the width beyond 64 bits is refused; Redis 7.0 works on with what is left of it",
        [b"(CONVERSATION)"],
        args=b"#1152921504606846976",
        ours=b"-ERR bit offset is not an integer or out of range",
    ),
]


def explanation(args, theirs, ours):
    for d in DIFFERENCES:
        if d.explains(args, theirs, ours):
            d.seen += 1
            return d
    return None
