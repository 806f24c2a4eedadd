"""Which node an actor goes to: asks the policies (`core/scheduling`), waits while no node has room, sends StartActor.

Called by gcs/actors.py. With a single node there is nothing to choose: its raylet keeps what has to wait. A raylet that
turns out to have no room says ``busy``, and the actor waits here for the next change of the view.

Owners keep workers as long as they have tasks for them, and give one back only when somebody waits for it at its node:
who waits here alone may wait for ever. So one of each likeness waits at a node (core/scheduling/scouts.py); its raylet
asks for room, and gives the scout back when another node has some, or when it can make none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from linckia.base.callbacks import nobody_cares
from linckia.core.leases import vectors
from linckia.core.placement.names import group_of
from linckia.core.scheduling.policy import Ask, Decision, Rng, Scheduler
from linckia.core.scheduling.scouts import Scouts
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
    """``attempted(actor_id)`` numbers what a node is asked; ``refused(actor_id, reason)`` is called when an actor can
    never be placed; ``warn(job_id, key, text)`` shows a message to its driver.
    """

    def __init__(
        self,
        nodes: NodeService,
        epoch: int,
        attempted: Callable[[bytes], int],
        refused: Callable[[bytes, str], None],
        warn: Callable[[bytes, str, str], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._nodes, self._epoch, self._refused, self._warn = nodes, epoch, refused, warn
        self._attempted = attempted
        self._call_later = call_later
        self._scheduler = Scheduler()
        self.rng: Rng = random_generator()  # replaced by the simulator
        self.places: Relation[bytes, bytes] = Relation(b"")  # the node that each was sent to
        self.waiting: dict[bytes, tuple[ActorSpec, int, str]] = {}  # actor id -> spec, restarts, why
        self._left = 0  # of those that wait, how many the last change of the view has left to look at
        self._goes_on = False
        self._stuck: dict[object, str] = {}  # what fits nowhere since that change, and why
        self.scouts = Scouts()
        self.on_change: Callable[[bytes], None] = nobody_cares
        nodes.on_resources.append(self._look_again)
        nodes.on_joined.append(lambda _node: self._look_again())

    def start(self, spec: ActorSpec, restarts: int, *, is_new: bool = True) -> None:
        """Find a node for this incarnation, now or later. ``is_new``: its driver is told when none can run it."""
        self.scouts.settled(spec.actor_id)
        self._start(spec, restarts, is_new=is_new)

    def _start(self, spec: ActorSpec, restarts: int, *, is_new: bool) -> None:
        self.places.pop(spec.actor_id)
        decision = self.decide(spec)
        if decision.kind == "unschedulable":
            self._refused(spec.actor_id, decision.reason)
            return
        node_id, may_wait, wait_s = self._where(spec, decision)
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
        attempt = self._attempted(spec.actor_id)
        start = m.StartActor(spec.actor_id, encode(spec), restarts, self._epoch, may_wait, wait_s, attempt)
        self._nodes.send(node_id, start)

    def _where(self, spec: ActorSpec, decision: Decision) -> tuple[bytes, bool, float]:
        """(node or empty, whether it may wait there, how long; 0: as long as it takes)."""
        if decision.kind == "node":
            if not self.scouts.is_idle:
                self.scouts.found_room(_likeness(spec))
            return decision.node_id, bool(self._nodes.the_only_one()), 0.0
        only = self._nodes.the_only_one()
        if only:
            return only, True, 0.0
        node_id = self._scouted(spec, decision) if decision.kind == "busy" else b""
        return node_id, True, self.scouts.go(_likeness(spec), spec.actor_id, node_id) if node_id else 0.0

    def _scouted(self, spec: ActorSpec, decision: Decision) -> bytes:
        """Where it may wait for tasks to make room, or empty."""
        likeness, now_s = _likeness(spec), self._nodes.now_s()
        if not self.scouts.may_go(likeness, now_s):
            return b""
        tried = self.scouts.tried(likeness)
        if decision.node_id in tried:
            decision = self.decide(spec, exclude=tried)
        if decision.node_id and decision.node_id not in tried:
            return decision.node_id if self._nodes.view.nodes[decision.node_id].takes_work else b""
        self._call_later(self.scouts.round_is_over(likeness, now_s) - now_s, self._look_again)
        return b""

    def decide(self, spec: ActorSpec, exclude: Collection[bytes] = ()) -> Decision:
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
            exclude=exclude,
        )

    def stop(self, actor_id: bytes) -> bytes:
        """It ends: its node, or empty when it was still waiting for one."""
        self.waiting.pop(actor_id, None)
        return self.places.get(actor_id)

    def forget(self, actor_id: bytes) -> None:
        """It is dead."""
        self.scouts.settled(actor_id)
        self.waiting.pop(actor_id, None)
        self.places.pop(actor_id)

    def busy(self, spec: ActorSpec, restarts: int) -> None:
        """The node that was chosen has no room after all."""
        self.places.pop(spec.actor_id)
        self.on_change(spec.actor_id)
        if self.scouts.came_back(spec.actor_id):
            self._start(spec, restarts, is_new=False)
        else:
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
