"""The part of Ray's API that the workloads use, as protocols: `ray` and `linckia` go into the same typed code.

`load` imports the module by name in the process that is to be measured; nothing else here runs anything by itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, cast

Ref: TypeAlias = object

OBJECT_STORE_BYTES = 2 * 1024**3
"""Given to both engines: room for several 256 MiB objects without claiming a third of a shared machine."""


class Remote(Protocol):
    """A remote function, a bound actor method or an actor class: whatever has `.remote(...)`."""

    def remote(self, *args: object) -> Ref: ...


class Actor(Protocol):
    """An actor handle: every attribute is a method."""

    def __getattr__(self, name: str) -> Remote: ...


class Api(Protocol):
    """The names of Ray's module that the benchmarks call."""

    def init(self, *, address: str, num_cpus: int, object_store_memory: int) -> object: ...

    def shutdown(self) -> None: ...

    def remote(self, **options: object) -> Callable[[object], Remote]: ...

    def put(self, value: object) -> Ref: ...

    def get(self, refs: Ref) -> object: ...

    def wait(self, refs: Sequence[Ref]) -> tuple[list[Ref], list[Ref]]: ...

    def kill(self, actor: Actor) -> None: ...


def load(name: str) -> Api:
    """Import the engine. Raises ImportError when this interpreter does not have it."""
    return cast("Api", importlib.import_module(name))


def function(ray: Api, target: Callable[..., object]) -> Remote:
    """Make a remote function that asks for one CPU, as a plain `@ray.remote` does."""
    return ray.remote(num_cpus=1)(target)


def actor(ray: Api, cls: type) -> Actor:
    """Start one actor that asks for no CPU, so that any number of them fits on any machine."""
    return cast("Actor", ray.remote(num_cpus=0)(cls).remote())
