"""The head's ends of its sessions with raylets: each is a `NodeLink` with the surface of a connection, which outlives
the connections under it. The other end is raylet/gcs_link.py; the counting is core/links/windows.py's.

Services know nothing of this: what they post to a node arrives once and in order, or the node is declared dead.
Used by node/head.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linckia.base.callbacks import nobody_cares
from linckia.base.limits import LINK_ACK_AFTER_S, LINK_ACK_EVERY, LINK_WINDOW_MAX, NODE_ANSWER_MAX_S
from linckia.core.links.answers import Answers
from linckia.core.links.windows import ReceiveCount, SendWindow
from linckia.gcs.journal import Outbox
from linckia.protocol import messages as m
from linckia.protocol.prompt import PROMPT

NOT_COUNTED = (m.Heartbeat, m.LinkAck)


class NodeLink:
    """One node. ``closed`` once it is dead; while its connection is away, messages wait for the next one."""

    peer_role = "raylet"

    def __init__(self, node_id: bytes, outbox: Outbox, asked: Callable[[bytes], None]) -> None:
        self.peer_id, self._asked = node_id, asked
        self.state: Any = None
        self.closed = False
        self.conn: Any = None
        self.received = ReceiveCount(LINK_ACK_EVERY)
        self.safe = 0  # so many of them led to nothing that the store does not have
        self.repeated = 0  # so many come again, because the node could not be told yet that they are safe
        self.ack_scheduled = False
        self.window: SendWindow[m.Message] = SendWindow(LINK_WINDOW_MAX)
        self._outbox = outbox

    def post(self, message: m.Message) -> None:
        """In order, when what it follows from is in the store."""
        if not self.closed:
            self._outbox.say(self, message)

    send = post

    def transmit(self, message: m.Message) -> None:
        """Now; called by the outbox."""
        if type(message) is m.LinkAck:
            self.safe = message.received
        elif not self.closed:
            self.window.add(message)
            if type(message) in PROMPT:
                self._asked(self.peer_id)
        if self.conn is not None:
            self.conn.post(message)

    def end(self) -> None:
        """The node is dead: what it was told last leaves, and nothing is kept."""
        self.closed = True
        self.window = SendWindow(LINK_WINDOW_MAX)


class NodeLinks:
    """By node id. ``instance`` names this run of a head, ``epoch`` its term. ``on_late(node_id)`` is called when a node
    does not acknowledge what has to be acknowledged at once, and ``on_answer(node_id)`` when it does after all.
    """

    def __init__(
        self,
        instance: bytes,
        epoch: int,
        outbox: Outbox,
        call_later: Callable[[float, Callable[[], None]], Any],
        each: Callable[[Any, list[m.Message]], None],
        now_s: Callable[[], float],
    ) -> None:
        self.instance, self.epoch, self.outbox = instance, epoch, outbox
        self._call_later, self._each, self._now_s = call_later, each, now_s
        self.on_late: Callable[[bytes], None] = nobody_cares
        self.on_answer: Callable[[bytes], None] = nobody_cares
        self._answers: Answers[bytes] = Answers(NODE_ANSWER_MAX_S)
        self._looks = False  # at who is late, soon
        self.greeting: Callable[[], m.Message | None] = lambda: None  # said first in each new session
        self.links: dict[bytes, NodeLink] = {}
        self._by_conn: dict[Any, NodeLink] = {}

    def on_batch(self, conn: Any, batch: list[m.Message]) -> None:
        """From a raylet's connection."""
        for place, message in enumerate(batch):
            link = self._by_conn.get(conn)
            if type(message) is m.LinkHello:
                self.hello(conn, message)
            elif link is None:
                if getattr(conn, "is_local", False):  # a room of this process: nothing can break between us
                    self._each(conn, batch[place:])
                else:
                    conn.close("its session has ended")
                return
            elif type(message) is m.LinkAck:
                link.window.acked(message.received)
                if self._answers.answered(link.peer_id):
                    self.on_answer(link.peer_id)
            elif link.repeated and type(message) is not m.Heartbeat:
                link.repeated -= 1
            else:
                if type(message) is not m.Heartbeat:
                    self._count(link)
                self._each(link, [message])

    def hello(self, conn: Any, message: m.LinkHello) -> None:
        """A connection of a node begins: the session goes on, or a new one does."""
        link = self.links.get(message.node_id)
        resumed = (
            link is not None
            and not link.closed
            and message.head == self.instance
            and link.window.can_resume(message.received)
        )
        if link is None or not resumed:
            link = self._new_link(message.node_id, link)
        elif link.conn is not None and link.conn is not conn:
            self._by_conn.pop(link.conn, None)
            link.conn.close("a newer connection of the same node is there")
        self._by_conn[conn] = link
        link.repeated = link.received.count - link.safe
        conn.post(m.LinkWelcome(self.instance, self.epoch, resumed, link.safe))
        if resumed:
            link.window.acked(message.received)
            for unacked in link.window.unacked():
                conn.post(unacked)
        link.conn = conn
        greeting = self.greeting() if not resumed else None
        if greeting is not None:
            link.post(greeting)

    def _new_link(self, node_id: bytes, old: NodeLink | None) -> NodeLink:
        if old is not None:
            self._forget_conn(old)
            old.end()
        self._answers.answered(node_id)
        link = self.links[node_id] = NodeLink(node_id, self.outbox, self._on_asked)
        return link

    # --- who does not acknowledge -------------------------------------------------------------------------------------

    def _on_asked(self, node_id: bytes) -> None:
        self._answers.asked(node_id, self._now_s())
        self._look_soon()

    def _look_soon(self) -> None:
        at_s = self._answers.next_look_s()
        if at_s is not None and not self._looks:
            self._looks = True
            self._call_later(max(0.0, at_s - self._now_s()), self._look)

    def _look(self) -> None:
        self._looks = False
        for node_id in self._answers.late(self._now_s()):
            self.on_late(node_id)
        self._look_soon()

    # --- acknowledging ------------------------------------------------------------------------------------------------

    def _count(self, link: NodeLink) -> None:
        if link.received.add():
            self._acknowledge(link)
        elif not link.ack_scheduled:
            link.ack_scheduled = True
            self._call_later(LINK_ACK_AFTER_S, lambda: self._later(link))

    def _later(self, link: NodeLink) -> None:
        link.ack_scheduled = False
        self._acknowledge(link)

    def _acknowledge(self, link: NodeLink) -> None:
        if link.received.untold:
            link.post(m.LinkAck(link.received.told()))  # through the outbox: when what it led to is in the store

    def lost(self, conn: Any) -> NodeLink | None:
        """A connection is closed. The link that has none now; None when it has another one, or is no link's."""
        link = self._by_conn.pop(conn, None)
        if link is None or link.conn is not conn:
            return None
        link.conn = None
        return link

    def tell(self, message: m.Message) -> None:
        """All nodes, now: also while the outbox holds back what is said."""
        for link in self.links.values():
            link.transmit(message)

    def node_dead(self, node_id: bytes) -> NodeLink | None:
        """Its session is over; its connection stays until it has read why."""
        link = self.links.pop(node_id, None)
        if link is not None:
            self._answers.answered(node_id)
            self._forget_conn(link)
            link.end()
        return link

    def _forget_conn(self, link: NodeLink) -> None:
        if link.conn is not None:
            self._by_conn.pop(link.conn, None)

    def close(self, reason: str) -> None:
        """This head does not lead any more: hang up on everybody."""
        for link in self.links.values():
            if link.conn is not None:
                self._by_conn.pop(link.conn, None)
                link.conn.close(reason)
