"""Which node an actor goes to: asks the policies (`core/scheduling`), waits while no node has room, sends StartActor.

Called by gcs/actors.py. With a single node there is nothing to choose: its raylet keeps what has to wait. A raylet that
turns out to have no room says ``busy``, and the actor waits here for the next change of the view.

Owners keep workers as long as they have tasks for them, and give one back only when somebody waits for it at its node:
who waits here alone may wait for ever. So the first of each likeness waits at a node, as a *scout*; its raylet asks for
room, and gives the scout back when another node has some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.base.callbacks import nobody_cares
from linckia.core.leases import vectors
from linckia.core.placement.names import group_of
from linckia.core.scheduling.policy import Ask, Decision, Rng, Scheduler
from linckia.core.tables.relation import Relation
from linckia.host.entropy import random_generator
from linckia.model.placement import DEFAULT, decode_strategy
from linckia.model.specs import ActorSpec, encode
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.gcs.nodes import NodeService

LOOKED_AT_MAX = 200
"""Waiting actors that are looked at in one go: the head does other things in between."""
GO_ON_AFTER_S = 0.001


class ActorPlacement:
    """``refused(actor_id, reason)`` is called when an actor can never be placed; ``warn(job_id, key, text)`` shows a
    message to its driver.
    """

    def __init__(
        self,
        nodes: NodeService,
        epoch: int,
        refused: Callable[[bytes, str], None],
        warn: Callable[[bytes, str, str], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._nodes, self._epoch, self._refused, self._warn = nodes, epoch, refused, warn
        self._call_later = call_later
        self._scheduler = Scheduler()
        self.rng: Rng = random_generator()  # replaced by the simulator
        self.places: Relation[bytes, bytes] = Relation(b"")  # the node that each was sent to
        self.waiting: dict[bytes, tuple[ActorSpec, int, str]] = {}  # actor id -> spec, restarts, why
        self._left = 0  # of those that wait, how many the last change of the view has left to look at
        self._goes_on = False
        self._stuck: dict[object, str] = {}  # what fits nowhere since that change, and why
        self._scouts: dict[object, bytes] = {}  # by likeness, who waits at a node
        self._scouting: dict[bytes, object] = {}  # inverse
        self.on_change: Callable[[bytes], None] = nobody_cares
        nodes.on_resources.append(self._look_again)
        nodes.on_joined.append(lambda _node: self._look_again())

    def start(self, spec: ActorSpec, restarts: int) -> None:
        """Find a node for this incarnation, now or later."""
        self.settled(spec.actor_id)
        self._start(spec, restarts, is_new=True)

    def _start(self, spec: ActorSpec, restarts: int, *, is_new: bool) -> None:
        self.places.pop(spec.actor_id)
        decision = self.decide(spec)
        if decision.kind == "unschedulable":
            self._refused(spec.actor_id, decision.reason)
            return
        node_id, may_wait = self._where(spec, decision)
        if not node_id:
            in_group = group_of(spec.lifetime_resources)  # it waits for its group
            if is_new and decision.kind == "infeasible" and not in_group and not self._nodes.is_settling:
                text = f"actor {spec.class_name} cannot start now: {decision.reason}. It waits until such a node joins."
                self._warn(spec.job_id, f"infeasible {decision.reason}", text)
            self.waiting[spec.actor_id] = (spec, restarts, decision.reason)
            self._stuck[_likeness(spec)] = decision.reason
            return
        self.waiting.pop(spec.actor_id, None)
        self.places.put(spec.actor_id, node_id)
        self.on_change(spec.actor_id)
        if decision.kind == "node":
            self._nodes.view.debit(node_id, vectors.to_units(spec.lifetime_resources))
        self._nodes.send(node_id, m.StartActor(spec.actor_id, encode(spec), restarts, self._epoch, may_wait))

    def _where(self, spec: ActorSpec, decision: Decision) -> tuple[bytes, bool]:
        """(node or empty, whether it may wait there)."""
        only = self._nodes.the_only_one()
        if decision.kind == "node" or only:
            return decision.node_id if decision.kind == "node" else only, bool(only)
        likeness = _likeness(spec)
        if decision.kind != "busy" or likeness in self._scouts or not self._nodes.view.nodes[decision.node_id].takes_work:
            return b"", False
        self._scouts[likeness], self._scouting[spec.actor_id] = spec.actor_id, likeness
        return decision.node_id, True

    def settled(self, actor_id: bytes) -> None:
        """It does not wait at a node any more: it has a worker, or begins anew. Idempotent."""
        likeness = self._scouting.pop(actor_id, None)
        if likeness is not None:
            del self._scouts[likeness]

    def decide(self, spec: ActorSpec) -> Decision:
        """Where it would go now, and why."""
        return self._scheduler.decide(
            self._nodes.view,
            Ask(
                need=vectors.to_units(spec.lifetime_resources),
                placement=vectors.to_units(spec.placement_resources),
                strategy=decode_strategy(spec.strategy) if spec.strategy else DEFAULT,
                preferred=b"",
                name=spec.class_name,
            ),
            self.rng,
        )

    def stop(self, actor_id: bytes) -> bytes:
        """It ends: its node, or empty when it was still waiting for one."""
        self.waiting.pop(actor_id, None)
        return self.places.get(actor_id)

    def forget(self, actor_id: bytes) -> None:
        """It is dead."""
        self.settled(actor_id)
        self.waiting.pop(actor_id, None)
        self.places.pop(actor_id)

    def busy(self, spec: ActorSpec, restarts: int) -> None:
        """The node that was chosen has no room after all."""
        self.settled(spec.actor_id)
        self.places.pop(spec.actor_id)
        self.on_change(spec.actor_id)
        self.waiting[spec.actor_id] = (spec, restarts, "the node that was chosen had no room after all")

    def demand(self) -> list[tuple[dict[str, float], int]]:
        """Shapes that wait for a node."""
        return [(spec.placement_resources or spec.lifetime_resources, 1) for spec, _, _ in self.waiting.values()]

    def _look_again(self, *_: Any) -> None:
        """The view has changed: look at all that wait, first come first, some at a time."""
        self._left = len(self.waiting)
        self._stuck.clear()
        if not self._goes_on:
            self._go_on()

    def _go_on(self) -> None:
        self._goes_on = False
        for actor_id in list(self.waiting)[: min(self._left, LOOKED_AT_MAX)]:
            self._left -= 1
            spec, restarts, _ = self.waiting.pop(actor_id)  # who waits on goes to the end
            why = self._stuck.get(_likeness(spec))
            if why is not None:
                self.waiting[actor_id] = (spec, restarts, why)
            else:
                self._start(spec, restarts, is_new=False)
        if self._left > 0 and self.waiting:
            self._goes_on = True
            self._call_later(GO_ON_AFTER_S, self._go_on)


def _likeness(spec: ActorSpec) -> object:
    """Equal for actors that fit into the same nodes."""
    need, placement = spec.lifetime_resources, spec.placement_resources
    return tuple(sorted(need.items())), tuple(sorted(placement.items())), spec.strategy
