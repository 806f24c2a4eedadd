"""The public API as type checkers see it: pyright checks this file in strict mode (`make check`).

`f.remote()` checks its arguments like `f`, and `get` knows the result. Lines that must be refused carry an ignore
comment; pyright reports an ignore that is not needed, so a line that is wrongly accepted fails too.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

from typing import assert_type

import pytest

import linckia
from linckia.api.remote_function import RemoteFunction
from linckia.worker.refs import ObjectRef


@linckia.remote
def length(text: str, times: int = 1) -> int:
    """A remote function with a signature worth keeping."""
    return len(text) * times


@linckia.remote(num_cpus=2)
def label(number: int) -> str:
    """One with options."""
    return str(number)


@linckia.remote
class Counter:
    """An actor class."""

    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, amount: int) -> int:
        """Add and return the sum."""
        self.value += amount
        return self.value


def results_are_known() -> None:
    """Never run: for the checker."""
    ref = length.remote("a", times=2)
    assert_type(ref, ObjectRef[int])
    assert_type(linckia.get(ref), int)
    assert_type(linckia.get([ref, ref]), list[int])
    assert_type(linckia.get(label.remote(1)), str)
    assert_type(linckia.get(linckia.put("text")), str)
    assert_type(length.options(num_cpus=1).remote("a"), ObjectRef[int])
    assert_type(length.options(fallback=None, retry_backoff_s=1.0, replicas=2).remote("a"), ObjectRef[int])
    assert_type(linckia.get(linckia.put(b"bytes", replicas=2)), bytes)


def references_stand_for_their_values() -> None:
    """Never run: for the checker. By position, where they are nearly always given."""
    text = linckia.put("a")
    assert_type(length.remote(text), ObjectRef[int])
    assert_type(length.remote(text, 2), ObjectRef[int])
    assert_type(length.remote(text, times=2), ObjectRef[int])
    assert_type(length.remote("a", linckia.put(2)), ObjectRef[int])
    assert_type(length.options(num_cpus=1).remote(text), ObjectRef[int])


def wrong_arguments_are_refused() -> None:
    """Never run: for the checker."""
    length.remote(1)  # pyright: ignore[reportArgumentType, reportCallIssue]
    length.options(num_cpus=1).remote(1)  # pyright: ignore[reportArgumentType, reportCallIssue]
    length.remote(times=linckia.put(2))  # pyright: ignore[reportCallIssue]
    length.remote()  # pyright: ignore[reportCallIssue]
    length.remote("a", other=2)  # pyright: ignore[reportArgumentType]
    label.remote("1")  # pyright: ignore[reportArgumentType, reportCallIssue]
    linckia.get(1)  # pyright: ignore[reportArgumentType, reportCallIssue]


async def awaiting_gives_the_result() -> None:
    """Never run: for the checker."""
    assert_type(await length.remote("a"), int)


@pytest.mark.row("P36")
def test_the_snippets_are_what_they_say() -> None:
    """The checker's view and the run-time objects are the same things."""
    assert isinstance(length, RemoteFunction)
    assert isinstance(label, RemoteFunction)
    assert Counter.__name__ == "Counter"
