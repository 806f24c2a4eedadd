"""The node's side of placement groups: reserves bundles, offers them, gives them back. Called by raylet/service.py.

What a bundle holds leaves the plain pool when it is prepared; committing adds it under the group's names
(core/placement/names.py). Giving back kills what still runs in it. What cannot be reserved now may wait for tasks to
make room, as a claim (core/leases/claims.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.core.leases.vectors import to_units
from linckia.core.placement import names
from linckia.core.tables.relation import Relation
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.core.leases.gpus import Assignment
    from linckia.core.leases.records import Claimed
    from linckia.core.leases.vectors import Units
    from linckia.raylet.service import Raylet
    from linckia.rpc.reactor import Timer


class Bundle:
    """Reserved amounts; ``offered`` once committed."""

    def __init__(self, units: Units, gpus: dict[int, int], attempt: int) -> None:
        self.units, self.gpus, self.attempt, self.offered = units, gpus, attempt, False


class BundleHost:
    """Bundles of this node by (group id, index)."""

    def __init__(self, raylet: Raylet) -> None:
        self.raylet = raylet
        self.bundles: dict[tuple[bytes, int], Bundle] = {}
        self._claims: dict[bytes, tuple[m.PrepareBundles, Timer]] = {}
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
        raylet = self.raylet
        self._drop_claim(message.group_id)
        new = _units_of(message)
        have = [index for index in new if (message.group_id, index) in self.bundles]
        raylet.desk.say_again({name for units in new.values() for name in units})
        gpus = [] if have else raylet.leases.reserve(list(new.values()))
        if gpus is not None:
            if not have:
                self._hold(message, gpus)
            self._answer(message)
        elif not message.wait_s or not self._claim(message, list(new.values())):
            self._refuse(message)

    def _hold(self, message: m.PrepareBundles, gpus: list[Assignment]) -> None:
        for (index, units), assigned in zip(_units_of(message).items(), gpus, strict=True):
            self.bundles[message.group_id, index] = Bundle(units, assigned, message.attempt)
            self._groups.put((message.group_id, index), message.group_id)

    def _answer(self, message: m.PrepareBundles, reason: str = "") -> None:
        node_id = self.raylet.options.node.node_id
        self.raylet.gcs.post(m.BundlesPrepared(message.group_id, message.attempt, node_id, not reason, reason))

    def _refuse(self, message: m.PrepareBundles) -> None:
        self.raylet.desk.report()  # the head shall know better before it tries again
        name = self.raylet.options.node.node_id.hex()[:8]
        self._answer(message, f"node {name} has only {self.raylet.leases.available_amounts()} left")

    # --- claims -------------------------------------------------------------------------------------------------------

    def _claim(self, message: m.PrepareBundles, bundles: list[Units]) -> bool:
        effects = self.raylet.leases.claim(message.group_id, bundles)
        if effects is None:
            return False
        timer = self.raylet.reactor.call_later(message.wait_s, lambda: self._give_up(message))
        self._claims[message.group_id] = (message, timer)
        self.raylet.desk.carry_out(effects)
        return True

    def claimed(self, effect: Claimed) -> None:
        """Tasks have made room."""
        message, timer = self._claims.pop(effect.owner)
        timer.cancel()
        self._hold(message, effect.gpus)
        self._answer(message)

    def _give_up(self, message: m.PrepareBundles) -> None:
        self._drop_claim(message.group_id)
        self._refuse(message)

    def _drop_claim(self, group_id: bytes) -> None:
        waiting = self._claims.pop(group_id, None)
        if waiting is not None:
            waiting[1].cancel()
            self.raylet.desk.carry_out(self.raylet.leases.drop_claim(group_id))

    def head_is_back(self) -> None:
        """Another head, or another session: what was being tried is given up there."""
        for group_id in list(self._claims):
            self._drop_claim(group_id)

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
        self._drop_claim(message.group_id)
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


def _units_of(message: m.PrepareBundles) -> dict[int, Units]:
    return {index: to_units(amounts) for index, amounts in message.bundles}
