"""Tasks and actors in placement groups: where they run, what they hold, what removal does to them (section 6)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from engine import INIT_OPTIONS, IS_LINCKIA, better, exceptions, module, ray, wait_for

pg = module("util.placement_group")
util = module("util")
InGroup = module("util.scheduling_strategies").PlacementGroupSchedulingStrategy
PlacementGroupID = type(pg.PlacementGroup.empty().id)
CPUS = 4


@pytest.fixture(scope="module")
def four() -> Iterator[None]:
    """Four CPUs, four slots, two GPUs."""
    ray.shutdown()
    ray.init(**(INIT_OPTIONS | {"num_cpus": CPUS, "num_gpus": 2, "resources": {"slot": 4}}))
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _clean(four: None) -> Iterator[None]:
    """No group outlives its test, and what it held is free again."""
    yield
    for group_id, row in util.placement_group_table().items():
        if row["state"] != "REMOVED":
            util.remove_placement_group(pg.PlacementGroup(PlacementGroupID.from_hex(group_id)))
    wait_for(
        lambda: ray.available_resources().get("CPU") == CPUS and ray.available_resources().get("slot") == 4,
        what="all resources free again",
    )


def made(bundles: list[dict[str, float]], **options: Any) -> Any:
    """A group that is there."""
    group = util.placement_group(bundles, **options)
    assert group.wait(20), util.placement_group_table(group)
    return group


@ray.remote
def where() -> Any:
    """What the task knows of its group."""
    context = ray.get_runtime_context()
    current = module_in_worker().get_current_placement_group()
    return (
        context.get_placement_group_id(),
        context.should_capture_child_tasks_in_placement_group,
        context.get_assigned_resources(),
        current,
    )


def module_in_worker() -> Any:
    """The placement group module of the engine, found in whatever process calls."""
    return module("util.placement_group")


@ray.remote
class Worker:
    """Says where it is."""

    def where(self) -> Any:
        """As the task of that name."""
        context = ray.get_runtime_context()
        return (
            context.get_placement_group_id(),
            context.should_capture_child_tasks_in_placement_group,
            context.get_assigned_resources(),
            module_in_worker().get_current_placement_group(),
        )

    def pid(self) -> int:
        """Of the process."""
        return os.getpid()

    def child(self, **options: Any) -> Any:
        """Where a child of it runs."""
        return ray.get(where.options(**options).remote())

    def gpus(self) -> Any:
        """Ids."""
        return ray.get_gpu_ids()

    def hold(self, gate: Any) -> str:
        """Until the gate opens."""
        gate.wait()
        return "done"


@ray.remote
def nested(**options: Any) -> Any:
    """Where a child of this task runs."""
    return ray.get(where.options(**options).remote())


@ray.remote
def hold(gate: Any) -> str:
    """Until the gate opens."""
    gate.wait()
    return "done"


@ray.remote(max_retries=3)
def hold_and_tell(gate: Any, channel: Any) -> str:
    """Says that it runs, then as `hold`."""
    channel.send(str(os.getpid()))
    gate.wait()
    return "done"


def deprecated() -> Any:
    """Linckia warns where the option is written, Ray where it is used."""
    return pytest.warns(DeprecationWarning) if IS_LINCKIA else contextlib.nullcontext()


def gone(pid: int) -> bool:
    """Whether the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# --- running in a group -----------------------------------------------------------------------------------------------


@pytest.mark.row("4.12", "6.16", "1.42")
@pytest.mark.parametrize("index", [-1, 0, 1])
def test_a_task_runs_in_its_bundle(index: int) -> None:
    group = made([{"CPU": 1}, {"CPU": 2}])
    found = ray.get(where.options(scheduling_strategy=InGroup(group, index)).remote(), timeout=20)
    assert found == (group.id.hex(), False, {"CPU": 1.0}, group)


