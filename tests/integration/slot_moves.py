"""Slots that move by CLUSTER MIGRATESLOTS, as both ends tell of them."""

import harness
from clusters import ask, my_id


def migrations(server):
    """GETSLOTMIGRATIONS, a dictionary a move, the newest first."""
    with server.wire() as w:
        reply = w("CLUSTER", "GETSLOTMIGRATIONS")
    return [{k.decode(): v.decode() if isinstance(v, bytes) else v for k, v in zip(m[::2], m[1::2])} for m in reply]


def begin(source, target, *ranges):
    words = [x for r in ranges for x in r]
    assert ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *words, "NODE", my_id(target)) == "OK"
    return migrations(source)[0]["name"]


def one(server, name):
    return next((m for m in migrations(server) if m["name"] == name), None)


def ended(server, name):
    """How it has ended; False while it has not."""
    m = one(server, name)
    return m if m and m["state"] in ("success", "failed", "cancelled") else False


def outcome(server, name):
    return harness.wait_until(lambda: ended(server, name), seconds=60, what="the move to end")


def move(source, target, *ranges):
    """At both ends: the target may serve them a little later than the source has given them up."""
    name = begin(source, target, *ranges)
    m = outcome(source, name)
    assert m["state"] == "success", m
    assert outcome(target, name)["state"] == "success"
    return m
