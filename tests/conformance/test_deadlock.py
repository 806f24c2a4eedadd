"""Work that waits in a circle is told so, in seconds, with the circle (S 33, P 31). Ray waits for ever."""

from __future__ import annotations

from typing import Any

import pytest
from engine import better, exceptions, ray

pytestmark = [better("Ray waits for ever"), pytest.mark.usefixtures("cluster")]


@ray.remote
class Caller:
    """Calls what it is told to, and waits."""

    def __init__(self) -> None:
        self.other: Any = None

    def meet(self, other: Any) -> None:
        """Whom to call."""
        self.other = other

    def call(self, depth: int) -> str:
        """Wait for the other's call."""
        if depth == 0:
            return "answered"
        answer: str = ray.get(self.other.call.remote(depth - 1))
        return answer


@pytest.mark.row("S33", "P31")
def test_two_actors_that_wait_for_each_other_are_told_the_circle() -> None:
    one, two = Caller.remote(), Caller.remote()
    ray.get([one.meet.remote(two), two.meet.remote(one)])
    with pytest.raises(exceptions.RayError, match=r"deadlock: .*Caller\.call waits for Caller\.call"):
        ray.get(one.call.remote(3), timeout=10)
    assert ray.get(one.call.remote(1), timeout=10) == "answered", "both actors go on"


@pytest.mark.row("S33", "P31")
def test_an_actor_that_waits_for_itself_is_told() -> None:
    actor = Caller.remote()
    ray.get(actor.meet.remote(actor))
    with pytest.raises(exceptions.RayError, match="deadlock"):
        ray.get(actor.call.remote(1), timeout=10)
    assert ray.get(actor.call.remote(0), timeout=10) == "answered"


@pytest.mark.row("S33")
def test_a_long_wait_that_is_no_circle_ends_well(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def slow() -> str:
        gate.wait()
        return "done"

    @ray.remote
    def asks(depth: int) -> str:
        return ray.get(asks.remote(depth - 1) if depth else slow.remote())

    ref = asks.remote(2)
    assert ray.wait([ref], timeout=2.5)[0] == []
    gate.open()
    assert ray.get(ref, timeout=10) == "done"


@pytest.mark.row("P31", "6.20")
def test_an_actor_that_fills_its_group_and_waits_for_a_child_in_it_is_told() -> None:
    group = ray.util.placement_group([{"CPU": 1}])
    assert group.wait(10)

    @ray.remote
    def child() -> str:
        return "done"

    @ray.remote(num_cpus=1)
    class Parent:
        def work(self, *, outside: bool) -> str:
            strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(None) if outside else None
            return ray.get(child.options(scheduling_strategy=strategy).remote())  # type: ignore[no-any-return]

    inside = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
        group, placement_group_capture_child_tasks=True
    )
    parent = Parent.options(scheduling_strategy=inside).remote()
    with pytest.raises(exceptions.RayError, match=r"deadlock: actor Parent holds .*CPU.* waits for .*child"):
        ray.get(parent.work.remote(outside=False), timeout=20)
    assert ray.get(parent.work.remote(outside=True), timeout=20) == "done"
    ray.util.remove_placement_group(group)
