"""Actor calls, the caller's side: order per caller, restarts, retries, limits, end of scope (R 5.*).

One ActorClient per actor and process, whatever the number of handles. Calls go straight to the actor's worker; the
GCS tells where that is and when it changes. Everything runs under ``Runtime.mutex``; no user code is called.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.base.limits import ACTOR_QUEUE_WARN_CALLS
from linckia.model.wire import PushExtras
from linckia.protocol import messages as m
from linckia.worker.borrowing import new_scope
from linckia.worker.tasks import Peer, TaskRecord

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

FLUSH_COUNT = 64
DEATH_WORD_WAIT_S = 1.0  # how long to wait for the GCS after an actor's socket closed (R 5.23)


class ActorClient:
    """What this process knows of one actor, and its calls there."""

    def __init__(self, runtime: Runtime, actor_id: bytes, *, out_of_order: bool, class_name: str) -> None:
        self.runtime, self.actor_id = runtime, actor_id
        self.out_of_order, self.class_name = out_of_order, class_name
        self.state = "PENDING_CREATION"
        self.restarts = 0
        self.pid = 0
        self.peer: Peer | None = None
        self.address: Any = None  # where it lives, as the GCS said last
        self.why_closed = ""  # the last connection
        self._reconnecting = False
        self.queue: deque[TaskRecord] = deque()
        self.unordered: set[TaskRecord] = set()  # waiting for arguments, free to be overtaken
        self.lost: list[TaskRecord] = []  # pushed to a worker that is gone; fate unknown until the GCS speaks
        self.dead_error: bytes | None = None
        self.condemned = False  # this process has killed it for good: later calls wait for the word of its death
        self.pending_calls = 0
        self.template_cache: dict[Any, Any] = {}
        self.scope: Any = None
        self.constructor: Any = None  # the creator keeps the constructor's references for restarts
        self.scope_ended = False
        self.warn_at = ACTOR_QUEUE_WARN_CALLS

    def waiting(self) -> list[TaskRecord]:
        """Calls without an answer that are not pushed."""
        return [*self.queue, *self.unordered, *self.lost]

    def submit(self, record: TaskRecord) -> None:
        """A call whose arguments may still be pending (``record.waiting``)."""
        record.actor = self
        if self.dead_error is not None:
            self.runtime.fail_encoded(record, self.dead_error)
            return
        if self.state == "RESTARTING" and record.template.max_retries == 0 and not record.waiting:
            self.runtime.fail(record, self._unavailable("is restarting"))
            return
        peer = self.peer
        if peer is not None and not self.queue and not record.waiting and not self.condemned:
            self._push(peer, record)
        elif record.waiting and self.out_of_order:
            self.unordered.add(record)
        else:
            self.queue.append(record)
            if peer is None:
                self._reconnect()
            if len(self.queue) > self.warn_at:
                self._warn_queue()

    def arguments_ready(self, record: TaskRecord) -> None:
        """A call that waited for arguments can go."""
        if record in self.unordered:
            self.unordered.discard(record)
            self.submit(record)
        else:
            self._pump()

    def _push(self, peer: Peer, record: TaskRecord) -> None:
        template = record.template
        record.peer = peer
        tasks = peer.tasks
        was_idle = not tasks
        tasks[record.task_id] = record
        if template.index not in peer.known:
            self.runtime.introduce(peer, template)
        conn = peer.conn
        if record.extras is not None and record.extras.dependencies:
            self.runtime.spilling.claim(record)
        push = m.Push(record.task_id, template.index, record.args, record.extras)
        conn.outbox.append(push)  # not in one line: see Connection.outbox
        if was_idle or len(conn.outbox) >= FLUSH_COUNT:
            conn.flush()
        else:
            conn.mark_dirty()

    def _pump(self) -> None:
        peer = self.peer
        if peer is None or self.condemned:
            return
        queue = self.queue
        while queue and not queue[0].waiting:
            self._push(peer, queue.popleft())
        if peer.conn is not None:
            peer.conn.flush()

    def after_answers(self) -> None:
        """Nothing is throttled per actor."""

    def remove_queued(self, record: TaskRecord) -> None:
        """Cancelled before it was pushed."""
        self.unordered.discard(record)
        if record in self.queue:
            self.queue.remove(record)
            self._pump()

    # --- life of the actor ------------------------------------------------------------------------------------------

    def on_update(self, update: m.ActorUpdate) -> None:
        """The GCS's word."""
        if self.state == "DEAD":
            return
        self.state, self.restarts = update.state, update.restarts
        if update.state == "ALIVE" and update.worker is not None:
            self._connect(update)
        elif update.state == "DEAD":
            self._die(
                update.error
                or self.runtime.encode_error(errors.ActorDiedError(error_msg=f"actor {self.class_name} is dead"))
            )
        elif update.state == "RESTARTING":
            self._detach()
            self._settle_lost(error=update.error)
            for record in [r for r in self.queue if r.template.max_retries == 0 and not r.waiting]:
                self.queue.remove(record)
                self.runtime.fail(record, self._unavailable("is restarting"))

    def _connect(self, update: m.ActorUpdate) -> None:
        assert update.worker is not None
        self.pid, self.address = update.pid, update.worker
        if self.peer is not None and self.peer.address.worker_id == update.worker.worker_id:
            return
        self._detach()
        self._open()

    def _open(self) -> None:
        peer = self.runtime.peer(self.address, fresh=True)
        if peer.closed:  # no way there now, or it has just died: the GCS will say so
            if self.lost or self.queue:
                self._reconnect()
            return
        peer.actor = self
        self.peer = peer
        self._settle_lost()
        self._pump()

    def _reconnect(self) -> None:
        """While calls wait for an actor that lives, as far as the GCS knows: connect again, once a second."""
        if self._reconnecting or self.state != "ALIVE":
            return
        self._reconnecting = True
        self.runtime.reactor.call_later(DEATH_WORD_WAIT_S, self._reconnect_now)

    def _reconnect_now(self) -> None:
        with self.runtime.mutex:
            self._reconnecting = False
            if self.peer is not None or self.state != "ALIVE":
                return
            what = f"lost its connection ({self.why_closed}) while this call was with it; it may or may not have run"
            self._settle_lost(what)
            if self.queue:
                self._open()

    def _detach(self) -> None:
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.actor = None
            self.runtime.unwanted.note(peer)
            self.lost += peer.tasks.values()
            peer.tasks.clear()
            for record in self.lost:
                record.peer = None

    def on_peer_closed(self, peer: Peer, reason: str) -> None:
        """The actor's process is gone, or the connection; the GCS knows which, or a second passes."""
        if peer is not self.peer:
            return
        self.why_closed = reason
        self._detach()
        shortage = peer.conn.shortage
        if not peer.conn.established and not shortage:
            self._not_sent()
        if self.state == "DEAD":
            return  # its last answers are being read (_die): what has none gets the reason of its death
        if shortage:
            self._settle_lost(f"cannot be reached: {shortage}")
        elif self.lost and self.state != "ALIVE":
            self._settle_lost()
        elif self.lost or self.queue:
            self._reconnect()

    def _not_sent(self) -> None:
        """The connection never came to be: no call has left this process."""
        self.queue.extendleft(record for record in reversed(self.lost) if not record.cancelled)
        self.lost = [record for record in self.lost if record.cancelled]

    def _settle_lost(
        self, what: str = "died while this call was with it; it may or may not have run", error: bytes | None = None
    ) -> None:
        """Calls that were with a worker that is gone: again when they may, else they fail, if so with ``error``."""
        lost, self.lost = self.lost, []
        again = []
        for record in lost:
            if record.cancelled:
                self.runtime.fail(record, errors.TaskCancelledError(error_message="the call was cancelled"))
            elif record.retries_left == 0:
                self.runtime.fail_encoded(record, error or self.runtime.encode_error(self._unavailable(what)))
            else:
                self.runtime.history.has_failed(record, self.runtime.encode_error(self._unavailable(what)))
                self._note_retry(record)
                if not self.runtime.retrying.pauses(record, self.submit):
                    again.append(record)
        self.queue.extendleft(reversed(again))
        self._pump()

    def _note_retry(self, record: TaskRecord) -> None:
        if record.retries_left > 0:
            record.retries_left -= 1
        record.attempt += 1
        self.runtime.retried_tasks += 1
        extras = record.extras or PushExtras()
        extras.attempt = record.attempt
        record.extras = extras
        if record.stream is not None:
            record.stream.restart()

    def retry(self, record: TaskRecord) -> None:
        """The method raised a retryable error."""
        self._note_retry(record)
        record.peer = None
        if not self.runtime.retrying.pauses(record, self.submit):
            self.submit(record)

    def _die(self, error: bytes) -> None:
        peer = self.peer
        if peer is not None and not peer.closed:
            peer.conn.drain()  # answers it sent before it died
        self._detach()
        self.dead_error = error
        for record in [*self.lost, *self.queue, *self.unordered, *self.runtime.retrying.take(self)]:
            self.runtime.fail_encoded(record, error)
        self.lost.clear()
        self.queue.clear()
        self.unordered.clear()
        self.scope = self.address = None
        if not self.scope_ended:
            self.constructor = None
        self.runtime.actors.forget(self)

    def revive(self, record: TaskRecord) -> None:
        """Before a call is made again for the sake of its lost result: if the actor ended because we let go of it, have
        it back until the call is done (R 3.22). The GCS may refuse; then the call fails as the actor is dead.
        """
        if not self.scope_ended:
            return
        runtime = self.runtime
        scope = self.scope() if self.scope is not None else None
        if scope is None:
            scope = new_scope(runtime, self.actor_id)
            self.scope = weakref.ref(scope)
        record.holds = [scope] if record.holds is None else [*record.holds, scope]
        if self.state == "DEAD":
            self.state, self.dead_error = "RESTARTING", None
            runtime.actors.clients[self.actor_id] = self
            runtime.raylet.post(m.ReviveActor(self.actor_id))
            runtime.raylet.post(m.SubscribeActor(self.actor_id))

    def _unavailable(self, what: str) -> errors.RayError:
        return errors.ActorUnavailableError(
            f"actor {self.class_name} {what}; try again later, or set max_task_retries to have it tried again",
            self.actor_id,
        )

    def _warn_queue(self) -> None:
        self.warn_at *= 2
        text = f"{len(self.queue)} calls are queued for actor {self.class_name}: it is slow, or has not started"
        message = m.DriverMessage("warning", f"queue-{self.actor_id.hex()}-{self.warn_at}", text)
        if self.runtime.on_driver_message is not None:
            self.runtime.on_driver_message(message)
        else:
            self.runtime.raylet.post(message)


