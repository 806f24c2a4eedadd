"""`linckia.util.microbenchmark`: it checks results, leaves a running engine as it was, or starts one."""

from __future__ import annotations

import pytest

from linckia.util import microbenchmark
from tests.unit.bench.fake_ray import FakeRay


def engine(monkeypatch: pytest.MonkeyPatch, fake: FakeRay) -> FakeRay:
    monkeypatch.setattr(microbenchmark, "linckia", fake)
    monkeypatch.setattr(microbenchmark, "LARGE_BYTES", 4096)
    return fake


def test_every_case_prints_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, FakeRay())
    lines: list[str] = []
    rates = microbenchmark.run(seconds=0.001, echo=lines.append)
    assert [str(rate) for rate in rates] == lines
    assert len(lines) == 11
    assert all(rate.per_second > 0 for rate in rates)


def test_wrong_results_give_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, FakeRay(spoil=lambda _value: None))
    with pytest.raises(AssertionError, match="wrong result"):
        microbenchmark.run(seconds=0.001, only="task, one", echo=lambda _line: None)


def test_an_engine_is_started_and_stopped_when_none_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = engine(monkeypatch, FakeRay())
    seen: list[bool] = []
    microbenchmark.run(seconds=0.001, only="put of a small", echo=lambda _line: seen.append(fake.running))
    assert (seen, fake.running) == ([True], False)


def test_a_running_engine_is_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = engine(monkeypatch, FakeRay())
    fake.init()
    microbenchmark.run(seconds=0.001, only="put of a small", echo=lambda _line: None)
    assert fake.running


def test_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, FakeRay())
    with pytest.raises(ValueError, match="no measurement has 'nonsense'"):
        microbenchmark.run(seconds=0.001, only="nonsense")
