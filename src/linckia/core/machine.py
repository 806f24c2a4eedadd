"""Life cycles as data: a table of states, events and moves, checked when it is made and loud when it is broken.

Every noun that has a life (task, actor, worker, lease, object) has one `Table` in its `states.py`. The table is the
documentation, the diagram (`mermaid`, written to docs/diagrams by `make diagrams`) and the test matrix. It keeps no
state itself: owners hold a state and ask for the next one. What is absent from the table is illegal and raises; there
are no detours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Generic, NoReturn, TypeVar

from linckia.base.invariant import InvariantError

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


class TableError(ValueError):
    """A table that contradicts itself: a bug in a `states.py`, raised when the module is imported."""


class IllegalTransition(InvariantError):
    """An event reached a subject in a state that has no move for it: a bug in whoever sent it, never retryable."""

    def __init__(self, table: str, subject: object, event: Enum, state: Enum, legal: tuple[str, ...]) -> None:
        self.table = table
        self.subject = subject
        self.event = event
        self.state = state
        self.legal = legal
        known = ", ".join(legal) or "none, the state is final"
        super().__init__(f"{table} {subject}: event {event.name} in state {state.name}; legal: {known}")

    def __reduce__(self) -> tuple[type[IllegalTransition], tuple[object, ...]]:
        return (IllegalTransition, (self.table, self.subject, self.event, self.state, self.legal))


class Table(Generic[S, E]):
    """The moves of one life cycle.

    `terminal` states end the work. They have no moves, except by the `reviving` events that bring something finished
    back, such as the loss of an object whose task is to run again.
    """

    def __init__(
        self,
        name: str,
        initial: S,
        terminal: frozenset[S],
        moves: Mapping[S, Mapping[E, S]],
        reviving: frozenset[E] = frozenset(),
    ) -> None:
        """TableError unless each state of the enum has a row, can be reached, and ends only where `terminal` says."""
        self.name = name
        self.initial = initial
        self.terminal = terminal
        self.reviving = reviving
        self.moves: Mapping[S, Mapping[E, S]] = MappingProxyType(
            {state: MappingProxyType(dict(row)) for state, row in moves.items()}
        )
        self._check()

    def next(self, state: S, event: E, subject: object) -> S:
        """The state after `event`. IllegalTransition names `subject`, event, state and what would have been legal."""
        after = self.moves[state].get(event)
        return after if after is not None else self._refuse(state, event, subject)

    def allows(self, state: S, event: E) -> bool:
        """Whether `event` is legal in `state`; for choosing between events, not for ignoring a refusal."""
        return event in self.moves[state]

    def legal(self, state: S) -> tuple[E, ...]:
        """The events that `state` has a move for, in the table's order."""
        return tuple(self.moves[state])

    def is_terminal(self, state: S) -> bool:
        """Whether the work is over in `state`."""
        return state in self.terminal

    def states(self) -> Iterator[S]:
        """Every state, in the order of the enum."""
        return iter(type(self.initial))

    def _refuse(self, state: S, event: E, subject: object) -> NoReturn:
        raise IllegalTransition(self.name, subject, event, state, tuple(legal.name for legal in self.moves[state]))

    def _check(self) -> None:
        everything = list(self.states())
        for state in everything:
            if state not in self.moves:
                raise TableError(f"table {self.name}: state {state.name} has no row; write an empty one if it is final")
            stays = [event.name for event in self.moves[state] if event not in self.reviving]
            if state in self.terminal and stays:
                raise TableError(f"table {self.name}: terminal state {state.name} has moves: {', '.join(stays)}")
            if state not in self.terminal and not stays:
                raise TableError(f"table {self.name}: state {state.name} is a dead end but not terminal")
        reached = self._reachable()
        lost = [state.name for state in everything if state not in reached]
        if lost:
            raise TableError(f"table {self.name}: never reached from {self.initial.name}: {', '.join(lost)}")

    def _reachable(self) -> dict[S, None]:
        reached = {self.initial: None}
        frontier = [self.initial]
        while frontier:
            for after in self.moves[frontier.pop()].values():
                if after not in reached:
                    reached[after] = None
                    frontier.append(after)
        return reached


def mermaid(table: Table[S, E]) -> str:
    """The table as a Mermaid state diagram: one arrow per pair of states, labelled with its events."""
    lines = ["stateDiagram-v2", f"    [*] --> {table.initial.name}"]
    for state in table.states():
        arrows: dict[S, list[str]] = {}
        for event, after in table.moves[state].items():
            arrows.setdefault(after, []).append(event.name)
        lines += [f"    {state.name} --> {after.name}: {', '.join(events)}" for after, events in arrows.items()]
        if state in table.terminal:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(lines) + "\n"
