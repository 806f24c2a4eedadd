"""Ray's module path for lazy graphs. Names only."""

from __future__ import annotations

from linckia.api.dag import ClassNode, DAGNode, FunctionNode, InputNode, MethodNode, MultiOutputNode

__all__ = ["ClassNode", "DAGNode", "FunctionNode", "InputNode", "MethodNode", "MultiOutputNode"]
