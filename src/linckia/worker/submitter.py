"""Normal tasks, the caller's side: queue, lease, push, pipeline, take back, retry. The hot path of section 4.

Hand-flattened on purpose (architecture.md, section 3): per task one record, one ref, two list appends and one dict
entry. Everything here runs under ``Runtime.mutex``; nothing blocks; user code is never called. The lease protocol is
described in ``protocol/messages.py``; who gets a worker is the raylet's decision, how many tasks it is sent at once
is ours.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.model.wire import PushExtras
from linckia.protocol import messages as m
from linckia.worker.crashes import REFUSALS, after_oom, crash_error
from linckia.worker.locality import key_near
from linckia.worker.tasks import Lease, Peer, SchedulingKey, TaskRecord

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

FLUSH_COUNT = 64
DEPTH_MAX = 256
DEPTH_TARGET_S = 0.004  # keep about this much work pushed to one worker
LEASE_IDLE_S = 0.5  # drivers keep an idle worker so long (R 4.3)
NESTED_LEASE_IDLE_S = 0.01  # workers as owners: others usually wait for the CPU
TAKE_BACK_AFTER_S = 0.01
REQUESTS_MAX = 10  # outstanding lease requests per key
BROKEN_WAIT_S = 1.0  # how long to wait for the raylet's word on why a worker's socket closed


class Submitter:
    """One per runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.keys: dict[Any, SchedulingKey] = {}
        self.requests: dict[int, SchedulingKey] = {}
        self.leases: dict[tuple[bytes, int], Lease] = {}  # by (node that granted it, its number there)
        self._tick: Any = None
        self._tick_soon = False  # the tick under way comes within TAKE_BACK_AFTER_S

    @property
    def idle_s(self) -> float:
        """How long an idle lease is kept."""
        return LEASE_IDLE_S if self.runtime.executor is None else NESTED_LEASE_IDLE_S

    def key_for(
        self, resources: dict[str, float], strategy: bytes = b"", runtime_env: str = "", *, retriable: bool = True
    ) -> SchedulingKey:
        """The scheduling key of a shape; made once. ``runtime_env`` is its JSON."""
        shape = (tuple(sorted(resources.items())), strategy, runtime_env, retriable)
        key = self.keys.get(shape)
        if key is None:
            key = self.keys[shape] = SchedulingKey(resources, strategy)
            key.runtime_env, key.retriable = runtime_env.encode(), retriable
        return key

    # --- submit and push -------------------------------------------------------------------------------------------

    def enqueue(self, record: TaskRecord) -> None:
        """The task's arguments are ready: push it, or queue it and see to workers."""
        key: SchedulingKey = record.template.key
        if record.extras is not None and record.extras.dependencies and self.runtime.raylets.nodes and not key.strategy:
            key = key_near(self.runtime, key, record.extras.dependencies)
        if key.idle and not key.queue:
            self.push(key.idle.pop(), record)
            return
        record.queue = key
        key.queue.append(record)
        if key.leases:
            self._fill(key)
        if key.queue or len(key.leases) < 2:
            self._want_workers(key)

    def push(self, lease: Lease, record: TaskRecord) -> None:
        """Put the task on the lease's connection. Flushes when the worker was idle or enough has gathered."""
        peer = lease.peer
        conn = peer.conn
        tasks = peer.tasks
        if not tasks:
            lease.oldest_push_s = time.monotonic()
        template = record.template
        record.peer, record.queue = peer, None
        was_idle = not tasks
        tasks[record.task_id] = record
        if template.index not in peer.known:
            self.runtime.introduce(peer, template)
        if record.extras is not None and record.extras.dependencies:
            self.runtime.spilling.claim(record)
        push = m.Push(record.task_id, template.index, record.args, record.extras)
        conn.outbox.append(push)  # not in one line: see Connection.outbox
        if was_idle or len(conn.outbox) >= FLUSH_COUNT:
            conn.flush()
        else:
            conn.mark_dirty()

    def _fill(self, key: SchedulingKey) -> None:
        """Hand out queued tasks to leases with room, evenly."""
        queue = key.queue
        while queue and key.idle:
            self.push(key.idle.pop(), queue.popleft())
        depth = key.depth
        if not queue or depth <= 1 or key.spread:
            return
        for lease in key.leases:
            if lease.stalled or lease.recalled or lease.closing or lease.taking_back:
                continue
            room = depth - len(lease.peer.tasks)
            if room > 0 and not self._tick_soon:
                self._schedule_tick()  # what is pushed behind a running task may have to be taken back
            while room > 0 and queue:
                self.push(lease, queue.popleft())
                room -= 1
            if not queue:
                return

    def after_answers(self, peer: Peer) -> None:
        """Some of the peer's tasks are done: refill it, or note that it is idle."""
        lease = peer.lease
        if lease is None or lease.closing:
            return
        key = lease.key
        tasks = peer.tasks
        lease.taking_back = False
        lease.oldest_push_s = time.monotonic()
        if key.queue and not lease.recalled and not lease.stalled:
            room = key.depth - len(tasks) if not key.spread else 0
            queue = key.queue
            if room > 0:
                while room > 0 and queue:
                    self.push(lease, queue.popleft())
                    room -= 1
                peer.conn.flush()
        if not tasks:
            lease.stalled = False
            if lease.recalled or key.spread:
                self._return(lease)
            elif lease not in key.idle:
                lease.idle_since = time.monotonic()
                key.idle.append(lease)
                if self._tick is None:
                    self._schedule_tick()
        if not key.queue and key.requests:
            self._cancel_requests(key)

    def on_batch_time(self, peer: Peer, message: m.BatchTime) -> None:
        """Adapt pipelining to how long this key's tasks run."""
        lease = peer.lease
        if lease is None or message.count <= 0:
            return
        key = lease.key
        mean = message.total_s / message.count
        key.run_time_s = mean if key.run_time_s < 0 else 0.6 * key.run_time_s + 0.4 * mean
        key.depth = max(1, min(DEPTH_MAX, int(DEPTH_TARGET_S / max(key.run_time_s, 1e-6))))

    # --- leases ------------------------------------------------------------------------------------------------------

    def _want_workers(self, key: SchedulingKey) -> None:
        wanted = min(REQUESTS_MAX, len(key.queue))
        if not wanted and not key.leases and not key.requests:
            wanted = 1
        if not wanted or len(key.requests) >= wanted:
            return
        if key.leases and key.requests and len(key.queue) < 4 * len(key.requests) and not key.spread:
            return
        runtime = self.runtime
        raylet = runtime.raylet_peer
        if key.preferred:
            nearest = runtime.raylets.at(key.preferred)
            raylet = raylet if nearest.closed else nearest
        for _ in range(wanted - len(key.requests)):
            rid = runtime.next_rid()
            self.requests[rid] = key
            self._ask(key, rid, raylet, 0)
        raylet.conn.flush()
        self._schedule_tick()

    def _ask(self, key: SchedulingKey, rid: int, raylet: Peer, hops: int) -> None:
        """Send one request, first to the raylet nearest to us or to the arguments, then where raylets point."""
        key.requests[rid] = raylet
        runtime = self.runtime
        raylet.conn.post(
            m.RequestLease(
                rid,
                key.resources,
                len(key.queue),
                runtime.job_id,
                nested=runtime.executor is not None,
                runtime_env=key.runtime_env,
                strategy=key.strategy,
                name=key.queue[0].template.name if key.queue else "",
                preferred=key.preferred,
                hops=hops,
                retriable=key.retriable,
            )
        )

    def on_spilled(self, _peer: Peer, message: m.LeaseSpilled) -> None:
        """That raylet knows a better node: ask there; if it cannot be reached, begin again."""
        key = self.requests.pop(message.rid, None)
        if key is None or key.requests.pop(message.rid, None) is None:
            return
        raylet = self.runtime.raylets.at(message.node_id, message.endpoint)
        if raylet.closed:
            self._ask_anew(key, message.rid)
        else:  # by a new number: who is asked a second time must not take it for a retry
            self.requests[rid := self.runtime.next_rid()] = key
            self._ask(key, rid, raylet, message.hops)

    def _ask_anew(self, key: SchedulingKey, rid: int) -> None:
        """The raylet that was asked is gone: another request takes its place."""
        self.requests.pop(rid, None)
        key.requests.pop(rid, None)
        if key.queue:
            self._want_workers(key)

    def ask_elsewhere(self, node_id: bytes) -> None:
        """That raylet does not answer: what was asked there is asked anew. A grant that comes late is given back."""
        for rid, key in list(self.requests.items()):
            if rid in key.requests and key.requests[rid].address.worker_id == node_id:
                self._ask_anew(key, rid)

    def raylet_gone(self, node_id: bytes, why: str) -> None:
        """A node, or the way to it, is gone: its leases are broken, what was asked there is asked anew."""
        self.ask_elsewhere(node_id)
        for lease in [lease for (where, _), lease in self.leases.items() if where == node_id]:
            lease.broken = m.LeaseBroken(lease.lease_id, lease.peer.address.worker_id, why)
            lease.node_died = True
            if not lease.peer.closed:
                lease.peer.conn.close(why)
            elif self.lease_of(lease.raylet, lease.lease_id) is lease:
                self._bury(lease)

    def lease_of(self, raylet: Peer, lease_id: int) -> Lease | None:
        """A lease by who granted it and its number there."""
        return self.leases.get((raylet.address.worker_id, lease_id))

    def _cancel_requests(self, key: SchedulingKey) -> None:
        for rid, raylet in key.requests.items():
            self.requests.pop(rid, None)
            if not raylet.closed:
                raylet.conn.post(m.CancelLease(rid))
        key.requests.clear()

    def on_granted(self, raylet: Peer, message: m.LeaseGranted) -> None:
        """A worker is ours, or comes too late. An answer that comes twice is no second lease."""
        if self.lease_of(raylet, message.lease_id) is not None:
            return
        key = self.requests.pop(message.rid, None)
        if key is None or (not key.queue and key.leases):
            raylet.conn.post(m.ReturnLease(message.lease_id))
            if key is not None:
                key.requests.pop(message.rid, None)
            return
        key.requests.pop(message.rid, None)
        peer = self.runtime.peer(message.worker, fresh=True)
        lease = Lease(message.lease_id, peer, key, raylet)
        peer.lease = lease
        self.leases[raylet.address.worker_id, message.lease_id] = lease
        key.leases.append(lease)
        if peer.closed:
            self.on_peer_closed(peer)
            return
        peer.conn.post(m.LeaseInfo(message.assigned))  # always: its last lease may have been somebody else's
        if key.queue:
            for _ in range(max(1, min(key.depth, key.share))):
                self.push(lease, key.queue.popleft())
        else:
            lease.idle_since = time.monotonic()
            key.idle.append(lease)
        self._schedule_tick()
        if key.queue:
            self._want_workers(key)

    def on_refused(self, message: m.LeaseRefused) -> None:
        """Final: what waits in the key fails."""
        key = self.requests.pop(message.rid, None)
        if key is None:
            return
        key.requests.pop(message.rid, None)
        if key.leases:
            return
        error = REFUSALS.get(message.kind, errors.RaySystemError)(message.reason)
        while key.queue:
            self.runtime.fail(key.queue.popleft(), error)

    def on_recall(self, raylet: Peer, message: m.RecallLease) -> None:
        """Others wait for this worker."""
        lease = self.lease_of(raylet, message.lease_id)
        if lease is None:
            return
        if not lease.peer.tasks and (not lease.key.queue or len(lease.key.leases) > 1):
            self._return(lease)
            return
        lease.recalled = True
        if len(lease.peer.tasks) > 1:
            lease.peer.conn.send(m.TakeBack(len(lease.peer.tasks)))
        if lease in lease.key.idle:
            lease.key.idle.remove(lease)
            self._return(lease)

    def _return(self, lease: Lease, *, reusable: bool = True) -> None:
        self._drop(lease)
        if not lease.raylet.closed:
            lease.raylet.conn.send(m.ReturnLease(lease.lease_id, reusable))
        key = lease.key
        if key.queue and (key.spread or not key.leases):
            self._want_workers(key)

    def _drop(self, lease: Lease) -> None:
        lease.closing = True
        lease.peer.lease = None
        self.leases.pop((lease.raylet.address.worker_id, lease.lease_id), None)
        if lease in lease.key.leases:
            lease.key.leases.remove(lease)
        if lease in lease.key.idle:
            lease.key.idle.remove(lease)

    # --- time: idle leases, take-back -------------------------------------------------------------------------------

    def _schedule_tick(self) -> None:
        if self._tick_soon:
            return
        if self._tick is not None:
            self._tick.cancel()  # it would come after LEASE_IDLE_S
        self._tick_soon = True
        self._tick = self.runtime.reactor.call_later(TAKE_BACK_AFTER_S, self._on_tick)

    def _on_tick(self) -> None:
        with self.runtime.mutex:
            self._tick, self._tick_soon = None, False
            now = time.monotonic()
            idle_s = next_s = self.idle_s
            for lease in list(self.leases.values()):
                key = lease.key
                if not lease.peer.tasks:
                    if now - lease.idle_since >= idle_s and not key.queue:
                        self._return(lease)
                elif len(lease.peer.tasks) > 1 and not lease.stalled:
                    next_s = TAKE_BACK_AFTER_S
                    if now - lease.oldest_push_s > TAKE_BACK_AFTER_S and not lease.taking_back:
                        lease.taking_back = True  # until it answers: nothing more goes behind a task that is long
                        lease.peer.conn.send(m.TakeBack(len(lease.peer.tasks) - 1))
            if self.leases and self._tick is None:
                self._tick_soon = next_s <= TAKE_BACK_AFTER_S
                self._tick = self.runtime.reactor.call_later(next_s, self._on_tick)

    def on_taken_back(self, peer: Peer, message: m.TakenBack) -> None:
        """The worker gave these back unstarted; ``stalled``: its running task waits for something."""
        lease = peer.lease
        if lease is None:
            return
        lease.stalled = lease.stalled or message.stalled
        lease.oldest_push_s = time.monotonic()
        key = lease.key
        self._requeue(peer, message.task_ids, key)
        if lease.recalled and not peer.tasks:
            self._return(lease)
        elif not peer.tasks and not lease.stalled and lease not in key.idle:
            key.idle.append(lease)
        self._fill(key)
        if key.queue:
            self._want_workers(key)

    def on_resumed(self, peer: Peer) -> None:
        """The worker's task goes on."""
        if peer.lease is not None:
            peer.lease.stalled = False

    def on_worker_exiting(self, peer: Peer, message: m.WorkerExiting) -> None:
        """The worker ends by intention: move what it did not start."""
        lease = peer.lease
        if lease is None:
            return
        key = lease.key
        self._requeue(peer, list(peer.tasks), key)  # what it lists, and what was on its way to it
        self._return(lease, reusable=False)
        self._fill(key)
        if key.queue:
            self._want_workers(key)

    def _requeue(self, peer: Peer, task_ids: list[bytes], key: SchedulingKey) -> None:
        for task_id in reversed(task_ids):
            record = peer.tasks.pop(task_id, None)
            if record is None:
                continue
            record.peer = None
            if record.cancelled:  # the cancel reached the worker after the worker had given the task back
                self.runtime.fail(record, errors.TaskCancelledError(error_message="it was cancelled before it started"))
                continue
            record.queue = key
            key.queue.appendleft(record)

    # --- death of workers -------------------------------------------------------------------------------------------

    def on_broken(self, raylet: Peer, message: m.LeaseBroken) -> None:
        """The raylet's word on a dead worker. Answers that it sent before are read first."""
        lease = self.lease_of(raylet, message.lease_id)
        if lease is None:
            return
        lease.broken = message
        peer = lease.peer
        if not peer.closed:
            peer.conn.close(message.reason)  # drains first, see Runtime.on_close
        else:
            self._bury(lease)

    def on_peer_closed(self, peer: Peer) -> None:
        """The worker's socket closed; the raylet's reason follows, or does not within BROKEN_WAIT_S."""
        lease = peer.lease
        if lease is None:
            return
        if lease.broken is not None or not peer.tasks or not peer.conn.established:
            self._bury(lease)
            return
        if lease in lease.key.idle:
            lease.key.idle.remove(lease)
        lease.stalled = True

        def give_up() -> None:
            with self.runtime.mutex:
                if self.lease_of(lease.raylet, lease.lease_id) is lease:
                    self._bury(lease)

        self.runtime.reactor.call_later(BROKEN_WAIT_S, give_up)

    def _bury(self, lease: Lease) -> None:
        """Decide for each task of a dead worker: the oldest may have run, the others were not started."""
        key, peer, broken = lease.key, lease.peer, lease.broken
        shortage = peer.conn.shortage if peer.conn is not None else ""
        self._drop(lease)
        if not lease.raylet.closed:
            lease.raylet.conn.post(m.ReturnLease(lease.lease_id, reusable=bool(shortage)))
        records = list(peer.tasks.values())
        peer.tasks.clear()
        refuse = bool(shortage) and not any(other.peer.conn.established for other in key.leases)
        if refuse:  # no worker is left that runs them
            records += key.queue
            key.queue.clear()
        reason = broken.reason if broken else f"worker {peer.address.worker_id.hex()[:8]} closed its connection"
        again: list[TaskRecord] = []
        preempted = lease.raylet.address.worker_id in self.runtime.raylets.preempted  # costs no retry (R 4.21)
        for position, record in enumerate(records):
            record.peer = None
            if record.cancelled:
                self.runtime.fail(record, errors.TaskCancelledError(error_message="the task was cancelled by force"))
            elif refuse:
                self.runtime.fail(record, errors.RaySystemError(f"no worker can be reached: {shortage}"))
            elif position > 0 or not (peer.conn and peer.conn.established):
                again.append(record)  # pushed behind it and never started, or answered too late: run it again
            elif broken is not None and broken.oom:
                after_oom(self, record, broken)
            elif record.retries_left == 0 and not (preempted and record.template.max_retries):
                self.runtime.fail(record, crash_error(record, reason, lease))
            else:
                self.runtime.history.has_failed(record, self.runtime.encode_error(crash_error(record, reason, lease)))
                self.note_retry(record, counted=not preempted)
                if not self.runtime.retrying.pauses(record, self.enqueue):
                    again.append(record)
        for record in reversed(again):
            record.queue = key
            key.queue.appendleft(record)
        if key.queue:
            self._fill(key)
            self._want_workers(key)

    def note_retry(self, record: TaskRecord, *, counted: bool = True) -> None:
        """One more attempt, which a worker starts when it has answered earlier tasks; ``counted``: it costs a retry."""
        if counted and record.retries_left > 0:
            record.retries_left -= 1
        record.attempt += 1
        self.runtime.retried_tasks += 1
        extras = record.extras or PushExtras()
        extras.attempt = record.attempt
        record.extras = extras
        if record.stream is not None:
            record.stream.restart()

    def retry(self, record: TaskRecord) -> None:
        """Run a task again whose function raised a retryable error."""
        self.note_retry(record)
        record.peer = None
        if not self.runtime.retrying.pauses(record, self.enqueue):
            self.enqueue(record)

    def remove_queued(self, record: TaskRecord) -> bool:
        """Take a task out of its queue (cancel). False when it is not queued here."""
        key = record.queue
        try:
            key.queue.remove(record)
        except (ValueError, AttributeError):
            return False
        if not key.queue:
            self._cancel_requests(key)
        return True
