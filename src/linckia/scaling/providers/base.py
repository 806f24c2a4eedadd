"""What a provider of nodes can do. Requests are idempotent by ``request_id``; nothing here blocks."""

from __future__ import annotations

from typing import Protocol

from linckia.core.autoscaling.records import NodeType


class Provider(Protocol):
    """Instances are named by the provider; a node says which one it is by the label ``INSTANCE_LABEL``."""

    def launch(self, node_type: NodeType, count: int, request_id: str) -> list[str]:
        """Begin to start nodes; their instance ids. The same request again: the same ids, nothing new."""
        ...

    def terminate(self, instances: list[str], request_id: str) -> None:
        """Begin to end instances; unknown ones are ignored."""
        ...

    def non_terminated(self) -> dict[str, str]:
        """Instance id -> name of its node type, of all that are starting or running."""
        ...

    def poll_errors(self) -> list[tuple[str, str]]:
        """(instance id, why) of launches that failed since the last call."""
        ...

    def close(self) -> None:
        """End every instance."""
        ...


INSTANCE_LABEL = "linckia.io/instance"
TYPE_LABEL = "ray.io/node-group"
