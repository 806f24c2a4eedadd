"""Answers that come too late, or never: their blocks are given back once, not those of answers that were taken in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from linckia.model.wire import Address, Block, Result
from linckia.protocol import messages as m
from linckia.worker.refs import BLOCK, PENDING
from linckia.worker.tasks import Peer
from linckia.worker.unwanted import Unwanted

TASK, OTHER, NODE, HERE = b"t" * 24, b"u" * 24, b"n" * 28, b"h" * 28


def returned(number: int, task_id: bytes = TASK) -> bytes:
    return task_id + number.to_bytes(4, "little")


class World:
    """A runtime's surface, one worker of another node that runs tasks of ours, and that node's raylet."""

    def __init__(self) -> None:
        self.freed: list[tuple[bytes, int]] = []
        self.received: list[Any] = []
        self.asked: list[bytes] = []
        self.by_id: dict[bytes, Any] = {}
        conn: Any = SimpleNamespace(post=lambda message: self.asked.append(message.worker_id))
        self.raylet = Peer(conn, Address(NODE, "tcp:10.0.0.2:1"))
        self.worker = Peer(conn, Address(b"w" * 28, f"node:{NODE.hex()}:10.0.0.2:1:/w"))
        runtime: Any = SimpleNamespace(
            borrowing=SimpleNamespace(by_id=self.by_id, received=lambda infos, _sender: self.received.append(infos)),
            objects=SimpleNamespace(free=lambda object_id, block: self.freed.append((object_id, block.offset))),
            raylets=SimpleNamespace(at=lambda node_id: self.raylet if node_id == NODE else None),
            raylet_peer=object(),
            node_id=HERE,
            closing=False,
        )
        self.unwanted = Unwanted(runtime)

    def holds(self, object_id: bytes, offset: int) -> None:
        self.by_id[object_id] = SimpleNamespace(state=BLOCK, value=Block(offset, 10, NODE))

    def runs(self, task_id: bytes, items: int | None = None) -> None:
        stream = SimpleNamespace(received=items) if items is not None else None
        record: Any = SimpleNamespace(stream=stream)
        self.worker.tasks[task_id] = record

    def left(self, *blocks: tuple[bytes, int]) -> None:
        found = [(object_id, offset, 10) for object_id, offset in blocks]
        self.unwanted.on_left(self.raylet, m.BlocksLeft(self.worker.address.worker_id, found))


@pytest.fixture
def world() -> World:
    return World()


def block(offset: int) -> Result:
    return Result(block=Block(offset, 10, NODE))


def test_blocks_of_a_late_answer_are_freed_and_references_in_it_let_go_of(world: World) -> None:
    info: Any = object()
    results = [Result(inline=b"v"), Result(block=Block(4096, 10, NODE), contained=[info])]
    world.unwanted.drop_results(world.worker, m.DoneMany(TASK, results))
    assert world.freed == [(returned(2), 4096)]
    assert world.received == [[info]]


def test_the_block_of_another_attempt_is_freed_the_one_that_is_the_value_is_not(world: World) -> None:
    world.holds(returned(1), 8192)
    world.by_id[returned(2)] = SimpleNamespace(state=PENDING, value=None)
    world.unwanted.drop_results(world.worker, m.DoneMany(TASK, [block(8192), block(4096)]))
    assert world.freed == [(returned(2), 4096)]


def test_a_late_item_of_a_generator_is_freed(world: World) -> None:
    world.unwanted.drop_item(m.Yielded(TASK, 0, block(4096)))
    world.unwanted.drop_item(m.Yielded(TASK, 1, Result(inline=b"small")))
    assert world.freed == [(returned(2), 4096)]


def test_of_a_process_that_died_the_results_are_freed_that_it_did_not_tell_of(world: World) -> None:
    world.holds(returned(1, OTHER), 8192)
    world.runs(TASK)
    world.unwanted.hung_up(world.worker)
    assert world.asked == [world.worker.address.worker_id]
    world.left((returned(1), 4096), (returned(1, OTHER), 8192), (returned(1, b"v" * 24), 12288))
    assert world.freed == [(returned(1), 4096)], "the others were answered: whoever had them frees them"
    world.left((returned(1), 4096))
    assert len(world.freed) == 1, "asked once, freed once"


def test_a_task_that_was_taken_away_and_answered_late_is_freed_once(world: World) -> None:
    world.runs(TASK)
    world.unwanted.note(world.worker)
    world.worker.tasks.clear()
    world.unwanted.drop_results(world.worker, m.DoneMany(TASK, [block(4096)]))
    world.unwanted.hung_up(world.worker)
    assert world.asked == []
    assert world.freed == [(returned(1), 4096)]


def test_of_a_generator_only_items_that_did_not_arrive(world: World) -> None:
    world.runs(TASK, items=2)
    world.unwanted.hung_up(world.worker)
    world.left((returned(2), 4096), (returned(3), 8192), (returned(4), 12288))
    assert world.freed == [(returned(4), 12288)]


def test_nobody_is_asked_about_a_process_that_answered_all(world: World) -> None:
    world.unwanted.hung_up(world.worker)
    assert world.asked == []
