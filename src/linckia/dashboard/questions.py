"""What is asked of the cluster, as values that can be compared; and what a request's query string asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from linckia.base.limits import STATE_ROWS_MAX
from linckia.core.listing.filters import checked
from linckia.core.listing.records import DEFAULT_LIMIT, RESOURCES, Resource
from linckia.model.jobs import JobRecord
from linckia.model.listing import Row

TIMEOUT_S, TIMEOUT_MAX_S = 5.0, 30.0
LISTED = {kind.question: kind for kind in RESOURCES.values()}
"""What can be listed, by the name in its path."""


class Question(NamedTuple):
    """``kind``: cluster (a ClusterQuery) | state (a StateQuery) | submissions (records of submitted jobs) | log."""

    kind: str
    what: str = ""
    filters: tuple[tuple[str, str, Any], ...] = ()
    limit: int = 0
    timeout_s: float = TIMEOUT_S


OVERVIEW = Question("cluster", "overview")
SUBMISSIONS = Question("submissions")


class Listing(NamedTuple):
    """A list as it was asked for."""

    question: Question
    kind: Resource
    detail: bool


class Submissions(msgspec.Struct):
    """What is known of jobs. ``supervisors``: rows of actors, asked for before ``records`` were read: who is gone then
    has written its last word.
    """

    supervisors: list[Row]
    drivers: list[Row]
    records: list[JobRecord]


decode_submissions = msgspec.msgpack.Decoder(Submissions).decode


class Parameters(NamedTuple):
    """A query string: the last value of each name, and all of those that may be given several times."""

    last: Mapping[str, str]
    keys: Sequence[str] = ()
    predicates: Sequence[str] = ()
    values: Sequence[str] = ()


def state_question(what: str, limit: int = STATE_ROWS_MAX) -> Question:
    """All rows, up to a number."""
    return Question("state", what, (), limit)


def listing(what: str, given: Parameters) -> Listing:
    """ValueError names the parameter, what it may be and what it is."""
    kind = LISTED[what]
    if not len(given.keys) == len(given.predicates) == len(given.values):
        counts = f"{len(given.keys)}, {len(given.predicates)} and {len(given.values)}"
        raise ValueError(
            f"filter_keys, filter_predicates and filter_values must be as many as each other, are {counts}"
        )
    filters = list(zip(given.keys, given.predicates, given.values, strict=True))
    try:
        found = checked(filters, list(dict.fromkeys([*kind.schema.filterable_columns(), kind.id_column])))
    except LookupError as error:
        raise ValueError(f"{what}: {error.args[0]}") from None
    limit = _number(given.last, "limit", DEFAULT_LIMIT, 0, STATE_ROWS_MAX)
    timeout_s = _number(given.last, "timeout", TIMEOUT_S, 0.1, TIMEOUT_MAX_S)
    question = Question("state", kind.question, tuple(found), int(limit), timeout_s)
    return Listing(question, kind, truth(given.last, "detail"))


def truth(given: Mapping[str, str], name: str) -> bool:
    """A parameter that is on or off; ValueError."""
    value = given.get(name, "").lower()
    if value not in ("", "0", "1", "false", "true"):
        raise ValueError(f"{name}={value!r}: expected true or false")
    return value in ("1", "true")


def _number(given: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = given.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name}={text!r}: expected a number from {least:g} to {most:g}") from None
    if not least <= value <= most:
        raise ValueError(f"{name}={text}: expected a number from {least:g} to {most:g}")
    return value
