#!/usr/bin/python3
"""Real faults on a real cluster, and a reckoning of every acknowledged write.

    chaos.py [--rounds N] [--seed S] [--timeout MS] [--faults NAME,NAME...] [--summary FILE]

Three primaries and three replicas, each in a network of its own (chaos_net.py), and three cluster clients and a bare
probe that write to all shards without a rest (chaos_writers.py). Each round one fault happens and is healed. Then:

- all nodes say that the cluster is ok, and agree on one view, in which each primary has a replica;
- every client gets through again;
- each replica has what its primary has, to the byte;
- each acknowledged write is there. Replication is asynchronous, so the exceptions are those of the documentation: if a
  shard's primary was replaced, and not by plan, what it acknowledged within a node timeout before the fault, or before it
  can have noticed that it is cut off (a node timeout; Redis: two, since a ping may be out for half of one), may be lost. Nothing else
  may: not what a frozen primary says when it wakes, not by a fault of replicas, not by loss, delay or a full disk that
  replaced nobody, not in a handover.

A seed repeats the choices, though not the moments. LARDER_SERVER=/usr/bin/redis-server shows how Redis does.
After a round that breaks this the logs of the nodes are in .run/chaos.
"""

import argparse
import collections
import os
import random
import shutil
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import redis  # noqa: E402

import chaos_net  # noqa: E402
import clusters  # noqa: E402
import harness  # noqa: E402
import netns  # noqa: E402
from chaos_writers import SHARD_ENDS, IoRedis, Liblarder, Probe, RedisPy, Writers, outage, shard_of, silence  # noqa: E402
from harness import wait_until  # noqa: E402
from test_replica import data_of, in_step  # noqa: E402

NODES, FIRST_PORT, BLOCK = 6, 7001, 10  # a cluster serves a block of rounds
KEPT = os.path.join(harness.ROOT, ".run", "chaos")
ERRORS = (AssertionError, OSError, EOFError, clusters.Loading, redis.exceptions.RedisError)
CLIENTS = {"Probe": Probe, "RedisPy": RedisPy, "IoRedis": IoRedis, "Liblarder": Liblarder}


def reads_replicas(connection):
    connection.on_connect()
    connection.send_command("READONLY")
    connection.read_response()


class Round:
    """What came of one fault. Seconds; outages are those of the shard that fared worst."""

    def __init__(self, fault):
        self.fault, self.began, self.lost, self.replaced = fault, None, [], set()
        self.acknowledged, self.outage, self.silence = 0, 0.0, {}
        self.breach = None  # what may not be

    def __str__(self):
        silences = ", ".join(f"{kind} {s:.2f}" for kind, s in self.silence.items())
        lost = ""
        if self.lost:
            times = [w.ended - self.began for w in self.lost]
            lost = f" acknowledged {min(times):+.2f} to {max(times):+.2f} s from the fault"
        return (f"{self.fault}: {self.acknowledged} writes, {len(self.lost)} lost{lost}; {len(self.replaced)} replaced; "
                f"outage {self.outage:.2f} s; longest silences: {silences}"
                + (f"; BREACH: {self.breach}" if self.breach else ""))


