"""How long one waits for an object of another node: a warning first, an error later (R 3.18)."""

from __future__ import annotations

import pytest

from linckia.core.objects.copies import CopyTable
from linckia.core.objects.pull_records import Allocate, Failed, Item, Locate, PullOptions, Transfer, Warn
from linckia.core.objects.pulls import PullQueue
from linckia.model.wire import Address, Block

HERE, THERE, READER = b"here", b"there", b"reader"
OBJECT = b"o" * 28
OWNER = Address(b"owner", "unix:/owner")
OPTIONS = PullOptions(warn_after_s=60.0, fail_after_s=600.0)


@pytest.fixture
def queue() -> PullQueue:
    """One reader waits since 0 s for an object whose node has gone silent."""
    queue = PullQueue(HERE, 10**9, CopyTable(), OPTIONS)
    item = Item(OBJECT, 5 * 10**8, OWNER, Block(0, 5 * 10**8, THERE))
    assert [type(each) for each in queue.want(READER, 1, [item], 0, 0.0)] == [Allocate]
    (locate,) = queue.allocated(OBJECT, 0, 0.0) or []
    assert isinstance(locate, Locate)
    (transfer,) = queue.located(OBJECT, [item.block], "", "", 0.0)
    assert isinstance(transfer, Transfer)
    return queue


@pytest.mark.row("3.18")
def test_a_slow_fetch_warns_once_and_fails_in_the_end(queue: PullQueue) -> None:
    assert queue.tick(59.0) == []
    (warning,) = queue.tick(60.0)
    assert isinstance(warning, Warn)
    assert warning.client == READER
    assert OBJECT.hex() in warning.text
    assert queue.tick(61.0) == []
    assert queue.next_deadline() == 600.0
    failed = [each for each in queue.tick(600.0) if isinstance(each, Failed)]
    assert [(each.client, each.rid, each.kind) for each in failed] == [(READER, 1, "timed_out")]
    assert queue.bundles == {}
    assert queue.pulls == {}


@pytest.mark.row("3.18")
def test_what_arrives_in_time_neither_warns_nor_fails(queue: PullQueue) -> None:
    queue.transferred(OBJECT, 59.0)
    assert queue.tick(700.0) == []
    assert queue.next_deadline() is None
