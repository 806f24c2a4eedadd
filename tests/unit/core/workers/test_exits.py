"""Five words for how a worker ended."""

from __future__ import annotations

import pytest

from linckia.core.workers.exits import ExitType, exit_type


@pytest.mark.row("8.24")
@pytest.mark.parametrize(
    ("announced", "killed_for", "code", "verdict"),
    [
        (None, "", None, "SYSTEM_ERROR"),
        (None, "", 1, "SYSTEM_ERROR"),
        (None, "", 0, "INTENDED_USER_EXIT"),
        (None, "its job ended", None, "INTENDED_SYSTEM_EXIT"),
        (ExitType.INTENDED_SYSTEM_EXIT, "idle", 0, "INTENDED_SYSTEM_EXIT"),
        (ExitType.INTENDED_USER_EXIT, "", 0, "INTENDED_USER_EXIT"),
        (ExitType.INTENDED_USER_EXIT, "", None, "SYSTEM_ERROR"),  # given back by its owner, who saw it crash first
        (ExitType.INTENDED_USER_EXIT, "exit_actor() was called", None, "INTENDED_USER_EXIT"),
        (ExitType.USER_ERROR, "its actor's constructor raised", None, "USER_ERROR"),
        (ExitType.NODE_OUT_OF_MEMORY, "the node is short of memory", None, "NODE_OUT_OF_MEMORY"),
    ],
)
def test_the_verdict(announced: ExitType | None, killed_for: str, code: int | None, verdict: str) -> None:
    assert exit_type(announced, killed_for=killed_for, code=code).value == verdict
