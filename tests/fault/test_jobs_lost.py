"""Drivers of submitted jobs that are lost: with their supervisor, with their node, and in a cluster whose head dies.
Each attempt writes down that it ran, so that nothing runs more often than the record says, and nothing outlives its
attempt.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from heads_of import kill_leader
from watching import Leftovers, is_gone, until

import linckia
from linckia.cluster_utils import Cluster, ClusterNode
from linckia.job_submission import JobDetails, JobSubmissionClient
from linckia.jobs.ledger import NAMESPACE
from linckia.util.state import list_actors

pytestmark = pytest.mark.fault
BACK_MAX_S = 20.0
DRIVER = """
import os, pathlib, signal, subprocess, sys
folder, last = pathlib.Path(sys.argv[1]), int(sys.argv[2])
attempt = int(os.environ["LINCKIA_JOB_ATTEMPT"])
child = subprocess.Popen(["setsid", "sleep", "600"])
print("attempt", attempt, "was here", flush=True)
(folder / f"{attempt}.tmp").write_text(f"{os.getpid()} {child.pid}")
(folder / f"{attempt}.tmp").rename(folder / f"{attempt}.ran")
if attempt < last:
    signal.pause()
import linckia
linckia.init()
os.open(folder / "fifo", os.O_RDONLY)
print(linckia.get(linckia.remote(lambda: "a task ran").remote()))
"""


class Story:
    """A job whose driver waits in all attempts before the last, and in the last one for `go`."""

    def __init__(self, client: JobSubmissionClient, folder: Path) -> None:
        self.client, self.folder, self.id = client, folder, ""
        (folder / "driver.py").write_text(DRIVER)
        os.mkfifo(folder / "fifo")

    def submit(self, last: int, **options: object) -> None:
        command = f"{shlex.quote(sys.executable)} driver.py {self.folder} {last}; code=$?; exit $code"
        env = {"working_dir": str(self.folder), "excludes": ["fifo"]}
        self.id = self.client.submit_job(entrypoint=command, runtime_env=env, **options)  # type: ignore[arg-type]

    def pids(self, attempt: int) -> list[int]:
        """Of the driver of an attempt and its child, once it runs."""
        path = self.folder / f"{attempt}.ran"
        until(path.exists, BACK_MAX_S, f"attempt {attempt}")
        return [int(pid) for pid in path.read_text().split()]

    def ran(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.ran"))

    def info(self) -> JobDetails:
        return self.client.get_job_info(self.id)

    def until_running(self, attempt: int) -> JobDetails:
        """The record says that this attempt runs."""

        def found() -> JobDetails | None:
            info = self.info()
            return info if info.status == "RUNNING" and info.attempts[-1].number == attempt else None

        info: JobDetails = until(found, BACK_MAX_S, f"RUNNING in attempt {attempt}")
        return info

    def go(self) -> None:
        """Let the last attempt end."""
        until(self._opened, BACK_MAX_S, "the driver of the last attempt")

    def _opened(self) -> bool:
        try:
            os.close(os.open(self.folder / "fifo", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def supervisor(self) -> int:
        (found,) = list_actors(filters=[("name", "=", self.id), ("state", "=", "ALIVE")], detail=True)
        assert found.ray_namespace == NAMESPACE
        return int(found.pid)


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """A head that is a process of its own, with SQLite."""
    with Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": "session"}) as made:
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """With one node for drivers; tests kill it."""
    for node in list(shared.worker_nodes):
        if not node.is_alive():
            shared.worker_nodes.discard(node)
    if not shared.worker_nodes:
        shared.add_node(num_cpus=1)
    return shared


@pytest.fixture
def story(cluster: Cluster, tmp_path: Path) -> Iterator[Story]:
    with JobSubmissionClient(cluster.address) as client:
        yield Story(client, tmp_path)


def gone(pids: list[int]) -> Callable[[], bool]:
    return lambda: all(map(is_gone, pids))


def node_of(cluster: Cluster, info: JobDetails) -> ClusterNode:
    (found,) = [node for node in cluster.worker_nodes if node.node_id == info.driver_node_id]
    return found


@pytest.mark.row("P5", "8.34")
def test_a_killed_supervisor_takes_its_driver_along_and_another_attempt_follows(cluster: Cluster, story: Story) -> None:
    story.submit(last=2, max_retries=0)
    output = story.client.follow_job_logs(story.id)
    pids = story.pids(1)
    started_s = time.monotonic()
    os.kill(story.supervisor(), signal.SIGKILL)
    second = story.pids(2)
    back_s = time.monotonic() - started_s
    assert gone(pids)(), "the second attempt began while the first was there"
    story.go()
    text = "".join(output)
    assert [line for line in text.splitlines() if not line.startswith("---")] == [
        "attempt 1 was here", "attempt 2 was here", "a task ran",
    ]  # fmt: skip
    info = story.info()
    assert info.status == "SUCCEEDED", info
    first, last = info.attempts
    assert (first.cause, first.origin, first.exit_code, last.cause) == ("system", "system", None, "succeeded")
    assert "its supervisor was lost: worker process" in first.detail
    assert "was killed by SIGKILL" in first.detail
    assert story.client.get_job_logs(story.id) == text
    until(gone(second))
    assert story.ran() == ["1", "2"]
    print(f"\na killed supervisor: the next attempt ran after {back_s:.2f} s")


@pytest.mark.row("P5", "P38c")
def test_a_dead_node_moves_the_driver(cluster: Cluster, story: Story) -> None:
    story.submit(last=2)
    output = story.client.follow_job_logs(story.id)
    pids = story.pids(1)
    info = story.until_running(1)
    cluster.add_node(num_cpus=1)
    started_s = time.monotonic()
    node_of(cluster, info).kill()
    until(gone(pids), 2.0, "the end of the driver with its node")
    story.pids(2)
    print(f"\na killed node: the next attempt ran after {time.monotonic() - started_s:.2f} s")
    story.until_running(2)
    story.go()
    shown = "".join(output)
    assert "--- attempt 2 on node " in shown
    assert shown.endswith("attempt 2 was here\na task ran\n")
    info = story.info()
    assert (info.status, [each.cause for each in info.attempts]) == ("SUCCEEDED", ["system", "succeeded"])
    assert "its node is dead" in info.attempts[0].detail
    assert info.attempts[0].node_id != info.attempts[1].node_id
    text = story.client.get_job_logs(story.id)
    assert text.startswith("--- the log of attempt 1 is gone, or out of reach, with node ")
    assert story.ran() == ["1", "2"]


@pytest.mark.row("P5")
def test_without_failover_a_lost_driver_has_failed_and_ran_once(cluster: Cluster, story: Story) -> None:
    story.submit(last=2, failover=False, max_retries=3)
    pids = story.pids(1)
    info = story.until_running(1)
    cluster.add_node(num_cpus=1)
    node_of(cluster, info).kill()
    ended = story.client.wait_job(story.id)
    assert (ended.status, ended.error_type) == ("FAILED", "JOB_SUPERVISOR_ACTOR_DIED")
    assert "its node is dead" in str(ended.message)
    assert "it was submitted without failover" in str(ended.message)
    assert gone(pids)()
    assert story.ran() == ["1"]


@pytest.mark.row("P5")
def test_a_supervisor_that_was_ended_for_good_is_no_silent_running(cluster: Cluster, story: Story) -> None:
    story.submit(last=2)
    pids = story.pids(1)
    story.until_running(1)
    linckia.kill(linckia.get_actor(story.id, NAMESPACE))
    ended = story.client.wait_job(story.id)
    assert (ended.status, ended.error_type) == ("FAILED", "JOB_SUPERVISOR_ACTOR_DIED")
    assert "its supervisor is dead, after attempt 1" in str(ended.message)
    assert "linckia.kill" in str(ended.message) or "kill" in str(ended.message)
    until(gone(pids))
    assert [each.cause for each in ended.attempts] == ["system"]
    assert story.info() == ended  # it was written down


@pytest.mark.row("P5", "P38c")
def test_a_head_that_dies_costs_a_job_nothing(cluster: Cluster, story: Story) -> None:
    story.submit(last=1)
    output = story.client.follow_job_logs(story.id)
    assert next(output) == "attempt 1 was here\n"
    story.until_running(1)
    kill_leader(cluster)
    assert story.info().status == "RUNNING"  # asked of the next head
    kill_leader(cluster)
    story.go()  # it ends while there is no head, or a new one
    assert "".join(output) == "a task ran\n"
    info = story.info()
    assert (info.status, [each.cause for each in info.attempts]) == ("SUCCEEDED", ["succeeded"])
    assert story.ran() == ["1"]


@pytest.mark.row("8.12", "P5")
def test_stopped_while_its_supervisor_has_no_node(cluster: Cluster, story: Story) -> None:
    story.submit(last=2)
    story.pids(1)
    info = story.until_running(1)
    node_of(cluster, info).kill()
    until(lambda: story.info().status == "PENDING", BACK_MAX_S, "PENDING")
    assert "was lost with its supervisor, which is started again" in str(story.info().message)
    assert story.client.stop_job(story.id)
    cluster.add_node(num_cpus=1)
    info = story.info()
    assert (info.status, info.attempts[-1].cause) == ("STOPPED", "stopped")
    assert story.ran() == ["1"]


def test_nothing_of_a_job_outlives_the_cluster(leftovers: Leftovers, tmp_path: Path) -> None:
    with (
        Cluster(initialize_head=True, head_node_args={"num_cpus": 1}) as cluster,
        JobSubmissionClient(cluster.address) as client,
    ):
        story = Story(client, tmp_path)
        story.submit(last=2)
        pids = story.pids(1)
    until(gone(pids), 2.0)
    assert not leftovers.count()
