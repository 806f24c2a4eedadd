"""What a raylet tells a head that is new to it: who it is, what the last head has not heard or answered, what runs
here, and who listens to what. Then both agree, whatever was lost between (gcs/restoring.py).

Called by node/rooms.py when a session begins (raylet/gcs_link.py).
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from linckia.base.limits import FAILURES_KEPT_MAX, FAILURES_KEPT_S, HEAD_AWAY_WARN_S
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.raylet.relaying import Relaying
    from linckia.raylet.service import Raylet

SAID_ANEW = (
    m.RegisterNode,
    m.ResourceReport,
    m.ViewInterest,
    m.NodeRuns,
    m.UnregisterNode,
    m.KeepsFor,
    m.KeepsNothingFor,
    m.FindKeepers,
)
"""What a new head hears in a form of its own: what the last one was told of it would be wrong or late."""
FINAL_PHASES = ("failed", "refused", "unstartable")
"""Of an actor's start; the others are in `NodeRuns`. The last head may have acted on them already: "busy" twice would
start the actor twice.
"""


class RecentFailures:
    """Deaths of processes that a head may have heard of and not passed on before it died itself: the next one hears of
    them again.
    """

    def __init__(self) -> None:
        self._failures: deque[tuple[float, m.Message]] = deque(maxlen=FAILURES_KEPT_MAX)

    def add(self, message: m.Message, now_s: float) -> None:
        """One more."""
        self._failures.append((now_s, message))

    def recent(self, now_s: float) -> list[m.Message]:
        """Those of the last FAILURES_KEPT_S."""
        return [message for when_s, message in self._failures if now_s - when_s < FAILURES_KEPT_S]


class HeadSide:
    """One per raylet."""

    def __init__(self, raylet: Raylet) -> None:
        self.raylet = raylet
        self.failures = RecentFailures()
        self._is_first = True
        self._warning: Any = None  # timer, while the head is away and nobody was told
        self._away_since_s = 0.0

    def presence(self, is_up: bool) -> None:
        """The head is away, or one is there again. Drivers hear of it when it lasts: nothing waits in silence."""
        told = self._warning is None and self._away_since_s > 0
        if self._warning is not None:
            self._warning.cancel()
            self._warning = None
        if not is_up:
            self._away_since_s = time.monotonic()
            self._warning = self.raylet.reactor.call_later(HEAD_AWAY_WARN_S, self._warn)
            return
        away_s, self._away_since_s = time.monotonic() - self._away_since_s, 0.0
        if told:
            self._tell("head back", f"a head leads again, after {away_s:.0f} s: what waited for it goes on")

    def _warn(self) -> None:
        self._warning = None
        why = getattr(self.raylet.gcs, "last_error", "")
        text = (
            f"no head answers since {HEAD_AWAY_WARN_S:g} s ({why}). Tasks, actor calls and objects go on; making "
            "actors and placement groups, and finding them by name, waits until a head leads again, requests at most "
            "60 s"
        )
        self._tell("head away", text)

    def _tell(self, key: str, text: str) -> None:
        for driver in self.raylet.drivers.values():
            driver.peer.post(m.DriverMessage("warning", f"{key} {time.monotonic()}", text))

    def begin(self, unacked: list[m.Message], relaying: Relaying) -> None:
        """A session begins: with our first head, or with another one than before."""
        raylet = self.raylet
        raylet.announce(tells=not self._is_first)
        relaying.again(unacked)
        for message in unacked:
            if not _is_stale(message) and not relaying.is_answered(message):
                raylet.gcs.post(message)
        if not self._is_first:
            for failed in self.failures.recent(time.monotonic()):
                raylet.gcs.post(failed)
            raylet.objects.orphans.head_is_new()
            raylet.gcs.post(self.what_runs())
            relaying.listen_again()
        self._is_first = False

    def what_runs(self) -> m.NodeRuns:
        """Actors, bundles and drivers of this node."""
        raylet = self.raylet
        return m.NodeRuns(
            raylet.options.node.node_id,
            raylet.actors.running(),
            list(raylet.bundles.bundles),
            [job_id for job_id, job in raylet.jobs.items() if not job.ended],
            list(raylet.drivers),
            [bytes.fromhex(group) for group in raylet.leases.awaited_groups()],
        )


def _is_stale(message: m.Message) -> bool:
    if isinstance(message, m.ActorStart):
        return message.phase not in FINAL_PHASES
    return isinstance(message, SAID_ANEW)
