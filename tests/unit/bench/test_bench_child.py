"""The measured process reports every step, stops the engine whatever happens and keeps unasked figures to itself."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from bench.child import Reporter, run_steps
from bench.workloads import Values


class Broken(Exception):
    """What the fake engine raises."""


class FakeEngine:
    """Gives a figure per step; `bad` raises."""

    def __init__(self) -> None:
        self.stopped = 0

    def run(self, step: str) -> Values:
        if step == "shutdown":
            return self.shutdown()
        if step == "bad":
            raise Broken("on purpose")
        return {step: 1.0}

    def shutdown(self) -> Values:
        self.stopped += 1
        return {"shutdown_s": 0.1}


def events(steps: list[str], engine: FakeEngine) -> list[dict[str, Any]]:
    reading, writing = os.pipe()
    try:
        run_steps(engine, steps, Reporter(writing))
    finally:
        os.close(writing)
    with os.fdopen(reading) as report:
        return [json.loads(line) for line in report]


def test_a_failing_step_is_reported_and_the_others_run(capsys: pytest.CaptureFixture[str]) -> None:
    engine = FakeEngine()
    found = events(["one", "bad", "two", "shutdown"], engine)
    told = [event for event in found if event["event"] not in {"start", "done"}]
    assert told == [
        {"event": "values", "step": "one", "values": {"one": 1.0}},
        {"event": "error", "step": "bad", "error": "Broken: on purpose"},
        {"event": "values", "step": "two", "values": {"two": 1.0}},
        {"event": "values", "step": "shutdown", "values": {"shutdown_s": 0.1}},
    ]
    assert [event["step"] for event in found if event["event"] == "start"] == ["one", "bad", "two", "shutdown"]
    assert found[-1] == {"event": "done"}
    assert engine.stopped == 1
    assert "on purpose" in capsys.readouterr().err


def test_a_shutdown_that_nobody_asked_for_happens_and_gives_no_figure() -> None:
    engine = FakeEngine()
    found = events(["one"], engine)
    assert engine.stopped == 1
    assert {"event": "values", "step": "shutdown", "values": {}} in found
