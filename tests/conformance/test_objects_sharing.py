"""The object model: ownership, references, arguments, zero-copy reads, immutability, freeing."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np
import pytest
from engine import error_after_death, exceptions, ray, wait_for

pytestmark = pytest.mark.usefixtures("cluster")

LARGE = 1_000_000
SIZES = [0, 1, 1_000, 100 * 1024 - 1, 100 * 1024, 100 * 1024 + 1, LARGE, 10 * LARGE]


@ray.remote
def echo(value: Any) -> Any:
    return value


@ray.remote
def make(size: int) -> bytes:
    return os.urandom(1) * size


@ray.remote
class Keeper:
    """Keeps what it is given in its state."""

    def __init__(self) -> None:
        self.kept: Any = None

    def keep(self, value: Any) -> None:
        self.kept = value

    def read(self) -> Any:
        return ray.get(self.kept[0])

    def give(self) -> Any:
        return self.kept

    def put(self, size: int) -> list[Any]:
        return [ray.put(b"p" * size)]

    def submit(self, size: int) -> list[Any]:
        return [make.remote(size)]

    def pid(self) -> int:
        return os.getpid()


@pytest.mark.row("3.1", "3.35", "14.7")
@pytest.mark.parametrize("how", ["put", "submit"])
def test_an_object_dies_with_its_owner(how: str) -> None:
    owner = Keeper.remote()
    (ref,) = ray.get(getattr(owner, how).remote(LARGE))
    assert len(ray.get(ref)) == LARGE
    (other,) = ray.get(getattr(owner, how).remote(LARGE))
    ray.wait([other], timeout=30, fetch_local=False)
    ray.kill(owner)
    error_after_death(owner.pid)
    with pytest.raises(exceptions.OwnerDiedError) as caught:
        wait_for(lambda: ray.get(other) is None)
    assert isinstance(caught.value, exceptions.ObjectLostError)
    assert other.hex() in str(caught.value)


@pytest.mark.row("3.1")
def test_the_owner_is_whoever_calls_remote_or_put() -> None:
    here = ray.put(1)
    (there,) = ray.get(Keeper.remote().put.remote(1))
    assert echo.remote(1).owner_address() == here.owner_address()
    assert there.owner_address() != here.owner_address()


@pytest.mark.row("3.3")
def test_the_object_goes_away_with_its_last_reference(fresh: Any) -> None:
    fresh(object_store_memory=100 * 2**20)
    # Forty objects of 10 MB pass through a store of 100 MB: possible only when each is freed after use.
    for number in range(40):
        ref = ray.put(np.full(10 * LARGE, number % 256, dtype=np.uint8))
        assert ray.get(ref)[-1] == number % 256
        del ref


@pytest.mark.row("3.3")
def test_task_results_that_nobody_keeps_are_freed(fresh: Any) -> None:
    fresh(object_store_memory=100 * 2**20)
    for _ in range(40):
        assert len(ray.get(make.remote(10 * LARGE))) == 10 * LARGE


@pytest.mark.row("3.3", "3.5")
def test_an_argument_outlives_the_callers_reference(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def late() -> None:
        gate.wait()

    @ray.remote
    def size(_: None, value: bytes) -> int:
        return len(value)

    ref = size.remote(late.remote(), ray.put(b"x" * LARGE))
    gc.collect()
    gate.open()
    assert ray.get(ref) == LARGE


@pytest.mark.row("3.4", "14.6")
@pytest.mark.parametrize("size", [10, LARGE])
def test_a_borrower_keeps_the_object_alive(size: int) -> None:
    keeper = Keeper.remote()
    ref = ray.put(b"b" * size)
    ray.get(keeper.keep.remote([ref]))
    del ref
    gc.collect()
    assert ray.get(keeper.read.remote()) == b"b" * size


@pytest.mark.row("3.4")
@pytest.mark.parametrize("size", [10, LARGE])
def test_a_borrower_can_pass_on_what_it_borrowed(size: int) -> None:
    first, second = Keeper.remote(), Keeper.remote()
    ref = make.remote(size)
    ray.get(first.keep.remote([ref]))
    del ref
    ray.get(second.keep.remote(ray.get(first.give.remote())))
    ray.kill(first)
    gc.collect()
    assert len(ray.get(second.read.remote())) == size


@pytest.mark.row("3.4")
def test_refs_handed_through_a_chain_of_tasks_stay_valid() -> None:
    @ray.remote
    def down(refs: list[Any], depth: int) -> Any:
        return ray.get(down.remote(refs, depth - 1)) if depth else ray.get(refs[0])

    assert ray.get(down.remote([ray.put("deep")], 4)) == "deep"


@pytest.mark.row("3.5", "14.6")
@pytest.mark.parametrize("size", SIZES)
def test_top_level_refs_arrive_as_values(size: int) -> None:
    @ray.remote
    def lengths(positional: bytes, *rest: bytes, keyword: bytes) -> list[int]:
        return [len(positional), *map(len, rest), len(keyword)]

    put, made = ray.put(b"x" * size), make.remote(size)
    assert ray.get(lengths.remote(put, made, made, keyword=put)) == [size] * 4


@pytest.mark.row("3.5")
def test_actor_constructors_and_methods_get_values_too() -> None:
    keeper = Keeper.remote()
    ray.get(keeper.keep.remote(ray.put("a value")))
    assert ray.get(keeper.give.remote()) == "a value"


@pytest.mark.row("3.6", "14.6")
@pytest.mark.parametrize(
    "wrap", [lambda ref: [ref], lambda ref: {"key": ref}, lambda ref: ((ref,),)], ids=["list", "dict", "tuple"]
)
def test_nested_refs_stay_refs(wrap: Any) -> None:
    @ray.remote
    def kind(value: Any) -> tuple[str, Any]:
        while not isinstance(value, ray.ObjectRef):
            value = value["key"] if isinstance(value, dict) else value[0]
        return "ref", ray.get(value)

    assert ray.get(kind.remote(wrap(ray.put(5)))) == ("ref", 5)


@pytest.mark.row("3.6")
@pytest.mark.parametrize("size", [10, LARGE])
def test_an_outer_object_keeps_the_inner_one_alive(size: int) -> None:
    inner = ray.put(b"i" * size)
    outer = ray.put([[inner]])
    del inner
    gc.collect()
    found = ray.get(outer)[0][0]
    del outer
    gc.collect()
    assert ray.get(found) == b"i" * size


@pytest.mark.row("3.6")
@pytest.mark.parametrize("size", [10, LARGE])
def test_refs_inside_returned_containers_are_usable(size: int) -> None:
    @ray.remote
    def returns() -> dict[str, Any]:
        return {"put": ray.put(b"r" * size), "task": make.remote(size)}

    refs = ray.get(returns.remote())
    assert ray.get(refs["put"]) == b"r" * size
    assert len(ray.get(refs["task"])) == size


@pytest.mark.row("3.7", "3.8", "14.9")
@pytest.mark.parametrize("size", SIZES)
def test_values_of_every_size_survive_all_ways(size: int) -> None:
    value = os.urandom(min(size, 4096)) * (size // 4096 + 1)
    value = value[:size]
    assert ray.get(ray.put(value)) == value
    assert ray.get(echo.remote(value)) == value
    assert ray.get(echo.remote(ray.put(value))) == value
    assert ray.get(echo.remote(echo.remote(value))) == value


@pytest.mark.row("3.7")
def test_many_small_arguments_together_are_large() -> None:
    @ray.remote
    def total(*chunks: bytes) -> int:
        return sum(map(len, chunks))

    chunk = b"c" * (90 * 1024)
    assert ray.get(total.remote(*[chunk] * 200)) == 200 * len(chunk)
    refs = [ray.put(chunk) for _ in range(200)]
    assert ray.get(total.remote(*refs)) == 200 * len(chunk)


@pytest.mark.row("3.7")
def test_large_arguments_and_many_large_returns() -> None:
    @ray.remote(num_returns=20)
    def twenty(chunk: bytes) -> list[bytes]:
        return [chunk] * 20

    values = ray.get(twenty.remote(b"d" * LARGE))
    assert [len(value) for value in values] == [LARGE] * 20


@pytest.mark.row("3.9", "14.8")
@pytest.mark.parametrize("size", [10, LARGE])
def test_arrays_read_back_are_read_only(size: int) -> None:
    array = ray.get(ray.put(np.arange(size)))
    assert not array.flags.writeable
    with pytest.raises(ValueError):
        array[0] = 1
    with pytest.raises(ValueError):
        ray.get(echo.remote(np.zeros(size)))[0] = 1


@pytest.mark.row("3.9")
@pytest.mark.parametrize("size", [10, LARGE])
def test_array_arguments_are_read_only(size: int) -> None:
    @ray.remote
    def writeable(array: Any) -> bool:
        return bool(array.flags.writeable)

    assert ray.get(writeable.remote(ray.put(np.zeros(size)))) is False
    assert ray.get(writeable.remote(np.zeros(size))) is False


@pytest.mark.row("3.9")
def test_two_reads_of_a_large_array_share_memory() -> None:
    ref = ray.put(np.arange(LARGE))
    first, second = ray.get(ref), ray.get(ref)
    assert np.shares_memory(first, second) or first.ctypes.data == second.ctypes.data


@pytest.mark.row("3.9")
def test_views_keep_their_memory_after_the_ref_is_gone(fresh: Any) -> None:
    fresh(object_store_memory=100 * 2**20)
    ref = ray.put(np.full(10 * LARGE, 7, dtype=np.uint8))
    view = ray.get(ref)[::1000]
    del ref
    gc.collect()
    for number in range(12):  # more than the rest of the store, so that freed memory would be used again
        ray.get(ray.put(np.full(10 * LARGE, number, dtype=np.uint8)))
    assert (view == 7).all()


@pytest.mark.row("3.9")
@pytest.mark.parametrize(
    "array",
    [
        np.array([]),
        np.arange(LARGE).reshape(1000, 1000)[::2, ::3],
        np.asfortranarray(np.arange(200_000.0).reshape(400, 500)),
        np.array(["text", None], dtype=object),
        np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
        np.array("2026-11-22", dtype="datetime64[D]"),
    ],
    ids=["empty", "strided", "fortran", "object", "record", "scalar"],
)
def test_arrays_of_every_layout_survive(array: Any) -> None:
    result = ray.get(echo.remote(ray.put(array)))
    assert result.dtype == array.dtype
    assert result.shape == array.shape
    assert (result == array).all()


@pytest.mark.row("3.10")
def test_changing_what_get_returned_changes_nothing_stored() -> None:
    ref = ray.put({"list": [1, 2]})
    first = ray.get(ref)
    first["list"].append(3)
    assert ray.get(ref) == {"list": [1, 2]}
    assert ray.get(ref) is not ray.get(ref)


@pytest.mark.row("3.10")
def test_a_task_does_not_change_its_callers_argument() -> None:
    @ray.remote
    def append(values: list[int]) -> list[int]:
        values.append(99)
        return values

    mine = [1]
    stored = ray.put(mine)
    assert ray.get(append.remote(mine)) == [1, 99]
    assert ray.get(append.remote(stored)) == [1, 99]
    assert mine == [1]
    assert ray.get(stored) == [1]


@pytest.mark.row("3.10")
def test_actor_state_is_not_shared_through_returned_values() -> None:
    keeper = Keeper.remote()
    ray.get(keeper.keep.remote([1]))
    ray.get(keeper.give.remote()).append(2)
    assert ray.get(keeper.give.remote()) == [1]


@pytest.mark.row("3.2")
def test_actor_handles_inside_objects_keep_the_actor_alive() -> None:
    keeper = Keeper.remote()
    ray.get(keeper.keep.remote("alive"))
    stored = ray.put({"handle": keeper})
    del keeper
    gc.collect()
    assert ray.get(ray.get(stored)["handle"].give.remote()) == "alive"
