"""Copies that a node keeps for an owner: pinned until they are freed, whatever ends them, and half a store at most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from linckia.core.objects import pull_records as p
from linckia.core.objects.copies import CopyTable
from linckia.core.objects.pulls import PullQueue
from linckia.model.wire import Address, Block
from linckia.protocol import messages as m
from linckia.raylet.replicas import ReplicaHost

CAPACITY = 1000
OWNER = Address(b"owner", "unix:/owner")
OBJECT = b"o" * 28


class Node:
    """A node without I/O: pulls succeed when the test says so."""

    def __init__(self) -> None:
        self.copies = CopyTable()
        self.queue = PullQueue(b"here", CAPACITY, self.copies)
        self.transfers: list[bytes] = []
        self.gone: list[bytes] = []
        self.host = ReplicaHost(self, CAPACITY)  # type: ignore[arg-type]
        self.said: list[m.CopyKept] = []
        self.closed = False
        self._offsets = 0

    def post(self, message: Any) -> None:
        """As the owner's connection."""
        self.said.append(message)

    def carry_out(self, effects: Iterable[p.Effect]) -> None:
        for effect in effects:
            match effect:
                case p.Allocate():
                    self._offsets += 1
                    self.carry_out(self.queue.allocated(effect.object_id, self._offsets, 0.0) or [])
                case p.Transfer():
                    self.transfers.append(effect.object_id)
                case p.Discard():
                    self.gone.append(effect.copy.object_id)
                case p.Answer():
                    self.host.post(m.ObjectFetched(effect.rid, effect.offsets))
                case p.Failed():
                    self.host.post(m.FetchFailed(effect.rid, effect.object_id, effect.kind, effect.reason))
                case _:
                    pass

    def keep(self, object_id: bytes = OBJECT, size: int = 100, rid: int = 1) -> None:
        item = m.Wanted(object_id, size, OWNER, Block(0, size, b"there"))
        self.host.on_keep(self, m.KeepCopy(rid, item))

    def arrives(self, object_id: bytes = OBJECT) -> None:
        self.carry_out(self.queue.transferred(object_id, 0.0))

    def frees(self, *object_ids: bytes) -> None:
        """As object_host.py does on FreeCopies."""
        self.host.released(list(object_ids))
        self.carry_out(self.queue.freed(list(object_ids)))

    def is_empty(self) -> bool:
        return not (self.copies.copies or self.queue.bundles or self.queue.pulls or self.host.held_bytes)


def test_it_is_kept_until_its_owner_frees_it() -> None:
    node = Node()
    node.keep(rid=7)
    assert (node.transfers, node.said) == ([OBJECT], [])
    node.arrives()
    assert node.said == [m.CopyKept(7)]
    assert node.queue.evict() == [], "nobody's need makes it go"
    node.frees(OBJECT)
    assert node.gone == [OBJECT] and node.is_empty()


def test_a_mere_copy_becomes_a_replica() -> None:
    node = Node()
    item = p.Item(OBJECT, 100, OWNER, Block(0, 100, b"there"))
    node.carry_out(node.queue.want(b"reader", 1, [item], 0, 0.0))
    node.arrives()
    node.carry_out(node.queue.unpin(b"reader", [OBJECT], 0.0))
    node.keep(rid=2)
    assert node.said == [m.CopyKept(2)] and node.queue.evict() == []
    node.frees(OBJECT)
    assert node.is_empty()


def test_asked_twice_it_is_kept_once() -> None:
    node = Node()
    node.keep(rid=1)
    node.keep(rid=2)
    node.arrives()
    node.keep(rid=3)
    assert [said.rid for said in node.said] == [1, 2, 3]
    assert node.host.held_bytes == 100
    node.frees(OBJECT)
    assert node.is_empty()


def test_freed_while_it_is_on_its_way() -> None:
    node = Node()
    node.keep()
    node.frees(OBJECT)
    assert node.is_empty() and node.gone == [OBJECT]


def test_one_that_became_the_primary_goes_when_it_is_freed_as_such() -> None:
    node = Node()
    node.keep()
    node.arrives()
    assert node.copies.promote(OBJECT) > 0
    node.host.released([OBJECT])
    assert node.queue.evict() == [] and OBJECT in node.copies.copies, "a primary stays"
    node.carry_out(node.queue.freed([OBJECT]))  # as for a block that its owner frees
    assert node.is_empty()


def test_when_the_owner_is_gone_nothing_is_kept() -> None:
    node = Node()
    node.keep()
    node.arrives()
    node.keep(b"2" * 28, rid=2)
    node.host.owner_gone(b"somebody else")
    assert node.host.held_bytes == 200
    node.host.owner_gone(OWNER.worker_id)
    assert node.host.held_bytes == 0 and not node.queue.pulls
    assert [each.copy.object_id for each in node.queue.evict() if isinstance(each, p.Discard)] == [OBJECT]


def test_half_of_the_store_is_the_most() -> None:
    node = Node()
    for number in range(6):
        node.keep(bytes([number]) * 28, 100, rid=number)
        if number < 5:
            node.arrives(bytes([number]) * 28)
    assert [bool(said.reason) for said in node.said] == [False] * 5 + [True]
    assert "500" in node.said[-1].reason
    node.frees(bytes([0]) * 28)
    node.keep(b"x" * 28, 100, rid=9)
    node.arrives(b"x" * 28)
    assert node.said[-1] == m.CopyKept(9)


def test_a_fetch_that_fails_is_told_and_leaves_nothing() -> None:
    node = Node()
    node.keep(rid=4)
    (pull,) = node.queue.pulls.values()
    for _ in range(5):
        node.carry_out(node.queue.transfer_failed(OBJECT, pull.source, "gone", 0.0))
        node.carry_out(node.queue.located(OBJECT, [], "lost", "it was freed", 0.0))
    assert node.said == [m.CopyKept(4, "it was freed")]
    assert node.is_empty()
