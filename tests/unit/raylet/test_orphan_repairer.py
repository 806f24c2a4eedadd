"""What a node that keeps values without owners asks the head and other nodes, when one of those dies."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.core.objects.kept import PRIMARY, Kept, KeptTable
from linckia.core.objects.replicas import RETRY_AFTER_S
from linckia.model.wire import Address, Block
from linckia.protocol import messages as m
from linckia.raylet import orphan_repair, orphans
from linckia.raylet.orphan_repair import LOOK_AFTER_S, Members, OrphanRepairer
from linckia.raylet.orphans import OrphanFinder

A, B, C = b"a", b"b", b"c"
OWNER = Address(b"owner", "unix:/owner")
ONE, TWO = b"1" * 28, b"2" * 28
SIZE = 100


class Node:
    """Node A, which has primaries at known places. Its clock is the test's, which answers for the others too."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.to_head: list[Any] = []
        self.asked: list[tuple[bytes, Any, Callable[[Any, str], None]]] = []
        self.living, self.leaving = {A, B, C}, set[bytes]()
        self.table = KeptTable(1000)
        self.tell_head = self.to_head.append
        self.orphaned: Callable[[Kept], None] = lambda _kept: None
        self.ended: Callable[[bytes], None] = lambda _object_id: None
        reactor: Any = SimpleNamespace(call_later=self.after, call_soon=lambda what: self.after(0.0, what))
        self.finder = OrphanFinder(reactor, A, self, self)  # type: ignore[arg-type]
        self.repairer = OrphanRepairer(self.finder, lambda: Members(self.living, self.leaving))

    def kept_here(self, object_id: bytes) -> m.KeptCopy:
        """As ReplicaHost."""
        return m.KeptCopy(SIZE, 64 * object_id[0], complete=True)

    def keeps_for(self) -> m.KeepsFor:
        return m.KeepsFor([])

    def after(self, delay_s: float, what: Callable[[], None]) -> Any:
        entry = (self.now_s + delay_s, what)
        self.timers.append(entry)
        return SimpleNamespace(due_s=entry[0], cancel=lambda: self.timers.remove(entry))

    def request(self, node_id: bytes, make: Callable[[int], Any], answered: Callable[[Any, str], None]) -> None:
        """As NodeLinks."""
        self.asked.append((node_id, make(7), answered))

    def passes(self, seconds: float) -> None:
        self.now_s += seconds
        due = [entry for entry in self.timers if entry[0] <= self.now_s]
        for entry in due:
            if entry in self.timers:
                self.timers.remove(entry)
                entry[1]()

    def orphan(self, object_id: bytes = ONE) -> None:
        """Two copies are wanted of it."""
        kept = Kept(object_id, SIZE, OWNER, 2, shared=True)
        kept.state, kept.is_orphan = PRIMARY, True
        self.table.add(kept)
        self.orphaned(kept)

    def head_says(self, *nodes: bytes) -> None:
        self.finder.on_keepers(None, m.Keepers(self.to_head[-1].rid, list(nodes)))

    def looks(self) -> None:
        """It keeps one alone, and asks for another copy."""
        self.orphan()
        self.passes(LOOK_AFTER_S)
        self.head_says()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node()
    for module in (orphan_repair, orphans):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now_s))
    return made


def test_one_question_for_all_that_an_owner_had(node: Node) -> None:
    node.orphan(ONE)
    node.orphan(TWO)
    node.passes(LOOK_AFTER_S / 2)
    assert not node.to_head, "what happens at once is looked at together"
    node.passes(LOOK_AFTER_S)
    assert [(type(each), each.owner_id) for each in node.to_head] == [(m.FindKeepers, OWNER.worker_id)]
    node.head_says(A, B)
    node.passes(0.0)  # its own answer
    ((to, question, answered),) = node.asked
    assert (to, question.object_ids) == (B, [ONE, TWO])
    answered(m.KeptHere(7, [m.KeptCopy(SIZE, complete=True)] * 2), "")
    assert len(node.asked) == 1 and not node.repairer.core.next_s(0.0), "nothing is lacking"
    node.repairer.node_gone(C)
    node.passes(LOOK_AFTER_S)
    assert len(node.to_head) == 1, "it had none of them"
    node.repairer.node_gone(B)
    node.living.discard(B)
    node.passes(LOOK_AFTER_S)
    node.head_says(A)
    node.passes(0.0)
    assert [(to, type(message)) for to, message, _ in node.asked[1:]] == [(C, m.KeepCopy)] * 2


def test_what_another_node_is_asked_to_keep(node: Node) -> None:
    node.looks()
    ((_, message, _),) = node.asked
    item = m.Wanted(ONE, SIZE, OWNER, Block(64 * ONE[0], SIZE, A))
    assert message == m.KeepCopy(7, item, 2, shared=True, is_orphan=True)


def test_who_refuses_is_replaced_and_who_is_silent_is_asked_about_first(node: Node) -> None:
    node.looks()
    (first, _, answered) = node.asked.pop()
    answered(m.CopyKept(7, "no room"), "")
    node.passes(LOOK_AFTER_S)
    node.head_says()
    (second, _, answered) = node.asked.pop()
    assert {first, second} == {B, C}
    answered(None, "no answer within 5 s")
    node.passes(LOOK_AFTER_S)
    assert len(node.to_head) == 2
    node.passes(RETRY_AFTER_S)
    assert len(node.to_head) == 3
    node.head_says()
    assert [to for to, _, _ in node.asked] == [first], "that one may have room again"
    node.asked.pop()[2](m.CopyKept(7), "")
    node.passes(10 * RETRY_AFTER_S)
    assert len(node.to_head) == 3 and not node.repairer.core.objects[ONE].asked, "all is there"


def test_another_head_is_asked_again(node: Node) -> None:
    node.orphan()
    node.passes(LOOK_AFTER_S)
    node.finder.head_is_new()
    assert len(node.to_head) == 2 and node.to_head[0] == node.to_head[1]
    node.head_says()
    assert len(node.asked) == 1


def test_what_has_ended_meanwhile_is_not_made_anew(node: Node) -> None:
    node.orphan()
    node.passes(LOOK_AFTER_S)
    node.table.remove(ONE)
    node.ended(ONE)
    node.head_says()
    assert not node.asked and not node.repairer.core.objects
