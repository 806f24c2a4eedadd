"""Where jobs are written down: the head's key-value store, which survives the head. Used by supervisors and clients.

After its creation a record is written by its supervisor alone, and by a reader only once that one is dead for good.
Every call raises RaySystemError when no head answers within a minute, and may be made again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.base.limits import ENDED_SUBMISSIONS_MAX, JOB_START_MAX_S
from linckia.host import environment
from linckia.model.jobs import RECORDS, SUPERVISORS, JobRecord, decode_job, encode_job
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

STOPS, ENDED = "linckia.jobs.stops", "linckia.jobs.ended"
"""Namespaces: id of what is to be stopped; time and id of what is over, in this order."""

NAMESPACE = SUPERVISORS


def start_max_s() -> float:
    """How long a job may wait for its first attempt."""
    return float(environment.option("JOB_START_TIMEOUT_SECONDS") or JOB_START_MAX_S)


class Ledger:
    """Over the connection of this process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def create(self, record: JobRecord) -> bool:
        """False when there is a job of this id already."""
        return bool(self._put(RECORDS, record.spec.submission_id.encode(), encode_job(record), overwrite=False))

    def read(self, submission_id: str) -> JobRecord | None:
        """None when there is no such job."""
        found = self._runtime.call(
            self._runtime.raylet, m.KvGet(self._runtime.next_rid(), RECORDS, submission_id.encode())
        )
        return decode_job(found.values[0]) if found.values else None

    def write(self, record: JobRecord) -> None:
        """Durable when it returns."""
        self._put(RECORDS, record.spec.submission_id.encode(), encode_job(record), overwrite=True)

    def ids(self) -> list[str]:
        """Of all jobs that are remembered."""
        return [key.decode() for key in self._keys(RECORDS, b"")]

    def ask_to_stop(self, submission_id: str) -> None:
        """Also those who supervise it from now on will know."""
        self._put(STOPS, submission_id.encode(), b"", overwrite=True)

    def is_to_stop(self, submission_id: str) -> bool:
        """Somebody has asked for it."""
        return submission_id.encode() in self._keys(STOPS, submission_id.encode())

    def bury(self, record: JobRecord) -> None:
        """Note that it is over, and forget those that ended first when there are too many. Idempotent."""
        submission_id = record.spec.submission_id
        self._put(ENDED, _ended_key(record), b"", overwrite=True)
        self._delete(STOPS, submission_id.encode())
        for key in self._keys(ENDED, b"")[:-ENDED_SUBMISSIONS_MAX]:
            self._delete(RECORDS, key.partition(b" ")[2])
            self._delete(ENDED, key)

    def forget(self, record: JobRecord) -> None:
        """As if it had never been."""
        submission_id = record.spec.submission_id.encode()
        self._delete(RECORDS, submission_id)
        self._delete(STOPS, submission_id)
        self._delete(ENDED, _ended_key(record))

    def _put(self, namespace: str, key: bytes, value: bytes, *, overwrite: bool) -> int:
        message = m.KvPut(self._runtime.next_rid(), namespace, key, value, overwrite=overwrite)
        return int(self._runtime.call(self._runtime.raylet, message).count)

    def _delete(self, namespace: str, key: bytes) -> None:
        self._runtime.call(self._runtime.raylet, m.KvDel(self._runtime.next_rid(), namespace, key))

    def _keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        answer = self._runtime.call(self._runtime.raylet, m.KvKeys(self._runtime.next_rid(), namespace, prefix))
        return list(answer.values)


def _ended_key(record: JobRecord) -> bytes:
    return f"{record.end_s:017.3f} {record.spec.submission_id}".encode()
