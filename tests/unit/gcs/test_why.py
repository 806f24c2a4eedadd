"""What the head says of actors and placement groups that are not there."""

from __future__ import annotations

import pytest

from linckia.base.limits import SUSPECT_AFTER_S
from linckia.core.placement.names import asked
from linckia.gcs.records import NodeRow
from linckia.model.wire import Address
from linckia.protocol import messages as m
from tests.unit.gcs.services import ACTOR, GROUP, Head, node_info, spec

WORKER = Address(b"worker", "")


@pytest.fixture
def head() -> Head:
    return Head()


# --- actors -----------------------------------------------------------------------------------------------------------


def test_an_actor_that_nobody_registered(head: Head) -> None:
    answer = head.why(actor_id=ACTOR)
    assert (answer.kind, answer.node_id) == ("UNKNOWN", b"")
    assert "unknown to the head" in answer.text


def test_an_actor_whose_arguments_are_not_ready(head: Head) -> None:
    head.register(spec({}), ready=False)
    answer = head.why(actor_id=ACTOR)
    assert answer.kind == "DEPENDENCIES_UNREADY"
    assert "arguments of its constructor are not ready" in answer.text


def test_an_actor_that_waits_for_a_node_with_room(head: Head) -> None:
    for name in (b"node-one", b"node-two"):
        head.join(name, CPU=1.0)
    head.register(spec({"CPU": 4.0}))
    answer = head.why(actor_id=ACTOR)
    assert answer.kind == "PENDING_CREATION"
    assert "waits for a node with room" in answer.text
    assert "CPU: 4" in answer.text, "the reason that placement keeps"
    assert answer.node_id == b"", "no node knows more"


def test_an_actor_that_was_sent_to_a_node(head: Head) -> None:
    node = head.join(b"node-one", CPU=1.0)
    head.register(spec({"CPU": 1.0}))
    head.pass_time(1.5)
    answer = head.why(actor_id=ACTOR)
    assert f"node {b'node-one'.hex()[:8]} (10.0.0.1, ALIVE, heard 1.5 s ago)" in answer.text
    assert answer.node_id == b"node-one", "its raylet knows more"
    head.pass_time(SUSPECT_AFTER_S)
    answer = head.why(actor_id=ACTOR)
    assert "SUSPECT, heard 4.5 s ago" in answer.text
    assert answer.node_id == b"", "nobody shall wait for the answer of a node that is silent"
    head.tell(node, m.ActorStart(ACTOR, "leased", WORKER, 77))
    assert "its constructor runs in process 77" in head.why(actor_id=ACTOR).text


def test_an_actor_that_was_withdrawn_from_a_node_which_does_not_answer(head: Head) -> None:
    node = head.join(b"node-one", CPU=1.0)
    head.join(b"node-two")
    head.register(spec({"CPU": 1.0}))
    head.nodes.late(node.peer_id)
    text = head.why(actor_id=ACTOR).text
    name = b"node-one".hex()[:8]
    assert "needs {CPU: 1}; nodes that have it get nothing new now, as they do not answer" in text
    assert f"nothing new is asked of node {name} (10.0.0.1, SUSPECT, heard" in text


def test_an_actor_that_lives_and_one_that_is_restarting(head: Head) -> None:
    node = head.join(b"node-one", CPU=1.0)
    head.register(spec({"CPU": 1.0}, max_restarts=3))
    for phase in ("leased", "alive"):
        head.tell(node, m.ActorStart(ACTOR, phase, WORKER, 77))
    answer = head.why(actor_id=ACTOR)
    assert answer.kind == "ALIVE"
    assert "it lives at node" in answer.text
    head.tell(node, m.ActorWorkerDied(ACTOR, "a signal", intended=False, restarts=0))
    answer = head.why(actor_id=ACTOR)
    assert answer.kind == "RESTARTING"
    assert "restart 1, max_restarts 3" in answer.text
    head.tell(head.asker, m.KillActor(5, ACTOR, no_restart=True))
    assert head.why(actor_id=ACTOR).text.startswith("is DEAD (restart 1, max_restarts 3): it was killed")


def test_an_actor_whose_placement_group_is_pending(head: Head) -> None:
    head.join(b"node-one", CPU=1.0)
    head.create({"CPU": 2.0})
    head.register(spec({name: units / 10_000 for name, units in asked(GROUP.hex(), 0, {"CPU": 10_000}).items()}))
    text = head.why(actor_id=ACTOR).text
    assert "its placement group 'gang' is PENDING" in text
    assert "do not fit" in text, "and why"


