"""The real autoscaler loop on a fleet, with the fake provider: what it launched and ended, and what it must not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.core.autoscaling.records import Limits, NodeType
from linckia.scaling.monitor import Monitor, Observation
from linckia.scaling.providers.base import INSTANCE_LABEL
from linckia.scaling.providers.fake import FakeProvider
from linckia.testing.checks import require

if TYPE_CHECKING:
    from linckia.testing.fleet.machine import SimMachine
    from linckia.testing.fleet.world import Fleet


class Growth:
    """A monitor at work. ``launched`` and ``ended``: (time, instance)."""

    def __init__(self, fleet: Fleet, most: int, *, delay_s: float, idle_timeout_s: float) -> None:
        self.fleet = fleet
        self.launched: list[tuple[float, str]] = []
        self.ended: list[tuple[float, str]] = []
        self.machines: dict[str, SimMachine] = {}
        types = [NodeType("small", {"CPU": 4.0}, max_workers=most)]
        self.provider = Watched(self, delay_s)
        self.monitor = Monitor(
            Limits(types, idle_timeout_s=idle_timeout_s),
            self.provider,
            self._observe,
            lambda node_id: fleet.head.nodes.drain(node_id, "IDLE_TERMINATION"),
            fleet.clock.call_later,
            fleet.clock.monotonic,
            fleet.note,
        )

    def _observe(self) -> Observation:
        demand = self.fleet.head.demand
        return Observation(demand.nodes(), demand.demand(), demand.braked)

    def join(self, instance: str, _node_type: NodeType) -> None:
        """The provider's machine boots."""
        slot = 90_000 + int(instance.rpartition("-")[2])
        self.machines[instance] = self.fleet.boot(slot, {INSTANCE_LABEL: instance})

    def leave(self, instance: str) -> None:
        """The provider ends it."""
        machine = self.machines.pop(instance, None)
        if machine is not None and machine.alive:
            running = [lease.request.owner for lease in machine.raylet.leases.leases.values()]
            require(not running, f"{instance} is ended with leases of {running}")
            self.fleet.end(machine, "its provider ends it", on_purpose=True)

    def stop(self) -> None:
        """Leave what is there as it is."""
        self.monitor._stopped = True


class Watched(FakeProvider):
    """Notes what is asked of it; nothing may be while most nodes are cut off."""

    def __init__(self, growth: Growth, delay_s: float) -> None:
        super().__init__(growth.fleet.clock.call_later, growth.join, growth.leave, delay_s=delay_s)
        self.growth = growth

    def launch(self, node_type: NodeType, count: int, request_id: str) -> list[str]:
        """See ``Provider``."""
        fleet = self.growth.fleet
        require(not fleet.known_cut_off, "a launch while most nodes are cut off")
        made = super().launch(node_type, count, request_id)
        self.growth.launched += [(fleet.clock.now_s, instance) for instance in made]
        return made

    def terminate(self, instances: list[str], request_id: str) -> None:
        """See ``Provider``."""
        fleet = self.growth.fleet
        require(not fleet.known_cut_off, "nodes are ended while most are cut off")
        self.growth.ended += [(fleet.clock.now_s, instance) for instance in instances]
        super().terminate(instances, request_id)


def growth(fleet: Fleet, most: int, *, delay_s: float, idle_timeout_s: float) -> Growth:
    """Start an autoscaler that may add ``most`` nodes."""
    made = Growth(fleet, most, delay_s=delay_s, idle_timeout_s=idle_timeout_s)
    made.monitor.start()
    return made
