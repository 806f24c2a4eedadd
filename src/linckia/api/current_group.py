"""The placement group that the calling code runs in, and whether its children shall run there too (R 6.16, 6.20).

What a worker holds says it: amounts of a bundle carry their group in their names. Read by `util` and by the options.
"""

from __future__ import annotations

from typing import Any

from linckia.worker import current


def current_group_id() -> str:
    """Hex id; empty outside of groups, and on drivers."""
    runtime = current.runtime
    executor = getattr(runtime, "executor", None)
    if executor is None:
        return ""
    from linckia.core.placement.names import group_of  # noqa: PLC0415  (start-up time)

    return group_of(executor.assigned)


def captures_children() -> bool:
    """True when the running task or actor was told to keep its children in its group."""
    runtime = current.runtime
    executor = getattr(runtime, "executor", None)
    if executor is None:
        return False
    if executor.actor is not None:
        return bool(executor.actor.spec.capture_child_tasks)
    template = executor.current_template or _running_template(executor)
    return template is not None and bool(template.definition.capture_child_tasks)


def _running_template(executor: Any) -> Any:
    context = executor.context()
    if context is None or context.push is None or context.peer is None:
        return None
    return context.peer.templates.get(context.push.template)
