"""How long an actor lives: handles, weak handles, creators, detached actors."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from engine import exceptions, module, ray, wait_for
from gates import Channel, Gate
from tools_tasks import is_gone, wait_gone

pytestmark = pytest.mark.usefixtures("cluster")

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@ray.remote
class Actor:
    """Says its process id when made and what happens at its end."""

    def __init__(self, said: Channel) -> None:
        self.said = said
        said.send(os.getpid())
        atexit.register(lambda: said.send("atexit"))

    def __ray_shutdown__(self) -> None:
        self.said.send("shutdown")

    def ping(self) -> str:
        return "pong"

    def hold(self, gate: Gate) -> str:
        gate.wait()
        return "released"

    def say(self, line: str) -> str:
        self.said.send(line)
        return line

    def keep_own_handle(self) -> None:
        self.me = ray.get_runtime_context().current_actor

    def make_another(self) -> list[Any]:
        self.child = Actor.options(max_restarts=-1).remote(self.said)
        return [self.child]

    def crash(self) -> None:
        os._exit(1)


def made(said: Channel, **options: Any) -> tuple[Any, int]:
    """A new actor and its process id."""
    actor = Actor.options(**options).remote(said)
    return actor, int(said.receive())


# --------------------------------------------------------------------------------------------------- handles


@pytest.mark.row("5.13", "14.17")
def test_the_last_handle_ends_the_actor_after_its_calls(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()
    actor, pid = made(said)
    refs = [actor.hold.remote(gate), actor.say.remote("second"), actor.say.remote("third")]
    del actor
    gc.collect()
    assert ray.wait(refs, timeout=0)[0] == []
    gate.open()
    assert ray.get(refs) == ["released", "second", "third"]
    wait_gone(pid)
    assert said.received() == ["second", "third", "shutdown", "atexit"]


@pytest.mark.row("5.13")
def test_an_error_in_the_farewell_changes_nothing(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    class BadFarewell:
        def __init__(self) -> None:
            said.send(os.getpid())

        def __ray_shutdown__(self) -> None:
            said.send("shutdown")
            raise ValueError("farewell")

        def ping(self) -> str:
            return "pong"

    actor = BadFarewell.remote()
    pid = said.receive()
    ref = actor.ping.remote()
    del actor
    assert ray.get(ref) == "pong"
    wait_gone(pid)
    assert said.receive() == "shutdown"


@pytest.mark.row("5.13")
def test_an_actor_dropped_before_it_started_does_not_stay(new_channel: NewChannel) -> None:
    said = new_channel()
    occupant, occupant_pid = made(said, num_cpus=2)
    waiting = Actor.options(num_cpus=1).remote(said)
    del waiting
    gc.collect()
    ray.kill(occupant)
    wait_gone(occupant_pid)

    @ray.remote(num_cpus=2)
    def everything() -> str:
        return "ran"

    assert ray.get(everything.remote(), timeout=40) == "ran"
    for line in said.received():
        if line.isdigit():
            wait_gone(line)  # it may have been started and told to leave at once


@pytest.mark.row("5.13", "5.14")
def test_a_chain_of_calls_needs_no_variable(new_channel: NewChannel) -> None:
    said = new_channel()
    assert ray.get(Actor.remote(said).say.remote("said")) == "said"
    pid = said.receive()
    wait_gone(pid)


@pytest.mark.row("5.14")
def test_a_handle_in_a_running_task_keeps_the_actor(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, said = new_gate(), new_channel()

    @ray.remote
    def use_later(actor: Any) -> str:
        gate.wait()
        return str(ray.get(actor.ping.remote()))

    actor, pid = made(said)
    ref = use_later.remote(actor)
    del actor
    gc.collect()
    gate.open()
    assert ray.get(ref) == "pong"
    wait_gone(pid)


@pytest.mark.row("5.14")
def test_a_handle_kept_by_another_actor_keeps_the_actor(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    class Keeper:
        def keep(self, handles: list[Any]) -> None:
            self.handles = handles

        def use(self) -> str:
            return str(ray.get(self.handles[0].ping.remote()))

        def drop(self) -> None:
            self.handles = []

    keeper = Keeper.remote()
    actor, pid = made(said)
    ray.get(keeper.keep.remote([actor]))
    del actor
    gc.collect()
    assert ray.get(keeper.use.remote()) == "pong"
    assert not is_gone(pid)
    ray.get(keeper.drop.remote())
    wait_gone(pid)


@pytest.mark.row("5.14")
def test_a_handle_inside_an_object_keeps_the_actor(new_channel: NewChannel) -> None:
    said = new_channel()
    actor, pid = made(said)
    box = ray.put({"actor": actor})
    del actor
    gc.collect()
    again = ray.get(box)["actor"]
    assert ray.get(again.ping.remote()) == "pong"
    del again
    gc.collect()
    assert ray.get(ray.get(box)["actor"].ping.remote()) == "pong"
    del box
    gc.collect()
    wait_gone(pid)


@pytest.mark.row("5.14", "1.34", "14.17")
def test_a_looked_up_handle_does_not_keep_the_actor(new_channel: NewChannel) -> None:
    said = new_channel()
    actor, pid = made(said, name="looked up")
    weak = ray.get_actor("looked up")
    assert ray.get(weak.ping.remote()) == "pong"
    del actor
    gc.collect()
    wait_gone(pid)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(weak.ping.remote(), timeout=40)
    with pytest.raises(ValueError, match="looked up"):
        ray.get_actor("looked up")


@pytest.mark.row("5.14", "1.43", "14.17")
def test_an_actors_handle_to_itself_does_not_keep_it(new_channel: NewChannel) -> None:
    said = new_channel()
    actor, pid = made(said)
    ray.get(actor.keep_own_handle.remote())
    del actor
    gc.collect()
    wait_gone(pid)


@pytest.mark.row("5.13")
def test_actors_made_and_dropped_in_a_loop_leave_nothing(new_channel: NewChannel) -> None:
    said = new_channel()
    refs = [Actor.remote(said).ping.remote() for _ in range(5)]
    assert ray.get(refs) == ["pong"] * 5
    for pid in [line for line in said.received() if line.isdigit()]:
        wait_gone(pid)


# ------------------------------------------------------------------------------------------------- the creator


@pytest.mark.row("5.15", "14.18", "7.5")
def test_an_actor_dies_with_the_process_that_created_it(new_channel: NewChannel) -> None:
    said = new_channel()
    parent, parent_pid = made(said)
    (child,) = ray.get(parent.make_another.remote())
    child_pid = said.receive()
    assert ray.get(child.ping.remote()) == "pong"
    os.kill(parent_pid, signal.SIGKILL)
    wait_gone(child_pid)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(child.ping.remote(), timeout=40)
    assert said.received() == [], "max_restarts=-1 does not help"


@pytest.mark.row("5.15", "14.18")
def test_an_actor_dies_when_its_creator_leaves_in_peace(new_channel: NewChannel) -> None:
    said = new_channel()
    parent, parent_pid = made(said)
    (child,) = ray.get(parent.make_another.remote())
    child_pid = said.receive()
    del parent
    gc.collect()
    wait_gone(parent_pid)
    wait_gone(child_pid)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(child.ping.remote(), timeout=40)


@pytest.mark.row("5.15", "5.14")
def test_an_actor_made_by_a_task_outlives_the_task(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote
    def make() -> list[Any]:
        return [Actor.remote(said)]

    (actor,) = ray.get(make.remote())
    pid = said.receive()
    assert ray.get(actor.ping.remote()) == "pong"
    del actor
    gc.collect()
    wait_gone(pid)


# ---------------------------------------------------------------------------------------------------- detached


@pytest.mark.row("5.16", "2.33")
def test_a_detached_actor_needs_neither_handle_nor_creator(new_channel: NewChannel) -> None:
    said = new_channel()

    @ray.remote(max_retries=0)
    def make() -> None:
        actor = Actor.options(name="detached one", lifetime="detached", max_restarts=1).remote(said)
        ray.get(actor.ping.remote())
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(make.remote())
    pid = int(said.receive())
    actor = ray.get_actor("detached one")
    assert ray.get(actor.ping.remote()) == "pong"
    del actor
    gc.collect()
    actor = ray.get_actor("detached one")
    assert ray.get(actor.ping.remote()) == "pong"
    os.kill(pid, signal.SIGKILL)
    restarted = int(said.receive(timeout_s=40))
    assert restarted != pid
    assert wait_for(lambda: answer(actor)) == "pong", "the cluster restarts it"
    ray.kill(actor)
    wait_gone(restarted)
    wait_for(lambda: "detached one" not in module("util").list_named_actors())


def answer(actor: Any) -> Any:
    try:
        return ray.get(actor.ping.remote(), timeout=20)
    except exceptions.ActorUnavailableError:
        return None


@pytest.mark.row("5.16")
def test_a_handle_dropped_in_its_creator_does_not_end_a_detached_actor(new_channel: NewChannel) -> None:
    said = new_channel()
    actor, pid = made(said, name="stays", lifetime="detached")
    del actor
    gc.collect()

    @ray.remote
    def look_up() -> str:
        return str(ray.get(ray.get_actor("stays").ping.remote()))

    assert [ray.get(look_up.remote()) for _ in range(3)] == ["pong"] * 3
    ray.kill(ray.get_actor("stays"))
    wait_gone(pid)
    assert said.received() == []


@pytest.mark.row("5.16", "5.19")
def test_a_detached_actor_ends_when_it_wants_to(new_channel: NewChannel) -> None:
    said = new_channel()
    actor, pid = made(said, name="leaves", lifetime="detached", max_restarts=-1)
    actor.__ray_terminate__.remote()
    wait_gone(pid)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.ping.remote(), timeout=40)
