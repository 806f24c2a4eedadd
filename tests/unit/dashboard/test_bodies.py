"""Bodies of answers: Ray's shapes, and what this cluster has to tell."""

from __future__ import annotations

from typing import Any

import pytest

from linckia.core.jobs import life
from linckia.dashboard import bodies
from linckia.dashboard.metrics import Requests, exposition
from linckia.dashboard.questions import Parameters, Submissions, listing
from linckia.model.jobs import Attempt, JobRecord, JobSpec
from linckia.model.listing import Part
from tests.unit.dashboard.telling import DEAD, NODE, overview

ROW = {"actor_id": "ab", "class_name": "A", "state": "ALIVE", "name": "<img>", "is_detached": True}


@pytest.mark.row("8.36")
def test_a_list_has_rays_shape() -> None:
    part = Part([ROW], [], total=5, matched=3, missing=[f"node {number}" for number in range(7)])
    body = bodies.list_body(listing("actors", Parameters({})), part, 0.25)
    told = body["data"]["result"]
    assert (body["result"], body["msg"], body["data"]["as_of"]) == (True, "", {"age_s": 0.25})
    assert (told["total"], told["num_after_truncation"], told["num_filtered"]) == (5, 5, 3)
    assert told["result"][0]["name"] == "<img>", "text is the page's to escape, by setting it as text"
    assert "is_detached" not in told["result"][0]
    assert told["partial_failure_warning"] == ("no answer from: node 0; node 1; node 2; node 3; node 4; and 2 more")


@pytest.mark.row("8.36")
def test_detail_has_more_columns_and_no_environment_variables() -> None:
    row = {**ROW, "serialized_runtime_env": '{"env_vars":{"A":"secret"}}'}
    body = bodies.list_body(listing("actors", Parameters({"detail": "1"})), Part([row], [], 1, 1), 0.0)
    told = body["data"]["result"]["result"][0]
    assert told["is_detached"] is True
    assert "secret" not in str(body)


@pytest.mark.row("8.37")
def test_a_summary_counts_what_the_list_leaves_out() -> None:
    part = Part([], [("f", "NORMAL_TASK", "RUNNING", 3), ("f", "NORMAL_TASK", "FINISHED", 4)], total=7, matched=7)
    told = bodies.summary_body("tasks", part, 0.0)["data"]["result"]
    cluster = told["result"]["node_id_to_summary"]["cluster"]
    assert cluster["summary"]["f"]["state_counts"] == {"RUNNING": 3, "FINISHED": 4}
    assert (told["total"], cluster["total_tasks"]) == (7, 7)


@pytest.mark.row("8.40")
def test_the_overview() -> None:
    body = bodies.cluster_body(overview(), 4.2)
    assert body["as_of"] == {"age_s": 4.2, "revision": 77, "epoch": 4}
    assert body["nodes"] == {"alive": 1, "dead": 1}
    assert body["resources"] == [{"name": "CPU", "total": 2.0, "used": 1.5}]
    names = [(part["name"], part["is_up"], part["node_id"]) for part in body["parts"]]
    assert names == [("autoscaler", False, ""), ("dashboard", True, NODE.hex()), ("memory monitor", False, NODE.hex())]
    text = bodies.cluster_text(body).splitlines()
    assert "as of 4.2 s ago, revision 77, epoch 4" in text
    assert "waiting 3 x {'CPU': 4.0} at node 00" in text
    assert "autoscaler is down: killed by signal 9" in text


@pytest.mark.row("8.39")
def test_nodes() -> None:
    rows = [each["raylet"] for each in bodies.nodes_body(overview(), 0.0, "summary")["data"]["summary"]]
    assert [(row["nodeId"], row["state"]) for row in rows] == [(NODE.hex(), "ALIVE"), (DEAD.hex(), "DEAD")]
    assert (rows[0]["objectStoreUsedMemory"], rows[0]["objectStoreAvailableMemory"]) == (25.0, 75.0)
    assert rows[1]["objectStoreUsedMemory"] == 0.0
    assert rows[1]["stateMessage"] == "its process was killed"
    assert bodies.nodes_body(overview(), 0.0, "hostNameList")["data"] == {"hostNameList": ["rack"]}
    with pytest.raises(ValueError, match="there are summary and hostNameList"):
        bodies.nodes_body(overview(), 0.0, "all")


