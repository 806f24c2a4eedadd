"""Each workload runs against an engine that is right, and refuses to report a figure for one that is wrong."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from bench.large_objects import _puts_per_s
from bench.measure import Timing, WrongResultError
from bench.ray_api import Api
from bench.workloads import WORKLOADS
from tests.unit.bench.fake_ray import FakeRay

BRIEF = Timing(seconds=0.002)
CALLS = sorted(set(WORKLOADS) - {"put_small", "get_small", "get_10000_refs"})


def api(ray: FakeRay) -> Api:
    return cast("Api", ray)


@pytest.mark.parametrize("step", sorted(WORKLOADS))
def test_workload_reports_its_figures_for_a_right_engine(step: str) -> None:
    values = WORKLOADS[step](api(FakeRay()), BRIEF)
    assert values
    assert all(value > 0 for value in values.values())
    assert step in values or f"{step}_s" in values


@pytest.mark.parametrize("step", CALLS)
def test_workload_refuses_wrong_results_of_calls(step: str) -> None:
    with pytest.raises(WrongResultError):
        WORKLOADS[step](api(FakeRay(spoil=lambda _value: b"wrong")), BRIEF)


@pytest.mark.parametrize("step", ["put_small", "get_small", "get_10000_refs"])
def test_workload_refuses_wrong_objects(step: str) -> None:
    with pytest.raises(WrongResultError):
        WORKLOADS[step](api(FakeRay(spoil_put=lambda value: value + 1)), BRIEF)


def test_actor_workloads_notice_calls_that_were_answered_without_being_run() -> None:
    count = iter(range(10**9))

    def lose_counts(value: Any) -> Any:
        return next(count) if isinstance(value, int) else value

    with pytest.raises(WrongResultError, match="counted"):
        WORKLOADS["actor_sync"](api(FakeRay(spoil=lose_counts)), BRIEF)


def test_actor_workloads_end_their_actors() -> None:
    ray = FakeRay()
    WORKLOADS["actors_20"](api(ray), BRIEF)
    WORKLOADS["actor_4"](api(ray), BRIEF)
    assert ray.killed == 24


def test_large_put_notices_an_engine_that_keeps_the_caller_s_memory() -> None:
    assert _puts_per_s(api(FakeRay(spoil_put=np.copy)), 4096, 0.001) > 0
    with pytest.raises(WrongResultError, match="source changed"):
        _puts_per_s(api(FakeRay()), 4096, 0.001)
