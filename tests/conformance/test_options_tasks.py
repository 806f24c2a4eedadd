"""What task options do at run time: resources gate, names show, returns multiply, crashes retry, workers retire."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from engine import exceptions, module, ray, settings

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
def hold(channel: Any, gate: Any, value: Any = None) -> Any:
    channel.send(value)
    gate.wait()
    return value


@ray.remote
def announce(channel: Any, value: Any) -> None:
    channel.send(value)


@pytest.mark.row("2.1")
def test_half_cpus_pack_two_per_cpu(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs = [hold.options(num_cpus=0.5).remote(channel, gate, i) for i in range(5)]
    assert sorted(channel.receive_many(4)) == ["0", "1", "2", "3"]
    assert "CPU" not in ray.available_resources() or channel.received() == []
    gate.open()
    assert ray.get(refs) == list(range(5))
    assert channel.receive() == "4"


@pytest.mark.row("2.1")
def test_a_task_of_two_cpus_waits_for_both(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    small = hold.remote(channel, gate, "small")
    assert channel.receive() == "small"
    big = announce.options(num_cpus=2).remote(channel, "big")
    # Something that needs no CPU passes the big one; the big one cannot start before the gate opens.
    ray.get(announce.options(num_cpus=0).remote(channel, "beside"))
    assert channel.receive() == "beside"
    assert ray.wait([big], timeout=0.1) == ([], [big])
    gate.open()
    ray.get([small, big])
    assert channel.receive() == "big"


@pytest.mark.row("2.1")
def test_zero_cpus_run_on_a_full_node(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()
    refs = [hold.remote(channel, gate, i) for i in range(2)]
    channel.receive_many(2)
    ray.get(announce.options(num_cpus=0).remote(channel, "free"))
    assert channel.receive() == "free"
    gate.open()
    ray.get(refs)


@pytest.mark.row("2.4", "4.6", "14.11")
def test_a_missing_resource_waits_and_is_no_error(new_channel: Any) -> None:
    channel = new_channel()
    ref = announce.options(resources={"nobody has this": 1}).remote(channel, "ran")
    ray.get(announce.remote(channel, "other"))
    assert ray.wait([ref], timeout=0.2) == ([], [ref])
    assert channel.received() == ["other"]
    ray.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref)


@pytest.mark.row("2.4", "2.7")
def test_custom_resources_gate(fresh: Any, new_gate: Any, new_channel: Any) -> None:
    fresh(num_cpus=4, resources={"disk": 1, "accelerator_type:X100": 1})
    gate, channel = new_gate(), new_channel()
    first = hold.options(resources={"disk": 1}).remote(channel, gate, "first")
    assert channel.receive() == "first"
    second = announce.options(resources={"disk": 0.5}).remote(channel, "second")
    ray.get(announce.options(accelerator_type="X100").remote(channel, "accelerated"))
    assert channel.receive() == "accelerated"
    assert ray.wait([second], timeout=0.1) == ([], [second])
    gate.open()
    ray.get([first, second])
    assert channel.receive() == "second"


@pytest.mark.row("2.7")
def test_an_accelerator_type_is_a_thousandth_of_a_resource(fresh: Any) -> None:
    fresh(resources={"accelerator_type:X100": 1})

    @ray.remote(accelerator_type="X100")
    def granted() -> Any:
        return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(granted.remote()) == {"CPU": 1, "accelerator_type:X100": 0.001}


@pytest.mark.row("2.5")
def test_memory_gates(fresh: Any, new_gate: Any, new_channel: Any) -> None:
    fresh(num_cpus=4, _memory=100 * 2**20)
    gate, channel = new_gate(), new_channel()
    first = hold.options(memory=60 * 2**20).remote(channel, gate, "first")
    assert channel.receive() == "first"
    second = announce.options(memory=60 * 2**20).remote(channel, "second")
    ray.get(announce.remote(channel, "unmetered"))
    assert channel.receive() == "unmetered"
    assert ray.wait([second], timeout=0.1) == ([], [second])
    gate.open()
    ray.get([first, second])


@pytest.mark.row("2.19")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_number_of_returns(count: int, new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote(num_returns=count)
    def returns() -> Any:
        channel.send("ran")
        return 7 if count == 1 else tuple(range(count)) if count else None

    result = returns.remote()
    assert channel.receive() == "ran"
    if count == 0:
        assert result is None
    elif count == 1:
        assert ray.get(result) == 7
    else:
        assert isinstance(result, list)
        assert ray.get(result) == [0, 1, 2]


@pytest.mark.row("2.19", "4.31")
@pytest.mark.parametrize("value", [(1,), (1, 2, 3), 5, None], ids=repr)
def test_a_wrong_number_of_returns_fails_the_task(value: object) -> None:
    @ray.remote(num_returns=2)
    def returns() -> object:
        return value

    for ref in returns.remote():
        with pytest.raises((ValueError, TypeError)) as caught:
            ray.get(ref)
        assert isinstance(caught.value, exceptions.RayTaskError)


@pytest.mark.row("2.19")
def test_several_returns_may_come_from_any_iterable() -> None:
    @ray.remote(num_returns=2)
    def from_list() -> list[int]:
        return [1, 2]

    @ray.remote(num_returns=2)
    def from_generator() -> Any:
        yield 1
        yield 2

    assert ray.get(from_list.remote()) == [1, 2]
    assert ray.get(from_generator.remote()) == [1, 2]


@pytest.mark.row("2.19")
def test_each_of_several_returns_is_an_object_of_its_own() -> None:
    @ray.remote(num_returns=2)
    def returns() -> tuple[bytes, str]:
        return b"x" * 1_000_000, "small"

    large, small = returns.remote()
    del large
    assert ray.get(small) == "small"


@pytest.mark.row("2.20", "4.18")
def test_a_task_that_crashes_its_worker_is_retried(tmp_path: Path) -> None:
    @ray.remote(max_retries=3)
    def crashes(times: int) -> int:
        attempt = len(list(tmp_path.iterdir()))
        (tmp_path / str(attempt)).touch()
        if attempt < times:
            os._exit(1)
        return attempt

    assert ray.get(crashes.remote(3)) == 3


@pytest.mark.row("2.20", "3.43")
def test_retries_run_out(tmp_path: Path) -> None:
    @ray.remote(max_retries=1)
    def crashes() -> None:
        (tmp_path / str(len(list(tmp_path.iterdir())))).touch()
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(crashes.remote())
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.row("2.20")
def test_the_environment_sets_the_default_number_of_retries(run_script: Any, tmp_path: Path) -> None:
    script = """
        import ray
        import os
        import sys
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)

        @ray.remote
        def crashes():
            with open(sys_path, "a") as attempts:
                attempts.write("x")
            os._exit(1)

        sys_path = sys.argv[1]
        try:
            ray.get(crashes.remote())
        except ray.exceptions.WorkerCrashedError:
            print(f"attempts={os.path.getsize(sys_path)}")
        """
    result = run_script(script, tmp_path / "attempts", env=settings(TASK_MAX_RETRIES="1"))
    assert "attempts=2" in result.ok().stdout


@pytest.mark.row("2.20", "14.13")
def test_application_errors_are_not_retried_by_default(new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote(max_retries=3)
    def fails() -> None:
        channel.send("attempt")
        raise ValueError

    with pytest.raises(ValueError):
        ray.get(fails.remote())
    assert channel.received() == ["attempt"]


@pytest.mark.row("2.21")
@pytest.mark.parametrize(
    ("allowed", "attempts"),
    [(True, 3), (False, 1), ([ValueError], 3), ((ValueError, KeyError), 3), ([KeyError], 1), ([Exception], 3), ([], 1)],
    ids=str,
)
def test_application_errors_are_retried_when_allowed(allowed: Any, attempts: int, new_channel: Any) -> None:
    channel = new_channel()

    @ray.remote(max_retries=2, retry_exceptions=allowed)
    def fails() -> None:
        channel.send("attempt")
        raise ValueError("every time")

    with pytest.raises(ValueError, match="every time"):
        ray.get(fails.remote())
    assert len(channel.received()) == attempts


@pytest.mark.row("2.22")
def test_a_worker_retires_after_max_calls() -> None:
    @ray.remote(max_calls=2, num_cpus=2)
    def pid() -> int:
        return os.getpid()

    pids = [ray.get(pid.remote()) for _ in range(6)]
    assert {pids.count(one) for one in pids} == {2}
    assert [pids[i] == pids[i + 1] for i in (0, 2, 4)] == [True] * 3


@pytest.mark.row("2.22")
def test_workers_are_reused_without_max_calls() -> None:
    @ray.remote(num_cpus=2)
    def pid() -> int:
        return os.getpid()

    assert len({ray.get(pid.remote()) for _ in range(10)}) == 1


@pytest.mark.row("2.3")
def test_cuda_devices_of_fractional_and_whole_gpus(fresh: Any) -> None:
    fresh(num_gpus=2)

    @ray.remote
    def devices() -> str:
        return os.environ.get("CUDA_VISIBLE_DEVICES", "unset")

    assert len(ray.get(devices.options(num_gpus=2).remote()).split(",")) == 2
    assert ray.get(devices.options(num_gpus=0.5).remote()) in {"0", "1"}
    assert ray.get(devices.remote()) == "unset"


@pytest.mark.row("2.3")
def test_gpu_amounts_above_one_are_whole(fresh: Any) -> None:
    fresh(num_gpus=2)

    @ray.remote
    def nothing() -> None:
        pass

    with pytest.raises(ValueError):
        ray.get(nothing.options(num_gpus=1.5).remote(), timeout=10)


@pytest.mark.row("2.3", "2.22")
def test_a_gpu_task_retires_its_worker_after_one_call(fresh: Any) -> None:
    fresh(num_gpus=1)

    @ray.remote(num_gpus=1)
    def pid() -> int:
        return os.getpid()

    assert ray.get(pid.remote()) != ray.get(pid.remote())


@pytest.mark.row("2.24")
def test_objects_per_yield_group_items() -> None:
    @ray.remote(_num_objects_per_yield=2)
    def pairs() -> Any:
        yield 1, 2
        yield 3, 4

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ray.get(list(pairs.remote())) == [1, 2, 3, 4]


@pytest.mark.row("2.15", "9.1")
def test_env_vars_of_a_task() -> None:
    @ray.remote
    def look() -> str:
        return os.environ.get("CONFORMANCE_VARIABLE", "unset")

    runtime_env = module("runtime_env").RuntimeEnv(env_vars={"CONFORMANCE_VARIABLE": "object"})
    assert ray.get(look.options(runtime_env={"env_vars": {"CONFORMANCE_VARIABLE": "dict"}}).remote()) == "dict"
    assert ray.get(look.options(runtime_env=runtime_env).remote()) == "object"
    assert ray.get(look.remote()) == "unset"