class ActorClients:
    """All actors this process has handles of."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.clients: dict[bytes, ActorClient] = {}
        self._dead: weakref.WeakValueDictionary[bytes, ActorClient] = weakref.WeakValueDictionary()
        self.scopes: weakref.WeakValueDictionary[bytes, Any] = weakref.WeakValueDictionary()

    def client(self, actor_id: bytes, *, out_of_order: bool, class_name: str, subscribe: bool = True) -> ActorClient:
        """The one client of an actor; made, and subscribed to the GCS, at first use."""
        with self.runtime.mutex:
            client = self.find(actor_id)
            if client is None:
                client = ActorClient(self.runtime, actor_id, out_of_order=out_of_order, class_name=class_name)
                self.clients[actor_id] = client
                if subscribe:
                    self.runtime.raylet.send(m.SubscribeActor(actor_id))
            return client

    def kill(self, actor_id: bytes, *, no_restart: bool) -> None:
        """Ask the GCS to end it. Calls that this process makes afterwards do not reach it any more."""
        with self.runtime.mutex:
            client = self.clients.get(actor_id)
            if client is not None and no_restart:
                client.condemned = True
            self.runtime.raylet.send(m.KillActor(self.runtime.next_rid(), actor_id, no_restart))

    def find(self, actor_id: bytes) -> ActorClient | None:
        """The client, if there is one: of a dead actor as long as a handle or a call of it is left."""
        return self.clients.get(actor_id) or self._dead.get(actor_id)

    def forget(self, client: ActorClient) -> None:
        """The actor is dead for good: who still holds a handle is told so by this client, else nobody needs it."""
        if self.clients.pop(client.actor_id, None) is client:
            self._dead[client.actor_id] = client

    def on_update(self, update: m.ActorUpdate) -> None:
        """News from the GCS."""
        client = self.clients.get(update.actor_id)
        if client is not None:
            client.on_update(update)

    def out_of_scope(self, actor_id: bytes) -> None:
        """The creator's last reference to the actor's scope is gone, here and everywhere, and no call of ours is
        open.
        """
        client = self.clients.get(actor_id)
        if client is None:
            return  # it is dead already
        client.scope_ended = True
        self.runtime.raylet.post(m.ActorOutOfScope(actor_id))
