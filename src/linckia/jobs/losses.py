"""Why an attempt was lost: asked by a supervisor that finds an attempt open which it has not started itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from linckia.base import errors
from linckia.core.jobs.life import End
from linckia.core.jobs.states import AttemptCause
from linckia.core.workers.exits import ExitType
from linckia.host import session
from linckia.model.jobs import Attempt
from linckia.model.listing import decode_part
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

ASK_MAX_S = 10.0
TAIL_BYTES = 16 << 10
TAIL_LINES = 20


def loss_of(runtime: Runtime, attempt: Attempt) -> End:
    """How it ended, as well as it can be known: by its node's death, or by its supervisor's."""
    here = attempt.node_id == runtime.node_id.hex()
    # Nobody of the attempt lives here any more: the node ends a worker's group before it reports the worker's death.
    size = log_size(log_path(runtime, attempt.log)) if here else -1
    death = "" if here else _death_of_node(runtime, attempt.node_id)
    if death:
        return End(AttemptCause.SYSTEM, death, None, size)
    kind, detail = _exit_of(runtime, attempt)
    cause = AttemptCause.OUT_OF_MEMORY if kind == ExitType.NODE_OUT_OF_MEMORY.value else AttemptCause.SYSTEM
    return End(cause, f"its supervisor was lost{detail and ': '}{detail}, and its driver was ended with it", None, size)


def log_path(runtime: Runtime, name: str) -> str:
    """Of a log of this node."""
    return os.path.join(runtime.session_dir, "logs", name)


def log_size(path: str) -> int:
    """-1 when there is no such log."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def last_lines(path: str) -> str:
    """Of a log; empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return session.last_lines(file.read().decode(errors="replace"), TAIL_LINES)
    except OSError:
        return ""


def _death_of_node(runtime: Runtime, node_id: str) -> str:
    """Half a sentence; empty when it lives."""
    try:
        answer = runtime.call(runtime.raylet, m.ClusterQuery(runtime.next_rid(), "nodes"), ASK_MAX_S)
    except errors.RaySystemError:
        return ""
    for node in msgspec.msgpack.decode(answer.body):
        if node["node_id"].hex() == node_id:
            return "" if node["alive"] else f"its node is dead: {node['death_reason'] or 'it left the cluster'}"
    return "its node is gone"


def _exit_of(runtime: Runtime, attempt: Attempt) -> tuple[str, str]:
    """(exit type, detail) of the supervisor's worker, if its node remembers."""
    wanted = [("node_id", "=", attempt.node_id), ("pid", "=", attempt.supervisor_pid), ("is_alive", "=", False)]
    query = m.StateQuery(runtime.next_rid(), "workers", wanted, 1, ASK_MAX_S)
    try:
        rows = decode_part(runtime.call(runtime.raylet, query, ASK_MAX_S + 1).body).rows
    except (errors.RayError, ValueError):
        return "", ""
    return (str(rows[0]["exit_type"]), str(rows[0]["exit_detail"])) if rows else ("", "")
