"""Where a dashboard listens, and what is said when there can be none."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest

import linckia
from linckia.base.limits import DASHBOARD_PORTS_TRIED
from linckia.dashboard.listening import ListenError, listen
from linckia.node import dashboard_child
from linckia.node.launch import NodeStartError
from linckia.testing.page import Page


@pytest.mark.row("1.9")
def test_a_taken_port_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with linckia.init(
            address="local", num_cpus=1, include_dashboard=True, dashboard_port=port, log_to_driver=False
        ) as context:
            host, _, found = context.dashboard_url.rpartition(":")
            assert (host, int(found) > port) == ("127.0.0.1", True)
            shown = Page.of(context.address_info["session_dir"])
            assert shown.cluster()["nodes"]["alive"] == 1
            assert shown.cluster()["heads"] == [], "the head is a part of its node"
    assert not shown.is_there(), "it ends with its node"


@pytest.mark.row("1.9")
def test_a_program_has_none_unless_it_asks() -> None:
    with linckia.init(address="local", num_cpus=1, log_to_driver=False) as context:
        assert context.dashboard_url == context.address_info["webui_url"] == ""


def test_a_host_that_is_not_ours() -> None:
    with pytest.raises(NodeStartError, match="the dashboard does not start: the dashboard cannot listen at 192.0.2.99"):
        linckia.init(address="local", num_cpus=1, include_dashboard=True, dashboard_host="192.0.2.99")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_child, "NEEDED", ("json", "no_such_module"))
    assert dashboard_child.missing() == (
        "the dashboard needs no_such_module, which this Python does not have: pip install 'linckia[dashboard]'"
    )


def test_when_all_ports_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [socket.create_server(("127.0.0.1", 0))]
    port = taken[0].getsockname()[1]
    try:
        monkeypatch.setattr("linckia.dashboard.listening.DASHBOARD_PORTS_TRIED", 0)
        with pytest.raises(ListenError, match=f"ports {port} to {port} of 127.0.0.1 are taken"):
            listen("127.0.0.1", port)
    finally:
        for sock in taken:
            sock.close()
    assert DASHBOARD_PORTS_TRIED == 50


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"include_dashboard": "yes"}, "include_dashboard='yes'"),
        ({"include_dashboard": True, "dashboard_port": 70_000}, "dashboard_port=70000"),
        ({"include_dashboard": True, "dashboard_host": 5}, "dashboard_host=5"),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        linckia.init(address="local", **given)
    assert complaint in str(refused.value)


def test_nothing_of_it_is_loaded_elsewhere() -> None:
    """Nodes, heads, workers and drivers stay as small and quick to start as they are without it."""
    rooms = ("api.session", "api.driver", "node.main", "node.rooms", "node.head_process", "worker.main", "cli.main")
    banned = ("linckia.dashboard", "starlette", "uvicorn", "prometheus_client", "anyio")
    program = f"""
import sys
{chr(10).join(f"import linckia.{room}" for room in rooms)}
print([name for name in sys.modules if name.partition(".")[0] in {banned} or name.startswith("linckia.dashboard")])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
