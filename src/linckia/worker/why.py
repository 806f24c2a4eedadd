"""Why is this ref not ready? Answered from what this process knows, and one question to the raylet (P 38a)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from linckia.base import errors
from linckia.protocol import messages as m
from linckia.worker.refs import BLOCK, ObjectRef
from linckia.worker.tasks import Peer, TaskRecord

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

ANSWER_TIMEOUT_S = 5.0
NOWHERE: tuple[int, Peer | None] = (0, None)
SIGN_OF_LIFE_S = 0.5  # a worker answers between two bytecodes of whatever it runs


class PendingReason(NamedTuple):
    """``kind``: ready, fetch, owner, dependency, resources, infeasible, worker_start, queued_behind, running,
    stalled, out_of_memory, retry or actor.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def why_pending(runtime: Runtime, ref: ObjectRef[Any]) -> PendingReason:
    """What the object waits for, now. Does not wait for it; costs at most one round trip, to the raylet or to the
    worker that has it.
    """
    with runtime.mutex:
        if ref.state == BLOCK and runtime.fetching.is_away(ref.value):
            return _away(runtime, ref)
        if ref.state:
            return PendingReason("ready", "it is ready: get() returns at once")
        extra = ref.extra
        if extra is not None and extra.owner is not None:
            return PendingReason("owner", f"its owner at {extra.owner.endpoint} has not made it yet; ask there")
        record = ref.value
        if not isinstance(record, TaskRecord):
            return PendingReason("owner", "no task of this process makes it")
        found = _dependency(record) or _pushed(record) or _pausing(runtime, record) or _actor(record)
        lease_rid, raylet = next(iter(record.queue.requests.items()), NOWHERE) if record.queue is not None else NOWHERE
        if raylet is None or raylet.closed:
            raylet = runtime.raylet_peer
        name, ahead, peer = record.template.name, _ahead(record), record.peer
    if found is not None and peer is not None:
        return _if_it_answers(runtime, peer, found)
    if found is not None:
        return found
    answer = runtime.call(raylet.conn, m.WhyPending(runtime.next_rid(), lease_rid), ANSWER_TIMEOUT_S)
    behind = f"; {ahead} tasks of the same shape are queued before it" if ahead else ""
    where = "" if raylet is runtime.raylet_peer else f"at node {raylet.address.worker_id.hex()[:8]} "
    return PendingReason(answer.kind, f"task {name} waits {where}for a worker: {answer.text}{behind}")


def _away(runtime: Runtime, ref: ObjectRef[Any]) -> PendingReason:
    """The value exists, but not in this node's memory."""
    block = ref.value
    size = f"{block.size / 1048576:.1f} MiB"
    if block.node_id == runtime.node_id:
        return PendingReason("fetch", f"it is on the disk of this node ({size}): get() reads it back")
    dead = runtime.raylets.dead.get(block.node_id)
    lost = f", which died: {dead}" if dead is not None else ""
    return PendingReason("fetch", f"it is on node {block.node_id.hex()[:8]} ({size}){lost}: get() brings it here")


def _if_it_answers(runtime: Runtime, peer: Peer, found: PendingReason) -> PendingReason:
    """What is known of a pushed task, unless the process that has it gives no sign of life."""
    try:
        runtime.call(peer.conn, m.Ping(runtime.next_rid()), SIGN_OF_LIFE_S)
    except errors.RaySystemError:
        return PendingReason(
            "stalled",
            f"{found.text}, but that process has not answered for {SIGN_OF_LIFE_S:g} s: it is stopped, swapped out, "
            "or in C code that holds the interpreter lock; cancel(ref, force=True) ends it",
        )
    return found


def _dependency(record: TaskRecord) -> PendingReason | None:
    if not record.waiting or record.options is None:
        return None
    pending = [slot for slot in record.options.slots if not slot.state]
    names = ", ".join(_maker(slot) for slot in pending[:3])
    more = f" and {len(pending) - 3} more" if len(pending) > 3 else ""
    return PendingReason(
        "dependency", f"task {record.template.name} waits for {len(pending)} of its arguments: {names}{more}"
    )


def _maker(ref: ObjectRef[Any]) -> str:
    record = ref.value
    if isinstance(record, TaskRecord):
        return f"{ref.hex()[:16]} made by {record.template.name}"
    return f"{ref.hex()[:16]} of another process"


def _pushed(record: TaskRecord) -> PendingReason | None:
    peer = record.peer
    if peer is None:
        return None
    place = f"worker {peer.address.worker_id.hex()[:8]}"
    if peer.actor is not None:
        place = f"actor {peer.actor.class_name} (pid {peer.actor.pid})"
    ahead = list(peer.tasks).index(record.task_id) if record.task_id in peer.tasks else 0
    if ahead and (peer.actor is None or not peer.actor.out_of_order):
        first = next(iter(peer.tasks.values())).template.name
        return PendingReason(
            "queued_behind", f"{record.template.name} is on {place} behind {ahead} calls, first {first}"
        )
    since = f" for {time.monotonic() - peer.lease.oldest_push_s:.1f} s" if peer.lease is not None else ""
    return PendingReason("running", f"{record.template.name} is running on {place}{since}")


def _actor(record: TaskRecord) -> PendingReason | None:
    client = record.actor
    if client is None:
        return None
    ahead = next((index for index, queued in enumerate(client.queue) if queued is record), 0)
    text = f"actor {client.class_name} is {client.state}"
    if ahead:
        text += f"; {ahead} earlier calls of this process wait too"
    return PendingReason("actor", f"{record.template.name} is not sent yet: {text}")


def _pausing(runtime: Runtime, record: TaskRecord) -> PendingReason | None:
    if id(record) not in runtime.retrying.paused:
        return None
    if not record.oom_deaths:
        text = f"{record.template.name} has failed {record.attempt} times; it is tried again after a pause"
        return PendingReason("retry", f"{text} (retry_backoff_s, or the retry budget of this process)")
    text = f"{record.template.name} was ended {record.oom_deaths} times because its node ran out of memory"
    return PendingReason("out_of_memory", f"{text}; it is tried again after a pause, which doubles")


def _ahead(record: TaskRecord) -> int:
    if record.queue is None:
        return 0
    return next((index for index, queued in enumerate(record.queue.queue) if queued is record), 0)
