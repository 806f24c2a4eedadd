"""`linckia job` as a user types it: exit codes, what is on which stream, and one sentence for what cannot be."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.world import TIMEOUT_S, World

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.row("8.11", "8.12")]
PROGRAM = """
import os, sys
import linckia
linckia.init()
print(os.environ["COLOUR"], sys.argv[1:], linckia.get(linckia.remote(lambda x: x * x).remote(7)))
sys.exit(int(sys.argv[1]))
"""


def run(world: World, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    process = world.start("-m", "linckia.cli.main", "job", *arguments)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out, err


def test_watched_left_alone_and_stopped(world: World) -> None:
    world.linckia("start", "--head", "--num-cpus=1", "--port=0")
    folder = Path(world.folder, "project")
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    (folder / "env.yaml").write_text("env_vars: {COLOUR: green}\n")
    code, out, err = run(
        world, "submit", "--working-dir", str(folder), "--runtime-env", str(folder / "env.yaml"),
        '--metadata-json={"team": "blue"}', "--submission-id=one", "--", "python", "program.py", "3", "a b",
    )  # fmt: skip
    assert (code, out) == (3, "green ['3', 'a b'] 49\n"), err
    assert "job one is submitted" in err
    assert "job one is FAILED: attempt 1 on node" in err
    long = ("job", "submit", "--submission-id=long", "echo begins; setsid sleep 600")
    watcher = world.start("-m", "linckia.cli.main", *long)
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "begins\n"
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=TIMEOUT_S)
    assert watcher.returncode == 130
    assert "job long goes on" in err
    follower = world.start("-m", "linckia.cli.main", "job", "logs", "-f", "long")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begins\n"
    one, other = json.loads(world.linckia("job", "list", "--format=json"))
    assert (one["status"], one["metadata"], one["driver_exit_code"]) == ("FAILED", {"team": "blue"}, 3)
    assert (other["submission_id"], other["status"]) == ("long", "RUNNING")
    pid = int(other["driver_info"]["pid"])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert children
    for refused, says in (
        (long[1:], "there is a job 'long' already"),
        (("submit", "--working-dir=/no/such", "true"), "'/no/such' is no directory and no zip file"),
        (("delete", "long"), "stop it first"),
        (("logs", "-f", "nobody"), "there is no job 'nobody'"),
    ):
        code, out, err = run(world, *refused)
        assert (code, out) == (1, ""), refused
        assert says in err, refused
        assert err.startswith("linckia: ")
        assert err.count("\n") == 1, err
    assert "is being stopped" in world.linckia("job", "stop", "--no-wait", "long")
    assert follower.wait(TIMEOUT_S) == 0
    for each in (pid, *children):
        assert not Path(f"/proc/{each}").exists() or " Z " in Path(f"/proc/{each}/stat").read_text()
    assert "was over already: STOPPED" in world.linckia("job", "stop", "long")
    world.linckia("stop")
    code, out, err = run(world, "list")
    assert (code, out) == (1, "")
    assert "no running cluster found; start one with `linckia start --head`" in err


def test_a_program_for_ray(world: World) -> None:
    script = world.script(
        "import ray\n"
        "from ray.job_submission import JobStatus, JobSubmissionClient\n"
        "ray.init(num_cpus=1)\n"
        "client = JobSubmissionClient()\n"
        "job = client.submit_job(entrypoint='echo from a job')\n"
        "print(''.join(client.follow_job_logs(job)), client.get_job_status(job) == JobStatus.SUCCEEDED)\n"
    )
    assert "from a job\n True" in world.linckia("run", "--as-ray", script)
