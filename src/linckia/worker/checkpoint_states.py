"""Reading the newest whole checkpoint back, and saying what could not be read. Used for actors and for tasks."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from linckia.base import errors
from linckia.host.checkpoint_files import DamagedError, Saved
from linckia.model.checkpoints import CheckpointInfo
from linckia.serialization.values import dumps_plain

if TYPE_CHECKING:
    from linckia.host.checkpoint_files import CheckpointFiles


class Restored(NamedTuple):
    """A state, and what is known of it."""

    state: Any
    info: CheckpointInfo


def restore(files: CheckpointFiles, what: str) -> Restored | None:
    """The newest state that can be read; None when nothing was ever saved. Damaged files are named on stderr.

    CheckpointError when there are files and none can be read: to begin anew would lose everything in silence.
    """
    calls = files.calls()
    damaged: list[str] = []
    for path in files.paths():
        try:
            saved = files.read(path)
            state = pickle.loads(saved.payload)
        except Exception as problem:  # noqa: BLE001  (unpickling runs the author's code; the one before may do)
            reason = str(problem) if isinstance(problem, DamagedError) else repr(problem)
            damaged.append(f"{path}: {reason}")
            sys.stderr.write(f"checkpoint of {what} cannot be read, the one before it is tried: {damaged[-1]}\n")
            continue
        return Restored(state, info_of(saved, calls, tuple(damaged)))
    if damaged:
        listed = "; ".join(damaged)
        raise errors.CheckpointError(f"none of the {len(damaged)} checkpoints of {what} can be read: {listed}")
    return None


def info_of(saved: Saved, calls: int | None = None, damaged: tuple[str, ...] = ()) -> CheckpointInfo:
    """What users are told of a file; ``calls``: how many calls were begun by now."""
    since = None if calls is None else max(0, calls - saved.calls)
    return CheckpointInfo(
        number=saved.number,
        saved_s=saved.saved_s,
        calls=saved.calls,
        calls_since=since,
        path=saved.path,
        damaged=damaged,
    )


def packed(state: Any, what: str, how: str) -> bytes:
    """The pickled state. CheckpointError names what cannot be pickled and where to change it."""
    try:
        return dumps_plain(state)
    except Exception as problem:
        text = f"the state of {what} cannot be pickled: {problem}; {how}"
        raise errors.CheckpointError(text, "application") from problem
