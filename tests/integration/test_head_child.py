"""The head's process as its node keeps it: forked, watched, forked again; who asks for one that was just killed is told
so, where others may lead.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from linckia.host import process
from linckia.node import child as child_module
from linckia.node import head_forks
from linckia.node.head_child import HeadChild
from linckia.node.head_options import HeadOptions
from linckia.rpc.reactor import Reactor

WAIT_S = 10.0
FORKS = """
import os, signal, socket
commands = socket.socket(fileno=0)
while True:
    packet, fds, _, _ = socket.recv_fds(commands, 256, 1)
    if not packet:
        os._exit(0)
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid:
            commands.send(str(pid).encode())
            os._exit(0)
        os.close(0)
        channel = socket.socket(fileno=fds[0])
        channel.recv(65536)
        channel.send(b'{"lease": 7, "works": true}')
        signal.pause()
    os.waitpid(between, 0)
    os.close(fds[0])
"""
"""As node/head_zygote.py, with heads that say what a head says and then do nothing."""
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: heads become children of the node, which reaps them


class Watched:
    """A reactor with one node's head."""

    def __init__(self, store: str, folder: Path) -> None:
        self.reactor = Reactor()
        options = HeadOptions(store, "127.0.0.1", 1, "", "s")
        self.head = HeadChild(self.reactor, options, str(folder / "log"), pytest.fail)
        self.head.start()

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline_s, what
            self.reactor.poll(0.02)

    def kill(self) -> None:
        """As soon as it has said that it works."""
        self.until(lambda: self.head.pid and self.head._worked, "it works")
        killed = self.head.pid
        os.kill(killed, signal.SIGKILL)
        self.until(lambda: self.head.pid != killed, "its end is noticed")


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Watched]]:
    monkeypatch.setattr(child_module, "program", lambda *_names: ([sys.executable, "-S", "-c", FORKS], {}))
    made: list[Watched] = []
    process.become_subreaper()

    def make(store: str) -> Watched:
        made.append(Watched(store, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.head.close()
        each.reactor.close()
    process._prctl(SUBREAPER, 0)


def ask(watched: Watched) -> socket.socket:
    here, there = socket.socketpair()
    watched.head.pass_socket(there)
    here.settimeout(WAIT_S)
    return here


@pytest.mark.row("S4")
def test_who_asks_for_a_head_that_was_just_killed_is_hung_up_on(watched: Callable[[str], Watched]) -> None:
    """Else another head waits for a process that has just begun, and takes over when the lease ends, not at once."""
    node = watched("etcd://h:1/x")
    node.kill()
    with ask(node) as here:
        assert here.recv(1) == b"", "the hang-up proves that the head is dead"
    node.until(lambda: node.head.starts == 2, "it is started again at once")


@pytest.mark.row("S4")
def test_a_next_one_that_leads_is_handed_to_those_who_ask(watched: Callable[[str], Watched]) -> None:
    """They look for this one: a hang-up, meant for the dead one, would cost it its lease."""
    node = watched("etcd://h:1/x")
    node.kill()
    node.until(lambda: node.head.pid and node.head._worked, "the next one works")
    node.head._hear({"epoch": 8})
    with ask(node) as here:
        here.setblocking(False)
        with pytest.raises(BlockingIOError):
            here.recv(1)


@pytest.mark.row("S4")
def test_where_there_is_no_other_head_who_asks_waits_for_the_next_process(watched: Callable[[str], Watched]) -> None:
    node = watched("sqlite:/x.db")
    node.kill()
    with ask(node) as here:
        here.setblocking(False)
        with pytest.raises(BlockingIOError):
            here.recv(1)
        node.until(lambda: node.head.starts == 2 and not node.head._early, "it is handed over")


@pytest.mark.row("S4")
def test_the_next_process_is_told_whose_lease_is_over(watched: Callable[[str], Watched]) -> None:
    node = watched("etcd://h:1/x")
    node.until(lambda: node.head.pid, "it is there")
    first = node.head.pid
    node.kill()
    assert (node.head._options.predecessor, node.head._options.predecessor_lease) == (first, 7)
    assert b'"predecessor_lease":7' in msgspec.json.encode(node.head._options.as_json_object())


@pytest.mark.row("P2")
def test_many_kills_in_a_row_slow_nothing_down(watched: Callable[[str], Watched]) -> None:
    node = watched("sqlite:/x.db")
    began_s = time.monotonic()
    for _ in range(30):
        node.kill()
    node.until(lambda: node.head.starts == 31, "one more each time")
    assert time.monotonic() - began_s < 5.0, "with pauses that double it would take a minute"
    assert node.head.forks.starts == 1
    print(f"heads killed 30 in {time.monotonic() - began_s:.2f} s")


def test_a_stopped_process_that_forks_is_ended_and_the_next_one_forks(
    watched: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_forks, "FORK_MAX_S", 0.3)
    node = watched("sqlite:/nowhere")
    node.until(lambda: node.head.pid and node.head._worked, "it works")
    first, stopped = node.head.pid, node.head.forks.pid
    os.kill(stopped, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    node.until(lambda: node.head.pid not in (0, first), "another process has forked the next head")
    assert node.head.forks.pid != stopped


def test_the_death_of_the_process_that_forks_ends_no_head(watched: Callable[[str], Watched]) -> None:
    node = watched("sqlite:/x.db")
    node.until(lambda: node.head._worked, "it works")
    head = node.head.pid
    os.kill(node.head.forks.pid, signal.SIGKILL)
    node.until(lambda: node.head.forks.starts == 2, "another one is started beside it")
    assert (node.head.pid, node.head.starts) == (head, 1)
    node.kill()
    node.until(lambda: node.head.starts == 2, "it can fork")


def test_a_head_that_cannot_be_forked_is_tried_again(
    watched: Callable[[str], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError(11, "no process is left")] * 2
    spawn = child_module.spawn

    def refuse(*given: Any) -> int:
        if failures:
            raise failures.pop()
        return spawn(*given)

    monkeypatch.setattr(head_forks, "spawn", refuse)
    node = watched("sqlite:/x.db")
    node.until(lambda: node.head.starts == 1, "the third time it can be")
