"""The store's figures come from steps that exist, and from answers that were looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench import store_rates
from bench.engines import LIMIT_STEPS, STORE_STEPS
from bench.figures import STORE_FIGURES
from bench.measure import Timing, WrongResultError


def test_every_figure_has_its_step() -> None:
    assert {figure.step for figure in STORE_FIGURES} == set(store_rates.STEPS)
    assert set(store_rates.STEPS) <= LIMIT_STEPS | STORE_STEPS


def test_sqlite_and_the_disk_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_rates, "WRITES", 2 * store_rates.WRITERS)
    rates = store_rates.StoreRates(Timing(seconds=0.01))
    values = rates.run("store_disk") | rates.run("store_sqlite")
    assert set(values) == {figure.id for figure in STORE_FIGURES if figure.step in ("store_disk", "store_sqlite")}
    assert all(value > 0 for value in values.values())


def test_a_refused_write_gives_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_rates, "WRITES", store_rates.WRITERS)

    def send(_key: bytes, done: Callable[[Any], None]) -> None:
        done(ValueError("refused"))

    with pytest.raises(WrongResultError):
        store_rates.many(send, lambda answer: not isinstance(answer, ValueError))
