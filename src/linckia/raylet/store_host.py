"""The shell around the node's object store: extents and sealed objects of runtime processes. Decisions are linckia.shm.store's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.protocol.messages import Message, Pong, SegmentRequest


class StoreHost:
    """Handlers of the store's messages; a process that dies gives everything back."""

    def __init__(self, segment_fd: int, capacity_bytes: int) -> None:
        self.segment_fd, self.capacity_bytes = segment_fd, capacity_bytes

    def handlers(self) -> dict[type[Message], Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {SegmentRequest: self.on_segment_request}

    def on_segment_request(self, peer: Any, message: SegmentRequest) -> None:
        """Pass the segment's descriptor, attached to a Pong with the request's rid."""
        peer.send_with_fd(Pong(message.rid), self.segment_fd)

    def process_gone(self, worker_id: bytes) -> None:
        """A runtime process has ended."""
