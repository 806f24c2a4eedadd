"""The dashboard of a real head: what it shows, who may look, and that it is back when it is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import linckia
from linckia.cluster_utils import Cluster
from linckia.job_submission import JobSubmissionClient
from linckia.testing.page import Page
from linckia.util.placement_group import placement_group
from tests.fault.watching import until

BACK_MAX_S = 10.0


@linckia.remote(num_cpus=0)
class Keeper:
    def pid(self) -> int:
        return os.getpid()


@linckia.remote
def double(value: int) -> int:
    return 2 * value


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A head with SQLite, a second node, an actor, a group and some tasks; this program is connected."""
    given = {"num_cpus": 2, "store": "session", "include_dashboard": True, "dashboard_port": 0}
    cluster = Cluster(initialize_head=True, head_node_args=given)
    try:
        cluster.add_node(num_cpus=1)
        context = cluster.connect(namespace="shown")
        shown = Page.of(context.address_info["session_dir"])
        assert context.dashboard_url == context.address_info["webui_url"] == shown.url
        keeper = Keeper.options(name="<b>keeper</b>", runtime_env={"env_vars": {"PASSWORD": "hunter2"}}).remote()
        linckia.get([keeper.pid.remote(), *(double.remote(number) for number in range(5))])
        linckia.get(placement_group([{"CPU": 0.5}]).ready())
        until(shown.is_there, BACK_MAX_S, "it is up: a head does not wait for it")
        yield shown
        del keeper
    finally:
        linckia.shutdown()
        cluster.shutdown()


def rows(page: Page, path: str) -> list[dict[str, Any]]:
    answer = page.get(path)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.body["data"]["result"]["result"]
    return found


@pytest.mark.row("1.9", "1.15", "8.26", "8.39", "8.40", "8.41")
def test_the_cluster(page: Page) -> None:
    until(lambda: page.cluster()["parts"], BACK_MAX_S, "the head has heard of its dashboard")
    told = page.cluster()
    assert told["nodes"] == {"alive": 2, "dead": 0}
    cpus = {"name": "CPU", "total": 3.0, "used": 0.5}
    until(lambda: cpus in page.cluster()["resources"], BACK_MAX_S, "tasks have given back what they had")
    assert [head["leader"] for head in told["heads"]] == [True]
    assert [(part["name"], part["is_up"], part["url"]) for part in told["parts"]] == [("dashboard", True, page.url)]
    assert told["counts"]["actors"] == {"ALIVE": 1}
    assert told["as_of"]["revision"] > 0
    assert told["as_of"]["epoch"] == told["heads"][0]["epoch"]
    states = [each["raylet"]["state"] for each in page.get("/nodes?view=summary").body["data"]["summary"]]
    assert states == ["ALIVE", "ALIVE"]
    assert page.get("/api/gcs_healthz").status == page.get("/healthz").status == 200
    assert page.get("/api/version").body["session_name"] == told["session_name"] != ""


@pytest.mark.row("8.36", "8.37", "8.48")
def test_the_state_api(page: Page) -> None:
    (actor,) = rows(page, "/api/v0/actors?detail=1")
    assert (actor["name"], actor["state"], actor["class_name"]) == ("<b>keeper</b>", "ALIVE", "Keeper")
    assert "hunter2" not in str(actor)
    assert "PASSWORD" in actor["serialized_runtime_env"]
    assert rows(page, "/api/v0/actors?filter_keys=state&filter_predicates=%21%3D&filter_values=ALIVE") == []
    assert len(rows(page, "/api/v0/nodes?limit=1")) == 1
    assert [group["state"] for group in rows(page, "/api/v0/placement_groups")] == ["CREATED"]
    assert {row["worker_type"] for row in rows(page, "/api/v0/workers")} == {"DRIVER", "WORKER"}
    assert [row["type"] for row in rows(page, "/api/v0/jobs")] == ["DRIVER"], "a dashboard is no job"
    assert sum(row["func_or_class_name"].endswith("double") for row in rows(page, "/api/v0/tasks")) == 5
    assert rows(page, "/api/v0/objects?limit=10000")
    for what in ("tasks", "actors", "objects"):
        told = page.get(f"/api/v0/{what}/summarize").body["data"]["result"]
        assert told["result"]["node_id_to_summary"]["cluster"]["summary"]
        assert told["total"] == len(rows(page, f"/api/v0/{what}?limit=10000"))


@pytest.mark.row("8.44")
def test_nobody_gets_in_without_the_token(page: Page) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"linckia-dashboard-1={page.token}"}):
        assert page.get("/api/cluster_status", headers).status == 401
        assert page.get("/metrics", headers).status == 401
    assert page.get("/healthz", {"Host": "evil.example"}).status == 403
    given = page.get("/api/authenticate", {}, f"token={page.token}".encode())
    assert given.status == 303
    cookie = given.headers["set-cookie"].partition(";")[0]
    assert page.get("/api/cluster_status", {"Cookie": cookie}).status == 200


@pytest.mark.row("8.50", "8.51", "8.53", "8.55", "8.64")
def test_metrics_are_there_for_prometheus(page: Page) -> None:
    answer = page.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for beginning in (
        'ray_actors{SessionName="',
        'ray_resources{Name="CPU"',
        "linckia_head_leader{",
        "linckia_part_up{",
    ):
        assert f"\n{beginning}" in answer.text, answer.text


@pytest.mark.row("8.28", "8.30")
def test_submitted_jobs_and_their_output(page: Page) -> None:
    client = JobSubmissionClient()
    name = client.submit_job(entrypoint="echo it works", runtime_env={"env_vars": {"PASSWORD": "hunter2"}})
    until(lambda: client.get_job_status(name).is_terminal(), 30.0, "the job is over")
    found = until(lambda: [each for each in page.get("/api/jobs/").body if each["status"] == "SUCCEEDED"], what="shown")
    assert [each["submission_id"] for each in found] == [name]
    told = page.get(f"/api/jobs/{name}")
    assert (told.status, told.body["entrypoint"], told.body["type"]) == (200, "echo it works", "SUBMISSION")
    assert "hunter2" not in told.text
    assert page.get(f"/api/jobs/{name}/logs").body == {"logs": "it works\n"}
    assert page.get("/api/jobs/nothing").status == 404


@pytest.mark.row("P9", "S10")
def test_a_killed_dashboard_is_back_at_the_same_address(page: Page) -> None:
    def pid() -> int:
        return int(page.cluster()["parts"][0]["pid"])

    until(lambda: page.cluster()["parts"], BACK_MAX_S, "the head has heard of its dashboard")
    killed = pid()
    os.kill(killed, signal.SIGKILL)
    until(lambda: page.is_there() and pid() not in (0, killed), BACK_MAX_S, "another one is there")
    told = until(
        lambda: [part for part in page.cluster()["parts"] if part["failures"] == 1 and part["is_up"]],
        BACK_MAX_S,
        "that it failed once and is up is told with the next heartbeats",
    )
    assert "signal 9" in told[0]["why"] or "SIGKILL" in told[0]["why"]
