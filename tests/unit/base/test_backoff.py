"""Backoff: doubling, cap, jitter from the caller's generator."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.base.backoff import Backoff


class NeverAsked:
    def random(self) -> float:
        raise AssertionError("the generator was asked")


class Fixed:
    def random(self) -> float:
        return 0.5


@pytest.mark.row("5.22")
def test_delays_double_up_to_the_cap() -> None:
    schedule = Backoff(first_s=0.1, cap_s=5)
    assert [schedule.delay_s(attempt, NeverAsked()) for attempt in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert schedule.delay_s(100_000, NeverAsked()) == 5


def test_jitter_shortens_by_its_share() -> None:
    assert Backoff(first_s=2, cap_s=8, jitter=0.5).delay_s(1, Fixed()) == 3


@given(st.integers(0, 5000), st.integers(), st.floats(0, 1))
def test_a_delay_is_within_its_bounds_and_repeatable(attempt: int, seed: int, jitter: float) -> None:
    schedule = Backoff(first_s=0.1, cap_s=5, jitter=jitter)
    delay_s = schedule.delay_s(attempt, random.Random(seed))
    assert 0 <= delay_s <= 5
    assert delay_s == schedule.delay_s(attempt, random.Random(seed))


@pytest.mark.parametrize("bad", [(0, 1, 2, 0), (2, 1, 2, 0), (1, 1, 0.5, 0), (1, 1, 2, -0.1), (1, 1, 2, 1.1)], ids=str)
def test_impossible_schedules_are_refused(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(*bad)


def test_attempts_are_counted_from_zero() -> None:
    with pytest.raises(ValueError, match="counted from 0, got -1"):
        Backoff(1, 1).delay_s(-1, NeverAsked())