@pytest.mark.row("6.16", "1.42")
def test_work_outside_of_groups_is_in_none() -> None:
    made([{"CPU": 1}])
    assert util.get_current_placement_group() is None
    assert ray.get_runtime_context().get_placement_group_id() is None
    assert ray.get(where.remote(), timeout=20) == (None, False, {"CPU": 1.0}, None)
    assert ray.get(where.options(scheduling_strategy=InGroup(None)).remote(), timeout=20)[0] is None


@pytest.mark.row("6.16", "1.42")
def test_an_actor_runs_in_its_bundle() -> None:
    group = made([{"CPU": 1}, {"CPU": 1}])
    default = Worker.options(scheduling_strategy=InGroup(group, 0)).remote()
    holds = Worker.options(num_cpus=1, scheduling_strategy=InGroup(group, 1)).remote()
    assert ray.get(default.where.remote(), timeout=20) == (group.id.hex(), False, {}, group)
    assert ray.get(holds.where.remote(), timeout=20) == (group.id.hex(), False, {"CPU": 1.0}, group)


@pytest.mark.row("6.19", "4.12")
def test_a_full_bundle_makes_wait(new_gate: Any) -> None:
    group, gate = made([{"CPU": 1}, {"CPU": 1}]), new_gate()
    inside = hold.options(scheduling_strategy=InGroup(group, 0)).remote(gate)
    behind = where.options(scheduling_strategy=InGroup(group, 0)).remote()
    assert ray.wait([behind], timeout=1)[0] == [], "bundle 0 is full"
    assert ray.get(where.options(scheduling_strategy=InGroup(group, 1)).remote(), timeout=20)[0] == group.id.hex()
    gate.open()
    assert ray.get([inside, behind], timeout=20)[0] == "done"


@pytest.mark.row("6.19")
def test_any_bundle_means_one_with_room(new_gate: Any, new_channel: Any) -> None:
    group, gate, channel = made([{"CPU": 1}, {"CPU": 1}]), new_gate(), new_channel()
    refs = [hold_and_tell.options(scheduling_strategy=InGroup(group)).remote(gate, channel) for _ in range(3)]
    pids = {channel.receive(20), channel.receive(20)}
    assert len(pids) == 2
    assert ray.wait(refs, timeout=1)[0] == [], "the third waits for a bundle"
    gate.open()
    assert ray.get(refs, timeout=20) == ["done"] * 3


@pytest.mark.row("6.19")
def test_two_halves_do_not_make_a_whole(new_gate: Any, new_channel: Any) -> None:
    group, gate, channel = made([{"CPU": 1}, {"CPU": 1}]), new_gate(), new_channel()
    for index in range(2):
        hold_and_tell.options(num_cpus=0.5, scheduling_strategy=InGroup(group, index)).remote(gate, channel)
    channel.receive(20)
    channel.receive(20)
    ref = where.options(scheduling_strategy=InGroup(group)).remote()
    assert ray.wait([ref], timeout=1)[0] == [], "each bundle has half a CPU left"
    gate.open()
    assert ray.get(ref, timeout=20)[0] == group.id.hex()


@pytest.mark.row("6.10", "4.12")
def test_work_in_a_group_takes_nothing_else(new_gate: Any, new_channel: Any) -> None:
    group, gate, channel = made([{"CPU": 2}]), new_gate(), new_channel()
    ref = hold_and_tell.options(scheduling_strategy=InGroup(group)).remote(gate, channel)
    channel.receive(20)
    assert wait_for(lambda: ray.available_resources().get(f"CPU_group_0_{group.id.hex()}") == 1)
    assert ray.available_resources()["CPU"] == 2
    gate.open()
    assert ray.get(ref, timeout=20) == "done"


@pytest.mark.row("4.12")
def test_work_waits_for_its_group() -> None:
    first = made([{"CPU": CPUS}])
    second = util.placement_group([{"CPU": 1}])
    task = where.options(scheduling_strategy=InGroup(second)).remote()
    actor = Worker.options(scheduling_strategy=InGroup(second, 0)).remote()
    ref = actor.where.remote()
    assert ray.wait([task, ref], num_returns=2, timeout=1)[0] == []
    util.remove_placement_group(first)
    assert ray.get(task, timeout=20)[0] == second.id.hex()
    assert ray.get(ref, timeout=20)[0] == second.id.hex()


