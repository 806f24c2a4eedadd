"""Submitted jobs on a real cluster of two nodes: their states, their attempts, their logs, how they are stopped."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import linckia
from linckia.cluster_utils import Cluster
from linckia.job_submission import JobDetails, JobStatus, JobSubmissionClient
from linckia.util.state import get_log, list_actors, list_jobs, list_logs
from linckia.util.state.exception import RayStateApiException

HERE = os.path.dirname(__file__)
DRIVER = """
import json, os, sys
import linckia
linckia.init(runtime_env={"env_vars": {"FROM_DRIVER": "2"}})
import inside  # of the working directory

@linckia.remote
def work():
    import inside
    return [os.environ["FROM_JOB"], os.environ["FROM_DRIVER"], inside.VALUE, os.path.basename(os.getcwd()) != ""]

context = linckia.get_runtime_context()
print(json.dumps({
    "worker": linckia.get(work.remote()), "cwd": sorted(os.listdir(".")), "job": context.get_job_id(),
    "node": context.get_node_id(), "from_job": os.environ["FROM_JOB"],
}))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "resources": {"here": 1}}) as made:
        made.add_node(num_cpus=1, resources={"there": 1}, labels={"disk": "fast"})
        yield made


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[JobSubmissionClient]:
    with JobSubmissionClient(cluster.address) as made:
        yield made
    assert not linckia.is_initialized()


def python(text: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(text)}"


def until_running(client: JobSubmissionClient, submission_id: str) -> JobDetails:
    deadline_s = time.monotonic() + 20
    while (found := client.get_job_info(submission_id)).status is JobStatus.PENDING:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.02)  # sleep: between two looks
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until_supervisor_ended(submission_id: str) -> None:
    deadline_s = time.monotonic() + 20
    while not list_actors(filters=[("name", "=", submission_id), ("state", "=", "DEAD")]):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)  # sleep: between two looks


@pytest.mark.row("8.33", "8.34", "8.35")
def test_a_job_that_succeeds(cluster: Cluster, client: JobSubmissionClient) -> None:
    assert cluster.head_node is not None
    submission_id = client.submit_job(entrypoint="echo out; echo err >&2; printf last", metadata={"who": "me"})
    done = client.wait_job(submission_id)
    assert done.status == "SUCCEEDED"
    assert (done.driver_exit_code, done.error_type, done.metadata) == (0, None, {"who": "me"})
    assert client.get_job_logs(submission_id) == "out\nerr\nlast"
    (attempt,) = done.attempts
    assert (attempt.number, attempt.cause, attempt.origin, attempt.exit_code) == (1, "succeeded", "", 0)
    assert done.start_time is not None
    assert done.start_time <= attempt.start_time <= attempt.end_time == done.end_time
    logs = [Path(node.process.session_dir, "logs") for node in cluster.list_all_nodes()]
    (log,) = [path for folder in logs for path in folder.glob(f"job-driver-{submission_id}-1.log")]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    until_supervisor_ended(submission_id)
    assert client.get_job_logs(submission_id) == "out\nerr\nlast"


@pytest.mark.row("8.33", "8.34", "8.22")
def test_the_applications_failure_is_said_with_its_last_lines(client: JobSubmissionClient) -> None:
    done = client.wait_job(client.submit_job(entrypoint="echo why it failed; exit 3"))
    assert (done.status, done.error_type, done.driver_exit_code) == ("FAILED", "JOB_ENTRYPOINT_COMMAND_ERROR", 3)
    assert done.message is not None
    assert done.message.endswith(
        "failed: its entrypoint exited with code 3 (the application's failure); max_retries is 0\n"
        "last lines of its log:\nwhy it failed"
    )
    assert [each.origin for each in done.attempts] == ["application"]
    assert "".join(get_log(submission_id=done.submission_id)) == "why it failed\n"
    assert f"job-driver-{done.submission_id}-1.log" in list_logs()["driver"]
    with pytest.raises(RayStateApiException, match="no node has a log of a submitted job 'nobody'"):
        get_log(submission_id="nobody")


