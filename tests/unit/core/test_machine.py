"""The transition table itself: what it refuses when made, and what it says when an event is illegal."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from enum import Enum

import pytest

from linckia.base.invariant import InvariantError
from linckia.core.machine import IllegalTransition, Table, TableError, mermaid


class Light(Enum):
    RED = 1
    GREEN = 2
    BROKEN = 3


class Tick(Enum):
    GO = 1
    STOP = 2
    FAIL = 3
    FIX = 4


R, G, B = Light.RED, Light.GREEN, Light.BROKEN
MOVES: Mapping[Light, Mapping[Tick, Light]] = {
    R: {Tick.GO: G, Tick.FAIL: B},
    G: {Tick.STOP: R, Tick.FAIL: B, Tick.GO: G},
    B: {Tick.FIX: R},
}


def table(
    moves: Mapping[Light, Mapping[Tick, Light]] = MOVES,
    terminal: frozenset[Light] = frozenset({B}),
    reviving: frozenset[Tick] = frozenset({Tick.FIX}),
) -> Table[Light, Tick]:
    return Table(name="light", initial=R, terminal=terminal, moves=moves, reviving=reviving)


def test_moves_follow_the_table() -> None:
    lights = table()
    assert lights.next(R, Tick.GO, "l-1") is G
    assert lights.next(B, Tick.FIX, "l-1") is R
    assert lights.legal(R) == (Tick.GO, Tick.FAIL)
    assert lights.allows(R, Tick.GO)
    assert not lights.allows(R, Tick.STOP)
    assert lights.is_terminal(B)
    assert not lights.is_terminal(R)


def test_an_illegal_event_names_subject_event_state_and_what_is_legal() -> None:
    with pytest.raises(IllegalTransition) as caught:
        table().next(R, Tick.STOP, "l-1")
    assert str(caught.value) == "light l-1: event STOP in state RED; legal: GO, FAIL"
    assert isinstance(caught.value, InvariantError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_final_state_says_so() -> None:
    final = table({**MOVES, B: {}}, reviving=frozenset())
    with pytest.raises(IllegalTransition, match="legal: none, the state is final$"):
        final.next(B, Tick.GO, "l-1")


def test_a_table_cannot_be_changed_after_it_is_made() -> None:
    moves = {state: dict(row) for state, row in MOVES.items()}
    lights = table(moves)
    moves[R].clear()
    assert lights.next(R, Tick.GO, "l-1") is G
    with pytest.raises(TypeError):
        lights.moves[R][Tick.STOP] = R  # type: ignore[index]


@pytest.mark.parametrize(
    ("moves", "terminal", "complaint"),
    [
        ({R: MOVES[R], G: MOVES[G]}, frozenset({B}), "state BROKEN has no row"),
        ({**MOVES, B: {Tick.GO: G}}, frozenset({B}), "terminal state BROKEN has moves: GO"),
        ({**MOVES, B: {}}, frozenset[Light](), "state BROKEN is a dead end but not terminal"),
        ({R: {Tick.FAIL: B}, G: MOVES[G], B: {}}, frozenset({B}), "never reached from RED: GREEN"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    moves: Mapping[Light, Mapping[Tick, Light]], terminal: frozenset[Light], complaint: str
) -> None:
    with pytest.raises(TableError, match=complaint):
        table(moves, terminal)


def test_the_diagram_joins_events_of_one_arrow() -> None:
    assert mermaid(table({**MOVES, R: {Tick.GO: G, Tick.STOP: G, Tick.FAIL: B}})) == (
        "stateDiagram-v2\n"
        "    [*] --> RED\n"
        "    RED --> GREEN: GO, STOP\n"
        "    RED --> BROKEN: FAIL\n"
        "    GREEN --> RED: STOP\n"
        "    GREEN --> BROKEN: FAIL\n"
        "    GREEN --> GREEN: GO\n"
        "    BROKEN --> RED: FIX\n"
        "    BROKEN --> [*]\n"
    )
