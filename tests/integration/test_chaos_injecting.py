"""The injector of `linckia chaos` with a process of its own as victim: what it undoes, and when, and whom it spares."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from signal import SIGSTOP
from typing import Any

import pytest

from linckia.host import process
from linckia.testing.chaos import busy_faults
from linckia.testing.chaos.ground import Ground, Node, until
from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.injecting import Injector
from linckia.testing.chaos.places import impossible
from linckia.testing.chaos.schedule import Fault

SOON_S = 5.0


class Victim:
    """A node as far as the injector sees it."""

    def __init__(self, node_id: str, child: subprocess.Popen[bytes]) -> None:
        self.node_id, self.child = node_id, child

    @property
    def pid(self) -> int:
        return self.child.pid

    def is_alive(self) -> bool:
        return self.child.poll() is None


class Ground1(Ground):
    """One node that is never replaced before ``gate`` opens."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._workers = [node]
        self.gate = threading.Event()
        self.replaced: list[str] = []

    def replace(self, node: Node) -> bool:
        self.gate.wait(SOON_S)
        self.replaced.append(node.node_id)
        return super().replace(node)


@pytest.fixture
def victim() -> Iterator[Victim]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield Victim("n1", child)
    child.kill()
    child.communicate()


def test_a_stopped_process_goes_on_in_time_although_the_next_fault_waits(victim: Victim) -> None:
    """Seed 8 of stop-raylet,stop-head: a head was to be stopped for 3 s, and was for 30."""
    injector = Injector(Ground1(victim), lambda _text: None)
    seen: list[bool] = []

    def stop(fault: Fault) -> Deed | None:
        return injector.hit(fault, victim.pid, "it", SIGSTOP)

    def wait(_fault: Fault) -> Deed | None:
        seen.append(until(lambda: process.parent_and_state(victim.pid)[1] == "T", SOON_S))
        seen.append(until(lambda: process.parent_and_state(victim.pid)[1] == "S", SOON_S))
        return None

    injector.kinds |= {"stop-worker": stop, "head": wait}
    injector.run([Fault(0.0, "stop-worker", 0.0, 0.2), Fault(0.05, "head", 0.0)], 0.1)
    assert seen == [True, True]
    assert len(injector.deeds) == 1
    assert len(injector.skipped) == 1


def test_a_node_that_may_have_to_be_replaced_is_not_hit_again(victim: Victim) -> None:
    """Seed 8, once more: a node was stopped for longer than its lease, and again before it was found to be dead."""
    ground = Ground1(victim)
    injector = Injector(ground, lambda _text: None)
    victim.child.kill()
    victim.child.wait()
    found: list[Any] = []
    injector.replace_later(victim, 0.0, only_if_gone=True)
    looking = threading.Thread(target=lambda: found.append(injector.whole()))
    looking.start()
    looking.join(0.2)
    assert found == []
    ground.gate.set()
    looking.join(SOON_S)
    assert found == [[]]
    assert ground.replaced == ["n1"]


def test_a_node_that_ended_by_itself_is_replaced_before_the_next_fault(victim: Victim) -> None:
    ground = Ground1(victim)
    ground.gate.set()
    injector = Injector(ground, lambda _text: None)
    victim.child.kill()
    victim.child.wait()
    assert injector.whole() == []
    assert ground.replaced == ["n1"]


def test_a_node_that_lives_is_not_replaced(victim: Victim) -> None:
    ground = Ground1(victim)
    injector = Injector(ground, lambda _text: None)
    injector.replace_later(victim, 0.0, only_if_gone=True)
    assert injector.whole() == [victim]
    assert ground.replaced == []


def test_what_cannot_be_undone_is_told(victim: Victim) -> None:
    injector = Injector(Ground1(victim), lambda _text: None)

    def heal() -> None:
        raise OSError("no such link")

    injector.later(0.0, heal, "heal node0")
    injector.run([], 0.0)
    assert injector.troubles == ["heal node0: no such link"]


def test_who_ends_early_undoes_at_once_and_starts_nothing(victim: Victim) -> None:
    injector = Injector(Ground1(victim), lambda _text: None)
    done: list[str] = []
    injector.later(60.0, lambda: done.append("heal"))
    injector.later(60.0, lambda: done.append("start etcd"), starts=True)
    injector.close()
    assert done == ["heal"]


def test_what_spins_ends_when_the_fault_is_over(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def noted(*words: Any, **more: Any) -> subprocess.Popen[bytes]:
        begun.append(real(*words, **more))
        return begun[-1]

    monkeypatch.setattr(busy_faults.subprocess, "Popen", noted)
    monkeypatch.setattr(busy_faults.os, "cpu_count", lambda: 1)
    injector = Injector(Ground1(victim), lambda _text: None)
    injector.kinds |= busy_faults.BusyFaults(injector).kinds()
    injector.run([Fault(0.0, "busy", 0.5, 0.2)], 0.0)
    assert len(begun) == busy_faults.SPINNERS_PER_CORE
    assert all(each.returncode is not None for each in begun), "ended and reaped"
    assert injector.deeds[0].target == "4 processes that spin"


SMALL_DISK = """
import sys
from pathlib import Path
from linckia.testing.chaos.places import Places
from linckia.testing.chaos.schedule import SMALL_DISKS
places = Places(Path(sys.argv[1]), (SMALL_DISKS,), ())
disk = places.disk("spill", 1 << 20)
assert disk.is_mount()
places.close()
disk.rmdir()
"""


@pytest.mark.skipif("full-spill" in impossible(), reason="small disks are mounted, which needs root")
def test_a_small_disk_leaves_no_mount_point_behind(tmp_path: Path) -> None:
    """Each run left its empty folders in /tmp: what something is mounted on cannot be removed."""
    subprocess.run([sys.executable, "-c", SMALL_DISK, str(tmp_path)], check=True)
    assert not list(tmp_path.iterdir())
