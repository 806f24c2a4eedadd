"""The runtime of a driver or worker: its connections, its objects, and the parts that use them.

Assembles Progress (who reads the sockets), Submitter (normal tasks), ActorClients (actor calls), Borrowing
(references across processes), Streams, Futures and the Arena (shared memory). Holds the one mutex; message handlers
run under it, in the thread that leads. Called by ``api`` (drivers) and ``worker/main.py``. It decides nothing about
scheduling, actors' lives or memory: the raylet, the GCS and the store do.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from linckia.base import errors
from linckia.host import entropy, environment
from linckia.model.wire import Address, Result
from linckia.protocol import messages as m
from linckia.rpc.connection import Connection
from linckia.rpc.endpoints import published
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor
from linckia.worker import cancelling
from linckia.worker.actor_client import ActorClients
from linckia.worker.borrowing import Borrowing, FreedBlock, Unseen, UnseenError
from linckia.worker.dispatch import handlers_of
from linckia.worker.fallbacks import take_over
from linckia.worker.fetching import Fetching, Unpinned
from linckia.worker.futures import Futures
from linckia.worker.lineage import Lineage
from linckia.worker.locations import Locations
from linckia.worker.objects import Objects
from linckia.worker.orphans import Orphans
from linckia.worker.placement_groups import GroupWatch
from linckia.worker.progress import Flag, Progress, Target
from linckia.worker.raylets import Raylets
from linckia.worker.refs import BLOCK, ERROR, INLINE, LOST, ObjectRef, RefExtra
from linckia.worker.replays import Replays
from linckia.worker.replicas import Replicas
from linckia.worker.requests import Requests
from linckia.worker.retrying import Retrying
from linckia.worker.spilling import Spilling
from linckia.worker.streams import Stream, Streams
from linckia.worker.submitter import Submitter
from linckia.worker.task_history import TaskHistory
from linckia.worker.tasks import Peer, TaskRecord, Template
from linckia.worker.unfinished import unfinished
from linckia.worker.unwanted import Unwanted

SPIN_S = float(environment.option("SPIN_US", "100")) * 1e-6
Handler = Callable[[Peer, Any], None]


class Runtime:
    """One per process. ``executor`` is None in drivers."""

    def __init__(self, identity: Identity, raylet_endpoint: str, listen_endpoint: str) -> None:
        self.identity = identity
        self.mutex = threading.RLock()
        self.reactor = Reactor(spin_s=SPIN_S)
        self.reactor.before_poll = self.drain_released
        self.interrupt_pending = False
        self.main_ident = threading.main_thread().ident
        self.progress = Progress(self.reactor, self.check_interrupt)
        self.address = Address(identity.worker_id, listen_endpoint)
        self.job_id = b"\x00" * 4
        self.node_id = b""
        self.node_ip = "127.0.0.1"
        self.session_name = ""
        self.executor: Any = None
        self.closing, self.retried_tasks, self.fallen_back = False, 0, 0
        self.in_group = False  # the running task or actor is in a placement group: children may have to be, too
        self.last_rest: Any = None  # see api/calls.py
        self.template_cache: dict[Any, Template] = {}
        self.history = TaskHistory()
        self.error_count = 0  # errors that arrived, for get's early end
        self.on_driver_message: Callable[[m.DriverMessage], None] | None = None
        self.on_log_lines: Callable[[m.LogLines], None] | None = None
        self.on_cluster_lost: Callable[[str], None] | None = None
        self.on_raylet_closed: Callable[[], None] | None = None
        self.on_unseen_error: Callable[[bytes], None] | None = None
        self.log_printer: Any = None
        self.job_config: Any = None
        self.session_dir = ""
        self.runtime_env: dict[str, Any] = {}  # the job's in drivers, the task's in workers
        self._rids = itertools.count(1)
        self._templates = itertools.count(1)
        self._task_base = int.from_bytes(entropy.random_bytes(8), "little") >> 1
        self._task_count = itertools.count()
        self.task_suffix = b"\x00" * 16
        self.released: deque[Any] = deque()
        self._release_noted = False
        self.peers: dict[bytes, Peer] = {}
        self.borrowing = Borrowing(self)
        self.raylets = Raylets(self)
        self.submitter = Submitter(self)
        self.actors = ActorClients(self)
        self.streams = Streams(self)
        self.futures = Futures(self)
        self.requests, self.retrying = Requests(self), Retrying(self)
        self.groups = GroupWatch(self)
        self.objects = Objects(self)
        self.spilling = Spilling(self)
        self.lineage, self.replays = Lineage(self), Replays(self)
        self.fetching = Fetching(self)
        self.locations, self.replicas, self.orphans = Locations(self), Replicas(self), Orphans(self)
        self.unwanted = Unwanted(self)
        self.handlers: dict[type, Handler] = {}
        self.handlers.update(handlers_of(self))
        self.listener = self.reactor.listen(listen_endpoint, identity, self.on_messages, self.on_close)
        self.raylet_peer = Peer(None, Address(b"raylet", raylet_endpoint))
        self.raylet: Connection = self.reactor.connect(raylet_endpoint, identity, self.on_messages, self.on_close)
        self.raylet_peer.conn = self.reactor.told_first = self.raylet
        self.raylet.expect_fds = True
        self.raylet_peer.closed = False
        self.raylet.state = self.raylet_peer

    # --- ids --------------------------------------------------------------------------------------------------------

    def next_rid(self) -> int:
        """A request id, unique in this process."""
        return next(self._rids)

    def next_template(self) -> int:
        """An index for a new template."""
        return next(self._templates)

    def next_task_id(self, suffix: bytes | None = None) -> bytes:
        """24 bytes by counting from a random base; ``suffix`` is the actor id (16 bytes) for actor tasks."""
        return (self._task_base + next(self._task_count)).to_bytes(8, "little") + (suffix or self.task_suffix)

    # --- connections ------------------------------------------------------------------------------------------------

    def peer(self, address: Address, *, fresh: bool = False) -> Peer:
        """The connection to another runtime, made when needed. A peer that cannot be reached comes back ``closed``."""
        peer = self.peers.get(address.worker_id)
        if peer is not None and not peer.closed and (not fresh or (peer.lease is None and peer.actor is None)):
            return peer
        try:
            conn = self.reactor.connect(
                address.endpoint, self.identity, self.on_messages, self.on_close, route=address.worker_id
            )
        except OSError:
            return Peer(None, address)
        peer = Peer(conn, address)
        conn.state = peer
        self.peers[address.worker_id] = peer
        self.raylets.reach.watch(peer)
        return peer

    def on_messages(self, conn: Connection, messages: list[m.Message]) -> None:
        """Dispatch one batch; answers of tasks are handled in line (the hot path)."""
        peer: Peer = conn.state or self._accepted(conn)
        with self.mutex:
            tasks = peer.tasks
            answered = 0
            for message in messages:
                if type(message) is m.Done:
                    record = tasks.pop(message.task_id, None)
                    if record is None:
                        continue
                    answered += 1
                    if record.cancelled and record.actor is not None:
                        self.fail_cancelled(record)
                        continue
                    ref = record.ref
                    ref.value = message.inline
                    ref.state = INLINE
                    if record.holds is not None or record.parent is not None:
                        self.forget_record(record)
                    if ref.hooks is not None:
                        self.fire(ref)
                else:
                    handler = self.handlers.get(type(message))
                    if handler is not None:
                        handler(peer, message)
                        if type(message) is m.DoneMany:  # nothing else makes room for the next task
                            answered += 1
            if answered:
                if peer.lease is not None:
                    self.submitter.after_answers(peer)
                elif peer.actor is not None:
                    peer.actor.after_answers()

    def _accepted(self, conn: Connection) -> Peer:
        peer = Peer(conn, Address(conn.peer_id, ""))
        conn.state = peer
        self.peers.setdefault(conn.peer_id, peer)
        return peer

    def on_close(self, conn: Connection, reason: str) -> None:
        """A peer hung up: its tasks, borrows and answers are decided by the parts they belong to."""
        peer: Peer | None = conn.state
        if peer is None or peer.closed:
            return
        peer.closed = True
        with self.mutex:
            if peer is self.raylet_peer:
                if not self.closing:
                    self._cluster_lost(reason)
                elif self.on_raylet_closed is not None:
                    self.on_raylet_closed()
                return
            worker_id = peer.address.worker_id
            lost = self.raylets.why_gone(peer, reason)
            if self.raylets.closed(peer):
                return
            if self.peers.get(worker_id) is peer:
                del self.peers[worker_id]
            self.borrowing.forget(worker_id)
            self.borrowing.owner_gone(worker_id)
            for ref in list(peer.fetching.values()):
                self.orphans.search(ref, f"its owner, process {worker_id.hex()[:8]} at {peer.address.endpoint}, {lost}")
            peer.fetching.clear()
            self.unwanted.hung_up(peer)
            if peer.lease is not None:
                self.submitter.on_peer_closed(peer)
            if peer.actor is not None:
                peer.actor.on_peer_closed(peer, reason)
            if self.executor is not None:
                self.executor.on_peer_closed(peer)

    def on_incoming(self, peer: Peer, _message: m.IncomingConnection) -> None:
        """The node passed us a socket: a process of another node wants to talk."""
        if peer.conn.received_fds:  # else no descriptor was left for it, and the kernel has hung up
            sock = socket.socket(fileno=peer.conn.received_fds.popleft())
            self.reactor.adopt(sock, self.identity, self.on_messages, self.on_close)

    def settle_in(self, node_id: bytes, public_prefix: str) -> None:
        """This process is known to its node: from now on it can be reached from everywhere."""
        self.node_id = node_id
        self.reactor.local_node = node_id.hex()
        self.address = Address(self.address.worker_id, published(public_prefix, self.address.endpoint))

    def node_dead(self, node_id: bytes, why: str) -> None:
        """Objects whose only copy was there are lost, or made again."""
        self.locations.node_dead(node_id)
        self.lineage.node_dead(node_id, why)
        self.replicas.node_dead(node_id)

    def _cluster_lost(self, reason: str) -> None:
        error = errors.LocalRayletDiedError(
            f"the node process is gone ({reason}); call linckia.shutdown() and linckia.init() again"
        )
        encoded = self.encode_error(error)
        for record in unfinished(self):
            self.fail_encoded(record, encoded)
        self.requests.fail_all(error)
        self.fetching.fail_all(str(error))
        self.orphans.fail_all()
        self.closing = True
        if self.on_cluster_lost is not None:
            self.on_cluster_lost(reason)

    def introduce(self, peer: Peer, template: Template) -> None:
        """Tell a peer the constant part of a task before its first push, and the function before that."""
        peer.known.add(template.index)
        function = template.function
        if function is not None and function.function_id not in peer.functions_sent:
            peer.functions_sent.add(function.function_id)
            peer.conn.post(function)
        peer.conn.post(template.definition)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wait_target(self, target: Target, timeout_s: float | None) -> bool:
        """Wait for a ref, stream or flag; a blocked normal task gives its CPU back meanwhile. False on timeout."""
        if target.state:
            return True
        deadline_s = None if timeout_s is None or timeout_s < 0 else time.monotonic() + timeout_s
        executor = self.executor
        if executor is not None and executor.current is not None and threading.get_ident() == self.main_ident:
            return bool(executor.wait_in_task(target, deadline_s))
        return self.progress.wait_for(target, deadline_s)

    def check_interrupt(self) -> None:
        """Raise the KeyboardInterrupt that arrived inside the runtime (main thread only)."""
        if self.interrupt_pending and threading.get_ident() == self.main_ident:
            self.interrupt_pending = False
            raise KeyboardInterrupt

    # --- completion (under the mutex) -------------------------------------------------------------------------------

    def fire(self, ref: ObjectRef[Any]) -> None:
        """Run the hooks of a ref that just got its value."""
        hooks, ref.hooks = ref.hooks, None
        for hook in hooks or ():
            hook(ref)

    def complete_error(self, ref: ObjectRef[Any], error: bytes) -> None:
        """The object holds an error."""
        if ref.state:
            return
        ref.value = error
        ref.state = ERROR
        self.error_count += 1
        self._watch_error(ref)
        self.fire(ref)

    def _watch_error(self, ref: ObjectRef[Any]) -> None:
        """An error that nobody looks at is shown when its last reference goes (R 3.66); drivers only."""
        if self.on_unseen_error is not None:
            extra = ref.extra = ref.extra or RefExtra()
            if extra.token is None:
                extra.token = UnseenError(self, ref.value)

    def complete_lost(self, ref: ObjectRef[Any], why: str) -> None:
        """The owner is gone."""
        if ref.state:
            return
        ref.value = why
        ref.state = LOST
        self.error_count += 1
        self.fire(ref)

    def complete_result(self, ref: ObjectRef[Any], result: Result, sender: bytes, *, owned: bool = True) -> None:
        """The object got the value that travelled in ``result``."""
        if ref.state:  # its task ran again for the sake of another return
            if owned and result.block is not None:
                self.objects.free(ref._id, result.block)
            return
        if result.contained:
            extra = ref.extra = ref.extra or RefExtra()
            extra.contained = self.borrowing.received(result.contained, sender if not owned else b"")
        if result.error is not None:
            ref.value, ref.state = result.error, ERROR
            self.error_count += 1
            if owned:
                self._watch_error(ref)
        elif result.block is not None:
            if owned:
                self.borrowing.own(ref, result.block)
            else:
                ref.value, ref.state = result.block, BLOCK
        else:
            ref.value, ref.state = result.inline, INLINE
        self.fire(ref)

    def on_done_many(self, peer: Peer, message: m.DoneMany) -> None:
        """The general answer of a task."""
        record, sender = peer.tasks.pop(message.task_id, None), peer.address.worker_id
        if record is None:
            self.unwanted.drop_results(peer, message)
            return
        for object_id in message.borrowing:
            ref = self.borrowing.by_id.get(object_id)
            if ref is not None:
                self.borrowing.lend(ref, sender)
        if record.cancelled and record.actor is not None:
            self.unwanted.drop_results(peer, message)
            self.fail_cancelled(record)
            return
        if message.failed and message.results and message.results[0].error is not None:
            self.history.has_failed(record, message.results[0].error)  # who ran it knows too, as long as it lives
        if message.failed and message.retryable and record.retries_left != 0 and not record.cancelled:
            if peer.actor is not None:
                peer.actor.retry(record)
            else:
                self.submitter.retry(record)
            return
        if message.failed and record.template.means is not None and take_over(self, record, message.results[0].error):
            return
        if record.stream is not None:
            self.streams.on_done(record, message)
        elif message.failed:
            for ref in record.refs():
                self.complete_result(ref, message.results[0], sender)
            self.lineage.failed(record)
        else:
            for ref, result in zip(record.refs(), message.results, strict=False):
                self.complete_result(ref, result, sender)
            self.lineage.finished(record)
        self.forget_record(record)

    def fail(self, record: TaskRecord, error: errors.RayError) -> None:
        """The task ends with a system error."""
        self.fail_encoded(record, self.encode_error(error))

    def fail_cancelled(self, record: TaskRecord) -> None:
        """A cancelled actor call has ended, whatever it answered (R 5.26)."""
        self.fail(record, errors.TaskCancelledError(error_message=f"the call of {record.template.name} was cancelled"))

    def fail_encoded(self, record: TaskRecord, error: bytes) -> None:
        """The task ends with an error (its own or one of a dependency)."""
        if not self.closing:
            self.history.has_failed(record, error)
        if record.template.means is not None and take_over(self, record, error):
            return
        if record.stream is not None:
            self.streams.fail(record, error)
        else:
            for ref in record.refs():
                self.complete_error(ref, error)
            self.lineage.failed(record)
        self.forget_record(record)

    def forget_record(self, record: TaskRecord) -> None:
        """The task is over: let go of what it held."""
        record.holds = record.places = record.lineage = None
        record.extras = record.stream = None
        record.queue = None
        parent, record.parent = record.parent, None
        if parent is not None:
            parent.children.pop(record.task_id, None)

    def encode_error(self, error: errors.RayError) -> bytes:
        """An error in its transport form."""
        return errors.encode_error(error, self.objects.pickle_plain)

    # --- letting go -------------------------------------------------------------------------------------------------

    def release(self, what: Any) -> None:
        """Called from ``__del__``: queue it, see to it soon. Never takes a lock."""
        self.released.append(what)
        if not self._release_noted:
            self._release_noted = True
            self.progress.touch()

    def drain_released(self) -> None:
        """Act on what was let go since the last turn."""
        released = self.released
        if not released:
            return
        self._release_noted = False
        with self.mutex:
            ended: dict[Address, list[bytes]] = {}
            unpinned: list[bytes] = []
            while released:
                what = released.popleft()
                if type(what) is FreedBlock:
                    self.objects.free(what.object_id, what.block)
                    self.locations.freed(what.object_id, what.block)
                elif type(what) is Unpinned:
                    unpinned.append(what.object_id)
                elif type(what) is int:
                    self.raylet.post(m.FreeBlocks([what]))
                elif type(what) is tuple:
                    ended.setdefault(what[0], []).append(what[1])
                elif type(what) is bytes:
                    self.actors.out_of_scope(what)
                elif type(what) is Stream:
                    self.streams.drop(what)
                elif type(what) is Unseen and self.on_unseen_error is not None and not self.closing:
                    self.on_unseen_error(what.error)
            if unpinned:
                self.fetching.unpin(unpinned)
            for owner, object_ids in ended.items():
                peer = self.peers.get(owner.worker_id)
                if peer is not None and not peer.closed:
                    peer.conn.post(m.BorrowEnded(object_ids))

    def cancel(self, ref: Any, *, force: bool, recursive: bool) -> None:
        """See ``cancelling.py``."""
        cancelling.cancel(self, ref, force=force, recursive=recursive)

    def cancel_record(self, record: TaskRecord, *, force: bool, recursive: bool) -> None:
        """See ``cancelling.py``."""
        cancelling.cancel_record(self, record, force=force, recursive=recursive)

    # --- end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Disconnect; unfinished tasks are abandoned, and threads that wait for them are told."""
        self.history.leave(self)
        self.closing = True
        self.on_unseen_error = None
        error = errors.RaySystemError("linckia.shutdown() was called while this was pending")
        with self.mutex:
            encoded = self.encode_error(error)
            for record in unfinished(self):
                self.fail_encoded(record, encoded)
            self.requests.fail_all(error)
        self.progress.close()
        with self.mutex:
            for peer in list(self.peers.values()):
                peer.lease = peer.actor = None
                if peer.conn is not None:
                    peer.conn.close()
            self.raylets.close()
            self.raylet.close()
            self.reactor.close_listener(self.listener)
        self.objects.close()
        self.progress.close_reactor()

    def call(self, conn: Connection, message: Any, timeout_s: float | None = 60.0) -> Any:
        """Send a request with a ``rid`` and wait for its answer; see :class:`Requests`."""
        return self.requests.call(conn, message, timeout_s)

    def wait_closed(self, ended: Flag, timeout_s: float) -> None:
        """Wait until the node has hung up (it stops), reading what it still sends."""
        self.progress.wait_for(ended, time.monotonic() + timeout_s)

    def flag(self) -> Flag:
        """A target of one's own."""
        return Flag()
