"""The head's process as its node keeps it: who asks for one that was just killed is told so, where others may lead."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from linckia.node import head_child
from linckia.node.head_child import HeadChild
from linckia.node.head_options import HeadOptions
from linckia.rpc.reactor import Reactor

WAIT_S = 10.0


@pytest.fixture
def reactor() -> Any:
    made = Reactor()
    yield made
    made.close()


def killed(reactor: Reactor, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HeadChild:
    """A head on that store, at the moment when its node knows that it was killed."""
    command = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
    monkeypatch.setattr(head_child, "program", lambda *_names: (command, {}))
    child = HeadChild(reactor, HeadOptions(store, "127.0.0.1", 1, "", "s"), str(tmp_path / "log"), pytest.fail)
    child.start()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    deadline_s = time.monotonic() + WAIT_S
    while os.path.exists(f"/proc/{first}") and time.monotonic() < deadline_s:
        reactor.poll(0.02)
    assert not os.path.exists(f"/proc/{first}")
    return child


@pytest.mark.row("S4")
def test_who_asks_for_a_dead_head_is_hung_up_on(
    reactor: Reactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a standby waits for a process that only starts, and takes over when the lease ends instead of at once."""
    child = killed(reactor, "etcd://h:1/x", tmp_path, monkeypatch)
    here, there = socket.socketpair()
    try:
        child.pass_socket(there)
        here.settimeout(WAIT_S)
        assert here.recv(1) == b"", "the hang-up proves that the head is dead"
        deadline_s = time.monotonic() + WAIT_S
        while child.starts == 1 and time.monotonic() < deadline_s:
            reactor.poll(0.02)
        assert child.starts == 2, "a moment later it is started again"
    finally:
        here.close()
        child.close()


@pytest.mark.row("S4")
def test_a_head_that_is_alone_is_started_at_once_and_kept_waiting_for(
    reactor: Reactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = killed(reactor, "sqlite:/x.db", tmp_path, monkeypatch)
    here, there = socket.socketpair()
    try:
        reactor.poll(0.0)
        assert child.starts == 2
        child.pass_socket(there)
        here.setblocking(False)
        with pytest.raises(BlockingIOError):
            here.recv(1)
    finally:
        here.close()
        child.close()
