"""Nodes as processes of this machine: for one large machine, and for trying out worker groups.

An instance is a node process started by `node/launch.py` (given as ``start``, because services do not import
assembly); it ends with the head. Only processes started here are ever ended, by their pidfd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.core.autoscaling.records import NodeType
from linckia.scaling.providers.base import INSTANCE_LABEL, TYPE_LABEL

Start = Callable[[NodeType, dict[str, str]], Any]
"""(node type, labels) -> a node process with ``is_alive()``, ``begin_stop()`` and ``stop()``."""


class LocalProvider:
    """``start`` spawns a node process that joins the cluster."""

    def __init__(self, start: Start, unique: str) -> None:
        self._start, self._unique = start, unique
        self._nodes: dict[str, tuple[str, Any]] = {}
        self._ending: dict[str, Any] = {}
        self._requests: dict[str, list[str]] = {}
        self._errors: list[tuple[str, str]] = []
        self._count = 0

    def launch(self, node_type: NodeType, count: int, request_id: str) -> list[str]:
        """See ``Provider``."""
        if request_id in self._requests:
            return self._requests[request_id]
        made = []
        for _ in range(count):
            self._count += 1
            instance = f"{self._unique}-{self._count}"
            labels = {**node_type.labels, TYPE_LABEL: node_type.name, INSTANCE_LABEL: instance}
            try:
                self._nodes[instance] = (node_type.name, self._start(node_type, labels))
            except OSError as error:
                self._errors.append((instance, f"its process could not be started: {error}"))
            made.append(instance)
        self._requests[request_id] = made
        return made

    def terminate(self, instances: list[str], request_id: str) -> None:
        """See ``Provider``."""
        del request_id
        for instance in instances:
            _, node = self._nodes.pop(instance, ("", None))
            if node is not None:
                node.begin_stop()
                self._ending[instance] = node

    def non_terminated(self) -> dict[str, str]:
        """See ``Provider``."""
        for instance, (_, node) in list(self._nodes.items()):
            if not node.is_alive():
                del self._nodes[instance]
                node.stop()
                self._errors.append((instance, "its process has ended"))
        for instance, node in list(self._ending.items()):
            if not node.is_alive():
                del self._ending[instance]
                node.stop()
        return {instance: name for instance, (name, _) in self._nodes.items()}

    def pids(self) -> set[int]:
        """Of all processes that were started here and not reaped yet."""
        return {node.pid for node in (*(each for _, each in self._nodes.values()), *self._ending.values())}

    def poll_errors(self) -> list[tuple[str, str]]:
        """See ``Provider``."""
        errors, self._errors = self._errors, []
        return errors

    def close(self) -> None:
        """See ``Provider``."""
        everybody = [*(node for _, node in self._nodes.values()), *self._ending.values()]
        for node in everybody:
            node.begin_stop()
        for node in everybody:
            node.stop()
        self._nodes.clear()
        self._ending.clear()
