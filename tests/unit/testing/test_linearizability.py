"""The checker finds the order where there is one, and says no to histories that are known to be wrong."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linckia.testing.linearizability import Operation, Read, Swap, Write, check, check_each, register

A, B, C = b"a", b"b", b"c"


def op(argument: object, answer: object, called: int, returned: int | None) -> Operation:
    return Operation(argument, answer, called, returned)


GOOD = {
    "nothing": [],
    "one after the other": [op(Write(A), 1, 0, 1), op(Read(), A, 2, 3)],
    "a read beside a write may see the old": [op(Write(A), 1, 0, 3), op(Read(), None, 1, 2)],
    "a read beside a write may see the new": [op(Write(A), 1, 0, 3), op(Read(), A, 1, 2)],
    "two writes beside each other, in either order": [
        op(Write(A), 1, 0, 5),
        op(Write(B), 1, 1, 4),
        op(Read(), A, 6, 7),
    ],
    "a write without answer may come late": [
        op(Write(A), 1, 0, 1),
        op(Write(B), None, 2, None),
        op(Read(), A, 3, 4),
        op(Read(), B, 5, 6),
    ],
    "or never": [op(Write(A), 1, 0, 1), op(Write(B), None, 2, None), op(Read(), A, 3, 4)],
    "one of two swaps wins": [
        op(Write(A), 1, 0, 1),
        op(Swap(A, B), True, 2, 5),
        op(Swap(A, C), False, 3, 4),
        op(Read(), B, 6, 7),
    ],
    "a swap without answer explains a value": [
        op(Write(A), 1, 0, 1),
        op(Swap(A, B), None, 2, None),
        op(Swap(A, C), False, 3, 4),
    ],
    "a deletion": [op(Write(A), 1, 0, 1), op(Write(None), 1, 2, 3), op(Read(), None, 4, 5)],
}
BAD = {
    "an acknowledged write is lost": [op(Write(A), 1, 0, 1), op(Read(), None, 2, 3)],
    "a stale read": [op(Write(A), 1, 0, 1), op(Write(B), 1, 2, 3), op(Read(), A, 4, 5)],
    "a read goes back": [op(Write(A), 1, 0, 9), op(Read(), A, 1, 2), op(Read(), None, 3, 4)],
    "two readers disagree about the order of two writes": [
        op(Write(A), 1, 0, 9),
        op(Write(B), 1, 1, 10),
        op(Read(), A, 2, 3),
        op(Read(), B, 4, 5),
        op(Read(), A, 6, 7),
    ],
    "both swaps win": [
        op(Write(A), 1, 0, 1),
        op(Swap(A, B), True, 2, 5),
        op(Swap(A, C), True, 3, 4),
    ],
    "no swap wins": [op(Write(A), 1, 0, 1), op(Swap(A, B), False, 2, 3)],
    "a value that nobody wrote": [op(Write(A), 1, 0, 1), op(Read(), C, 2, 3)],
    "a write seen before it was called": [op(Read(), A, 0, 1), op(Write(A), 1, 2, 3)],
    "a write without answer is seen, then not": [
        op(Write(A), None, 0, None),
        op(Read(), A, 1, 2),
        op(Read(), None, 3, 4),
    ],
    "a deleted key is still there": [op(Write(A), 1, 0, 1), op(Write(None), 1, 2, 3), op(Read(), A, 4, 5)],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_has_an_order(name: str) -> None:
    assert check(GOOD[name], None, register).ok


@pytest.mark.parametrize("name", BAD)
def test_what_has_none(name: str) -> None:
    verdict = check(BAD[name], None, register)
    assert not verdict.ok
    assert verdict.stuck
    assert "none of these can be next" in verdict.text()


def test_the_key_that_is_wrong_is_named() -> None:
    histories = {**GOOD, "wrong": BAD["a stale read"]}
    found = check_each(histories, None, register)
    assert found is not None
    assert found[0] == "wrong"
    assert check_each(GOOD, None, register) is None


def by_trying_all_orders(history: list[Operation]) -> bool:
    """The definition itself."""
    closed = [op for op in history if op.returned is not None]
    unanswered = [op for op in history if op.returned is None]
    for count in range(len(unanswered) + 1):
        for happened in itertools.combinations(unanswered, count):
            for order in itertools.permutations([*closed, *happened]):
                if _respects_time(order) and _explains(order):
                    return True
    return False


def _respects_time(order: tuple[Operation, ...]) -> bool:
    return not any(
        later.returned is not None and later.returned < earlier.called
        for earlier, later in itertools.combinations(order, 2)
    )


def _explains(order: tuple[Operation, ...]) -> bool:
    state: object = None
    for each in order:
        match each.argument:
            case Read():
                if each.returned is not None and each.answer != state:
                    return False
            case Write(value):
                state = value
            case Swap(expected, value):
                if each.returned is not None and each.answer != (state == expected):
                    return False
                state = value if state == expected else state
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    count = draw(st.integers(1, 4))
    points = draw(st.permutations(range(2 * count)))
    values = st.sampled_from([A, B])
    found = []
    for place in range(count):
        called, returned = sorted(points[2 * place : 2 * place + 2])
        argument, answer = draw(
            st.one_of(
                st.tuples(st.just(Read()), st.sampled_from([None, A, B])),
                st.tuples(st.builds(Write, values), st.just(1)),
                st.tuples(st.builds(Swap, values, values), st.booleans()),
            )
        )
        found.append(op(argument, answer, called, draw(st.sampled_from([returned, returned, returned, None]))))
    return found


@settings(max_examples=150, deadline=None)
@given(histories())
def test_it_agrees_with_trying_all_orders(history: list[Operation]) -> None:
    assert check(history, None, register).ok == by_trying_all_orders(history)
