"""What the reference counter keeps (entries, running tasks, open introductions) and what it asks for (effects). No
behaviour beyond counting; used by reference_counter.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference as it crosses processes: the object's id and its owner's worker id."""

    object_id: bytes
    owner: bytes


class Hold(Enum):
    """Why a process holds an object."""

    LOCAL = "a reference in user code"
    TASK = "an argument of a task that is submitted or runs"
    INSIDE = "a reference inside a value that is held"
    WAITING = "its owner, or who sent for its value, has not answered yet"
    ANSWER = "a reference inside an answer that has not left yet"


@dataclass(slots=True)
class Entry:
    """One object as this process knows it. ``contains`` are the references inside its value, once it is known."""

    object_id: bytes
    owner: bytes
    holds: dict[Hold, int] = field(default_factory=dict)
    contains: tuple[bytes, ...] = ()
    borrowers: dict[bytes, int] = field(default_factory=dict)  # ours: registrations by borrower, below 0 if overtaken
    credits: int = 0  # not ours: how many of the owner's registrations name this process
    lost: bool = False  # the owner is dead, or did not know it any more

    @property
    def held(self) -> bool:
        """Somebody in this process needs it."""
        return any(self.holds.values())

    @property
    def lent(self) -> bool:
        """Another process needs it."""
        return any(count > 0 for count in self.borrowers.values())


class Stage(Enum):
    """Where the answer of a task stands in the process that runs it."""

    RUNNING = "user code runs"
    LENDING = "owners of references in the result are told of the caller"
    REPORTING = "owners of arguments that stay here are told of this process"


@dataclass(slots=True)
class Frame:
    """A task that runs here."""

    task_id: bytes
    caller: bytes
    arguments: tuple[bytes, ...]
    stage: Stage = Stage.RUNNING
    contained: tuple[bytes, ...] = ()
    borrowing: list[bytes] = field(default_factory=list)
    outstanding: dict[int, None] = field(default_factory=dict)  # rids whose answers the next stage waits for


@dataclass(frozen=True, slots=True)
class Introduction:
    """An open request to an owner; ``keep`` is held until it is answered."""

    owner: bytes
    borrower: bytes
    object_id: bytes
    keep: tuple[bytes, ...]
    task_id: bytes


# --- effects ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Register:
    """Send AddBorrower to ``owner``; its answer goes to ``acknowledged``."""

    owner: bytes
    rid: int
    object_id: bytes
    borrower: bytes


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Answer an AddBorrower with BorrowerAdded."""

    to: bytes
    rid: int
    known: bool


@dataclass(frozen=True, slots=True)
class End:
    """Send BorrowEnded to ``owner``: each id once per registration that is given up."""

    owner: bytes
    object_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Send the task's answer: arguments that stay here, and the references inside its result."""

    to: bytes
    task_id: bytes
    borrowing: tuple[bytes, ...]
    contained: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """Send the references inside an object's value to who asked for it; None: this process does not know the object."""

    to: bytes
    object_id: bytes
    contained: tuple[Ref, ...] | None


@dataclass(frozen=True, slots=True)
class Free:
    """Nobody needs this object of ours any more."""

    object_id: bytes


Effect = Register | Acknowledge | End | Answer | Value | Free
