"""What tests of the cache commands share."""

import harness

FIELDS = ["state", "value", "ttl", "age", "version", "lease", "retry"]


def as_dict(reply):
    """A map of RESP3, or its flattened form of RESP2, with text for names and states."""
    if isinstance(reply, dict):
        pairs = list(reply.items())
    else:
        assert isinstance(reply, list), reply
        pairs = list(zip(reply[::2], reply[1::2]))
    named = {(k.decode() if isinstance(k, bytes) else str(k)): v for k, v in pairs}
    for name in ("state", "kind"):
        if isinstance(named.get(name), bytes):
            named[name] = named[name].decode()
    return named


def get(client, key, *options):
    answer = as_dict(client("CACHE.GET", key, *options))
    assert list(answer) == FIELDS
    return answer


def inspect(client, key):
    return as_dict(client("CACHE.INSPECT", key))


def wait_for_waiters(client, key, n):
    harness.wait_until(lambda: inspect(client, key)["waiters"] == n, what=f"{n} waiting clients")
