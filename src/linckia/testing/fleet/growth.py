"""The real autoscaler loop on a fleet, with the fake provider: what it launched and ended, and what it must not.

Each life of the loop is a process beside one life of a head: it dies with it, or alone, and the next one knows nothing
but what the head, the provider and the nodes tell. The provider outlives them all, as a cloud does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from linckia.base.callbacks import nobody_cares
from linckia.core.autoscaling.records import Limits, NodeType
from linckia.core.autoscaling.rounds import INSTANCE_LABEL, TYPE_LABEL
from linckia.node.head import HeadRoom
from linckia.protocol import messages as m
from linckia.scaling.monitor import Monitor
from linckia.scaling.providers.fake import FakeProvider
from linckia.testing.checks import require

if TYPE_CHECKING:
    from linckia.testing.fleet.heads import SimHead
    from linckia.testing.fleet.machine import SimMachine
    from linckia.testing.fleet.world import Fleet

WAY_MAX_S = 0.02  # of a question or an answer between the loop and its head
AGAIN_AFTER_S = 1.0


class SimScaler:
    """One life of the autoscaler's process, with its way to the head that it was started by."""

    def __init__(self, growth: Growth, room: HeadRoom, process: SimHead | None) -> None:
        self.fleet, self._room, self._process = growth.fleet, room, process
        self.alive = True
        self._rids = itertools.count(1)
        self._waiting: dict[int, Callable[[bytes], None]] = {}
        clock = self.fleet.clock
        self.monitor = Monitor(growth.limits, growth.provider, self, self._call_later, clock.monotonic, growth.new_name)
        self._call_later(0.0, self.monitor.start)

    def ask(self, what: str, body: bytes, then: Callable[[bytes], None]) -> None:
        """See scaling/monitor.py's `Head`."""
        rid = next(self._rids)
        self._waiting[rid] = then
        self._on_the_way(lambda: self._arrived(m.AskHead(rid, what, body)))

    def _arrived(self, message: m.AskHead) -> None:
        if self._process is not None:
            self._process.run(lambda: self._room.scaling.on_ask(self, message))
        else:
            self._room.scaling.on_ask(self, message)

    def post(self, message: m.Message) -> None:
        """The head answers: when the store has taken what it follows from."""
        self._room.outbox.say(self, message)

    def transmit(self, message: Any) -> None:
        """See gcs/journal.py's `Speaker`."""
        self._on_the_way(lambda: self._waiting.pop(message.rid)(message.body))

    def _on_the_way(self, callback: Callable[[], None]) -> None:
        self._call_later(self.fleet.rng.uniform(0.0, WAY_MAX_S), callback)

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        return self.fleet.clock.call_later(delay_s, lambda: self._run(callback))

    def _run(self, callback: Callable[[], None]) -> None:
        if self.alive and (self._process is None or self._process.alive):
            callback()


class Growth:
    """A monitor at work. ``launched`` and ``ended``: (time, instance)."""

    def __init__(self, fleet: Fleet, most: int, *, delay_s: float, idle_timeout_s: float, lag_s: float) -> None:
        self.fleet = fleet
        self.launched: list[tuple[float, str]] = []
        self.ended: list[tuple[float, str]] = []
        self.machines: dict[str, SimMachine] = {}
        types = [NodeType("small", {"CPU": 4.0}, max_workers=most)]
        self.limits = Limits(types, idle_timeout_s=idle_timeout_s)
        self.provider = Watched(self, delay_s, lag_s)
        self._names = itertools.count(1)
        self._is_over = False
        self.on_launch: Callable[[], None] = nobody_cares
        fleet.on_head.append(self.begin)
        self.begin()

    def begin(self) -> None:
        """A head leads: it starts an autoscaler."""
        if not self._is_over:
            self.scaler = SimScaler(self, self.fleet.head, self.fleet.head_process)

    def crash(self) -> None:
        """The autoscaler's process dies alone; its head starts another."""
        self.fleet.note("the autoscaler is killed")
        self.scaler.alive = False
        room = self.fleet.head

        def again() -> None:
            if self.fleet.head is room and not self.scaler.alive:
                self.begin()

        self.fleet.clock.call_later(self.fleet.rng.uniform(0.0, AGAIN_AFTER_S), again)

    def new_name(self) -> str:
        """Of an instance."""
        return f"sim-{next(self._names)}"

    def join(self, instance: str, node_type: NodeType) -> None:
        """The provider's machine boots."""
        slot = 90_000 + int(instance.rpartition("-")[2])
        self.machines[instance] = self.fleet.boot(slot, {INSTANCE_LABEL: instance, TYPE_LABEL: node_type.name})

    def leave(self, instance: str) -> None:
        """The provider ends it."""
        machine = self.machines.pop(instance, None)
        if machine is not None and machine.alive:
            running = [lease.request.owner for lease in machine.raylet.leases.leases.values()]
            require(not running, f"{instance} is ended with leases of {running}")
            self.fleet.end(machine, "its provider ends it", on_purpose=True)

    def stop(self) -> None:
        """Leave what is there as it is."""
        self._is_over = True
        self.scaler.alive = False


class Watched(FakeProvider):
    """Notes what is asked of it; nothing may be while most nodes are cut off."""

    def __init__(self, growth: Growth, delay_s: float, lag_s: float) -> None:
        super().__init__(growth.fleet.clock.call_later, growth.join, growth.leave, delay_s=delay_s, lag_s=lag_s)
        self.growth = growth

    def launch(self, node_type: NodeType, name: str) -> None:
        """See ``Provider``."""
        fleet = self.growth.fleet
        require(not fleet.known_cut_off, "a launch while most nodes are cut off")
        if name not in self._launched:
            fleet.note(f"{name} is launched")
            self.growth.launched.append((fleet.clock.now_s, name))
            self.growth.on_launch()
        super().launch(node_type, name)

    def terminate(self, names: Sequence[str]) -> None:
        """See ``Provider``."""
        fleet = self.growth.fleet
        require(not names or not fleet.known_cut_off, "nodes are ended while most are cut off")
        self.growth.ended += [(fleet.clock.now_s, name) for name in names]
        super().terminate(names)


def growth(fleet: Fleet, most: int, *, delay_s: float, idle_timeout_s: float, lag_s: float = 0.0) -> Growth:
    """Start an autoscaler that may add ``most`` nodes."""
    return Growth(fleet, most, delay_s=delay_s, idle_timeout_s=idle_timeout_s, lag_s=lag_s)
