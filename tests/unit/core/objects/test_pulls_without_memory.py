"""Fetches that wait for memory: those that only wait for each other fail after the grace period, others are patient."""

from __future__ import annotations

import pytest

from linckia.core.objects.copies import CopyTable
from linckia.core.objects.pull_records import Allocate, Effect, Failed, Item, PullOptions
from linckia.core.objects.pulls import PullQueue
from linckia.model.wire import Address, Block
from linckia.protocol.transfer_messages import ARGUMENT, GET

HERE, THERE = b"h" * 28, b"t" * 28
OWNER = Address(b"o" * 28, "unix:/o")
GRACE_S = PullOptions().full_grace_s


def item(name: bytes) -> Item:
    return Item(name, 100, OWNER, Block(0, 100, THERE))


def queue() -> PullQueue:
    return PullQueue(HERE, 1000, CopyTable(), PullOptions())


def deny(pulls: PullQueue, names: list[bytes], now_s: float) -> list[Effect]:
    return [effect for name in names for effect in pulls.denied(name, "the store is full", now_s)]


@pytest.mark.row("S23")
@pytest.mark.parametrize("priority", [GET, ARGUMENT])
def test_three_that_wait_for_each_other_are_refused(priority: int) -> None:
    pulls, names = queue(), [b"a", b"b", b"c"]
    for rid, name in enumerate(names):
        assert pulls.want(b"worker", rid, [item(name)], priority, 0.0) == [Allocate(name, 100)]
    assert deny(pulls, names, 0.0) == []
    assert len(pulls.tick(GRACE_S)) == 3, "tried again"
    failed = [effect for effect in deny(pulls, names, GRACE_S) if isinstance(effect, Failed)]
    assert [(each.object_id, each.kind) for each in failed] == [(name, "store_full") for name in names]


def test_who_waits_for_what_others_read_is_patient() -> None:
    pulls = queue()
    pulls.want(b"reader", 1, [item(b"read")], GET, 0.0)
    pulls.allocated(b"read", 0, 0.0)
    pulls.transferred(b"read", 0.0)
    pulls.want(b"worker", 2, [item(b"a")], GET, 0.0)
    deny(pulls, [b"a"], 0.0)
    pulls.tick(GRACE_S)
    assert deny(pulls, [b"a"], GRACE_S) == []
    pulls.unpin(b"reader", [b"read"], GRACE_S)
    pulls.tick(GRACE_S + 1)
    assert any(isinstance(effect, Failed) for effect in deny(pulls, [b"a"], GRACE_S + 1))
