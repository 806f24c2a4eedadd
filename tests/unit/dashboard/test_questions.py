"""What a query string asks for, and what is wrong with it."""

from __future__ import annotations

import pytest

from linckia.dashboard.questions import LISTED, TIMEOUT_S, Parameters, Question, listing, truth

pytestmark = pytest.mark.row("8.36")


def test_a_list_without_parameters() -> None:
    asked = listing("actors", Parameters({}))
    assert asked.question == Question("state", "actors", (), 100, TIMEOUT_S)
    assert not asked.detail


def test_everything_that_can_be_asked_for() -> None:
    given = Parameters({"limit": "7", "timeout": "2", "detail": "true"}, ["state", "PID"], ["=", "!="], ["DEAD", "1"])
    asked = listing("actors", given)
    assert asked.question == Question("state", "actors", (("state", "=", "DEAD"), ("pid", "!=", "1")), 7, 2.0)
    assert asked.detail


def test_all_that_the_state_api_lists_is_there() -> None:
    assert {"actors", "jobs", "nodes", "placement_groups", "workers", "tasks", "objects"} <= set(LISTED)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (Parameters({"limit": "many"}), "limit='many': expected a number from 0 to 10000"),
        (Parameters({"limit": "10001"}), "limit=10001"),
        (Parameters({"limit": "-1"}), "limit=-1"),
        (Parameters({"limit": "nan"}), "limit=nan"),
        (Parameters({"timeout": "0"}), "timeout=0"),
        (Parameters({"detail": "maybe"}), "detail='maybe'"),
        (Parameters({}, ["state"], [], ["DEAD"]), "are 1, 0 and 1"),
        (Parameters({}, ["state"], ["<"], ["DEAD"]), "unknown predicate '<'"),
        (Parameters({}, ["stat"], ["="], ["DEAD"]), "no filters on 'stat'"),
    ],
)
def test_what_cannot_be_asked_for_is_named(given: Parameters, complaint: str) -> None:
    with pytest.raises(ValueError) as refused:
        listing("actors", given)
    assert complaint in str(refused.value)


def test_truth() -> None:
    assert [truth({"x": value}, "x") for value in ("1", "True", "0", "false", "")] == [True, True, False, False, False]
