"""Heads elect their leader under random faults, one life per seed; and broken rules are found.

SEED=<n> replays one life, SEEDS=<count> lives more of them (from SEED, or from 0).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from linckia.base import limits
from linckia.core.leadership import records
from linckia.core.leadership.commands import Command
from linckia.core.leadership.election import Election
from linckia.core.leadership.records import LEADER_KEY, Leader
from linckia.core.leadership.states import HeadState
from linckia.core.mvcc.records import Compare, RangeResult, WatchBatch
from linckia.node.following import SpanFollower
from linckia.node.replica import Replica
from linckia.store.errors import StoreError
from linckia.testing.heads import HeadsFailure, HeadsSwarm, SimHeads

FIRST = int(os.environ.get("SEED") or 0)
COUNT = int(os.environ.get("SEEDS") or (1 if os.environ.get("SEED") else 60))
MUTANT_SEEDS = 40
HARSH = HeadsSwarm(3, 0.2, 2.0, 0.05, 0.6, ("cut", "stop", "kill", "kill", "step_down", "compact"))
LATE = HeadsSwarm(3, 0.0, 1.0, 0.0, 2.5, ("cut", "stop"))
LOSSY = HeadsSwarm(3, 0.3, 0.0, 0.0, 0.5, ("kill",))
HANDED = HeadsSwarm(3, 0.0, 2.0, 0.0, 0.3, ("step_down",))


@pytest.mark.sim
@pytest.mark.row("S14", "S16", "S28")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_one_life(seed: int) -> None:
    heads = SimHeads(seed).run()
    assert heads.epochs


@pytest.mark.sim
def test_one_seed_is_one_history() -> None:
    assert SimHeads(3).run().digest == SimHeads(3).run().digest
    assert len({SimHeads(seed).run().digest for seed in range(4)}) == 4


# --- does it notice? --------------------------------------------------------------------------------------------------


def count_from_the_answer(self: Election, lease: int, sent_s: float, now_s: float) -> list[Command]:
    return renewed(self, lease, now_s, now_s)


def go_on_whenever_renewed(self: Election, lease: int, sent_s: float, now_s: float) -> list[Command]:
    late_s = now_s - sent_s if self.state is HeadState.PAUSED else 0.0
    return renewed(self, lease, sent_s + late_s, now_s)


def serve_until_the_deadline(self: Election, now_s: float) -> bool:
    return now_s < self.deadline_s


def serve_as_long_as_nobody_objects(self: Election, now_s: float) -> bool:
    return self.state in (HeadState.LEADING, HeadState.PAUSED)


def believe_old_news(self: Election, leader: Leader | None, revision: int, now_s: float) -> list[Command]:
    self._seen_revision = 0
    return observed(self, leader, revision, now_s)


def evict_whoever_leads(self: Election, epoch: int, now_s: float) -> list[Command]:
    return leader_gone(self, self.leader.epoch if self.leader is not None else epoch, now_s)


def forget_to_register_again(self: Election) -> None:
    """A head whose key was taken along by an old lease."""


def take_the_key_from_whoever_has_it(_epoch: int) -> Compare:
    return Compare(LEADER_KEY, "create_revision", ">", -2)


def miss_a_revision(self: SpanFollower, turn: int, batch: WatchBatch | StoreError) -> None:
    if isinstance(batch, StoreError) or len(batch.events) < 2:
        on_batch(self, turn, batch)


def be_ready_when_the_store_is(self: Replica, answer: RangeResult | StoreError) -> None:
    self.revision = max(self.revision, answer.revision if isinstance(answer, RangeResult) else 0)
    on_probe(self, answer)


def be_ready_at_once(_self: Replica, _revision: int, callback: Callable[[], None]) -> None:
    callback()


renewed, observed, leader_gone = Election.renewed, Election.observed, Election.leader_gone
on_batch, on_probe = SpanFollower._on_batch, Replica._on_probe
MUTANTS: list[tuple[str, Any, str, Any, str]] = [
    ("no margin", limits, "LEADER_MARGIN_FRACTION", 0.0, "serve at once"),
    ("deadline counts from the answer", Election, "renewed", count_from_the_answer, "serve at once"),
    ("a pause ends with any renewal", Election, "renewed", go_on_whenever_renewed, "serve at once"),
    ("no state, only a deadline", Election, "is_serving", serve_until_the_deadline, "serve at once"),
    ("no deadline, only a state", Election, "is_serving", serve_as_long_as_nobody_objects, "serve at once"),
    ("old news of the leader key", Election, "observed", believe_old_news, "though it leads"),
    ("any leader is evicted", Election, "leader_gone", evict_whoever_leads, "serve at once"),
    ("no comparison in writes", records, "fence", take_the_key_from_whoever_has_it, "wrote after"),
    ("no comparison in campaigns", records, "VACANT", take_the_key_from_whoever_has_it(0), "."),
    ("a lost registration stays lost", Election, "unregistered", forget_to_register_again, "not everybody knows"),
    ("a replica misses changes", SpanFollower, "_on_batch", miss_a_revision, "differs from the store"),
    ("a replica is ready when the store is", Replica, "_on_probe", be_ready_when_the_store_is, "differs"),
    ("a replica is ready at once", Replica, "when_at", be_ready_at_once, "behind"),
]


@pytest.mark.sim
@pytest.mark.parametrize(
    ("owner", "name", "broken", "says"), [each[1:] for each in MUTANTS], ids=[each[0] for each in MUTANTS]
)
def test_a_broken_rule_is_found(owner: Any, name: str, broken: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(HeadsFailure, match=says) as found:
        for seed, swarm in product(range(MUTANT_SEEDS), (HARSH, LATE, LOSSY, HANDED)):
            SimHeads(seed, swarm).run()
    assert "replay: make sim SEED=" in str(found.value)
