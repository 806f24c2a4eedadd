"""Resource vectors: parsing of users' numbers, exact arithmetic, balances that never lie."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.base.resources import InsufficientResourcesError, ResourceBalance, ResourceSet

NAMES = st.sampled_from(["CPU", "GPU", "memory", "apple"])
SETS = st.dictionaries(NAMES, st.integers(0, 50_000)).map(ResourceSet)


def of(**amounts: float) -> ResourceSet:
    return ResourceSet.from_amounts(amounts)


def test_zeros_are_dropped_and_order_does_not_matter() -> None:
    assert of(GPU=0, CPU=1, apple=2) == of(apple=2, CPU=1)
    assert of(GPU=0, CPU=1).key == (("CPU", 10_000),)
    assert len({of(CPU=1, apple=2), of(apple=2, CPU=1)}) == 1
    assert list(of(apple=2, CPU=1)) == ["CPU", "apple"]


@pytest.mark.row("2.1")
def test_granularity_is_one_ten_thousandth() -> None:
    assert of(CPU=0.0001).units("CPU") == 1
    assert of(CPU=0.5) + of(CPU=0.5) == of(CPU=1)
    total = ResourceSet()
    for _ in range(10):
        total += of(CPU=0.1)
    assert total.amounts() == {"CPU": 1.0}


@pytest.mark.row("2.1")
@pytest.mark.parametrize("amount", [-1, -0.0001, 0.00009, float("nan"), float("inf"), 1e15])
def test_amounts_outside_the_range_are_refused_by_name(amount: float) -> None:
    with pytest.raises(ValueError, match="'CPU'"):
        of(CPU=amount)


@pytest.mark.parametrize("amount", ["1", None, True, [1]])
def test_amounts_that_are_not_numbers_are_refused_by_name(amount: Any) -> None:
    with pytest.raises(TypeError, match="'CPU' must be a number"):
        of(CPU=amount)


def test_names_are_non_empty_text() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        ResourceSet.from_amounts({"": 1})
    with pytest.raises(TypeError, match="must be text, got 5"):
        ResourceSet.from_amounts({5: 1})  # type: ignore[dict-item]


@pytest.mark.row("1.2")
def test_a_nodes_total_is_whole() -> None:
    assert ResourceSet.node_total({"CPU": 4, "GPU": 0}).amounts() == {"CPU": 4.0}
    with pytest.raises(ValueError, match=r"'CPU' must be a whole number, got 1\.5$"):
        ResourceSet.node_total({"CPU": 1.5})


def test_memory_of_a_large_machine_is_exact() -> None:
    amount = 10**14 - 1
    assert of(memory=amount).units("memory") == amount * 10_000


def test_a_request_that_does_not_fit_says_what_is_missing() -> None:
    assert of(CPU=2, GPU=0.5, apple=1).shortfall(of(CPU=1, apple=1)) == [
        "needs 2 CPU, 1 there",
        "needs 0.5 GPU, 0 there",
    ]
    assert of(CPU=1).shortfall(of(CPU=1)) == []


def test_taking_more_than_there_is_changes_nothing_and_names_the_resource() -> None:
    room = of(CPU=1)
    with pytest.raises(InsufficientResourcesError, match=r"'CPU' would become -0\.5"):
        _ = room - of(CPU=1.5)
    assert room == of(CPU=1)


def test_parts_of_a_set() -> None:
    whole = of(CPU=2, GPU=1)
    assert whole.only("CPU", "apple") == of(CPU=2)
    assert whole.without("CPU") == of(GPU=1)
    assert whole.scale(3) == of(CPU=6, GPU=3)
    assert not whole.scale(0)
    with pytest.raises(ValueError, match="-1 times"):
        whole.scale(-1)
    assert "CPU" in whole
    assert whole.amount("CPU") == 2.0
    assert repr(whole) == "ResourceSet(CPU: 2, GPU: 1)"


@given(SETS, SETS)
def test_adding_and_taking_away_ends_where_it_began(some: ResourceSet, more: ResourceSet) -> None:
    assert (some + more) - more == some
    assert some.fits_in(some + more)
    assert some + more == more + some


@given(SETS, SETS)
def test_fitting_shortfall_and_subtraction_agree(request: ResourceSet, room: ResourceSet) -> None:
    if request.fits_in(room):
        assert not request.shortfall(room)
        assert (room - request) + request == room
    else:
        assert request.shortfall(room)
        with pytest.raises(InsufficientResourcesError):
            _ = room - request


@given(SETS)
def test_a_set_survives_its_amounts_and_pickle(some: ResourceSet) -> None:
    assert ResourceSet.from_amounts(some.amounts()) == some
    assert pickle.loads(pickle.dumps(some)) == some


def test_a_balance_grants_until_the_total_and_takes_back() -> None:
    empty = ResourceBalance(of(CPU=2))
    full = empty.take(of(CPU=1)).take(of(CPU=1))
    assert full.available == ResourceSet()
    assert empty.available == of(CPU=2)
    with pytest.raises(InsufficientResourcesError, match="needs 1 CPU, 0 there"):
        full.take(of(CPU=1))
    assert full.give_back(of(CPU=2)) == empty
    with pytest.raises(InsufficientResourcesError):
        empty.give_back(of(CPU=1))


@pytest.mark.row("4.16")
def test_a_resumed_task_regains_its_cpu_even_when_it_is_taken() -> None:
    taken = ResourceBalance(of(CPU=1)).take(of(CPU=1))
    oversubscribed = taken.regain(of(CPU=1))
    assert oversubscribed.used == of(CPU=2)
    assert oversubscribed.available == ResourceSet()
    assert oversubscribed.give_back(of(CPU=1)).available == ResourceSet()
    assert oversubscribed.give_back(of(CPU=1)).give_back(of(CPU=1)).available == of(CPU=1)


@pytest.mark.row("4.6")
def test_feasible_looks_at_the_empty_node() -> None:
    full = ResourceBalance(of(CPU=1)).take(of(CPU=1))
    assert full.feasible(of(CPU=1))
    assert not full.feasible(of(CPU=2))


@given(SETS, st.lists(SETS))
def test_a_balance_is_conserved(total: ResourceSet, requests: list[ResourceSet]) -> None:
    balance, granted = ResourceBalance(total), []
    for request in requests:
        if request.fits_in(balance.available):
            balance = balance.take(request)
            granted.append(request)
        assert balance.available + balance.used == total
    for request in granted:
        balance = balance.give_back(request)
    assert balance == ResourceBalance(total)
