"""Which rows pass a filter, and which filters are none."""

from __future__ import annotations

from typing import Any

import pytest

from linckia.core.listing.filters import checked, matches, on_columns

ROW = {"state": "RUNNING", "pid": 12, "is_alive": True, "name": None}
COLUMNS = ("state", "pid")


@pytest.mark.row("8.5", "8.20")
@pytest.mark.parametrize(
    ("column", "predicate", "value", "passes"),
    [
        ("state", "=", "RUNNING", True),
        ("state", "=", "running", True),
        ("state", "!=", "running", False),
        ("state", "!=", "FINISHED", True),
        ("pid", "=", 12, True),
        ("pid", "=", "12", True),
        ("pid", "=", "twelve", False),
        ("pid", "!=", "13", True),
        ("is_alive", "=", "true", True),
        ("is_alive", "=", "0", False),
        ("is_alive", "=", True, True),
        ("name", "=", "None", False),
        ("name", "!=", "x", True),
        ("absent", "=", "x", False),
        ("absent", "!=", "x", True),
    ],
)
def test_one_filter(column: str, predicate: str, value: Any, passes: bool) -> None:
    assert matches(ROW, [(column, predicate, value)]) is passes


def test_all_filters_must_hold() -> None:
    assert matches(ROW, [("state", "=", "RUNNING"), ("pid", "!=", 13)])
    assert not matches(ROW, [("state", "=", "RUNNING"), ("pid", "!=", 12)])
    assert matches(ROW, [])


def test_some_columns_only() -> None:
    assert on_columns([("state", "=", "x"), ("pid", "=", 1)], ["pid"]) == [("pid", "=", 1)]


def test_what_users_write() -> None:
    assert checked(None, COLUMNS) == []
    assert checked([("STATE", "=", "x"), ["pid", "!=", 1]], COLUMNS) == [("state", "=", "x"), ("pid", "!=", 1)]


@pytest.mark.parametrize(
    ("filters", "error", "says"),
    [
        ("state=x", ValueError, "must be a list"),
        (["state=x"], ValueError, "a filter is"),
        ([("state", "x")], ValueError, "a filter is"),
        ([("state", ">", "x")], ValueError, "unknown predicate '>'"),
        ([("nope", "=", "x")], LookupError, "possible are pid, state"),
    ],
)
def test_what_is_no_filter(filters: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        checked(filters, COLUMNS)
