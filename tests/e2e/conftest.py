"""The fixture of the end-to-end tests: a private world, in which nothing may be left when the test ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from tests.e2e.world import World


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="lk-", ignore_cleanup_errors=True) as folder:
        made = World(folder)
        try:
            yield made
        finally:
            left = made.close()
        assert not left, f"the test left sessions behind: {left}"
