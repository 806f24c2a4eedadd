"""Progress bars made in drivers, tasks and actors."""

from __future__ import annotations

from typing import Any

import pytest
from engine import ENGINE, better, module

pytestmark = pytest.mark.row("11.23")
tqdm_ray: Any = module("experimental.tqdm_ray")

SCRIPT = f"""
import ray
from {ENGINE}.experimental.tqdm_ray import tqdm
ray.init(address="local", num_cpus=2, include_dashboard=False)
"""


def test_the_names() -> None:
    assert callable(tqdm_ray.tqdm)
    assert callable(tqdm_ray.safe_print)
    assert hasattr(tqdm_ray.instance(), "hide_bars")
    assert hasattr(tqdm_ray.instance(), "unhide_bars")


@better("Ray draws nothing unless the tqdm package is installed")
def test_a_bar_in_the_driver(run_script: Any) -> None:
    result = run_script(
        SCRIPT
        + """
assert list(tqdm(range(5), desc="local work")) == [0, 1, 2, 3, 4]
bar = tqdm(desc="counted", total=10)
bar.update(4)
bar.set_description("described")
bar.update(6)
bar.refresh()
bar.close()
bar.close()
ray.shutdown()
"""
    ).ok()
    assert "local work" in result.stdout + result.stderr
    assert "described" in result.stdout + result.stderr
    assert "10/10" in result.stdout + result.stderr


@better("Ray draws it some time later, or not at all when the driver ends")
@pytest.mark.parametrize("where", ["task", "actor"])
def test_a_bar_in_a_worker_is_drawn_by_the_driver(run_script: Any, where: str) -> None:
    result = run_script(
        SCRIPT
        + f"""
def work():
    for _ in tqdm(range(30), desc="remote work"):
        pass
    print("printed beside it")

@ray.remote
class Actor:
    def work(self):
        work()

if {where == "task"}:
    ray.get(ray.remote(work).remote())
else:
    ray.get(Actor.remote().work.remote())
ray.shutdown()
"""
    ).ok()
    lines = [line for line in result.stderr.splitlines() if "remote work" in line]
    assert lines
    assert "30/30" in lines[-1]
    assert "100%" in lines[-1]
    assert "__linckia_tqdm__" not in result.stdout + result.stderr
    assert "pid=" not in lines[-1]


@better("Ray's bars cannot be used in a with statement")
def test_a_with_block_closes_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), tqdm_ray.tqdm(total=3, desc="in a block") as bar:
        bar.update()
        assert (bar.n, bar.total) == (1, 3)
        raise KeyError
    assert "1/3" in capsys.readouterr().err


def test_safe_print(capsys: pytest.CaptureFixture[str]) -> None:
    tqdm_ray.safe_print("one", 2, sep="-")
    assert "one-2" in capsys.readouterr().out
