"""Checkpoints of a long task, or of the driver of a submitted job: what an attempt saved, a later one finds.
``linckia.checkpoint``.

Kept under the task's id, which all its attempts share (and its fallback). Removed when the task ends well: the main
thread does it after the answer was sent, so that no moment is left in which the work is neither saved nor answered.
Those of a driver are kept under the submission id, and removed by the job's supervisor when the job has succeeded.
"""

from __future__ import annotations

import inspect
import os
import re
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.host import environment
from linckia.host.checkpoint_files import CheckpointFiles
from linckia.host.session import remove_tree
from linckia.model.checkpoints import CheckpointInfo, check_count, directory
from linckia.worker import current
from linckia.worker.checkpoint_states import info_of, packed, restore

if TYPE_CHECKING:
    from types import TracebackType

    from linckia.worker.executor import Executor
    from linckia.worker.runtime import Runtime

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
USE = 'with linckia.checkpoint("name") as ckpt: state = ckpt.load(default); ...; ckpt.save(state)'


class TaskCheckpoint:
    """One named checkpoint of this task or job; a context manager. ``info``: what ``load`` found, or ``save`` wrote."""

    def __init__(self, name: str, dir: Any = None, keep: int = 2) -> None:
        if not isinstance(name, str):
            raise TypeError(f"checkpoint(name) must be a str, got {type(name).__name__}")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"checkpoint({name!r}): a name has 1 to 100 letters, digits, dots, dashes or underscores, and does not "
                "begin with a dot or dash"
            )
        check_count("checkpoint(keep=...)", keep)
        self.name, self.keep = name, keep
        self.info: CheckpointInfo | None = None
        self._dir = None if dir is None else directory(dir, "checkpoint(dir=...)")
        self._files: CheckpointFiles | None = None
        self._what = ""

    def __enter__(self) -> TaskCheckpoint:
        runtime = current.runtime
        executor: Executor | None = runtime.executor if runtime is not None else None
        if runtime is not None and executor is None and environment.setting(environment.SUBMISSION_VARIABLE):
            self._open_for_job(runtime, environment.setting(environment.SUBMISSION_VARIABLE))
            return self
        if runtime is None or executor is None or executor.current is None or executor.actor is not None:
            kind = "actor" if executor is not None and executor.actor is not None else "driver"
            advice = "give its class checkpoint=CheckpointPolicy(...)" if kind == "actor" else "call it in a task"
            this = f"this is an {kind}".replace("an d", "a d")
            raise RuntimeError(f"linckia.checkpoint() is for tasks and drivers of submitted jobs, and {this}: {advice}")
        push = executor.current
        attempt = push.extras.attempt if push.extras is not None else 0
        folder = self._dir or f"{runtime.session_dir}/checkpoints"
        files = self._files = CheckpointFiles(f"{folder}/task-{push.task_id.hex()}/{self.name}", attempt, self.keep)
        self._what = f"checkpoint {self.name!r} of task {executor.task_name()} ({push.task_id.hex()[:16]})"
        executor.after_task(lambda: _forget(executor, files, push.task_id, attempt))
        return self

    def _open_for_job(self, runtime: Runtime, submission_id: str) -> None:
        folder = f"{self._dir or f'{runtime.session_dir}/checkpoints'}/job-{submission_id}"
        attempt = int(environment.setting(environment.ATTEMPT_VARIABLE, "1"))
        self._files = CheckpointFiles(f"{folder}/{self.name}", attempt, self.keep)
        self._what = f"checkpoint {self.name!r} of job {submission_id}"
        note_place(runtime.session_dir, submission_id, folder)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is saved here, and nothing removed before the task has ended."""

    def load(self, default: Any = None) -> Any:
        """The state that was saved last by any attempt of this task, else ``default``. A damaged file is passed over
        for the one before it; CheckpointError when none can be read.
        """
        found = restore(self._open(), self._what)
        if found is None:
            return default
        self.info = found.info
        return found.state

    def save(self, state: Any) -> CheckpointInfo:
        """Durable when it returns. CheckpointError when it cannot be pickled; OSError when the disk refuses."""
        files = self._open()
        if inspect.isawaitable(state):
            raise TypeError("checkpoint.save() takes a value, got something to await")
        self.info = info_of(files.save(packed(state, self._what, "save plain values"), 0))
        return self.info

    def _open(self) -> CheckpointFiles:
        if self._files is None:
            raise errors.CheckpointError(f"this checkpoint is not open: {USE}", "application")
        return self._files


def note_place(session_dir: str, submission_id: str, folder: str) -> None:
    """Where a driver keeps checkpoints, for the supervisor of its job, which is on the same node."""
    path = places_file(session_dir, submission_id)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with open(path, "a", encoding="utf-8", opener=_private) as file:
        file.write(f"{folder}\n")


def forget_job(session_dir: str, submission_id: str) -> None:
    """The job has succeeded: what its driver has saved is of no use any more. Idempotent."""
    path = places_file(session_dir, submission_id)
    try:
        with open(path, encoding="utf-8") as file:
            places = dict.fromkeys(file.read().splitlines())
    except FileNotFoundError:
        return
    for folder in places:
        remove_tree(folder)
    os.unlink(path)


def places_file(session_dir: str, submission_id: str) -> str:
    """One folder in each line."""
    return f"{session_dir}/checkpoints/job-{submission_id}.places"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _forget(executor: Executor, files: CheckpointFiles, task_id: bytes, attempt: int) -> None:
    """After the task: what ended well needs no checkpoint."""
    if (task_id, attempt) not in executor.runtime.history.raised:
        files.forget(parent=True)
