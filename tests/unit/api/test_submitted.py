"""What a job was submitted with, and what its driver says to init()."""

from __future__ import annotations

import json
from typing import Any

import pytest

from linckia.api import session_options, submitted

pytestmark = pytest.mark.row("9.15", "8.34")


@pytest.mark.parametrize(
    ("of_job", "of_driver", "whole"),
    [
        ({}, {}, {}),
        ({"working_dir": "gcs://a"}, {}, {"working_dir": "gcs://a"}),
        ({"env_vars": {"A": "1"}}, {"env_vars": {"B": "2"}}, {"env_vars": {"A": "1", "B": "2"}}),
        ({"env_vars": {"A": "1"}, "x": 1}, {"env_vars": {"A": "1"}, "x": 1}, {"env_vars": {"A": "1"}, "x": 1}),
    ],
)
def test_the_union(of_job: dict[str, Any], of_driver: dict[str, Any], whole: dict[str, Any]) -> None:
    assert submitted.merged(of_job, of_driver) == whole


@pytest.mark.parametrize("field", [{"working_dir": "gcs://b"}, {"env_vars": {"A": "2"}}])
def test_a_contradiction(field: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    of_job = {"working_dir": "gcs://a", "env_vars": {"A": "1"}}
    with pytest.raises(ValueError, match="LINCKIA_OVERRIDE_JOB_RUNTIME_ENV=1"):
        submitted.merged(of_job, field)
    monkeypatch.setenv("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    assert submitted.merged(of_job, field) == {**of_job, **field}


def test_only_the_cluster_of_the_job_takes_it_over(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"runtime_env": {"env_vars": {"A": "1"}}, "metadata": {"job_submission_id": "j"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(config))
    joined = session_options.parse(None, {}).given
    assert (joined["runtime_env"], joined["_metadata"]) == (config["runtime_env"], config["metadata"])
    assert not session_options.parse("local", {}).given.get("runtime_env")


def test_a_variable_that_nobody_should_have_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINCKIA_JOB_CONFIG_JSON_ENV_VAR", "{")
    with pytest.raises(ValueError, match="is not JSON"):
        session_options.parse(None, {})
