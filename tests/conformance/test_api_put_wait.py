"""`put` and `wait`: owned objects, at most `num_returns` ready ones, input order, and what is refused."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from engine import better, error_after_death, exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
def echo(value: Any) -> Any:
    return value


@pytest.mark.row("1.27")
@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        -1,
        2**80,
        1.5,
        1j,
        True,
        "text",
        "",
        b"",
        b"bytes" * 50_000,
        [1, [2]],
        (1, (2,)),
        {"k": {1, 2}},
        ...,
        range(5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_put_and_get_round_trip(value: object) -> None:
    result = ray.get(ray.put(value))
    assert result == value
    assert type(result) is type(value)


@pytest.mark.row("1.27")
def test_each_put_makes_a_new_ref() -> None:
    value = [1, 2, 3]
    assert ray.put(value) != ray.put(value)


@pytest.mark.row("1.27")
def test_put_of_a_ref_is_refused() -> None:
    with pytest.raises(TypeError, match="(?i)ObjectRef"):
        ray.put(ray.put(1))


@pytest.mark.row("1.27", "14.6")
def test_put_of_a_list_that_holds_a_ref_keeps_the_ref() -> None:
    inner = ray.put("inner")
    (found,) = ray.get(ray.put([inner]))
    assert found == inner
    assert ray.get(found) == "inner"


@pytest.mark.row("1.27")
def test_put_of_something_unserializable_says_what_stands_in_the_way() -> None:
    with pytest.raises(TypeError, match=r"(?s)(?i)serializ.*lock|lock.*serializ|pickle.*lock"):
        ray.put({"guard": threading.Lock()})


@pytest.mark.row("1.27")
def test_the_owner_option_is_refused() -> None:
    @ray.remote
    class Owner:
        pass

    with pytest.raises((ValueError, TypeError), match="_owner"):
        ray.put(1, _owner=Owner.remote())


@pytest.mark.row("1.27")
def test_put_from_inside_a_task_is_readable_by_the_driver() -> None:
    @ray.remote
    def makes() -> list[Any]:
        return [ray.put("made in a task")]

    (inner,) = ray.get(makes.remote())
    assert ray.get(inner) == "made in a task"


@pytest.mark.row("1.27", "3.10")
def test_put_takes_a_copy() -> None:
    value = {"n": 1}
    ref = ray.put(value)
    value["n"] = 2
    assert ray.get(ref) == {"n": 1}


def finished(count: int) -> list[Any]:
    refs = [echo.remote(i) for i in range(count)]
    ray.get(refs)
    return refs


@pytest.mark.row("1.28", "14.2")
def test_wait_returns_no_more_than_asked_for() -> None:
    refs = finished(3)
    for count in (1, 2, 3):
        ready, rest = ray.wait(refs, num_returns=count)
        assert len(ready) == count
        assert ready == [ref for ref in refs if ref in ready]
        assert rest == [ref for ref in refs if ref not in ready]


@pytest.mark.row("1.28")
@better("Ray picks any of the ready refs when more are ready than asked for")
def test_of_many_ready_refs_the_first_ones_are_returned() -> None:
    refs = finished(3)
    assert ray.wait(refs) == ([refs[0]], refs[1:])
    assert ray.wait(refs, num_returns=2) == (refs[:2], refs[2:])


@pytest.mark.row("1.28", "14.2")
def test_both_lists_keep_input_order(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote(num_cpus=0)
    def blocked() -> None:
        gate.wait()

    pending, done = [blocked.remote() for _ in range(2)], finished(3)
    mixed = [pending[0], done[2], done[0], pending[1], done[1]]
    ready, rest = ray.wait(mixed, num_returns=3, timeout=30)
    assert ready == [done[2], done[0], done[1]]
    assert rest == pending
    ready, rest = ray.wait(mixed, num_returns=2, timeout=30)
    assert len(ready) == 2
    assert rest == [ref for ref in mixed if ref not in ready]


@pytest.mark.row("1.28")
def test_wait_of_nothing_is_nothing() -> None:
    assert ray.wait([]) == ([], [])


@pytest.mark.row("1.28")
def test_wait_returns_what_is_ready_when_the_time_is_over(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> None:
        gate.wait()

    (done,), pending = finished(1), blocked.remote()
    began = time.monotonic()
    assert ray.wait([pending, done], num_returns=2, timeout=0.2) == ([done], [pending])
    assert 0.1 < time.monotonic() - began < 5
    assert ray.wait([pending], timeout=0) == ([], [pending])


@pytest.mark.row("1.28")
def test_wait_without_timeout_lasts_until_one_is_ready(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> None:
        gate.wait()

    ref = blocked.remote()
    threading.Timer(0.2, gate.open).start()
    assert ray.wait([ref]) == ([ref], [])


@pytest.mark.row("1.28")
def test_wait_loop_consumes_every_ref_exactly_once() -> None:
    refs = [echo.remote(i) for i in range(30)]
    remaining, seen = list(refs), []
    while remaining:
        ready, remaining = ray.wait(remaining)
        seen += ray.get(ready)
    assert sorted(seen) == list(range(30))


@pytest.mark.row("1.28")
def test_refs_and_generators_may_be_mixed(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def items() -> Any:
        yield "first"
        gate.wait()
        yield "second"

    generator, ref = items.remote(), ray.put(1)
    ready, rest = ray.wait([ref, generator], num_returns=2, timeout=30)
    assert (ready, rest) == ([ref, generator], [])
    assert ray.get(next(generator)) == "first"
    ready, rest = ray.wait([generator, ref], num_returns=2, timeout=0.1)
    assert (ready, rest) == ([ref], [generator])
    gate.open()
    assert ray.get(next(generator)) == "second"


@pytest.mark.row("1.29")
@pytest.mark.parametrize(
    "make", [lambda ref: ref, lambda ref: (ref,), lambda ref: {ref}, lambda ref: [1], lambda ref: [[ref]]]
)
def test_anything_but_a_list_of_refs_is_a_type_error(make: Any) -> None:
    with pytest.raises(TypeError):
        ray.wait(make(ray.put(1)))


@pytest.mark.row("1.29")
def test_duplicates_are_refused() -> None:
    ref = ray.put(1)
    with pytest.raises(ValueError, match="unique|duplicate"):
        ray.wait([ref, ref])


@pytest.mark.row("1.29")
@pytest.mark.parametrize("options", [{"num_returns": 0}, {"num_returns": -1}, {"num_returns": 3}, {"timeout": -1}])
def test_impossible_counts_and_times_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="num_returns|number|timeout"):
        ray.wait([ray.put(1), ray.put(2)], **options)


@pytest.mark.row("1.29")
def test_wait_options_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        ray.wait([ray.put(1)], 1)


@pytest.mark.row("1.30")
@pytest.mark.parametrize("fetch_local", [True, False])
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_local_objects_are_ready_with_and_without_fetching(fetch_local: bool, size: int) -> None:
    refs = [ray.put(b"x" * size), echo.remote(b"y" * size)]
    assert ray.wait(refs, num_returns=2, timeout=30, fetch_local=fetch_local) == (refs, [])


@pytest.mark.row("1.31", "14.2")
def test_an_object_that_holds_an_error_is_ready() -> None:
    @ray.remote
    def fails() -> None:
        raise RuntimeError("boom")

    ref = fails.remote()
    assert ray.wait([ref], timeout=30) == ([ref], [])
    with pytest.raises(RuntimeError, match="boom"):
        ray.get(ref)


@pytest.mark.row("1.31")
def test_a_call_on_a_dead_actor_is_ready() -> None:
    @ray.remote
    class Mortal:
        def ping(self) -> str:
            return "pong"

    actor = Mortal.remote()
    ray.get(actor.ping.remote())
    ray.kill(actor)
    error_after_death(actor.ping)
    ref = actor.ping.remote()
    assert ray.wait([ref], timeout=30) == ([ref], [])
    with pytest.raises(exceptions.RayActorError):
        ray.get(ref)


@pytest.mark.row("1.28")
def test_wait_inside_a_task() -> None:
    @ray.remote
    def waits() -> int:
        refs = [echo.remote(i) for i in range(4)]
        ready, rest = ray.wait(refs, num_returns=4, timeout=30)
        return len(ready) - len(rest)

    assert ray.get(waits.remote()) == 4
