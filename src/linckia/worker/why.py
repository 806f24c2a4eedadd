"""Why is this ref not ready? Answered from what this process knows, and by whoever knows more: a raylet of its workers,
the head (gcs/why.py) of actors and placement groups (P 38a). Nothing here waits for longer than ``ANSWER_TIMEOUT_S``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from linckia.base import errors
from linckia.protocol import messages as m
from linckia.worker.refs import BLOCK, ObjectRef
from linckia.worker.tasks import Peer, TaskRecord

if TYPE_CHECKING:
    from linckia.worker.actor_client import ActorClient
    from linckia.worker.runtime import Runtime

ANSWER_TIMEOUT_S = 5.0
NO_HEAD = "no head answers, and only a head knows more"
NOWHERE: tuple[int, Peer | None] = (0, None)
SIGN_OF_LIFE_S = 0.5  # a worker answers between two bytecodes of whatever it runs


class PendingReason(NamedTuple):
    """``kind``: ready, fetch, owner, dependency, resources, infeasible, worker_start, queued_behind, running,
    stalled, out_of_memory, retry, actor or group.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


Question = Callable[[], PendingReason]
"""To be asked without the mutex."""


def why_pending(runtime: Runtime, ref: ObjectRef[Any]) -> PendingReason:
    """What the object waits for, now. Does not wait for it; costs at most one round trip, to the raylet, to the worker
    that has it or to the head, and one more for an actor, to the node that is to start it.
    """
    with runtime.mutex:
        found = _look(runtime, ref)
    return found if isinstance(found, PendingReason) else found()


def _look(runtime: Runtime, ref: ObjectRef[Any]) -> PendingReason | Question:
    """What is known here, or who to ask, which the mutex must not wait for."""
    if ref.state == BLOCK and runtime.fetching.is_away(ref.value):
        return _away(runtime, ref)
    if ref.state:
        return PendingReason("ready", "it is ready: get() returns at once")
    extra = ref.extra
    if extra is not None and extra.owner is not None:
        return PendingReason("owner", f"its owner at {extra.owner.endpoint} has not made it yet; ask there")
    record = ref.value
    if not isinstance(record, TaskRecord):
        group_id = runtime.groups.awaited_by(ref)
        if group_id:
            return partial(_of_group, runtime, group_id)
        return PendingReason("owner", "no task of this process makes it")
    found = _dependency(record) or _pushed(record) or _pausing(runtime, record)
    if found is not None:
        return found if record.peer is None else partial(_if_it_answers, runtime, record.peer, found)
    if record.actor is not None:
        return _not_sent(runtime, record, record.actor)
    return _of_lease(runtime, record)


def _of_lease(runtime: Runtime, record: TaskRecord) -> Question:
    """It waits for a worker: the raylet that was asked for one knows why."""
    lease_rid, raylet = next(iter(record.queue.requests.items()), NOWHERE) if record.queue is not None else NOWHERE
    if raylet is None or raylet.closed:
        raylet = runtime.raylet_peer
    where = "" if raylet is runtime.raylet_peer else f"at node {raylet.address.worker_id.hex()[:8]} "
    name, ahead, conn = record.template.name, _ahead(record), raylet.conn
    behind = f"; {ahead} tasks of the same shape are queued before it" if ahead else ""

    def ask() -> PendingReason:
        answer = runtime.call(conn, m.WhyPending(runtime.next_rid(), lease_rid), ANSWER_TIMEOUT_S)
        return PendingReason(answer.kind, f"task {name} waits {where}for a worker: {answer.text}{behind}")

    return ask


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
    return PendingReason("dependency", f"task {record.template.name} waits for {_arguments(record)}")


def _arguments(record: TaskRecord) -> str:
    """Those that are not there."""
    pending = [slot for slot in record.options.slots if not slot.state]
    names = ", ".join(_maker(slot) for slot in pending[:3])
    more = f" and {len(pending) - 3} more" if len(pending) > 3 else ""
    return f"{len(pending)} of its arguments: {names}{more}"


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


# --- actors and placement groups that are not there -------------------------------------------------------------------


def _not_sent(runtime: Runtime, record: TaskRecord, client: ActorClient) -> PendingReason | Question:
    """A call that is not with its actor. Without a way there the head knows more."""
    is_lost = any(lost is record for lost in client.lost)
    before = f"{record.template.name} {'was with a process that is gone' if is_lost else 'is not sent yet'}: actor"
    after, constructor = "", client.constructor
    if constructor is not None and constructor.record.waiting:
        after = f"; its constructor waits for {_arguments(constructor.record)}"
    ahead = next((index for index, queued in enumerate(client.queue) if queued is record), 0)
    if ahead:
        after += f"; {ahead} earlier calls of this process wait too"
    if client.peer is not None:
        return PendingReason("actor", f"{before} {client.class_name} is {client.state}{after}")

    def ask() -> PendingReason:
        return PendingReason("actor", f"{before} {client.class_name} {_of_actor(runtime, client)}{after}")

    return ask


def _of_actor(runtime: Runtime, client: ActorClient) -> str:
    """What the head says, and the node that the actor was sent to."""
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
    question = m.WhyAbsent(runtime.next_rid(), actor_id=client.actor_id)
    answer = _answer(runtime, runtime.raylet_peer, question, deadline_s)
    if answer is None:
        return f"is {client.state}, as it was heard last; {NO_HEAD}"
    if answer.kind == "ALIVE":
        lost = f": the last one is closed ({client.why_closed})" if client.why_closed else " yet"
        return f"{answer.text}; this process has no connection to it{lost}"
    if not answer.node_id:
        return answer.text
    with runtime.mutex:
        raylet = runtime.raylets.at(answer.node_id)
    there = _answer(runtime, raylet, m.WhyNoWorker(runtime.next_rid(), client.actor_id), deadline_s)
    if there is None:
        return f"{answer.text}; that node does not answer this one"
    return f"{answer.text}; it says: {there.text}"


def _of_group(runtime: Runtime, group_id: bytes) -> PendingReason:
    """What the head says."""
    question = m.WhyAbsent(runtime.next_rid(), group_id=group_id)
    answer = _answer(runtime, runtime.raylet_peer, question, time.monotonic() + ANSWER_TIMEOUT_S)
    if answer is None:
        return PendingReason("group", f"placement group {group_id.hex()} is not CREATED yet; {NO_HEAD}")
    return PendingReason("group", answer.text)


def _answer(runtime: Runtime, peer: Peer, question: m.Message, deadline_s: float) -> m.Pending | None:
    """None when nobody answers in time."""
    if peer.closed:
        return None
    try:
        answer: m.Pending = runtime.call(peer.conn, question, max(0.0, deadline_s - time.monotonic()))
    except errors.RaySystemError:
        return None
    return answer
