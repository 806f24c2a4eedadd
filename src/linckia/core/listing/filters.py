"""Does a row pass the filters? Ray's rules: ``=`` and ``!=``, all of them, text compared without regard to case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from linckia.model.listing import Filter, Row

PREDICATES = ("=", "!=")
_TRUE, _FALSE = ("true", "1"), ("false", "0")


def matches(row: Row, filters: Iterable[Filter]) -> bool:
    """A row without the column passes no ``=`` and every ``!=``."""
    return all((_equal(row.get(column), value)) is (predicate == "=") for column, predicate, value in filters)


def _equal(found: Any, wanted: Any) -> bool:
    """``wanted`` may be the text of a number or a truth value: it comes from a command line."""
    if isinstance(found, str) and isinstance(wanted, str):
        return found.lower() == wanted.lower()
    if isinstance(found, bool) and isinstance(wanted, str):
        return wanted.lower() in (_TRUE if found else _FALSE)
    if isinstance(found, int | float) and isinstance(wanted, str):
        try:
            return float(wanted) == found
        except ValueError:
            return False
    return bool(found == wanted)


def on_columns(filters: Iterable[Filter], columns: Sequence[str]) -> list[Filter]:
    """Those filters that are about these columns."""
    return [each for each in filters if each[0] in columns]


def checked(filters: object, columns: Sequence[str]) -> list[Filter]:
    """``filters`` as a user gave them. ValueError (its shape or predicate) and LookupError (its column) name the
    filter, what is wrong with it and what is possible.
    """
    if filters is None:
        return []
    if isinstance(filters, str) or not isinstance(filters, list | tuple):
        raise ValueError(f'filters must be a list of (column, "=" or "!=", value), found {filters!r}')
    found: list[Filter] = []
    for each in filters:
        if isinstance(each, str) or not isinstance(each, list | tuple) or len(each) != 3:
            raise ValueError(f'a filter is (column, "=" or "!=", value), found {each!r}')
        column, predicate, value = each
        if predicate not in PREDICATES:
            raise ValueError(f"filter {each!r}: unknown predicate {predicate!r}; there are {list(PREDICATES)}")
        name = str(column).lower()
        if name not in columns:
            raise LookupError(f"filter {each!r}: no filters on {column!r}; possible are {', '.join(sorted(columns))}")
        found.append((name, predicate, value))
    return found
