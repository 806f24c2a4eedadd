"""Lazy graphs: ``f.bind(g.bind(1)).execute()`` (R 1.55, without compiled graphs).

A node is a call that has not been made; arguments may be nodes. ``execute`` submits each node once and returns the
ref of the last.
"""

from __future__ import annotations

from typing import Any


class DAGNode:
    """A lazy call of ``target`` with arguments that may be nodes themselves."""

    def __init__(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._target, self._args, self._kwargs = target, args, kwargs

    def execute(self, *inputs: Any) -> Any:
        """Submit the whole graph; returns the ref (or handle) of this node. ``inputs`` replace InputNode."""
        return self._run({}, inputs)

    def _run(self, done: dict[int, Any], inputs: tuple[Any, ...]) -> Any:
        if id(self) not in done:
            args = [_value(value, done, inputs) for value in self._args]
            kwargs = {name: _value(value, done, inputs) for name, value in self._kwargs.items()}
            done[id(self)] = self._submit(args, kwargs, done, inputs)
        return done[id(self)]

    def _submit(self, args: list[Any], kwargs: dict[str, Any], _done: dict[int, Any], _inputs: tuple[Any, ...]) -> Any:
        return self._target.remote(*args, **kwargs)

    def experimental_compile(self, **_options: Any) -> Any:
        """Compiled graphs are not built."""
        raise NotImplementedError("experimental_compile(): compiled graphs are not available; use execute()")


class FunctionNode(DAGNode):
    """A lazy task."""


class MethodNode(DAGNode):
    """A lazy actor call; of a real actor, or of a lazy one."""

    def _submit(self, args: list[Any], kwargs: dict[str, Any], done: dict[int, Any], inputs: tuple[Any, ...]) -> Any:
        target = self._target
        if isinstance(target, _LazyMethod):
            handle = target.actor._run(done, inputs)
            return getattr(handle, target.name).remote(*args, **kwargs)
        return target.remote(*args, **kwargs)


class ClassNode(DAGNode):
    """A lazy actor: its methods have ``bind``."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _LazyMethod(self, name)


class _LazyMethod:
    def __init__(self, actor: ClassNode, name: str) -> None:
        self.actor, self.name = actor, name

    def bind(self, *args: Any, **kwargs: Any) -> MethodNode:
        """A lazy call of the lazy actor."""
        return MethodNode(self, args, kwargs)


class InputNode(DAGNode):
    """The argument of ``execute``; ``with InputNode() as x: dag = f.bind(x)``."""

    def __init__(self) -> None:
        super().__init__(None, (), {})

    def __enter__(self) -> InputNode:
        return self

    def __exit__(self, *_exc: object) -> None:
        return None

    def _run(self, done: dict[int, Any], inputs: tuple[Any, ...]) -> Any:
        if not inputs:
            raise ValueError("this graph has an InputNode: call execute(value)")
        return inputs[0]


class MultiOutputNode(DAGNode):
    """Several results of one graph: ``execute`` returns a list."""

    def __init__(self, outputs: list[DAGNode]) -> None:
        super().__init__(None, tuple(outputs), {})

    def _run(self, done: dict[int, Any], inputs: tuple[Any, ...]) -> Any:
        return [node._run(done, inputs) for node in self._args]


def _value(value: Any, done: dict[int, Any], inputs: tuple[Any, ...]) -> Any:
    if isinstance(value, DAGNode):
        return value._run(done, inputs)
    if isinstance(value, list):
        return [_value(part, done, inputs) for part in value]
    if isinstance(value, dict):
        return {key: _value(part, done, inputs) for key, part in value.items()}
    return value
