"""The suite's own tools reach into tasks and scripts of the chosen engine; when these fail, nothing else means much."""

from __future__ import annotations

from typing import Any

import pytest
from engine import ENGINE, ray, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


def test_gates_hold_tasks_and_channels_hear_from_them(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()

    @ray.remote
    def held(number: int) -> int:
        channel.send(f"started {number}")
        gate.wait()
        return number

    refs = [held.remote(i) for i in range(2)]
    assert sorted(channel.receive_many(2)) == ["started 0", "started 1"]
    assert ray.wait(refs, timeout=0) == ([], refs)
    gate.open()
    assert ray.get(refs) == [0, 1]


def test_scripts_run_on_the_chosen_engine(run_script: Any) -> None:
    result = run_script(
        """
        import sys
        import ray
        print(ray.__name__, sys.argv[1])
    """,
        "argument",
    ).ok()
    assert result.stdout == f"{ENGINE} argument\n"


def test_wait_for_reports_the_last_value_it_saw() -> None:
    with pytest.raises(AssertionError, match="last value: 0"):
        wait_for(lambda: 0, timeout_s=0.01)
