"""Checkpoints of long tasks on a real cluster: a retry goes on where the attempt before it was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from watching import SCALE, until

import linckia
from linckia import exceptions

pytestmark = pytest.mark.fault


@linckia.remote(max_retries=-1)
def count(steps: int, die_at: list[int], log: Path, folder: str | None = None) -> int:
    """Counts, saves each step, and dies at some of them, once each."""
    with linckia.checkpoint("count", dir=folder) as ckpt:
        done = ckpt.load(0)
        for step in range(done, steps):
            with log.open("a") as file:
                file.write(f"{step}\n")
            if step in die_at and not (log.parent / f"died-{step}").exists():
                (log.parent / f"died-{step}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            ckpt.save(step + 1)
    return steps


@pytest.mark.parametrize("shared", [False, True])
def test_a_retry_goes_on_where_the_last_attempt_was(shared_cluster: Any, tmp_path: Path, shared: bool) -> None:
    deaths = list(range(2, 2 + 3 * 2 * SCALE, 3))
    folder = str(tmp_path / "states") if shared else None
    assert linckia.get(count.remote(deaths[-1] + 3, deaths, tmp_path / "log", folder), timeout=60) == deaths[-1] + 3
    steps = [int(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(steps) == sorted([*range(deaths[-1] + 3), *deaths]), "only what was running was done twice"
    root = Path(folder or Path(shared_cluster.address_info["session_dir"]) / "checkpoints")
    until(lambda: not list(root.glob("task-*")), what="nothing is left of a task that ended well")


def test_tasks_do_not_see_each_others(shared_cluster: Any) -> None:
    @linckia.remote
    def own(number: int) -> Any:
        with linckia.checkpoint("same") as ckpt:
            found = ckpt.load("nothing")
            ckpt.save(number)
            return found, ckpt.load(), ckpt.info.number if ckpt.info is not None else None

    assert linckia.get([own.remote(number) for number in range(10)]) == [("nothing", number, 1) for number in range(10)]


def test_two_names_and_an_error_in_between(shared_cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=1, retry_exceptions=True)
    def both() -> Any:
        with linckia.checkpoint("a") as first, linckia.checkpoint("b", keep=1) as second:
            if first.load() is None:
                first.save({"x": 1})
                second.save([1])
                second.save([2])
                raise ValueError
            return first.load(), second.load(), first.info.number

    assert linckia.get(both.remote()) == ({"x": 1}, [2], 1)


def test_a_fallback_finds_what_the_task_had_saved(shared_cluster: Any) -> None:
    def best_so_far(_error: BaseException) -> Any:
        with linckia.checkpoint("best") as ckpt:
            return ckpt.load()

    @linckia.remote(max_retries=0, fallback=best_so_far)
    def search() -> Any:
        with linckia.checkpoint("best") as ckpt:
            ckpt.save("good enough")
            os.kill(os.getpid(), signal.SIGKILL)

    assert linckia.get(search.remote()) == "good enough"


def test_a_worker_that_ends_after_its_task_leaves_nothing(shared_cluster: Any) -> None:
    @linckia.remote(max_calls=1)
    def once() -> int:
        with linckia.checkpoint("x") as ckpt:
            ckpt.save(1)
        return 1

    assert linckia.get(once.remote()) == 1
    root = Path(shared_cluster.address_info["session_dir"]) / "checkpoints"
    until(lambda: not list(root.glob("task-*")))


def test_a_damaged_one_gives_way_to_the_one_before(shared_cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=1, retry_exceptions=True)
    def damaged() -> Any:
        with linckia.checkpoint("x", dir=tmp_path) as ckpt:
            found = ckpt.load()
            if found is None:
                ckpt.save("old")
                Path(ckpt.save("new").path).write_bytes(b"")
                raise ValueError
            assert ckpt.info is not None
            return found, len(ckpt.info.damaged)

    assert linckia.get(damaged.remote()) == ("old", 1)


def test_it_is_for_tasks(shared_cluster: Any) -> None:
    @linckia.remote
    class Actor:
        def use(self) -> None:
            with linckia.checkpoint("x"):
                pass

    @linckia.remote
    def late() -> None:
        linckia.checkpoint("x").save(1)

    with pytest.raises(RuntimeError, match="a driver"), linckia.checkpoint("x"):
        pass
    with pytest.raises(RuntimeError, match="CheckpointPolicy"):
        linckia.get(Actor.remote().use.remote())
    with pytest.raises(exceptions.CheckpointError, match="not open"):
        linckia.get(late.remote())
    for name in ("", "../x", "a/b", ".x", "x" * 101):
        with pytest.raises(ValueError, match="checkpoint"):
            linckia.checkpoint(name)
