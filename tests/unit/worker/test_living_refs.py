"""References are found wherever a program may keep them, though the collector does not list them."""

from __future__ import annotations

import functools
import gc
import threading
from collections.abc import Iterator
from typing import Any

from linckia.worker.living_refs import living_refs
from linckia.worker.refs import INLINE, ObjectRef
from linckia.worker.tasks import TaskRecord


class Holder:
    """An object of the user's."""

    def __init__(self, ref: ObjectRef[Any]) -> None:
        self.ref = ref


def suspended(ref: ObjectRef[Any]) -> Iterator[int]:
    yield 1
    del ref


def make(number: int) -> ObjectRef[Any]:
    ref: ObjectRef[Any] = ObjectRef(number.to_bytes(28, "big"))
    ref.state, ref.value = INLINE, b"small"
    return ref


def found(records: list[TaskRecord] | None = None) -> set[int]:
    return {int.from_bytes(ref.binary(), "big") for ref in living_refs(records or [])}


def test_they_are_found_in_whatever_holds_them() -> None:
    generator = suspended(make(5))
    next(generator)
    kept = [make(1), {"key": make(2)}, (make(3),), Holder(make(4)), generator, functools.partial(Holder, make(6))]
    local = make(7)
    gc.collect()
    assert not gc.is_tracked(local), "what this module is for"
    assert found() >= {1, 2, 3, 4, 5, 6, 7}
    del kept, local, generator
    assert not found() & {1, 2, 3, 4, 5, 6, 7}, "and not when they are gone"


def test_they_are_found_in_another_threads_function() -> None:
    there, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        held = make(8)
        there.set()
        go_on.wait(10)
        del held

    thread = threading.Thread(target=hold)
    thread.start()
    assert there.wait(10)
    assert 8 in found()
    go_on.set()
    thread.join(10)
    assert 8 not in found()


def test_what_only_tasks_hold_is_found_through_their_records() -> None:
    record = TaskRecord(b"\x00" * 24, None, 0)
    record.ref, record.holds = make(9), [make(10)]
    assert found([record]) >= {9, 10}
    assert 9 not in found(), "a record is not tracked either"


def test_what_a_program_keeps_of_its_variables_stays_whole() -> None:
    number = 11
    mine = locals()
    found()
    assert mine["number"] == number
