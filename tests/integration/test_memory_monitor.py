"""The memory monitor in a raylet with stand-ins: rounds of kills, what is told to whom, fat idle workers."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator

import pytest

from linckia.base.limits import IDLE_WORKER_LOOK_AFTER_S, MIB, VICTIM_EXIT_MAX_S
from linckia.core.memory.thresholds import MemorySettings, Usage
from linckia.core.workers.exits import ExitType
from linckia.host.memory import Alarm
from linckia.protocol import messages as m
from linckia.raylet.memory_monitor import LIMITS_AGAIN_S, MemoryMonitor
from tests.integration.test_raylet import FakePeer, World

LIMIT = 1000 * MIB


class FakeProbe:
    """Memory as the test says."""

    def __init__(self) -> None:
        self.used, self.kernel_kills, self.refreshed = 100 * MIB, 0, 0

    def refresh(self) -> None:
        self.refreshed += 1

    def read(self, threshold_bytes: Callable[[int], int]) -> list[Usage]:
        return [Usage("the test", self.used, LIMIT)]

    def alarms(self, threshold_bytes: Callable[[int], int]) -> list[Alarm]:
        return []

    def tightest(self) -> str:
        return "the test"

    def kernel_killed(self) -> bool:
        self.kernel_kills -= 1
        return self.kernel_kills >= 0


class Scene:
    """A raylet with a monitor whose processes hold what the test says, in MiB by worker."""

    def __init__(self, folder: pathlib.Path, settings: MemorySettings) -> None:
        self.world, self.probe = World(folder), FakeProbe()
        self.raylet = self.world.raylet
        self.monitor = self.raylet.memory = MemoryMonitor(self.raylet, settings)
        self.held: dict[int, int] = {}
        self.monitor.private_bytes = lambda pid: self.held.get(pid, 1) * MIB
        self.monitor.start(self.probe)
        self.now_s = 1000.0
        self._rids = iter(range(100, 200))

    def lease(self, mib: int, *, retriable: bool = True, name: str = "f") -> tuple[FakePeer, m.LeaseGranted]:
        rid = next(self._rids)
        request = m.RequestLease(rid, {"CPU": 0.1}, 1, self.world.job, False, name=name, retriable=retriable)
        self.world.say(self.world.driver, request)
        started = self.world.start_workers()
        (granted,) = self.world.driver.take(m.LeaseGranted)
        worker = next(
            (peer for peer in started if peer.peer_id == granted.worker.worker_id), FakePeer(granted.worker.worker_id)
        )
        self.hold(worker, mib)
        return worker, granted

    def hold(self, worker: FakePeer, mib: int) -> None:
        self.held[self.raylet.pool.workers[worker.peer_id].pid] = mib

    def look(self, passed_s: float = 0.1) -> None:
        self.now_s += passed_s
        self.monitor.look(self.now_s)

    def condemned(self) -> list[bytes]:
        """Workers that were told to go for want of memory, in order of their making."""
        return [w.worker_id for w in self.raylet.pool.workers.values() if w.reason == "NODE_OUT_OF_MEMORY"]

    def close(self) -> None:
        for worker in list(self.raylet.pool.workers.values()):
            worker.log.finish()
        self.world.segment.close()


@pytest.fixture
def scene(tmp_path: pathlib.Path) -> Iterator[Scene]:
    scene = Scene(tmp_path, MemorySettings())
    yield scene
    scene.close()


@pytest.mark.row("7.17", "7.18", "7.20", "S25")
def test_the_newest_retriable_goes_and_its_owner_hears_why(scene: Scene) -> None:
    old, _ = scene.lease(100, name="old")
    new, granted = scene.lease(200, name="new")
    final, _ = scene.lease(300, retriable=False, name="precious")
    scene.look()
    assert scene.condemned() == []
    scene.probe.used = 960 * MIB
    scene.look()
    assert scene.condemned() == [new.peer_id]
    process = scene.raylet.pool.workers[new.peer_id]
    scene.world.end(new)
    assert process.exit_type is ExitType.NODE_OUT_OF_MEMORY
    (broken,) = scene.world.driver.take(m.LeaseBroken)
    assert (broken.lease_id, broken.oom, broken.is_final) == (granted.lease_id, True, False)
    assert broken.reason.startswith("NODE_OUT_OF_MEMORY: the worker of task new")
    for part in ("node 127.0.0.1", "960.0 MiB of 1,000.0 MiB", "950.0 MiB", "200.0 MiB (USS)", "largest processes"):
        assert part in broken.reason
    (warning,) = scene.world.driver.take(m.DriverMessage)
    assert warning.text == broken.reason
    assert {old.peer_id, final.peer_id} <= set(scene.raylet.pool.workers)


@pytest.mark.row("7.18")
def test_several_go_in_one_round_and_the_next_waits_for_their_end(scene: Scene) -> None:
    first, _ = scene.lease(40)
    second, _ = scene.lease(40)
    third, _ = scene.lease(40)
    scene.probe.used = 960 * MIB  # 60 MiB must go
    scene.look()
    assert scene.condemned() == [second.peer_id, third.peer_id]
    scene.look()
    assert len(scene.condemned()) == 2, "they are still dying"
    scene.world.end(third)
    scene.world.end(second)
    scene.look()
    assert scene.condemned() == [first.peer_id], "it was not enough"
    scene.look(VICTIM_EXIT_MAX_S + 1)
    assert scene.condemned() == [first.peer_id], "nobody is left; nothing breaks"


@pytest.mark.row("7.18")
def test_idle_workers_go_first_and_get_no_more_work(scene: Scene) -> None:
    idle, granted = scene.lease(70)
    scene.world.say(scene.world.driver, m.ReturnLease(granted.lease_id))
    busy, _ = scene.lease(1)
    assert busy.peer_id == idle.peer_id, "it is used again"
    other, granted = scene.lease(70)
    scene.world.say(scene.world.driver, m.ReturnLease(granted.lease_id))
    scene.probe.used = 960 * MIB
    scene.look()
    assert scene.condemned() == [other.peer_id]
    assert scene.lease(1)[0].peer_id != other.peer_id
    scene.world.end(other)
    assert scene.world.driver.take(m.LeaseBroken) == []
    assert scene.world.driver.take(m.DriverMessage) == [], "nobody lost anything"


@pytest.mark.row("7.20")
def test_an_actors_death_says_that_it_was_memory(scene: Scene) -> None:
    worker = scene.world.start_actor()
    scene.hold(worker, 500)
    scene.probe.used = 960 * MIB
    scene.look()
    scene.world.end(worker)
    (died,) = scene.world.gcs.take(m.ActorWorkerDied)
    assert died.oom and not died.intended
    assert died.reason.startswith("NODE_OUT_OF_MEMORY: the worker of actor A")


@pytest.mark.row("7.19")
def test_the_old_policy_by_option(tmp_path: pathlib.Path) -> None:
    scene = Scene(tmp_path, MemorySettings(by_group=True))
    only, _ = scene.lease(500)
    scene.probe.used = 960 * MIB
    scene.look()
    scene.world.end(only)
    (broken,) = scene.world.driver.take(m.LeaseBroken)
    assert broken.oom and broken.is_final, "the last of its group fails"
    scene.close()


@pytest.mark.row("P16", "S25")
def test_a_kill_by_the_kernel_is_recognised(scene: Scene) -> None:
    first, _ = scene.lease(500, name="eat")
    second, _ = scene.lease(500)
    scene.probe.kernel_kills = 1
    process = scene.raylet.pool.workers[first.peer_id]
    scene.world.end(first)
    assert process.exit_type is ExitType.NODE_OUT_OF_MEMORY
    (broken,) = scene.world.driver.take(m.LeaseBroken)
    assert broken.oom
    assert "kernel's OOM killer" in broken.reason and "task eat" in broken.reason
    scene.world.end(second)
    (broken,) = scene.world.driver.take(m.LeaseBroken)
    assert not broken.oom, "somebody else's SIGKILL"


@pytest.mark.row("P13", "P14")
def test_a_fat_idle_worker_is_asked_to_shrink_and_then_replaced(scene: Scene) -> None:
    worker, granted = scene.lease(400)
    scene.now_s = IDLE_WORKER_LOOK_AFTER_S + 1e6
    scene.look()
    assert worker.take(m.TrimMemory) == [], "it works"
    scene.world.say(scene.world.driver, m.ReturnLease(granted.lease_id))
    scene.look()
    assert worker.take(m.TrimMemory)
    scene.look()
    assert worker.take(m.TrimMemory) == worker.take(m.ExitWorker) == [], "it has a moment for it"
    scene.look(IDLE_WORKER_LOOK_AFTER_S)
    assert worker.take(m.ExitWorker), "400 MiB is more than a tenth of the node"
    assert scene.lease(1)[0].peer_id != worker.peer_id
    scene.world.end(worker, 0)


def test_an_idle_worker_that_shrinks_stays(scene: Scene) -> None:
    worker, granted = scene.lease(90)
    scene.world.say(scene.world.driver, m.ReturnLease(granted.lease_id))
    scene.now_s = 1e6
    scene.look()
    assert worker.take(m.TrimMemory)
    scene.hold(worker, 20)
    for _ in range(3):
        scene.look(IDLE_WORKER_LOOK_AFTER_S)
    assert worker.take(m.ExitWorker) == worker.take(m.TrimMemory) == []


def test_any_idle_worker_may_stay_by_option(tmp_path: pathlib.Path) -> None:
    scene = Scene(tmp_path, MemorySettings(idle_max_bytes=0))
    worker, granted = scene.lease(900)
    scene.world.say(scene.world.driver, m.ReturnLease(granted.lease_id))
    scene.now_s = 1e6
    scene.look()
    assert worker.take(m.TrimMemory) == []
    scene.close()


@pytest.mark.row("7.17")
def test_with_a_refresh_of_zero_nobody_looks(tmp_path: pathlib.Path) -> None:
    scene = Scene(tmp_path, MemorySettings(refresh_s=0))
    assert scene.monitor.probe is None
    assert scene.monitor.last is None
    scene.close()


def test_it_tells_how_much_is_used(scene: Scene) -> None:
    assert scene.monitor.facts() == (100 * MIB, 950 * MIB)
    scene.probe.used = 200 * MIB
    scene.look()
    assert scene.monitor.facts() == (200 * MIB, 950 * MIB)


def test_limits_are_looked_up_again_now_and_then(scene: Scene) -> None:
    scene.look(1e6)
    scene.look(1.0)
    assert scene.probe.refreshed == 1
    scene.look(LIMITS_AGAIN_S * 2)
    assert scene.probe.refreshed == 2


# --- a monitor that fails ---------------------------------------------------------------------------------------------


@pytest.mark.row("P9", "S10")
def test_a_look_that_fails_is_told_and_tried_again_while_work_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.lease(100, name="before")
    good = scene.probe.read
    monkeypatch.setattr(scene.probe, "read", nothing)
    scene.monitor._tick()
    (down,) = scene.raylet.parts_down()
    assert (down.name, down.is_up, down.failures) == ("memory monitor", False, 1)
    assert "this file is gone" in down.why
    worker, granted = scene.lease(200, name="meanwhile")
    assert granted.worker.worker_id == worker.peer_id, "leases do not depend on it"
    assert scene.monitor._timer is not None, "it is tried again"
    monkeypatch.setattr(scene.probe, "read", good)
    scene.monitor._tick()
    assert scene.raylet.parts_down() == []


def nothing(_threshold: Callable[[int], int]) -> list[Usage]:
    raise OSError("this file is gone")


@pytest.mark.row("P9", "S10")
def test_a_probe_that_fails_does_not_hold_up_the_end_of_a_worker(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, granted = scene.lease(100, name="doomed")

    def broken() -> bool:
        raise OSError("no such cgroup")

    monkeypatch.setattr(scene.probe, "kernel_killed", broken)
    scene.world.end(worker)
    (lost,) = scene.world.driver.take(m.LeaseBroken)
    assert lost.lease_id == granted.lease_id
    (down,) = scene.raylet.parts_down()
    assert "no such cgroup" in down.why


@pytest.mark.row("P9", "S10")
def test_output_that_cannot_be_passed_on_is_lost_and_nothing_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, _ = scene.lease(100, name="talks")
    log = scene.raylet.pool.workers[worker.peer_id].log
    stream = log.streams[0]
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    old_fd, stream.fd = stream.fd, read_fd
    try:
        monkeypatch.setattr(log, "forward", broken_forward)
        os.write(write_fd, b"lost\n")
        stream.on_readable()
        (down,) = scene.raylet.parts_down()
        assert (down.name, down.why) == ("output of workers", "UnicodeError: what is that?")
        heard: list[tuple[str, bytes]] = []
        monkeypatch.setattr(log, "forward", lambda _stream, lines: heard.extend(lines))
        os.write(write_fd, b"heard\n")
        stream.on_readable()
        assert heard == [("", b"heard")]
        assert scene.raylet.parts_down() == []
    finally:
        stream.fd = old_fd
        os.close(read_fd)
        os.close(write_fd)


def broken_forward(_stream: int, _lines: list[tuple[str, bytes]]) -> None:
    raise UnicodeError("what is that?")
