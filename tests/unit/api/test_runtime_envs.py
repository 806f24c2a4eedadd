"""What of a runtime environment has no effect is said, and what has is accepted in silence."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest

from linckia.api.runtime_envs import of_job, of_task


@pytest.mark.parametrize(
    ("env", "what"),
    [
        ({"pip": ["requests"]}, "pip"),
        ({"conda": "base"}, "conda"),
        ({"working_dir": "s3://bucket/a.zip"}, "working_dir s3://bucket/a.zip"),
    ],
)
def test_what_has_no_effect_is_said(env: dict[str, Any], what: str) -> None:
    with pytest.warns(UserWarning, match=f"{what} has no effect"):
        assert of_job(env) == env
    with pytest.warns(UserWarning, match=f"{what} has no effect"):
        assert of_task("runtime_env", env) == env


@pytest.mark.parametrize(
    "env",
    [{}, {"env_vars": {"A": "b"}, "config": {"eager_install": True}, "pip": []}, {"working_dir": "gcs://a.zip"}],
)
def test_what_has_effect_is_accepted_in_silence(env: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert of_task("runtime_env", env) == of_job(env) == env


@pytest.mark.row("1.7")
def test_a_job_may_have_paths_and_modules_and_nothing_else() -> None:
    assert of_job({"working_dir": "./here", "py_modules": ["./one", math]})
    with pytest.raises(TypeError, match=r"runtime_env\['working_dir'\]"):
        of_job({"working_dir": math})
    with pytest.raises(TypeError, match=r"runtime_env\['py_modules'\]"):
        of_job({"py_modules": [5]})
    with pytest.raises(TypeError, match=r"runtime_env\['excludes'\]"):
        of_job({"working_dir": ".", "excludes": "*.csv"})
    with pytest.raises(TypeError, match=r"runtime_env\['env_vars'\]"):
        of_job({"env_vars": {"A": 1}})
