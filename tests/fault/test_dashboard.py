"""The dashboard is killed and stopped while work runs, and heads die under it: nothing of the work notices, it is back
at the same address, and it shows whichever head leads.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from heads_of import kill_leader, leader, until_others
from watching import SCALE, Leftovers, is_gone, stopped, until

import linckia
from linckia.cluster_utils import Cluster
from linckia.testing.etcd import EtcdCluster, missing
from linckia.testing.page import Page

pytestmark = [pytest.mark.fault, pytest.mark.row("S10", "P9")]
KILLS = 5 * SCALE
BACK_MAX_S = 2.0
GET_MAX_S = 30
LATE_MAX_S = 5.0
"""For a single one, when others use these cores too."""
SILENT_S = 2.0
PAUSE_S = 0.005
HEAD = {"num_cpus": 2, "include_dashboard": True, "dashboard_port": 0}


@linckia.remote(max_retries=0)
def double(value: int) -> int:
    return 2 * value


@linckia.remote(num_cpus=0, max_restarts=0)
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def inc(self) -> int:
        self.count += 1
        return self.count


class Workload:
    """Tasks and actor calls without retries, from a thread, until it is stopped. Whatever goes wrong is kept."""

    def __init__(self) -> None:
        self.tasks = self.calls = 0
        self.wrong: list[str] = []
        self._counter = Counter.remote()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Workload:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join(GET_MAX_S)

    def goes_on(self) -> None:
        """Something was done since this was called."""
        done = self.tasks
        until(lambda: self.tasks > done, GET_MAX_S, "the work goes on")

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                found = linckia.get([double.remote(number) for number in range(10)], timeout=GET_MAX_S)
                count = linckia.get(self._counter.inc.remote(), timeout=GET_MAX_S)
            except linckia.exceptions.RayError as error:
                self.wrong.append(repr(error))
                return
            self.tasks, self.calls = self.tasks + 10, self.calls + 1
            self._over.wait(PAUSE_S)  # a workload that others can work beside
            if found != [2 * number for number in range(10)] or count != self.calls:
                self.wrong.append(f"{found} {count} after {self.calls} calls")


@contextmanager
def head_with_page() -> Iterator[tuple[Cluster, Page]]:
    """A head with SQLite and its dashboard; this program is connected."""
    cluster = Cluster(initialize_head=True, head_node_args={**HEAD, "store": "session"})
    try:
        page = Page.of(cluster.connect().address_info["session_dir"])
        until(page.is_there, GET_MAX_S, "it is up: a head does not wait for it")
        yield cluster, page
    finally:
        linckia.shutdown()
        cluster.shutdown()


def pid_of(cluster: Cluster) -> int:
    """Of the dashboard's process, which is a child of the node's; 0 while there is none."""
    assert cluster.head_node is not None
    children = Path(f"/proc/{cluster.head_node.pid}/task/{cluster.head_node.pid}/children").read_text().split()
    named = [int(pid) for pid in children if _name(pid) == "linckia-dash"]
    return named[0] if named else 0


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def back_s(cluster: Cluster, page: Page, gone: int, began_s: float) -> float:
    """How long after ``began_s`` another one shows the cluster."""
    until(lambda: page.is_there() and pid_of(cluster) not in (0, gone), GET_MAX_S, "another one is there")
    assert page.cluster()["nodes"]["alive"] == 1
    return time.monotonic() - began_s


def _shown(page: Page) -> dict[str, Any]:
    """What the cluster says of its dashboard."""
    told = until(lambda: [part for part in page.cluster()["parts"] if part["name"] == "dashboard"], 10, "it is known")
    found: dict[str, Any] = told[0]
    return found


def test_killed_again_and_again_and_no_task_notices(leftovers: Leftovers) -> None:
    took: list[float] = []
    with head_with_page() as (cluster, page), Workload() as work:
        for _ in range(KILLS):
            work.goes_on()
            gone, began_s = pid_of(cluster), time.monotonic()
            os.kill(gone, signal.SIGKILL)
            took.append(back_s(cluster, page, gone, began_s))
        work.goes_on()
        until(lambda: _shown(page)["failures"] == KILLS and _shown(page)["is_up"], 10, "all of it is told")
    assert work.wrong == []
    assert leftovers.count() == {}
    took.sort()
    p99_s = took[int(0.99 * (len(took) - 1))]
    print(
        f"dashboards killed {KILLS}, back after {took[0]:.2f} / {took[len(took) // 2]:.2f} / {p99_s:.2f} / "
        f"{took[-1]:.2f} s (min/median/p99/max); tasks {work.tasks}, actor calls {work.calls}, "
        f"wrong or lost {len(work.wrong)}"
    )
    assert took[len(took) // 2] < BACK_MAX_S, took
    assert took[-1] < LATE_MAX_S, took


def test_a_stopped_one_is_ended_and_replaced(leftovers: Leftovers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINCKIA_DASHBOARD_SILENT_S", str(SILENT_S))
    with head_with_page() as (cluster, page), Workload() as work:
        gone = pid_of(cluster)
        with stopped(gone):
            until(lambda: is_gone(gone), 10 * SILENT_S, "its silence is noticed")
            took_s = back_s(cluster, page, gone, time.monotonic())
        until(lambda: _shown(page)["failures"], 10, "it is told")
        assert _shown(page)["why"] == f"it was silent for {SILENT_S:g} s"
        work.goes_on()
    assert work.wrong == []
    assert leftovers.count() == {}
    assert took_s < LATE_MAX_S


@pytest.mark.row("S1")
def test_it_outlives_the_head_and_shows_the_next_one(leftovers: Leftovers) -> None:
    with head_with_page() as (cluster, page), Workload() as work:
        before, mine = page.cluster(), pid_of(cluster)
        killed = kill_leader(cluster)
        after = until(lambda: _led_by_another(page, killed), GET_MAX_S, "it shows the next head")
        assert after["as_of"]["epoch"] > before["as_of"]["epoch"]
        assert after["session_name"] == before["session_name"]
        assert pid_of(cluster) == mine, "it is not the head's child"
        work.goes_on()
    assert work.wrong == []
    assert leftovers.count() == {}


def _led_by_another(page: Page, killed: dict[str, Any]) -> dict[str, Any] | None:
    told = page.cluster()
    led = [head for head in told["heads"] if head["leader"]]
    return told if led and (led[0]["pid"], led[0]["port"]) != (killed["pid"], killed["port"]) else None


@pytest.mark.row("S4", "8.41")
def test_another_machines_head_is_shown_too(tmp_path: Path) -> None:
    """Both machines have a dashboard; while nobody leads it shows what it knew, and says how old that is."""
    if why := missing():
        pytest.skip(why)
    etcd = EtcdCluster(tmp_path, 1)
    cluster = Cluster()
    given = {**HEAD, "store": f"etcd://{','.join(etcd.endpoints)}/shown"}
    try:
        first, second = cluster.add_node(**given), cluster.add_node(**given)
        linckia.init(address=second.address)
        until_others(cluster, 1)
        pages = [Page.of(node.process.session_dir) for node in (first, second)]
        assert pages[0].url != pages[1].url
        killed = leader(cluster)
        assert [page.cluster()["nodes"]["alive"] for page in pages] == [2, 2]
        with stopped(killed["pid"]):  # it holds its lease for a while: nobody leads
            late = until(lambda: (told := pages[0].cluster())["as_of"]["age_s"] > 0.8 and told, GET_MAX_S, "it is late")
            assert late["nodes"]["alive"] == 2
            for page in pages:
                until(lambda page=page: _led_by_another(page, killed), GET_MAX_S, "the other head is shown")
                until(lambda page=page: page.get("/api/gcs_healthz").status == 200, GET_MAX_S, "somebody leads")
        assert linckia.get(double.remote(4), timeout=GET_MAX_S) == 8
    finally:
        linckia.shutdown()
        cluster.shutdown()
        etcd.close()
