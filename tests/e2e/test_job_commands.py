"""`linckia job` as a user types it: exit codes, what is on which stream, and one sentence for what cannot be."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.row("8.11", "8.12")]
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
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_the_life_of_jobs(world: World) -> None:
    world.linckia("start", "--head", "--num-cpus=1", "--port=0")
    folder = Path(world.folder, "project")
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    (folder / "env.yaml").write_text("env_vars: {COLOUR: green}\n")
    sent = ("--working-dir", str(folder), "--runtime-env", str(folder / "env.yaml"))
    code, out, err = run(world, "submit", *sent, "--submission-id=one", "--", "python", "program.py", "0", "a b")
    assert (code, out) == (0, "green ['0', 'a b'] 49\n"), err
    assert "job one is submitted" in err
    assert "job one is SUCCEEDED" in err
    code, out, err = run(
        world, "submit", *sent, "--submission-id=two", "--max-retries=1", "--retry-backoff=0",
        '--metadata-json={"team": "blue"}', "python program.py 3; exit $?",
    )  # fmt: skip
    assert code == 3
    assert "job two is FAILED: attempt 2 on node" in err
    assert out.count("green ['3'] 49\n") == 2
    told = world.linckia("job", "status", "two")
    assert "two: FAILED (JOB_ENTRYPOINT_COMMAND_ERROR)" in told
    assert '{"team": "blue"}' in told
    assert run(world, "logs", "two")[1] == out
    code, three, err = run(world, "submit", "--no-wait", "--", "sh", "-c", "echo begins; sleep 600")
    assert code == 0
    three = three.strip()
    assert f"linckia job logs -f {three}" in err
    follower = world.start("-m", "linckia.cli.main", "job", "logs", "-f", three)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begins\n"
    listed = world.linckia("job", "list")
    assert all(name in listed for name in ("one", "two", three, "RUNNING", "FAILED", "SUCCEEDED"))
    assert "stop it first" in world.linckia("job", "delete", three, code=1)
    assert f"job {three} is STOPPED" in world.linckia("job", "stop", three)
    assert follower.wait(20) == 0
    assert "was over already: STOPPED" in world.linckia("job", "stop", three)
    assert "is forgotten" in world.linckia("job", "delete", three)
    names = [job["submission_id"] for job in json.loads(world.linckia("job", "list", "--format=json"))]
    assert [name for name in names if name] == ["one", "two"]
    world.linckia("stop")


def test_a_watcher_goes_and_the_job_goes_on_until_the_cluster_is_stopped(world: World) -> None:
    world.linckia("start", "--head", "--num-cpus=1", "--port=0")
    long = ("job", "submit", "--submission-id=long", "echo begins; setsid sleep 600")
    watcher = world.start("-m", "linckia.cli.main", *long)
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "begins\n"
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=20)
    assert watcher.returncode == 130
    assert "job long goes on" in err
    status = json.loads(world.linckia("job", "status", "long", "--format=json"))
    assert status["status"] == "RUNNING"
    pid = int(status["driver_info"]["pid"])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert children
    for refused, says in (
        (long[1:], "there is a job 'long' already"),
        (("submit", "--working-dir=/no/such", "true"), "'/no/such' is no directory and no zip file"),
        (("logs", "-f", "nobody"), "there is no job 'nobody'"),
    ):
        code, out, err = run(world, *refused)
        assert (code, out) == (1, ""), refused
        assert says in err, refused
        assert err.startswith("linckia: ")
        assert err.count("\n") == 1, err
    world.linckia("stop")
    for each in (pid, *children):
        assert not Path(f"/proc/{each}").exists() or " Z " in Path(f"/proc/{each}/stat").read_text()
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
