"""The supervisor of one submitted job: a detached actor that runs the job's entrypoint, attempt after attempt (R 8.34).

Made by client.py. It is restarted for ever, on any node that has room, and finds in the record what the life before it
was doing: an attempt that is open there was lost with that life. What follows an event is decided in core/jobs; here it
is done: write the record down, then act. When the job is over the actor ends itself, and its worker with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import linckia
from linckia.base import errors
from linckia.base.backoff import Backoff
from linckia.base.limits import JOB_STOP_GRACE_S
from linckia.core.jobs import life
from linckia.core.jobs.states import AttemptCause
from linckia.host import entropy, entrypoint, environment, process
from linckia.host.growth import GrowthWatch
from linckia.host.memory import MemoryProbe
from linckia.jobs import losses, surroundings
from linckia.jobs.ledger import Ledger, start_max_s
from linckia.model.jobs import Attempt, JobRecord, encode_job
from linckia.worker import current
from linckia.worker.task_checkpoints import forget_job

LOG_PIECE_BYTES = 1 << 20
HEAD_RETRY = Backoff(0.2, 5.0, jitter=0.5)
SIGKILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the second: as a shell says it of its child
T = TypeVar("T")


class Seen(NamedTuple):
    """An answer to `Supervisor.watch`. ``data`` is None when this node does not have that log."""

    record: bytes
    data: bytes | None


class Supervisor:
    """One per job that is not over."""

    def __init__(self, submission_id: str) -> None:
        entrypoint.prepare()
        self._id = submission_id
        runtime: Any = current.runtime
        self._runtime, self._ledger = runtime, Ledger(runtime)
        self._record: JobRecord | None = None
        self._rng = entropy.random_generator()
        self._stop, self._over = asyncio.Event(), asyncio.Event()
        self._turn = asyncio.Event()  # the entrypoint has ended, or is to end
        self._news = asyncio.Event()
        self._watchers = 0
        self._growth: GrowthWatch | None = None
        self._running: Attempt | None = None
        self._life = asyncio.get_running_loop().create_task(self._live())
        self._life.add_done_callback(_crash_if_failed)

    # --- what clients ask ---------------------------------------------------------------------------------------------

    async def watch(self, number: int, offset: int, known: str, wait_s: float) -> Seen:
        """The record and what the log of attempt ``number`` has from ``offset`` on: as soon as there is any, or the
        record is other than ``known`` (its ``life.mark_of``), or the time is over. Changes nothing.
        """
        deadline_s = asyncio.get_running_loop().time() + wait_s
        while True:
            self._news.clear()
            record = self._record
            data = self._piece(record, number, offset) if record is not None else None
            left_s = deadline_s - asyncio.get_running_loop().time()
            if record is not None and (data or life.mark_of(record) != known or left_s <= 0):
                return Seen(encode_job(record), data)
            await self._wait_for_news(max(0.0, left_s))

    async def stop(self, wait: bool) -> None:
        """End the job; with ``wait`` it is over when this returns. The wish is in the ledger already."""
        self._stop.set()
        self._turn.set()
        if wait:
            await self._over.wait()

    def _piece(self, record: JobRecord, number: int, offset: int) -> bytes | None:
        attempt = next((each for each in record.attempts if each.number == number), None)
        if attempt is None or attempt.node_id != self._runtime.node_id.hex():
            return None
        try:
            with open(losses.log_path(self._runtime, attempt.log), "rb") as file:
                file.seek(offset)
                return file.read(LOG_PIECE_BYTES)
        except OSError:
            return None

    async def _wait_for_news(self, wait_s: float) -> None:
        self._watchers += 1
        self._see_to_growth()
        try:
            await asyncio.wait_for(self._news.wait(), wait_s)
        except TimeoutError:
            pass
        finally:
            self._watchers -= 1
            self._see_to_growth()

    def _see_to_growth(self) -> None:
        """The kernel tells of new output only while somebody waits for it."""
        loop, wanted = asyncio.get_running_loop(), self._running is not None and self._watchers > 0
        if wanted and self._growth is None and self._running is not None:
            try:
                self._growth = GrowthWatch(losses.log_path(self._runtime, self._running.log))
            except OSError:
                return  # no log yet, or no watch left: then news come with the end of the wait
            loop.add_reader(self._growth.fd, self._grown, self._growth)
            self._news.set()  # it may have grown just before
        elif not wanted and self._growth is not None:
            loop.remove_reader(self._growth.fd)
            self._growth.close()
            self._growth = None

    def _grown(self, growth: GrowthWatch) -> None:
        growth.clear()
        self._news.set()

    # --- the job ------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        found = await self._surely(lambda: self._ledger.read(self._id))
        if found is None:  # deleted meanwhile: nobody wants it
            await self._leave()
            return
        self._record = record = found
        if not life.is_over(record):
            record = await self._run(record)
        if record.state == "SUCCEEDED":
            await asyncio.to_thread(forget_job, self._runtime.session_dir, self._id)
        self._over.set()
        await self._surely(lambda: self._ledger.bury(record))
        await self._leave()

    async def _run(self, record: JobRecord) -> JobRecord:
        """Attempts until it is over; each step is durable before the next."""
        lost = record.running
        if lost is not None:
            end = await asyncio.to_thread(losses.loss_of, self._runtime, lost)
            record = await self._write(life.ended(record, end, environment.wall_time_s(), self._rng))
        elif not record.attempts and environment.wall_time_s() - record.spec.submitted_s > start_max_s():
            why = f"no node had room for its driver within {start_max_s():g} s"
            return await self._write(life.refused(record, why, life.START_TIMEOUT, environment.wall_time_s()))
        if await self._surely(lambda: self._ledger.is_to_stop(self._id)):
            self._stop.set()
        while not life.is_over(record):
            await self._pause(record.not_before_s - environment.wall_time_s())
            if self._stop.is_set():
                return await self._write(life.stopped(record, environment.wall_time_s()))
            record = await self._attempt(record)
        return record

    async def _pause(self, wait_s: float) -> None:
        """Less when somebody stops the job."""
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait_s)

    async def _attempt(self, record: JobRecord) -> JobRecord:
        runtime = self._runtime
        place = life.Place(runtime.node_id.hex(), runtime.node_ip, os.getpid())
        record = await self._write(life.begin(record, place, environment.wall_time_s()))
        attempt = record.attempts[-1]
        path = losses.log_path(runtime, attempt.log)
        try:
            around = await asyncio.to_thread(surroundings.of_attempt, runtime, record, attempt.number)
            probe = MemoryProbe()
            pid, pidfd = entrypoint.start(record.spec.entrypoint, around.variables, around.cwd, path)
        except errors.RuntimeEnvSetupError as error:
            return await self._refuse(record, str(error), life.ENVIRONMENT_FAILED)
        except (OSError, ValueError) as error:
            return await self._refuse(record, f"its entrypoint cannot be started: {error}", life.ENTRYPOINT_NOT_STARTED)
        self._running = attempt
        async with asyncio.TaskGroup() as group:
            noted = group.create_task(self._write(life.started(record, pid)))  # the driver does not wait for the head
            was_stopped = await self._end_of(pid, pidfd)
            code = entrypoint.reap(pid)
            os.close(pidfd)
            await asyncio.to_thread(entrypoint.end_all, *_stopping())  # what the entrypoint has left behind
        record = noted.result()
        self._running = None
        self._see_to_growth()
        is_oom = code in SIGKILLED and probe.kernel_killed()
        end = _end(code, was_stopped=was_stopped, is_oom=is_oom, path=path)
        return await self._write(life.ended(record, end, environment.wall_time_s(), self._rng))

    async def _end_of(self, pid: int, pidfd: int) -> bool:
        """Wait until the process has ended; true when it was told to."""
        loop = asyncio.get_running_loop()
        if not self._stop.is_set():
            self._turn.clear()
        loop.add_reader(pidfd, self._turn.set)
        try:
            await self._turn.wait()
        finally:
            loop.remove_reader(pidfd)
        if process.wait_pidfd(pidfd, 0):
            return False
        await asyncio.to_thread(entrypoint.end_all, *_stopping(), pid)
        return True

    async def _refuse(self, record: JobRecord, why: str, error_type: str) -> JobRecord:
        return await self._write(life.refused(record, why, error_type, environment.wall_time_s()))

    # --- the head -----------------------------------------------------------------------------------------------------

    async def _write(self, record: JobRecord) -> JobRecord:
        """Durable first, then known."""
        await self._surely(lambda: self._ledger.write(record))
        self._record = record
        self._news.set()
        return record

    async def _surely(self, ask: Callable[[], T]) -> T:
        """Ask the head until it answers: the driver runs on meanwhile."""
        attempt = 0
        while True:
            try:
                return await asyncio.to_thread(ask)
            except errors.RaySystemError as error:
                sys.stderr.write(f"supervisor of job {self._id}: {error}; trying again\n")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), HEAD_RETRY.delay_s(attempt, self._rng))
                attempt += 1

    async def _leave(self) -> None:
        """End this actor for good, once those who wait for an answer have it."""
        self._over.set()
        self._news.set()
        handle: Any = linckia.get_runtime_context().current_actor
        handle.__ray_terminate__.remote()


def _stopping() -> tuple[int, float]:
    name = environment.option("JOB_STOP_SIGNAL") or "SIGTERM"
    number = getattr(signal, name, signal.SIGTERM)
    return number, float(environment.option("JOB_STOP_WAIT_TIME_S") or JOB_STOP_GRACE_S)


def _end(code: int, *, was_stopped: bool, is_oom: bool, path: str) -> life.End:
    how = process.describe_exit(-code if code < 0 else code << 8)
    size = losses.log_size(path)
    if was_stopped:
        return life.End(AttemptCause.STOPPED, f"its entrypoint {how}", code, size)
    if code == 0:
        return life.End(AttemptCause.SUCCEEDED, f"its entrypoint {how}", code, size)
    if is_oom:
        return life.End(AttemptCause.OUT_OF_MEMORY, f"its entrypoint {how} for want of memory", code, size)
    return life.End(AttemptCause.APPLICATION, f"its entrypoint {how}", code, size, losses.last_lines(path))


def _crash_if_failed(task: asyncio.Task[None]) -> None:
    """A mistake of ours: the worker ends with evidence, and the next supervisor goes on from the record."""
    if not task.cancelled() and task.exception() is not None:
        traceback.print_exception(task.exception())
        sys.stderr.flush()
        os._exit(1)
