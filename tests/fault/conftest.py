"""A cluster of its own for each fault test, and what must be true after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import linckia


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two CPUs; afterwards nothing is left of the session."""
    context = linckia.init(address="local", num_cpus=2, log_to_driver=False, object_store_memory=100 * 2**20)
    try:
        yield context
    finally:
        linckia.shutdown()
        assert not Path(context.address_info["session_dir"]).exists()
