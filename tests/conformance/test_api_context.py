"""`get_runtime_context`: who am I, where do I run, what was I given."""

from __future__ import annotations

from typing import Any

import pytest
from engine import exceptions, ray, wait_for

pytestmark = pytest.mark.usefixtures("cluster")

ID_LENGTHS = {"job": 8, "node": 56, "worker": 56, "task": 48, "actor": 32}


def identity() -> dict[str, Any]:
    context = ray.get_runtime_context()
    return {
        "job": context.get_job_id(),
        "node": context.get_node_id(),
        "worker": context.get_worker_id(),
        "task": context.get_task_id(),
        "actor": context.get_actor_id(),
    }


@ray.remote
class Speaker:
    def identity(self) -> dict[str, Any]:
        return identity()

    def context(self, *path: str) -> Any:
        value: Any = ray.get_runtime_context()
        for name in path:
            value = getattr(value, name)
        return value() if callable(value) else value

    def me(self) -> Any:
        return ray.get_runtime_context().current_actor

    def resources(self) -> dict[str, float]:
        resources: dict[str, float] = ray.get_runtime_context().get_assigned_resources()
        return resources


@ray.remote
def ask(name: str) -> Any:
    value = getattr(ray.get_runtime_context(), name)
    return value() if callable(value) else value


@pytest.mark.row("1.40")
def test_ids_on_the_driver() -> None:
    seen = identity()
    assert seen["task"] is None
    assert seen["actor"] is None
    for kind in ("job", "node", "worker"):
        assert len(bytes.fromhex(seen[kind])) * 2 == ID_LENGTHS[kind]


@pytest.mark.row("1.40")
def test_ids_in_a_task() -> None:
    ref = ray.remote(identity).remote()
    seen, driver = ray.get(ref), identity()
    assert seen["actor"] is None
    assert seen["task"] == ref.task_id().hex()
    assert seen["job"] == driver["job"]
    assert seen["node"] == driver["node"]
    assert seen["worker"] != driver["worker"]
    assert len(seen["worker"]) == ID_LENGTHS["worker"]


@pytest.mark.row("1.40")
def test_ids_in_an_actor() -> None:
    actor = Speaker.remote()
    first, second = ray.get([actor.identity.remote() for _ in range(2)])
    assert first["actor"] == actor._actor_id.hex()
    assert len(first["actor"]) == ID_LENGTHS["actor"]
    assert first["worker"] == second["worker"]
    assert first["task"] != second["task"]
    assert first["job"] == identity()["job"]


@pytest.mark.row("1.40")
def test_actor_name() -> None:
    named = Speaker.options(name="context-named").remote()
    assert ray.get(named.context.remote("get_actor_name")) == "context-named"
    assert ray.get(Speaker.remote().context.remote("get_actor_name")) == ""
    assert ray.get_runtime_context().get_actor_name() is None
    assert ray.get(ask.remote("get_actor_name")) is None


@pytest.mark.row("1.40")
def test_node_id_is_the_node_in_nodes() -> None:
    assert ray.get_runtime_context().get_node_id() == ray.nodes()[0]["NodeID"]


@pytest.mark.row("1.41", "2.16")
def test_task_name_defaults_to_the_function() -> None:
    assert ray.get(ask.remote("get_task_name")) == "ask"
    assert ray.get(ask.options(name="a name of my own").remote("get_task_name")) == "a name of my own"


@pytest.mark.row("1.41", "2.16")
def test_task_name_of_a_method() -> None:
    actor = Speaker.remote()
    assert ray.get(actor.context.remote("get_task_name")) == "Speaker.context"
    assert ray.get(actor.context.options(name="renamed").remote("get_task_name")) == "renamed"


@pytest.mark.row("1.41")
def test_task_function_name_is_qualified_by_module() -> None:
    assert ray.get(ask.remote("get_task_function_name")) == f"{__name__}.ask"
    method_name = ray.get(Speaker.remote().context.remote("get_task_function_name"))
    assert method_name == f"{__name__}.Speaker.context"


@pytest.mark.row("1.41")
def test_names_are_none_on_the_driver() -> None:
    context = ray.get_runtime_context()
    assert context.get_task_name() is None
    assert context.get_task_function_name() is None


@pytest.mark.row("1.41")
def test_session_and_temp_dir(cluster: Any) -> None:
    context = ray.get_runtime_context()
    session_dir = cluster.address_info["session_dir"]
    assert session_dir.endswith(context.get_session_name())
    assert session_dir.startswith(context.get_temp_dir())
    assert ray.get(ask.remote("get_session_name")) == context.get_session_name()


