"""Environment variables of programs are not shown, wherever they stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from linckia.dashboard.hiding import HIDDEN, without_secrets

pytestmark = pytest.mark.row("8.48")
SECRET = "hunter2"


@pytest.mark.parametrize(
    "told",
    [
        {"runtime_env": {"env_vars": {"PASSWORD": SECRET}}},
        [{"a": [{"env_vars": {"PASSWORD": SECRET}}]}],
        {"env_vars": [SECRET]},
        {"serialized_runtime_env": json.dumps({"env_vars": {"PASSWORD": SECRET}})},
        {"runtime_env_info": {"serialized_runtime_env": json.dumps({"a": {"env_vars": {"PASSWORD": SECRET}}})}},
        {"serialized_runtime_env": f"not JSON: {SECRET}"},
    ],
)
def test_values_are_hidden(told: Any) -> None:
    assert SECRET not in json.dumps(without_secrets(told))


def test_the_rest_stays() -> None:
    told = {"runtime_env": {"env_vars": {"A": "1"}, "working_dir": "x"}, "name": "env_vars", "n": 3, "empty": {}}
    assert without_secrets(told) == {**told, "runtime_env": {"env_vars": {"A": HIDDEN}, "working_dir": "x"}}
    assert without_secrets({"serialized_runtime_env": "{}"}) == {"serialized_runtime_env": "{}"}
