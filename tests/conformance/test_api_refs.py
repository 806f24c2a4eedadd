"""`ObjectRef` as a value: identity, futures, awaiting, pickling; and the id classes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
from typing import Any

import pytest
from engine import IS_LINCKIA, better, exceptions, module, ray

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
def echo(value: Any) -> Any:
    return value


@ray.remote
def fails() -> None:
    raise KeyError("missing")


@pytest.mark.row("1.44")
def test_a_ref_is_28_bytes_of_task_and_index() -> None:
    ref = echo.remote(1)
    assert len(ref.binary()) == 28
    assert ref.size() == 28
    assert ref.hex() == ref.binary().hex()
    assert ref.task_id().binary() == ref.binary()[:24]
    assert int.from_bytes(ref.binary()[24:], "little") == 1
    assert not ref.is_nil()


@pytest.mark.row("1.44")
def test_refs_of_one_task_differ_in_the_index_only() -> None:
    @ray.remote(num_returns=3)
    def three() -> tuple[int, int, int]:
        return 1, 2, 3

    refs = three.remote()
    assert [int.from_bytes(ref.binary()[24:], "little") for ref in refs] == [1, 2, 3]
    assert len({ref.task_id() for ref in refs}) == 1


@pytest.mark.row("1.44")
def test_a_ref_knows_its_job_and_owner() -> None:
    ref = ray.put(1)
    assert ref.job_id().hex() == ray.get_runtime_context().get_job_id()
    assert ref.owner_address()
    assert ref.call_site() is not None


@pytest.mark.row("1.44")
def test_equality_and_hash_go_by_id() -> None:
    ref = ray.put(1)
    other = ray.put(1)
    twin = ray.ObjectRef(ref.binary())
    assert twin == ref
    assert hash(twin) == hash(ref)
    assert ref != other
    assert len({ref, twin, other}) == 2
    assert ref != ref.hex()


@pytest.mark.row("1.44")
def test_nil_random_and_binary_constructors() -> None:
    assert ray.ObjectRef.nil().is_nil()
    random = ray.ObjectRef.from_random()
    assert not random.is_nil()
    assert ray.ObjectRef.from_binary(random.binary()) == random
    assert random != ray.ObjectRef.from_random()


@pytest.mark.row("1.44")
@better("ObjectRef.from_hex raises NotImplementedError in Ray")
def test_hex_round_trip() -> None:
    ref = ray.put(1)
    assert ray.ObjectRef.from_hex(ref.hex()) == ref


@pytest.mark.row("1.44")
def test_repr_shows_the_hex_id() -> None:
    ref = ray.put(1)
    assert repr(ref) == f"ObjectRef({ref.hex()})"


@pytest.mark.row("1.44")
def test_object_id_is_another_name_of_object_ref() -> None:
    assert isinstance(ray.put(1), ray.ObjectID)


@pytest.mark.row("1.45")
def test_future_of_a_ref() -> None:
    future = echo.remote(5).future()
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(timeout=30) == 5
    assert future.done()


@pytest.mark.row("1.45")
def test_future_raises_the_dual_exception() -> None:
    with pytest.raises(KeyError) as caught:
        fails.remote().future().result(timeout=30)
    assert isinstance(caught.value, exceptions.RayTaskError)


@pytest.mark.row("1.45")
def test_futures_work_with_as_completed() -> None:
    futures = [echo.remote(i).future() for i in range(20)]
    results = [future.result() for future in concurrent.futures.as_completed(futures, timeout=30)]
    assert sorted(results) == list(range(20))


@pytest.mark.row("1.45")
def test_cancelling_the_future_leaves_the_task_alone(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> str:
        gate.wait()
        return "finished all the same"

    ref = blocked.remote()
    future = ref.future()
    assert future.cancel()
    assert not future.running()
    gate.open()
    assert ray.get(ref) == "finished all the same"


@pytest.mark.row("1.45")
def test_future_timeout(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> None:
        gate.wait()

    future = blocked.remote().future()
    assert not future.running()
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0.05)
    gate.open()
    assert future.result(timeout=30) is None


@pytest.mark.row("1.46")
def test_await_in_a_users_own_event_loop() -> None:
    async def main() -> int:
        value: int = await echo.remote(3)
        return value

    assert asyncio.run(main()) == 3


@pytest.mark.row("1.46")
def test_gather_on_a_hundred_refs() -> None:
    async def main() -> list[int]:
        return list(await asyncio.gather(*[echo.remote(i) for i in range(100)]))

    assert asyncio.run(main()) == list(range(100))


@pytest.mark.row("1.46")
def test_await_raises_the_dual_exception() -> None:
    async def main() -> None:
        await fails.remote()

    with pytest.raises(KeyError) as caught:
        asyncio.run(main())
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert isinstance(caught.value.cause, KeyError)


@pytest.mark.row("1.46")
def test_await_does_not_block_the_loop(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> str:
        gate.wait()
        return "through"

    async def main() -> str:
        ref = blocked.remote()
        waiting = asyncio.ensure_future(ref.as_future())
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.open()
        result: str = await asyncio.wait_for(waiting, timeout=30)
        return result

    assert asyncio.run(main()) == "through"


@pytest.mark.row("1.46")
def test_wait_for_with_timeout_leaves_the_ref_usable(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> int:
        gate.wait()
        return 8

    async def main() -> int:
        ref = blocked.remote()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ref.as_future(), timeout=0.05)
        gate.open()
        value: int = await ref
        return value

    assert asyncio.run(main()) == 8


@pytest.mark.row("1.46")
def test_await_inside_an_async_actor() -> None:
    @ray.remote
    class Asynchronous:
        async def total(self, refs: list[Any]) -> int:
            return sum(await asyncio.gather(*refs))

    refs = [echo.remote(i) for i in range(10)]
    assert ray.get(Asynchronous.remote().total.remote(refs)) == 45


@pytest.mark.row("1.46")
def test_completion_callback_gets_the_value() -> None:
    seen: list[Any] = []
    heard = threading.Event()

    def callback(value: Any) -> None:
        seen.append(value)
        heard.set()

    ref = echo.remote("called back")
    ref._on_completed(callback)
    assert heard.wait(timeout=30)
    assert seen == ["called back"]


@pytest.mark.row("1.47")
def test_a_ref_in_a_closure_is_usable_and_stays_alive() -> None:
    captured = [ray.put("captured")]

    @ray.remote
    def reads() -> Any:
        return ray.get(captured[0])

    assert ray.get(reads.remote()) == "captured"
    captured.clear()
    assert ray.get(reads.remote()) == "captured"


@pytest.mark.row("1.47")
def test_a_ref_pickled_by_hand_still_reads_the_object() -> None:
    data = module("cloudpickle").dumps(ray.put([1, 2]))
    assert ray.get(module("cloudpickle").loads(data)) == [1, 2]


@pytest.mark.row("1.47", "3.63")
def test_out_of_band_pickling_can_be_forbidden(run_script: Any) -> None:
    script = """
        import ray
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        error = ray.exceptions.OufOfBandObjectRefSerializationException
        ref = ray.put(1)
        try:
            ray.cloudpickle.dumps(ref)
        except error as caught:
            print("refused", isinstance(caught, ray.exceptions.RayError))
        print(ray.get(ray.get(ray.put([ref]))[0]))
        """
    env = {"RAY_allow_out_of_band_object_ref_serialization": "0"}
    if IS_LINCKIA:
        env["LINCKIA_allow_out_of_band_object_ref_serialization"] = "0"
    assert run_script(script, env=env).ok().stdout == "refused True\n1\n"


LENGTHS = {
    "JobID": 4,
    "ActorID": 16,
    "TaskID": 24,
    "ObjectID": 28,
    "ObjectRef": 28,
    "PlacementGroupID": 18,
    "NodeID": 28,
    "WorkerID": 28,
    "UniqueID": 28,
    "FunctionID": 28,
    "ActorClassID": 28,
    "ClusterID": 28,
}
RANDOM = sorted(set(LENGTHS) - {"JobID", "TaskID"})


@pytest.mark.row("1.50")
@pytest.mark.parametrize("name", LENGTHS)
def test_id_lengths(name: str) -> None:
    kind = getattr(ray, name)
    assert kind.size() == LENGTHS[name]
    assert len(kind.nil().binary()) == LENGTHS[name]
    assert kind.nil().is_nil()


@pytest.mark.row("1.50")
@pytest.mark.parametrize("name", RANDOM)
def test_random_ids_compare_hash_and_print(name: str) -> None:
    kind = getattr(ray, name)
    identity, other = kind.from_random(), kind.from_random()
    assert len(identity.hex()) == 2 * LENGTHS[name]
    assert identity == kind.from_binary(identity.binary())
    assert hash(identity) == hash(kind(identity.binary()))
    assert identity != other
    assert not identity.is_nil()
    assert repr(identity).endswith(f"({identity.hex()})")


@pytest.mark.row("1.50")
@pytest.mark.parametrize("name", sorted(set(LENGTHS) - {"ObjectID", "ObjectRef", "UniqueID"}))
def test_ids_from_hex(name: str) -> None:
    kind = getattr(ray, name)
    assert kind.from_hex("ab" * LENGTHS[name]).binary() == b"\xab" * LENGTHS[name]


@pytest.mark.row("1.50")
@pytest.mark.parametrize("name", sorted(set(LENGTHS) - {"ObjectID", "ObjectRef"}))
def test_ids_are_picklable(name: str) -> None:
    kind = getattr(ray, name)
    identity = kind(b"\xcd" * LENGTHS[name])
    assert pickle.loads(pickle.dumps(identity)) == identity


@pytest.mark.row("1.50")
@pytest.mark.parametrize("name", sorted(LENGTHS))
def test_ids_of_a_wrong_length_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        getattr(ray, name)(b"\x01\x02\x03")


@pytest.mark.row("1.50")
def test_ids_of_different_kinds_are_not_equal() -> None:
    data = b"\xef" * 28
    assert ray.NodeID(data) != ray.WorkerID(data)
