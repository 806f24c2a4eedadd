"""How the dashboard asks the cluster: short questions to its node, which knows who leads. Blocks; each on a thread of
its own (snapshots.py). It only reads, has no job and owns nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from linckia.base.limits import DASHBOARD_LOG_MAX_BYTES, STATE_ROWS_MAX
from linckia.core.jobs import life
from linckia.dashboard.questions import TIMEOUT_S, Question, Submissions
from linckia.model.jobs import RECORDS, SUPERVISORS, Attempt, JobRecord, decode_job
from linckia.model.listing import Part, decode_part
from linckia.protocol import messages as m
from linckia.rpc.ask import ask

_RID = 1
NODES_SHARE = 0.8
"""Of a question's time: by then the head answers with what it has."""


class Asker:
    """``endpoint``: of the node. Calls raise AskError (an OSError) when nobody answers, ValueError for what is no
    question.
    """

    def __init__(self, endpoint: str, token: str) -> None:
        self._endpoint, self._token = endpoint, token.encode()
        self._over: dict[bytes, JobRecord] = {}  # they never change

    def __call__(self, question: Question) -> bytes:
        """The answer as it came: of ``cluster`` a dict, of ``state`` a Part, of ``submissions`` a Submissions (all
        msgpack), of ``log`` the text.
        """
        if question.kind == "cluster":
            return bytes(self._asked(m.ClusterQuery(_RID, question.what)).body)
        if question.kind == "state":
            return self._listed(question)
        if question.kind == "submissions":
            return msgspec.msgpack.encode(self._submissions())
        if question.kind == "log":
            return self._log(question.what)
        raise ValueError(f"there is no question of the kind {question.kind!r}")

    def _asked(self, message: Any, timeout_s: float = TIMEOUT_S) -> Any:
        return ask(self._endpoint, self._token, message, timeout_s)

    def _listed(self, question: Question) -> bytes:
        wait_s = question.timeout_s * NODES_SHARE
        query = m.StateQuery(_RID, question.what, list(question.filters), question.limit, wait_s)
        return bytes(self._asked(query, question.timeout_s).body)

    def _rows(self, what: str, *filters: tuple[str, str, Any]) -> Part:
        return decode_part(self._listed(Question("state", what, filters, STATE_ROWS_MAX)))

    # --- submitted jobs -----------------------------------------------------------------------------------------------

    def _submissions(self) -> Submissions:
        supervisors = self._rows("actors", ("ray_namespace", "=", SUPERVISORS)).rows
        keys = list(self._asked(m.KvKeys(_RID, RECORDS, b"")).values)
        found = [record for key in keys if (record := self._record(key)) is not None]
        self._over = {key: self._over[key] for key in keys if key in self._over}
        return Submissions(supervisors, self._rows("jobs").rows, found)

    def _record(self, key: bytes) -> JobRecord | None:
        if key in self._over:
            return self._over[key]
        values = self._asked(m.KvGet(_RID, RECORDS, key)).values
        if not values:
            return None
        record = decode_job(values[0])
        if life.is_over(record):
            self._over[key] = record
        return record

    def _log(self, submission_id: str) -> bytes:
        """The last of what its attempts have written, in order."""
        record = self._record(submission_id.encode())
        room, pieces = DASHBOARD_LOG_MAX_BYTES, list[bytes]()
        for attempt in reversed(record.attempts if record is not None else []):
            pieces.append(self._end_of_log(attempt, room))
            room -= len(pieces[-1])
            if room <= 0:
                break
        return b"".join(reversed(pieces))

    def _end_of_log(self, attempt: Attempt, most_bytes: int) -> bytes:
        wanted = (("node_id", "=", attempt.node_id), ("filename", "=", attempt.log))
        files = self._rows("logs", *wanted).rows
        if not files:
            return f"--- the log of attempt {attempt.number} is gone, or out of reach, with its node ---\n".encode()
        data, offset = bytearray(), max(0, files[0]["size_bytes"] - most_bytes)
        while len(data) < most_bytes:
            rows = self._rows("log", *wanted, ("offset", "=", offset + len(data))).rows
            if not rows or not rows[0]["data"]:
                break
            data += rows[0]["data"]
        return bytes(data[:most_bytes])
