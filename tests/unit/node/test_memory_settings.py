"""Settings of the memory monitor: Ray's names and ours, and what makes no sense."""

from __future__ import annotations

import pytest

from linckia.core.memory.thresholds import MemorySettings
from linckia.node.resources import max_idle_workers, memory_settings


@pytest.mark.row("7.17", "7.19")
def test_they_are_read_under_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_settings() == MemorySettings(0.95, -1, 0.25, False, -1)
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.8")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setenv("RAY_min_memory_free_bytes", "1000")
    monkeypatch.setenv("RAY_worker_killing_policy_by_group", "true")
    monkeypatch.setenv("LINCKIA_idle_worker_max_bytes", "5")
    monkeypatch.setenv("LINCKIA_max_idle_workers", "3")
    assert memory_settings() == MemorySettings(0.8, 1000, 0.0, True, 5)
    assert max_idle_workers() == 3
    monkeypatch.setenv("LINCKIA_memory_usage_threshold", "0.9")
    assert memory_settings().usage_threshold == 0.9


@pytest.mark.row("7.17")
@pytest.mark.parametrize("text", ["0", "1.5", "-1", "much", "nan", "inf"])
def test_a_threshold_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", text)
    with pytest.raises(ValueError, match=r"memory_usage_threshold.*share of the memory above 0, up to 1"):
        memory_settings()
