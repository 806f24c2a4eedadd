"""A process whose value lost its owner looks for a copy as long as somebody waits, and keeps to one that it found."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.model.wire import Address, Block
from linckia.protocol import messages as m
from linckia.worker.borrowing import Borrowing
from linckia.worker.objects import Objects
from linckia.worker.orphans import Orphans
from linckia.worker.refs import BLOCK, ORPHANED, PENDING, ObjectRef, RefExtra

HERE, THERE = b"here", b"there"
OWNER = Address(b"owner", "unix:/owner")


class FakeRuntime:
    """What both need of a runtime; it is its own raylet."""

    closing = closed = False
    error_count = interrupt_pending = 0
    fetching = SimpleNamespace(needed=False, is_away=lambda _block: True, load=lambda ref, _until: ref.value)
    node_id, address = HERE, Address(b"me", "unix:/me")

    def __init__(self) -> None:
        self.raylet = self
        self.mutex = threading.RLock()
        self.raylets = SimpleNamespace(dead={})
        self.turns: list[Callable[[], None]] = []
        self.sent: list[m.Message] = []
        self.fired: list[Any] = []
        self.borrowing = Borrowing(self)  # type: ignore[arg-type]
        self.orphans = Orphans(self)  # type: ignore[arg-type]
        self.send, self.fire = self.sent.append, self.fired.append

    def wait_target(self, target: Any, _timeout_s: float | None) -> bool:
        """Turns of the reactor, after each of which who waits is looked at."""
        while not target.state:
            self.turns.pop(0)()
        return True

    def next_rid(self) -> int:
        return 7

    def release(self, _what: object) -> None: ...


@pytest.mark.parametrize("block", [Block(-1, 10, THERE), Block(64, 10, HERE)])
def test_a_copy_that_was_found_stays_found(block: Block) -> None:
    runtime = FakeRuntime()
    ref: ObjectRef[Any] = ObjectRef(b"o" * 28)
    extra = ref.extra = RefExtra()
    extra.owner = OWNER
    runtime.borrowing.by_id[ref._id] = ref
    runtime.borrowing.owner_gone(OWNER.worker_id)
    runtime.orphans.search(ref, "its owner cannot be reached")
    runtime.orphans.on_found(None, m.OrphanFound(7, block))  # type: ignore[arg-type]
    assert runtime.fired == [ref], "who waits looks at it in its time"
    runtime.borrowing.owner_gone(OWNER.worker_id)
    assert (ref.state, ref.value) == (BLOCK, block)


def test_who_waits_gets_a_copy_when_the_owner_answers_and_ends_at_once() -> None:
    runtime = FakeRuntime()
    objects = Objects(runtime)  # type: ignore[arg-type]
    runtime.objects = objects  # type: ignore[attr-defined]
    ref: ObjectRef[Any] = ObjectRef(b"o" * 28)
    extra = ref.extra = RefExtra()
    extra.owner, extra.fetching = OWNER, True
    runtime.borrowing.by_id[ref._id] = ref

    def answers_and_ends() -> None:
        ref.value, ref.state = Block(64, 10, b"its node"), BLOCK
        runtime.borrowing.owner_gone(OWNER.worker_id)

    found = m.OrphanFound(7, Block(-1, 10, THERE))
    runtime.turns = [answers_and_ends, lambda: runtime.orphans.on_found(None, found)]  # type: ignore[arg-type]
    assert objects.get([ref], 5.0) == [Block(-1, 10, THERE)]
    assert runtime.sent == [m.FindOrphan(7, ref._id, OWNER)], "looked for once"


def test_what_the_owner_said_is_forgotten_with_it() -> None:
    runtime = FakeRuntime()
    ref: ObjectRef[Any] = ObjectRef(b"o" * 28, BLOCK, Block(64, 10, THERE))
    extra = ref.extra = RefExtra()
    extra.owner = OWNER
    runtime.borrowing.by_id[ref._id] = ref
    runtime.borrowing.owner_gone(b"another")
    assert ref.state == BLOCK
    runtime.borrowing.owner_gone(OWNER.worker_id)
    assert (ref.state, ref.value, extra.token) == (PENDING, None, ORPHANED)
