"""What `why_pending` makes of the answers of the head and of a node, for a call whose actor is not there."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.base.errors import RaySystemError
from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.worker.actor_client import ActorClient
from linckia.worker.refs import ObjectRef
from linckia.worker.tasks import Peer, TaskRecord
from linckia.worker.why import ANSWER_TIMEOUT_S, why_pending

pytestmark = pytest.mark.row("P38a")
NODE = b"n" * 16
AT_NODE = m.Pending(0, "PENDING_CREATION", "is PENDING_CREATION: it was sent to node X", NODE)


CONNECTION: Any = SimpleNamespace()  # there is one: nothing of it is used


class Asked:
    """A runtime whose questions are answered from a table; ``timeouts_s`` has how long each could take."""

    def __init__(self, answers: dict[type[m.Message], m.Pending]) -> None:
        self.answers, self.timeouts_s = answers, list[float]()
        self.mutex = threading.Lock()
        self.raylet_peer = Peer(CONNECTION, Address(b"raylet", ""))
        self.raylets = SimpleNamespace(at=lambda _node_id: Peer(CONNECTION, Address(NODE, "")))
        self.retrying = SimpleNamespace(paused={})
        self.next_rid = itertools.count(1).__next__

    def call(self, _conn: Any, question: m.Message, timeout_s: float) -> m.Pending:
        assert not self.mutex.locked(), "nobody waits with the mutex"
        self.timeouts_s.append(timeout_s)
        if type(question) not in self.answers:
            raise RaySystemError("no answer")
        return self.answers[type(question)]


def call_of(runtime: Any) -> tuple[ObjectRef[Any], TaskRecord, ActorClient]:
    """A call of an actor that this process has no connection to."""
    client = ActorClient(runtime, b"a" * 16, out_of_order=False, class_name="Counter")
    record = TaskRecord(b"t" * 16, SimpleNamespace(name="Counter.ping"), 0, actor=client)
    client.queue.append(record)
    ref: ObjectRef[Any] = ObjectRef(b"r" * 28)
    ref.value = record
    return ref, record, client


def text_of(answers: dict[type[m.Message], m.Pending]) -> str:
    runtime: Any = Asked(answers)
    return str(why_pending(runtime, call_of(runtime)[0]))


def test_the_node_that_is_to_start_the_actor_tells_what_is_missing_there() -> None:
    there = m.Pending(0, "resources", "it needs {CPU: 1}, free are {CPU: 0}; 0 older requests wait")
    assert text_of({m.WhyAbsent: AT_NODE, m.WhyNoWorker: there}) == (
        "Counter.ping is not sent yet: actor Counter is PENDING_CREATION: it was sent to node X; "
        "it says: it needs {CPU: 1}, free are {CPU: 0}; 0 older requests wait"
    )


def test_a_node_that_does_not_answer_is_named_as_such() -> None:
    assert text_of({m.WhyAbsent: AT_NODE}).endswith("it was sent to node X; that node does not answer this one")


def test_no_head_is_an_answer() -> None:
    text = text_of({})
    assert "actor Counter is PENDING_CREATION, as it was heard last; no head answers" in text


def test_both_questions_together_take_no_longer_than_one_may() -> None:
    runtime: Any = Asked({m.WhyAbsent: AT_NODE})
    why_pending(runtime, call_of(runtime)[0])
    at_head_s, at_node_s = runtime.timeouts_s
    assert at_head_s <= ANSWER_TIMEOUT_S
    assert at_node_s <= at_head_s, "what is left of the same time"


def test_an_actor_that_lives_and_cannot_be_reached_from_here() -> None:
    runtime: Any = Asked({m.WhyAbsent: m.Pending(0, "ALIVE", "is ALIVE: it lives at node X")})
    ref, _, client = call_of(runtime)
    assert str(why_pending(runtime, ref)).endswith("it lives at node X; this process has no connection to it yet")
    client.why_closed = "reset by peer"
    assert str(why_pending(runtime, ref)).endswith("no connection to it: the last one is closed (reset by peer)")


def test_a_call_that_was_with_a_lost_process_is_not_said_to_be_unsent() -> None:
    runtime: Any = Asked({m.WhyAbsent: m.Pending(0, "RESTARTING", "is RESTARTING: ...")})
    ref, record, client = call_of(runtime)
    client.queue.clear()
    client.lost.append(record)
    assert str(why_pending(runtime, ref)) == (
        "Counter.ping was with a process that is gone: actor Counter is RESTARTING: ..."
    )


def test_earlier_calls_are_counted_and_a_connected_actor_is_not_asked_about() -> None:
    runtime: Any = Asked({})
    ref, record, client = call_of(runtime)
    earlier: Any = SimpleNamespace(waiting=True)
    client.queue.appendleft(earlier)
    client.peer, client.state = Peer(CONNECTION, Address(b"w" * 16, "")), "ALIVE"
    text = str(why_pending(runtime, ref))
    assert text == "Counter.ping is not sent yet: actor Counter is ALIVE; 1 earlier calls of this process wait too"
    assert (runtime.timeouts_s, record.peer) == ([], None), "nobody was asked"