def test_a_head_that_has_just_taken_over_names_the_nodes_it_misses(head: Head) -> None:
    head.nodes.restore(NodeRow(node_info(b"node-one", CPU=1.0), True, 0.0))
    head.join(b"node-two")
    head.register(spec({"CPU": 1.0}))
    text = head.why(actor_id=ACTOR).text
    assert f"the last head also knew node {b'node-one'.hex()[:8]} (10.0.0.1, ALIVE, not heard by this head yet)" in text


# --- placement groups -------------------------------------------------------------------------------------------------


def test_a_group_that_nobody_created(head: Head) -> None:
    answer = head.why(group_id=GROUP)
    assert answer.kind == "UNKNOWN"
    assert GROUP.hex() in answer.text


def test_a_group_that_does_not_fit(head: Head) -> None:
    head.join(b"node-one", CPU=1.0)
    head.create({"CPU": 1.0}, {"CPU": 1.0})
    answer = head.why(group_id=GROUP)
    assert answer.kind == "PENDING"
    assert answer.text.startswith("placement group 'gang' is PENDING: 2 bundles ({CPU: 1}, {CPU: 1}) with PACK do not")


def test_an_attempt_names_the_nodes_that_it_waits_for(head: Head) -> None:
    one, two = (head.join(name, CPU=1.0) for name in (b"one-node", b"two-node"))
    names = [name.hex()[:8] for name in (b"one-node", b"two-node")]
    head.create({"CPU": 1.0}, {"CPU": 1.0}, strategy="STRICT_SPREAD")
    text = head.why(group_id=GROUP).text
    assert "attempt 1 waits for node" in text
    assert all(name in text for name in names), "both were asked to reserve"
    head.tell(one, m.BundlesPrepared(GROUP, 1, b"one-node", ok=True))
    text = head.why(group_id=GROUP).text
    assert names[0] not in text, "it has reserved"
    assert f"node {names[1]} (10.0.0.1, ALIVE, heard 0.0 s ago) to reserve bundles" in text
    head.tell(two, m.BundlesPrepared(GROUP, 1, b"two-node", ok=True))
    head.tell(two, m.BundlesCommitted(GROUP, 1, b"two-node"))
    answer = head.why(group_id=GROUP)
    assert answer.kind == "PREPARED"
    assert f"{names[0]} (10.0.0.1, ALIVE, heard 0.0 s ago) to offer bundles" in answer.text
    head.tell(one, m.BundlesCommitted(GROUP, 1, b"one-node"))
    assert head.why(group_id=GROUP).text == "placement group 'gang' is CREATED"


def test_an_attempt_that_failed_and_a_node_that_was_lost(head: Head) -> None:
    node = head.join(b"one-node", CPU=2.0)
    head.create({"CPU": 1.0}, {"CPU": 1.0})
    head.tell(node, m.BundlesPrepared(GROUP, 1, b"one-node", ok=False))
    assert "attempt 1 failed, as a node had no room or was lost" in head.why(group_id=GROUP).text
    head.groups.directory.groups[GROUP].nodes[0] = b"one-node"
    assert "as 1 of its 2 bundles lost their node" in head.why(group_id=GROUP).text


def test_what_a_node_said_when_it_could_not_reserve(head: Head) -> None:
    node = head.join(b"one-node", CPU=2.0)
    head.create({"CPU": 1.0})
    head.tell(node, m.BundlesPrepared(GROUP, 1, b"one-node", ok=False, reason="only {CPU: 1} is left there"))
    assert "is PENDING: only {CPU: 1} is left there" in head.why(group_id=GROUP).text


def test_a_group_that_was_removed(head: Head) -> None:
    head.create({"CPU": 1.0})
    head.tell(head.asker, m.RemoveGroup(GROUP))
    assert head.why(group_id=GROUP).text == "placement group 'gang' is REMOVED"


def test_a_question_that_comes_twice_is_answered_from_the_tables_not_from_memory(head: Head) -> None:
    head.create({"CPU": 1.0})
    assert head.why(group_id=GROUP).kind == "PENDING"
    head.tell(head.asker, m.RemoveGroup(GROUP))
    assert head.why(group_id=GROUP).kind == "REMOVED", "the same rid"
