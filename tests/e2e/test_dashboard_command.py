"""`linckia start --head` with its dashboard: what is printed can be opened, and nothing of it is left afterwards."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from linckia.host import session
from linckia.testing.page import Page
from tests.e2e.world import ROOT, World

pytestmark = pytest.mark.e2e
PRINTED = re.compile(r"its dashboard +http://(\S+)")
STATIC = ROOT / "src/linckia/dashboard/static"
CHECK_MAX_S = 30


def told(world: World) -> list[dict[str, Any]]:
    """What `linckia status` says of dashboards, of all clusters."""
    report = json.loads(world.linckia("status", "--format", "json"))
    return [each for cluster in report["clusters"] for each in cluster["dashboards"]]


@pytest.mark.row("1.9", "P9")
def test_the_printed_address_opens_and_status_names_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINCKIA_INCLUDE_DASHBOARD")
    printed = world.linckia("start", "--head", "--num-cpus=1", "--port=0", "--dashboard-port=0")
    found = PRINTED.search(printed)
    assert found is not None, printed
    ((path, facts),) = session.live_sessions(world.folder)
    page = Page(found[1], Path(path, "token").read_text())
    assert page.token not in printed
    assert page.cluster()["nodes"]["alive"] == 1
    assert page.url == facts["dashboard_url"]
    (shown,) = told(world)
    assert (shown["url"], shown["is_up"], shown["failures"]) == (f"http://{page.url}", True, 0)
    assert f"http://{page.url}" in world.linckia("status")
    for pid in Path(f"/proc/{facts['pid']}/task/{facts['pid']}/children").read_text().split():
        for file in ("cmdline", "environ"):
            assert page.token.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()
    for log in Path(path, "logs").iterdir():
        assert page.token not in log.read_text(errors="replace")
    world.linckia("stop")
    assert not page.is_there()


@pytest.mark.row("1.9")
def test_a_head_without_one(world: World) -> None:
    assert not PRINTED.search(world.linckia("start", "--head", "--num-cpus=1", "--port=0", "--no-include-dashboard"))
    assert told(world) == []
    world.linckia("stop")


@pytest.mark.row("1.9")
def test_a_host_that_is_not_ours_is_named_in_a_sentence(world: World) -> None:
    asked = ("start", "--head", "--port=0", "--include-dashboard", "--dashboard-host=192.0.2.99")
    said = world.linckia(*asked, code=1)
    assert said.startswith("linckia: the dashboard does not start: the dashboard cannot listen at 192.0.2.99"), said
    assert len(said.splitlines()) == 1
    assert world.sessions() == []


@pytest.mark.row("1.9")
def test_a_head_starts_without_the_dashboard_that_nobody_insisted_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LINCKIA_INCLUDE_DASHBOARD")
    printed = world.linckia("start", "--head", "--num-cpus=1", "--port=0", "--dashboard-host=192.0.2.99")
    assert "its dashboard    none: the dashboard cannot listen at 192.0.2.99" in printed
    world.linckia("stop")


@pytest.mark.row("1.9")
def test_a_node_that_joins_has_none(world: World) -> None:
    """Also when it is asked for: it would show what the head's shows."""
    world.linckia("start", "--head", "--num-cpus=1", "--port=0")
    address = json.loads(world.linckia("status", "--format", "json"))["clusters"][0]["address"]
    assert not PRINTED.search(world.linckia("start", f"--address={address}", "--num-cpus=1", "--include-dashboard"))
    assert told(world) == []
    world.linckia("stop")


@pytest.mark.row("8.47")
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which runs the page's script without a browser")
def test_the_page_shows_what_users_typed_as_text(tmp_path: Path) -> None:
    """Without a browser: the script runs with a document that only knows text, and refuses markup."""
    for name in ("tables.js", "app.js"):
        text = (STATIC / name).read_text().replace("/static/tables.js", "./tables.mjs")
        (tmp_path / f"{Path(name).stem}.mjs").write_text(text)
    shutil.copy(Path(__file__).with_name("page_check.mjs"), tmp_path)
    ran = subprocess.run(
        ["node", "page_check.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=CHECK_MAX_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith("all shown")
