"""Fixtures of the conformance suite: clusters, driver scripts, gates and a deadline for every test.

All test files of this folder get them; none of them decides anything about the engine (see engine.py).

`cluster` is shared by a module, because real Ray takes 7 s to start; `fresh` gives a test the right to call `init`
itself. Both may be used in one module: `fresh` ends the shared cluster and the next `cluster` test starts it again.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # also under pytest's importlib mode: tests say `from engine import ray`

import drivers  # noqa: E402
import engine  # noqa: E402
import gates  # noqa: E402
from engine import ENGINE, INIT_OPTIONS, IS_LINCKIA, ray  # noqa: E402

TEST_DEADLINE_S = 60 if IS_LINCKIA else 150


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "row(*ids): rows of the behaviour list that the test shows, for instance '1.24'")


def pytest_report_header(config: pytest.Config) -> str:
    return f"conformance engine: {ENGINE} {getattr(ray, '__version__', '?')}"


def _ship_by_value(imported: Any) -> None:
    """Let workers use `imported` without finding it on sys.path, so that one missing feature does not fail all."""
    try:
        pickler = __import__(f"{ENGINE}.cloudpickle", fromlist=["cloudpickle"])
    except ImportError:
        import cloudpickle as pickler  # noqa: PLC0415 - the engine's own name for it is a row of its own
    pickler.register_pickle_by_value(imported)


_ship_by_value(gates)
_ship_by_value(engine)


@pytest.fixture(scope="module", autouse=True)
def _module_travels_by_value(request: pytest.FixtureRequest) -> None:
    """Module-level functions and exceptions of a test file behave as those of a user's `__main__` script do."""
    _ship_by_value(request.module)


@pytest.fixture(autouse=True)
def _deadline(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test hangs, also where pytest-timeout is not installed: an alarm raises in the main thread."""
    if request.config.pluginmanager.hasplugin("timeout"):
        yield
        return

    def expired(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"test still running after {TEST_DEADLINE_S} s")

    previous = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, TEST_DEADLINE_S)
    faulthandler.dump_traceback_later(TEST_DEADLINE_S + 20, exit=False)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A two-CPU cluster shared by the tests of a module; yields the context that `init` returned."""
    ray.shutdown()
    context = ray.init(**INIT_OPTIONS)
    yield context
    ray.shutdown()


@pytest.fixture(autouse=True)
def _cluster_again(request: pytest.FixtureRequest) -> None:
    """Restart the shared cluster when a `fresh` test, or a test of `shutdown`, ended it."""
    if "cluster" in request.fixturenames and not ray.is_initialized():
        ray.init(**INIT_OPTIONS)


@pytest.fixture
def fresh() -> Iterator[Callable[..., Any]]:
    """For tests that need their own cluster: nothing runs when the test begins. Yields `init` with quiet defaults."""
    ray.shutdown()

    def init(**options: Any) -> Any:
        return ray.init(**(INIT_OPTIONS | options))

    yield init
    ray.shutdown()


@pytest.fixture
def new_gate(tmp_path: Path) -> Iterator[Callable[[], gates.Gate]]:
    """Makes gates that are opened, at the latest, when the test ends."""
    made: list[gates.Gate] = []

    def make() -> gates.Gate:
        made.append(gates.Gate(tmp_path / f"gate{len(made)}"))
        return made[-1]

    yield make
    for gate in made:
        gate.open()


@pytest.fixture
def new_channel(tmp_path: Path) -> Iterator[Callable[[], gates.Channel]]:
    made: list[gates.Channel] = []

    def make() -> gates.Channel:
        made.append(gates.Channel(tmp_path / f"channel{len(made)}"))
        return made[-1]

    yield make
    for channel in made:
        channel.close()


@pytest.fixture
def private_tmp() -> Iterator[dict[str, str]]:
    with drivers.make_private_tmp() as env:
        yield env


@pytest.fixture
def run_script(tmp_path: Path) -> Iterator[drivers.ScriptRunner]:
    runner = drivers.ScriptRunner(tmp_path)
    yield runner
    runner.close()
