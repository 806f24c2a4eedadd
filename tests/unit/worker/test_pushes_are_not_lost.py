"""A push is made and queued while another thread flushes the connection: it must leave with the next flush.

`conn.outbox.append(Push(...))` looks `outbox` up, makes the push, and appends; the interpreter may change threads
behind the making, and whoever flushes then takes the old list away. The push was lost and its task never ended.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from linckia.protocol import messages as m
from linckia.worker import actor_client, submitter


class Connection:
    """As much of `rpc/connection.py` as pushing needs."""

    def __init__(self) -> None:
        self.outbox: list[Any] = []
        self.sent: list[Any] = []

    def flush(self) -> None:
        batch, self.outbox = self.outbox, []
        self.sent += batch

    def mark_dirty(self) -> None: ...


@pytest.fixture
def conn(monkeypatch: pytest.MonkeyPatch) -> Connection:
    made = Connection()
    real = m.Push

    def push(*args: Any) -> m.Push:
        message = real(*args)
        made.flush()  # the other thread, at the worst moment
        return message

    monkeypatch.setattr(m, "Push", push)
    return made


def _world(conn: Connection) -> tuple[Any, Any, Any]:
    peer: Any = SimpleNamespace(conn=conn, tasks={b"other": None}, known={1})
    template = SimpleNamespace(index=1)
    record: Any = SimpleNamespace(task_id=b"t", template=template, args=b"", extras=None, peer=None, queue=None)
    return SimpleNamespace(), peer, record


@pytest.mark.row("4.1")
def test_a_task_that_is_pushed_while_another_thread_flushes(conn: Connection) -> None:
    runtime, peer, record = _world(conn)
    lease: Any = SimpleNamespace(peer=peer, oldest_push_s=0.0)
    submitter.Submitter(runtime).push(lease, record)
    conn.flush()
    assert [push.task_id for push in conn.sent] == [b"t"]


@pytest.mark.row("4.1")
def test_an_actor_call_that_is_pushed_while_another_thread_flushes(conn: Connection) -> None:
    runtime, peer, record = _world(conn)
    client = actor_client.ActorClient(runtime, b"a" * 16, out_of_order=False, class_name="A")
    client._push(peer, record)
    conn.flush()
    assert [push.task_id for push in conn.sent] == [b"t"]
