"""The node's side of placement groups: reserves bundles, offers them, gives them back. Called by raylet/service.py.

What a bundle holds leaves the plain pool when it is prepared; committing adds it under the group's names
(core/placement/names.py). Giving back kills what still runs in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.core.leases.vectors import to_units
from linckia.core.placement import names
from linckia.core.tables.relation import Relation
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.core.leases.vectors import Units
    from linckia.raylet.service import Raylet


class Bundle:
    """Reserved amounts; ``offered`` once committed."""

    def __init__(self, units: Units, gpus: dict[int, int], attempt: int) -> None:
        self.units, self.gpus, self.attempt, self.offered = units, gpus, attempt, False


class BundleHost:
    """Bundles of this node by (group id, index)."""

    def __init__(self, raylet: Raylet) -> None:
        self.raylet = raylet
        self.bundles: dict[tuple[bytes, int], Bundle] = {}
        self._groups: Relation[tuple[bytes, int], bytes] = Relation(b"")

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            m.PrepareBundles: self.on_prepare,
            m.CommitBundles: self.on_commit,
            m.ReturnBundles: self.on_return,
            m.GroupUpdate: self.on_update,
        }

    def on_prepare(self, _peer: Any, message: m.PrepareBundles) -> None:
        """All or none; said twice: answered twice."""
        raylet, node_id = self.raylet, self.raylet.options.node.node_id
        new = {index: to_units(amounts) for index, amounts in message.bundles}
        have = [index for index in new if (message.group_id, index) in self.bundles]
        reason = ""
        raylet.desk.say_again({name for units in new.values() for name in units})
        if not have:
            gpus = raylet.leases.reserve(list(new.values()))
            if gpus is None:
                reason = f"node {node_id.hex()[:8]} has only {raylet.leases.available_amounts()} left"
            else:
                for (index, units), assigned in zip(new.items(), gpus, strict=True):
                    self.bundles[message.group_id, index] = Bundle(units, assigned, message.attempt)
                    self._groups.put((message.group_id, index), message.group_id)
        if reason:
            raylet.desk.report()  # the head shall know better before it tries again
        raylet.gcs.post(m.BundlesPrepared(message.group_id, message.attempt, node_id, not reason, reason))

    def on_commit(self, _peer: Any, message: m.CommitBundles) -> None:
        """Offer what was prepared; idempotent."""
        raylet = self.raylet
        for key in self._groups.at(message.group_id):
            bundle = self.bundles[key]
            if not bundle.offered:
                bundle.offered = True
                offered = names.of_bundle(message.group_id.hex(), key[1], bundle.units)
                raylet.desk.carry_out(raylet.leases.offer(offered, bundle.gpus))
        raylet.desk.schedule_report()
        raylet.gcs.post(m.BundlesCommitted(message.group_id, message.attempt, raylet.options.node.node_id))
        raylet.desk.look_again()

    def on_return(self, _peer: Any, message: m.ReturnBundles) -> None:
        """Give back, killing what runs there; idempotent."""
        raylet = self.raylet
        there = self._groups.at(message.group_id)
        for key in [(message.group_id, index) for index in message.indexes] or there:
            bundle = self.bundles.pop(key, None)
            if bundle is None:
                continue
            self._groups.pop(key)
            if bundle.offered:
                offered = names.of_bundle(message.group_id.hex(), key[1], bundle.units)
                for worker_id in raylet.leases.withdraw(offered):
                    worker = raylet.pool.workers.get(worker_id)
                    if worker is not None:
                        raylet.pool.kill(worker, f"its placement group {message.group_id.hex()} was removed")
            raylet.desk.carry_out(raylet.leases.unreserve(bundle.units, bundle.gpus))

    def on_update(self, _peer: Any, message: m.GroupUpdate) -> None:
        """A group is gone: nothing may wait for it."""
        if message.state == "REMOVED":
            self.raylet.desk.group_removed(message.group_id.hex())
