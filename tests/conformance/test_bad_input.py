"""Hostile and clumsy input gets a typed error, and the session serves on (row S30: kinds 3, 7, 8, 9 and 11; the
others have files of their own: unpicklable things and errors in test_objects_*, options and resources in
test_options_*, frames in tests/fault).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from engine import better, exceptions, ray

pytestmark = [
    better("Ray is slow or silent at some of these"),
    pytest.mark.usefixtures("cluster"),
    pytest.mark.row("S30"),
]


@ray.remote
def echo(value: Any) -> Any:
    """Return the argument."""
    return value


@pytest.fixture(autouse=True)
def _serves_on() -> Iterator[None]:
    yield
    assert ray.get(echo.remote("alive"), timeout=20) == "alive"


def test_ten_thousand_arguments() -> None:
    @ray.remote
    def count(*args: int) -> int:
        return len(args)

    assert ray.get(count.remote(*range(10_000)), timeout=20) == 10_000
    assert ray.get(count.remote(*[ray.put(number) for number in range(1_000)]), timeout=20) == 1_000


def test_ten_thousand_returns() -> None:
    @ray.remote(num_returns=10_000)
    def many() -> Any:
        return range(10_000)

    refs = many.remote()
    assert ray.get(refs[-1], timeout=20) == 9_999


@pytest.mark.parametrize("name", ["x" * 10_000, "with\nnewline", "nul\x00inside", "ünïcödé ☃", "../../etc/passwd"])
def test_strange_actor_names_work_or_are_refused(name: str) -> None:
    @ray.remote
    class Named:
        def ping(self) -> str:
            return "pong"

    try:
        actor = Named.options(name=name).remote()
    except (ValueError, TypeError):
        return
    assert ray.get(ray.get_actor(name).ping.remote(), timeout=20) == "pong"
    ray.kill(actor)


def test_a_forged_reference_is_not_waited_for_in_vain() -> None:
    forged = ray.ObjectRef(os.urandom(28))
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(forged, timeout=0.2)
    assert ray.wait([forged], timeout=0.1) == ([], [forged])


def test_a_thread_of_a_task_may_use_the_api() -> None:
    @ray.remote
    def threaded() -> int:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(ray.get(echo.remote(7))))
        thread.start()
        thread.join(20)
        return found[0]

    assert ray.get(threaded.remote(), timeout=30) == 7


def test_a_fork_inside_a_task_does_not_disturb_the_worker() -> None:
    @ray.remote
    def forks() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert ray.get(forks.remote(), timeout=20) == 3


def test_a_system_exit_in_a_constructor_is_a_dead_actor() -> None:
    @ray.remote
    class Leaves:
        def __init__(self) -> None:
            raise SystemExit(3)

        def ping(self) -> None: ...

    with pytest.raises(exceptions.RayActorError):
        ray.get(Leaves.remote().ping.remote(), timeout=20)
