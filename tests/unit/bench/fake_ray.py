"""A fake with Ray's API that runs everything at once in this process, and may be told to give wrong answers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any


class FakeRef:
    """A value that is ready."""

    def __init__(self, value: Any) -> None:
        self.value = value


class FakeMethod:
    """Whatever has `.remote`."""

    def __init__(self, ray: FakeRay, target: Callable[..., Any]) -> None:
        self._ray = ray
        self._target = target

    def remote(self, *args: Any) -> FakeRef:
        plain = [arg.value if isinstance(arg, FakeRef) else arg for arg in args]
        result = self._target(*plain)
        return FakeRef(self._ray.spoil(asyncio.run(result) if inspect.iscoroutine(result) else result))


class FakeActor:
    """An actor handle."""

    def __init__(self, ray: FakeRay, instance: object) -> None:
        self._ray = ray
        self._instance = instance

    def __getattr__(self, name: str) -> FakeMethod:
        return FakeMethod(self._ray, getattr(self._instance, name))


class FakeClass:
    """A remote class."""

    def __init__(self, ray: FakeRay, cls: type) -> None:
        self._ray = ray
        self._cls = cls

    def remote(self, *args: Any) -> FakeActor:
        return FakeActor(self._ray, self._cls(*args))


class FakeRay:
    """The module. `spoil` changes what tasks and calls return; `spoil_put` what is stored."""

    def __init__(
        self,
        spoil: Callable[[Any], Any] = lambda value: value,
        spoil_put: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.spoil = spoil
        self.spoil_put = spoil_put
        self.killed = 0
        self.running = False

    def init(self, **_options: Any) -> None:
        self.running = True

    def is_initialized(self) -> bool:
        return self.running

    def shutdown(self) -> None:
        self.running = False

    def remote(self, *args: Any, **_options: Any) -> Any:
        if args:
            return self._decorate(args[0])
        return self._decorate

    def _decorate(self, target: Any) -> Any:
        return FakeClass(self, target) if inspect.isclass(target) else FakeMethod(self, target)

    def put(self, value: Any) -> FakeRef:
        return FakeRef(self.spoil_put(value))

    def get(self, refs: Any) -> Any:
        return [ref.value for ref in refs] if isinstance(refs, list) else refs.value

    def wait(self, refs: Sequence[FakeRef]) -> tuple[list[FakeRef], list[FakeRef]]:
        return list(refs[:1]), list(refs[1:])

    def kill(self, _actor: FakeActor) -> None:
        self.killed += 1
