"""Which group may have room made for it, and when: one at a time, first come first, with pauses. Pure; used by
directory.py.

Owners keep workers as long as they have tasks for them, so a group that waits until its bundles happen to be free may
wait for ever. A *claim* asks nodes to take workers back and to keep what comes free, for a limited time; one group at a
time, so that no two keep half of what both need. What is kept meanwhile serves nobody: at most a quarter of the time
is spent so, and who was not served comes again after a pause that grows, with more time.
"""

from __future__ import annotations

import heapq
import itertools

CLAIM_AFTER_S = 0.1
"""Room that comes free by itself is waited for first."""
CLAIM_FIRST_S, CLAIM_MAX_S = 1.0, 30.0
PAUSE_FIRST_S, PAUSE_MAX_S = 0.25, 30.0
FACTOR = 2.0
REST_PER_CLAIM = 3.0


class Claim:
    """One group's part. ``shunned``: nodes whose tasks made no room."""

    __slots__ = ("from_s", "is_queued", "pause_s", "shunned", "wait_s")

    def __init__(self) -> None:
        self.wait_s, self.pause_s, self.from_s = CLAIM_FIRST_S, PAUSE_FIRST_S, 0.0
        self.shunned: set[bytes] = set()
        self.is_queued = False

    def failed(self, now_s: float) -> None:
        """Come later, and take longer then."""
        self.from_s = now_s + self.pause_s
        self.pause_s = min(PAUSE_MAX_S, self.pause_s * FACTOR)
        self.wait_s = min(CLAIM_MAX_S, self.wait_s * FACTOR)


class ClaimTurns:
    """Groups that want a claim, and the one that has it."""

    def __init__(self) -> None:
        self.holder = b""
        self._began_s = self._rest_until_s = 0.0
        self._queue: list[tuple[float, int, bytes]] = []
        self._numbers = itertools.count()

    def want(self, group_id: bytes, claim: Claim, now_s: float) -> None:
        """It fits nowhere now. Idempotent."""
        claim.from_s = claim.from_s or now_s + CLAIM_AFTER_S
        if not claim.is_queued and group_id != self.holder:
            claim.is_queued = True
            heapq.heappush(self._queue, (claim.from_s, next(self._numbers), group_id))

    def next_s(self) -> float | None:
        """When `due` has an answer at the earliest; None: not before something else happens."""
        if self.holder or not self._queue:
            return None
        return max(self._queue[0][0], self._rest_until_s)

    def due(self, now_s: float) -> bytes:
        """The next group whose turn it is, taken out of the queue; empty when there is none."""
        next_s = self.next_s()
        if next_s is None or next_s > now_s:
            return b""
        return heapq.heappop(self._queue)[2]

    def begin(self, group_id: bytes, now_s: float) -> None:
        """It claims."""
        self.holder, self._began_s = group_id, now_s

    def end(self, group_id: bytes, now_s: float) -> None:
        """It does not claim any more; harmless when it did not."""
        if group_id == self.holder:
            self.holder = b""
            self._rest_until_s = now_s + REST_PER_CLAIM * (now_s - self._began_s)
