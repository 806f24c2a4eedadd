"""The whole cluster under random work and random faults, one life per seed.

SEED=<n> replays one life, SEEDS=<count> lives more of them (from SEED, or from 0).
"""

from __future__ import annotations

import os

import pytest

from linckia.testing.cluster import SimCluster

FIRST = int(os.environ.get("SEED") or 0)
COUNT = int(os.environ.get("SEEDS") or (1 if os.environ.get("SEED") else 50))


@pytest.mark.sim
@pytest.mark.row("S1")
@pytest.mark.row("S2")
@pytest.mark.row("S11")
@pytest.mark.row("S21")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_one_life(seed: int) -> None:
    SimCluster(seed).run()


@pytest.mark.sim
def test_lives_are_full_of_work() -> None:
    """A life may be empty, as that of seed 23011, whose program does nothing; most are not."""
    assert sum(len(SimCluster(seed).run().outcomes) for seed in range(10)) > 100