class Chaos:
    def __init__(self, rng, timeout_ms, kinds):
        self.rng, self.timeout = rng, timeout_ms / 1000
        self.notices = self.timeout * (2 if harness.is_redis(harness.LARDER_SERVER) else 1)
        self.net = chaos_net.Network(NODES)
        binary = harness.LARDER_SERVER
        options = clusters.options_for(binary, {"cluster-node-timeout": timeout_ms, "protected-mode": "no"})
        self.servers = [chaos_net.IslandServer(island, FIRST_PORT + i, binary, options)
                        for i, island in enumerate(self.net.islands)]
        self.cluster, self.writers = clusters.Cluster(self.servers), None
        try:
            for s in self.servers:
                s.start()
            self.cluster.join(1)
            self.writers = Writers(kinds, [s.address() for s in self.servers])
        except BaseException:
            self.abandon()
            raise

    # ---- who is who ----

    def shards(self):
        """[(primary, [its replicas])] in the order of their slots, as the cluster is."""
        rows = clusters.rows(self.servers[0])
        at = {s.port: s for s in self.servers}
        out = []
        for end in SHARD_ENDS:
            owner = next(r for r in rows if any(word.endswith(str(end)) for word in r.slots))
            out.append((at[owner.port], [at[r.port] for r in rows if r.primary == owner.id]))
        return out

    def pick(self):
        """A shard: (its primary, one of its replicas, somebody of each other shard)."""
        shards = self.shards()
        primary, replicas = shards.pop(self.rng.randrange(len(shards)))
        return primary, self.rng.choice(replicas), shards

    def others(self, *those):
        return [s.island for s in self.servers if s not in those]

    @staticmethod
    def has_taken_over(replica):
        wait_until(lambda: "role:master" in clusters.ask(replica, "INFO", "replication"), seconds=120,
                   what="the replica to take over")

    def rest(self, least, most):
        time.sleep(self.rng.uniform(least, most))

    # ---- what may happen; whoever changes `until` says until when the old primary may acknowledge in vain ----

    def primary_killed(self):
        primary, replica, _ = self.pick()
        self.cluster.kill(primary)
        self.has_taken_over(replica)
        self.rest(0, 1)
        primary.start()

    def primary_killed_and_back_at_once(self):
        """Without its data, before anybody suspects it: it must not serve what it has, which is nothing."""
        primary, _, _ = self.pick()
        self.cluster.kill(primary)
        primary.start()

    def primary_stopped(self):
        primary, replica, _ = self.pick()
        os.kill(primary.pid, signal.SIGSTOP)
        self.until = time.monotonic() + self.timeout  # what it acknowledges when it wakes, it must not
        try:
            self.has_taken_over(replica)
        finally:
            os.kill(primary.pid, signal.SIGCONT)

    def primary_blinks(self):
        primary, _, _ = self.pick()
        os.kill(primary.pid, signal.SIGSTOP)
        try:
            self.rest(0.05 * self.timeout, 0.7 * self.timeout)
        finally:
            os.kill(primary.pid, signal.SIGCONT)

    def primary_cut_off(self):
        """Its clients may still reach it."""
        primary, replica, _ = self.pick()
        if self.rng.random() < 0.5:
            self.net.hide([primary.island])
        self.net.part([primary.island], self.others(primary), one_way=self.rng.random() < 0.3)
        self.until = time.monotonic() + self.notices
        self.has_taken_over(replica)
        self.rest(0, 1)

    def minority_cut_off(self):
        """A primary and the replica of another."""
        primary, replica, others = self.pick()
        beside = self.rng.choice(others)[1][0]
        self.net.part([primary.island, beside.island], self.others(primary, beside))
        self.until = time.monotonic() + self.notices
        self.has_taken_over(replica)
        self.rest(0, 1)

    def replica_killed(self):
        _, replica, _ = self.pick()
        self.cluster.kill(replica)
        self.rest(0, 2 * self.timeout)
        replica.start()

    def replica_stopped(self):
        _, replica, _ = self.pick()
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            self.rest(0.5 * self.timeout, 2 * self.timeout)
        finally:
            os.kill(replica.pid, signal.SIGCONT)

    def replicas_cut_off(self):
        """One or all of them, from all other nodes."""
        replicas = [r for _, rs in self.shards() for r in rs]
        some = self.rng.choice([replicas, [self.rng.choice(replicas)]])
        self.net.part([s.island for s in some], self.others(*some))
        self.rest(0.5 * self.timeout, 2 * self.timeout)

    def packets_lost(self):
        some = self.rng.sample(self.net.islands, self.rng.choice([1, 2, 6]))
        self.net.lose(some, self.rng.choice([2, 10, 25]))
        self.rest(self.timeout, 2 * self.timeout)

    def packets_late(self):
        some = self.rng.sample(self.net.islands, self.rng.choice([1, 2, 6]))
        least, most = sorted(self.rng.uniform(0, 0.25 * self.timeout) for _ in range(2))
        dice = random.Random(self.rng.random())
        self.net.delay(some, lambda: dice.uniform(least, most))
        self.rest(self.timeout, 2 * self.timeout)

    def handover(self):
        _, replica, _ = self.pick()
        assert clusters.ask(replica, "CLUSTER", "FAILOVER") == "OK"
        self.has_taken_over(replica)

    def disk_full(self):
        """A node that cannot save refuses writes if it is a primary, and lives on."""
        node = self.rng.choice(self.servers)
        node.fill_disk()
        c = node.client()
        try:
            c.bgsave()
            wait_until(lambda: c.info("persistence")["rdb_last_bgsave_status"] == "err", what="the snapshot to fail")
            self.rest(0, 1)
        finally:
            node.free_disk()
        c.bgsave()
        wait_until(lambda: c.info("persistence")["rdb_last_bgsave_status"] == "ok", what="the snapshot to succeed")

    FAULTS = (primary_killed, primary_killed_and_back_at_once, primary_stopped, primary_blinks, primary_cut_off, minority_cut_off,
              replica_killed, replica_stopped, replicas_cut_off, packets_lost, packets_late, handover, disk_full)

    # ---- a round, and its reckoning ----

    def owners(self):
        """Of each shard who owns it, and since which epoch."""
        epochs = {r.port: r.epoch for r in clusters.rows(self.servers[0])}
        return [(primary.port, epochs[primary.port]) for primary, _ in self.shards()]

    def healthy(self):
        """One view, all is ok, and each primary has a replica in step."""
        for s in self.servers:
            assert s.alive(), f"{s} has died:\n{s.log_tail(20)}"
        return self.cluster.settled() and all(replicas for _, replicas in self.shards())

    def round(self, outcome):
        """Raises one of ERRORS if the cluster or a client does not recover."""
        before, name = self.owners(), outcome.fault
        self.writers.work()
        self.writers.flow()
        outcome.began, self.until = time.monotonic(), None
        try:
            getattr(self, name)()
        finally:
            self.net.heal()
        until = self.until or time.monotonic() + self.notices
        wait_until(self.healthy, seconds=120, every=0.1, what=f"the cluster to be well after {name}")
        self.writers.flow()
        written = self.writers.rest()
        wait_until(self.healthy, seconds=120, every=0.1, what=f"the cluster to be well after {name}")
        outcome.replaced = {i for i, (a, b) in enumerate(zip(before, self.owners())) if a != b}
        self.reckon(outcome, written, until)

    def data(self):
        """What the primaries have, after their replicas have proved to have the same."""
        found = {}
        for primary, replicas in self.shards():
            a = primary.client()
            for replica in replicas:
                b = replica.client(redis_connect_func=reads_replicas)
                in_step(a, b)
                ours, theirs = set(data_of(a)), set(data_of(b))
                assert ours == theirs, f"{replica} differs from {primary}: {sorted(ours ^ theirs)[:5]}"
            names = a.keys("*")
            pipe = a.pipeline(transaction=False)
            for name in names:
                pipe.get(name)
            found.update(zip(names, pipe.execute()))
        return found

    def reckon(self, outcome, written, until):
        found = self.data()
        for (kind, shard), writes in written.items():
            outcome.silence[kind] = max(outcome.silence.get(kind, 0), silence(writes))
            if kind == "Probe":
                outcome.outage = max(outcome.outage, outage(writes))
            for w in writes:
                if w.refusal is None:
                    outcome.acknowledged += 1
                    value = found.get(w.key.encode())
                    assert value in (None, w.value.encode()), f"{w.key} is {value}, was written as {w.value}"
                    if value is None:
                        outcome.lost.append(w)
        forbidden = [w for w in outcome.lost if not self.allowed(w, outcome, until)]
        if forbidden:
            when = [f"{w.key} {w.ended - outcome.began:+.3f} s" for w in forbidden[:10]]
            outcome.breach = f"{len(forbidden)} acknowledged writes are lost that may not be: {', '.join(when)}"

    def allowed(self, w, outcome, until):
        if outcome.fault == "handover" or shard_of(w.key) not in outcome.replaced:
            return False
        return outcome.began - self.timeout <= w.ended and w.sent <= until

    def keep_logs(self, name):
        folder = os.path.join(KEPT, name)
        os.makedirs(folder, exist_ok=True)
        for s in self.servers:
            if os.path.exists(s.log_path):
                shutil.copy(s.log_path, os.path.join(folder, f"node-{s.port}.log"))

    def abandon(self):
        """Everything ends, whatever state it is in."""
        if self.writers is not None:
            self.writers.close(kill=True)
        harness.end_all([s for s in self.servers if s.process is not None])
        self.net.close()

    def close(self):
        """The same in peace; a node that has died or reported an alarm is told."""
        self.writers.close()
        self.cluster.close()
        self.net.close()