@pytest.mark.row("4.12")
def test_zero_cpu_work_runs_in_any_bundle() -> None:
    group = made([{"slot": 1}])
    assert ray.get(where.options(num_cpus=0, scheduling_strategy=InGroup(group)).remote(), timeout=20)[0] == (
        group.id.hex()
    )
    actor = Worker.options(num_cpus=0, scheduling_strategy=InGroup(group, 0)).remote()
    assert ray.get(actor.where.remote(), timeout=20)[0] == group.id.hex()


@pytest.mark.row("6.24", "4.32")
def test_gpus_keep_their_ids_inside_a_bundle() -> None:
    group = made([{"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}])
    actors = [
        Worker.options(num_cpus=1, num_gpus=1, scheduling_strategy=InGroup(group, index)).remote() for index in range(2)
    ]
    ids = ray.get([actor.gpus.remote() for actor in actors], timeout=20)
    assert sorted(map(str, [one for each in ids for one in each])) == ["0", "1"]


@pytest.mark.row("4.16")
def test_a_blocked_task_gives_its_bundle_cpu_back() -> None:
    group = made([{"CPU": 1}])

    @ray.remote
    def deep(level: int) -> int:
        if level == 0:
            return 0
        child = deep.options(scheduling_strategy=InGroup(module_in_worker().get_current_placement_group()))
        return 1 + int(ray.get(child.remote(level - 1)))

    assert ray.get(deep.options(scheduling_strategy=InGroup(group)).remote(3), timeout=40) == 3
    wait_for(lambda: ray.available_resources().get(f"CPU_group_0_{group.id.hex()}") == 1, what="the bundle is free")


# --- what cannot fit --------------------------------------------------------------------------------------------------


@pytest.mark.row("2.13")
@pytest.mark.parametrize("index", [2, 100])
def test_an_index_that_the_group_does_not_have(index: int) -> None:
    group = util.placement_group([{"CPU": 1}, {"CPU": 1}])
    if index == 2 and not IS_LINCKIA:
        pytest.skip("Ray lets the number of bundles pass")
    with pytest.raises(ValueError, match=str(index)):
        where.options(scheduling_strategy=InGroup(group, index)).remote()
    with pytest.raises(ValueError, match=str(index)):
        Worker.options(scheduling_strategy=InGroup(group, index)).remote()


@pytest.mark.row("2.13")
@pytest.mark.parametrize("options", [{"num_cpus": 3}, {"num_gpus": 1}, {"resources": {"slot": 2}}, {"memory": 10**9}])
def test_a_request_that_no_bundle_can_hold(options: dict[str, Any]) -> None:
    group = util.placement_group([{"CPU": 1}, {"CPU": 2, "slot": 1}])
    with pytest.raises(ValueError, match="undle"):
        where.options(scheduling_strategy=InGroup(group), **options).remote()
    with pytest.raises(ValueError, match="undle"):
        Worker.options(scheduling_strategy=InGroup(group), **options).remote()


@pytest.mark.row("2.13")
@better("a request that fits another bundle than the one it names waits for ever")
def test_a_request_that_its_bundle_cannot_hold() -> None:
    group = util.placement_group([{"CPU": 1}, {"CPU": 2}])
    with pytest.raises(ValueError, match="bundle 0"):
        where.options(num_cpus=2, scheduling_strategy=InGroup(group, 0)).remote()
    assert ray.get(where.options(num_cpus=2, scheduling_strategy=InGroup(group, 1)).remote(), timeout=20)


@pytest.mark.row("2.13")
def test_a_default_actor_needs_a_bundle_with_a_cpu() -> None:
    group = util.placement_group([{"slot": 1}])
    with pytest.raises(ValueError, match="CPU"):
        Worker.options(scheduling_strategy=InGroup(group)).remote()


@pytest.mark.row("2.14")
def test_the_deprecated_options() -> None:
    group = made([{"CPU": 1}, {"CPU": 1}])
    with deprecated():
        task = where.options(placement_group=group, placement_group_bundle_index=1)
    assert ray.get(task.remote(), timeout=20)[0] == group.id.hex()
    with deprecated():
        actor = Worker.options(placement_group=group, placement_group_capture_child_tasks=True).remote()
    assert ray.get(actor.where.remote(), timeout=20)[:2] == (group.id.hex(), True)
    with pytest.raises(ValueError, match="(?i)placement.group"):
        where.options(placement_group=group, scheduling_strategy=InGroup(group)).remote()
    with pytest.raises(ValueError, match="9"), deprecated():
        where.options(placement_group=group, placement_group_bundle_index=9).remote()


# --- children ---------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.20", "2.10")
@pytest.mark.parametrize("captures", [True, False, None])
def test_children_of_a_task(captures: bool | None) -> None:
    group = made([{"CPU": 2}])
    parent = nested.options(scheduling_strategy=InGroup(group, 0, captures))
    found = ray.get(parent.remote(), timeout=20)
    assert found[:2] == ((group.id.hex(), True) if captures else (None, False))


@pytest.mark.row("6.20", "2.10")
@pytest.mark.parametrize("options", [{"scheduling_strategy": "DEFAULT"}, {"placement_group": None}])
def test_children_can_opt_out(options: dict[str, Any]) -> None:
    group = made([{"CPU": 2}])
    parent = nested.options(scheduling_strategy=InGroup(group, 0, True))
    assert ray.get(parent.remote(**options), timeout=20)[0] is None


@pytest.mark.row("6.20")
def test_children_of_an_actor() -> None:
    group = made([{"CPU": 2}])
    captures = Worker.options(num_cpus=1, scheduling_strategy=InGroup(group, 0, True)).remote()
    assert ray.get(captures.child.remote(), timeout=20)[:2] == (group.id.hex(), True)
    assert ray.get(captures.child.remote(scheduling_strategy="DEFAULT"), timeout=20)[0] is None
    lets_go = Worker.options(scheduling_strategy=InGroup(group, 0)).remote()
    assert ray.get(lets_go.child.remote(), timeout=20)[0] is None


@pytest.mark.row("6.20")
def test_captured_children_capture_theirs() -> None:
    group = made([{"CPU": 3}])

    @ray.remote
    def grandparent() -> Any:
        return ray.get(nested.remote())

    found = ray.get(grandparent.options(scheduling_strategy=InGroup(group, 0, True)).remote(), timeout=30)
    assert found[:2] == (group.id.hex(), True)


@pytest.mark.row("6.20")
def test_a_worker_that_leaves_a_group_leaves_its_children_outside() -> None:
    group = made([{"CPU": 2}])

    @ray.remote
    def pid_and_child() -> Any:
        return os.getpid(), ray.get(where.remote())[0]

    for _ in range(3):
        inside = ray.get(pid_and_child.options(scheduling_strategy=InGroup(group, 0, True)).remote(), timeout=20)
        outside = ray.get(pid_and_child.remote(), timeout=20)
        assert (inside[1], outside[1]) == (group.id.hex(), None)


@pytest.mark.row("6.20")
def test_a_captured_child_that_no_bundle_can_hold() -> None:
    group = made([{"CPU": 1}])
    parent = nested.options(scheduling_strategy=InGroup(group, 0, True))
    with pytest.raises(ValueError, match="undle"):
        ray.get(parent.remote(num_cpus=2), timeout=20)


# --- removal ----------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.17")
def test_removal_kills_running_tasks(new_gate: Any, new_channel: Any) -> None:
    group, gate, channel = made([{"CPU": 1}]), new_gate(), new_channel()
    ref = hold_and_tell.options(scheduling_strategy=InGroup(group)).remote(gate, channel)
    pid = int(channel.receive(20))
    util.remove_placement_group(group)
    wait_for(lambda: gone(pid), what="the task's process ends")
    if IS_LINCKIA:
        with pytest.raises(exceptions.TaskPlacementGroupRemoved):
            ray.get(ref, timeout=20)
    assert ray.available_resources()["CPU"] == CPUS or wait_for(lambda: ray.available_resources()["CPU"] == CPUS)


@pytest.mark.row("6.17", "3.53")
def test_removal_refuses_waiting_tasks(new_gate: Any, new_channel: Any) -> None:
    group, gate, channel = made([{"CPU": 1}]), new_gate(), new_channel()
    hold_and_tell.options(scheduling_strategy=InGroup(group, 0), max_retries=0).remote(gate, channel)
    channel.receive(20)
    waiting = [where.options(scheduling_strategy=InGroup(group, 0)).remote() for _ in range(3)]
    assert ray.wait(waiting, timeout=0.5)[0] == []
    util.remove_placement_group(group)
    for ref in waiting:
        with pytest.raises(exceptions.TaskPlacementGroupRemoved):
            ray.get(ref, timeout=20)


@pytest.mark.row("6.17", "3.53")
@better("such a task waits for ever")
def test_removal_refuses_tasks_of_a_group_that_never_was() -> None:
    group = util.placement_group([{"CPU": 100}])
    ref = where.options(scheduling_strategy=InGroup(group)).remote()
    assert ray.wait([ref], timeout=0.5)[0] == []
    util.remove_placement_group(group)
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(ref, timeout=20)


@pytest.mark.row("6.17")
@pytest.mark.parametrize("restarts", [0, pytest.param(3, marks=better("calls give ActorUnavailableError for ever"))])
def test_removal_kills_actors(restarts: int) -> None:
    group = made([{"CPU": 1}])
    actor = Worker.options(num_cpus=1, max_restarts=restarts, scheduling_strategy=InGroup(group)).remote()
    pid = ray.get(actor.pid.remote(), timeout=20)
    util.remove_placement_group(group)
    wait_for(lambda: gone(pid), what="the actor's process ends")
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.pid.remote(), timeout=20)


@pytest.mark.row("6.17")
def test_removal_fails_a_running_call(new_gate: Any) -> None:
    group, gate = made([{"CPU": 1}]), new_gate()
    actor = Worker.options(scheduling_strategy=InGroup(group, 0)).remote()
    pid = ray.get(actor.pid.remote(), timeout=20)
    ref = actor.hold.remote(gate)
    util.remove_placement_group(group)
    with pytest.raises(exceptions.RayActorError):
        ray.get(ref, timeout=20)
    wait_for(lambda: gone(pid), what="the actor's process ends")


@pytest.mark.row("6.17", "3.53")
def test_removal_refuses_waiting_actors(new_gate: Any) -> None:
    group = made([{"CPU": 1}])
    first = Worker.options(num_cpus=1, scheduling_strategy=InGroup(group, 0)).remote()
    ray.get(first.pid.remote(), timeout=20)
    waiting = Worker.options(num_cpus=1, scheduling_strategy=InGroup(group, 0)).remote()
    ref = waiting.pid.remote()
    assert ray.wait([ref], timeout=0.5)[0] == []
    util.remove_placement_group(group)
    with pytest.raises((exceptions.ActorUnschedulableError, exceptions.ActorPlacementGroupRemoved)):
        ray.get(ref, timeout=20)


@pytest.mark.row("6.17")
def test_removal_leaves_others_alone(new_gate: Any, new_channel: Any) -> None:
    group, other, gate, channel = made([{"CPU": 1}]), made([{"CPU": 1}]), new_gate(), new_channel()
    outside = hold_and_tell.options(max_retries=0).remote(gate, channel)
    beside = hold_and_tell.options(max_retries=0, scheduling_strategy=InGroup(other)).remote(gate, channel)
    channel.receive(20)
    channel.receive(20)
    actor = Worker.options(scheduling_strategy=InGroup(group)).remote()
    pid = ray.get(actor.pid.remote(), timeout=20)
    util.remove_placement_group(group)
    wait_for(lambda: gone(pid), what="the actor's process ends")
    gate.open()
    assert ray.get([outside, beside], timeout=20) == ["done", "done"]


@pytest.mark.row("6.17", "3.53")
@better("work for a removed group waits for ever")
def test_work_for_a_removed_group() -> None:
    group = made([{"CPU": 1}])
    util.remove_placement_group(group)
    wait_for(lambda: util.placement_group_table(group)["state"] == "REMOVED")
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(where.options(scheduling_strategy=InGroup(group)).remote(), timeout=10)
    actor = Worker.options(scheduling_strategy=InGroup(group)).remote()
    with pytest.raises((exceptions.ActorUnschedulableError, exceptions.ActorPlacementGroupRemoved)):
        ray.get(actor.pid.remote(), timeout=10)


# --- lifetime ---------------------------------------------------------------------------------------------------------


@pytest.mark.row("6.18")
def test_a_group_ends_with_the_job_that_made_it_unless_detached(run_script: Any) -> None:
    address = ray.get_runtime_context().gcs_address
    run_script(
        f"""
        import ray
        ray.init(address={address!r}, namespace="made")
        placement_group = ray.util.placement_group
        one = placement_group([{{"CPU": 1}}], name="job")
        two = placement_group([{{"CPU": 1}}], name="stays", lifetime="detached")
        assert one.wait(20) and two.wait(20)

        @ray.remote(num_cpus=0)
        class Creator:
            def make(self):
                return placement_group([{{"CPU": 1}}], name="of a detached actor").wait(20)

        creator = Creator.options(lifetime="detached", name="creator of another job").remote()
        assert ray.get(creator.make.remote())
        """
    ).ok()
    rows = wait_for(
        lambda: (
            (found := {r["name"]: r["state"] for r in util.placement_group_table().values() if r["name"]})
            and found.get("job") in (None, "REMOVED")
            and found
        ),
        what="the group of the job is gone",
    )
    assert rows["stays"] == rows["of a detached actor"] == "CREATED"
    began_s = time.monotonic()
    wait_for(lambda: ray.available_resources().get("CPU") == CPUS - 2)
    assert time.monotonic() - began_s < 20
    ray.kill(ray.get_actor("creator of another job", namespace="made"))


@ray.remote(num_cpus=0, max_restarts=2)
class Creator:
    """Makes a group, and may die."""

    def make(self) -> Any:
        group = ray.util.placement_group([{"CPU": 1}])
        assert group.wait(30)
        return group

    def die(self) -> None:
        os._exit(1)

    def ping(self) -> None: ...


def died_and_came_back(actor: Any) -> None:
    """Crash its process; it answers again from the next one."""
    actor.die.remote()

    def answers() -> bool:
        try:
            ray.get(actor.ping.remote(), timeout=30)
        except exceptions.RayActorError:
            return False
        return True

    wait_for(answers, what="restarted")


@pytest.mark.row("5.20", "6.18")
def test_a_group_ends_with_the_process_of_the_detached_actor_that_made_it() -> None:
    actor = Creator.options(lifetime="detached", name="creator").remote()
    group = ray.get(actor.make.remote(), timeout=60)
    died_and_came_back(actor)
    wait_for(lambda: util.placement_group_table(group)["state"] == "REMOVED", what="removed by the restart")
    group = ray.get(actor.make.remote(), timeout=60)
    ray.kill(actor)
    wait_for(lambda: util.placement_group_table(group)["state"] == "REMOVED", what="removed by the death")


@pytest.mark.row("5.20", "6.18")
def test_a_group_that_another_actor_made_ends_with_the_job_only() -> None:
    actor = Creator.remote()
    group = ray.get(actor.make.remote(), timeout=60)
    died_and_came_back(actor)
    assert util.placement_group_table(group)["state"] == "CREATED"
    util.remove_placement_group(group)
