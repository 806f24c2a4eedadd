"""`JobSubmissionClient`: submit, watch, stop and forget jobs. Users import it from `linckia.job_submission`.

The client uses the connection of this process; without one it connects (`linckia.init`), and leaves again with `close`,
at the end of a `with` block or of the program.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import linckia
from linckia.base import errors
from linckia.core.jobs import life
from linckia.core.jobs.details import (
    JobDetails,
    JobStatus,
    details_of,
    details_of_driver,
    job_ids,
    listed,
    submission_of,
)
from linckia.core.listing.records import RAY_MAX_LIMIT_FROM_API_SERVER
from linckia.host import environment
from linckia.job_config import JobConfig
from linckia.jobs.ledger import NAMESPACE
from linckia.jobs.reading import JobReader, end_supervisor
from linckia.jobs.submitting import Request, submit
from linckia.model.jobs import CLIENT_KEY, JobNeeds, JobPolicy, JobRecord
from linckia.model.listing import Filter, Row
from linckia.util.state.asking import collect
from linckia.worker import current

STATE_TIMEOUT_S = 10.0
STOP_LOOK_S = 15.0


class JobSubmissionClient:
    """``address``: what ``linckia.init`` takes; None: ``LINCKIA_API_SERVER_ADDRESS`` or ``LINCKIA_ADDRESS`` (or Ray's
    names of them), else the running cluster of this user. Never starts a cluster: ConnectionError when there is none.

    ``metadata`` goes with every job that is submitted through this client. Methods raise RuntimeError when there is no
    such job. A client may be used by several threads.
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: Any = None,
        metadata: Mapping[str, str] | None = None,
        headers: Any = None,
        verify: Any = True,
    ) -> None:
        del create_cluster_if_needed, cookies, headers, verify  # of Ray's HTTP server
        if address is not None and not isinstance(address, str):
            raise TypeError(f"JobSubmissionClient(address={address!r}): expected a string")
        self._metadata = dict(metadata or {})
        self._address = _address(address)
        self._connected = False
        self._runtime()

    def get_address(self) -> str:
        """As it was given or found in the environment."""
        return self._address

    def close(self) -> None:
        """Leave the cluster if this client has joined it. Jobs go on. Idempotent."""
        if self._connected:
            self._connected = False
            linckia.shutdown()

    def __enter__(self) -> JobSubmissionClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def submit_job(  # noqa: PLR0913 - Ray's signature, and what follows a failure
        self,
        *,
        entrypoint: str,
        job_id: str | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        submission_id: str | None = None,
        entrypoint_num_cpus: float | None = None,
        entrypoint_num_gpus: float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: Mapping[str, float] | None = None,
        entrypoint_label_selector: Mapping[str, str] | None = None,
        max_retries: int = 0,
        retry_backoff_s: float = 1.0,
        max_backoff_s: float = 60.0,
        retry_exit_codes: Sequence[int] = (),
        max_oom_retries: int = -1,
        failover: bool = True,
    ) -> str:
        """Run a shell command as a driver on some node of the cluster; returns the submission id at once.

        ``runtime_env``: as of ``init``; a ``working_dir`` is uploaded, and the command runs in it. ``entrypoint_*``:
        what the driver itself holds besides its tasks (nothing). ``max_retries``: attempts after the first when the
        command exits with another code than 0 (``retry_exit_codes``: only with one of these), with pauses that double
        from ``retry_backoff_s`` to ``max_backoff_s``; ``max_oom_retries`` for a lack of memory (-1: no limit).
        ``failover``: when its node or supervisor is lost the command is started again on another node, which costs no
        retry; False for what must not run twice: then the job has failed.

        Not idempotent without a ``submission_id``; with one, RuntimeError the second time. TypeError, ValueError: an
        argument cannot be. OSError, ValueError: the working directory cannot be packed.
        """
        needs = JobNeeds(
            entrypoint_num_cpus or 0,
            entrypoint_num_gpus or 0,
            entrypoint_memory or 0,
            dict(entrypoint_resources or {}),
            dict(entrypoint_label_selector or {}),
        )
        policy = JobPolicy(
            max_retries, list(retry_exit_codes), retry_backoff_s, max_backoff_s, max_oom_retries, bool(failover)
        )
        given = {**self._metadata, **(metadata or {})}
        request = Request(entrypoint, submission_id or job_id, runtime_env, given, needs, policy)
        return submit(self._runtime(), request)

    def get_job_status(self, job_id: str) -> JobStatus:
        """Of a submission id."""
        return JobStatus(self._reader().record(job_id).state)

    def get_job_info(self, job_id: str) -> JobDetails:
        """Everything about a job, by its submission id or the job id of its driver."""
        reader = self._reader()
        try:
            record = reader.record(job_id)
        except RuntimeError:
            rows = self._driver_rows([("job_id", "=", job_id)])
            submission_id = submission_of(rows[0]) if rows else None
            if not rows:
                raise
            if submission_id is None:
                return details_of_driver(rows[0])
            record = reader.record(submission_id)
        return details_of(record, self._job_ids([record]).get(record.spec.submission_id))

    def list_jobs(self) -> list[JobDetails]:
        """Submitted jobs, those submitted first first, then programs that connected by themselves."""
        return listed(self._reader().records(), self._driver_rows([]))

    def get_job_logs(self, job_id: str) -> str:
        """What all its attempts have written so far, standard output and error as they came."""
        return b"".join(self._reader().output(job_id, follow=False)).decode(errors="replace")

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """The same in pieces from the beginning, as it comes, until the job is over and its last byte was given."""
        import asyncio  # noqa: PLC0415 - start-up time

        pieces = self.follow_job_logs(job_id)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    def follow_job_logs(self, job_id: str) -> Iterator[str]:
        """`tail_job_logs` without asyncio. Blocks until there is news."""
        reader = self._reader()
        reader.record(job_id)
        return _decoded(reader.output(job_id, follow=True))

    def wait_job(self, job_id: str) -> JobDetails:
        """Until the job is over."""
        record = self._reader().wait(job_id)
        return details_of(record, self._job_ids([record]).get(job_id))

    def stop_job(self, job_id: str, wait: bool = True) -> bool:
        """SIGTERM to all processes of the driver, SIGKILL after 3 s. False when the job was over already. With ``wait``
        it is over when this returns. Idempotent.
        """
        reader = self._reader()
        if life.is_over(reader.record(job_id)):
            return False
        reader.ledger.ask_to_stop(job_id)
        while not life.is_over(record := reader.record(job_id)):
            if reader.state_of(job_id) != "ALIVE":
                return self._stop_waiting(reader, record)
            try:
                supervisor = linckia.get_actor(job_id, NAMESPACE)
                linckia.get(supervisor.stop.remote(wait), timeout=STOP_LOOK_S)
                if not wait:
                    return True
            except (ValueError, errors.RayActorError, errors.GetTimeoutError):
                continue  # it has just ended, or is started again: the record knows
        return record.state == "STOPPED"

    def _stop_waiting(self, reader: JobReader, record: JobRecord) -> bool:
        """No driver runs, and none shall be started."""
        submission_id = record.spec.submission_id
        end_supervisor(submission_id)
        last_word = reader.ledger.read(submission_id) or record
        if not life.is_over(last_word):
            reader.settle(last_word := life.stopped(last_word, environment.wall_time_s()))
        return last_word.state == "STOPPED"

    def delete_job(self, job_id: str) -> bool:
        """Forget a job that is over; its logs stay with their nodes. RuntimeError while it is not over."""
        reader = self._reader()
        record = reader.record(job_id)
        if not life.is_over(record):
            raise RuntimeError(f"job {job_id!r} is {record.state}: stop it first (`linckia job stop {job_id}`)")
        reader.ledger.forget(record)
        return True

    # --- the connection -----------------------------------------------------------------------------------------------

    def _runtime(self) -> Any:
        if current.runtime is None:
            config = JobConfig(metadata={CLIENT_KEY: "1"})
            linckia.init(self._address, log_to_driver=False, job_config=config)
            self._connected = True
        return current.runtime

    def _reader(self) -> JobReader:
        return JobReader(self._runtime())

    def _driver_rows(self, filters: list[Filter]) -> list[Row]:
        return collect("jobs", filters, RAY_MAX_LIMIT_FROM_API_SERVER, STATE_TIMEOUT_S, None).rows

    def _job_ids(self, records: list[JobRecord]) -> dict[str, str]:
        """Submission id -> job id of the last driver that connected."""
        wanted: list[Filter] = [("submission_id", "=", records[0].spec.submission_id)] if len(records) == 1 else []
        return job_ids(self._driver_rows(wanted) if records else [])


def _address(address: str | None) -> str:
    found = environment.option("API_SERVER_ADDRESS") or address or environment.option("ADDRESS") or "auto"
    if "://" in found and not found.startswith(("etcd://", "unix:")):
        raise ConnectionError(
            f"JobSubmissionClient(address={found!r}): there is no HTTP server of jobs; give the address of the "
            "cluster as linckia.init() takes it: HOST:PORT, or nothing on a machine of the cluster"
        )
    return found


def _decoded(pieces: Iterator[bytes]) -> Iterator[str]:
    """A character that is cut by a piece's end is shown with the next one."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text
