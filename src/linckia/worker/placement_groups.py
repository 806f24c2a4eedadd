"""What this process waits for of placement groups: refs that are completed when the GCS says CREATED.

Used by util/placement_group.py; fed by `GroupUpdate`. Runs under ``Runtime.mutex``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.protocol import messages as m
from linckia.serialization import values
from linckia.worker.refs import INLINE, ObjectRef

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime


class GroupWatch:
    """Per group: its state as last told, and refs to complete."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.states: dict[bytes, str] = {}
        self._waiting: dict[bytes, list[tuple[ObjectRef[Any], Any]]] = {}

    def created(self, group_id: bytes) -> None:
        """This process creates the group: the GCS will tell it."""
        with self.runtime.mutex:
            self.states[group_id] = "PENDING"

    def ready(self, group_id: bytes, handle: Any) -> ObjectRef[Any]:
        """A ref that gets ``handle`` when the group is created."""
        runtime = self.runtime
        ref: ObjectRef[Any] = ObjectRef(runtime.next_task_id() + b"\x00\x00\x00\x80")
        with runtime.mutex:
            runtime.borrowing.by_id[ref._id] = ref
            state = self.states.get(group_id, "")
            if not state:
                self.states[group_id] = "PENDING"
                runtime.raylet.send(m.SubscribeGroup(group_id))
            if state == "CREATED":
                self._give(ref, handle)
            elif state == "REMOVED":
                self._refuse(ref, group_id)
            else:
                self._waiting.setdefault(group_id, []).append((ref, handle))
        return ref

    def on_update(self, _peer: Any, message: m.GroupUpdate) -> None:
        """The GCS's word."""
        if message.group_id not in self.states:
            return
        self.states[message.group_id] = message.state
        if message.state not in ("CREATED", "REMOVED"):
            return
        for ref, handle in self._waiting.pop(message.group_id, []):
            if message.state == "CREATED":
                self._give(ref, handle)
            else:
                self._refuse(ref, message.group_id)

    def _give(self, ref: ObjectRef[Any], handle: Any) -> None:
        data = values.dumps(handle)
        ref.value = data if isinstance(data, bytes) else data.to_bytes()
        ref.state = INLINE
        self.runtime.fire(ref)

    def _refuse(self, ref: ObjectRef[Any], group_id: bytes) -> None:
        text = f"placement group {group_id.hex()} was removed"
        error = errors.TaskPlacementGroupRemoved(text)
        self.runtime.complete_error(ref, self.runtime.encode_error(error))
