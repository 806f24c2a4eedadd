"""The wait graph finds every circle that a new wait closes, and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.core.tasks.deadlock import WaitGraph, Waiting


def task(number: int, actor: int = 0) -> bytes:
    """A task id; the actor's id is part of it."""
    return number.to_bytes(8, "big") + actor.to_bytes(16, "big")


def actor_id(actor: int) -> bytes:
    """As it stands in task ids."""
    return actor.to_bytes(16, "big")


def waiting(number: int, *awaited: bytes, actor: int = 0, worker: bytes = b"w") -> Waiting:
    """Task ``number`` waits; with ``actor`` it occupies that actor."""
    return Waiting(task(number, actor), f"t{number}", worker, awaited, actor_id(actor) if actor else b"")


@pytest.mark.row("S33")
def test_two_actors_that_call_each_other_are_a_circle() -> None:
    graph = WaitGraph()
    assert graph.waits(waiting(1, task(10, actor=2), actor=1)) == []
    assert graph.waits(waiting(2, task(11, actor=1), actor=2)) == ["t2", "t1"]


@pytest.mark.row("S33")
def test_an_actor_that_waits_for_its_own_next_call_is_a_circle() -> None:
    assert WaitGraph().waits(waiting(1, task(2, actor=1), actor=1)) == ["t1"]


def test_who_goes_on_or_dies_holds_up_nobody() -> None:
    graph = WaitGraph()
    graph.waits(waiting(1, task(10, actor=2), actor=1))
    graph.goes_on(task(1, 1))
    assert graph.waits(waiting(2, task(11, actor=1), actor=2)) == []
    graph.waits(waiting(1, task(10, actor=2), actor=1, worker=b"dies"))
    graph.worker_gone(b"dies")
    graph.goes_on(task(2, 2))
    assert graph.waits(waiting(2, task(11, actor=1), actor=2)) == []
    assert len(graph) == 1


@pytest.mark.row("S33")
@given(st.integers(0, 10**6), st.integers(2, 30))
def test_forests_give_no_alarm(seed: int, size: int) -> None:
    rng = random.Random(seed)
    graph = WaitGraph()
    order = list(range(1, size + 1))
    rng.shuffle(order)
    for place, number in enumerate(order):
        later = order[place + 1 :]
        awaited = [task(other) for other in later if rng.random() < 0.3]
        assert graph.waits(waiting(number, *awaited)) == []


@pytest.mark.row("S33")
@given(st.integers(0, 10**6), st.integers(2, 30))
def test_a_ring_is_found_by_its_last_member(seed: int, size: int) -> None:
    rng = random.Random(seed)
    graph = WaitGraph()
    order = list(range(1, size + 1))
    rng.shuffle(order)
    for count, number in enumerate(order, start=1):
        found = graph.waits(waiting(number, task(number % size + 1)))
        assert len(found) == (size if count == size else 0)
