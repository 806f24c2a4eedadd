"""`list_logs` and `get_log`: the files that workers' output goes to, read through their node (R 8.22)."""

from __future__ import annotations

import fnmatch
import re
import threading
from collections.abc import Iterator
from typing import Any

from linckia.core.listing.records import DEFAULT_RPC_TIMEOUT, RAY_MAX_LIMIT_FROM_API_SERVER
from linckia.model.listing import Filter, Row
from linckia.util.state import api
from linckia.util.state.asking import collect
from linckia.util.state.exception import RayStateApiException

FOLLOW_EVERY_S = 0.5
DRIVER_LOG = "job-driver-"
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
) -> dict[str, list[str]]:
    """Names of log files by kind: worker_out, worker_err, driver (of submitted jobs), internal. Of one node, or of all
    when neither is given.
    """
    found: dict[str, list[str]] = {}
    for row in _files(address, node_id, node_ip, timeout):
        name = row["filename"]
        if fnmatch.fnmatch(name, glob_filter or "*"):
            found.setdefault(_kind(name), []).append(name)
    return found


def _files(address: str | None, node_id: str | None, node_ip: str | None, timeout: float) -> list[Row]:
    wanted: list[Filter] = [("node_id", "=", node_id)] if node_id else []
    if node_ip:
        wanted.append(("node_ip", "=", node_ip))
    return collect("logs", wanted, RAY_MAX_LIMIT_FROM_API_SERVER, timeout, address).rows


def _kind(name: str) -> str:
    if name.startswith("worker-"):
        return "worker_err" if name.endswith(".err") else "worker_out"
    if name.startswith(DRIVER_LOG):
        return "driver"
    return "internal"


def get_log(  # noqa: PLR0913 - Ray's signature
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[Any]:
    """Text (``encoding=None``: bytes) of a log, in pieces: by file name, of the worker of an actor, task or pid, or of
    the last attempt of a submitted job.

    The last ``tail`` lines, or all (-1); with ``follow`` what comes, until the caller stops. A task's log is that of
    its worker: output of other tasks is in it too. RayStateApiException when there is no such log.
    """
    if suffix not in ("out", "err"):
        raise ValueError(f"get_log: suffix must be 'out' or 'err', found {suffix!r}")
    if submission_id is not None:
        filename = _driver_log(address, submission_id, timeout)
    if filename is None:
        pid = pid or _pid_of(address, actor_id, task_id, attempt_number, timeout)
    row = _file(address, node_id, node_ip, timeout, filename, f"-{pid}.{suffix}")
    return _pieces(row, address, timeout, Reading(tail, follow, encoding, errors, _interval, filter_ansi_code))


def _driver_log(address: str | None, submission_id: str, timeout: float) -> str:
    """Of the last attempt of a submitted job whose log there is; `linckia job logs` shows those of all."""
    beginning = f"{DRIVER_LOG}{submission_id}-"
    names = [str(row["filename"]) for row in _files(address, None, None, timeout)]
    numbers = [name.removeprefix(beginning).removesuffix(".log") for name in names if name.startswith(beginning)]
    attempts = [int(number) for number in numbers if number.isdecimal()]
    if not attempts:
        raise RayStateApiException(f"get_log: no node has a log of a submitted job {submission_id!r}")
    return f"{beginning}{max(attempts)}.log"


def _pid_of(address: str | None, actor_id: str | None, task_id: str | None, attempt: int, timeout: float) -> int:
    if actor_id is not None:
        found = [row["pid"] for row in api.records_of("actors", actor_id, address, timeout)]
    elif task_id is not None:
        attempts = api.records_of("tasks", task_id, address, timeout)
        found = [row["worker_pid"] for row in attempts if row["attempt_number"] == attempt]
    else:
        raise RayStateApiException("get_log: give filename, actor_id, task_id or pid")
    if not found or not found[0]:
        what = f"actor {actor_id}" if actor_id is not None else f"attempt {attempt} of task {task_id}"
        raise RayStateApiException(f"get_log: no worker process is known of {what}")
    return int(found[0])


def _file(
    address: str | None, node_id: str | None, node_ip: str | None, timeout: float, filename: str | None, ending: str
) -> Row:
    rows = _files(address, node_id, node_ip, timeout)
    for row in rows:
        name = row["filename"]
        if name == filename or (filename is None and name.startswith("worker-") and name.endswith(ending)):
            return row
    what = filename if filename is not None else f"worker-*{ending}"
    raise RayStateApiException(f"get_log: no log file {what!r}; list_logs() names the {len(rows)} that there are")


class Reading:
    """How a log is to be read."""

    def __init__(
        self,
        tail: int,
        follow: bool,
        encoding: str | None,
        errors: str | None,
        interval: float | None,
        filter_ansi_code: bool,
    ) -> None:
        self.tail, self.follow, self.encoding, self.errors = tail, follow, encoding, errors or "strict"
        self.pause_s = interval or FOLLOW_EVERY_S
        self.filter_ansi_code = filter_ansi_code

    def shown(self, data: bytes) -> Any:
        """As the caller wants it."""
        if self.encoding is None:
            return data
        text = data.decode(self.encoding, self.errors)
        return _ANSI.sub("", text) if self.filter_ansi_code else text


def _pieces(row: Row, address: str | None, timeout: float, how: Reading) -> Iterator[Any]:
    whole, offset, pause = b"", 0, threading.Event()
    while True:
        data = _chunk(row, offset, address, timeout)
        offset += len(data)
        if data and how.tail < 0:
            yield how.shown(data)
        elif data:
            whole = b"".join((whole + data).splitlines(keepends=True)[-how.tail :]) if how.tail else b""
        else:
            break
    if whole:
        yield how.shown(whole)
    while how.follow:
        data = _chunk(row, offset, address, timeout)
        offset += len(data)
        if data:
            yield how.shown(data)
        else:
            pause.wait(how.pause_s)


def _chunk(row: Row, offset: int, address: str | None, timeout: float) -> bytes:
    wanted = [("node_id", "=", row["node_id"]), ("filename", "=", row["filename"]), ("offset", "=", offset)]
    part = collect("log", wanted, 1, timeout, address)
    if not part.rows:
        raise RayStateApiException(f"get_log: {'; '.join(part.missing) or 'its node is gone'}")
    return bytes(part.rows[0]["data"])
