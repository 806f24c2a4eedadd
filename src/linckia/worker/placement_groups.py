"""What this process waits for of placement groups: refs that are completed when the GCS says CREATED.

Used by util/placement_group.py; fed by `GroupUpdate`. Runs under ``Runtime.mutex``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base import errors
from linckia.protocol import messages as m
from linckia.serialization import values
from linckia.worker.refs import INLINE, ObjectRef

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

BUNDLES_KNOWN_MAX = 1000


class GroupWatch:
    """Per group: its state as last told, and refs to complete."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.states: dict[bytes, str] = {}
        self._waiting: dict[bytes, tuple[ObjectRef[Any], Any]] = {}
        self._bundles: dict[bytes, list[dict[str, float]]] = {}

    def created(self, group_id: bytes) -> None:
        """This process creates the group: the GCS will tell it."""
        with self.runtime.mutex:
            self.states[group_id] = "PENDING"

    def bundles(self, group_id: bytes) -> list[dict[str, float]]:
        """Of any group, asked for once. Empty when the GCS does not know it."""
        known = self._bundles.get(group_id)
        if known is None:
            runtime = self.runtime
            answer = runtime.call(runtime.raylet, m.GroupQuery(runtime.next_rid(), group_id))
            rows = msgspec.msgpack.decode(answer.body)
            if not rows:
                return []
            known = self._bundles[group_id] = list(rows[0]["bundles"].values())
            if len(self._bundles) > BUNDLES_KNOWN_MAX:
                del self._bundles[next(iter(self._bundles))]
        return known

    def ready(self, group_id: bytes, handle: Any) -> ObjectRef[Any]:
        """A ref that gets ``handle`` when the group is created; the same one for all who wait for the group."""
        runtime = self.runtime
        with runtime.mutex:
            if group_id in self._waiting:
                return self._waiting[group_id][0]
            ref: ObjectRef[Any] = ObjectRef(runtime.next_task_id() + b"\x00\x00\x00\x80")
            runtime.borrowing.by_id[ref._id] = ref
            state = self.states.get(group_id, "")
            if not state:
                self.states[group_id] = "PENDING"
                runtime.raylet.send(m.SubscribeGroup(group_id))
            if state == "CREATED":
                self._give(ref, handle)
            else:
                self._waiting[group_id] = ref, handle
        return ref

    def awaited_by(self, ref: ObjectRef[Any]) -> bytes:
        """The group that this ref waits for; empty when it is no `ready` ref, or has its value."""
        return next((group_id for group_id, (waiting, _) in self._waiting.items() if waiting is ref), b"")

    def on_update(self, _peer: Any, message: m.GroupUpdate) -> None:
        """The GCS's word."""
        if message.group_id not in self.states:
            return
        self.states[message.group_id] = message.state
        if message.state not in ("CREATED", "REMOVED"):
            return
        ref, handle = self._waiting.pop(message.group_id, (None, None))
        if message.state == "REMOVED":
            del self.states[message.group_id]  # whoever asks again is told again
        if ref is None:
            return
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
