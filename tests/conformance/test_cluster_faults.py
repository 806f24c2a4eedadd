"""A node dies: tasks are retried, actors restarted elsewhere, and what cannot be saved says so (section 7)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import better, error_after_death, exceptions, module, ray, wait_for

Affinity = module("util.scheduling_strategies").NodeAffinitySchedulingStrategy
NODE_LOST = (exceptions.NodeDiedError, exceptions.WorkerCrashedError)


@ray.remote
def held(gate: Any, channel: Any) -> str:
    """Says where it is, and ends when the gate opens."""
    found: str = ray.get_runtime_context().get_node_id()
    channel.send(found)
    gate.wait()
    return found


@ray.remote
class Counter:
    """Counts, and knows where it is."""

    def __init__(self, channel: Any = None) -> None:
        self.count = 0
        if channel is not None:
            channel.send(ray.get_runtime_context().get_node_id())

    def add(self) -> int:
        """One more."""
        self.count += 1
        return self.count

    def where(self) -> str:
        """Node."""
        found: str = ray.get_runtime_context().get_node_id()
        return found

    def hold(self, gate: Any, channel: Any) -> str:
        """Is busy until the gate opens."""
        channel.send("held")
        gate.wait()
        return self.where()


@pytest.fixture(scope="module")
def base() -> Iterator[Any]:
    """A connected head without CPUs."""
    ray.shutdown()
    quick = {f"health_check_{name}": 500 for name in ("initial_delay_ms", "period_ms", "timeout_ms")}  # for Ray
    args = {"num_cpus": 0, "_system_config": {**quick, "health_check_failure_threshold": 3}}
    cluster = module("cluster_utils").Cluster(initialize_head=True, connect=True, head_node_args=args)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def nodes(base: Any) -> Iterator[Callable[..., Any]]:
    """Adds nodes that leave after the test."""
    before = set(base.worker_nodes)

    def add(num_cpus: int = 1, **options: Any) -> Any:
        node = base.add_node(num_cpus=num_cpus, **options)
        wait_for(lambda: any(row["NodeID"] == node.node_id and row["Alive"] for row in ray.nodes()), what="joined")
        return node

    yield add
    for node in set(base.worker_nodes) - before:
        base.remove_node(node)
    wait_for(lambda: sum(row["Alive"] for row in ray.nodes()) == 1, timeout_s=60, what="only the head is left")


@pytest.fixture
def crash(base: Any) -> Callable[[Any], None]:
    """Kills a node without a farewell, and waits until the cluster knows."""

    def kill(node: Any) -> None:
        base.remove_node(node, allow_graceful=False)
        alive = lambda: {row["NodeID"] for row in ray.nodes() if row["Alive"]}  # noqa: E731
        wait_for(lambda: node.node_id not in alive(), timeout_s=60, what="it is known to be dead")

    return kill


# --- tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.row("7.1", "7.6", "4.18", "2.20")
def test_a_task_is_retried_elsewhere(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    first, gate, channel = nodes(), new_gate(), new_channel()
    ref = held.remote(gate, channel)
    assert channel.receive() == first.node_id
    second = nodes()
    crash(first)
    assert channel.receive(60) == second.node_id
    gate.open()
    assert ray.get(ref, timeout=30) == second.node_id
    assert channel.settled() == [], "it ran twice, not more often"


@pytest.mark.row("7.1", "3.44")
def test_a_task_that_may_not_be_retried(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    first, gate, channel = nodes(), new_gate(), new_channel()
    ref = held.options(max_retries=0).remote(gate, channel)
    channel.receive()
    nodes()
    crash(first)
    with pytest.raises(NODE_LOST):
        ray.get(ref, timeout=60)
    assert channel.settled() == []


@pytest.mark.row("3.44")
@better("Ray sometimes says WorkerCrashedError")
def test_the_error_names_the_node(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    first, gate, channel = nodes(), new_gate(), new_channel()
    ref = held.options(max_retries=0).remote(gate, channel)
    channel.receive()
    crash(first)
    with pytest.raises(exceptions.NodeDiedError, match=first.node_id[:8]):
        ray.get(ref, timeout=30)


@pytest.mark.row("7.1", "2.20")
def test_retries_are_counted_over_nodes(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    node = nodes()
    ref = held.options(max_retries=1).remote(gate, channel)
    for _ in range(2):
        assert channel.receive(60) == node.node_id
        previous, node = node, nodes()
        crash(previous)
    with pytest.raises(NODE_LOST):
        ray.get(ref, timeout=60)
    assert channel.settled() == []


@pytest.fixture
def preempt(base: Any, crash: Any) -> Callable[[Any, float], None]:
    """Announces that a node will be taken away, and takes it away: at its deadline, or sooner than was said."""

    def take(node: Any, deadline_s: float) -> None:
        linckia = str(Path(sys.executable).with_name("linckia"))
        command = [linckia, "drain-node", "--address", base.address, "--node-id", node.node_id]
        options = ["--reason", "preemption", "--deadline-s", str(deadline_s)]
        subprocess.run([*command, *options], check=True, capture_output=True, timeout=60)
        if deadline_s < 1:
            wait_for(lambda: not next(row for row in ray.nodes() if row["NodeID"] == node.node_id)["Alive"])
        crash(node)

    return take


@pytest.mark.row("4.21", "7.9")
@better("its drain command needs the GCS client of the same release")
def test_a_machine_that_is_taken_away_costs_no_retry(
    nodes: Any, preempt: Any, crash: Any, new_gate: Any, new_channel: Any
) -> None:
    gate, channel = new_gate(), new_channel()
    node = nodes()
    ref = held.options(max_retries=1).remote(gate, channel)
    for deadline_s in (0.1, 60):
        assert channel.receive(60) == node.node_id
        previous, node = node, nodes()
        preempt(previous, deadline_s)
    assert channel.receive(60) == node.node_id
    previous, node = node, nodes()
    crash(previous)  # this one costs the only retry
    assert channel.receive(60) == node.node_id
    gate.open()
    assert ray.get(ref, timeout=60) == node.node_id


@pytest.mark.row("4.21", "7.9", "3.47")
@better("as above")
def test_a_machine_that_is_taken_away_costs_no_restart(nodes: Any, preempt: Any, new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote(num_cpus=1)
    class Home:
        def __init__(self) -> None:
            channel.send(ray.get_runtime_context().get_node_id())

        def ping(self) -> None: ...

    node = nodes(2)
    kept, single = Home.options(max_restarts=1).remote(), Home.options(max_restarts=0).remote()
    ray.get([kept.ping.remote(), single.ping.remote()], timeout=60)
    channel.receive_many(2)
    for _ in range(2):
        previous, node = node, nodes(2)
        preempt(previous, 60)
        assert channel.receive(60) == node.node_id
    error = error_after_death(single.ping)
    assert isinstance(error, exceptions.ActorDiedError)
    assert error.preempted


@pytest.mark.row("7.1", "4.18")
def test_many_tasks_survive_a_node(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    first, second = nodes(2), nodes(2)

    @ray.remote
    def square(number: int) -> int:
        return number * number

    blockers = [held.remote(gate, channel) for _ in range(4)]
    assert set(channel.receive_many(4)) == {first.node_id, second.node_id}
    refs = [square.remote(number) for number in range(200)]
    crash(first)
    gate.open()
    assert set(ray.get(blockers, timeout=60)) == {second.node_id}
    assert ray.get(refs, timeout=60) == [number * number for number in range(200)]


@pytest.mark.row("7.1", "4.10")
def test_a_retried_task_keeps_its_hard_affinity(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    first, gate, channel = nodes(), new_gate(), new_channel()
    nodes()
    strategy = Affinity(first.node_id, soft=False)
    ref = held.options(scheduling_strategy=strategy).remote(gate, channel)
    channel.receive()
    crash(first)
    with pytest.raises((exceptions.TaskUnschedulableError, *NODE_LOST)):
        ray.get(ref, timeout=60)


@pytest.mark.row("7.5", "4.15")
def test_children_end_with_the_node_of_their_parent(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    """The child is owned by the parent's process: nobody wants its result any more."""
    gate, channel, child_node = new_gate(), new_channel(), nodes(1, resources={"child": 1})
    parent_node = nodes(1, resources={"parent": 1})

    @ray.remote(num_cpus=0, resources={"child": 1})
    def child() -> None:
        channel.send(os.getpid())
        gate.wait()

    @ray.remote(num_cpus=0, resources={"parent": 1}, max_retries=0)
    def parent() -> None:
        ray.get(child.remote())

    ref = parent.remote()
    pid = int(channel.receive())
    crash(parent_node)
    with pytest.raises(NODE_LOST):
        ray.get(ref, timeout=60)
    wait_for(lambda: not is_running(pid), timeout_s=60, what="the child has ended too")
    wait_for(lambda: ray.available_resources().get("child") == 1, timeout_s=30, what="its resources are free")
    assert child_node.node_id in {row["NodeID"] for row in ray.nodes() if row["Alive"]}


