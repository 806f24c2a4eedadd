"""All actors of the cluster and what should happen to them next: the GCS's decisions, without I/O.

Events are methods; each returns effects for the shell (``gcs/actors.py``) to carry out: start or stop a process, tell
subscribers. The states and their moves are ``states.ACTOR_TABLE``. Restarts are counted here: a process that was lost
costs one, with a machine that was taken away none; an intended exit, a constructor error, a kill for good, the owner's
death and the end of scope end the actor (R 5.13-5.25). Messages about an earlier incarnation are recognised by
``restarts`` and ignored.

A start has two phases. A node is asked (``attempted``) and says which worker it has (``leased``); the constructor runs
only when it is told to *begin*. Until then the same incarnation may be asked of another node, at no cost: what a node
that nobody hears was asked never begins there. Attempts are counted, so that what is late is recognised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from linckia.base.callbacks import nobody_cares
from linckia.base.limits import DEAD_ACTORS_MAX_BYTES
from linckia.core.actors.owners import Owners
from linckia.core.actors.record import Actor, record_bytes
from linckia.core.actors.states import ACTOR_TABLE, ActorDeathReason, ActorEvent, ActorState
from linckia.core.placement.names import group_of
from linckia.core.tables.budget import Ledger
from linckia.core.tables.relation import Relation

if TYPE_CHECKING:
    from linckia.model.specs import ActorSpec
    from linckia.model.wire import Address

S, E, D = ActorState, ActorEvent, ActorDeathReason
LIVE = (S.DEPENDENCIES_UNREADY, S.PENDING_CREATION, S.ALIVE, S.RESTARTING)


@dataclass(frozen=True, slots=True)
class Start:
    """Find a worker for this incarnation and run the constructor there."""

    actor_id: bytes
    restarts: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Let the constructor run on the worker that was found."""

    actor_id: bytes
    attempt: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the actor's process: after its submitted calls, or now."""

    actor_id: bytes
    graceful: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell subscribers the actor's state."""

    actor_id: bytes


Effect = Start | Begin | Stop | Publish


