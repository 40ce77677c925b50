"""A short, fixed sample of `make chaos-replication`."""

import os

import pytest

import replication_chaos
from harness import REDIS_SERVER

pytestmark = pytest.mark.skipif(not os.path.exists(REDIS_SERVER), reason="needs redis-server")


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_that_was_promised_is_lost(seed):
    assert replication_chaos.run(6, seed) > 0
