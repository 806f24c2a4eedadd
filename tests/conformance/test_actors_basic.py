"""Actors: creation, constructor errors, resources, handles and methods as values, the methods every actor has."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from engine import IS_LINCKIA, exceptions, module, ray, wait_for
from gates import Channel, Gate

pytestmark = pytest.mark.usefixtures("cluster")

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@ray.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, number: int = 1) -> int:
        self.value += number
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise ValueError(f"value {self.value}")

    @ray.method(num_returns=2)
    def pair(self) -> tuple[int, int]:
        return self.value, -self.value

    @ray.method(num_returns=0)
    def forget(self) -> None:
        self.value = 0


class Broken:
    def __init__(self, said: Channel | None = None) -> None:
        if said is not None:
            said.send("constructor ran")
        raise ValueError("the constructor's complaint")

    def ping(self) -> str:
        return "pong"


# --------------------------------------------------------------------------------------------------- creation


@pytest.mark.row("5.2")
def test_calls_made_before_the_constructor_ends_wait_for_it(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    class Slow:
        def __init__(self) -> None:
            gate.wait()
            self.value = 5

        def read(self) -> int:
            return self.value

    actor = Slow.remote()
    refs = [actor.read.remote() for _ in range(10)]
    assert ray.wait(refs, timeout=0)[0] == []
    gate.open()
    assert ray.get(refs) == [5] * 10


@pytest.mark.row("5.2", "1.34")
def test_a_named_actor_can_be_looked_up_right_after_remote(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    class Slow:
        def __init__(self) -> None:
            gate.wait()

        def ping(self) -> str:
            return "pong"

    first = Slow.options(name="slow to start").remote()
    second = ray.get_actor("slow to start")
    assert second == first
    ref = second.ping.remote()
    gate.open()
    assert ray.get(ref) == "pong"


@pytest.mark.row("5.2", "3.5")
def test_constructor_arguments_are_resolved_like_those_of_tasks(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def later(number: int) -> int:
        gate.wait()
        return number

    actor = Counter.remote(later.remote(40))
    ref = actor.add.remote(2)
    assert ray.wait([ref], timeout=0)[0] == []
    gate.open()
    assert ray.get(ref) == 42


@pytest.mark.row("5.1", "5.2")
def test_state_is_kept_between_calls_and_apart_between_actors() -> None:
    one, other = Counter.remote(), Counter.remote(100)
    assert ray.get([one.add.remote() for _ in range(3)]) == [1, 2, 3]
    assert ray.get(other.add.remote(5)) == 105
    assert ray.get(one.pid.remote()) != ray.get(other.pid.remote())


@pytest.mark.row("5.3", "3.48", "14.19")
@pytest.mark.parametrize("max_restarts", [0, 5, -1])
def test_a_constructor_error_is_final(new_channel: NewChannel, max_restarts: int) -> None:
    said = new_channel()
    actor = ray.remote(Broken).options(max_restarts=max_restarts, max_task_retries=3).remote(said)
    for ref in (actor.ping.remote(), actor.__ray_ready__.remote(), actor.ping.remote()):
        with pytest.raises(exceptions.ActorDiedError) as caught:
            ray.get(ref)
        assert isinstance(caught.value, exceptions.RayActorError)
        assert caught.value.actor_init_failed
        assert "the constructor's complaint" in str(caught.value)
        assert "ValueError" in str(caught.value)
        assert "Broken" in str(caught.value)
    assert said.receive() == "constructor ran"
    assert said.received() == [], "it ran once"


@pytest.mark.row("5.3", "4.5")
def test_a_failed_constructor_argument_fails_every_call(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    def fail() -> None:
        raise KeyError("argument")

    @ray.remote
    class Never:
        def __init__(self, value: None) -> None:
            said.send("constructor ran")

        def ping(self) -> None: ...

    with pytest.raises(exceptions.RayError) as caught:
        ray.get(Never.remote(fail.remote()).ping.remote())
    assert isinstance(caught.value, exceptions.ActorDiedError)
    assert "KeyError" in str(caught.value)
    assert said.received() == []


@pytest.mark.row("5.3")
@pytest.mark.parametrize("way", ["os._exit", "sys.exit"])
def test_a_constructor_that_leaves_the_process_kills_the_actor(way: str) -> None:
    @ray.remote
    class Leaves:
        def __init__(self) -> None:
            if way == "os._exit":
                os._exit(1)
            raise SystemExit(1)

        def ping(self) -> None: ...

    with pytest.raises(exceptions.RayActorError):
        ray.get(Leaves.remote().ping.remote(), timeout=50)


@pytest.mark.row("5.4", "14.1", "2.2")
def test_a_default_actor_holds_no_cpu_and_needs_none_free(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def hold() -> None:
        gate.wait()

    @ray.remote
    def one() -> int:
        return 1

    actors = [Counter.remote() for _ in range(3)]
    assert ray.get([actor.add.remote() for actor in actors]) == [1] * 3
    held = [hold.remote() for _ in range(2)]
    wait_for(lambda: "CPU" not in ray.available_resources(), what="both CPUs taken")
    assert ray.get(Counter.remote().add.remote(), timeout=30) == 1, "created though no CPU is free"
    assert ray.get(actors[0].add.remote()) == 2
    gate.open()
    ray.get(held)
    assert ray.get(one.remote()) == 1


@pytest.mark.row("5.4", "2.2")
def test_an_actors_resources_are_held_until_it_dies() -> None:
    greedy = Counter.options(num_cpus=2).remote()
    assert ray.get(greedy.add.remote()) == 1

    @ray.remote
    def one() -> int:
        return 1

    ref, waiting = one.remote(), Counter.options(num_cpus=1).remote()
    call = waiting.add.remote()
    assert ray.wait([ref, call], num_returns=2, timeout=0.3) == ([], [ref, call])
    assert ray.get(greedy.add.remote()) == 2, "its own methods need nothing"
    ray.kill(greedy)
    assert ray.get([ref, call], timeout=40) == [1, 1]


# ---------------------------------------------------------------------------------------------------- methods


@pytest.mark.row("5.5", "1.23")
def test_methods_return_what_they_declare() -> None:
    actor = Counter.remote(3)
    assert ray.get(actor.pair.remote()) == [3, -3]
    assert ray.get(actor.pair.options(num_returns=1).remote()) == (3, -3)
    assert actor.forget.remote() is None
    assert ray.get(actor.add.remote(number=7)) == 7


@pytest.mark.row("5.1", "3.27")
def test_an_error_in_a_method_does_not_harm_the_actor() -> None:
    actor = Counter.remote(9)
    for _ in range(2):
        with pytest.raises(ValueError, match="value 9") as caught:
            ray.get(actor.fail.remote())
        assert isinstance(caught.value, exceptions.RayTaskError)
    assert ray.get(actor.add.remote()) == 10


@pytest.mark.row("4.5", "5.5")
def test_a_failed_argument_fails_the_call_without_running_it() -> None:
    @ray.remote
    def fail() -> int:
        raise KeyError("argument")

    actor = Counter.remote()
    before, failed, after = actor.add.remote(), actor.add.remote(fail.remote()), actor.add.remote()
    with pytest.raises(KeyError):
        ray.get(failed)
    assert ray.get([before, after]) == [1, 2]


@pytest.mark.row("1.22")
def test_methods_that_every_actor_has() -> None:
    actor = Counter.remote(7)
    assert ray.get(actor.__ray_ready__.remote()) is True
    assert ray.get(actor.__ray_call__.remote(lambda self, number: self.value + number, 5)) == 12
    ray.get(actor.__ray_call__.remote(lambda self: setattr(self, "value", 1)))
    assert ray.get(actor.add.remote()) == 2


@pytest.mark.row("1.21", "2.38", "1.20")
def test_wrong_uses_of_classes_handles_and_methods() -> None:
    actor = Counter.remote()
    with pytest.raises(AttributeError, match="nothing_like_it"):
        actor.nothing_like_it  # noqa: B018
    with pytest.raises(TypeError):
        actor.add()
    with pytest.raises(TypeError):
        actor.pid.remote("surplus")
    with pytest.raises(TypeError):
        Counter.remote(1, 2, 3)
    with pytest.raises(TypeError):
        Counter()
    assert ray.get(actor.add.remote()) == 1


@pytest.mark.row("1.21")
def test_handles_compare_print_and_list_their_methods() -> None:
    actor, other = Counter.options(name="comparable").remote(), Counter.remote()
    same = ray.get_actor("comparable")
    assert actor == same
    assert hash(actor) == hash(same)
    assert actor != other
    assert repr(actor) == f"Actor(Counter, {actor._actor_id.hex()})"
    assert {"add", "pair", "pid"} <= set(dir(actor))


# ------------------------------------------------------------------------------------- handles as values


@ray.remote
def add_through(handle: Any, number: int) -> int:
    return int(ray.get(handle.add.remote(number)))


@ray.remote
def call(method: Any, *args: Any) -> Any:
    return ray.get(method.remote(*args))


@pytest.mark.row("5.31", "5.14")
def test_handles_travel_in_arguments_results_and_objects() -> None:
    @ray.remote
    def make(start: int) -> Any:
        return Counter.remote(start)

    @ray.remote
    class Keeper:
        def keep(self, handles: list[Any]) -> None:
            self.handles = handles

        def use(self) -> list[int]:
            return ray.get([handle.add.remote() for handle in self.handles])  # type: ignore[no-any-return]

    actor = Counter.remote()
    assert ray.get(add_through.remote(actor, 5)) == 5
    made = ray.get(make.remote(10))
    assert ray.get(made.add.remote()) == 11
    stored = ray.get(ray.put({"actor": actor}))["actor"]
    assert stored == actor
    keeper = Keeper.remote()
    ray.get(keeper.keep.remote([actor, made]))
    assert ray.get(keeper.use.remote()) == [6, 12]


@pytest.mark.row("5.31")
def test_what_a_method_declares_travels_with_the_handle() -> None:
    @ray.remote
    def use(handle: Any) -> tuple[Any, Any]:
        return ray.get(handle.pair.remote()), handle.forget.remote()

    assert ray.get(use.remote(Counter.remote(4))) == ([4, -4], None)


@pytest.mark.row("5.31")
def test_a_bound_method_is_a_value() -> None:
    actor = Counter.remote()
    assert ray.get(call.remote(actor.add, 2)) == 2
    assert ray.get(ray.get(ray.put(actor.add)).remote(3)) == 5
    assert ray.get(call.remote(actor.pair)) == [5, -5]
    assert ray.get(Counter.remote(1).add.remote()) == 2, "a method keeps its actor for the time of the call"


@pytest.mark.row("5.31", "2.38")
def test_a_bound_method_that_outlives_its_handle() -> None:
    method = Counter.remote(1).add
    try:
        assert ray.get(method.remote()) == 2
    except (RuntimeError, exceptions.ActorDiedError):
        pass  # the handle is gone: refusing at `.remote()` is allowed, a hang or another actor's answer is not


@pytest.mark.row("1.43", "5.31")
def test_an_actor_finds_its_own_handle() -> None:
    @ray.remote
    class Self:
        def __init__(self) -> None:
            self.value = 0

        def add(self, number: int) -> int:
            self.value += number
            return self.value

        def add_later(self) -> list[Any]:
            return [ray.get_runtime_context().current_actor.add.remote(1)]

    actor = Self.remote()
    (ref,) = ray.get(actor.add_later.remote())
    assert ray.get(ref) == 1
    with pytest.raises(RuntimeError):
        ray.get_runtime_context().current_actor  # noqa: B018


# ----------------------------------------------------------------------------------------- limits and names


@pytest.mark.row("2.29", "3.55")
def test_max_pending_calls_refuses_at_the_call_and_recovers(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote(max_pending_calls=3)
    class Busy:
        def hold(self) -> str:
            said.send("held")
            gate.wait()
            return "held"

        def ping(self) -> str:
            return "pong"

    actor = Busy.remote()
    refs = [actor.hold.remote()]
    assert said.receive() == "held"
    with pytest.raises(exceptions.PendingCallsLimitExceeded):
        for _ in range(10):
            refs.append(actor.ping.remote())
    assert len(refs) == 3
    gate.open()
    assert ray.get(refs) == ["held", "pong", "pong"]

    def accepted() -> Any:
        try:
            return actor.ping.remote()
        except exceptions.PendingCallsLimitExceeded:
            return None  # Ray counts a call as pending a little longer than its result is missing

    assert ray.get([wait_for(accepted) for _ in range(4)]) == ["pong"] * 4


@pytest.mark.row("5.17", "2.30", "3.59")
def test_names_are_unique_while_their_actor_lives() -> None:
    list_named_actors = module("util").list_named_actors
    first = Counter.options(name="taken").remote(1)
    with pytest.raises(exceptions.ActorAlreadyExistsError) as caught:
        Counter.options(name="taken").remote(2)
    assert isinstance(caught.value, ValueError)
    elsewhere = Counter.options(name="taken", namespace="another").remote(3)
    assert ray.get(ray.get_actor("taken").add.remote()) == 2
    assert ray.get(ray.get_actor("taken", namespace="another").add.remote()) == 4
    assert "taken" in list_named_actors()
    everywhere = list_named_actors(all_namespaces=True)
    assert {"name": "taken", "namespace": "another"} in everywhere
    ray.kill(first)
    wait_for(lambda: "taken" not in list_named_actors())
    with pytest.raises(ValueError, match="taken"):
        ray.get_actor("taken")
    again = Counter.options(name="taken").remote(10)
    assert ray.get(again.add.remote()) == 11
    assert ray.get(elsewhere.add.remote()) == 5


@pytest.mark.row("1.34")
@pytest.mark.parametrize("name", ["", "nobody has this name"])
def test_looking_up_nothing_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError):
        ray.get_actor(name)


@pytest.mark.row("5.30", "2.32", "14.23")
def test_get_if_exists_ignores_the_arguments_of_the_second_creator() -> None:
    first = Counter.options(name="only one", get_if_exists=True).remote(1)
    second = Counter.options(name="only one", get_if_exists=True).remote(1000)
    assert first == second
    assert ray.get([first.add.remote(), second.add.remote()]) == [2, 3]


@pytest.mark.row("5.30", "2.32", "14.23")
def test_racing_creators_get_the_same_actor(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote(num_cpus=0)
    class Single:
        def __init__(self) -> None:
            said.send("made")

        def pid(self) -> int:
            return os.getpid()

    @ray.remote(num_cpus=0)
    def create() -> list[Any]:
        actor = Single.options(name="raced for", get_if_exists=True, lifetime="detached").remote()
        return [actor, ray.get(actor.pid.remote())]

    found = ray.get([create.remote() for _ in range(6)])
    assert len({pid for _, pid in found}) == 1
    assert len({actor for actor, _ in found}) == 1
    assert said.receive() == "made"
    assert said.received() == []
    ray.kill(found[0][0])


@pytest.mark.row("5.33")
def test_the_repr_of_the_instance_shows_in_its_errors() -> None:
    @ray.remote
    class Named:
        def __repr__(self) -> str:
            return "the-repr-of-this-one"

        def fail(self) -> None:
            raise ValueError("x")

    with pytest.raises(ValueError, match="x") as caught:
        ray.get(Named.remote().fail.remote())
    assert "the-repr-of-this-one" in str(caught.value)


@pytest.mark.row("5.4")
def test_many_actors_live_side_by_side() -> None:
    actors = [Counter.remote(number) for number in range(20 if IS_LINCKIA else 6)]
    assert ray.get([actor.add.remote() for actor in actors]) == [number + 1 for number in range(len(actors))]
    assert len(set(ray.get([actor.pid.remote() for actor in actors]))) == len(actors)
