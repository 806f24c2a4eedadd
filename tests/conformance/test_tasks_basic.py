"""Tasks: submission, dependencies, several return values, what a worker process looks like from inside."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from engine import exceptions, ray
from gates import Channel, Gate

pytestmark = pytest.mark.usefixtures("cluster")

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


# ------------------------------------------------------------------------------------------------ submission


@pytest.mark.row("4.3")
def test_submission_returns_before_anything_runs(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, ran = new_gate(), new_channel()

    @ray.remote
    def hold() -> None:
        gate.wait()

    @ray.remote
    def report(number: int) -> int:
        ran.send(number)
        return number

    holders = [hold.remote() for _ in range(2)]
    refs = [report.remote(number) for number in range(2000)]
    assert ray.wait(refs, timeout=0)[0] == []
    assert ran.received() == []
    gate.open()
    ray.get(holders)
    assert ray.get(refs) == list(range(2000))


@pytest.mark.row("4.3", "4.17")
def test_tasks_one_after_another_reuse_the_same_workers() -> None:
    @ray.remote
    def pid() -> int:
        return os.getpid()

    assert len({ray.get(pid.remote()) for _ in range(20)}) <= 2


@pytest.mark.row("4.3")
def test_a_task_that_waits_for_its_argument_holds_no_cpu(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def slow() -> int:
        gate.wait()
        return 1

    @ray.remote
    def add(left: int, right: int = 0) -> int:
        return left + right

    unready = slow.remote()
    waiting = [add.remote(unready, number) for number in range(5)] + [add.remote(1, right=unready)]
    assert ray.get(add.remote(20, 3)) == 23
    assert ray.wait(waiting, timeout=0)[0] == []
    gate.open()
    assert ray.get(waiting) == [1, 2, 3, 4, 5, 2]


@pytest.mark.row("4.4")
def test_a_full_queue_of_one_shape_does_not_hold_up_another_shape(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def hold() -> None:
        gate.wait()

    @ray.remote(num_cpus=0)
    def free() -> str:
        return "ran"

    holders = [hold.remote() for _ in range(6)]
    assert ray.get(free.remote(), timeout=30) == "ran"
    assert ray.wait(holders, timeout=0)[0] == []
    gate.open()
    ray.get(holders)


@pytest.mark.row("4.3")
def test_a_long_task_does_not_hold_short_ones_hostage(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def maybe_hold(number: int) -> int:
        if number == 0:
            gate.wait()
        return number

    refs = [maybe_hold.remote(number) for number in range(200)]
    assert ray.get(refs[1:], timeout=30) == list(range(1, 200))
    gate.open()
    assert ray.get(refs[0]) == 0


@pytest.mark.row("4.3")
def test_a_task_found_long_only_later_gives_back_those_queued_behind_it(new_gate: NewGate) -> None:
    """The first calls teach the submitter that this function is quick; then one call is not."""
    gate = new_gate()

    @ray.remote
    def quick_until(number: int) -> int:
        if number == 300:
            gate.wait()
        return number

    refs = [quick_until.remote(number) for number in range(600)]
    others = refs[:300] + refs[301:]
    assert len(ray.get(others, timeout=40)) == 599
    gate.open()
    assert ray.get(refs[300]) == 300


@pytest.mark.row("4.6")
@pytest.mark.parametrize("demand", [{"num_cpus": 64}, {"resources": {"unobtainium": 1}}])
def test_infeasible_work_waits_and_is_not_an_error(demand: dict[str, Any]) -> None:
    @ray.remote
    def f() -> int:
        return 1

    infeasible = f.options(**demand).remote()
    assert ray.get(f.remote()) == 1
    assert ray.wait([infeasible], timeout=0.3) == ([], [infeasible])
    assert ray.get([f.remote() for _ in range(4)]) == [1] * 4, "infeasible work blocks nobody"
    ray.cancel(infeasible)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(infeasible)


@pytest.mark.row("4.3")
def test_threads_submit_and_get_side_by_side() -> None:
    @ray.remote
    def square(number: int) -> int:
        return number * number

    @ray.remote
    class Adder:
        def add(self, left: int, right: int) -> int:
            return left + right

    adder = Adder.remote()
    started = threading.Barrier(8)

    def work(thread: int) -> list[int]:
        started.wait()
        refs = [square.remote(thread * 100 + number) for number in range(25)]
        sums = [adder.add.remote(thread, number) for number in range(25)]
        one_by_one = [ray.get(square.remote(number)) for number in range(5)]
        return [*ray.get(refs), *ray.get(sums), *one_by_one]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    for thread, result in enumerate(results):
        squares = [(thread * 100 + number) ** 2 for number in range(25)]
        assert result == [*squares, *[thread + number for number in range(25)], 0, 1, 4, 9, 16]


@pytest.mark.row("4.3")
def test_a_thread_gets_its_result_while_the_main_thread_waits_for_another(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def hold() -> str:
        gate.wait()
        return "held"

    @ray.remote
    def quick() -> str:
        return "quick"

    def open_after_quick() -> str:
        answer: str = ray.get(quick.remote())
        gate.open()
        return answer

    with ThreadPoolExecutor(1) as pool:
        held = hold.remote()
        other = pool.submit(open_after_quick)
        assert ray.get(held, timeout=40) == "held"
        assert other.result() == "quick"


@pytest.mark.row("4.3")
def test_threads_inside_a_task_submit_too() -> None:
    @ray.remote
    def double(number: int) -> int:
        return number * 2

    @ray.remote
    def fan_out() -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            refs = list(pool.map(lambda number: double.remote(number), range(8)))
        return ray.get(refs)  # type: ignore[no-any-return]

    assert ray.get(fan_out.remote()) == [number * 2 for number in range(8)]


@pytest.mark.row("4.15")
def test_tasks_submit_tasks_and_hand_on_their_refs() -> None:
    @ray.remote
    def leaf(number: int) -> int:
        return number + 1

    @ray.remote
    def parent(number: int) -> list[Any]:
        return [leaf.remote(number)]

    @ray.remote
    def make_adder() -> Any:
        @ray.remote
        class Adder:
            def add(self, number: int) -> int:
                return number + 2

        return ray.get(Adder.remote().add.remote(1))

    (inner,) = ray.get(parent.remote(1))
    assert ray.get(inner) == 2
    assert ray.get(make_adder.remote()) == 3


# ---------------------------------------------------------------------------------------------- dependencies


@pytest.mark.row("4.5", "3.28")
def test_a_failed_argument_fails_the_consumer_without_running_it(new_channel: NewChannel) -> None:
    ran = new_channel()

    @ray.remote
    def fail() -> int:
        raise KeyError("the original")

    @ray.remote(max_retries=5, retry_exceptions=True)
    def consume(value: int, *, extra: int = 0) -> int:
        ran.send("consumed")
        return value + extra

    first = consume.remote(fail.remote())
    third = consume.remote(consume.remote(first))
    by_keyword = consume.remote(1, extra=fail.remote())
    for ref in (first, third, by_keyword):
        with pytest.raises(KeyError) as caught:
            ray.get(ref)
        assert isinstance(caught.value, exceptions.RayTaskError)
        assert isinstance(caught.value.cause, KeyError)
        assert caught.value.cause.args == ("the original",)
    assert ran.received() == []


@pytest.mark.row("4.5", "3.28")
def test_a_crashed_argument_fails_the_consumer_without_running_it(new_channel: NewChannel) -> None:
    ran = new_channel()

    @ray.remote(max_retries=0)
    def crash() -> int:
        os._exit(1)

    @ray.remote
    def consume(value: int) -> int:
        ran.send("consumed")
        return value

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(consume.remote(crash.remote()))
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(consume.remote(consume.remote(crash.remote())))
    assert ran.received() == []


@pytest.mark.row("4.5")
def test_the_first_failed_argument_decides_even_if_another_never_gets_ready(new_gate: NewGate) -> None:
    gate = new_gate()

    @ray.remote
    def never() -> None:
        gate.wait()

    @ray.remote
    def fail() -> None:
        raise ValueError("early")

    @ray.remote
    def both(left: None, right: None) -> None: ...

    failed = fail.remote()
    ray.wait([failed])
    ref = both.remote(never.remote(), failed)
    gate.open()
    with pytest.raises(ValueError, match="early"):
        ray.get(ref)


@pytest.mark.row("3.5", "3.6")
def test_top_level_refs_become_values_and_nested_ones_stay_refs() -> None:
    @ray.remote
    def one() -> int:
        return 1

    @ray.remote
    def look(plain: object, nested: list[Any], *, named: object, mapping: dict[str, Any]) -> list[object]:
        return [plain, isinstance(nested[0], ray.ObjectRef), named, isinstance(mapping["ref"], ray.ObjectRef)]

    ref = one.remote()
    assert ray.get(look.remote(ref, [ref], named=ref, mapping={"ref": ref})) == [1, True, 1, True]


# ------------------------------------------------------------------------------------- several return values


@pytest.mark.row("4.31")
@pytest.mark.parametrize("container", [list, tuple])
def test_one_ref_per_return_value(container: Callable[[list[int]], Any]) -> None:
    @ray.remote(num_returns=3)
    def three() -> Any:
        return container([1, 2, 3])

    refs = three.remote()
    assert isinstance(refs, list)
    assert ray.get(refs) == [1, 2, 3]
    assert len(set(refs)) == 3


@pytest.mark.row("4.31")
@pytest.mark.parametrize("given", [(1, 2), (1, 2, 3, 4), ()])
def test_a_wrong_number_of_return_values_is_a_value_error_in_each_ref(given: tuple[int, ...]) -> None:
    @ray.remote(num_returns=3)
    def wrong() -> tuple[int, ...]:
        return given

    for ref in wrong.remote():
        with pytest.raises(ValueError, match="3") as caught:
            ray.get(ref)
        assert isinstance(caught.value, exceptions.RayTaskError)


@pytest.mark.row("4.31")
def test_a_single_object_where_several_are_promised_is_an_error() -> None:
    @ray.remote(num_returns=2)
    def wrong() -> int:
        return 7

    for ref in wrong.remote():
        with pytest.raises((TypeError, ValueError)):
            ray.get(ref)


@pytest.mark.row("4.31", "2.19")
def test_zero_returns_give_none_and_the_task_still_runs(new_channel: NewChannel) -> None:
    ran = new_channel()

    @ray.remote(num_returns=0)
    def report() -> None:
        ran.send("ran")

    assert report.remote() is None
    assert ran.receive() == "ran"


@pytest.mark.row("4.31", "2.19")
def test_num_returns_may_differ_from_call_to_call() -> None:
    @ray.remote
    def pair() -> tuple[int, int]:
        return 1, 2

    assert ray.get(pair.remote()) == (1, 2)
    assert ray.get(pair.options(num_returns=2).remote()) == [1, 2]
    assert ray.get(pair.remote()) == (1, 2)


@pytest.mark.row("4.31")
def test_an_error_reaches_every_return_value() -> None:
    @ray.remote(num_returns=2)
    def fail() -> None:
        raise ValueError("both")

    for ref in fail.remote():
        with pytest.raises(ValueError, match="both"):
            ray.get(ref)


@pytest.mark.row("4.31")
def test_a_generator_with_fixed_num_returns_drops_surplus_and_fails_only_what_is_missing() -> None:
    @ray.remote(num_returns=3)
    def yields(count: int) -> Any:
        yield from range(count)

    assert ray.get(yields.remote(5)) == [0, 1, 2]
    first, second, third = yields.remote(2)
    assert ray.get([first, second]) == [0, 1]
    with pytest.raises(ValueError, match="num_returns|return"):
        ray.get(third)


# -------------------------------------------------------------------------------------- inside the worker


@pytest.mark.row("4.32")
def test_the_process_title_names_what_runs() -> None:
    @ray.remote
    def title_of_task() -> str:
        with open("/proc/self/cmdline") as cmdline:
            return cmdline.read().rstrip("\0 ")

    @ray.remote
    class Titled:
        def title(self) -> str:
            with open("/proc/self/cmdline") as cmdline:
                return cmdline.read().rstrip("\0 ")

        def pid(self) -> int:
            return os.getpid()

    assert re.fullmatch(r"\w+::.*title_of_task", ray.get(title_of_task.remote()))
    assert re.fullmatch(r"\w+::renamed", ray.get(title_of_task.options(name="renamed").remote()))
    assert re.fullmatch(r"\w+::.*Titled\.title", ray.get(Titled.remote().title.remote()))


@pytest.mark.row("4.32")
def test_omp_threads_follow_the_cpus_of_the_task() -> None:
    @ray.remote
    def threads() -> str | None:
        return os.environ.get("OMP_NUM_THREADS")

    @ray.remote
    class Actor:
        def threads(self) -> str | None:
            return os.environ.get("OMP_NUM_THREADS")

    asked = {0: "1", 0.5: "1", 1: "1", 2: "2"}
    for cpus, expected in asked.items():
        assert ray.get(threads.options(num_cpus=cpus).remote()) == expected, cpus
    assert ray.get(Actor.remote().threads.remote()) == "1"
    assert ray.get(Actor.options(num_cpus=2).remote().threads.remote()) == "2"


@pytest.mark.row("4.32")
def test_a_task_sees_arguments_of_its_runtime_context() -> None:
    @ray.remote
    def where() -> tuple[str, str, str, bool]:
        context = ray.get_runtime_context()
        return (
            context.get_job_id(),
            context.get_node_id(),
            context.get_task_id(),
            threading.main_thread() is (threading.current_thread()),
        )

    job_id, node_id, task_id, on_main_thread = ray.get(where.remote())
    here = ray.get_runtime_context()
    assert (job_id, node_id) == (here.get_job_id(), here.get_node_id())
    assert len(task_id) == 48
    assert on_main_thread


@pytest.mark.row("4.32")
def test_standard_output_of_a_task_never_breaks_it() -> None:
    @ray.remote
    def chatty() -> int:
        print("x" * 100_000)
        print("to stderr", file=sys.stderr)
        os.write(1, b"raw\n")
        return 5

    assert ray.get(chatty.remote()) == 5
