"""`linckia job`: words of the command line that cannot be, and how a job is shown. Without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linckia.cli import jobs
from linckia.job_submission import JobAttempt, JobDetails, JobStatus, JobType

pytestmark = pytest.mark.row("8.11", "8.12")
NOTHING = dict.fromkeys(
    (
        "working_dir", "runtime_env", "runtime_env_json", "metadata_json", "entrypoint_resources",
        "entrypoint_label_selector", "retry_exit_codes",
    ),
    "",
)  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"runtime_env_json": "{"}, "--runtime-env-json '{' is not JSON"),
        ({"metadata_json": "[1]"}, "--metadata-json '[1]': a JSON object was expected"),
        ({"entrypoint_resources": "x"}, "--entrypoint-resources 'x' is not JSON"),
        ({"entrypoint_label_selector": "1"}, "--entrypoint-label-selector '1': a JSON object was expected"),
        ({"runtime_env": "/no/such"}, "--runtime-env '/no/such' cannot be read: No such file"),
        ({"runtime_env": "a", "runtime_env_json": "{}"}, "say the same"),
        ({"retry_exit_codes": "1,x"}, "--retry-exit-codes '1,x': numbers were expected"),
    ],
)
def test_words_that_cannot_be(wrong: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match="--") as caught:
        jobs._parsed({**NOTHING, **wrong})
    assert says in str(caught.value)


@pytest.mark.parametrize(("text", "says"), [("- a\n", "fields of a runtime environment"), ("a: [", "is not YAML")])
def test_a_file_that_is_no_environment(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "env.yaml").write_text(text)
    with pytest.raises(ValueError, match=says):
        jobs._parsed({**NOTHING, "runtime_env": str(tmp_path / "env.yaml")})


def test_words_that_can_be(tmp_path: Path) -> None:
    (tmp_path / "env.yaml").write_text("env_vars: {A: '1'}")
    words = {"runtime_env": str(tmp_path / "env.yaml"), "working_dir": ".", "retry_exit_codes": "1, 75,"}
    parsed = jobs._parsed({**NOTHING, **words})
    assert parsed["runtime_env"] == {"env_vars": {"A": "1"}, "working_dir": "."}
    assert parsed["retry_exit_codes"] == [1, 75]


@pytest.mark.parametrize(
    ("status", "exit_code", "cause", "code"),
    [
        ("SUCCEEDED", 0, "succeeded", 0),
        ("FAILED", 3, "application", 3),
        ("FAILED", -9, "application", 137),
        ("FAILED", None, "system", 1),
        ("FAILED", -9, "out_of_memory", 1),
        ("STOPPED", -15, "stopped", 1),
    ],
)
def test_the_exit_code_of_submit(status: str, exit_code: int | None, cause: str, code: int) -> None:
    attempt = JobAttempt(1, "ab" * 28, "10.0.0.1", 7, 1000, 2500, exit_code, cause, "its entrypoint ended")
    given: dict[str, Any] = {"driver_exit_code": exit_code, "attempts": [attempt], "message": "why\nand how"}
    job = JobDetails(JobType.SUBMISSION, JobStatus(status), "true", "j", **given)
    assert jobs._ended(job) == code
    shown = jobs._described(job)
    assert shown.startswith(f"j: {status}\n  why\n  and how\n  entrypoint  true\n")
    assert "abababababab  10.0.0.1  7" in shown
    assert "1.5" in shown
