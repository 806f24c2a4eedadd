"""A supervised part: when it is tried again, and what is told of it meanwhile."""

from __future__ import annotations

from random import Random

import pytest

from linckia.base.backoff import Backoff
from linckia.core.machine import IllegalTransition
from linckia.core.supervision.part import Part

pytestmark = pytest.mark.row("P9", "S10")
RNG = Random(1)


def part() -> Part:
    return Part("autoscaler", Backoff(0.1, 1.0), 5.0)


def test_failures_in_a_row_wait_longer_up_to_a_bound() -> None:
    failing = part()
    waits = []
    for _ in range(6):
        waits.append(failing.failed("it crashed", 0.0, 1000.0, RNG))
        failing.tried()
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(("for_s", "wait_s"), [(4.9, 0.4), (5.0, 0.1)])
def test_a_part_that_was_steady_begins_anew(for_s: float, wait_s: float) -> None:
    once = part()
    for _ in range(2):
        once.failed("it crashed", 0.0, 1000.0, RNG)
        once.tried()
    once.heard(10.0)
    once.heard(12.0)
    assert once.failed("again", 10.0 + for_s, 1000.0, RNG) == wait_s


def test_it_is_down_from_its_first_failure_until_it_has_done_some_work() -> None:
    it = part()
    assert it.is_up
    it.failed("killed by signal 9", 1.0, 1000.0, RNG)
    it.tried()
    it.failed("no memory", 2.0, 1001.0, RNG)
    it.tried()
    told = it.facts()
    assert (told.is_up, told.down_since_s, told.why, told.failures) == (False, 1000.0, "no memory", 2)
    it.heard(3.0)
    assert (it.facts().is_up, it.facts().down_since_s) == (True, 0.0)


def test_what_nobody_wants_is_never_tried_again() -> None:
    it = part()
    it.failed("x", 1.0, 1000.0, RNG)
    it.closed()
    with pytest.raises(IllegalTransition):
        it.tried()


def test_a_part_that_never_works_waits_longer_and_longer_until_it_has_worked() -> None:
    failing = Part("dashboard", Backoff(0.1, 0.4), 5.0, barren=Backoff(0.1, 3.0))
    waits = []
    for _ in range(7):
        waits.append(failing.failed("it crashed", 0.0, 1000.0, RNG))
        failing.tried()
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0]
    failing.heard(10.0)
    assert failing.failed("killed by signal 9", 11.0, 1000.0, RNG) == 0.4
