"""Actors as the tests of their directory make, lose and look at them."""

from __future__ import annotations

from typing import Any

from linckia.core.actors.directory import ActorDirectory
from linckia.core.actors.states import ActorDeathReason, ActorState
from linckia.model.specs import ActorSpec
from linckia.model.wire import Address

OWNER = Address(b"owner", "unix:/owner")
W1, W2, W3 = (Address(f"w{n}".encode(), f"unix:/w{n}") for n in (1, 2, 3))
A, B = b"actor-a", b"actor-b"


def spec(actor_id: bytes = A, **changes: Any) -> ActorSpec:
    fields: dict[str, Any] = {
        "actor_id": actor_id, "job_id": b"job1", "class_id": b"c", "class_blob": b"", "class_name": "Actor",
        "class_module": "m", "args": b"", "extras": None, "owner": OWNER, "name": "", "namespace": "ns",
        "detached": False, "get_if_exists": False, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 1,
        "is_async": False, "concurrency_groups": {}, "max_pending_calls": -1, "lifetime_resources": {},
        "placement_resources": {"CPU": 1.0}, "methods": [],
    }  # fmt: skip
    return ActorSpec(**{**fields, **changes})


def alive(directory: ActorDirectory, worker: Address = W1, **changes: Any) -> None:
    """Register an actor and see it through its constructor."""
    actor = spec(**changes)
    directory.register(actor, ready=True)
    directory.leased(actor.actor_id, worker, 1)
    directory.alive(actor.actor_id, worker, 1, "")


def lose(directory: ActorDirectory, restarts: int, actor_id: bytes = A, *, intended: bool = False) -> list[Any]:
    return directory.process_ended(actor_id, restarts, "killed by signal 9", intended=intended)


def state(directory: ActorDirectory, actor_id: bytes = A) -> ActorState:
    return directory.actors[actor_id].state


def death(directory: ActorDirectory, actor_id: bytes = A) -> ActorDeathReason | None:
    return directory.actors[actor_id].death