def bag(rng, names):
    """Endlessly one of them, each as often as the others."""
    while True:
        yield from rng.sample(names, len(names))


def run(rounds, seed, say=lambda text: None, timeout_ms=2000, kinds=tuple(CLIENTS.values()), faults=None):
    """Returns the rounds' outcomes. `faults`: names to choose from; by default all."""
    rng, outcomes = random.Random(seed), []
    names = bag(rng, list(faults or (f.__name__ for f in Chaos.FAULTS)))
    while len(outcomes) < rounds:
        chaos = Chaos(rng, timeout_ms, kinds)
        try:
            sound = True
            for _ in range(min(BLOCK, rounds - len(outcomes))):
                outcomes.append(Round(next(names)))
                sound = attempt(chaos, outcomes[-1], f"seed-{seed}-round-{len(outcomes)}")
                say(f"round {len(outcomes)} of {rounds}: {outcomes[-1]}")
                if not sound:
                    break
        except BaseException:
            chaos.abandon()
            raise
        chaos.close() if sound else chaos.abandon()
    return outcomes


def attempt(chaos, outcome, name):
    """False if the cluster must not be used any more. Logs are kept if anything was wrong."""
    sound = True
    try:
        chaos.round(outcome)
    except ERRORS as e:
        outcome.breach, sound = f"{type(e).__name__}: {e}", False
    if outcome.breach:
        chaos.keep_logs(name)
    return sound


