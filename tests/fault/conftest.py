"""A cluster of its own for each fault test, and what must be true after it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import linckia

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # also under pytest's importlib mode: tests say `from watching import until`

from programs import Programs  # noqa: E402
from watching import MARK, Leftovers  # noqa: E402


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two CPUs; afterwards nothing is left of the session."""
    context = linckia.init(address="local", num_cpus=2, log_to_driver=False, object_store_memory=100 * 2**20)
    try:
        yield context
    finally:
        linckia.shutdown()
        assert not Path(context.address_info["session_dir"]).exists()


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Any]:
    """Two CPUs for all tests of a file that leave the cluster as it was: a start for each would take most of the time.
    A file that uses it has no test that calls ``init``.
    """
    context = linckia.init(address="local", num_cpus=2, log_to_driver=False, object_store_memory=100 * 2**20)
    yield context
    linckia.shutdown()


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Leftovers]:
    """Sessions of this test live in a directory of their own, and their processes are marked."""
    with TemporaryDirectory(prefix="lk-", ignore_cleanup_errors=True) as folder:
        mark = uuid.uuid4().hex
        monkeypatch.setenv(MARK, mark)
        monkeypatch.setenv("LINCKIA_TMPDIR", folder)
        yield Leftovers(Path(folder), mark)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Driver programs in processes of their own."""
    started = Programs(tmp_path)
    yield started
    started.close()
