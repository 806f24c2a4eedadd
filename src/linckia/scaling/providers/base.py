"""What a provider of nodes can do. Everything is idempotent by the instance's name, and nothing blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from linckia.core.autoscaling.records import NodeType, Observation


class Provider(Protocol):
    """Instances are named by the autoscaler; a node says which one it is by the label ``INSTANCE_LABEL``
    (core/autoscaling/rounds.py).
    """

    def observed(self, seen: Observation) -> None:
        """What the head sees, before each round: for providers that know no more than that."""
        ...

    def launch(self, node_type: NodeType, name: str) -> None:
        """Begin to start a node. A name that was launched before launches nothing, whatever has become of it."""
        ...

    def terminate(self, names: Sequence[str]) -> None:
        """Begin to end instances; unknown ones are ignored."""
        ...

    def non_terminated(self) -> dict[str, str]:
        """Name -> name of its node type, of all that are starting or running, whoever launched them. A launch may take
        a while to appear; then it is asked for again.
        """
        ...

    def poll_errors(self) -> list[tuple[str, str]]:
        """(name, why) of launches that failed since the last call."""
        ...