def test_retries_of_the_application(client: JobSubmissionClient, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    number = "$LINCKIA_JOB_ATTEMPT"
    command = f'echo {number} >> {effects}; echo try {number}; test "$(wc -l < {effects})" -ge 3'
    submission_id = client.submit_job(entrypoint=command, max_retries=5, retry_backoff_s=0.05)
    done = client.wait_job(submission_id)
    assert done.status == "SUCCEEDED"
    assert effects.read_text().split() == ["1", "2", "3"]
    assert [each.cause for each in done.attempts] == ["application", "application", "succeeded"]
    *_, second, third = client.get_job_logs(submission_id).partition("--- attempt 2 on node ")
    assert (second, third.splitlines()[1:2]) == ("--- attempt 2 on node ", ["try 2"])


def test_an_exit_code_that_is_not_to_be_retried(client: JobSubmissionClient, tmp_path: Path) -> None:
    entrypoint = f"echo once >> {tmp_path}/effects; exit 2"
    done = client.wait_job(client.submit_job(entrypoint=entrypoint, max_retries=5, retry_exit_codes=[1, 75]))
    assert done.status == "FAILED"
    assert (tmp_path / "effects").read_text() == "once\n"


@pytest.mark.row("8.28", "8.34", "8.20", "9.15")
def test_a_driver_takes_over_what_the_job_was_submitted_with(client: JobSubmissionClient, tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "inside.py").write_text("VALUE = 'of the working directory'")
    submission_id = client.submit_job(
        entrypoint="python driver.py",
        runtime_env={"working_dir": str(tmp_path), "env_vars": {"FROM_JOB": "1"}},
        metadata={"team": "blue"},
    )
    done = client.wait_job(submission_id)
    assert done.status == "SUCCEEDED", client.get_job_logs(submission_id)
    told = json.loads(client.get_job_logs(submission_id).splitlines()[-1])
    assert told["worker"] == ["1", "2", "of the working directory", True]
    assert {"driver.py", "inside.py"} <= set(told["cwd"])
    assert (told["job"], told["node"]) == (done.job_id, done.driver_node_id)
    (row,) = list_jobs(filters=[("job_id", "=", told["job"])], detail=True)
    assert (row.submission_id, row.type, row.metadata["team"]) == (submission_id, "SUBMISSION", "blue")
    assert client.get_job_info(told["job"]).submission_id == submission_id


@pytest.mark.row("9.15")
def test_a_driver_that_contradicts_its_job(client: JobSubmissionClient) -> None:
    text = "import linckia; linckia.init(runtime_env={'env_vars': {'A': 'driver'}}); import os; print(os.environ['A'])"
    env: dict[str, Any] = {"env_vars": {"A": "job"}}
    done = client.wait_job(client.submit_job(entrypoint=python(text), runtime_env=env))
    assert done.status == "FAILED"
    assert "the environment variable A is given to init() and was given when the job was submitted" in str(done.message)
    env["env_vars"]["LINCKIA_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    assert client.wait_job(client.submit_job(entrypoint=python(text), runtime_env=env)).status == "SUCCEEDED"


def test_a_driver_is_where_its_resources_and_labels_are(cluster: Cluster, client: JobSubmissionClient) -> None:
    (worker,) = cluster.worker_nodes
    assert cluster.head_node is not None
    asked: list[tuple[dict[str, Any], str]] = [
        ({"entrypoint_resources": {"here": 1}}, cluster.head_node.node_id),
        ({"entrypoint_resources": {"there": 1}, "entrypoint_num_cpus": 1}, worker.node_id),
        ({"entrypoint_label_selector": {"disk": "fast"}}, worker.node_id),
    ]
    ids = [client.submit_job(entrypoint="true", **needs) for needs, _ in asked]
    assert [client.wait_job(each).driver_node_id for each in ids] == [node_id for _, node_id in asked]


@pytest.mark.row("8.12", "8.34")
def test_stop_is_sigterm_for_all_and_sigkill_after_a_while(client: JobSubmissionClient, tmp_path: Path) -> None:
    polite = client.submit_job(
        entrypoint=f"trap 'echo asked > {tmp_path}/asked; exit 0' TERM; sleep 600 & echo $! > {tmp_path}/pid; wait"
    )
    until_running(client, polite)
    pid = _number(tmp_path / "pid")
    started_s = time.monotonic()
    assert client.stop_job(polite)
    assert time.monotonic() - started_s < 2.5
    stopped = client.get_job_info(polite)
    assert (stopped.status, stopped.attempts[0].cause) == ("STOPPED", "stopped")
    assert (tmp_path / "asked").read_text() == "asked\n"
    assert gone(pid)
    assert not client.stop_job(polite)
    stubborn = client.submit_job(
        entrypoint=f"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > {tmp_path}/child; sleep 600'"
    )
    pid = _number(tmp_path / "child")
    started_s = time.monotonic()
    assert client.stop_job(stubborn)
    assert 2.5 < time.monotonic() - started_s < 6
    assert gone(pid)
    assert client.get_job_status(stubborn) == "STOPPED"


def _number(path: Path) -> int:
    deadline_s = time.monotonic() + 20
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline_s, path
        time.sleep(0.02)  # sleep: between two looks
    return int(path.read_text())


def test_what_the_entrypoint_leaves_behind_ends_with_it(client: JobSubmissionClient, tmp_path: Path) -> None:
    done = client.wait_job(client.submit_job(entrypoint=f"setsid sleep 600 & echo $! > {tmp_path}/pid"))
    assert done.status == "SUCCEEDED"
    assert gone(_number(tmp_path / "pid"))


@pytest.mark.row("8.12", "8.33")
def test_a_job_that_waits_for_a_node_can_be_stopped(client: JobSubmissionClient) -> None:
    waiting = client.submit_job(entrypoint="true", entrypoint_resources={"nowhere": 1})
    info = client.get_job_info(waiting)
    assert (info.status, info.message) == (
        "PENDING", "it waits for a node with the resources and labels that its entrypoint asks for",
    )  # fmt: skip
    assert client.stop_job(waiting)
    assert client.get_job_status(waiting) == "STOPPED"


@pytest.mark.row("8.33")
def test_a_job_that_has_waited_for_too_long_has_failed(
    client: JobSubmissionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = client.submit_job(entrypoint="true", entrypoint_resources={"nowhere": 1})
    monkeypatch.setenv("LINCKIA_JOB_START_TIMEOUT_SECONDS", "0.000001")
    info = client.get_job_info(waiting)
    assert (info.status, info.error_type) == ("FAILED", "JOB_SUPERVISOR_ACTOR_START_TIMEOUT")
    monkeypatch.undo()
    assert client.get_job_status(waiting) == "FAILED"  # and for everybody else


@pytest.mark.row("8.35", "P38c")
def test_the_log_is_followed_to_its_last_byte(client: JobSubmissionClient) -> None:
    lines = 3000
    text = f"import sys\nfor n in range({lines}): print(n, 'x' * 500, flush=n % 100 == 0)\nsys.stdout.write('the end')"
    submission_id = client.submit_job(entrypoint=python(text))

    async def followed() -> str:
        return "".join([piece async for piece in client.tail_job_logs(submission_id)])

    seen = asyncio.run(followed())
    assert [int(line.split()[0]) for line in seen.splitlines()[:-1]] == list(range(lines))
    assert seen.endswith("the end")
    assert client.get_job_logs(submission_id) == seen


CHECKPOINTED = """
import os, sys, linckia
linckia.init()
with linckia.checkpoint("steps", dir=sys.argv[1] if sys.argv[1:] else None) as ckpt:
    for step in range(ckpt.load(0), 4):
        print("step", step, flush=True)
        ckpt.save(step + 1)
        if step == 1:
            sys.exit(75)
    print(ckpt.info.path, flush=True)
"""


@pytest.mark.parametrize("shared", [False, True])
def test_a_driver_goes_on_where_its_last_attempt_was(client: JobSubmissionClient, tmp_path: Path, shared: bool) -> None:
    folder = tmp_path / "states"
    (tmp_path / "steps.py").write_text(CHECKPOINTED)
    submission_id = client.submit_job(
        entrypoint=f"python {tmp_path}/steps.py {folder if shared else ''}",
        max_retries=2,
        retry_exit_codes=[75],
        retry_backoff_s=0,
        entrypoint_resources={"here": 1},
    )
    done = client.wait_job(submission_id)
    *steps, path = [line for line in client.get_job_logs(submission_id).splitlines() if not line.startswith("---")]
    assert steps == [f"step {step}" for step in range(4)], done.message
    assert f"/job-{submission_id}/steps/checkpoint-000002-" in path
    assert path.startswith(str(folder)) == shared
    until_supervisor_ended(submission_id)
    assert not Path(path).parent.parent.exists(), "a job that has succeeded needs no checkpoint"


@pytest.mark.row("8.34")
def test_what_cannot_be_set_up_has_failed(client: JobSubmissionClient) -> None:
    env = {"working_dir": "gcs://_linckia_pkg_00000000000000000000000000000000.zip"}
    done = client.wait_job(client.submit_job(entrypoint="true", runtime_env=env))
    assert (done.status, done.error_type) == ("FAILED", "RUNTIME_ENV_SETUP_FAILURE")
    assert "could not be set up on this node" in str(done.message)


def test_listed_and_forgotten(client: JobSubmissionClient) -> None:
    first = client.submit_job(entrypoint="true", submission_id="first.of-all_1")
    client.wait_job(first)
    with pytest.raises(RuntimeError, match="there is a job 'first.of-all_1' already"):
        client.submit_job(entrypoint="true", submission_id=first)
    listed = [each.submission_id for each in client.list_jobs()]
    assert first in listed
    assert None not in listed, "the client's own connection is no job"
    running = client.submit_job(entrypoint="sleep 600")
    with pytest.raises(RuntimeError, match="stop it first"):
        client.delete_job(running)
    client.stop_job(running)
    assert client.delete_job(first)
    assert client.delete_job(running)
    for ask in (client.get_job_status, client.get_job_info, client.get_job_logs, client.stop_job, client.delete_job):
        with pytest.raises(RuntimeError, match="there is no job"):
            ask(first)
    with pytest.raises(RuntimeError, match="there is no job"):
        client.follow_job_logs(first)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"entrypoint": "  "}, "a shell command was expected"),
        ({"submission_id": "a/b"}, "submission id 'a/b'"),
        ({"metadata": {"a": 1}}, "metadata: texts by name were expected"),
        ({"runtime_env": {"working_dir": "/no/such"}}, "is no directory and no zip file"),
        ({"runtime_env": {"env_vars": {"A": 1}}}, "a dict of str to str"),
        ({"entrypoint_num_cpus": -1}, "what the entrypoint needs"),
        ({"max_retries": -2}, "max_retries=-2"),
        ({"retry_backoff_s": -1}, "retry_backoff_s=-1"),
        ({"retry_exit_codes": [0]}, "no exit code of a failure"),
        ({"metadata": {"a": "x" * 70_000}}, "put what is large into the working directory"),
    ],
)
def test_bad_input(client: JobSubmissionClient, wrong: dict[str, Any], says: str) -> None:
    before = len(client.list_jobs())
    with pytest.raises((TypeError, ValueError), match=says):
        client.submit_job(**{"entrypoint": "true", **wrong})
    assert len(client.list_jobs()) == before


@pytest.mark.row("8.35")
def test_the_names_of_ray(client: JobSubmissionClient) -> None:
    from linckia.as_ray import names  # noqa: PLC0415 - importing the package would make `import ray` ours here

    assert names.ALIASES["ray.job_submission"] == "linckia.job_submission"
    assert JobStatus("FAILED").is_terminal()
    assert not JobStatus.RUNNING.is_terminal()
    assert str(JobStatus.RUNNING) == "RUNNING"


def test_no_cluster(tmp_path: Path) -> None:
    text = f"""
import os
os.environ["LINCKIA_TMPDIR"] = {str(tmp_path)!r}
from linckia.job_submission import JobSubmissionClient
for address in (None, "http://127.0.0.1:8265"):
    try:
        JobSubmissionClient(address)
    except ConnectionError as error:
        print(error)
"""
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    assert "no running cluster found" in out
    assert "there is no HTTP server of jobs" in out
