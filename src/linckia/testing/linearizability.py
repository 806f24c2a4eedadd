"""Is there one order of these operations that explains all answers and respects real time? Pure.

A search after Wing and Gong with remembered dead ends (as Lowe, and porcupine, do): at each step any operation may be
next that was called before the earliest return of those still open. An operation without return (its client never
learned the outcome) may take effect at any time after its call, or never. Histories of several keys are checked key by
key, because a set of registers is linearizable exactly when each of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

K = TypeVar("K")
Step = Callable[[Hashable, Any, Any], Iterable[Hashable]]
"""(state, argument, answer or UNKNOWN) to the states that are possible afterwards; none: impossible."""


class Unknown:
    """The answer that never came."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


class Operation(msgspec.Struct, frozen=True):
    """One call and its answer. ``called`` and ``returned`` are positions in one order of all calls and returns."""

    argument: Any
    answer: Any
    called: int
    returned: int | None = None


class Verdict(msgspec.Struct, frozen=True):
    """Whether the history is linearizable; if not, the longest explanation and what could not follow it."""

    ok: bool
    explained: tuple[Operation, ...] = ()
    stuck: tuple[Operation, ...] = ()

    def text(self) -> str:
        """For a person."""
        if self.ok:
            return "linearizable"
        done = "\n".join(f"  {each}" for each in self.explained[-10:])
        stuck = "\n".join(f"  {each}" for each in self.stuck)
        return f"not linearizable: after\n{done}\nnone of these can be next:\n{stuck}"


def check(history: Sequence[Operation], initial: Hashable, step: Step) -> Verdict:
    """Search for an order."""
    ops = sorted(history, key=lambda op: op.called)
    wanted = sum(1 << place for place, op in enumerate(ops) if op.returned is not None)
    seen: set[tuple[int, Hashable]] = {(0, initial)}
    path: list[int] = []
    best: list[int] = []
    stack: list[tuple[int, Hashable, Iterator[tuple[int, Hashable]]]] = [(0, initial, _moves(ops, 0, initial, step))]
    while stack:
        done, _, moves = stack[-1]
        if done & wanted == wanted:
            return Verdict(True)
        for place, state in moves:
            after = (done | 1 << place, state)
            if after not in seen:
                seen.add(after)
                path.append(place)
                stack.append((*after, _moves(ops, *after, step)))
                break
        else:
            if len(path) > len(best):
                best = list(path)
            stack.pop()
            if path:
                path.pop()
    explained = sum(1 << place for place in best)
    stuck = tuple(ops[place] for place in _candidates(ops, explained))
    return Verdict(False, tuple(ops[place] for place in best), stuck)


def check_each(histories: dict[K, list[Operation]], initial: Hashable, step: Step) -> tuple[K, Verdict] | None:
    """The first key whose history is not linearizable."""
    for key, history in histories.items():
        verdict = check(history, initial, step)
        if not verdict.ok:
            return key, verdict
    return None


def _moves(ops: list[Operation], done: int, state: Hashable, step: Step) -> Iterator[tuple[int, Hashable]]:
    for place in _candidates(ops, done):
        op = ops[place]
        for after in step(state, op.argument, op.answer if op.returned is not None else UNKNOWN):
            yield place, after


def _candidates(ops: list[Operation], done: int) -> list[int]:
    """Open operations that were called before the first return of an open one."""
    first_return: int | None = None
    found: list[int] = []
    lowest_open = (~done & (done + 1)).bit_length() - 1
    for place in range(lowest_open, len(ops)):
        op = ops[place]
        if first_return is not None and op.called > first_return:
            break
        if done >> place & 1:
            continue
        found.append(place)
        if op.returned is not None and (first_return is None or op.returned < first_return):
            first_return = op.returned
    return [place for place in found if first_return is None or ops[place].called < first_return]


# --- a register of a store --------------------------------------------------------------------------------------------


class Read(msgspec.Struct, frozen=True):
    """Answered with the value, None for an absent key."""


class Write(msgspec.Struct, frozen=True):
    """Answered with anything; None deletes."""

    value: bytes | None


class Swap(msgspec.Struct, frozen=True):
    """Compare the value and set: answered with whether it was as expected."""

    expected: bytes
    value: bytes


def register(state: Hashable, argument: Read | Write | Swap, answer: Any) -> Iterable[Hashable]:
    """The ``Step`` of one key with these operations; the state is its value or None."""
    match argument:
        case Read():
            return (state,) if answer is UNKNOWN or answer == state else ()
        case Write():
            return (argument.value,)
        case Swap():
            holds = state == argument.expected
            if answer is not UNKNOWN and answer != holds:
                return ()
            return (argument.value if holds else state,)
