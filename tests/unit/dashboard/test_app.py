"""The service without a network: paths, refusals and headers. The cluster is a function."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

import msgspec
import pytest

from linckia.base.limits import DASHBOARD_WAITING_MAX
from linckia.dashboard.access import OPEN_PATHS, cookie_name, mark_of
from linckia.dashboard.app import Dashboard
from linckia.dashboard.questions import OVERVIEW, Question, Submissions
from linckia.dashboard.settings import Settings
from linckia.model.jobs import JobRecord, JobSpec
from linckia.model.listing import Part, encode_part
from tests.unit.dashboard.calling import Client
from tests.unit.dashboard.telling import overview

TOKEN, PORT = "t" * 64, 8265
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
Ask = Callable[[Question], bytes]


def answer(question: Question) -> bytes:
    """Of a small cluster."""
    if question == OVERVIEW:
        return msgspec.msgpack.encode(overview())
    if question.kind == "submissions":
        record = JobRecord(JobSpec("a", "python x.py"), "SUCCEEDED")
        return msgspec.msgpack.encode(Submissions([], [], [record]))
    if question.kind == "log":
        return b"it said \xff"
    return encode_part(Part([{"name": "x", "state": "ALIVE", "call_site": "", "object_size": 1}], [], 1, 1))


def silent(question: Question) -> bytes:
    raise OSError(f"nobody answers at unix:{question.what}")


def client_of(ask: Ask, host: str = "127.0.0.1") -> Client:
    settings = Settings(host, PORT, "unix:x", TOKEN, "s", "10.0.0.1", 1.0)
    dashboard = Dashboard(settings, PORT, ask, lambda: None)
    return Client(dashboard, f"http://127.0.0.1:{PORT}")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with client_of(answer) as made:
        yield made


PATHS = (
    "/api/version", "/api/cluster_status", "/api/cluster_status?format=1", "/nodes?view=summary",
    "/nodes?view=hostNameList", "/api/gcs_healthz", "/metrics", "/api/jobs/", "/api/jobs/a", "/api/jobs/a/logs",
    *(f"/api/v0/{what}" for what in ("actors", "jobs", "nodes", "placement_groups", "workers", "tasks")),
    *(f"/api/v0/{what}/summarize" for what in ("tasks", "actors")), "/", "/static/app.js", "/static/tables.js",
)  # fmt: skip


@pytest.mark.row("8.26", "8.28", "8.30", "8.36", "8.37", "8.39", "8.40", "8.41")
@pytest.mark.parametrize("path", PATHS)
def test_every_path_answers_who_has_the_token_and_nobody_else(client: Client, path: str) -> None:
    given = client.get(path, headers=AUTHORIZED)
    assert given.status_code == 200, given.text
    assert given.content
    assert "script-src 'self'" in given.headers["content-security-policy"]
    assert given.headers["cache-control"] == "no-store"
    refused = client.get(path)
    assert refused.status_code == (303 if path == "/" else 401)
    assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert TOKEN not in given.text
    assert TOKEN not in refused.text


def test_what_is_open_tells_nothing_of_the_cluster(client: Client) -> None:
    for path in sorted(OPEN_PATHS - {"/api/authenticate"}):
        shown = client.get(path)
        assert shown.status_code == 200
        assert "10.0.0.1" not in shown.text


def test_pages_use_nothing_from_elsewhere(client: Client) -> None:
    for path in ("/", "/login", "/static/app.js", "/static/tables.js", "/static/style.css"):
        text = client.get(path, headers=AUTHORIZED).text
        for banned in ("http://", "https://", "innerHTML", "insertAdjacentHTML", "document.write", "eval(", " style="):
            assert banned not in text, (path, banned)


@pytest.mark.row("8.44")
def test_a_browser_gets_a_cookie_for_the_token(client: Client) -> None:
    wrong = client.post("/api/authenticate", content=b"token=wrong")
    assert (wrong.status_code, wrong.headers["location"]) == (303, "/login?wrong")
    assert "set-cookie" not in wrong.headers
    given = client.post("/api/authenticate", content=f"token={TOKEN}".encode())
    cookie = given.headers["set-cookie"].lower()
    assert (given.status_code, given.headers["location"]) == (303, "/")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    name = cookie_name(PORT)
    assert client.get("/nodes", headers={"Cookie": f"{name}={mark_of(TOKEN)}"}).status_code == 200
    assert client.get("/nodes", headers={"Cookie": f"{name}={mark_of('x')}"}).status_code == 401


@pytest.mark.row("8.44")
def test_programs_authenticate_with_bearer(client: Client) -> None:
    assert client.post("/api/authenticate", headers=AUTHORIZED).status_code == 200
    assert client.post("/api/authenticate", headers={"Authorization": "Bearer no"}).status_code == 401
    assert client.post("/api/authenticate", content=b"x" * 100_000).status_code == 303


def test_another_sites_name_is_refused(client: Client) -> None:
    refused = client.get("/healthz", headers={"Host": "evil.example"})
    assert refused.status_code == 403
    assert "not called 'evil.example'" in refused.json()["msg"]


def test_bad_questions_are_named(client: Client) -> None:
    for path, complaint in (
        ("/api/v0/actors?limit=x", "limit='x'"),
        ("/nodes?view=all", "view='all'"),
        ("/api/cluster_status?format=2", "format='2'"),
    ):
        refused = client.get(path, headers=AUTHORIZED)
        assert (refused.status_code, refused.json()["result"]) == (400, False)
        assert complaint in refused.json()["msg"]
    assert client.get("/api/jobs/zz", headers=AUTHORIZED).status_code == 404
    assert client.get("/nothing", headers=AUTHORIZED).status_code == 404
    assert client.post("/nodes", headers=AUTHORIZED).status_code == 405, "everything is read only"


def test_logs_are_text_whatever_was_printed(client: Client) -> None:
    assert client.get("/api/jobs/a/logs", headers=AUTHORIZED).json() == {"logs": "it said \ufffd"}


@pytest.mark.row("S10")
def test_where_nothing_is_known_it_is_said() -> None:
    with client_of(silent) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/api/cluster_status", "/api/v0/actors", "/api/jobs/", "/api/gcs_healthz"):
            refused = client.get(path, headers=AUTHORIZED)
            assert refused.status_code == 503
            assert "nobody answers at unix:" in refused.json()["msg"]
        assert client.get("/metrics", headers=AUTHORIZED).status_code == 200, "the dashboard's own"


@pytest.mark.row("8.36")
def test_a_hundred_wait_and_the_next_one_is_sent_away() -> None:
    gate, asked = threading.Event(), threading.Event()

    def slow(question: Question) -> bytes:
        asked.set()
        assert gate.wait(20)
        return answer(question)

    with client_of(slow) as client, ThreadPoolExecutor(DASHBOARD_WAITING_MAX + 1) as pool:
        calls = [
            pool.submit(client.get, "/api/cluster_status", headers=AUTHORIZED) for _ in range(DASHBOARD_WAITING_MAX + 1)
        ]
        assert asked.wait(10)
        first = next(as_completed(calls, 20)).result()
        assert first.status_code == 429, "only the one that is sent away is answered while the cluster thinks"
        assert client.get("/healthz").status_code == 200
        gate.set()
        statuses = sorted(call.result(20).status_code for call in calls)
    assert statuses == [200] * DASHBOARD_WAITING_MAX + [429]
