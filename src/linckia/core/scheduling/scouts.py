"""Who waits at a node, of actors that no node has room for: one of each likeness, at one node after the other. Pure;
used by gcs/actor_placement.py.

A *scout* waits where tasks can make room, for a limited time: their owners are asked for workers, and what comes back
is the scout's. Where it got none in time, or nothing could come back, it does not go again in this *round*; when all
nodes were tried the next round begins after a pause, and in it a scout waits longer.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

WAIT_FIRST_S, WAIT_MAX_S = 1.0, 30.0
PAUSE_FIRST_S, PAUSE_MAX_S = 0.25, 8.0
FACTOR = 2.0


class _Turn:
    """Of one likeness."""

    __slots__ = ("actor_id", "from_s", "node_id", "pause_s", "tried", "wait_s")

    def __init__(self) -> None:
        self.actor_id = self.node_id = b""
        self.tried: set[bytes] = set()
        self.wait_s, self.pause_s, self.from_s = WAIT_FIRST_S, PAUSE_FIRST_S, 0.0


class Scouts:
    """By likeness: whatever is equal for actors that fit into the same nodes."""

    def __init__(self) -> None:
        self._turns: dict[object, _Turn] = {}
        self._scouting: dict[bytes, object] = {}

    def __len__(self) -> int:
        """So many wait at nodes."""
        return len(self._scouting)

    def may_go(self, likeness: object, now_s: float) -> bool:
        """Nobody of this likeness waits at a node, and its pause is over."""
        turn = self._turns.get(likeness)
        return turn is None or (not turn.actor_id and now_s >= turn.from_s)

    def tried(self, likeness: object) -> AbstractSet[bytes]:
        """Nodes of this round."""
        turn = self._turns.get(likeness)
        return turn.tried if turn is not None else frozenset()

    def go(self, likeness: object, actor_id: bytes, node_id: bytes) -> float:
        """It waits there; for how long, in seconds."""
        turn = self._turns.setdefault(likeness, _Turn())
        turn.actor_id, turn.node_id = actor_id, node_id
        self._scouting[actor_id] = likeness
        return turn.wait_s

    def came_back(self, actor_id: bytes) -> bool:
        """Its node made no room; False when it did not wait at one."""
        likeness = self._scouting.pop(actor_id, None)
        if likeness is None:
            return False
        turn = self._turns[likeness]
        turn.tried.add(turn.node_id)
        turn.actor_id = b""
        return True

    def round_is_over(self, likeness: object, now_s: float) -> float:
        """There is no other node: until when to pause."""
        turn = self._turns.setdefault(likeness, _Turn())
        turn.tried.clear()
        turn.from_s = now_s + turn.pause_s
        turn.pause_s = min(PAUSE_MAX_S, turn.pause_s * FACTOR)
        turn.wait_s = min(WAIT_MAX_S, turn.wait_s * FACTOR)
        return turn.from_s

    def found_room(self, likeness: object) -> None:
        """One of them fits somewhere: rounds begin from the start when the next ones do not."""
        turn = self._turns.get(likeness)
        if turn is not None and not turn.actor_id:
            del self._turns[likeness]

    @property
    def is_idle(self) -> bool:
        """There is nothing to remember of anybody."""
        return not self._turns

    def settled(self, actor_id: bytes) -> None:
        """It does not wait any more: it has a worker, is dead, or begins anew. The next one begins from the start."""
        likeness = self._scouting.pop(actor_id, None)
        if likeness is not None:
            del self._turns[likeness]
