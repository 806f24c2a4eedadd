"""Large objects and several nodes: they move, spill, are found, and are made again when they are lost (3.13-3.24)."""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import IS_LINCKIA, better, exceptions, module, ray, settings, stop, wait_for

MIB = 2**20
STORE = {"object_store_memory": 120 * MIB}


@ray.remote
def made(size: int, channel: Any = None) -> bytes:
    """A large value, the same for the same size."""
    if channel is not None:
        channel.send(ray.get_runtime_context().get_node_id())
    return bytes_of(size)


def bytes_of(size: int) -> bytes:
    """No zeros, no short period."""
    return (b"%09d " * 1024 % tuple(range(1024)) * (size // 10240 + 1))[:size]


@ray.remote
def checksum(value: bytes) -> tuple[int, str]:
    """Of an argument, and where it was read."""
    return zlib.crc32(value), ray.get_runtime_context().get_node_id()


@ray.remote
class Maker:
    """Makes large values."""

    def make(self, size: int) -> bytes:
        """As `made`."""
        return bytes_of(size)

    def put(self, size: int) -> list[Any]:
        """It owns what it puts."""
        return [ray.put(bytes_of(size))]


@pytest.fixture(scope="module")
def base() -> Iterator[Any]:
    """A connected head without CPUs."""
    ray.shutdown()
    quick = {f"health_check_{name}": 500 for name in ("initial_delay_ms", "period_ms", "timeout_ms")}  # for Ray
    args = {"num_cpus": 0, "_system_config": {**quick, "health_check_failure_threshold": 3}, **STORE}
    cluster = module("cluster_utils").Cluster(initialize_head=True, connect=True, head_node_args=args)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def nodes(base: Any) -> Iterator[Callable[..., Any]]:
    """Adds nodes that leave after the test."""
    before = set(base.worker_nodes)

    def add(num_cpus: int = 1, **options: Any) -> Any:
        node = base.add_node(num_cpus=num_cpus, **STORE, **options)
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


def finished(ref: Any) -> Any:
    """The same ref, once its value exists somewhere; nothing is fetched."""
    assert ray.wait([ref], timeout=60, fetch_local=False)[0] == [ref]
    return ref


def locations(ref: Any) -> dict[str, Any]:
    """Of one object."""
    found: dict[str, Any] = module("experimental").get_object_locations([ref])[ref]
    return found


# --- moving -----------------------------------------------------------------------------------------------------------


@pytest.mark.row("3.17", "3.13")
@pytest.mark.parametrize("size", [150 * 1024, 5 * MIB, 17 * MIB + 3])
def test_a_value_arrives_as_it_left(nodes: Any, size: int) -> None:
    nodes()
    assert ray.get(made.remote(size), timeout=60) == bytes_of(size)


@pytest.mark.row("3.17", "3.5")
def test_an_argument_from_another_node(nodes: Any) -> None:
    nodes(resources={"a": 1})
    second = nodes(resources={"b": 1})
    ref = made.options(resources={"a": 1}).remote(3 * MIB)
    found = checksum.options(resources={"b": 1}).remote(ref)
    assert ray.get(found, timeout=60) == (zlib.crc32(bytes_of(3 * MIB)), second.node_id)


@pytest.mark.row("3.17", "1.27")
def test_what_a_driver_put_is_read_everywhere(nodes: Any) -> None:
    added = [nodes(resources={name: 1}) for name in ("a", "b", "c")]
    ref = ray.put(bytes_of(8 * MIB))
    found = [checksum.options(resources={name: 1}).remote(ref) for name in ("a", "b", "c")]
    assert ray.get(found, timeout=60) == [(zlib.crc32(bytes_of(8 * MIB)), node.node_id) for node in added]


@pytest.mark.row("3.6", "3.17")
def test_a_ref_inside_a_value(nodes: Any) -> None:
    nodes(resources={"a": 1})
    maker = Maker.options(num_cpus=0, resources={"a": 1}).remote()
    (inner,) = ray.get(maker.put.remote(2 * MIB), timeout=60)
    assert ray.get(inner, timeout=60) == bytes_of(2 * MIB)


@pytest.mark.row("4.8")
def test_work_goes_to_its_large_argument(nodes: Any) -> None:
    for name in ("a", "b"):
        nodes(2, resources={name: 1})
    where = {row["NodeID"]: row["Resources"] for row in ray.nodes()}
    for name in ("a", "b", "a"):
        ref = finished(made.options(num_cpus=0, resources={name: 1}).remote(2 * MIB))
        assert name in where[ray.get(checksum.remote(ref), timeout=60)[1]]


@pytest.mark.row("1.30")
def test_wait_fetches_or_does_not(base: Any, nodes: Any) -> None:
    node = nodes()
    ref = finished(made.remote(2 * MIB))
    assert locations(ref)["node_ids"] == [node.node_id], "it was not fetched"
    assert ray.wait([ref], timeout=60)[0] == [ref]
    wait_for(lambda: set(locations(ref)["node_ids"]) == {node.node_id, base.head_node.node_id}, what="a copy is here")


@pytest.mark.row("3.24", "13.3", "3.7")
def test_locations(base: Any, nodes: Any) -> None:
    node = nodes()
    here, there, small = ray.put(bytes_of(MIB)), finished(made.remote(MIB)), finished(made.remote(10))
    found = module("experimental").get_object_locations([here, there, small])
    assert set(found) == {here, there, small}
    assert found[here]["node_ids"] == [base.head_node.node_id]
    assert found[there]["node_ids"] == [node.node_id]
    assert found[there]["object_size"] > MIB - 1
    assert found[small]["node_ids"] == []
    local = module("experimental").get_local_object_locations([there])
    assert local[there]["node_ids"] == [node.node_id]


# --- spilling ---------------------------------------------------------------------------------------------------------


@pytest.mark.row("3.14", "3.15", "3.16")
def test_a_driver_puts_more_than_fits(base: Any) -> None:
    refs = [ray.put(bytes_of(20 * MIB + number)) for number in range(15)]
    for number, ref in enumerate(refs):
        assert zlib.crc32(ray.get(ref, timeout=60)) == zlib.crc32(bytes_of(20 * MIB + number))


@pytest.mark.row("3.14", "3.15", "3.16", "3.17")
def test_another_node_makes_more_than_fits(nodes: Any) -> None:
    nodes()
    refs = [made.remote(20 * MIB + number) for number in range(12)]
    for ref in refs:
        finished(ref)
    for number in (0, 11, 5):
        assert zlib.crc32(ray.get(refs[number], timeout=60)) == zlib.crc32(bytes_of(20 * MIB + number))


@pytest.mark.row("3.14", "3.17")
def test_arguments_that_do_not_fit_all_at_a_time(nodes: Any) -> None:
    nodes(resources={"a": 1})
    nodes(4, resources={"b": 1})
    refs = [made.options(num_cpus=0, resources={"a": 0.2}).remote(15 * MIB + number) for number in range(12)]
    found = [checksum.options(num_cpus=1, resources={"b": 0.01}).remote(ref) for ref in refs]
    assert [crc for crc, _ in ray.get(found, timeout=100)] == [
        zlib.crc32(bytes_of(15 * MIB + number)) for number in range(12)
    ]


@pytest.mark.row("3.3")
def test_dropped_values_make_room(nodes: Any) -> None:
    nodes()
    for _ in range(12):
        assert ray.get(checksum.remote(made.remote(30 * MIB)), timeout=60)[0] == zlib.crc32(bytes_of(30 * MIB))


# --- lost and made again ----------------------------------------------------------------------------------------------


@pytest.mark.row("3.20", "3.19", "7.4")
def test_a_lost_value_is_made_again(nodes: Any, crash: Any, new_channel: Any) -> None:
    first, channel = nodes(), new_channel()
    ref = finished(made.remote(MIB, channel))
    assert channel.receive() == first.node_id
    crash(first)
    second = nodes()
    assert ray.get(ref, timeout=60) == bytes_of(MIB)
    assert channel.receive() == second.node_id


@pytest.mark.row("3.20", "3.19")
def test_a_chain_of_lost_values(nodes: Any, crash: Any, new_channel: Any) -> None:
    first, channel = nodes(), new_channel()

    @ray.remote
    def longer(value: bytes) -> bytes:
        channel.send("longer")
        return value + b"!"

    ref = finished(longer.remote(longer.remote(made.remote(MIB, channel))))
    assert channel.receive_many(3)[1:] == ["longer", "longer"]
    crash(first)
    nodes()
    assert ray.get(ref, timeout=60) == bytes_of(MIB) + b"!!"
    assert channel.receive_many(3)[1:] == ["longer", "longer"], (
        "the values in between were gone, so they were made again"
    )


@pytest.mark.row("3.20", "7.4", "3.13")
def test_a_copy_saves_the_work(nodes: Any, crash: Any, new_channel: Any) -> None:
    first, channel = nodes(), new_channel()
    ref = made.remote(MIB, channel)
    assert ray.get(ref, timeout=60) == bytes_of(MIB)
    channel.receive()
    crash(first)
    assert ray.get(ref, timeout=60) == bytes_of(MIB)
    assert channel.settled() == [], "not made again"


@pytest.mark.row("3.20")
def test_a_lost_argument_of_new_work(nodes: Any, crash: Any) -> None:
    first = nodes()
    ref = finished(made.remote(MIB))
    crash(first)
    second = nodes()
    assert ray.get(checksum.remote(ref), timeout=60) == (zlib.crc32(bytes_of(MIB)), second.node_id)


@pytest.mark.row("3.21", "3.37", "3.34")
def test_a_value_that_may_not_be_made_again(nodes: Any, crash: Any) -> None:
    first = nodes()
    ref = finished(made.options(max_retries=0).remote(MIB))
    crash(first)
    nodes()
    with pytest.raises(exceptions.ObjectLostError) as caught:
        ray.get(ref, timeout=60)
    if IS_LINCKIA:
        assert "RETRIES_DISABLED" in caught.value.reason.name


@pytest.mark.row("3.21", "3.37")
def test_a_result_of_an_actor_that_may_not_be_made_again(nodes: Any, crash: Any) -> None:
    first = nodes()
    maker = Maker.options(num_cpus=1).remote()
    ref = finished(maker.make.remote(MIB))
    crash(first)
    with pytest.raises(exceptions.ObjectLostError):
        ray.get(ref, timeout=60)


@pytest.mark.row("3.20", "7.3")
def test_a_result_of_an_actor_that_is_made_again(nodes: Any, crash: Any) -> None:
    first = nodes()
    maker = Maker.options(num_cpus=1, max_restarts=-1, max_task_retries=-1).remote()
    ref = finished(maker.make.remote(MIB))
    crash(first)
    nodes()
    assert ray.get(ref, timeout=60) == bytes_of(MIB)


@pytest.mark.row("3.22", "3.20")
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_result_of_an_actor_that_is_gone_out_of_scope(
    nodes: Any, crash: Any, new_channel: Any, restarts: int
) -> None:
    """The actor comes back for it, from its arguments, and goes again."""
    first, channel = nodes(), new_channel()

    @ray.remote(num_cpus=1, max_restarts=restarts, max_task_retries=-1)
    class Told:
        def __init__(self, value: bytes) -> None:
            self.value = value

        def make(self) -> bytes:
            return self.value * 2

        def __ray_shutdown__(self) -> None:
            channel.send(ray.get_runtime_context().get_node_id())

    value = bytes_of(90_000)  # Ray cannot restart an actor whose large argument is out of scope
    ref = finished(Told.remote(ray.put(value * 20) if IS_LINCKIA else value).make.remote())
    assert channel.receive(60) == first.node_id
    crash(first)
    second = nodes()
    if restarts:
        assert ray.get(ref, timeout=60) == value * (40 if IS_LINCKIA else 2)
        assert channel.receive(60) == second.node_id
    else:
        with pytest.raises((exceptions.ObjectLostError, exceptions.RayActorError)):
            ray.get(ref, timeout=60)


@pytest.mark.row("3.35", "7.5", "14.7")
def test_a_value_ends_with_its_owner(nodes: Any, crash: Any) -> None:
    home = nodes(resources={"home": 1})
    maker = Maker.options(num_cpus=0, resources={"home": 1}).remote()
    (inner,) = ray.get(maker.put.remote(MIB), timeout=60)
    crash(home)
    with pytest.raises((exceptions.OwnerDiedError, exceptions.ObjectLostError)):
        ray.get(inner, timeout=60)


@pytest.mark.row("3.1", "3.35", "7.5")
def test_the_owners_death_is_told_where_the_value_is(nodes: Any, crash: Any) -> None:
    """The value lies on a node that lives; its owner does not."""
    home = nodes(resources={"home": 1})
    nodes(resources={"away": 1})

    @ray.remote(num_cpus=0, resources={"home": 1})
    class Owner:
        def give(self) -> list[Any]:
            self.ref = made.options(num_cpus=0, resources={"away": 1}).remote(MIB)
            ray.wait([self.ref], fetch_local=False)
            return [self.ref]

    owner = Owner.remote()
    (inner,) = ray.get(owner.give.remote(), timeout=60)
    crash(home)
    with pytest.raises(exceptions.OwnerDiedError):
        ray.get(inner, timeout=60)


# --- generators -------------------------------------------------------------------------------------------------------


@ray.remote(max_retries=2)
def large_items(count: int, channel: Any = None) -> Iterator[bytes]:
    """Yields `count` large values."""
    if channel is not None:
        channel.send("run")
    for number in range(count):
        yield bytes_of(MIB + number)


@pytest.mark.row("3.23", "4.28", "7.4")
def test_lost_items_of_a_generator(nodes: Any, crash: Any, new_channel: Any) -> None:
    """Those that are lost come back under their ids, those that have a copy stay, the consumer is where it was."""
    first, channel = nodes(), new_channel()
    generator = large_items.remote(5, channel)
    refs = [finished(next(generator)) for _ in range(3)]
    ray.wait([generator.completed()], timeout=60)
    assert zlib.crc32(ray.get(refs[1], timeout=60)) == zlib.crc32(bytes_of(MIB + 1))  # a copy is here
    ids = [ref.hex() for ref in refs]
    crash(first)
    nodes()
    for number, ref in enumerate(refs):
        assert zlib.crc32(ray.get(ref, timeout=60)) == zlib.crc32(bytes_of(MIB + number))
    assert [ref.hex() for ref in refs] == ids
    rest = [zlib.crc32(ray.get(ref, timeout=60)) for ref in generator]
    assert rest == [zlib.crc32(bytes_of(MIB + number)) for number in (3, 4)]
    assert channel.settled() == ["run", "run"], "once more for all that were lost"


@pytest.mark.row("3.23", "4.28", "4.18")
def test_lost_items_of_a_generator_that_still_runs(nodes: Any, crash: Any, new_gate: Any) -> None:
    first, gate = nodes(), new_gate()

    @ray.remote(max_retries=2)
    def slow() -> Iterator[bytes]:
        for number in range(4):
            if number == 3:
                gate.wait()
            yield bytes_of(MIB + number)

    generator = slow.remote()
    refs = [finished(next(generator)) for _ in range(3)]
    crash(first)
    nodes()
    gate.open()
    for number, ref in enumerate([*refs, *generator]):
        assert zlib.crc32(ray.get(ref, timeout=60)) == zlib.crc32(bytes_of(MIB + number))


@pytest.mark.row("3.23", "1.49")
@pytest.mark.filterwarnings("ignore")
def test_lost_items_of_dynamic_returns(nodes: Any, crash: Any) -> None:
    first = nodes()
    refs = list(ray.get(large_items.options(num_returns="dynamic").remote(3), timeout=60))
    for ref in refs:
        finished(ref)
    crash(first)
    nodes()
    for number, ref in enumerate(refs):
        assert zlib.crc32(ray.get(ref, timeout=60)) == zlib.crc32(bytes_of(MIB + number))


@pytest.mark.row("3.23", "3.21", "3.37")
def test_lost_items_of_a_generator_that_may_not_run_again(nodes: Any, crash: Any) -> None:
    first = nodes()
    ref = finished(next(large_items.options(max_retries=0).remote(1)))
    crash(first)
    with pytest.raises(exceptions.ObjectLostError) as caught:
        ray.get(ref, timeout=60)
    if IS_LINCKIA:
        assert "RETRIES_DISABLED" in caught.value.reason.name


@pytest.mark.row("3.23", "3.20")
def test_a_lost_item_is_an_argument_of_what_was_lost(nodes: Any, crash: Any) -> None:
    first = nodes()

    @ray.remote
    def longer(value: bytes) -> bytes:
        return value + b"!"

    (item,) = large_items.remote(1)
    ref = finished(longer.remote(item))
    del item
    crash(first)
    nodes()
    assert zlib.crc32(ray.get(ref, timeout=60)) == zlib.crc32(bytes_of(MIB) + b"!")


# --- a cluster of its own ---------------------------------------------------------------------------------------------


@pytest.mark.row("3.18", "3.36")
@better("a node that is stopped is declared dead first")
def test_a_fetch_that_takes_too_long(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a node that has stopped, long before it is known to be dead."""
    for name, value in settings(fetch_fail_timeout_milliseconds="700").items():
        monkeypatch.setenv(name, value)
    head = {"num_cpus": 0, **STORE}
    with module("cluster_utils").Cluster(initialize_head=True, connect=True, head_node_args=head) as cluster:
        node = cluster.add_node(num_cpus=1, **STORE)
        ref = finished(made.remote(MIB))
        stop(node.pid)
        try:
            with pytest.raises(exceptions.ObjectFetchTimedOutError, match=ref.hex()):
                ray.get(ref, timeout=60)
        finally:
            os.kill(node.pid, signal.SIGCONT)
        assert zlib.crc32(ray.get(ref, timeout=60)) == zlib.crc32(bytes_of(MIB)), "later it can be had"
        ray.shutdown()