class ActorDirectory:
    """The table of actors with its indexes by name, owner and placement group. ``on_change(actor_id)`` is called
    whenever a record is new, other than before, or gone.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[bytes], None] = nobody_cares
        self.actors: dict[bytes, Actor] = {}
        self.names: dict[tuple[str, str], bytes] = {}
        self.owners = Owners()
        self.groups: Relation[bytes, str] = Relation("")  # living actors by their placement group (hex)
        self.dead: Ledger[bytes] = Ledger(DEAD_ACTORS_MAX_BYTES, "those that died first")
        self._deaths = 0

    # --- registration -----------------------------------------------------------------------------------------------

    def register(self, spec: ActorSpec, *, ready: bool) -> tuple[list[Effect], str, Actor | None]:
        """(effects, error, existing): a taken name is an error, or with ``get_if_exists`` the actor that has it.
        Idempotent by id.
        """
        if spec.actor_id in self.actors:
            return [], "", None
        if spec.name:
            holder = self.by_name(spec.name, spec.namespace)
            if holder is not None:
                if spec.get_if_exists:
                    return [], "", holder
                return [], f"an actor named {spec.name!r} exists in namespace {spec.namespace!r} already", None
            self.names[spec.namespace, spec.name] = spec.actor_id
        actor = self.actors[spec.actor_id] = Actor(spec)
        self.on_change(spec.actor_id)
        self._lives(spec)
        return (self._begin(actor) if ready else []), "", None

    def arguments(self, actor_id: bytes, spec: ActorSpec | None, error: bytes | None) -> list[Effect]:
        """The constructor's arguments arrived (in ``spec``), or one of them failed."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is not S.DEPENDENCIES_UNREADY:
            return []
        if error is not None:
            actor.error = error
            return self._die(actor, D.CREATION_FAILED, "an argument of its constructor failed")
        actor.spec = spec or actor.spec
        return self._begin(actor)

    def _begin(self, actor: Actor) -> list[Effect]:
        self._move(actor, E.DEPENDENCIES_READY)
        return [Start(actor.spec.actor_id, 0)]

    # --- the process ------------------------------------------------------------------------------------------------

    def attempted(self, actor_id: bytes) -> int:
        """A node is about to be asked, and none of those that were asked before counts any more. The attempt's number;
        0: there is no such actor.
        """
        actor = self.actors.get(actor_id)
        if actor is None:
            return 0
        actor.attempt += 1
        actor.may_have_begun = False
        self.on_change(actor_id)
        return actor.attempt

    def is_current(self, actor_id: bytes, attempt: int) -> bool:
        """What is said of this attempt is no old news."""
        actor = self.actors.get(actor_id)
        return actor is None or actor.attempt == attempt

    def withdrawn(self, actor_id: bytes) -> int:
        """The node that was asked shall not begin: the attempt to cancel there, which means nothing from now on. 0: it
        may have begun.
        """
        actor = self.actors.get(actor_id)
        if actor is None or actor.state not in (S.PENDING_CREATION, S.RESTARTING) or actor.may_have_begun:
            return 0
        actor.attempt += 1
        self.on_change(actor_id)
        return actor.attempt - 1

    def leased(self, actor_id: bytes, worker: Address, pid: int) -> list[Effect]:
        """The current attempt has found a worker: the constructor may run there."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is S.DEAD:
            return [Stop(actor_id, graceful=False, reason="the actor is dead")]
        if actor.state not in (S.PENDING_CREATION, S.RESTARTING):
            return []
        actor.worker, actor.pid, actor.may_have_begun = worker, pid, True
        self.on_change(actor_id)
        return [Begin(actor_id, actor.attempt)]

    def alive(self, actor_id: bytes, worker: Address, pid: int, repr_name: str) -> list[Effect]:
        """The constructor returned. Said twice, or of a worker that is gone: no news."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is S.DEAD:
            return [Stop(actor_id, graceful=False, reason="the actor is dead")]
        if actor.worker != worker or actor.state is S.ALIVE:
            return []
        actor.pid, actor.repr_name = pid, repr_name
        self._move(actor, E.CREATED)
        effects: list[Effect] = [Publish(actor_id)]
        if actor.scope_ended:
            effects.append(Stop(actor_id, graceful=True, reason="its last handle went out of scope"))
        return effects

    def failed(self, actor_id: bytes, error: bytes) -> list[Effect]:
        """The constructor raised: never restarted."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is S.DEAD:
            return []
        actor.error = error
        return self._die(actor, D.CREATION_FAILED, "its constructor raised an exception")

    def refused(self, actor_id: bytes, reason: str, *, no_process: bool = False) -> list[Effect]:
        """No worker can ever be found for it, or (``no_process``) none could be started."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is S.DEAD:
            return []
        actor.no_process = no_process
        return self._die(actor, D.WORKER_DIED, reason)

    def node_lost(self, actor_id: bytes, reason: str, *, preempted: bool) -> list[Effect]:
        """The node that it was sent to is dead: what has not begun there begins elsewhere, and costs nothing."""
        actor = self.actors.get(actor_id)
        if actor is None:
            return []
        if not actor.scope_ended and self.withdrawn(actor_id):
            return [Start(actor_id, actor.restarts)]
        return self.process_ended(actor_id, actor.restarts, reason, intended=False, preempted=preempted)

    def process_ended(
        self, actor_id: bytes, restarts: int, reason: str, *, intended: bool, preempted: bool = False
    ) -> list[Effect]:
        """The process of incarnation ``restarts`` is gone; ``preempted``: with a machine that was taken away."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is S.DEAD or restarts != actor.restarts:
            return []
        if actor.killed:
            return self._die(actor, D.RAY_KILL, "it was killed with linckia.kill()")
        if actor.scope_ended:
            return self._die(actor, D.OUT_OF_SCOPE, "its last handle went out of scope")
        if intended:
            return self._die(actor, D.INTENDED_EXIT, reason)
        limit = actor.spec.max_restarts
        actor.preempted += preempted
        actor.taken_away = preempted
        if limit == 0 or (limit > 0 and actor.restarts - actor.preempted >= limit):
            return self._die(actor, D.WORKER_DIED, reason)
        self._move(actor, E.RESTART)
        actor.restarts += 1
        actor.worker, actor.pid = None, 0
        return [Publish(actor_id), Start(actor_id, actor.restarts)]

    # --- the end ----------------------------------------------------------------------------------------------------

    def kill(
        self, actor_id: bytes, *, no_restart: bool, reason: str = "it was killed with linckia.kill()"
    ) -> list[Effect]:
        """``linckia.kill``: for good, or to be restarted."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is S.DEAD:
            return []
        stop = Stop(actor_id, graceful=False, reason=reason)
        if no_restart:
            actor.killed = True
            return [*self._die(actor, D.RAY_KILL, reason), stop]
        return [stop] if actor.worker is not None else []  # between two processes there is none to kill

    def out_of_scope(self, actor_id: bytes) -> list[Effect]:
        """No strong handle is left and the owner's calls are done: end when what was submitted is done."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is S.DEAD or actor.spec.detached:
            return []
        actor.scope_ended = True
        self.on_change(actor_id)
        if actor.state is S.ALIVE:
            return [Stop(actor_id, graceful=True, reason="its last handle went out of scope")]
        if actor.state is S.DEPENDENCIES_UNREADY:
            return self._die(actor, D.OUT_OF_SCOPE, "its last handle went out of scope")
        return []

    @staticmethod
    def may_return(actor: Actor) -> bool:
        """It is dead, and `revive` may be asked to have it back: its class and arguments are kept."""
        limit = actor.spec.max_restarts
        return actor.death is D.OUT_OF_SCOPE and not 0 <= limit <= actor.restarts - actor.preempted

    def revive(self, actor_id: bytes) -> list[Effect]:
        """A lost object needs a method of it again (R 3.22): only what ended out of scope comes back, at the cost of a
        restart. Nothing when that cannot be.
        """
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is not S.DEAD or not self.may_return(actor):
            return []
        name = (actor.spec.namespace, actor.spec.name)
        if actor.spec.name and name in self.names:
            return []
        self._move(actor, E.REVIVE)
        self.dead.remove(actor_id)
        actor.restarts += 1
        actor.worker, actor.pid, actor.death, actor.scope_ended = None, 0, None, False
        self._lives(actor.spec)
        if actor.spec.name:
            self.names[name] = actor_id
        return [Publish(actor_id), Start(actor_id, actor.restarts)]

    def owner_ended(self, worker_id: bytes) -> list[Effect]:
        """A process is gone: the actors it created go with it, detached ones excepted."""
        effects: list[Effect] = []
        for actor_id in sorted(self.owners.actors_of(worker_id)):
            effects += self._die(self.actors[actor_id], D.OWNER_DIED, "the process that created it is gone")
            effects.append(Stop(actor_id, graceful=False, reason="the process that created it is gone"))
        return effects

    def _lives(self, spec: ActorSpec) -> None:
        self.owners.add(spec)
        group = group_of(spec.lifetime_resources)
        if group:
            self.groups.put(spec.actor_id, group)

    def _die(self, actor: Actor, reason: ActorDeathReason, text: str) -> list[Effect]:
        self._move(actor, E.DIE)
        actor.death, actor.death_text = reason, text
        spec = actor.spec
        if spec.name and self.names.get((spec.namespace, spec.name)) == spec.actor_id:
            del self.names[spec.namespace, spec.name]
        self.owners.discard(spec)
        self.groups.pop(spec.actor_id)
        if spec.class_blob and not self.may_return(actor):
            actor.spec = msgspec.structs.replace(spec, class_blob=b"", args=b"", extras=None, methods=[])
        self._deaths += 1
        actor.death_number = self._deaths
        self._bury(actor)
        return [Publish(spec.actor_id)]

    def _bury(self, actor: Actor) -> None:
        """Remembered as long as there is room; those that died first go first."""
        for oldest in self.dead.add(actor.spec.actor_id, record_bytes(actor)):
            del self.actors[oldest]
            self.on_change(oldest)

    def _move(self, actor: Actor, event: ActorEvent) -> None:
        actor.state = ACTOR_TABLE.next(actor.state, event, actor.spec.actor_id.hex())
        self.on_change(actor.spec.actor_id)

    # --- another head -----------------------------------------------------------------------------------------------

    def restore(self, actor: Actor) -> None:
        """An actor as the last head knew it; before anything happens here. The dead in the order of their deaths."""
        spec = actor.spec
        actor.may_have_begun = True  # the last head may have said so
        self.actors[spec.actor_id] = actor
        if actor.state is S.DEAD:
            self._deaths = max(self._deaths, actor.death_number)
            self._bury(actor)
            return
        if spec.name:
            self.names[spec.namespace, spec.name] = spec.actor_id
        self._lives(spec)

    # --- look-ups ---------------------------------------------------------------------------------------------------

    def by_name(self, name: str, namespace: str) -> Actor | None:
        """The live actor of that name."""
        actor_id = self.names.get((namespace, name))
        return self.actors.get(actor_id) if actor_id is not None else None

    def named(self, namespace: str | None) -> list[Actor]:
        """Live named actors of a namespace (None: of all)."""
        return [self.actors[actor_id] for (space, _), actor_id in self.names.items() if namespace in (None, space)]
