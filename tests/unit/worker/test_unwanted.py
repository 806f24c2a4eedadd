"""Answers that come too late: their blocks are given back, those of answers that were taken in are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from linckia.model.wire import Block, Result
from linckia.protocol import messages as m
from linckia.worker.refs import BLOCK, PENDING
from linckia.worker.unwanted import drop_item, drop_results

TASK, NODE = b"t" * 24, b"n" * 28
FIRST, SECOND = (TASK + number.to_bytes(4, "little") for number in (1, 2))


def runtime(**refs: Any) -> tuple[Any, list[tuple[bytes, Block]], list[Any]]:
    freed: list[tuple[bytes, Block]] = []
    received: list[Any] = []
    return (
        SimpleNamespace(
            borrowing=SimpleNamespace(
                by_id=refs.get("by_id", {}), received=lambda infos, _sender: received.append(infos)
            ),
            objects=SimpleNamespace(free=lambda object_id, block: freed.append((object_id, block))),
        ),
        freed,
        received,
    )


def test_blocks_of_a_late_answer_are_freed_and_references_in_it_let_go_of() -> None:
    ours, freed, received = runtime()
    block, info = Block(4096, 10, NODE), object()
    drop_results(ours, m.DoneMany(TASK, [Result(inline=b"v"), Result(block=block, contained=[info])]))  # type: ignore[list-item]
    assert freed == [(SECOND, block)]
    assert received == [[info]]


def test_the_block_of_another_attempt_is_freed_the_one_that_is_the_value_is_not() -> None:
    late, taken = Block(4096, 10, NODE), Block(8192, 10, NODE)
    by_id = {FIRST: SimpleNamespace(state=BLOCK, value=taken), SECOND: SimpleNamespace(state=PENDING, value=None)}
    ours, freed, _ = runtime(by_id=by_id)
    drop_results(ours, m.DoneMany(TASK, [Result(block=taken), Result(block=late)]))
    assert freed == [(SECOND, late)]
    drop_results(ours, m.DoneMany(TASK, [Result(block=late)]))
    assert freed == [(SECOND, late), (FIRST, late)]


def test_a_late_item_of_a_generator_is_freed() -> None:
    ours, freed, _ = runtime()
    block = Block(4096, 10, NODE)
    drop_item(ours, m.Yielded(TASK, 0, Result(block=block)))
    drop_item(ours, m.Yielded(TASK, 1, Result(inline=b"small")))
    assert freed == [(SECOND, block)]
