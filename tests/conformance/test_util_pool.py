"""`multiprocessing.Pool` on a cluster: what the standard pool promises, and what it does when things fail."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import IS_LINCKIA, better, exceptions, module, ray, settings
from gates import Channel, Gate

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.row("11.3")]
pools: Any = module("util.multiprocessing")
Pool: Any = pools.Pool
NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    pool = Pool(2)
    yield pool
    pool.terminate()
    pool.join()


@pytest.fixture
def pool(cluster: object, shared: Any) -> Any:
    return shared


def square(value: int) -> int:
    return value * value


def power(base: int, exponent: int = 2) -> int:
    return int(base**exponent)


def fail_on_three(value: int) -> int:
    if value == 3:
        raise ValueError("three")
    return value


def after(argument: tuple[Gate, Any]) -> Any:
    assert argument[0].wait()
    return argument[1]


def exit_process(value: int) -> None:
    os._exit(value)


def test_names_of_the_module() -> None:
    assert pools.TimeoutError is multiprocessing.TimeoutError
    assert module("util.multiprocessing.pool").Pool is Pool


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
def test_map(pool: Any, count: int, chunksize: int | None) -> None:
    assert pool.map(square, range(count), chunksize) == [n * n for n in range(count)]


def test_map_takes_any_iterable(pool: Any) -> None:
    assert pool.map(square, (n for n in range(5))) == [0, 1, 4, 9, 16]
    with pytest.raises(TypeError, match="iterable"):
        pool.map(square, 5)


def test_starmap(pool: Any) -> None:
    assert pool.starmap(power, [(2, 3), (3,), [4, 1]]) == [8, 9, 4]
    assert pool.starmap_async(power, [(2, 3)]).get() == [8]


def test_apply(pool: Any) -> None:
    assert pool.apply(power, (3,), {"exponent": 3}) == 27
    assert pool.apply(power, [5]) == 25
    assert pool.apply_async(power, (2,)).get(timeout=60) == 4
    with pytest.raises(TypeError, match="base"):
        pool.apply(power)


def test_lambdas_and_closures(pool: Any) -> None:
    offset = 10
    assert pool.map(lambda n: n + offset, [1, 2]) == [11, 12]


def test_work_is_done_by_other_processes(pool: Any) -> None:
    pids = pool.map(lambda _: os.getpid(), range(8), chunksize=1)
    assert os.getpid() not in pids


def test_all_workers_take_part(new_gate: NewGate, new_channel: NewChannel) -> None:
    gate, channel = new_gate(), new_channel()

    def announce(place: int) -> int:
        channel.send(os.getpid())
        assert gate.wait()
        return place

    with Pool(2) as pair:
        result = pair.map_async(announce, range(4), chunksize=1)
        assert len(set(channel.receive_many(2))) == 2
        gate.open()
        assert result.get(timeout=60) == [0, 1, 2, 3]


def test_errors_keep_their_class(pool: Any) -> None:
    for call in (
        lambda: pool.map(fail_on_three, range(10)),
        lambda: pool.apply(fail_on_three, (3,)),
        lambda: pool.starmap(fail_on_three, [(3,)]),
    ):
        with pytest.raises(ValueError, match="three") as caught:
            call()
        assert type(caught.value) is ValueError


@better("Ray shows nothing of the worker's frames")
def test_errors_show_where_they_happened(pool: Any) -> None:
    with pytest.raises(ValueError, match="three") as caught:
        pool.map(fail_on_three, range(10))
    assert "in fail_on_three" in str(caught.value.__cause__)


def test_the_first_failing_item_wins(pool: Any) -> None:
    def fail(n: int) -> None:
        raise ValueError(f"item {n}")

    with pytest.raises(ValueError, match="item 0"):
        pool.map(fail, range(6), chunksize=1)


class Unsendable(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.two = two


@better("Ray returns an error about the exception's class")
def test_an_error_that_cannot_be_sent_keeps_its_text(pool: Any) -> None:
    def fail(_: int) -> None:
        raise Unsendable("what happened", "more")

    with pytest.raises(RuntimeError, match="Unsendable: what happened"):
        pool.map(fail, [1])
    assert pool.map(square, [2]) == [4]


def test_async_result(pool: Any, new_gate: NewGate) -> None:
    gate = new_gate()
    result = pool.apply_async(after, ((gate, "value"),))
    assert not result.ready()
    with pytest.raises(ValueError, match="ready|not there"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.05)
    assert result.wait(0.05) is None
    assert not result.ready()
    gate.open()
    assert result.get(timeout=60) == "value"
    assert result.ready()
    assert result.successful()


def test_an_unsuccessful_result(pool: Any) -> None:
    result = pool.apply_async(fail_on_three, (3,))
    result.wait(60)
    assert result.ready()
    assert not result.successful()


def test_callbacks(pool: Any) -> None:
    seen: list[Any] = []
    arrived = threading.Event()

    def note(value: Any) -> None:
        seen.append(value)
        arrived.set()

    def called_with() -> Any:
        assert arrived.wait(60)
        arrived.clear()
        return seen.pop()

    pool.apply_async(square, (3,), callback=note)
    assert called_with() == 9
    pool.map_async(square, range(3), callback=note).get(60)
    assert called_with() == [0, 1, 4]
    pool.map_async(square, [], callback=note).get(60)
    assert called_with() == []
    pool.starmap_async(power, [(2, 2)], callback=note)
    assert called_with() == [4]
    pool.map_async(fail_on_three, range(5), callback=seen.append, error_callback=note)
    error = called_with()
    assert "three" in str(error)
    assert seen == []
    if IS_LINCKIA:
        assert type(error) is ValueError


@better("Ray runs the callback some time after get() returns; the standard pool before")
def test_callbacks_run_before_get_returns(pool: Any) -> None:
    seen: list[int] = []
    pool.apply_async(square, (3,), callback=seen.append).get(60)
    assert seen == [9]


@better("Ray has no way to hear of it")
def test_a_failing_callback_is_shown_and_harms_nothing(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_type))
    assert pool.apply_async(square, (3,), callback=lambda _: 1 / 0).get(60) == 9
    assert shown == [ZeroDivisionError]
    assert pool.map(square, [2]) == [4]


@pytest.mark.parametrize("chunksize", [1, 2, 10])
def test_imap(pool: Any, chunksize: int) -> None:
    assert list(pool.imap(square, range(7), chunksize)) == [0, 1, 4, 9, 16, 25, 36]
    assert list(pool.imap(square, [])) == []
    assert sorted(pool.imap_unordered(square, range(7), chunksize)) == [0, 1, 4, 9, 16, 25, 36]


def test_imap_orders(pool: Any, new_gate: NewGate) -> None:
    gate, open_gate = new_gate(), new_gate()
    open_gate.open()
    work = [(gate, "slow"), (open_gate, "fast")]
    unordered = pool.imap_unordered(after, work)
    assert unordered.next(timeout=60) == "fast"
    ordered = pool.imap(after, work)
    with pytest.raises(multiprocessing.TimeoutError):
        ordered.next(timeout=0.05)
    gate.open()
    assert list(ordered) == ["slow", "fast"]
    assert list(unordered) == ["slow"]


def test_imap_reads_its_input_as_it_goes(pool: Any) -> None:
    taken = itertools.count()
    results = pool.imap(square, taken)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert next(taken) < 20


@better("Ray returns the exception as if it were the value")
def test_an_error_in_imap_is_raised_in_its_place(pool: Any) -> None:
    results = pool.imap(fail_on_three, range(5), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert list(results) == [4]


def test_an_error_of_the_input_is_raised(pool: Any) -> None:
    def two_and_an_error() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("input")

    with pytest.raises(KeyError, match="input"):
        list(pool.imap(square, two_and_an_error()))
    with pytest.raises(KeyError, match="input"):
        pool.map(square, two_and_an_error())


@better("Ray loses the results before the error")
def test_results_before_an_error_of_the_input_are_kept(pool: Any) -> None:
    def two_and_an_error() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("input")

    results = pool.imap(square, two_and_an_error(), 10)
    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(KeyError, match="input"):
        next(results)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_chunksize_is_checked(pool: Any, chunksize: int) -> None:
    with pytest.raises((ValueError, AssertionError, ZeroDivisionError)):
        list(pool.map(square, [1], chunksize))
    if IS_LINCKIA:
        with pytest.raises(ValueError, match="chunksize"):
            pool.imap(square, [1], chunksize)


@pytest.mark.parametrize("processes", [0, -1, 1000])
def test_the_number_of_processes_is_checked(processes: int) -> None:
    with pytest.raises(ValueError, match=str(processes) if IS_LINCKIA else ""):
        Pool(processes)


def test_wrong_types_are_refused() -> None:
    with pytest.raises(TypeError):
        Pool("2")
    with pytest.raises(TypeError):
        Pool(1, ray_remote_args=5)


def test_processes_default_to_the_cpus_and_take_none_of_them() -> None:
    @ray.remote(num_cpus=2)
    def needs_all_cpus() -> str:
        return "ran"

    with Pool() as pair:
        assert len(set(pair.map(lambda _: os.getpid(), range(64), chunksize=1))) <= 2
        assert ray.get(needs_all_cpus.remote(), timeout=60) == "ran"


def test_initializer() -> None:
    def set_variable(value: str) -> None:
        os.environ["POOL_TEST"] = value

    with Pool(2, set_variable, ("set",)) as pair:
        assert pair.map(lambda _: os.environ["POOL_TEST"], range(4)) == ["set"] * 4


def test_a_failing_initializer_fails_the_pool() -> None:
    def fail() -> None:
        raise ValueError("not today")

    with pytest.raises(exceptions.RayActorError, match="not today"):
        Pool(1, fail)


def test_maxtasksperchild_renews_the_worker() -> None:
    with Pool(1, maxtasksperchild=2) as pool:
        first, second, third = (pool.apply(os.getpid) for _ in range(3))
        assert first == second != third


def test_after_close_nothing_is_taken_and_everything_finishes(new_gate: NewGate) -> None:
    gate = new_gate()
    pool = Pool(1)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    result = pool.map_async(after, [(gate, 1), (gate, 2)], chunksize=1)
    pool.close()
    pool.close()
    for call in (
        lambda: pool.map(square, [1]),
        lambda: pool.apply_async(square, (1,)),
        lambda: pool.imap(square, [1]),
        lambda: pool.starmap(power, [(1,)]),
    ):
        with pytest.raises(ValueError, match="not running"):
            call()
    gate.open()
    pool.join()
    assert result.get(timeout=0 if IS_LINCKIA else 60) == [1, 2]


@better("Ray forgets the chunks that were not submitted yet")
def test_close_lets_imap_finish() -> None:
    pool = Pool(1)
    results = pool.imap(square, range(20))
    pool.close()
    pool.join()
    assert list(results) == [n * n for n in range(20)]


def test_terminate_fails_what_is_not_there(new_gate: NewGate) -> None:
    gate = new_gate()
    pool = Pool(1)
    result = pool.map_async(after, [(gate, 1), (gate, 2)], chunksize=1)
    pool.terminate()
    with pytest.raises(exceptions.RayError):
        result.get(timeout=60)
    pool.join()


@better("Ray waits for ever")
def test_terminate_ends_a_running_imap(new_gate: NewGate) -> None:
    gate = new_gate()
    pool = Pool(1)
    results = pool.imap(after, ((gate, n) for n in range(10)))
    pool.terminate()
    for _ in range(10):
        with pytest.raises(exceptions.RayError):
            results.next(timeout=60)
    with pytest.raises(StopIteration):
        results.next(timeout=60)
    pool.join()


def test_a_with_block_ends_the_pool() -> None:
    with Pool(1) as pool:
        assert pool.map(square, [3]) == [9]
    with pytest.raises(ValueError, match="not running"):
        pool.map(square, [3])


@better("in Ray the pool is broken for good")
def test_a_worker_that_dies_is_replaced() -> None:
    with Pool(1) as pool:
        result = pool.map_async(exit_process, [1])
        queued = pool.apply_async(square, (2,))
        with pytest.raises(exceptions.ActorDiedError):
            result.get(timeout=60)
        assert queued.get(timeout=60) == 4
        with pytest.raises(exceptions.ActorDiedError):
            pool.apply(sys.exit, (1,))
        assert pool.map(square, range(3)) == [0, 1, 4]


@better("Ray fails in its own thread")
def test_arguments_that_cannot_be_sent_fail_their_own_call(pool: Any) -> None:
    with pytest.raises(TypeError, match=r"lock"):
        pool.apply(str, (threading.Lock(),))
    with pytest.raises(TypeError, match=r"lock"):
        pool.apply(threading.Lock)
    assert pool.map(square, [2]) == [4]


@better("Ray pickles half of it")
def test_a_pool_cannot_be_pickled(pool: Any) -> None:
    with pytest.raises(NotImplementedError, match="between processes"):
        pickle.dumps(pool)


@better("Ray hangs when the pool's workers and the tasks share the CPUs")
def test_remote_functions_are_called_as_tasks(pool: Any) -> None:
    @ray.remote
    def triple(value: int) -> int:
        return value * 3

    assert pool.map(triple, range(3)) == [0, 3, 6]
    assert pool.apply(triple, (5,)) == 15


def test_a_pool_starts_the_cluster_it_needs(run_script: Any) -> None:
    # Its own temporary directory: no other cluster of this machine may be found. Short, for the sockets in it.
    with tempfile.TemporaryDirectory(prefix="pool", ignore_cleanup_errors=True) as folder:
        _run_pool_script(run_script, folder)


def _run_pool_script(run_script: Any, folder: str) -> None:
    run_script(
        f"""
        import ray
        from {ray.__name__}.util.multiprocessing import Pool
        with Pool(2) as pool:
            assert pool.map(abs, [-1, 2]) == [1, 2]
        assert ray.cluster_resources()["CPU"] == 2
        ray.shutdown()
        """,
        env=settings(TMPDIR=folder),
    ).ok()
