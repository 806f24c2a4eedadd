"""The node's part of the state API: its workers, living and dead, its log files, what its processes say of tasks and
objects (`StateCollect` from the GCS, passed on to them, answered by one `StatePart`).

Called by raylet/service.py. A process that does not answer in time is named as missing; one that ends meanwhile is not.
What ended workers left behind (`TaskHistory`) and who ended how is kept up to limits.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from linckia.base.limits import (
    DEAD_WORKERS_KEPT_PER_NODE,
    STATE_PROCESS_ANSWER_MAX_S,
    STATE_ROWS_MAX,
    TASKS_KEPT_PER_NODE,
)
from linckia.core.listing.filters import matches
from linckia.core.listing.merging import merge
from linckia.core.workers.exits import ExitType
from linckia.host import environment
from linckia.model.listing import Filter, Part, Row, decode_part, encode_part
from linckia.protocol import messages as m
from linckia.raylet.worker_pool import WorkerPool, WorkerProcess

LOG_CHUNK_MAX_BYTES = 1 << 20
Handler = Callable[[Any, Any], None]


class Shell(Protocol):
    """What this module needs of the raylet."""

    reactor: Any
    gcs: Any
    pool: WorkerPool
    clients: dict[bytes, Any]
    drivers: dict[bytes, Any]
    leases: Any

    options: Any  # RayletOptions


class Collection:
    """One question that processes of this node are answering."""

    def __init__(self, message: m.StateCollect, asked: dict[bytes, str]) -> None:
        self.message, self.asked = message, asked
        self.parts: list[Part] = []


class StateDesk:
    """One per raylet."""

    def __init__(self, raylet: Shell) -> None:
        self.raylet = raylet
        self._numbers = itertools.count(1)
        self._open: dict[int, Collection] = {}
        self._dead: deque[Row] = deque(maxlen=DEAD_WORKERS_KEPT_PER_NODE)
        self._histories: deque[tuple[int, bytes]] = deque()
        self._kept = 0

    def handlers(self) -> dict[type[m.Message], Handler]:
        """Message type -> handler(peer, message)."""
        return {
            m.StateCollect: self._on_collect,
            m.StatePart: self._on_part,
            m.TaskHistory: self._on_history,
        }

    # --- the GCS asks -------------------------------------------------------------------------------------------------

    def _on_collect(self, _peer: Any, message: m.StateCollect) -> None:
        match message.what:
            case "tasks" | "objects":
                self._ask_processes(message)
            case "workers":
                self._tell(message, Part(rows := [*self._living(), *reversed(self._dead)], [], len(rows)))
            case "runtime_envs":
                self._tell(message, Part(rows := self._runtime_envs(), [], len(rows)))
            case "logs":
                self._tell(message, Part(rows := self._log_files(), [], len(rows)))
            case "log":
                part = self._log_chunk({column: value for column, _, value in message.filters})
                self.raylet.gcs.post(m.StatePart(message.number, encode_part(part)))
            case _:
                self._tell(message, Part(missing=[f"node {self._name}, which does not know {message.what!r}"]))

    def _tell(self, message: m.StateCollect, part: Part) -> None:
        told = merge([part], min(message.limit, STATE_ROWS_MAX), message.filters)
        self.raylet.gcs.post(m.StatePart(message.number, encode_part(told)))

    @property
    def _name(self) -> str:
        return f"{self.raylet.options.node.node_id.hex()[:12]} ({self.raylet.options.node.node_ip})"

    # --- our processes are asked --------------------------------------------------------------------------------------

    def _ask_processes(self, message: m.StateCollect) -> None:
        number = next(self._numbers)
        asked = {worker_id: self._process_name(worker_id) for worker_id in self.raylet.clients}
        collection = self._open[number] = Collection(message, asked)
        if message.what == "tasks":
            collection.parts += self._kept_tasks(message.filters)
        wait_s = min(message.timeout_s, STATE_PROCESS_ANSWER_MAX_S)
        question = m.StateCollect(number, message.what, message.filters, message.limit, wait_s)
        for peer in list(self.raylet.clients.values()):
            peer.post(question)
        self.raylet.reactor.call_later(wait_s, lambda: self._finish(number))
        self._finish_if_done(number)

    def _process_name(self, worker_id: bytes) -> str:
        driver = self.raylet.drivers.get(worker_id)
        if driver is not None:
            return f"driver process {driver.pid} of node {self._name}"
        worker = self.raylet.pool.workers.get(worker_id)
        return f"worker process {worker.pid if worker is not None else '?'} of node {self._name}"

    def _on_part(self, peer: Any, message: m.StatePart) -> None:
        collection = self._open.get(message.number)
        if collection is None or collection.asked.pop(peer.peer_id, None) is None:
            return
        collection.parts.append(decode_part(message.body))
        self._finish_if_done(message.number)

    def process_gone(self, worker_id: bytes) -> None:
        """It will not answer; nobody misses what it would have said."""
        for number, collection in list(self._open.items()):
            if collection.asked.pop(worker_id, None) is not None:
                self._finish_if_done(number)

    def _finish_if_done(self, number: int) -> None:
        if not self._open[number].asked:
            self._finish(number)

    def _finish(self, number: int) -> None:
        collection = self._open.pop(number, None)
        if collection is None:
            return
        message = collection.message
        parts = [*collection.parts, Part(missing=list(collection.asked.values()))]
        # Rows of one task may still meet others at the GCS, so nothing is filtered here.
        told = merge(parts, STATE_ROWS_MAX, tasks=message.what == "tasks")
        self.raylet.gcs.post(m.StatePart(message.number, encode_part(told)))

    # --- what outlives processes --------------------------------------------------------------------------------------

    def _on_history(self, _peer: Any, message: m.TaskHistory) -> None:
        self._histories.append((message.count, message.body))
        self._kept += message.count
        while self._kept > TASKS_KEPT_PER_NODE and len(self._histories) > 1:
            count, _ = self._histories.popleft()
            self._kept -= count

    def _kept_tasks(self, filters: list[Filter]) -> list[Part]:
        parts = []
        for _, body in self._histories:
            rows = decode_part(body).rows
            chosen = [row for row in rows if matches(row, filters)]
            parts.append(Part(chosen, [], len(rows)))
        return parts

    def worker_ended(self, worker: WorkerProcess, reason: str) -> None:
        """Note how a registered worker ended."""
        row = self._worker_row(worker, is_alive=False)
        row["exit_type"] = worker.exit_type.value if worker.exit_type is not None else ExitType.SYSTEM_ERROR.value
        row["exit_detail"], row["end_time_ms"] = reason, round(environment.wall_time_s() * 1000)
        self._dead.append(row)

    # --- workers ------------------------------------------------------------------------------------------------------

    def _living(self) -> list[Row]:
        workers = [worker for worker in self.raylet.pool.workers.values() if worker.registered]
        return [*map(self._driver_row, self.raylet.drivers.values()), *map(self._worker_row, workers)]

    def _driver_row(self, driver: Any) -> Row:
        return self._process_row(driver.worker_id, driver.pid, driver.started_s, "DRIVER")

    def _worker_row(self, worker: WorkerProcess, *, is_alive: bool = True) -> Row:
        row = self._process_row(worker.worker_id, worker.pid, worker.started_s, "WORKER")
        row["is_alive"] = is_alive
        return row

    def _process_row(self, worker_id: bytes, pid: int, started_s: float, worker_type: str) -> Row:
        node = self.raylet.options.node
        return {
            "worker_id": worker_id.hex(),
            "is_alive": True,
            "worker_type": worker_type,
            "exit_type": None,
            "node_id": node.node_id.hex(),
            "ip": node.node_ip,
            "pid": pid,
            "exit_detail": None,
            "start_time_ms": round(started_s * 1000),
            "end_time_ms": 0,
        }

    def _runtime_envs(self) -> list[Row]:
        counts: dict[bytes, int] = {}
        for worker in self.raylet.leases.workers.values():
            environment_ = worker.pool[1]
            if environment_:
                counts[environment_] = counts.get(environment_, 0) + 1
        node_id = self.raylet.options.node.node_id.hex()
        return [
            {
                "runtime_env": msgspec.json.decode(fields),
                "success": True,
                "creation_time_ms": None,
                "node_id": node_id,
                "ref_cnt": count,
                "error": None,
            }
            for fields, count in counts.items()
        ]

    # --- log files ----------------------------------------------------------------------------------------------------

    def _log_files(self) -> list[Row]:
        node = self.raylet.options.node
        with os.scandir(self.raylet.options.logs_dir) as entries:
            found = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
        where = {"node_id": node.node_id.hex(), "node_ip": node.node_ip}
        return [{**where, "filename": name, "size_bytes": size} for name, size in found]

    def _log_chunk(self, wanted: dict[str, Any]) -> Part:
        """Bytes of one file from ``offset``; the name of a file, not a path, so that nothing else can be read."""
        if wanted.get("node_id") != self.raylet.options.node.node_id.hex():
            return Part()
        name, offset = str(wanted.get("filename", "")), int(wanted.get("offset", 0))
        if not name or os.path.basename(name) != name:
            return Part(missing=[f"log file {name!r}: the name of a file in the log directory was expected"])
        try:
            with open(os.path.join(self.raylet.options.logs_dir, name), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(offset)
                data = file.read(LOG_CHUNK_MAX_BYTES)
        except OSError as error:
            return Part(missing=[f"log file {name!r} of node {self._name}: {error.strerror}"])
        return Part([{"data": data, "size_bytes": size}], [], 1)
