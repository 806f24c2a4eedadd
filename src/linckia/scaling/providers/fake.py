"""A provider in virtual time, for tests and the simulator: nodes join after a delay, or fail on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from linckia.core.autoscaling.records import NodeType, Observation


class FakeProvider:
    """``join(name, node_type)`` and ``leave(name)`` are called when a node would do so. ``failures`` counts launches
    that are to fail next, ``deaf`` terminations that are to be overheard; ``lag_s`` is how long a launch is not listed.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        join: Callable[[str, NodeType], None],
        leave: Callable[[str], None],
        *,
        delay_s: float = 2.0,
        lag_s: float = 0.0,
    ) -> None:
        self._call_later, self._join, self._leave, self.delay_s = call_later, join, leave, delay_s
        self._lag_s = lag_s
        self._unlisted: dict[str, None] = {}
        self.failures = self.deaf = 0
        self._instances: dict[str, str] = {}
        self._launched: dict[str, None] = {}
        self._errors: list[tuple[str, str]] = []

    def observed(self, seen: Observation) -> None:
        """It knows by itself."""

    def launch(self, node_type: NodeType, name: str) -> None:
        """See ``Provider``."""
        if name in self._launched:
            return
        self._launched[name] = None
        self._instances[name] = node_type.name
        if self._lag_s:
            self._unlisted[name] = None
            self._call_later(self._lag_s, lambda: self._unlisted.pop(name))
        if self.failures:
            self.failures -= 1
            self._call_later(self.delay_s, lambda: self._fail(name))
        else:
            self._call_later(self.delay_s, lambda: self._arrive(name, node_type))

    def _arrive(self, name: str, node_type: NodeType) -> None:
        if name in self._instances:
            self._join(name, node_type)

    def _fail(self, name: str) -> None:
        if self._instances.pop(name, None) is not None:
            self._errors.append((name, "the fake provider was told to fail"))

    def terminate(self, names: Sequence[str]) -> None:
        """See ``Provider``."""
        if names and self.deaf:
            self.deaf -= 1
            return
        for name in names:
            if self._instances.pop(name, None) is not None:
                self._leave(name)

    def non_terminated(self) -> dict[str, str]:
        """See ``Provider``."""
        return {name: kind for name, kind in self._instances.items() if name not in self._unlisted}

    def poll_errors(self) -> list[tuple[str, str]]:
        """See ``Provider``."""
        errors, self._errors = self._errors, []
        return errors
