"""How long retries wait: the back-off of the options, and the budget that all retries of a process share."""

from __future__ import annotations

import random

import pytest

from linckia.core.tasks.retry_pauses import JITTER, RetryBudget, backoff, pause_s


class NoLuck:
    """Jitter at its least: nothing is taken off a pause."""

    def random(self) -> float:
        return 0.0


def test_pauses_double_up_to_the_cap() -> None:
    schedule = backoff(0.5, 3.0)
    assert [pause_s(schedule, failures, 0.0, NoLuck()) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_jitter_shortens_a_pause_by_up_to_half() -> None:
    schedule, rng = backoff(1.0, 60.0), random.Random(3)
    pauses = [pause_s(schedule, 1, 0.0, rng) for _ in range(200)]
    assert 1 - JITTER <= min(pauses) < 0.6
    assert 0.9 < max(pauses) <= 1.0


@pytest.mark.parametrize(("first_s", "cap_s"), [(0.0, 60.0), (1.0, 0.0)])
def test_zero_means_no_pause(first_s: float, cap_s: float) -> None:
    assert pause_s(backoff(first_s, cap_s), 7, 0.0, NoLuck()) == 0


def test_a_cap_below_the_first_pause_wins() -> None:
    assert pause_s(backoff(10.0, 2.0), 1, 0.0, NoLuck()) == 2.0


def test_the_longer_of_the_two_counts() -> None:
    schedule = backoff(1.0, 60.0)
    assert pause_s(schedule, 1, 0.25, NoLuck()) == 1.0
    assert pause_s(schedule, 1, 8.0, NoLuck()) == 8.0
    assert pause_s(None, 1, 8.0, NoLuck()) == 8.0


def test_a_budget_lets_a_burst_pass_and_then_its_rate() -> None:
    budget = RetryBudget(per_s=10.0, burst=3)
    assert [budget.take(100.0) for _ in range(5)] == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.2])
    assert budget.take(100.2) == pytest.approx(0.1), "two tokens came, both were spoken for"
    assert budget.take(101.0) == 0.0


def test_a_budget_does_not_save_more_than_a_burst() -> None:
    budget = RetryBudget(per_s=10.0, burst=2)
    budget.take(0.0)
    assert [budget.take(1000.0) for _ in range(3)] == pytest.approx([0.0, 0.0, 0.1])


def test_over_a_long_time_the_rate_holds() -> None:
    budget, rng = RetryBudget(per_s=5.0, burst=10), random.Random(1)
    now_s, starts = 0.0, list[float]()
    for _ in range(500):
        starts.append(now_s + budget.take(now_s))
        now_s += rng.random() * 0.1
    for start in starts:
        assert sum(start <= other < start + 1.0 for other in starts) <= 10 + 5 + 1


@pytest.mark.parametrize("per_s", [0.0, -1.0])
def test_without_a_rate_there_is_no_limit(per_s: float) -> None:
    budget = RetryBudget(per_s, burst=1)
    assert {budget.take(0.0) for _ in range(100)} == {0.0}


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    budget = RetryBudget(per_s=1.0, burst=1)
    assert [budget.take(now_s) for now_s in (5.0, 4.0, 5.0)] == pytest.approx([0.0, 1.0, 2.0])
