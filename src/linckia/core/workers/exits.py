"""Why did a worker process end, in Ray's five words (R 8.24)? Decided from who said what before it ended."""

from __future__ import annotations

from enum import Enum


class ExitType(Enum):
    """Who wanted it, if anybody."""

    SYSTEM_ERROR = "SYSTEM_ERROR"
    INTENDED_SYSTEM_EXIT = "INTENDED_SYSTEM_EXIT"
    USER_ERROR = "USER_ERROR"
    INTENDED_USER_EXIT = "INTENDED_USER_EXIT"
    NODE_OUT_OF_MEMORY = "NODE_OUT_OF_MEMORY"


def exit_type(announced: ExitType | None, *, killed_for: str, code: int | None) -> ExitType:
    """``announced``: by the worker or for it, first come. ``killed_for``: the cluster's reason to kill it, or empty.
    ``code``: its exit code, None when a signal ended it. ``sys.exit()`` in a task is announced by its code alone.
    """
    if announced is not None and (announced is not ExitType.INTENDED_USER_EXIT or killed_for or code == 0):
        return announced  # a worker that was given back as used up, but ended otherwise, has crashed
    if killed_for:
        return ExitType.INTENDED_SYSTEM_EXIT
    return ExitType.INTENDED_USER_EXIT if code == 0 else ExitType.SYSTEM_ERROR
