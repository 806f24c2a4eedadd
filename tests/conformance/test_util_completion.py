"""`as_completed` and `map_unordered`: order of completion, errors, limits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from engine import IS_LINCKIA, better, module, ray
from gates import Channel, Gate

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.row("11.7")]
util: Any = module("util")
NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@ray.remote(num_cpus=0)
def echo(value: Any) -> Any:
    return value


@ray.remote(num_cpus=0)
def after(gate: Gate, value: Any) -> Any:
    assert gate.wait()
    return value


@ray.remote(num_cpus=0)
def fail(message: str) -> None:
    raise ValueError(message)


def test_values_of_all_refs() -> None:
    assert sorted(util.as_completed([echo.remote(n) for n in range(25)])) == list(range(25))


def test_nothing() -> None:
    assert list(util.as_completed([])) == []
    assert list(util.map_unordered(echo, [])) == []


def test_refs_instead_of_values() -> None:
    refs = [echo.remote(n) for n in range(12)]
    found = list(util.as_completed(refs, yield_obj_refs=True))
    assert set(found) == set(refs)
    assert sorted(ray.get(found)) == list(range(12))


def test_a_slow_result_does_not_hold_the_others_back(new_gate: NewGate) -> None:
    gate = new_gate()
    refs = [after.remote(gate, "slow"), *(echo.remote(n) for n in range(3))]
    results = util.as_completed(refs, chunk_size=1)
    assert sorted(itertools.islice(results, 3)) == [0, 1, 2]
    gate.open()
    assert list(results) == ["slow"]


@better("Ray waits for chunk_size results and returns them in input order")
@pytest.mark.parametrize("chunk_size", [1, 2, 10])
def test_completion_order_whatever_the_chunk_size(chunk_size: int, new_gate: NewGate) -> None:
    gates = [new_gate() for _ in range(4)]
    refs = [after.remote(gate, place) for place, gate in enumerate(gates)]
    results = util.as_completed(refs, chunk_size=chunk_size)
    for place in (2, 0, 3, 1):
        gates[place].open()
        assert next(results) == place
    assert list(results) == []


@better("Ray does not know in which order they finished once they have")
def test_completion_order_of_what_finished_before_anybody_asked(new_gate: NewGate) -> None:
    gates = [new_gate() for _ in range(4)]
    refs = [after.remote(gate, place) for place, gate in enumerate(gates)]
    results = util.as_completed(refs)
    for place in (2, 0, 3, 1):
        gates[place].open()
        ray.wait([refs[place]])
    assert list(results) == [2, 0, 3, 1]


def test_the_error_of_a_failed_ref_is_raised_in_its_turn() -> None:
    done = echo.remote("before")
    ray.wait([done])
    results = util.as_completed([done, fail.remote("on purpose")], chunk_size=1)
    assert next(results) == "before"
    with pytest.raises(ValueError, match="on purpose"):
        next(results)
    assert list(results) == []


@better("Ray loses the values that are fetched together with the error")
def test_values_before_an_error_are_not_lost() -> None:
    refs = [echo.remote(1), fail.remote("on purpose")]
    for ref in refs:
        ray.wait([ref])
    results = util.as_completed(refs)
    assert next(results) == 1
    with pytest.raises(ValueError, match="on purpose"):
        next(results)


def test_a_failed_ref_is_yielded_as_a_ref() -> None:
    ref = fail.remote("on purpose")
    assert list(util.as_completed([ref], yield_obj_refs=True)) == [ref]


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_chunk_size_is_checked(chunk_size: int) -> None:
    with pytest.raises(ValueError, match="chunk_size"):
        list(util.as_completed([echo.remote(1)], chunk_size=chunk_size))
    with pytest.raises(ValueError, match="chunk_size"):
        list(util.map_unordered(echo, [1], chunk_size=chunk_size))


def test_a_ref_given_twice_is_refused() -> None:
    ref = echo.remote(1)
    with pytest.raises(ValueError, match="twice" if IS_LINCKIA else "unique"):
        list(util.as_completed([ref, ref]))


def test_unknown_options_are_refused_by_wait(new_gate: NewGate) -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        list(util.as_completed([after.remote(new_gate(), 1)], no_such_option=1))


def test_map_unordered_over_a_function_and_over_a_method() -> None:
    @ray.remote(num_cpus=0)
    class Negator:
        def negate(self, value: int) -> int:
            return -value

    assert sorted(util.map_unordered(echo, range(30))) == list(range(30))
    assert sorted(util.map_unordered(Negator.remote().negate, range(3))) == [-2, -1, 0]


@pytest.mark.parametrize("backpressure_size", [1, 3, 10, None])
def test_map_unordered_with_any_limit(backpressure_size: int | None) -> None:
    found = util.map_unordered(echo, range(20), backpressure_size=backpressure_size, chunk_size=1)
    assert sorted(found) == list(range(20))


def test_map_unordered_yields_refs_too() -> None:
    assert sorted(ray.get(list(util.map_unordered(echo, range(5), yield_obj_refs=True)))) == list(range(5))


def test_map_unordered_takes_no_more_items_than_the_limit_allows() -> None:
    taken = itertools.count()
    endless = util.map_unordered(echo, taken, backpressure_size=5, chunk_size=1)
    for _ in range(10):
        next(endless)
    assert next(taken) <= 16


def test_map_unordered_gives_finished_results_first(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote(num_cpus=0)
    def zero_waits(value: int) -> int:
        assert value or gate.wait()
        return value

    results = util.map_unordered(zero_waits, range(4), chunk_size=1)
    assert sorted(itertools.islice(results, 3)) == [1, 2, 3]
    gate.open()
    assert list(results) == [0]


def test_map_unordered_checks_its_limit() -> None:
    with pytest.raises(ValueError, match="backpressure_size"):
        list(util.map_unordered(echo, [1], backpressure_size=0, chunk_size=1))
