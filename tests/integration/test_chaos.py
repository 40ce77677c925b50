"""A short, fixed sample of `make chaos`, and the reckoner itself: it sees what is lost, and when that may be."""

import pytest

import chaos
import netns
from chaos_writers import Liblarder, Probe, RedisPy, Write, outage, shard_of, silence


def test_no_acknowledged_write_is_lost_but_as_documented():
    def work():
        netns.own_mounts()
        faults = ["primary_killed", "handover", "packets_lost"]
        outcomes = chaos.run(3, 1, timeout_ms=3000, kinds=(Probe, RedisPy, Liblarder), faults=faults)
        assert {o.fault for o in outcomes} == set(faults)
        assert all(o.acknowledged > 0 and o.breach is None for o in outcomes), "\n".join(map(str, outcomes))

    try:
        netns.run_apart(work)
    except netns.Unavailable as e:
        pytest.skip(str(e))


def write(key, sent, ended, refusal=None):
    return Write(key, "v", sent, ended, refusal)


class Reckoner(chaos.Chaos):
    """A cluster that holds what it is told to hold."""

    def __init__(self, held):
        self.timeout, self.held = 2, held

    def data(self):
        return self.held


@pytest.mark.parametrize(
    "fault, replaced, sent, ended, fine",
    [
        ("primary_killed", True, 9, 9.5, True),  # within a node timeout before the fault
        ("primary_killed", True, 7, 7.9, False),  # long before
        ("primary_killed", False, 9, 9.5, False),  # nobody was replaced
        ("primary_cut_off", True, 13.9, 14.1, True),  # it may not have noticed yet
        ("primary_cut_off", True, 14.1, 14.2, False),  # it must have
        ("handover", True, 9.9, 10.1, False),  # planned
    ],
)
def test_what_may_be_lost(fault, replaced, sent, ended, fine):
    lost = write("k", sent, ended)
    outcome = chaos.Round(fault)
    outcome.began = 10
    outcome.replaced = {shard_of("k")} if replaced else {shard_of("k") + 1}
    written = {("Probe", shard_of("k")): [write("kept", 9, 9.1), lost, write("refused", 9, 10, "CLUSTERDOWN")]}
    reckoner = Reckoner({b"kept": b"v"})
    reckoner.reckon(outcome, written, until=14)
    assert (outcome.breach is None) == fine
    assert (outcome.acknowledged, outcome.lost) == (2, [lost])


def test_another_value_is_told():
    with pytest.raises(AssertionError, match="was written as v"):
        outcome = chaos.Round("packets_lost")
        outcome.began = 10
        Reckoner({b"k": b"other"}).reckon(outcome, {("Probe", 0): [write("k", 9, 9.1)]}, until=14)


def test_outage_and_silence():
    writes = [write("a", 0, 1), write("b", 2, 3, "no"), write("c", 4, 5, "no"), write("d", 6, 7), write("e", 8, 9, "no")]
    assert outage(writes) == 5 and silence(writes) == 6
    assert outage(writes[:1]) == 0 and silence(writes[:1]) == 0
