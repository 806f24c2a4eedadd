"""What the GCS knows of one actor. Pure; the directory of actors changes it.

Also what of it another head reads (gcs/records.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.core.actors.states import ACTOR_TABLE, ActorDeathReason

if TYPE_CHECKING:
    from linckia.model.specs import ActorSpec
    from linckia.model.wire import Address

ACTOR_RECORD_BYTES = 3000
"""Of a record without its class, arguments, errors and texts: measured."""


class Actor:
    """One actor's record. ``death`` is set once, with the state DEAD."""

    __slots__ = (
        "attempt",
        "death",
        "death_number",
        "death_text",
        "error",
        "killed",
        "may_have_begun",
        "no_process",
        "node_id",
        "oom_error",
        "pid",
        "preempted",
        "repr_name",
        "restarts",
        "scope_ended",
        "spec",
        "state",
        "taken_away",
        "worker",
    )

    def __init__(self, spec: ActorSpec) -> None:
        self.spec: Any = spec
        self.state = ACTOR_TABLE.initial
        self.restarts = 0
        self.attempt = 0  # of all to find a worker for it
        self.may_have_begun = False  # the constructor, on a node that may not be able to say so
        self.preempted = 0  # restarts because a machine was taken away: they do not count
        self.taken_away = False  # it died with such a machine
        self.worker: Address | None = None
        self.pid = 0
        self.repr_name = ""
        self.node_id = b""
        self.killed = False
        self.no_process = False
        self.scope_ended = False
        self.death: ActorDeathReason | None = None
        self.death_text = ""
        self.death_number = 0  # the dead in the order of their deaths, also for the next head
        self.oom_error: bytes | None = None  # encoded, when its last process was ended for want of memory
        self.error: bytes | None = None  # encoded by the worker when its constructor raised

    @property
    def never_started(self) -> bool:
        """Dead before any process was there."""
        return self.worker is None and self.restarts == 0


def record_bytes(actor: Actor) -> int:
    """What a dead actor's record takes in memory, about."""
    spec = actor.spec
    blobs = (spec.class_blob, spec.args, actor.error, actor.oom_error)
    return ACTOR_RECORD_BYTES + len(actor.death_text) + sum(len(blob) for blob in blobs if blob)
