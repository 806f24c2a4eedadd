"""A standby's connection to the head that leads, and the leader's list of standbys.

The connection tells the leader how far the standby is, and the standby at once when the leader's process dies: its
sockets close, and whoever answers at its address then has no head to offer. That is sure enough to take its lease away:
were it wrong, the old leader's writes would fail all the same (gcs/journal.py).
"""

from __future__ import annotations

import time
from typing import Any

from linckia.base.addresses import join_host_port
from linckia.base.limits import LEADER_LOOK_MAX_S, STANDBY_REPORT_EVERY_S
from linckia.core.leadership.records import HeadFacts, HeadsView
from linckia.node.leadership import Leadership
from linckia.node.replica import Replica
from linckia.protocol import messages as m
from linckia.rpc.endpoints import HEAD_ROUTE
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor

SIGNS_OF_DEATH = ("Connection refused", "peer closed", "Connection reset")
"""Of a connection that never was: nobody listens there, or the node has no head to hand it to."""


LOOK_AGAIN_S = 0.05
UNMET_MAX_S = 0.5
"""A leader that has never answered us since it was elected is not taken for dead before: its process may be a new one,
and its node still hang up on whoever asks, because the one before has just died (`HeadChild`). Two heads that took each
other's leases so for a second and more, ten terms of 0.1 s, were the longest waits for a new leader.
"""


class LeaderWatch:
    """Of one standby."""

    def __init__(
        self, reactor: Reactor, identity: Identity, facts: HeadFacts, replica: Replica, leadership: Leadership
    ) -> None:
        self._reactor, self._facts, self._replica, self._leadership = reactor, facts, replica, leadership
        self._identity = Identity("gcs", facts.head_id, identity.token)
        self._conn: Any = None
        self._epoch = 0  # of the leader that is watched
        self._address = ""
        self._told = -1
        self._begun_s = self._since_s = 0.0  # the last attempt, and since when it is watched
        self._has_met = False  # it has answered
        self._is_over = False

    def look_at(self, view: HeadsView) -> None:
        """Who leads has changed, or not."""
        leader = view.leader
        if self._is_over or leader is None or leader.head_id == self._facts.head_id or view.epoch == self._epoch:
            return
        self._epoch, self._address = view.epoch, join_host_port(leader.host, leader.port)
        self._since_s, self._has_met = time.monotonic(), False
        self._connect()

    def stop(self) -> None:
        """We lead ourselves."""
        self._is_over = True
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close("this head leads now")

    def _connect(self) -> None:
        if self._is_over:
            return
        old, self._conn = self._conn, None
        if old is not None:
            old.close("another head leads")
        epoch = self._epoch
        try:
            conn = self._reactor.connect(
                f"tcp:{self._address}",
                self._identity,
                _nothing,
                lambda c, why: self._lost(c, epoch, why),
                route=HEAD_ROUTE,
            )
        except OSError:
            return  # no way there: the lease decides
        self._conn, self._told, self._begun_s = conn, -1, time.monotonic()
        conn.on_established = self._met
        self._reactor.call_later(LEADER_LOOK_MAX_S, lambda: self._too_long(conn))

    def _met(self, conn: Any) -> None:
        self._has_met = self._has_met or conn is self._conn
        self._report()

    def _too_long(self, conn: Any) -> None:
        """Neither an answer nor a refusal: silence proves nothing; the lease decides, and we try again meanwhile."""
        if conn is self._conn and not conn.established:
            self._connect()

    def _lost(self, conn: Any, epoch: int, why: str) -> None:
        if conn is not self._conn or self._is_over or epoch != self._epoch:
            return
        self._conn, now_s = None, time.monotonic()
        is_met = self._has_met or now_s - self._since_s >= UNMET_MAX_S
        if not conn.established and is_met and any(sign in why for sign in SIGNS_OF_DEATH):
            self._leadership.leader_gone(epoch)
        elif now_s - self._begun_s > LOOK_AGAIN_S:
            self._connect()  # it may be the way between us: who answers there now?
        else:  # its node does not know yet that it leads
            self._reactor.call_later(LOOK_AGAIN_S, lambda: self._connect() if self._conn is None else None)

    def _report(self) -> None:
        conn = self._conn
        if conn is None or self._is_over or not conn.established:
            return
        if self._told != self._replica.revision:
            self._told = self._replica.revision
            conn.post(m.StandbyReport(self._facts.head_id, self._told))
        self._reactor.call_later(STANDBY_REPORT_EVERY_S, self._report)


class Standbys:
    """What the leader knows of the others."""

    def __init__(self) -> None:
        self._revisions: dict[bytes, int] = {}
        self._of_conn: dict[Any, bytes] = {}

    def report(self, conn: Any, message: m.StandbyReport) -> None:
        """One is so far."""
        self._of_conn[conn] = message.head_id
        self._revisions[message.head_id] = message.revision

    def gone(self, conn: Any) -> None:
        """Its connection is closed."""
        self._revisions.pop(self._of_conn.pop(conn, b""), None)

    def lag(self, head_id: bytes, revision: int) -> int:
        """How many revisions it is behind by its last report; -1: it is not connected."""
        known = self._revisions.get(head_id)
        return -1 if known is None else max(0, revision - known)


def _nothing(_conn: Any, _batch: list[m.Message]) -> None:
    """The leader has nothing to say to a standby but what is in the store."""
