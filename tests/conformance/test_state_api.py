"""The state API beside tasks' lives (test_tasks_states): filters, limits, columns, single records, summaries, exits.

Real Ray skips this file as it skips test_tasks_states, unless it was installed with its dashboard.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import INIT_OPTIONS, IS_LINCKIA, exceptions, module, ray, wait_for
from gates import Gate
from tools_tasks import needs_state_api

pytestmark = [needs_state_api, pytest.mark.usefixtures("observed")]

NewGate = Callable[[], Gate]
api_address: dict[str, str] = {}


@pytest.fixture(scope="module")
def observed() -> Iterator[None]:
    ray.shutdown()
    context = ray.init(**(INIT_OPTIONS | {"include_dashboard": True}))
    if not IS_LINCKIA:
        api_address["address"] = f"http://{context.dashboard_url}"
    yield
    ray.shutdown()


def state_api(function: str, *args: Any, **options: Any) -> Any:
    return getattr(module("util.state"), function)(*args, **options, **api_address)


def failure() -> type[Exception]:
    found: type[Exception] = module("util.state.exception").RayStateApiException
    return found


@ray.remote(num_cpus=0)
class Held:
    """An actor that does what it is told."""

    def pid(self) -> int:
        return os.getpid()

    def shout(self) -> None:
        print("heard in the log")


@pytest.fixture(scope="module")
def actors(observed: None) -> Iterator[list[Any]]:
    made = [Held.options(name=f"held-{number}").remote() for number in range(3)]
    ray.get([actor.pid.remote() for actor in made])
    yield made
    for actor in made:
        ray.kill(actor)


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.row("8.5", "8.20")
def test_filters_and_limits(actors: list[Any]) -> None:
    of_class = ("class_name", "=", "Held")
    found = state_api("list_actors", filters=[of_class, ("state", "=", "ALIVE")])
    assert {actor.name for actor in found} == {"held-0", "held-1", "held-2"}
    (other,) = state_api("list_actors", filters=[of_class, ("name", "!=", "held-0"), ("name", "!=", "held-1")])
    assert other.name == "held-2"
    assert state_api("list_actors", filters=[("state", "=", "alive"), ("name", "=", "HELD-1")])[0].name == "held-1"
    assert len(state_api("list_actors", filters=[of_class], limit=2)) == 2
    assert state_api("list_actors", limit=0) == []
    assert state_api("list_actors", filters=[("name", "=", "nobody")]) == []


@pytest.mark.row("8.20")
def test_questions_that_are_none(actors: list[Any]) -> None:
    with pytest.raises(failure(), match="nope"):
        state_api("list_actors", filters=[("nope", "=", "x")])
    with pytest.raises(ValueError, match=">"):
        state_api("list_actors", filters=[("state", ">", "x")])
    with pytest.raises(failure(), match="20000"):
        state_api("list_actors", limit=20000)
    with pytest.raises(failure()):
        state_api("list_actors", limit=-1)


@pytest.mark.row("8.20", "8.23")
def test_records_are_objects_and_dicts(actors: list[Any]) -> None:
    (short,) = state_api("list_actors", filters=[("name", "=", "held-0")])
    (full,) = state_api("list_actors", filters=[("name", "=", "held-0")], detail=True)
    assert short["actor_id"] == short.actor_id == short.get("actor_id") == actors[0]._actor_id.hex()
    assert short.num_restarts is None
    assert full.num_restarts == 0
    assert full.is_detached is False
    assert {"actor_id", "class_name", "state", "job_id", "name", "node_id", "pid", "ray_namespace"} <= set(
        full.asdict()
    )


@pytest.mark.row("8.21")
def test_single_records(actors: list[Any]) -> None:
    actor = state_api("get_actor", actors[0]._actor_id.hex())
    assert (actor.name, actor.state) == ("held-0", "ALIVE")
    node = state_api("get_node", actor.node_id)
    assert (node.state, node.is_head_node, node.node_id) == ("ALIVE", True, actor.node_id)
    (worker,) = state_api("list_workers", filters=[("pid", "=", actor.pid)])
    assert state_api("get_worker", worker.worker_id).pid == actor.pid
    for function, size in (("actor", 16), ("node", 28), ("worker", 28), ("task", 24), ("placement_group", 18)):
        assert state_api(f"get_{function}", "00" * size) is None


@pytest.mark.row("8.21", "8.23")
def test_jobs_and_groups() -> None:
    group = ray.util.placement_group([{"CPU": 1}], name="listed")
    assert group.wait(30)
    (record,) = state_api("list_placement_groups", filters=[("name", "=", "listed")], detail=True)
    assert record.placement_group_id == group.id.hex()
    assert record.state == "CREATED"
    assert record.bundles[0]["unit_resources"]["CPU"] == 1
    ray.util.remove_placement_group(group)
    wait_for(lambda: state_api("get_placement_group", group.id.hex()).state == "REMOVED")
    (job,) = [job for job in state_api("list_jobs") if job.job_id == record.creator_job_id]
    assert (job.type, job.status) == ("DRIVER", "RUNNING")
    assert int(job.driver_info.pid) == os.getpid()


@pytest.mark.row("8.20", "8.23", "8.9")
def test_objects(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote(num_cpus=0)
    def hold(value: bytes) -> None:
        gate.wait()

    value = ray.put(b"x" * 300_000)
    pending = hold.remote(value)
    (record,) = wait_for(
        lambda: state_api("list_objects", filters=[("object_id", "=", value.hex()), ("type", "=", "DRIVER")])
    )
    assert record.object_size >= 300_000
    assert record.pid == os.getpid()
    assert record.task_status == "FINISHED"
    assert state_api("get_objects", pending.hex())[0].object_size == -1
    gate.open()
    ray.get(pending)
    summary = state_api("summarize_objects")["cluster"]
    assert summary["total_objects"] == sum(each["total_objects"] for each in summary["summary"].values())
    assert summary["total_size_mb"] > 0.28


# --- summaries --------------------------------------------------------------------------------------------------------


@pytest.mark.row("8.7")
def test_summaries_count_what_lists_tell(actors: list[Any]) -> None:
    @ray.remote(name="summed", num_cpus=0, max_retries=0)
    def summed(fails: bool) -> None:
        if fails:
            raise ValueError("one of them")

    refs = [summed.remote(number == 0) for number in range(20)]
    ray.wait(refs, num_returns=20)
    wait_for(lambda: len(state_api("list_tasks", filters=[("name", "=", "summed"), ("state", "=", "FINISHED")])) == 19)
    told = state_api("summarize_tasks")["cluster"]
    assert told["summary"]["summed"]["state_counts"] == {"FINISHED": 19, "FAILED": 1}
    assert told["summary"]["summed"]["type"] == "NORMAL_TASK"
    totals = told["total_tasks"] + told["total_actor_tasks"] + told["total_actor_scheduled"]
    assert totals == sum(sum(each["state_counts"].values()) for each in told["summary"].values())
    classes = state_api("summarize_actors")["cluster"]
    assert classes["summary"]["Held"]["state_counts"]["ALIVE"] == 3


@pytest.mark.skipif(not IS_LINCKIA, reason="Ray's list is cut at 10,000 tasks, and so is its summary")
@pytest.mark.row("8.7", "8.25", "P7")
def test_summaries_of_more_than_a_list_can_tell(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote(num_cpus=2, name="many")
    def many() -> None:
        gate.wait()

    refs = [many.remote() for _ in range(12_000)]
    wait_for(lambda: state_api("list_tasks", filters=[("name", "=", "many"), ("state", "=", "RUNNING")]))
    counts = state_api("summarize_tasks")["cluster"]["summary"]["many"]["state_counts"]
    assert sum(counts.values()) == 12_000
    assert counts["RUNNING"] == 1
    for ref in refs:
        ray.cancel(ref)
    gate.open()


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.row("8.24", "7.1")
def test_how_workers_end() -> None:
    @ray.remote(max_calls=1)
    def once() -> int:
        return os.getpid()

    @ray.remote(num_cpus=0)
    class Broken:
        def __init__(self) -> None:
            raise ValueError("never made")

        def ping(self) -> None: ...

    killed, forgotten, broken = Held.remote(), Held.remote(), Broken.remote()
    ends = {
        ray.get(once.remote()): "INTENDED_USER_EXIT",
        ray.get(killed.pid.remote()): "INTENDED_SYSTEM_EXIT",
        ray.get(forgotten.pid.remote()): "INTENDED_SYSTEM_EXIT",
    }
    with pytest.raises(exceptions.RayActorError):
        ray.get(broken.ping.remote())
    ends[wait_for(lambda: state_api("get_actor", broken._actor_id.hex()).pid)] = "USER_ERROR"
    ray.kill(killed)
    del forgotten

    def found(pid: int) -> Any:
        workers = state_api("list_workers", filters=[("pid", "=", pid)], detail=True)
        return workers[0].exit_type if workers and not workers[0].is_alive else None

    assert {pid: wait_for(lambda pid=pid: found(pid)) for pid in ends} == ends


@pytest.mark.skipif(not IS_LINCKIA, reason="who keeps what is ours")
@pytest.mark.row("8.25")
def test_tasks_of_a_worker_that_has_ended_are_remembered() -> None:
    @ray.remote(max_calls=1, name="remembered")
    def remembered() -> int:
        return os.getpid()

    pid = ray.get(remembered.remote())
    wait_for(lambda: not state_api("list_workers", filters=[("pid", "=", pid)])[0].is_alive)
    (record,) = wait_for(lambda: state_api("list_tasks", filters=[("name", "=", "remembered")]))
    assert (record.state, record.worker_pid) == ("FINISHED", pid)


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not IS_LINCKIA, reason="Ray wants its node named, and another address than for lists")
@pytest.mark.row("8.22", "8.8")
def test_logs(actors: list[Any]) -> None:
    call = actors[0].shout.remote()
    ray.get(call)
    pid = ray.get(actors[0].pid.remote())
    for chosen in ({"pid": pid}, {"actor_id": actors[0]._actor_id.hex()}, {"task_id": call.task_id().hex()}):
        wait_for(lambda chosen=chosen: "heard in the log\n" in "".join(state_api("get_log", **chosen)))
    names = state_api("list_logs", glob_filter="worker-*.out")
    (name,) = [name for name in names["worker_out"] if name.endswith(f"-{pid}.out")]
    assert "".join(state_api("get_log", filename=name, tail=1)) == "heard in the log\n"
    with pytest.raises(failure(), match="no log file"):
        state_api("get_log", filename="nothing.log")
    with pytest.raises(failure(), match="give filename"):
        state_api("get_log")
