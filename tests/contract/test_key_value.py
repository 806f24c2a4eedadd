"""The cluster's key-value store behind every transport: the same answers, and each request done once however often it
comes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from wires import End, Wire

from linckia.gcs.service import Gcs
from linckia.protocol import messages as m

pytestmark = pytest.mark.row("S21")


class Store:
    """A client of the real GCS at the other end of a wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.gcs = Gcs("session", lambda _delay_s, _callback: None)
        wire.on_message = lambda end, message: self.gcs.on_message(end.link, message)
        self.worker_id = os.urandom(28)
        self.client: End = wire.connect(worker_id=self.worker_id)
        self.rid = 0

    def ask(self, make: Callable[[int], m.Message], times: int = 1) -> tuple[int, list[bytes]]:
        """Send a request so many times; the one answer that all of them got."""
        self.rid += 1
        before = len(self.client.inbox)
        for _ in range(times):
            self.client.link.send(make(self.rid))
        self.wire.until(lambda: len(self.client.inbox) == before + times)
        answers: list[Any] = self.client.inbox[before:]
        assert all(type(answer) is m.KvReply and answer.rid == self.rid for answer in answers)
        assert len({(answer.count, *answer.values) for answer in answers}) == 1, "the same to all"
        return answers[0].count, answers[0].values

    def put(self, key: bytes, value: bytes, *, overwrite: bool = True, space: str = "n", times: int = 1) -> int:
        return self.ask(lambda rid: m.KvPut(rid, space, key, value, overwrite), times)[0]

    def get(self, key: bytes, space: str = "n") -> list[bytes]:
        return self.ask(lambda rid: m.KvGet(rid, space, key))[1]


@pytest.fixture
def store(any_wire: Wire) -> Store:
    return Store(any_wire)


def test_values_are_kept_by_namespace_and_key(store: Store) -> None:
    assert store.get(b"a") == []
    assert store.put(b"a", b"1") == 1
    assert store.put(b"a", b"2") == 0
    assert store.put(b"a", b"3", overwrite=False) == 0
    assert store.put(b"a", b"other", space="m") == 1
    assert store.get(b"a") == [b"2"]
    assert store.get(b"a", "m") == [b"other"]
    assert store.get(b"a", "never") == []


def test_any_bytes_are_keys_and_values(store: Store) -> None:
    for key in (b"", b"\x00", b"\xff" * 300, "ünï".encode(), b"a/../b"):
        value = key + bytes(range(256)) * 4096
        assert store.put(key, value) == 1
        assert store.get(key) == [value]


def test_keys_and_deletion_by_prefix(store: Store) -> None:
    for key in (b"b2", b"b1", b"c", b"b"):
        store.put(key, b"v")
    assert store.ask(lambda rid: m.KvKeys(rid, "n", b"b"))[1] == [b"b", b"b1", b"b2"]
    assert store.ask(lambda rid: m.KvKeys(rid, "n", b""))[0] == 4
    assert store.ask(lambda rid: m.KvDel(rid, "n", b"b"))[0] == 1
    assert store.ask(lambda rid: m.KvDel(rid, "n", b"b"))[0] == 0
    assert store.ask(lambda rid: m.KvDel(rid, "n", b"b", prefix=True))[0] == 2
    assert store.ask(lambda rid: m.KvKeys(rid, "n", b""))[1] == [b"c"]


def test_a_request_that_comes_three_times_is_done_once(store: Store) -> None:
    assert store.put(b"lock", b"mine", overwrite=False, times=3) == 1, "each copy hears that the key was new"
    assert store.put(b"lock", b"yours", overwrite=False, times=3) == 0
    assert store.ask(lambda rid: m.KvDel(rid, "n", b"lock"), times=3)[0] == 1
    assert store.get(b"lock") == []
