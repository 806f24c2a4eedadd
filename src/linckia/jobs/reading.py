"""Reads of jobs: the record as it may be believed, and the output of all attempts, by byte offset to its end mark.

While a supervisor lives it is asked, which tells of news at once and needs no head. Afterwards, and for attempts that
ran elsewhere, their nodes are asked through the state API. Nothing is shown twice and nothing is left out: the offset
is counted here, and an attempt is over when its record says where its log ends. Called by client.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import linckia
from linckia.base import errors
from linckia.core.jobs import life
from linckia.host import environment
from linckia.jobs.ledger import NAMESPACE, Ledger, start_max_s
from linckia.model.jobs import Attempt, JobRecord, decode_job
from linckia.model.specs import decode_actor_info
from linckia.protocol import messages as m
from linckia.util.state.asking import collect
from linckia.util.state.exception import RayStateApiException

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

WATCH_S = 20.0
"""A watch of a supervisor returns after so long even without news; then it is looked whether it lives."""
LOG_TIMEOUT_S = 10.0
LOG_TRIES = 3
UNSUPERVISED_LOOK_S = 0.2
_nobody = threading.Event()


class JobReader:
    """Over the connection of this process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self.ledger = runtime, Ledger(runtime)

    def record(self, submission_id: str) -> JobRecord:
        """As it may be believed; what is over is written down, if nobody has done so. RuntimeError: no such job."""
        state = self.state_of(submission_id)  # before the record: who is gone then has written his last word
        found = self.ledger.read(submission_id)
        if found is None:
            raise RuntimeError(f"there is no job {submission_id!r}; `linckia job list` shows what there is")
        return self._believed(found, state)

    def records(self) -> list[JobRecord]:
        """All that are remembered, those submitted first first."""
        living = self._states()
        found = [record for submission_id in self.ledger.ids() if (record := self.ledger.read(submission_id))]
        found.sort(key=lambda record: (record.spec.submitted_s, record.spec.submission_id))
        return [self._believed(record, living.get(record.spec.submission_id, "")) for record in found]

    def _believed(self, record: JobRecord, supervisor: str) -> JobRecord:
        now_s, max_s = environment.wall_time_s(), start_max_s()
        death = "" if supervisor or life.is_over(record) else self._death_of(record.spec.submission_id)
        seen = life.seen(record, supervisor, death, now_s, max_s)
        if life.is_over(seen) and not life.is_over(record):
            if supervisor:
                seen = self._without_supervisor(record, seen)
            self.settle(seen)
        return seen

    def _without_supervisor(self, record: JobRecord, seen: JobRecord) -> JobRecord:
        """It waited for too long. Should it have begun just now, then what it has written counts."""
        end_supervisor(record.spec.submission_id)
        last_word = self.ledger.read(record.spec.submission_id)
        if last_word is None or last_word == record:
            return seen
        return life.seen(last_word, "", "it had waited for too long", environment.wall_time_s(), start_max_s())

    def _death_of(self, submission_id: str) -> str:
        """What the cluster remembers of the end of a supervisor; empty when it never knew one."""
        wanted: list[Any] = [("name", "=", submission_id), ("ray_namespace", "=", NAMESPACE), ("state", "=", "DEAD")]
        try:
            rows = collect("actors", wanted, 1, LOG_TIMEOUT_S, None).rows
        except RayStateApiException:
            return ""
        context: Any = next(iter((rows[0]["death_cause"] or {}).values()), {}) if rows else {}
        return str(context.get("error_message", "")) or ("nobody knows why" if rows else "")

    def settle(self, record: JobRecord) -> None:
        """Write down that a job is over whose supervisor is gone."""
        self.ledger.write(record)
        self.ledger.bury(record)

    def state_of(self, submission_id: str) -> str:
        """Of the supervisor; empty when there is none."""
        answer = self._runtime.call(
            self._runtime.raylet, m.GetActorByName(self._runtime.next_rid(), submission_id, NAMESPACE)
        )
        return decode_actor_info(answer.info).state if answer.info is not None else ""

    def _states(self) -> dict[str, str]:
        question = m.ListActors(self._runtime.next_rid(), all_namespaces=False, namespace=NAMESPACE)
        actors = [decode_actor_info(info) for info in self._runtime.call(self._runtime.raylet, question).actors]
        return {actor.name: actor.state for actor in actors}

    # --- logs ---------------------------------------------------------------------------------------------------------

    def output(self, submission_id: str, *, follow: bool) -> Iterator[bytes]:
        """What all attempts have written, in order, in pieces; with ``follow`` until the job is over. A line tells
        where another attempt than the first begins, and what is missing because its node is gone.
        """
        record = self.record(submission_id)
        while not record.attempts:
            if not follow or life.is_over(record):
                return
            record = self._watched(record, 0, 0)[0]
        position = Position(record.attempts[0].number)
        while True:
            attempt = _numbered(record, position.number)
            if attempt is not None and (attempt.cause or not follow):
                yield from self._rest(attempt, position)
                later = [each for each in record.attempts if each.number > attempt.number]
                if later:
                    position = Position(later[0].number)
                    continue
                if not follow or life.is_over(record):
                    return
                position = Position(attempt.number + 1)
            record, data = self._watched(record, position.number, position.offset)
            if data:
                yield from position.begin(_numbered(record, position.number))
                position.offset += len(data)
                yield data

    def _rest(self, attempt: Attempt, position: Position) -> Iterator[bytes]:
        """What its log has beyond the position; of an attempt that is over up to its end."""
        yield from position.begin(attempt)
        while not attempt.cause or attempt.log_bytes < 0 or position.offset < attempt.log_bytes:
            data = self._piece(attempt, position.offset)
            if data is None and attempt.cause:
                yield _missing(attempt, position.offset)
            if not data:
                return
            position.offset += len(data)
            yield data

    def wait(self, submission_id: str) -> JobRecord:
        """Until the job is over."""
        record = self.record(submission_id)
        while not life.is_over(record):
            last = record.last
            record, _ = self._watched(record, last.number if last else 0, 1 << 62)
        return record

    def _watched(self, record: JobRecord, number: int, offset: int) -> tuple[JobRecord, bytes | None]:
        """The next news of a job that is not over."""
        submission_id = record.spec.submission_id
        try:
            supervisor = linckia.get_actor(submission_id, NAMESPACE)
            seen = linckia.get(
                supervisor.watch.remote(number, offset, life.mark_of(record), WATCH_S), timeout=WATCH_S + LOG_TIMEOUT_S
            )
        except errors.GetTimeoutError:
            return self.record(submission_id), None  # it waits for a node, or is started again
        except (ValueError, errors.RayActorError):
            known = self.record(submission_id)
            if not life.is_over(known):
                _nobody.wait(UNSUPERVISED_LOOK_S)  # it is about to be made, or has just died: no event tells
            return known, None
        return decode_job(seen.record), seen.data

    def _piece(self, attempt: Attempt, offset: int) -> bytes | None:
        """From ``offset`` on; None when it cannot be had any more."""
        wanted: list[Any] = [("node_id", "=", attempt.node_id), ("filename", "=", attempt.log), ("offset", "=", offset)]
        for _ in range(LOG_TRIES):
            try:
                part = collect("log", wanted, 1, LOG_TIMEOUT_S, None)
            except RayStateApiException:
                continue  # no head just now
            if part.rows:
                return bytes(part.rows[0]["data"])
            if not part.missing or any(text.startswith("log file") for text in part.missing):
                return None  # its node is gone, or has no such log
        return None


class Position:
    """How far the output was read."""

    def __init__(self, number: int) -> None:
        self.number, self.offset = number, 0
        self._begun = False

    def begin(self, attempt: Attempt | None) -> Iterator[bytes]:
        """The line before all attempts but the first, once."""
        if not self._begun and attempt is not None:
            self._begun = True
            if attempt.number > 1:
                yield f"--- attempt {attempt.number} on node {attempt.node_id[:12]} ({attempt.node_ip}) ---\n".encode()


def end_supervisor(submission_id: str) -> None:
    """For good, whatever it does; its driver ends with it. Nothing when there is none."""
    try:
        linckia.kill(linckia.get_actor(submission_id, NAMESPACE))
    except ValueError:
        pass  # it has ended


def _numbered(record: JobRecord, number: int) -> Attempt | None:
    return next((each for each in record.attempts if each.number == number), None)


def _missing(attempt: Attempt, offset: int) -> bytes:
    where = f"node {attempt.node_id[:12]} ({attempt.node_ip})"
    what = "what else it printed" if offset else f"the log of attempt {attempt.number}"
    return f"--- {what} is gone, or out of reach, with {where} ---\n".encode()
