"""The ledger of jobs over a key-value store in memory, and what an attempt was lost by."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from linckia.base import errors
from linckia.jobs import ledger, losses
from linckia.jobs.ledger import Ledger
from linckia.model.jobs import Attempt, JobRecord, JobSpec
from linckia.model.listing import Part, encode_part
from linckia.protocol import messages as m


class FakeRuntime:
    """Answers as the head would; ``node_id`` is this node."""

    raylet = None
    node_id = bytes.fromhex("aa" * 28)
    session_dir = "/no/such"

    def __init__(self) -> None:
        self.spaces: dict[str, dict[bytes, bytes]] = {}
        self.nodes: list[dict[str, Any]] = []
        self.workers: list[dict[str, Any]] | None = []
        self._rids = itertools.count(1)

    def next_rid(self) -> int:
        return next(self._rids)

    def call(self, _conn: Any, message: Any, _timeout_s: float = 60.0) -> Any:
        if isinstance(message, m.ClusterQuery):
            return m.ClusterAnswer(message.rid, msgspec.msgpack.encode(self.nodes))
        if isinstance(message, m.StateQuery):
            if self.workers is None:
                raise errors.RaySystemError("no head")
            return m.StateAnswer(message.rid, encode_part(Part(self.workers, [], len(self.workers))))
        space = self.spaces.setdefault(message.namespace, {})
        match message:
            case m.KvPut():
                is_new = message.key not in space
                if is_new or message.overwrite:
                    space[message.key] = message.value
                return m.KvReply(message.rid, int(is_new))
            case m.KvGet():
                return m.KvReply(message.rid, 1, [space[message.key]] if message.key in space else [])
            case m.KvDel():
                return m.KvReply(message.rid, int(space.pop(message.key, None) is not None))
            case m.KvKeys():
                return m.KvReply(message.rid, 0, sorted(key for key in space if key.startswith(message.prefix)))
        raise AssertionError(message)


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


def made(runtime: Any) -> Ledger:
    return Ledger(runtime)


def record(submission_id: str, end_s: float = 0.0) -> JobRecord:
    return JobRecord(JobSpec(submission_id, "true"), end_s=end_s)


def test_an_id_is_taken_once(runtime: FakeRuntime) -> None:
    kept = made(runtime)
    assert kept.create(record("a"))
    assert not kept.create(replace(record("a"), message="other"))
    assert kept.read("a") == record("a")
    kept.write(replace(record("a"), message="other"))
    assert (kept.read("a") or record("b")).message == "other"
    assert kept.read("b") is None


def test_who_is_to_stop(runtime: FakeRuntime) -> None:
    kept = made(runtime)
    kept.ask_to_stop("abc")
    assert kept.is_to_stop("abc")
    assert not kept.is_to_stop("ab")
    kept.bury(record("abc", 5.0))
    assert not kept.is_to_stop("abc")


@pytest.mark.row("P7")
def test_those_that_ended_first_are_forgotten_first(runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ENDED_SUBMISSIONS_MAX", 3)
    kept = made(runtime)
    for number in (5, 100, 7, 30, 6):
        kept.create(ended := record(f"j{number}", float(number)))
        kept.bury(ended)
        kept.bury(ended)
    kept.create(record("runs"))
    assert kept.ids() == ["j100", "j30", "j7", "runs"]
    kept.forget(record("j30", 30.0))
    assert kept.ids() == ["j100", "j7", "runs"]
    assert len(runtime.spaces[ledger.ENDED]) == 2


HERE, THERE = "aa" * 28, "bb" * 28
DEAD = {"node_id": bytes.fromhex(THERE), "alive": False, "death_reason": "its lease ended"}


@pytest.mark.row("P5")
@pytest.mark.parametrize(
    ("node_id", "nodes", "workers", "cause", "says"),
    [
        (THERE, [DEAD], [], "system", "its node is dead: its lease ended"),
        (THERE, [], [], "system", "its node is gone"),
        (THERE, [{**DEAD, "alive": True}], [], "system", "its supervisor was lost, and its driver was ended with it"),
        (HERE, [], None, "system", "its supervisor was lost, and its driver was ended with it"),
        (HERE, [], [{"exit_type": "SYSTEM_ERROR", "exit_detail": "was killed"}], "system", "lost: was killed, and"),
        (HERE, [], [{"exit_type": "NODE_OUT_OF_MEMORY", "exit_detail": "oom"}], "out_of_memory", "lost: oom, and"),
    ],
)
def test_what_an_attempt_was_lost_by(
    runtime: Any, node_id: str, nodes: list[Any], workers: list[Any] | None, cause: str, says: str
) -> None:
    runtime.nodes, runtime.workers = nodes, workers
    end = losses.loss_of(runtime, Attempt(1, node_id, "10.0.0.1", "no-such.log", 1.0, supervisor_pid=7))
    assert end.cause.value == cause
    assert says in end.detail
    assert end.log_bytes == -1