@pytest.mark.row("1.41")
def test_namespace_and_gcs_address_are_the_same_everywhere(cluster: Any) -> None:
    context = ray.get_runtime_context()
    assert context.namespace
    assert ray.get(ask.remote("namespace")) == context.namespace
    assert context.gcs_address == cluster.address_info["gcs_address"]
    assert ray.get(ask.remote("gcs_address")) == context.gcs_address


@pytest.mark.row("1.42")
def test_assigned_resources_of_tasks() -> None:
    assert ray.get(ask.remote("get_assigned_resources")) == {"CPU": 1}
    assert ray.get(ask.options(num_cpus=0.5).remote("get_assigned_resources")) == {"CPU": 0.5}
    assert ray.get(ask.options(num_cpus=0).remote("get_assigned_resources")) == {}


@pytest.mark.row("1.42", "2.2", "14.1")
def test_assigned_resources_of_actors() -> None:
    assert ray.get(Speaker.remote().resources.remote()) == {}
    assert ray.get(Speaker.options(num_cpus=1).remote().resources.remote()) == {"CPU": 1}


@pytest.mark.row("1.42")
def test_no_placement_group_by_default() -> None:
    assert ray.get_runtime_context().get_placement_group_id() is None
    assert ray.get(ask.remote("get_placement_group_id")) is None
    assert ray.get(ask.remote("should_capture_child_tasks_in_placement_group")) is False


@pytest.mark.row("1.42", "1.39")
def test_no_accelerators_for_a_cpu_task() -> None:
    assert ray.get(ask.remote("get_accelerator_ids"))["GPU"] == []


@pytest.mark.row("1.42")
def test_node_labels() -> None:
    labels = ray.get_runtime_context().get_node_labels()
    assert labels["ray.io/node-id"] == ray.get_runtime_context().get_node_id()
    assert ray.get(ask.remote("get_node_labels")) == labels


@pytest.mark.row("1.43")
def test_current_actor_is_a_handle_to_oneself() -> None:
    actor = Speaker.remote()
    assert ray.get(actor.me.remote()) == actor


@pytest.mark.row("1.43")
def test_current_actor_outside_an_actor_is_refused() -> None:
    with pytest.raises(RuntimeError):
        _ = ray.get_runtime_context().current_actor
    with pytest.raises(RuntimeError):
        ray.get(ask.remote("current_actor"))


@pytest.mark.row("1.43")
def test_reconstruction_flag_after_a_restart() -> None:
    actor = Speaker.options(max_restarts=1, max_task_retries=-1).remote()
    assert ray.get(actor.context.remote("was_current_actor_reconstructed")) is False
    before = ray.get(actor.identity.remote())["worker"]
    ray.kill(actor, no_restart=False)
    wait_for(lambda: ray.get(actor.identity.remote())["worker"] != before)
    assert ray.get(actor.context.remote("was_current_actor_reconstructed")) is True


@pytest.mark.row("1.43")
def test_runtime_env_of_a_plain_job_is_empty() -> None:
    context = ray.get_runtime_context()
    assert dict(context.runtime_env) == {}
    assert context.get_runtime_env_string() == "{}"


@pytest.mark.row("1.43")
def test_cooperative_cancellation(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote
    class Worker:
        def work(self) -> str:
            channel.send("working")
            wait_for(lambda: ray.get_runtime_context().is_canceled(), timeout_s=30)
            channel.send("saw the flag")
            return "stopped early"

    actor = Worker.remote()
    ref = actor.work.remote()
    assert channel.receive() == "working"
    ray.cancel(ref)
    assert channel.receive() == "saw the flag"
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref)


@pytest.mark.row("1.43")
def test_is_canceled_is_false_in_an_ordinary_task() -> None:
    assert ray.get(ask.remote("is_canceled")) is False


@pytest.mark.row("1.43")
def test_is_canceled_is_refused_on_the_driver_and_in_async_actors() -> None:
    @ray.remote
    class Asynchronous:
        async def look(self) -> Any:
            return ray.get_runtime_context().is_canceled()

    with pytest.raises(RuntimeError):
        ray.get_runtime_context().is_canceled()
    with pytest.raises(RuntimeError):
        ray.get(Asynchronous.remote().look.remote())
