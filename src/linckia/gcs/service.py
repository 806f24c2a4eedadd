"""The GCS room: nodes, jobs, key-value and cluster questions. Actors, placement groups and the like plug in by
``handlers``.

A peer is a connection (or in-process link); :meth:`Gcs.reply` answers a request and remembers the answer, so that a
retried request is answered from memory and runs once. Built by node/; a journal (gcs/journal.py) keeps in a store what
``touch`` names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from linckia.base.ids import JobID
from linckia.base.limits import ENDED_JOBS_MAX_BYTES, PROFILE_EVENTS_MAX_BYTES
from linckia.core.tables.budget import Ledger, Recent
from linckia.core.tables.relation import Relation
from linckia.gcs import records
from linckia.gcs.journal import Outbox
from linckia.gcs.key_value import KeyValueService
from linckia.gcs.nodes import NodeService
from linckia.host import environment
from linckia.model.specs import JobConfig
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.rpc.idempotence import RecentReplies

Handler = Callable[[Any, Any], None]
READS = frozenset(
    {m.KvGet, m.KvKeys, m.ClusterQuery, m.GetActorByName, m.ListActors, m.GroupQuery, m.FindKeepers, m.WhyAbsent}
)
JOB_RECORD_BYTES, PROFILE_EVENT_BYTES = 1500, 500
"""Of an ended job's record besides its settings, and of an event besides its texts: measured."""
_decode_job = msgspec.msgpack.Decoder(JobConfig).decode
_encode = msgspec.msgpack.encode


class JobRecord(msgspec.Struct):
    """A driver's run."""

    job_id: bytes
    driver: Address
    pid: int
    config: bytes
    node_id: bytes  # of its driver
    finished: bool = False
    started_s: float = 0.0  # on the wall clock, as the next
    ended_s: float = 0.0


