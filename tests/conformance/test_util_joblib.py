"""The joblib backend."""

from __future__ import annotations

import os
from typing import Any

import pytest
from engine import IS_LINCKIA, better, module

joblib: Any = pytest.importorskip("joblib")
np: Any = pytest.importorskip("numpy")
pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.row("11.4")]
Parallel, delayed = joblib.Parallel, joblib.delayed


@pytest.fixture(autouse=True)
def _registered() -> None:
    module("util.joblib").register_ray()
    if IS_LINCKIA:
        module("util.joblib").register_linckia()


@pytest.fixture(params=["ray", "linckia"] if IS_LINCKIA else ["ray"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def square(value: int) -> int:
    return value * value


def fail(value: int) -> int:
    if value == 3:
        raise ValueError("three")
    return value


def test_results_in_order(backend: str) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert Parallel()(delayed(square)(n) for n in range(50)) == [n * n for n in range(50)]
        assert Parallel()(delayed(square)(n) for n in range(0)) == []


def test_work_is_done_by_other_processes(backend: str) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=-1):
        assert os.getpid() not in Parallel()(delayed(os.getpid)() for _ in range(10))


def test_errors(backend: str) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=2):
        with pytest.raises(ValueError, match="three"):
            Parallel()(delayed(fail)(n) for n in range(10))
        assert Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]


def test_n_jobs(backend: str) -> None:
    with joblib.parallel_config(backend=backend):
        assert joblib.effective_n_jobs(-1) == 2
        assert joblib.effective_n_jobs(2) == 2
        assert joblib.effective_n_jobs(1) == 1
        with pytest.raises(ValueError, match="n_jobs"):
            Parallel(n_jobs=0)(delayed(square)(n) for n in range(3))


@better("Ray refuses more workers than CPUs")
def test_more_jobs_than_cpus(backend: str) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=50):
        assert joblib.effective_n_jobs(50) == 2
        assert Parallel()(delayed(square)(n) for n in range(5)) == [0, 1, 4, 9, 16]


def test_large_shared_arguments(backend: str) -> None:
    data = np.arange(200_000, dtype=np.float64)

    def part(array: Any, start: int, *, other: Any) -> tuple[float, bool]:
        return float(array[start] + other[start]), bool(array.flags.writeable)

    with joblib.parallel_config(backend=backend, n_jobs=2):
        found = Parallel()(delayed(part)(data, n, other=data) for n in range(20))
    assert [value for value, _ in found] == [2.0 * n for n in range(20)]
    if IS_LINCKIA:
        assert not any(writeable for _, writeable in found)


@better("Ray's backend cannot return a generator")
def test_results_as_they_come(backend: str) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert list(Parallel(return_as="generator")(delayed(square)(n) for n in range(10))) == [
            n * n for n in range(10)
        ]
        found = Parallel(return_as="generator_unordered")(delayed(square)(n) for n in range(10))
        assert sorted(found) == [n * n for n in range(10)]


def test_nested_parallel_calls(backend: str) -> None:
    def inner(value: int) -> int:
        return sum(Parallel(n_jobs=2)(delayed(square)(value) for _ in range(3)))

    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert Parallel()(delayed(inner)(n) for n in range(3)) == [0, 3, 12]


def test_options_of_the_workers() -> None:
    with joblib.parallel_config(backend="ray", n_jobs=2, ray_remote_args={"num_cpus": 1}):
        assert Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]
