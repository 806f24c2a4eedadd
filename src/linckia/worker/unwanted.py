"""Results that nobody waits for any more: of a cancelled call that ended all the same, or of an attempt that was given
up before its answer came. Their memory in the store is ours to give back: nobody else knows of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.worker.refs import BLOCK

if TYPE_CHECKING:
    from linckia.model.wire import Block, Result
    from linckia.protocol import messages as m
    from linckia.worker.runtime import Runtime


def drop_results(runtime: Runtime, message: m.DoneMany) -> None:
    """Free their blocks, and let go of the references in them. Within the mutex."""
    for index, result in enumerate(message.results):
        _drop(runtime, message.task_id + (index + 1).to_bytes(4, "little"), result)


def drop_item(runtime: Runtime, message: m.Yielded) -> None:
    """The same for an item of a generator."""
    _drop(runtime, message.task_id + (message.index + 2).to_bytes(4, "little"), message.result)


def _drop(runtime: Runtime, object_id: bytes, result: Result) -> None:
    if result.contained:
        runtime.borrowing.received(result.contained, b"")  # registered for us already: received, and dropped
    if result.block is not None and not _is_taken(runtime, object_id, result.block):
        runtime.objects.free(object_id, result.block)


def _is_taken(runtime: Runtime, object_id: bytes, block: Block) -> bool:
    """The answer was taken in before: this very block is the value."""
    ref = runtime.borrowing.by_id.get(object_id)
    return ref is not None and ref.state == BLOCK and ref.value == block
