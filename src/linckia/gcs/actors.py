"""The GCS's actor service: messages in, ``core/actors`` decides, messages out. Thin; keeps only who subscribed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from linckia.base import errors
from linckia.base.limits import REMOVED_GROUP_NAMES_MAX_BYTES
from linckia.core.actors.directory import ActorDirectory, Begin, Effect, Publish, Start, Stop
from linckia.core.actors.record import Actor
from linckia.core.actors.states import ActorDeathReason, ActorState
from linckia.core.placement.names import group_of
from linckia.core.tables.budget import Ledger
from linckia.gcs import records
from linckia.gcs.actor_placement import ActorPlacement
from linckia.gcs.journal import Outbox
from linckia.gcs.node_record import NodeRecord
from linckia.gcs.nodes import NodeService
from linckia.model.specs import ActorInfo, ActorSpec, describe_actor, encode
from linckia.protocol import messages as m

UNKNOWN_WAIT_S = 2.0
REMOVED_GROUP_BYTES = 200
_decode_spec = msgspec.msgpack.Decoder(ActorSpec).decode


class Link(Protocol):
    """What this service needs of a connection."""

    closed: bool

    def post(self, message: m.Message) -> None: ...


class ActorService:
    """``warn(job_id, key, text)`` shows a message to a job's driver."""

    def __init__(
        self,
        nodes: NodeService,
        call_later: Callable[[float, Callable[[], None]], object],
        warn: Callable[[bytes, str, str], None],
        epoch: int = 1,
        outbox: Outbox | None = None,
    ) -> None:
        self.directory = ActorDirectory()
        self._nodes, self._epoch = nodes, epoch
        self._outbox = outbox or Outbox()
        self._outbox.tables.update({records.ACTORS: self._row, records.SPECS: self._spec_row})
        self.directory.on_change = self._changed
        self._call_later = call_later
        self.placement = ActorPlacement(nodes, epoch, self.directory.attempted, self._refused, warn, call_later)
        self.placement.on_change = self._changed
        nodes.on_dead.append(lambda node, text: self.node_dead(node.info.node_id, text, preempted=node.preempted))
        nodes.on_suspect.append(self.node_silent)
        self._subscribers: dict[bytes, dict[int, Any]] = {}
        self.removed_groups: Ledger[str] = Ledger(REMOVED_GROUP_NAMES_MAX_BYTES, "those that were removed first")
        self.on_process_gone: list[Callable[[bytes], None]] = []
        self.reply: Callable[[Any, m.Message], None] = lambda peer, message: peer.post(message)  # node/ sets Gcs.reply

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            m.RegisterActor: self._on_register,
            m.ActorArgs: self._on_arguments,
            m.SubscribeActor: self._on_subscribe,
            m.GetActorByName: self._on_get_by_name,
            m.KillActor: self._on_kill,
            m.ActorOutOfScope: lambda _peer, message: self._apply(self.directory.out_of_scope(message.actor_id)),
            m.ReviveActor: lambda _peer, message: self._apply(self.directory.revive(message.actor_id)),
            m.ListActors: self._on_list,
            m.ActorStart: self._on_start,
            m.ActorWorkerDied: self._on_worker_died,
        }

    def node_dead(self, node_id: bytes, text: str, *, preempted: bool = False) -> None:
        """A node is gone: actors there are restarted elsewhere or dead, those whose owner was there are dead."""
        for worker_id in self.directory.owners.on(node_id):
            self.owner_ended(worker_id)
        reason = f"its node {node_id.hex()[:8]} died: {text}"
        for actor_id in self.placement.places.at(node_id):
            self._apply(self.directory.node_lost(actor_id, reason, preempted=preempted))

    def node_silent(self, node_id: bytes) -> None:
        """Nobody hears a node: what it was asked to start, and has not begun, others are asked for if there are any."""
        if self._nodes.the_only_one():
            return
        for actor_id in self.placement.places.at(node_id):
            attempt = self.directory.withdrawn(actor_id)
            if attempt:
                actor = self.directory.actors[actor_id]
                self._nodes.send(node_id, m.CancelStart(actor_id, attempt, self._epoch))
                self.placement.start(actor.spec, actor.restarts, is_new=False)

    def group_removed(self, group: str) -> None:
        """A placement group (hex) is gone: its actors end for good, those that wait for it are refused."""
        self.removed_groups.add(group, REMOVED_GROUP_BYTES)
        reason = f"its placement group {group} was removed"
        for actor_id in self.directory.groups.at(group):
            actor = self.directory.actors[actor_id]
            node_id = self.placement.places.get(actor_id)
            if not actor.never_started:
                self._apply(self.directory.kill(actor_id, no_restart=True, reason=reason))
            elif actor.state is not ActorState.DEAD:
                self._refused(actor_id, reason)
                if node_id:
                    self._nodes.send(node_id, m.StopActor(actor_id, graceful=False, reason=reason, epoch=self._epoch))

    def owner_ended(self, worker_id: bytes) -> None:
        """A driver or worker process is gone."""
        self._apply(self.directory.owner_ended(worker_id))

    # --- the store, and nodes that come to a new head ----------------------------------------------------------------

    def _changed(self, actor_id: bytes) -> None:
        self._outbox.touch(records.ACTORS, actor_id)
        actor = self.directory.actors.get(actor_id)
        if actor is None or actor.state is ActorState.DEAD:  # its class and arguments are not kept
            self._outbox.touch(records.SPECS, actor_id)

    def _row(self, actor_id: bytes) -> bytes | None:
        actor = self.directory.actors.get(actor_id)
        if actor is None:
            return None
        return records.encode(records.actor_row(actor, self.placement.places.get(actor_id)))

    def _spec_row(self, actor_id: bytes) -> bytes | None:
        actor = self.directory.actors.get(actor_id)
        return encode(actor.spec) if actor is not None else None

    def restore(self, spec: ActorSpec, row: records.ActorRow) -> None:
        """An actor as the last head knew it; after the nodes."""
        actor = records.actor_of(spec, row)
        self.directory.restore(actor)
        if actor.state in (ActorState.DEAD, ActorState.DEPENDENCIES_UNREADY):
            return
        node = self._nodes.nodes.get(row.node_id)
        if node is not None and node.alive:
            self.placement.places.put(spec.actor_id, row.node_id)
        elif actor.state is ActorState.ALIVE:
            reason = f"its node {row.node_id.hex()[:8]} died while no head was there"
            self._apply(self.directory.process_ended(spec.actor_id, actor.restarts, reason, intended=False))
        else:
            self.placement.waiting[spec.actor_id] = (spec, actor.restarts, "a head has just taken over")

    def node_runs(self, node_id: bytes, running: list[m.RunningActor]) -> None:
        """A node tells what it has: start what is missing, end what is too much, hear what is news."""
        have = {each.actor_id: each for each in running}
        for actor_id in self.placement.places.at(node_id):
            actor = self.directory.actors.get(actor_id)
            each = have.get(actor_id)
            if actor is None or actor.state is ActorState.DEAD:
                continue
            if each is not None and (each.restarts, each.attempt) == (actor.restarts, actor.attempt):
                self._hear(actor, each)
            elif each is not None and each.restarts == actor.restarts:  # the last head gave that attempt up
                self._nodes.send(node_id, m.CancelStart(actor_id, each.attempt, self._epoch))
                self._start(actor.spec, actor.restarts)
            elif actor.state is ActorState.ALIVE or actor.worker is not None:
                reason = "its process ended while no head was there"
                self._apply(self.directory.process_ended(actor_id, actor.restarts, reason, intended=False))
            else:
                self._start(actor.spec, actor.restarts)
        for actor_id in have:
            if self.placement.places.get(actor_id) != node_id:
                reason = "the head does not want it there"
                self._nodes.send(node_id, m.StopActor(actor_id, graceful=False, reason=reason, epoch=self._epoch))

    def forget_removed(self, groups: list[str]) -> None:
        """Placement groups (hex) that were removed under the last head: nothing starts in them."""
        for group in groups:
            self.removed_groups.add(group, REMOVED_GROUP_BYTES)

    def _hear(self, actor: Actor, running: m.RunningActor) -> None:
        actor_id = actor.spec.actor_id
        if running.worker is None:
            return
        self._apply(self.directory.leased(actor_id, running.worker, running.pid))
        if running.phase == "alive":
            self._apply(self.directory.alive(actor_id, running.worker, running.pid, running.repr_name))
        if actor.scope_ended and actor.state is ActorState.ALIVE:
            self._stop(actor_id, "its last handle went out of scope", graceful=True)

    # --- from owners and handle holders -----------------------------------------------------------------------------

    def _on_register(self, peer: Any, message: m.RegisterActor) -> None:
        spec = _decode_spec(message.spec)
        is_known = spec.actor_id in self.directory.actors  # to the last head, whose answer was lost
        effects, error, existing = self.directory.register(spec, ready=message.ready)
        if existing is not None:
            self.reply(peer, m.ActorRegistered(message.rid, existing=encode(self.info(existing))))
            return
        if not error:
            self._subscribe(peer, spec.actor_id)
            self._outbox.touch(records.SPECS, spec.actor_id)
        self.reply(peer, m.ActorRegistered(message.rid, error=error, actor_id=b"" if error else spec.actor_id))
        if is_known:
            peer.post(self._update(self.directory.actors[spec.actor_id]))
        self._apply(effects)

    def _on_arguments(self, _peer: Any, message: m.ActorArgs) -> None:
        actor = self.directory.actors.get(message.actor_id)
        if actor is None:
            return
        spec = msgspec.structs.replace(actor.spec, args=message.args, extras=message.extras)
        self._outbox.touch(records.SPECS, message.actor_id)
        self._apply(self.directory.arguments(message.actor_id, spec, message.error))

    def _on_subscribe(self, peer: Any, message: m.SubscribeActor) -> None:
        self._subscribe(peer, message.actor_id)
        actor = self.directory.actors.get(message.actor_id)
        if actor is not None:
            peer.post(self._update(actor))
        else:  # a handle may arrive at its reader before the creator's registration arrives here
            self._call_later(UNKNOWN_WAIT_S, lambda: self._still_unknown(peer, message))

    def _still_unknown(self, peer: Any, message: m.SubscribeActor) -> None:
        if message.actor_id not in self.directory.actors and not peer.closed:
            context = errors.ActorDiedErrorContext(
                error_message="the cluster does not know this actor", actor_id=message.actor_id.hex()
            )
            error = errors.encode_error(errors.ActorDiedError(context), pickle.dumps)
            peer.post(m.ActorUpdate(message.actor_id, "DEAD", None, 0, error))
            self._subscribers.pop(message.actor_id, None)

    def _subscribe(self, peer: Any, actor_id: bytes) -> None:
        self._subscribers.setdefault(actor_id, {})[id(peer)] = peer

    def _on_get_by_name(self, peer: Any, message: m.GetActorByName) -> None:
        actor = self.directory.by_name(message.name, message.namespace)
        self.reply(peer, m.ActorFound(message.rid, encode(self.info(actor)) if actor is not None else None))

    def _on_kill(self, _peer: Any, message: m.KillActor) -> None:
        self._apply(self.directory.kill(message.actor_id, no_restart=message.no_restart))

    def _on_list(self, peer: Any, message: m.ListActors) -> None:
        found = self.directory.named(None if message.all_namespaces else message.namespace)
        self.reply(peer, m.ActorList(message.rid, [encode(self.info(actor)) for actor in found]))

    # --- from the raylet --------------------------------------------------------------------------------------------

    def _on_start(self, _peer: Any, message: m.ActorStart) -> None:
        directory, actor_id = self.directory, message.actor_id
        if not directory.is_current(actor_id, message.attempt):
            return
        if message.phase == "leased" and message.worker is not None:
            self.placement.scouts.settled(actor_id)
            self._apply(directory.leased(actor_id, message.worker, message.pid))
        elif message.phase == "alive" and message.worker is not None:
            self._apply(directory.alive(actor_id, message.worker, message.pid, message.repr_name))
        elif message.phase == "failed":
            self._apply(directory.failed(actor_id, message.error or b""))
        elif message.phase == "busy":
            actor = directory.actors.get(actor_id)
            if actor is not None and actor.state is not ActorState.DEAD:
                self.placement.busy(actor.spec, actor.restarts)
        elif message.phase == "elsewhere":  # its node knows another one that can run it
            actor = directory.actors.get(actor_id)
            if actor is not None and actor.state is not ActorState.DEAD:
                self._start(actor.spec, actor.restarts)
        else:
            self._apply(directory.refused(actor_id, message.reason, no_process=message.phase == "unstartable"))

    def _refused(self, actor_id: bytes, reason: str) -> None:
        self._apply(self.directory.refused(actor_id, reason))

    def _on_worker_died(self, _peer: Any, message: m.ActorWorkerDied) -> None:
        actor = self.directory.actors.get(message.actor_id)
        if not self.directory.is_current(message.actor_id, message.attempt):
            return
        if actor is not None and message.restarts == actor.restarts:
            actor.oom_error = self._oom_error(actor, message.reason) if message.oom else None
        effects = self.directory.process_ended(
            message.actor_id, message.restarts, message.reason, intended=message.intended
        )
        self._apply(effects)

    # --- effects ----------------------------------------------------------------------------------------------------

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Start(actor_id, restarts):
                    self._start(self.directory.actors[actor_id].spec, restarts)
                case Begin(actor_id, attempt):
                    place = self.placement.places.get(actor_id)
                    self._nodes.send_now(place, m.BeginActor(actor_id, attempt, self._epoch))
                case Stop(actor_id, graceful, reason):
                    self._stop(actor_id, reason, graceful=graceful)
                case Publish(actor_id):
                    self._publish(actor_id)
        for effect in effects:  # a Stop may follow the news of the death, and needs the place
            actor = self.directory.actors.get(effect.actor_id)
            if actor is None or actor.state is ActorState.DEAD:
                self.placement.forget(effect.actor_id)

    def _start(self, spec: ActorSpec, restarts: int) -> None:
        group = group_of(spec.lifetime_resources)
        if group and group in self.removed_groups:
            self._refused(spec.actor_id, f"its placement group {group} was removed")
        else:
            self.placement.start(spec, restarts)

    def _stop(self, actor_id: bytes, reason: str, *, graceful: bool) -> None:
        node_id = self.placement.stop(actor_id)
        if node_id:
            self._nodes.send(node_id, m.StopActor(actor_id, graceful, reason, self._epoch))
            return
        actor = self.directory.actors.get(actor_id)  # it waits for a node: there is no process to report its end
        if actor is not None and actor.state is not ActorState.DEAD:
            self._apply(self.directory.process_ended(actor_id, actor.restarts, reason, intended=True))

    def _publish(self, actor_id: bytes) -> None:
        actor = self.directory.actors.get(actor_id)
        if actor is None:
            return
        if actor.worker is not None:
            actor.node_id = self.placement.places.get(actor_id)
        update = self._update(actor)
        subscribers = self._subscribers.get(actor_id, {})
        for key, peer in list(subscribers.items()):
            if peer.closed:
                del subscribers[key]
            else:
                peer.post(update)
        if actor.state is ActorState.DEAD:
            self._subscribers.pop(actor_id, None)
        if actor.state in (ActorState.DEAD, ActorState.RESTARTING):
            for listener in self.on_process_gone:
                listener(actor_id)

    def _update(self, actor: Actor) -> m.ActorUpdate:
        error = self._death_error(actor) if actor.state is ActorState.DEAD else None
        if actor.state is ActorState.RESTARTING:
            error = actor.oom_error
        worker = actor.worker if actor.state is ActorState.ALIVE else None
        return m.ActorUpdate(actor.spec.actor_id, actor.state.value, worker, actor.restarts, error, actor.pid)

    def _death_error(self, actor: Actor) -> bytes:
        if actor.error:
            return actor.error
        if actor.death is ActorDeathReason.WORKER_DIED and actor.oom_error is not None:
            return actor.oom_error
        spec = actor.spec
        if actor.death is ActorDeathReason.WORKER_DIED and actor.never_started and not actor.no_process:
            return errors.encode_error(errors.ActorUnschedulableError(actor.death_text), pickle.dumps)
        context = errors.ActorDiedErrorContext(
            class_name=spec.class_name,
            actor_id=spec.actor_id.hex(),
            error_message=actor.death_text,
            pid=actor.pid,
            name=spec.name,
            ray_namespace=spec.namespace,
            node_ip_address=self._node_ip(actor),
            never_started=actor.never_started,
            preempted=actor.taken_away,
        )
        return errors.encode_error(errors.ActorDiedError(context), pickle.dumps)

    def _oom_error(self, actor: Actor, reason: str) -> bytes:
        error = errors.OutOfMemoryError(f"actor {actor.spec.class_name} ({actor.spec.actor_id.hex()}): {reason}")
        return errors.encode_error(error, pickle.dumps)

    def node_of(self, actor: Actor) -> NodeRecord | None:
        """Where it lives, or lived."""
        return self._nodes.nodes.get(actor.node_id)

    def _node_ip(self, actor: Actor) -> str:
        node = self.node_of(actor)
        return node.info.node_ip if node is not None else ""

    def info(self, actor: Actor) -> ActorInfo:
        """What others see of an actor."""
        worker = actor.worker if actor.state is ActorState.ALIVE else None
        return describe_actor(actor.spec, actor.state.value, worker, actor.pid, actor.restarts, actor.death_text)
