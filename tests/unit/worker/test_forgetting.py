"""A driver that makes thousands of actors and shapes of calls remembers what it can still need, and no more."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from linckia.base.limits import TEMPLATES_KEPT_MAX
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.worker.actor_client import ActorClient, ActorClients
from linckia.worker.retrying import Retrying
from linckia.worker.tasks import Template, remember

ACTORS = 2000


class FakeRuntime:
    """What actor clients need of a runtime; nothing is ever sent."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.sent: list[m.Message] = []
        self.raylet = self
        self.failed: list[Any] = []
        self.actors = ActorClients(self)  # type: ignore[arg-type]
        self.retrying = Retrying(self)  # type: ignore[arg-type]

    def send(self, message: m.Message) -> None:
        self.sent.append(message)

    post = send

    def encode_error(self, error: Exception) -> bytes:
        return str(error).encode()

    def fail_encoded(self, record: Any, error: bytes) -> None:
        self.failed.append((record, error))


class Handle:
    """Holds its client, as api/actor.py's does."""

    def __init__(self, client: ActorClient) -> None:
        self.client = client


@pytest.fixture
def runtime() -> Iterator[FakeRuntime]:
    yield FakeRuntime()
    gc.collect()


def _clients_alive() -> int:
    gc.collect()
    return sum(1 for each in gc.get_objects() if type(each) is ActorClient)


def _dead(actor_id: bytes) -> m.ActorUpdate:
    return m.ActorUpdate(actor_id, "DEAD", None, 0, b"it died")


@pytest.mark.row("S26")
def test_clients_of_dead_actors_leave_with_their_last_handle(runtime: FakeRuntime) -> None:
    before = _clients_alive()
    kept: list[Handle] = []
    for number in range(ACTORS):
        actor_id = number.to_bytes(16, "little")
        handle = Handle(runtime.actors.client(actor_id, out_of_order=False, class_name="A"))
        handle.client.constructor = bytearray(100)
        handle.client.address = Address(b"w" * 28, "unix:/w")
        if number % 100 == 0:
            kept.append(handle)
        runtime.actors.on_update(_dead(actor_id))
        del handle
    assert runtime.actors.clients == {}
    assert _clients_alive() - before == len(kept) == 20
    for handle in kept:
        client = handle.client
        assert runtime.actors.client(client.actor_id, out_of_order=False, class_name="A") is client, "one per actor"
        assert client.constructor is None
        assert client.dead_error == b"it died"
    subscribed = len(runtime.sent)
    assert subscribed == ACTORS, "each once"
    del handle, client
    kept.clear()
    assert _clients_alive() == before


@pytest.mark.row("5.25")
def test_a_call_through_a_kept_handle_of_a_dead_actor_fails_with_its_death(runtime: FakeRuntime) -> None:
    client = runtime.actors.client(b"a" * 16, out_of_order=False, class_name="A")
    runtime.actors.on_update(_dead(b"a" * 16))
    record: Any = type("Record", (), {"actor": None})()
    client.submit(record)
    assert runtime.failed == [(record, b"it died")]
    assert runtime.actors.find(b"a" * 16) is client
    del client, record
    runtime.failed.clear()
    gc.collect()
    assert runtime.actors.find(b"a" * 16) is None


def test_the_scope_of_a_dead_actor_is_no_news(runtime: FakeRuntime) -> None:
    runtime.actors.client(b"a" * 16, out_of_order=False, class_name="A", subscribe=False)
    runtime.actors.out_of_scope(b"a" * 16)
    assert runtime.sent == [m.ActorOutOfScope(b"a" * 16)]
    runtime.actors.on_update(_dead(b"a" * 16))
    runtime.actors.out_of_scope(b"a" * 16)
    assert len(runtime.sent) == 1


@pytest.mark.row("S26")
def test_shapes_of_calls_are_remembered_up_to_a_limit_the_latest_first() -> None:
    cache: dict[int, Template] = {}
    count = TEMPLATES_KEPT_MAX + ACTORS
    for number in range(count):
        definition = m.TemplateDef(template=number, function_id=b"", name="f", num_returns=1)
        remember(cache, number, Template(definition, None, None, 0))
    assert len(cache) <= TEMPLATES_KEPT_MAX
    assert list(cache) == list(range(count - len(cache), count))
    assert len(cache) >= TEMPLATES_KEPT_MAX // 2
