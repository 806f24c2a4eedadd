"""What simulated user code does: data for tasks and actors, and their specs. No behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from linckia.model.specs import ActorSpec
from linckia.model.wire import Address


@dataclass(frozen=True)
class Script:
    """A task. ``keeps``: a reference to an argument outlives it; ``returns_refs``: its result contains references."""

    shape: tuple[tuple[str, float], ...] = (("CPU", 1.0),)
    duration_s: float = 0.01
    children: int = 0
    keeps: bool = False
    returns_refs: bool = False
    large: bool = False
    raises: bool = False
    max_retries: int = 0


@dataclass(frozen=True)
class ActorScript:
    """An actor."""

    name: str = ""
    detached: bool = False
    max_restarts: int = 0
    fails: bool = False
    cpus: float = 0.0
    start_s: float = 0.01


def actor_spec(actor_id: bytes, job_id: bytes, owner: Address, script: ActorScript) -> ActorSpec:
    """What the owner registers."""
    return ActorSpec(
        actor_id=actor_id,
        job_id=job_id,
        class_id=b"class",
        class_blob=b"",
        class_name="SimActor",
        class_module="sim",
        args=b"",
        extras=None,
        owner=owner,
        name=script.name,
        namespace="sim",
        detached=script.detached,
        get_if_exists=False,
        max_restarts=script.max_restarts,
        max_task_retries=0,
        max_concurrency=1,
        is_async=False,
        concurrency_groups={},
        max_pending_calls=-1,
        lifetime_resources={"CPU": script.cpus} if script.cpus else {},
        placement_resources={"CPU": 1.0},
        methods=[],
    )
