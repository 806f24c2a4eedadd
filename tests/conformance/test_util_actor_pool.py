"""`ActorPool`: order, timeouts, membership, and what happens when its actors die."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from engine import IS_LINCKIA, better, exceptions, module, ray
from gates import Gate

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.row("11.1")]
ActorPool: Any = module("util").ActorPool
NewGate = Callable[[], Gate]


@ray.remote(num_cpus=0)
class Worker:
    def double(self, value: int) -> int:
        return value * 2

    def double_after(self, gate: Gate | None, value: int) -> int:
        if gate is not None:
            assert gate.wait()
        return value * 2

    def fail(self) -> None:
        raise ValueError("on purpose")

    def die(self) -> None:
        os._exit(1)

    @ray.method(num_returns=2)
    def pair(self, value: int) -> tuple[int, int]:
        return value, -value


def double(actor: Any, value: int) -> Any:
    return actor.double.remote(value)


def double_after(actor: Any, argument: tuple[Gate | None, int]) -> Any:
    return actor.double_after.remote(*argument)


@pytest.fixture
def workers() -> list[Any]:
    return [Worker.remote() for _ in range(2)]


@pytest.fixture
def pool(workers: list[Any]) -> Any:
    return ActorPool(workers)


def test_it_is_importable_by_its_module_too() -> None:
    assert module("util.actor_pool").ActorPool is ActorPool


def test_map_keeps_the_order_of_the_values(pool: Any) -> None:
    assert list(pool.map(double, [3, 1, 2, 5, 4])) == [6, 2, 4, 10, 8]


def test_map_takes_any_iterable(pool: Any) -> None:
    assert list(pool.map(double, (n for n in range(4)))) == [0, 2, 4, 6]


def test_map_submits_before_the_first_result_is_asked_for(pool: Any) -> None:
    results = pool.map(double, [1, 2])
    assert pool.has_next()
    assert list(results) == [2, 4]
    assert not pool.has_next()


def test_map_unordered_gives_finished_results_first(pool: Any, new_gate: NewGate) -> None:
    gate = new_gate()
    results = pool.map_unordered(double_after, [(gate, 1), (None, 2), (None, 3)])
    assert [next(results), next(results)] == [4, 6]
    gate.open()
    assert list(results) == [2]


def test_map_throws_away_the_results_of_earlier_calls(pool: Any) -> None:
    pool.submit(double, 100)
    assert list(pool.map(double, [1, 2])) == [2, 4]


def test_more_calls_than_actors_wait_their_turn(pool: Any) -> None:
    for value in range(7):
        pool.submit(double, value)
    assert [pool.get_next() for _ in range(7)] == [0, 2, 4, 6, 8, 10, 12]


def test_an_empty_pool_has_no_results(pool: Any) -> None:
    assert not pool.has_next()
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_has_free_and_pop_idle(pool: Any, workers: list[Any], new_gate: NewGate) -> None:
    gate = new_gate()
    assert pool.has_free()
    first = pool.pop_idle()
    assert first in workers
    pool.submit(double_after, (gate, 1))
    assert not pool.has_free()
    assert pool.pop_idle() is None
    gate.open()
    assert pool.get_next() == 2
    assert pool.has_free()
    assert pool.pop_idle() in workers


def test_an_actor_is_in_the_pool_once(pool: Any, workers: list[Any], new_gate: NewGate) -> None:
    gate = new_gate()
    with pytest.raises(ValueError, match="(?i)pool"):
        pool.push(workers[0])
    for value in (1, 2):
        pool.submit(double_after, (gate, value))
    with pytest.raises(ValueError, match="(?i)pool"):
        pool.push(workers[0])


def test_a_pushed_actor_takes_a_waiting_call(workers: list[Any], new_gate: NewGate) -> None:
    gate = new_gate()
    pool = ActorPool(workers[:1])
    pool.submit(double_after, (gate, 1))
    pool.submit(double, 2)
    pool.push(workers[1])
    assert pool.get_next_unordered() == 4
    gate.open()
    assert pool.get_next_unordered() == 2


def test_get_next_timeout_leaves_the_result_in_place(pool: Any, new_gate: NewGate) -> None:
    gate = new_gate()
    pool.submit(double_after, (gate, 1))
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.05)
    with pytest.raises(TimeoutError):
        pool.get_next_unordered(timeout=0.05)
    gate.open()
    assert pool.get_next(timeout=30) == 2


def test_get_next_can_give_a_late_result_up(pool: Any, new_gate: NewGate) -> None:
    gate = new_gate()
    pool.submit(double_after, (gate, 1))
    pool.submit(double, 2)
    with pytest.raises(TimeoutError, match="ignored"):
        pool.get_next(timeout=0.05, ignore_if_timedout=True)
    assert pool.get_next() == 4
    assert not pool.has_next()


@better("Ray fails with UnboundLocalError")
def test_get_next_unordered_can_give_a_late_result_up(pool: Any, new_gate: NewGate) -> None:
    pool.submit(double_after, (new_gate(), 1))
    with pytest.raises(TimeoutError, match="ignored"):
        pool.get_next_unordered(timeout=0.05, ignore_if_timedout=True)
    assert not pool.has_next()


def test_get_next_is_refused_after_a_later_result_was_taken(pool: Any, new_gate: NewGate) -> None:
    gate = new_gate()
    pool.submit(double_after, (gate, 1))
    pool.submit(double, 2)
    assert pool.get_next_unordered() == 4
    with pytest.raises(ValueError, match="get_next_unordered"):
        pool.get_next()
    pool.submit(double, 3)
    assert pool.get_next() == 6
    gate.open()
    assert pool.get_next_unordered() == 2


def test_a_failed_call_raises_and_its_actor_stays(pool: Any) -> None:
    pool.submit(lambda actor, _: actor.fail.remote(), None)
    with pytest.raises(ValueError, match="on purpose"):
        pool.get_next()
    assert list(pool.map(double, range(4))) == [0, 2, 4, 6]


def test_a_dead_actor_leaves_the_pool(pool: Any) -> None:
    pool.submit(lambda actor, _: actor.die.remote(), None)
    with pytest.raises(exceptions.RayActorError):
        pool.get_next()
    assert list(pool.map(double, range(3))) == [0, 2, 4]
    assert pool.pop_idle() is not None
    assert pool.pop_idle() is None


@better("Ray drops the waiting calls without a word")
def test_calls_that_no_actor_is_left_for_are_reported(workers: list[Any]) -> None:
    pool = ActorPool(workers[:1])
    pool.submit(lambda actor, _: actor.die.remote(), None)
    pool.submit(double, 1)
    pool.submit(double, 2)
    with pytest.raises(exceptions.RayActorError):
        pool.get_next()
    assert pool.has_next()
    with pytest.raises(RuntimeError, match=r"2 submitted call\(s\) never ran"):
        pool.get_next()
    assert not pool.has_next()


@better("Ray waits for the list as if it were one ref")
def test_a_call_may_return_several_refs(pool: Any) -> None:
    assert IS_LINCKIA
    assert list(pool.map(lambda actor, value: actor.pair.remote(value), [1, 2])) == [[1, -1], [2, -2]]
    pool.submit(lambda actor, value: actor.pair.remote(value), 3)
    assert pool.get_next_unordered(timeout=30) == [3, -3]
