"""A supervised process as its owner keeps it: started, watched, started again, ended for good."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linckia.host import process
from linckia.node import child as child_module
from linckia.node.part_child import PartChild, Program
from linckia.rpc.reactor import Reactor

pytestmark = pytest.mark.row("P9", "S10")
WAIT_S = 10.0
SPEAKS = "import socket, signal; socket.socket(fileno=0).send(b'x'); signal.pause()"
FAILS = "raise SystemExit(3)"


class Owner:
    """A reactor with one part, which works once it has said a word."""

    def __init__(self, folder: Path, silent_max_s: float) -> None:
        self.reactor = Reactor()
        program = Program("test part", "unused", "unused", str(folder / "log"), silent_max_s)
        self.child = PartChild(self.reactor, program, self._on_started, self._on_ended)
        self._sock: socket.socket | None = None
        self.child.start()

    def _on_started(self, sock: socket.socket) -> None:
        self._sock = sock
        self.reactor.register(sock.fileno(), self._on_word)

    def _on_word(self, _events: int) -> None:
        assert self._sock is not None
        if self._sock.recv(10):
            self.child.heard(works=True)
        else:
            self._on_ended("")

    def _on_ended(self, _why: str) -> None:
        if self._sock is not None:
            self.reactor.unregister(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline_s, what
            self.reactor.poll(0.02)


def children() -> set[int]:
    """Of this process, which other tests use too."""
    return set(process.children_of(os.getpid()))


@pytest.fixture
def owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Owner]]:
    made: list[Owner] = []
    before = children()

    def make(text: str, silent_max_s: float = WAIT_S) -> Owner:
        monkeypatch.setattr(child_module, "program", lambda *_names: ([sys.executable, "-S", "-c", text], {}))
        made.append(Owner(tmp_path, silent_max_s))
        return made[-1]

    yield make
    for owner in made:
        owner.child.close()
        owner.child.close()
        assert children() <= before, "a child, or a zombie, is left"
        owner.reactor.close()


def test_a_killed_part_is_back(owned: Callable[..., Owner]) -> None:
    owner = owned(SPEAKS)
    owner.until(lambda: owner.child.part.state.name == "UP", "it works")
    killed = owner.child.pid
    os.kill(killed, signal.SIGKILL)
    owner.until(lambda: owner.child.part.failures == 1, "its end is noticed")
    assert not owner.child.facts()["is_up"]
    owner.until(lambda: owner.child.facts()["is_up"], "another one works")
    assert owner.child.pid not in (0, killed)
    assert "killed by" in owner.child.facts()["why"].lower() or "signal 9" in owner.child.facts()["why"]


def test_a_silent_part_is_ended(owned: Callable[..., Owner]) -> None:
    owner = owned(SPEAKS, 0.3)
    owner.until(lambda: owner.child.part.failures == 2, "its silence is noticed, twice")
    assert owner.child.facts()["why"] == "it was silent for 0.3 s"


def test_a_part_that_never_works_is_tried_less_and_less_often(owned: Callable[..., Owner]) -> None:
    owner = owned(FAILS)
    began_s = time.monotonic()
    owner.until(lambda: owner.child.part.failures == 4, "it was tried four times")
    assert time.monotonic() - began_s >= 0.5 * (0.05 + 0.1 + 0.2)
    assert "code 3" in owner.child.facts()["why"]


def test_a_part_that_is_not_wanted_any_more_stays_away(owned: Callable[..., Owner]) -> None:
    owner = owned(SPEAKS)
    owner.until(lambda: owner.child.part.state.name == "UP", "it works")
    pidfd = os.pidfd_open(owner.child.pid)
    others = children() - {owner.child.pid}
    owner.child.close()
    assert process.wait_pidfd(pidfd, 0.0), "it has ended when close() returns"
    os.close(pidfd)
    owner.child.start()
    assert children() <= others
