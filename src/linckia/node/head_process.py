"""The head as a process of its own: a candidate for leadership over the store, a warm standby while another leads, the
head room while it leads itself.

Forked for its node (node/head_zygote.py, node/head_child.py). Its options are the first packet on a socket that then
brings the connections that want the head, and whose end means that the node is gone. A head that loses its term ends:
what it has in memory may be ahead of the store, and starting anew is how it becomes a standby.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base.addresses import join_host_port
from linckia.base.backoff import Backoff
from linckia.base.limits import HEAD_CHILD_MAX_BYTES
from linckia.core.autoscaling.records import Limits
from linckia.core.leadership.records import HeadFacts, HeadsView, fence
from linckia.core.mvcc.records import FIRST_REVISION, Revision
from linckia.gcs.journal import Journal, Mending
from linckia.gcs.restoring import NewerRecordsError, restore
from linckia.host import process, this_boot
from linckia.host.entropy import random_bytes, random_generator
from linckia.host.own_log import say
from linckia.host.tls_files import TlsFiles, TlsFilesError
from linckia.node.compaction import Compaction
from linckia.node.dispatch import each, log_failure
from linckia.node.head import HeadRoom
from linckia.node.head_options import STOP, HeadOptions
from linckia.node.leadership import Leadership, LeadershipCalls, LeadershipOptions
from linckia.node.membership import admit
from linckia.node.replica import Replica
from linckia.node.standby import LeaderWatch, Standbys
from linckia.protocol import messages as m
from linckia.rpc import tls
from linckia.rpc.endpoints import HEAD_ROUTE
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor
from linckia.store.address import without_password
from linckia.store.errors import LeaseNotFoundError, StoreError
from linckia.store.interface import StoreStatus
from linckia.store.opening import open_store

if TYPE_CHECKING:
    from linckia.node.scaler_child import ScalerChild

STORE_SLOW_S = 3.0  # then it is told that the store does not answer
CALL_AFTER_S, CALL_EVERY_S = 0.1, 1.0  # nodes that do not come are told who leads
MEND_PAUSES = Backoff(0.02, 0.3, jitter=0.5)
"""Of a leader whose store is silent: the store itself tries each request for up to 5 s."""
STEP_DOWN_AFTER_S = 0.02  # the answer leaves first
UNREADABLE = (LookupError, NewerRecordsError, msgspec.MsgspecError)
"""Records of another cluster, of a later version, or damaged: nothing is overwritten."""


class HeadProcess:
    """``room`` is there while this head leads."""

    def __init__(self, options: HeadOptions, channel: socket.socket) -> None:
        self.options, self.channel = options, channel
        self.address = join_host_port(options.host, options.port)
        self.reactor = Reactor()
        self.reactor.on_error = log_failure
        if options.tls:
            tls.use(self.reactor, TlsFiles(*options.tls), check=True)
        self.identity = Identity("gcs", HEAD_ROUTE, options.token.encode())
        self.store = open_store(options.store, self.reactor.call_soon, on_notice=say)
        self.room: HeadRoom | None = None
        self.journal: Journal | None = None
        self.scaler: ScalerChild | None = None
        self.compaction: Compaction | None = None  # a SQLite store trims itself
        self.waiting: dict[Any, m.LinkHello] = {}  # nodes that came while nobody led here
        self.facts = HeadFacts(
            head_id=random_bytes(8),
            host=options.host,
            port=options.port,
            pid=os.getpid(),
            start_time=process.process_start_time(os.getpid()),
            machine=this_boot.process_space(),
        )
        calls = LeadershipCalls(
            self._elected,
            self._deposed,
            on_heads=self._on_heads,
            on_trouble=self._trouble,
            on_lease=self._on_lease,
            on_paused=self._on_paused,
        )
        self.is_alone = options.store.startswith("sqlite:")
        how = LeadershipOptions(predecessor=options.predecessor, alone=self.is_alone)
        self.leadership = Leadership(self.store, self.facts, self.reactor.call_later, calls, how)
        self.replica = Replica(self.store, b"", self._trouble, self.reactor.call_later, random_generator())
        self.standbys = Standbys()
        self.leader_watch = LeaderWatch(self.reactor, self.identity, self.facts, self.replica, self.leadership)
        self.reactor.before_poll = self._end_turn

    def start(self) -> None:
        """Be a candidate, when the records are ours."""
        self.reactor.register(self.channel.fileno(), self._on_channel)
        if self.options.predecessor_lease:
            self._bury_predecessor(self.options.predecessor_lease)
        self.replica.start()
        self.replica.when_at(FIRST_REVISION, self._look_before)
        self.reactor.call_later(STORE_SLOW_S, self._explain)

    def _bury_predecessor(self, lease: int) -> None:
        """Our node saw its process end: whoever waits for the end of its term need not. A lease is nobody else's."""
        who = f"the lease of process {self.options.predecessor}"
        self.store.revoke(lease, lambda answer: say(f"{who} {_ending(answer)}"))

    def _explain(self) -> None:
        """Nothing was read from the store yet: say why, to whoever waits for this node."""
        if not self.replica.revision:
            self.store.status(lambda status: tell(self.channel, trouble=f"the store: {_health(status)}"))

    def _look_before(self) -> None:
        try:
            admit(self.replica.records, self.options)
        except UNREADABLE as error:
            self.fail(str(error))
            return
        tell(self.channel, works=True)
        self.leadership.start()

    # --- the term -----------------------------------------------------------------------------------------------------

    def _elected(self, epoch: int, revision: int) -> None:
        say(f"this head leads from epoch {epoch}")
        self.replica.when_at(revision, lambda: self._serve(epoch))

    def _serve(self, epoch: int) -> None:
        """The records are those of the moment when we began to lead: nobody else writes since."""
        if self.leadership.epoch != epoch or self.room is not None:
            return
        records = self.replica.records
        self.replica.close()
        self.leader_watch.stop()
        try:
            meta = admit(records, self.options)
            journal = Journal(self.store, self.leadership.fence, self._deposed, self._mending())
            journal.adopt(records)
            room = HeadRoom(self.reactor, meta.session_name, each, epoch=epoch, outbox=journal)
            room.gcs.token_mark = meta.token_mark
            restore(room, records)
        except UNREADABLE as error:
            self.fail(str(error))
            return
        self.journal = journal
        if not self.is_alone:
            self.compaction = Compaction(self.store, self.reactor.call_later, lambda: journal.revision)
            self.compaction.start()
        self._furnish(room)
        self.room = room
        tell(self.channel, epoch=epoch)
        self._start_scaler(room, journal)
        waiting, self.waiting = self.waiting, {}
        for conn, hello in waiting.items():
            if not conn.closed:
                room.on_batch(conn, [hello])
        self.reactor.call_later(CALL_AFTER_S, self._call_absent)
        say(f"this head serves: {len(room.nodes.living())} nodes, {len(room.actors.directory.actors)} actors known")

    def _mending(self) -> Mending:
        rng = random_generator()

        def later(attempt: int, callback: Callable[[], None]) -> None:
            self.reactor.call_later(MEND_PAUSES.delay_s(attempt - 1, rng), callback)

        return Mending(self.leadership.claim, fence, later)

    def _call_absent(self) -> None:
        """Nodes that have not come may still talk to the last leader, which is stopped, or cut off from us only."""
        room = self.room
        absent = room.nodes.absent() if room is not None else []
        if room is None or not absent:
            return
        for node in absent:
            call(self.reactor, self.identity, node.info.endpoint, m.NewLeader(self.address, room.epoch))
        self.reactor.call_later(CALL_EVERY_S, self._call_absent)

    def _furnish(self, room: HeadRoom) -> None:
        room.gcs.queries["heads"] = self._table
        room.gcs.queries["revision"] = self._revision
        room.links.greeting = lambda: m.HeadsChanged(room.epoch, self._addresses())
        room.gcs.handlers[m.StepDown] = self._on_step_down
        room.gcs.keep_meta()  # the first write of a cluster says whose records these are

    def _start_scaler(self, room: HeadRoom, journal: Journal) -> None:
        room.scaling.host_id = bytes.fromhex(self.options.node_id)
        if self.options.scaling is not None:
            from linckia.node.scaler_child import ScalerChild  # noqa: PLC0415 - few heads have one

            limits = msgspec.convert(self.options.scaling, Limits)
            self.scaler = ScalerChild(self.reactor, room.scaling, journal, limits, self.options.scaler_log)
            self.scaler.start()

    def _deposed(self, why: str) -> None:
        """Nothing that is held back is said; whoever waits for it asks the next head."""
        say(f"this head leads no more: {why}")
        if self.compaction is not None:
            self.compaction.stop()
        if self.scaler is not None:
            self.scaler.close()
        self.reactor.before_poll = None
        self.reactor.stop()

    def _on_paused(self, is_paused: bool) -> None:
        """Whoever waits on a node shall know why. Said past the journal, which holds back all else."""
        why = f"the head at {self.address} hears nothing from its store" if is_paused else ""
        say(why or "this head goes on: its store answers again")
        if self.room is not None:
            self.room.links.tell(m.HeadPaused(why))

    def _on_step_down(self, peer: Any, message: m.StepDown) -> None:
        if message.epoch != self.leadership.epoch:
            peer.post(m.SteppedDown(message.rid, True, f"another head leads, by epoch {self.leadership.epoch}"))
            return
        others = len(self.leadership.view.heads) - 1
        if others < 1:
            text = "no other head is there that could lead: start one with `linckia start --head` and the same --store"
            peer.post(m.SteppedDown(message.rid, False, text))
            return
        peer.post(m.SteppedDown(message.rid, True, f"{others} other heads may lead now"))
        self.reactor.call_later(STEP_DOWN_AFTER_S, lambda: self._step_down(message.reason or "asked to step down"))

    def _step_down(self, reason: str) -> None:
        self.leadership.step_down(reason)

    def _trouble(self, error: StoreError) -> None:
        self.fail(f"the store {without_password(self.options.store)}: {error}")

    def fail(self, text: str) -> None:
        """This head cannot work; its node tells."""
        say(text)
        tell(self.channel, error=text)
        self._deposed(text)

    def _on_lease(self, lease: int) -> None:
        """Our node ends it at once when it sees this process end: before anything hangs on it, it has to know."""
        tell(self.channel, lease=lease)

    # --- connections --------------------------------------------------------------------------------------------------

    def _on_channel(self, _events: int) -> None:
        try:
            packet, fds, _flags, _address = socket.recv_fds(self.channel, 16, 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            packet, fds = b"", []
        for fd in fds:
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            self.reactor.adopt(sock, self.identity, self._on_batch, self._on_close)
        if packet in (b"", STOP):  # a connection whose descriptor did not fit into this process is neither
            self.stop("asked by its node" if packet else "its node is gone")

    def _on_batch(self, conn: Any, batch: list[m.Message]) -> None:
        first = batch[0]
        if isinstance(first, m.StandbyReport):
            self.standbys.report(conn, first)
        elif self.room is not None:
            self.room.on_batch(conn, batch)
        elif isinstance(first, m.LinkHello):
            self.waiting[conn] = first
            self._send_on(conn)

    def _send_on(self, conn: Any) -> None:
        view = self.leadership.view
        leader = view.leader
        is_other = leader is not None and leader.head_id != self.facts.head_id
        address = join_host_port(leader.host, leader.port) if leader is not None and is_other else ""
        conn.post(m.NotLeader(address, view.epoch, self._addresses()))

    def _on_close(self, conn: Any, _reason: str) -> None:
        self.waiting.pop(conn, None)
        self.standbys.gone(conn)
        if self.room is not None:
            self.room.peer_gone(conn)

    # --- other heads --------------------------------------------------------------------------------------------------

    def _on_heads(self, view: HeadsView) -> None:
        if self.room is not None:
            self.room.nodes.broadcast(m.HeadsChanged(self.room.epoch, self._addresses()))
            return
        for conn in self.waiting:
            self._send_on(conn)
        self.leader_watch.look_at(view)

    def _addresses(self) -> list[str]:
        return [join_host_port(head.host, head.port) for head in self.leadership.view.heads]

    def _revision(self) -> int:
        """Of the store: what it has of this head."""
        return self.journal.revision if self.journal is not None else 0

    def _table(self) -> list[dict[str, Any]]:
        view = self.leadership.view
        mine = self._revision()
        heads = view.heads
        if all(head.head_id != self.facts.head_id for head in heads):  # the news of our own key is on its way
            heads = (*heads, self.facts)
        return [
            {
                "host": head.host,
                "port": head.port,
                "pid": head.pid,
                "leader": head.head_id == self.facts.head_id,
                "epoch": self.leadership.epoch if head.head_id == self.facts.head_id else 0,
                "lag_revisions": self.standbys.lag(head.head_id, mine) if head.head_id != self.facts.head_id else 0,
            }
            for head in heads
        ]

    # --- turns and the end --------------------------------------------------------------------------------------------

    def _end_turn(self) -> None:
        """Before what was posted leaves: write, or hold back. While the lease may have ended nothing is said; whether
        the term has, `leadership` finds out.
        """
        if self.journal is not None and self.room is not None and self.leadership.is_serving:
            self.journal.end_turn()

    def stop(self, reason: str) -> None:
        """Orderly: give up the term, then end."""
        say(f"this head ends: {reason}")
        self.reactor.unregister(self.channel.fileno())
        self.reactor.before_poll = None
        self.leadership.close(self.reactor.stop)

    def close(self) -> None:
        """Let go of everything."""
        if self.scaler is not None:
            self.scaler.close()
        if self.room is not None:
            self.room.links.close("this head does not lead any more")
        self.store.close()


def call(reactor: Reactor, identity: Identity, endpoint: str, message: m.Message) -> None:
    """One message to a node, over a connection of its own that it need not answer."""
    try:
        conn = reactor.connect(endpoint, identity, lambda _conn, _batch: None, lambda _conn, _why: None)
    except OSError:
        return
    conn.post(message)
    reactor.call_later(CALL_EVERY_S, lambda: conn.close("said"))


def tell(channel: socket.socket, **said: str | int) -> None:
    """The node: why this process ends (``error``), what it waits for (``trouble``), that it has read its store
    (``works``), the lease that is its own now (``lease``), that it leads (``epoch``).
    """
    short = {what: text[: HEAD_CHILD_MAX_BYTES // 8] if isinstance(text, str) else text for what, text in said.items()}
    with contextlib.suppress(OSError):  # it is gone, and so will we be
        channel.send(msgspec.json.encode(short))


def _ending(answer: Revision | StoreError) -> str:
    if isinstance(answer, LeaseNotFoundError):
        return "had been ended by another head"
    return f"could not be ended: {answer}" if isinstance(answer, StoreError) else "is ended"


def _health(status: StoreStatus | StoreError) -> str:
    return status.health if isinstance(status, StoreStatus) else str(status)


def run_head(channel: socket.socket, node_pid: int) -> None:
    """A process that was forked for it (node/head_zygote.py) is a head from now on. Never returns."""
    status, head = 0, None
    try:
        packet = channel.recv(HEAD_CHILD_MAX_BYTES)
        if not packet or not process.die_with_parent(node_pid):
            os._exit(0)  # the node is gone
        process.set_process_name("linckia-head")
        head = HeadProcess(HeadOptions(**msgspec.json.decode(packet)), channel)
        process.allow_many_descriptors()
        head.start()
        gc.enable()
        head.reactor.run()
    except (StoreError, TlsFilesError) as error:
        status = 1
        say(str(error))
        tell(channel, error=str(error))
    except Exception as error:  # noqa: BLE001 - said on the log and to the node, then the process ends
        status = 1
        log_failure(error)
        tell(channel, error=f"{type(error).__name__}: {error}")
    finally:
        if head is not None:
            head.close()
        os._exit(status)
