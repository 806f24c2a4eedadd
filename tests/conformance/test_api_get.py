"""`get`: what it accepts, in which order it answers, how long it waits, and which error it raises first."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Any

import pytest
from engine import exceptions, ray, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


class FirstError(Exception):
    pass


class SecondError(Exception):
    pass


@pytest.mark.row("1.24")
def test_single_ref_gives_its_value() -> None:
    assert ray.get(ray.put("value")) == "value"


@pytest.mark.row("1.24")
def test_list_gives_values_in_input_order_even_when_finished_in_another(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def late() -> str:
        gate.wait()
        return "late"

    @ray.remote
    def early() -> str:
        gate.open()
        return "early"

    slow, fast = late.remote(), early.remote()
    assert ray.get(fast) == "early"
    gate.open()
    assert ray.get([slow, fast]) == ["late", "early"]


@pytest.mark.row("1.24")
def test_empty_list_gives_empty_list() -> None:
    assert ray.get([]) == []


@pytest.mark.row("1.24")
def test_duplicate_refs_are_answered_each_time() -> None:
    one, two = ray.put(1), ray.put(2)
    assert ray.get([one, two, one, one]) == [1, 2, 1, 1]


@pytest.mark.row("1.24")
def test_the_same_ref_can_be_read_again_and_again() -> None:
    @ray.remote
    def once() -> list[int]:
        return [1]

    ref = once.remote()
    assert [ray.get(ref) for _ in range(3)] == [[1]] * 3


@pytest.mark.row("1.24", "14.3")
@pytest.mark.parametrize("collection", [tuple, set, lambda refs: dict.fromkeys(refs, 0), iter])
def test_other_collections_are_refused(collection: Any) -> None:
    with pytest.raises(ValueError, match=r"(?i)list|ObjectRef"):
        ray.get(collection([ray.put(1)]))


@pytest.mark.row("1.24")
@pytest.mark.parametrize("value", [5, None, "text", object()])
def test_a_single_value_that_is_no_ref_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="(?i)ref"):
        ray.get(value)


@pytest.mark.row("1.24")
@pytest.mark.parametrize("position", [0, 1])
def test_a_list_element_that_is_no_ref_is_a_type_error(position: int) -> None:
    refs: list[object] = [ray.put(0), ray.put(1)]
    refs[position] = 1
    with pytest.raises(TypeError, match="(?i)ref"):
        ray.get(refs)


@pytest.mark.row("1.24")
def test_nested_lists_are_refused() -> None:
    with pytest.raises(TypeError, match="(?i)ref"):
        ray.get([[ray.put(1)]])


@pytest.mark.row("1.24", "14.3")
def test_an_error_that_is_already_there_ends_the_wait_for_the_rest(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> None:
        gate.wait()

    @ray.remote
    def fails() -> None:
        raise FirstError

    pending, failed = blocked.remote(), fails.remote()
    ray.wait([failed])
    with pytest.raises(FirstError):
        ray.get([pending, failed], timeout=30)
    assert not gate.is_open()


@pytest.mark.row("1.24")
def test_with_several_errors_the_lowest_index_is_raised() -> None:
    @ray.remote
    def fails(kind: type[Exception]) -> None:
        raise kind

    refs = [fails.remote(FirstError), fails.remote(SecondError)]
    ray.wait(refs, num_returns=2)
    with pytest.raises(FirstError):
        ray.get(refs)
    with pytest.raises(SecondError):
        ray.get(refs[::-1])


@pytest.mark.row("1.24")
def test_an_error_is_raised_again_at_every_get() -> None:
    @ray.remote
    def fails() -> None:
        raise FirstError("each time")

    ref = fails.remote()
    for _ in range(3):
        with pytest.raises(FirstError, match="each time"):
            ray.get(ref)


@pytest.mark.row("1.24")
def test_get_waits_for_a_chain_of_tasks() -> None:
    @ray.remote
    def increment(number: int) -> int:
        return number + 1

    ref = ray.put(0)
    for _ in range(20):
        ref = increment.remote(ref)
    assert ray.get(ref) == 20


@pytest.mark.row("1.24")
def test_timeout_is_keyword_only() -> None:
    with pytest.raises(TypeError):
        ray.get(ray.put(1), 5)


@pytest.mark.row("1.25", "3.33")
def test_expired_timeout_raises_both_kinds_of_timeout_error(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> str:
        gate.wait()
        return "done"

    ref = blocked.remote()
    began = time.monotonic()
    with pytest.raises(exceptions.GetTimeoutError) as caught:
        ray.get(ref, timeout=0.2)
    assert 0.15 < time.monotonic() - began < 5
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, exceptions.RayError)
    gate.open()
    assert ray.get(ref, timeout=30) == "done"


@pytest.mark.row("1.25")
def test_timeout_zero_on_a_pending_ref_raises_at_once(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> None:
        gate.wait()

    with pytest.raises(TimeoutError):
        ray.get(blocked.remote(), timeout=0)


@pytest.mark.row("1.25")
def test_timeout_zero_on_an_available_ref_gives_the_value() -> None:
    @ray.remote
    def quick() -> str:
        return "here"

    ref = quick.remote()
    ray.wait([ref])
    assert ray.get(ref, timeout=0) == "here"
    assert ray.get(ray.put(b"x" * 1_000_000), timeout=0) == b"x" * 1_000_000


@pytest.mark.row("1.25")
@pytest.mark.parametrize("timeout", [None, -1])
def test_none_and_minus_one_wait_without_limit(timeout: float | None, new_gate: Any, new_channel: Any) -> None:
    gate, started = new_gate(), new_channel()

    @ray.remote
    def blocked() -> int:
        started.send("running")
        gate.wait()
        return 7

    ref = blocked.remote()
    started.receive()
    threading.Timer(0.3, gate.open).start()
    assert ray.get(ref, timeout=timeout) == 7


@pytest.mark.row("1.25")
def test_fractions_of_a_second_are_seconds(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> None:
        gate.wait()

    ref = blocked.remote()
    began = time.monotonic()
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get([ref], timeout=0.05)
    assert time.monotonic() - began < 3


@pytest.mark.row("1.25")
def test_a_timed_out_list_can_be_got_later(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    def blocked() -> int:
        gate.wait()
        return 2

    refs = [ray.put(1), blocked.remote()]
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(refs, timeout=0.05)
    gate.open()
    assert ray.get(refs) == [1, 2]


@pytest.mark.row("1.26")
def test_a_generator_is_returned_unchanged() -> None:
    @ray.remote
    def items() -> Any:
        yield 1
        yield 2

    generator = items.remote()
    assert ray.get(generator) is generator
    assert [ray.get(ref) for ref in generator] == [1, 2]


@pytest.mark.row("1.26")
def test_get_from_many_threads_at_once() -> None:
    @ray.remote
    def square(number: int) -> int:
        return number * number

    refs = [square.remote(i) for i in range(40)]
    seen: dict[int, list[int]] = {}

    def read(name: int) -> None:
        seen[name] = ray.get(refs)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(seen.values()) == [[i * i for i in range(40)]] * 8


@pytest.mark.row("1.26")
def test_blocking_get_inside_an_async_actor_works_and_blocks_only_that_actor() -> None:
    @ray.remote
    def answer() -> int:
        return 42

    @ray.remote
    class Asynchronous:
        async def ask(self) -> int:
            value: int = ray.get(answer.remote())
            await asyncio.sleep(0)
            return value

    assert ray.get(Asynchronous.remote().ask.remote()) == 42


@pytest.mark.row("1.26")
def test_ctrl_c_interrupts_get_and_the_session_stays_usable(run_script: Any, new_gate: Any) -> None:
    gate = new_gate()
    script = run_script.start(
        """
        import ray
        import sys
        from gates import Gate
        gate = Gate.__new__(Gate)
        gate.__setstate__(sys.argv[1])
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

        @ray.remote
        def blocked():
            gate.wait()
            return "finished"

        ref = blocked.remote()
        try:
            print("waiting", flush=True)
            ray.get(ref)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        sys.stdin.readline()
        print(ray.get(ref), flush=True)
        """,
        gate.path,
    )
    assert script.stdout is not None
    assert script.stdin is not None
    assert script.stdout.readline() == "waiting\n"
    # The script may still be between the print and the get: both places raise KeyboardInterrupt inside the try.
    script.send_signal(signal.SIGINT)
    assert script.stdout.readline() == "interrupted\n"
    gate.open()
    script.stdin.write("go on\n")
    script.stdin.flush()
    assert script.stdout.readline() == "finished\n"
    assert script.wait(timeout=60) == 0


@pytest.mark.row("1.26")
def test_get_of_refs_made_in_another_thread() -> None:
    made: list[Any] = []
    threading.Thread(target=lambda: made.append(ray.put("from a thread"))).start()
    ref = wait_for(lambda: made and made[0])
    assert ray.get(ref) == "from a thread"