def is_running(pid: int) -> bool:
    """False for the dead, zombies included."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- actors -----------------------------------------------------------------------------------------------------------


@pytest.mark.row("7.2", "5.18")
def test_an_actor_is_restarted_elsewhere(nodes: Any, crash: Any, new_channel: Any) -> None:
    first, channel = nodes(), new_channel()
    actor = Counter.options(max_restarts=1, max_task_retries=-1).remote(channel)
    assert channel.receive() == first.node_id
    assert ray.get([actor.add.remote(), actor.add.remote()], timeout=30) == [1, 2]
    second = nodes()
    crash(first)
    assert channel.receive(60) == second.node_id
    assert ray.get(actor.add.remote(), timeout=60) == 1, "with fresh state"
    assert ray.get(actor.where.remote(), timeout=30) == second.node_id


@pytest.mark.row("7.2", "3.48")
def test_an_actor_that_may_not_be_restarted(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    first, gate, channel = nodes(), new_gate(), new_channel()
    actor = Counter.remote()
    running = actor.hold.remote(gate, channel)
    channel.receive()
    nodes()
    crash(first)
    with pytest.raises(exceptions.RayActorError):
        ray.get(running, timeout=60)
    with pytest.raises(exceptions.ActorDiedError, match=r"(?i)node"):
        ray.get(actor.add.remote(), timeout=60)


@pytest.mark.row("7.2", "5.18", "5.21")
def test_an_actor_waits_for_a_node_to_be_restarted_on(nodes: Any, crash: Any, new_channel: Any) -> None:
    first, channel = nodes(), new_channel()
    actor = Counter.options(max_restarts=1, max_task_retries=-1).remote(channel)
    channel.receive()
    crash(first)
    again = actor.add.remote()
    assert ray.wait([again], timeout=1)[0] == []
    second = nodes()
    assert ray.get(again, timeout=60) == 1
    assert channel.receive() == second.node_id


@pytest.mark.row("7.3", "5.23")
def test_a_method_that_may_be_retried(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    first, gate, channel = nodes(), new_gate(), new_channel()
    actor = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    running = actor.hold.remote(gate, channel)
    channel.receive()
    second = nodes()
    crash(first)
    assert channel.receive(60) == "held"
    gate.open()
    assert ray.get(running, timeout=60) == second.node_id


@pytest.mark.row("7.3", "3.49", "5.23")
def test_a_method_that_may_not(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    first, gate, channel = nodes(), new_gate(), new_channel()
    actor = Counter.options(max_restarts=1).remote()
    running = actor.hold.remote(gate, channel)
    channel.receive()
    nodes()
    crash(first)
    with pytest.raises((exceptions.ActorUnavailableError, exceptions.ActorDiedError)):
        ray.get(running, timeout=60)

    def answers() -> int:
        try:
            found: int = ray.get(actor.add.remote(), timeout=30)
        except exceptions.ActorUnavailableError:
            return 0
        return found

    assert wait_for(answers, timeout_s=60, what="it is there again") == 1
    assert channel.settled() == [], "the call ran once"


@pytest.mark.row("5.15", "7.5")
def test_an_actor_ends_with_the_node_of_its_owner(nodes: Any, crash: Any) -> None:
    home = nodes(1, resources={"home": 1})
    nodes(1, resources={"away": 1})

    @ray.remote(num_cpus=0, resources={"home": 1})
    class Owner:
        def make(self) -> Any:
            self.made = Counter.options(num_cpus=0, resources={"away": 1}, max_restarts=-1).remote()
            ray.get(self.made.add.remote())
            return self.made

    owner = Owner.remote()
    actor = ray.get(owner.make.remote(), timeout=30)
    assert ray.get(actor.add.remote(), timeout=30) == 2
    crash(home)

    def error() -> Any:
        try:
            ray.get(actor.add.remote(), timeout=30)
        except exceptions.ActorDiedError as found:
            return found
        return None

    assert re.search("its owner|created it", str(wait_for(error, timeout_s=60, what="it is dead")))
    wait_for(lambda: ray.available_resources().get("away") == 1, timeout_s=30, what="its resources are free")


@pytest.mark.row("5.16", "7.2")
def test_a_detached_actor_outlives_the_node_of_its_maker(nodes: Any, crash: Any) -> None:
    home, away = nodes(1, resources={"home": 1}), nodes(1, resources={"away": 1})

    @ray.remote(num_cpus=0, resources={"home": 1})
    def make() -> None:
        options = {"name": "survivor", "namespace": "n", "lifetime": "detached", "num_cpus": 0}
        made = Counter.options(**options, resources={"away": 1}).remote()
        ray.get(made.add.remote())

    ray.get(make.remote(), timeout=30)
    crash(home)
    actor = ray.get_actor("survivor", namespace="n")
    assert ray.get(actor.add.remote(), timeout=30) == 2
    assert ray.get(actor.where.remote(), timeout=30) == away.node_id
    ray.kill(actor)


@pytest.mark.row("5.17", "7.2")
def test_a_name_stays_with_the_restarted_actor(nodes: Any, crash: Any, new_channel: Any) -> None:
    first, channel = nodes(), new_channel()
    kept = Counter.options(name="named", max_restarts=1, max_task_retries=-1).remote(channel)
    channel.receive()
    second = nodes()
    crash(first)
    assert channel.receive(60) == second.node_id
    again = ray.get_actor("named")
    assert ray.get([again.where.remote(), kept.where.remote()], timeout=60) == [second.node_id] * 2


@pytest.mark.row("7.6", "4.28")
def test_a_generator_goes_on_elsewhere(nodes: Any, crash: Any, new_gate: Any, new_channel: Any) -> None:
    first, gate, channel = nodes(), new_gate(), new_channel()

    @ray.remote(max_retries=2)
    def numbers() -> Iterator[int]:
        yield 0
        yield 1
        channel.send(ray.get_runtime_context().get_node_id())
        gate.wait()
        yield 2

    stream = numbers.remote()
    assert ray.get(next(stream), timeout=30) == 0
    assert channel.receive() == first.node_id
    second = nodes()
    crash(first)
    assert channel.receive(60) == second.node_id
    gate.open()
    assert [ray.get(ref, timeout=60) for ref in stream] == [1, 2]


# --- nodes that leave on purpose --------------------------------------------------------------------------------------


@pytest.mark.row("7.7", "7.8", "7.10")
def test_a_node_that_says_goodbye_is_gone_at_once(base: Any, nodes: Any) -> None:
    node = nodes()
    base.remove_node(node)
    row = wait_for(
        lambda: next((r for r in ray.nodes() if r["NodeID"] == node.node_id and not r["Alive"]), None),
        timeout_s=5,
        what="it is dead",
    )
    assert row["DeathReason"] == 1, "EXPECTED_TERMINATION"


@pytest.mark.row("7.8")
def test_a_crash_was_not_expected(nodes: Any, crash: Any) -> None:
    node = nodes()
    crash(node)
    row = next(row for row in ray.nodes() if row["NodeID"] == node.node_id)
    assert row["DeathReason"] == 2, "UNEXPECTED_TERMINATION"