def summary(outcomes):
    """A table in Markdown, a row a fault; outages as median / longest."""
    kinds = list(dict.fromkeys(k for o in outcomes for k in o.silence))
    head = ["fault", "rounds", "primaries replaced", "acknowledged", "lost", "acknowledged when", "breaches",
            "outage of the shard, s", *(f"{k}: longest silence, s" for k in kinds)]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    grouped = collections.defaultdict(list)
    for o in outcomes:
        grouped[o.fault].append(o)

    def both(values):
        values = list(values)
        return f"{statistics.median(values):.2f} / {max(values):.2f}"

    for fault, those in sorted(grouped.items()):
        times = [w.ended - o.began for o in those for w in o.lost]
        lines.append([fault.replace("_", " "), len(those), sum(len(o.replaced) for o in those), sum(o.acknowledged for o in those),
                      len(times), f"{min(times):+.2f} to {max(times):+.2f} s" if times else "",
                      sum(o.breach is not None for o in those), both(o.outage for o in those),
                      *(both(o.silence.get(k, 0) for o in those) for k in kinds)])
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=100, help="how many (100)")
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the choices (random)")
    p.add_argument("--timeout", type=int, default=2000, help="cluster-node-timeout, ms (2000)")
    p.add_argument("--faults", help="only these, by name: " + ", ".join(f.__name__ for f in Chaos.FAULTS))
    p.add_argument("--summary", help="a file that the table of outcomes is written to")
    args = p.parse_args()
    kinds = [k for k in CLIENTS.values() if k is not IoRedis or IoRedis.is_there()]
    print(f"seed {args.seed}, writers: {', '.join(k.__name__ for k in kinds)}", flush=True)

    def work():
        netns.own_mounts()
        outcomes = run(args.rounds, args.seed, lambda text: print(text, flush=True), args.timeout, kinds,
                       args.faults.split(",") if args.faults else None)
        text = summary(outcomes)
        print(text, flush=True)
        if args.summary:
            with open(args.summary, "w") as f:
                f.write(text + "\n")
        breaches = [f"round {i + 1}, {o.fault}: {o.breach}" for i, o in enumerate(outcomes) if o.breach]
        assert not breaches, "\n".join([f"{len(breaches)} of {len(outcomes)} rounds broke what holds:", *breaches])

    try:
        netns.run_apart(work)
    except AssertionError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