class Gcs:
    """One per cluster. ``handlers``: message type -> ``handler(peer, message)``; modules add theirs by `plug_in`."""

    def __init__(
        self,
        session_name: str,
        call_later: Callable[[float, Callable[[], None]], Any],
        outbox: Outbox | None = None,
    ) -> None:
        self.session_name = session_name
        self.outbox = outbox or Outbox()
        self.outbox.tables.update({records.META: self._meta_row, records.JOBS: self._job_row})
        self.token_mark = ""
        self.nodes = NodeService(self.reply, call_later, self.outbox)
        self.nodes.on_joined.append(self._tell_jobs)
        self.nodes.on_back.append(self._tell_jobs)
        self.nodes.on_dead.append(self._node_dead)
        self.jobs: dict[bytes, JobRecord] = {}
        self._running: Relation[bytes, bytes] = Relation(b"")  # jobs that have not ended, by their driver's node
        self._job_of_driver: dict[bytes, bytes] = {}
        self.ended_jobs: Ledger[bytes] = Ledger(ENDED_JOBS_MAX_BYTES, "those that ended first")
        self.jobs_seen = 0
        self.kv = KeyValueService(self.reply, self.outbox)
        self.clients: dict[bytes, Any] = {}  # worker id -> connection that last sent something
        self.recent = RecentReplies()
        self.profile_events: Recent[tuple[str, float, float, bytes, bytes, int, str]] = Recent(PROFILE_EVENTS_MAX_BYTES)
        self.queries: dict[str, Callable[[], Any]] = {
            **self.nodes.queries(),
            "overview": self._overview,
            "status": self._status,
            "jobs": self._jobs,
            "timeline": lambda: list(self.profile_events),
        }
        self.on_peer_gone: list[Callable[[Any], None]] = []
        self.on_job_finished: list[Callable[[bytes], None]] = []
        self.on_worker_failed: list[Callable[[m.WorkerFailed], None]] = []
        self.handlers: dict[type[m.Message], Handler] = {
            **self.nodes.handlers(),
            m.RegisterJob: self.on_register_job,
            m.JobFinished: self.on_job_finished_message,
            m.WorkerFailed: self.on_worker_failed_message,
            m.ProfileEvents: self.on_profile_events,
            **self.kv.handlers(),
            m.ClusterQuery: self.on_cluster_query,
        }

    # --- the seam for other modules -----------------------------------------------------------------------------------

    def plug_in(self, handlers: dict[type[m.Message], Handler]) -> None:
        """Add a module's messages. A type has one handler."""
        twice = sorted(kind.__name__ for kind in handlers if kind in self.handlers)
        if twice:
            raise ValueError(f"messages handled twice: {twice}")
        self.handlers.update(handlers)

    def on_message(self, peer: Any, message: m.Message) -> None:
        """Run the handler of a message; a request that was seen before is answered from memory, or still runs; one that
        only reads is carried out again, so that nobody has to remember what may be large.
        """
        rid = getattr(message, "rid", None)
        if rid is not None and type(message) not in READS:
            first, reply = self.recent.begin(peer.peer_id, rid)
            if not first:
                if reply is not None:
                    peer.post(reply)
                return
        self.handlers[type(message)](peer, message)

    def reply(self, peer: Any, message: Any) -> None:
        """Answer a request (now or later); ``message.rid`` is the request's."""
        self.recent.finish(peer.peer_id, message.rid, message)
        peer.post(message)

    def peer_gone(self, peer: Any) -> None:
        """A connection is closed."""
        self.recent.forget(peer.peer_id)
        for callback in self.on_peer_gone:
            callback(peer)

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def on_register_job(self, peer: Any, message: m.RegisterJob) -> None:
        """A driver begins: jobs are numbered from 1. One that asks again, of another head, has its number."""
        known = self._job_of_driver.get(message.driver.worker_id)
        if known is not None:
            self.reply(peer, m.JobRegistered(message.rid, known, message.driver.worker_id))
            return
        self.jobs_seen += 1
        job_id = JobID.from_int(self.jobs_seen).binary()
        started_s = environment.wall_time_s()
        job = JobRecord(job_id, message.driver, message.pid, message.config, peer.peer_id, started_s=started_s)
        self.add_job(job)
        self.outbox.touch(records.META)
        self.outbox.touch(records.JOBS, job_id)
        self.reply(peer, m.JobRegistered(message.rid, job_id, message.driver.worker_id))
        self.nodes.broadcast(_started(job), besides=peer)

    def add_job(self, job: JobRecord) -> None:
        """A new one, or one that the last head knew."""
        self.jobs[job.job_id] = job
        self._job_of_driver[job.driver.worker_id] = job.job_id
        if job.finished:
            self._bury(job)
        else:
            self._running.put(job.job_id, job.node_id)

    def _tell_jobs(self, node: Any) -> None:
        """A node that joins hears of all jobs that run."""
        for job_id in self._running:
            node.peer.post(_started(self.jobs[job_id]))

    def jobs_of(self, node_id: bytes, drivers: list[bytes], known: list[bytes], peer: Any) -> None:
        """A node says which drivers it has, and which jobs it believes in: jobs of others there are over."""
        for job_id in self._running.at(node_id):
            if self.jobs[job_id].driver.worker_id not in drivers:
                self._finish(self.jobs[job_id])
        for job_id in known:
            job_ = self.jobs.get(job_id)
            if job_ is None or job_.finished:
                peer.post(m.JobEnded(job_id))

    def job_goes_on(self, job_id: bytes) -> bool:
        """Its driver lives, as far as is known."""
        job = self.jobs.get(job_id)
        return job is not None and not job.finished

    def on_job_finished_message(self, _peer: Any, message: m.JobFinished) -> None:
        """A driver is gone."""
        job = self.jobs.get(message.job_id)
        if job is not None:
            self._finish(job)

    def _node_dead(self, node: Any, _text: str) -> None:
        """Drivers that were there are dead, and nobody is left to say so."""
        for job_id in self._running.at(node.info.node_id):
            self._finish(self.jobs[job_id])

    def _finish(self, job: JobRecord) -> None:
        if job.finished:
            return
        job.finished, job.ended_s = True, environment.wall_time_s()
        self._running.pop(job.job_id)
        self.outbox.touch(records.JOBS, job.job_id)
        self._bury(job)
        self.nodes.broadcast(m.JobEnded(job.job_id))
        for callback in self.on_job_finished:
            callback(job.job_id)

    def _bury(self, job: JobRecord) -> None:
        """Remembered as long as there is room; those that ended first go first."""
        for oldest in self.ended_jobs.add(job.job_id, JOB_RECORD_BYTES + len(job.config)):
            del self._job_of_driver[self.jobs.pop(oldest).driver.worker_id]
            self.outbox.touch(records.JOBS, oldest)

    def on_worker_failed_message(self, _peer: Any, message: m.WorkerFailed) -> None:
        """A runtime process is gone: its objects and actors with it, wherever they are."""
        self.nodes.announce(message)
        for callback in self.on_worker_failed:
            callback(message)

    def on_profile_events(self, _peer: Any, message: m.ProfileEvents) -> None:
        """Kept for timeline(), the latest of them."""
        for event in message.events:
            self.profile_events.add(event, PROFILE_EVENT_BYTES + len(event[0]) + len(event[6]))

    # --- rows of the store --------------------------------------------------------------------------------------------

    def keep_meta(self) -> None:
        """Write down whose records these are."""
        self.outbox.touch(records.META)

    def _meta_row(self, _key: bytes) -> bytes:
        row = records.MetaRow(records.FORMAT_VERSION, self.session_name, self.token_mark, self.jobs_seen)
        return records.encode(row)

    def _job_row(self, job_id: bytes) -> bytes | None:
        job = self.jobs.get(job_id)
        return records.encode(job) if job is not None else None

    # --- questions ----------------------------------------------------------------------------------------------------

    def on_cluster_query(self, peer: Any, message: m.ClusterQuery) -> None:
        """Answer from the tables; modules may add to ``queries``."""
        query = self.queries.get(message.what)
        if query is None:
            text = f"unknown question {message.what!r}; known are {sorted(self.queries)}"
            self.reply(peer, m.Failure(message.rid, "ValueError", text))
            return
        self.reply(peer, m.ClusterAnswer(message.rid, _encode(query())))

    def _jobs(self) -> list[dict[str, Any]]:
        return [
            {
                "job_id": job.job_id,
                "driver_id": job.driver.worker_id,
                "pid": job.pid,
                "finished": job.finished,
                "namespace": _decode_job(job.config).namespace,
                "entrypoint": _decode_job(job.config).entrypoint,
            }
            for job in self.jobs.values()
        ]

    def _overview(self) -> dict[str, Any]:
        """What a page shows that many look at: nothing in it grows with what has ended, dead nodes excepted."""
        more = ("autoscaler", "heads", "tables", "counts", "revision")
        found = {name: self.queries[name]() for name in more if name in self.queries}
        return {
            "session_name": self.session_name,
            "epoch": self.nodes.epoch,
            "nodes": self.nodes.table(),
            "total": self.nodes.total(),
            "available": self.queries["available"](),
            "demand": self.nodes.demand(),
            "autoscaler": {},
            "heads": [],
            "tables": [],
            "counts": {},
            "revision": 0,
            **found,
        }

    def _status(self) -> dict[str, Any]:
        groups = self.queries.get("placement_groups", list)
        return {**self._overview(), "placement_groups": groups(), "jobs": self._jobs()}


decode_job = msgspec.msgpack.Decoder(JobRecord).decode
"""Bytes of the store -> JobRecord."""


def _started(job: JobRecord) -> m.JobStarted:
    return m.JobStarted(job.job_id, job.config, job.driver, job.node_id)
