"""When an actor's state may be saved, and when it should: only while no call runs.

A plain actor runs one call at a time, so each end of a call is such a moment. In an async or threaded actor calls
overlap; when a checkpoint is due, calls that arrive are held back until those that run have ended, but not for longer
than ``hold_max_s``: a call may wait for another one. Called by worker/actor_checkpoints.py under its lock.
"""

from __future__ import annotations


class SavePoint:
    """The calls of one actor and what is unsaved of them. Times are monotonic seconds."""

    __slots__ = (
        "_asked",
        "_due_since_s",
        "_first_unsaved_s",
        "begun",
        "every_calls",
        "every_s",
        "hold_max_s",
        "running",
        "saving",
        "unsaved",
    )

    def __init__(self, every_s: float | None, every_calls: int | None, hold_max_s: float) -> None:
        self.every_s, self.every_calls, self.hold_max_s = every_s, every_calls, hold_max_s
        self.running = 0
        self.begun = 0  # over all lives of the actor
        self.unsaved = 0
        self.saving = False
        self._asked = False
        self._first_unsaved_s = 0.0
        self._due_since_s: float | None = None

    def is_due(self, now_s: float) -> bool:
        """Whether the state should be saved at the next moment without a running call."""
        due = (
            self._asked
            or (self.every_calls is not None and self.unsaved >= self.every_calls)
            or (self.every_s is not None and self.unsaved > 0 and now_s - self._first_unsaved_s >= self.every_s)
        )
        if due and self._due_since_s is None:
            self._due_since_s = now_s
        return due

    def holds(self, now_s: float) -> bool:
        """Whether a call that wants to begin has to wait."""
        if self.saving:
            return True
        if not self.running or not self.is_due(now_s):
            return False
        since_s = self._due_since_s
        return since_s is not None and now_s < since_s + self.hold_max_s

    def begin(self, now_s: float) -> bool:
        """A call begins. True when it is the first that is not saved: look at the time again after ``every_s``."""
        self.running += 1
        self.begun += 1
        self.unsaved += 1
        if self.unsaved > 1:
            return False
        self._first_unsaved_s = now_s
        return True

    def end(self, now_s: float) -> bool:
        """A call has ended. True: save now, and say ``saved`` afterwards; nothing begins meanwhile."""
        self.running -= 1
        return self.try_begin_save(now_s)

    def ask(self) -> None:
        """Somebody wants a checkpoint, whatever the policy."""
        self._asked = True

    def try_begin_save(self, now_s: float) -> bool:
        """As ``end`` without a call: the time has come, or somebody asked."""
        if self.running or self.saving or not self.is_due(now_s):
            return False
        self.saving = True
        return True

    def saved(self, now_s: float, *, well: bool) -> None:
        """It is saved; or it could not be, and is due again as if a call had just begun to be unsaved."""
        self.saving = self._asked = False
        self._due_since_s = None
        if well:
            self.unsaved = 0
        else:
            self._first_unsaved_s = now_s
