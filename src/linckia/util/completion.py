"""`as_completed` and `map_unordered`: results in the order in which they become available.

User programs call both. They fetch values in small batches and block only in `linckia.wait`, so a task that uses them
gives its CPU back while it waits. They start nothing but the calls that `map_unordered` is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar, overload

import linckia

_T = TypeVar("_T")


class _Remote(Protocol):
    """A remote function or a method of an actor handle."""

    @property
    def remote(self) -> Callable[[Any], Any]: ...


class _Arrivals:
    """The refs not yet handed out, and those known to be ready, in the order in which they became so.

    Each ref reports itself through `_on_ready`; the report may come from another thread, hence a deque of our own that
    only ever grows there. `linckia.wait` is asked when no report is there: it parks the caller properly.
    """

    def __init__(self, wait_options: dict[str, Any]) -> None:
        self._pending: dict[Any, Callable[[], object]] = {}  # each with what withdraws its report
        self._reported: deque[Any] = deque()
        self._wait_options = wait_options

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, ref: Any) -> None:
        if ref in self._pending:
            raise ValueError(f"as_completed: {ref!r} is given twice; each ref must be there once")
        reported = self._reported
        self._pending[ref] = _when_ready(ref, lambda *_: reported.append(ref))

    def take(self, at_most: int) -> list[Any]:
        """At least one ref, in order of arrival; blocks while none is ready."""
        found = self._take_reported(at_most)
        if not found:
            ready, _ = linckia.wait(list(self._pending), num_returns=1, **self._wait_options)
            # Reports may have come while it waited, and they know the order; `ready` may be ahead of its own report.
            found = self._take_reported(at_most) or ready
        for ref in found:
            self._pending.pop(ref, None)
        return found

    def abandon(self) -> None:
        """Hear no more of the refs not handed out."""
        for withdraw in self._pending.values():
            withdraw()
        self._pending.clear()

    def _take_reported(self, at_most: int) -> list[Any]:
        found: list[Any] = []
        while self._reported and len(found) < at_most:
            ref = self._reported.popleft()
            if ref in self._pending:  # not handed out before its report came
                del self._pending[ref]
                found.append(ref)
        return found


def _when_ready(ref: Any, callback: Callable[..., object]) -> Callable[[], object]:
    """Have `callback` called once `ref` is ready; returns what withdraws that. R 1.46: made for libraries."""
    if hasattr(ref, "_on_ready"):
        withdraw: Callable[[], object] = ref._on_ready(callback)
        return withdraw
    ref._on_completed(callback)  # fetches the value too, and cannot be withdrawn
    return lambda: None


@overload
def as_completed(
    refs: Sequence[linckia.ObjectRef[_T]],
    *,
    chunk_size: int = 10,
    yield_obj_refs: Literal[False] = False,
    **kwargs: Any,
) -> Iterator[_T]: ...
@overload
def as_completed(
    refs: Sequence[linckia.ObjectRef[_T]], *, chunk_size: int = 10, yield_obj_refs: Literal[True], **kwargs: Any
) -> Iterator[linckia.ObjectRef[_T]]: ...
def as_completed(
    refs: Sequence[Any], *, chunk_size: int = 10, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """Iterate over values (with `yield_obj_refs`: over refs) as they become available.

    `chunk_size` is how many available values are fetched together; it does not change the order. Other options go to
    `linckia.wait`. A failed ref raises its error when its turn comes, which ends the iteration; with `yield_obj_refs`
    it is yielded like any other. ValueError for a ref that is given twice.
    """
    _check_chunk_size("as_completed", chunk_size)
    arrivals = _Arrivals(kwargs)
    for ref in refs:
        arrivals.add(ref)
    return _in_order_of_arrival(arrivals, chunk_size, yield_obj_refs, lambda: None)


def map_unordered(
    fn: _Remote,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Call `fn.remote(item)` for every item and iterate over the results as they become available.

    At most `backpressure_size` calls are unfinished or untaken at a time (None: no limit), so `items` may be endless.
    Otherwise as `as_completed`. Calls start when the iteration begins.
    """
    _check_chunk_size("map_unordered", chunk_size)
    if backpressure_size is not None and backpressure_size < 1:
        raise ValueError(f"map_unordered: backpressure_size must be positive or None, not {backpressure_size}")
    arrivals = _Arrivals(kwargs)
    source = iter(items)

    def refill() -> None:
        while backpressure_size is None or len(arrivals) < backpressure_size:
            for item in source:
                arrivals.add(fn.remote(item))
                break
            else:
                return

    return _in_order_of_arrival(arrivals, chunk_size, yield_obj_refs, refill)


def _in_order_of_arrival(
    arrivals: _Arrivals, chunk_size: int, yield_obj_refs: bool, refill: Callable[[], None]
) -> Iterator[Any]:
    try:
        refill()
        while arrivals:
            ready = arrivals.take(chunk_size)
            if yield_obj_refs:
                yield from ready
            else:
                yield from _values(ready)
            refill()
    finally:
        arrivals.abandon()


def _values(refs: list[Any]) -> Iterator[Any]:
    try:
        values = linckia.get(refs)
    except Exception:  # noqa: BLE001 - whatever it is, it is raised below, in its place among the values before it
        for ref in refs:
            yield linckia.get(ref)
    else:
        yield from values


def _check_chunk_size(function: str, chunk_size: int) -> None:
    if chunk_size < 1:
        raise ValueError(f"{function}: chunk_size must be at least 1, not {chunk_size}")


__all__ = ["as_completed", "map_unordered"]
