"""The session between a raylet and a head, below everything else they say to each other (tags 270-279). See
``core/links/windows.py`` and ``protocol/messages.py``.
"""

from __future__ import annotations

import msgspec

from linckia.model.wire import Address
from linckia.protocol.message import Message


class LinkHello(Message, tag=270):
    """Raylet to head, first on each connection. ``head`` is the instance that it had its last session with (empty:
    none), ``received`` how many messages of that session it has, ``epoch`` the highest it knows.
    """

    node_id: bytes
    head: bytes = b""
    received: int = 0
    epoch: int = 0


class LinkWelcome(Message, tag=271):
    """Head to raylet. ``resumed``: the session goes on, ``received`` of its messages have arrived; else it is a new
    one, with a head (or of a node) that knows nothing of the last.
    """

    head: bytes
    epoch: int
    resumed: bool
    received: int = 0


class NewLeader(Message, tag=279):
    """Head that has just begun to lead to a raylet that has not come: the last leader may be silent, not gone."""

    leader: str
    epoch: int


class NotLeader(Message, tag=272):
    """Head to raylet: another head leads (``leader``: host:port; empty while there is none). Ask it."""

    leader: str
    epoch: int
    heads: list[str] = []


class LinkAck(Message, tag=273):
    """So many messages of this session have arrived; of the head's: and what came of them is in the store."""

    received: int


class HeadsChanged(Message, tag=274):
    """Head to raylets: where heads are (host:port), for the day when this one is away."""

    epoch: int
    heads: list[str]


class HeadPaused(Message, tag=280):
    """Head to raylets: it leads and holds back what it has to say, ``why``; empty: it goes on."""

    why: str


class StandbyReport(Message, tag=276):
    """Standby to the head that leads: its copy of the records is at that revision. The connection tells it when the
    leader's process dies.
    """

    head_id: bytes
    revision: int


class StepDown(Message, tag=277):
    """Anybody to the head that leads by ``epoch``: let another head lead. Answered by SteppedDown, before it does; said
    again to the next head it means nothing.
    """

    rid: int
    epoch: int
    reason: str = ""


class SteppedDown(Message, tag=278):
    """``accepted`` False: why not."""

    rid: int
    accepted: bool
    text: str = ""


class RunningActor(msgspec.Struct, array_like=True, frozen=True):
    """An actor on its node. ``phase``: waiting (for a worker), leased (its constructor runs, or may begin) or alive."""

    actor_id: bytes
    restarts: int
    phase: str
    worker: Address | None = None
    pid: int = 0
    repr_name: str = ""
    attempt: int = 1


class NodeRuns(Message, tag=275):
    """Raylet to a head that is new to it, behind what the last one had not acknowledged: what is here. The head starts
    what is missing and ends what is too much. ``bundles``: (group id, index); ``jobs``: that it knows to go on;
    ``drivers``: worker ids of those here; ``awaited``: groups for whose bundles something waits here.
    """

    node_id: bytes
    actors: list[RunningActor] = []
    bundles: list[tuple[bytes, int]] = []
    jobs: list[bytes] = []
    drivers: list[bytes] = []
    awaited: list[bytes] = []