# --- jobs -------------------------------------------------------------------------------------------------------------


def driver(job_id: str, submission_id: str | None = None) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "entrypoint": "python x.py",
        "status": "RUNNING",
        "driver_info": {"id": job_id, "node_ip_address": "10.0.0.1", "pid": "9"},
        "message": None,
        "start_time": 1,
        "end_time": 0,
        "metadata": {"job_submission_id": submission_id} if submission_id else {},
        "runtime_env": {"env_vars": {"A": "secret"}},
        "driver_node_id": None,
    }


@pytest.mark.row("8.28")
def test_jobs_are_those_submitted_and_those_that_connected() -> None:
    attempt = Attempt(1, "ab", "10.0.0.1", "log", 1.0, pid=3)
    records = [
        JobRecord(JobSpec("late", "x", submitted_s=2.0), "RUNNING", attempts=[attempt]),
        JobRecord(JobSpec("first", "x", submitted_s=1.0), "RUNNING", attempts=[attempt]),
    ]
    supervisors: list[dict[str, Any]] = [
        {"name": "late", "state": "ALIVE", "death_cause": None},
        {"name": "first", "state": "DEAD", "death_cause": {"x": {"error_message": "its node is gone"}}},
    ]
    told = Submissions(supervisors, [driver("01"), driver("02", "late")], records)
    jobs = bodies.jobs_of(told, now_s=100.0, start_max_s=900.0)
    seen = [(job.submission_id, job.job_id, str(job.status)) for job in jobs]
    assert seen == [("first", None, "FAILED"), ("late", "02", "RUNNING"), (None, "01", "RUNNING")]
    assert "its node is gone" in (jobs[0].message or "")
    assert not life.is_over(records[1]), "nothing is written down"
    assert "secret" not in str(bodies.job_body(jobs[2]))


# --- metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.row("8.50", "8.51", "8.53", "8.55", "8.64", "8.68", "P9")
def test_metrics() -> None:
    requests = Requests()
    requests.answered("/nodes", 200, 0.05)
    text = exposition(overview(), 4.2, requests).decode()
    for line in (
        'ray_cluster_active_nodes{SessionName="s"} 1.0',
        'ray_cluster_failed_nodes{SessionName="s"} 1.0',
        'ray_resources{Name="CPU",SessionName="s",State="USED"} 1.5',
        'ray_resources{Name="CPU",SessionName="s",State="AVAILABLE"} 0.5',
        'ray_actors{SessionName="s",State="ALIVE"} 2.0',
        'ray_actors{SessionName="s",State="DEAD"} 0.0',
        'ray_placement_groups{SessionName="s",State="CREATED"} 0.0',
        'ray_running_jobs{SessionName="s"} 1.0',
        'ray_finished_jobs{SessionName="s"} 9.0',
        f'ray_object_store_used_memory{{NodeId="{NODE.hex()}",SessionName="s",ip="10.0.0.1"}} 25.0',
        'linckia_head_leader{SessionName="s",head="a:1"} 1.0',
        'linckia_head_epoch{SessionName="s",head="a:1"} 4.0',
        'linckia_head_lag_revisions{SessionName="s",head="b:2"} -1.0',
        'linckia_part_up{NodeId="",SessionName="s",part="autoscaler"} 0.0',
        f'linckia_part_up{{NodeId="{NODE.hex()}",SessionName="s",part="dashboard"}} 1.0',
        'ray_dashboard_api_requests_count_total{endpoint="/nodes",http_status="200"} 1.0',
    ):
        assert line in text.splitlines(), f"{line}\n{text}"
    assert DEAD.hex() not in text, "a dead node has no memory"


def test_metrics_without_a_cluster_are_those_of_the_dashboard() -> None:
    text = exposition(None, 0.0, Requests()).decode()
    assert "ray_dashboard_api_requests_count" in text
    assert "ray_cluster" not in text
