"""An actor that waits for work in its own placement group, which that actor fills: nobody else can end this (P 31).

Asked by long_wait.py once a wait has lasted. Normal tasks give their CPU back while they wait; actors do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.core.placement.names import group_of, plain, split_index
from linckia.worker.tasks import TaskRecord

if TYPE_CHECKING:
    from linckia.worker.executor import Executor


def never_fits(executor: Executor, target: Any) -> str:
    """Why the awaited task can never start while this process waits for it; empty when it may."""
    record = getattr(getattr(target, "ref", target), "value", None)
    if executor.actor is None or not isinstance(record, TaskRecord) or record.queue is None:
        return ""
    need: dict[str, float] = record.queue.resources
    group = group_of(need)
    if not group or group_of(executor.assigned) != group:
        return ""
    index, wanted, mine = max(map(split_index, need)), plain(need), plain(executor.assigned)
    bundles: list[dict[str, float]] = executor.runtime.groups.bundles(bytes.fromhex(group))
    home = max(map(split_index, executor.assigned))
    for here in range(len(bundles)) if home < 0 else (home,):  # the bundle that this actor may be in
        left = [_less(bundle, mine) if number == here else bundle for number, bundle in enumerate(bundles)]
        candidates = left if index < 0 else [left[index]]
        if any(all(bundle.get(name, 0) >= amount for name, amount in wanted.items()) for bundle in candidates):
            return ""
    name, actor = record.template.name, executor.actor.spec.class_name
    return (
        f"deadlock: actor {actor} holds {plain(executor.assigned)} of placement group {group} and waits for {name}, "
        f"which needs {wanted} of the same group, and no bundle has more. Let {name} run outside of the group "
        "(PlacementGroupSchedulingStrategy(None), or placement_group_capture_child_tasks=False for the actor), give "
        "the group a bundle for it, or pass the ObjectRef on instead of calling get() on it"
    )


def _less(bundle: dict[str, float], held: dict[str, float]) -> dict[str, float]:
    return {name: amount - held.get(name, 0) for name, amount in bundle.items()}
