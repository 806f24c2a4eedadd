"""Nodes as processes of the heads' machines: for one large machine, and for trying out worker groups.

The head's own node starts and ends them (node/instances.py): they outlive autoscalers and head processes, and end with
that node. This side only passes on what is wanted, and knows what the head has heard of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from linckia.core.autoscaling.records import NodeType, Observation


class LocalProvider:
    """``start(name, node_type)`` and ``end(name)`` ask the head."""

    def __init__(self, start: Callable[[str, NodeType], None], end: Callable[[str], None]) -> None:
        self._start, self._end = start, end
        self._hosted: dict[str, str] = {}
        self._failed: dict[str, str] = {}

    def observed(self, seen: Observation) -> None:
        """See ``Provider``."""
        self._hosted, self._failed = seen.hosted, seen.failed

    def launch(self, node_type: NodeType, name: str) -> None:
        """See ``Provider``."""
        self._start(name, node_type)

    def terminate(self, names: Sequence[str]) -> None:
        """See ``Provider``."""
        for name in names:
            self._end(name)

    def non_terminated(self) -> dict[str, str]:
        """See ``Provider``."""
        return dict(self._hosted)

    def poll_errors(self) -> list[tuple[str, str]]:
        """See ``Provider``. The head forgets them with their instances."""
        return list(self._failed.items())
