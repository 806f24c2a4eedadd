"""The retry budget of a job, and retries that wait when a program leaves: each in a session of its own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from watching import until

import linckia
from linckia.util import why_pending
from linckia.worker import current

pytestmark = pytest.mark.fault


def test_a_pausing_task_fails_when_the_program_leaves() -> None:
    linckia.init(address="local", num_cpus=1, log_to_driver=False)
    try:

        @linckia.remote(max_retries=-1, retry_exceptions=True, retry_backoff_s=30)
        def fails() -> None:
            raise ValueError

        ref = fails.remote()
        until(lambda: why_pending(ref).kind == "retry")
    finally:
        linckia.shutdown()
    assert ref.state, "it has its error"


@pytest.mark.parametrize("set_by", ["job", "environment"])
def test_the_budget_slows_a_broken_job_down_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, set_by: str
) -> None:
    budget = {"LINCKIA_retry_budget_per_s": "20", "LINCKIA_retry_budget_burst": "10"}
    for name, value in budget.items() if set_by == "environment" else ():
        monkeypatch.setenv(name, value)
    of_job = {"env_vars": budget if set_by == "job" else {}}
    linckia.init(address="local", num_cpus=2, log_to_driver=False, runtime_env=of_job)
    try:

        @linckia.remote(max_retries=1, retry_exceptions=True)
        def fails(number: int) -> int:
            if not (tmp_path / str(number)).exists():
                (tmp_path / str(number)).touch()
                raise ValueError
            return number

        begun_s = time.monotonic()
        refs = [fails.remote(number) for number in range(40)]
        assert linckia.get(refs, timeout=30) == list(range(40))
        assert time.monotonic() - begun_s >= 30 / 20 * 0.9, "ten at once, thirty at twenty a second"
        assert current.runtime is not None and current.runtime.retried_tasks == 40
    finally:
        linckia.shutdown()
