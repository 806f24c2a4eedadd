"""Every reference in this process, found through what holds it.

Python's collector knows the holders and not the refs, which it is spared (refs.py): containers, objects and suspended
generators it lists, running functions have a frame per thread, and what tasks hold is in their records. Costs a look
at every object of the process, and is done only when somebody asks the state API. Used by worker/listing.py.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from linckia.worker.refs import ObjectRef

if TYPE_CHECKING:
    from types import FrameType

    from linckia.worker.tasks import TaskRecord

HOLDERS_AT_ONCE = 1000
FRAMES_OWN = 3  # references to a dict of variables that only its frame has: the frame, we, and the call that counts


def living_refs(records: Iterable[TaskRecord]) -> list[ObjectRef[Any]]:
    """Each once, in no order; ``records`` are the tasks that have not ended."""
    found: dict[int, ObjectRef[Any]] = {}
    for source in (_of_records(records), _of_holders(), _of_frames()):
        for each in source:
            if type(each) is ObjectRef:
                found[id(each)] = each
    return list(found.values())


def _of_records(records: Iterable[TaskRecord]) -> Iterator[Any]:
    for record in records:
        yield from record.refs()
        yield from record.holds or ()


def _of_holders() -> Iterator[Any]:
    holders = gc.get_objects()
    for first in range(0, len(holders), HOLDERS_AT_ONCE):
        yield from gc.get_referents(*holders[first : first + HOLDERS_AT_ONCE])


def _of_frames() -> Iterator[Any]:
    """Local variables of what runs, in all threads."""
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            variables = frame.f_locals
            yield from list(variables.values())
            is_copy = frame.f_code.co_flags & inspect.CO_OPTIMIZED and type(variables) is dict
            if is_copy and sys.getrefcount(variables) <= FRAMES_OWN:
                variables.clear()  # Python before 3.13 keeps what is in it alive until the function returns
            frame = frame.f_back
