"""A provider in virtual time, for tests and the simulator: nodes join after a delay, or fail on purpose."""

from __future__ import annotations

from collections.abc import Callable

from linckia.core.autoscaling.records import NodeType


class FakeProvider:
    """``join(instance, node_type)`` and ``leave(instance)`` are called when a node would do so. ``failures`` counts
    launches that are to fail next, ``deaf`` terminations that are to be overheard.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        join: Callable[[str, NodeType], None],
        leave: Callable[[str], None],
        *,
        delay_s: float = 2.0,
    ) -> None:
        self._call_later, self._join, self._leave, self.delay_s = call_later, join, leave, delay_s
        self.failures = self.deaf = 0
        self._instances: dict[str, str] = {}
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
            instance = f"fake-{self._count}"
            made.append(instance)
            self._instances[instance] = node_type.name
            if self.failures:
                self.failures -= 1
                self._call_later(self.delay_s, lambda name=instance: self._fail(name))  # type: ignore[misc]
            else:
                self._call_later(self.delay_s, lambda name=instance: self._arrive(name, node_type))  # type: ignore[misc]
        self._requests[request_id] = made
        return made

    def _arrive(self, instance: str, node_type: NodeType) -> None:
        if instance in self._instances:
            self._join(instance, node_type)

    def _fail(self, instance: str) -> None:
        if self._instances.pop(instance, None) is not None:
            self._errors.append((instance, "the fake provider was told to fail"))

    def terminate(self, instances: list[str], request_id: str) -> None:
        """See ``Provider``."""
        del request_id
        if self.deaf:
            self.deaf -= 1
            return
        for instance in instances:
            if self._instances.pop(instance, None) is not None:
                self._leave(instance)

    def non_terminated(self) -> dict[str, str]:
        """See ``Provider``."""
        return dict(self._instances)

    def poll_errors(self) -> list[tuple[str, str]]:
        """See ``Provider``."""
        errors, self._errors = self._errors, []
        return errors

    def close(self) -> None:
        """See ``Provider``."""
        self.terminate(list(self._instances), "close")
