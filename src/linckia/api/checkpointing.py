"""What users write to have state saved: ``Checkpointable`` and ``checkpoint`` (docs/fault-tolerance.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from linckia.model.checkpoints import CheckpointInfo
    from linckia.worker.task_checkpoints import TaskCheckpoint


@runtime_checkable
class Checkpointable(Protocol):
    """An actor class that says itself what its state is. Without these two methods the state is what pickle would
    take: ``__getstate__()`` or the attributes, given back by ``__setstate__(state)`` or as attributes.
    """

    def save_checkpoint(self) -> Any:
        """The state: anything that can be pickled. No call of the actor runs meanwhile."""

    def load_checkpoint(self, state: Any, info: CheckpointInfo) -> None:
        """Take a state back, after the constructor ran. ``info.calls_since`` calls that began after it was saved are
        lost.
        """


def checkpoint(name: str, *, dir: Any = None, keep: int = 2) -> TaskCheckpoint:
    """In a task: ``with checkpoint("name") as ckpt: state = ckpt.load(default); ...; ckpt.save(state)``.

    A retry of the same task finds what an earlier attempt saved; it is removed when the task has ended well. So it is
    with the driver of a submitted job, until the job has succeeded. ``dir``: an absolute path or ``file://`` URL of a
    shared directory, for retries on other machines; default: the session's directory of the node. ``keep``: files that
    stay. RuntimeError in other drivers, and in actors; TypeError, ValueError.
    """
    from linckia.worker.task_checkpoints import TaskCheckpoint  # noqa: PLC0415  (start-up time)

    return TaskCheckpoint(name, dir, keep)
