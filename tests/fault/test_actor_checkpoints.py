"""Checkpoints of actors on a real cluster: killed, they come back with what was saved, and say what was lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from watching import SCALE, until

import linckia
from linckia import exceptions

pytestmark = pytest.mark.fault


class Ledger:
    """A plain class: its state is its attributes."""

    def __init__(self) -> None:
        self.entries: list[int] = []

    def add(self, entry: int) -> int:
        """How many there are."""
        self.entries.append(entry)
        return len(self.entries)

    def all(self) -> list[int]:
        """Everything."""
        return self.entries

    def info(self) -> Any:
        """What it was restored from, and what was saved last."""
        context = linckia.get_runtime_context()
        return context.restored_checkpoint, context.last_checkpoint

    def pid(self) -> int:
        """Of its process."""
        return os.getpid()


def made(policy: linckia.CheckpointPolicy, cls: type = Ledger, **options: Any) -> Any:
    """An actor with checkpoints that is tried again."""
    return linckia.remote(max_restarts=-1, max_task_retries=-1, checkpoint=policy, **options)(cls).remote()


def kill(actor: Any) -> None:
    """SIGKILL, and wait until it is back."""
    pid = linckia.get(actor.pid.remote(), timeout=30)
    os.kill(pid, signal.SIGKILL)
    until(lambda: linckia.get(actor.pid.remote(), timeout=30) != pid, 30)


def folder_of(path: Path) -> Path:
    """Of the one actor there."""
    (found,) = path.glob("actor-*")
    return found


def test_every_call_saved_loses_no_answered_call(shared_cluster: Any, tmp_path: Path) -> None:
    actor = made(linckia.CheckpointPolicy(every_calls=1, dir=str(tmp_path)))
    answered = 0
    for round_ in range(5 * SCALE):
        for _ in range(4):
            assert linckia.get(actor.add.remote(answered), timeout=30) == answered + 1
            answered += 1
        kill(actor)
        restored, _ = linckia.get(actor.info.remote())
        assert restored.calls_since in (0, 1), (round_, restored)  # pid() at most: it had begun when the process died
    assert linckia.get(actor.all.remote()) == list(range(answered))
    assert len(list(folder_of(tmp_path).glob("checkpoint-*"))) == 2, "keep=2"


def test_kills_at_any_moment_lose_no_answered_call(shared_cluster: Any, tmp_path: Path) -> None:
    """Also in the middle of a save; what was not answered may be in the state, once or twice."""

    class Large(Ledger):
        def __init__(self) -> None:
            super().__init__()
            self.ballast = bytes(4 * 2**20)

    actor = made(linckia.CheckpointPolicy(every_calls=1, dir=str(tmp_path)), Large)
    rng, done, killed = random.Random(4), threading.Event(), 0
    pids = {linckia.get(actor.pid.remote())}

    def killer() -> None:
        nonlocal killed
        while not done.wait(rng.random() * 0.3):
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pids.pop(), signal.SIGKILL)
                    killed += 1

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        for number in range(40 * SCALE):
            linckia.get(actor.add.remote(number), timeout=60)
            if not pids:
                pids.add(linckia.get(actor.pid.remote(), timeout=60))
    finally:
        done.set()
        thread.join()
    entries = linckia.get(actor.all.remote(), timeout=60)
    assert sorted(set(entries)) == list(range(40 * SCALE)), "none is missing"
    assert entries == sorted(entries), "none came back late"
    print(f"killed {killed} times, {len(entries) - 40 * SCALE} calls made twice, 0 of {40 * SCALE} lost")
    assert killed >= 3


def test_it_tells_what_was_lost(shared_cluster: Any, tmp_path: Path) -> None:
    actor = made(linckia.CheckpointPolicy(every_calls=10, dir=str(tmp_path)))
    for number in range(14):
        linckia.get(actor.add.remote(number))
    kill(actor)
    restored, last = linckia.get(actor.info.remote())
    assert linckia.get(actor.all.remote()) == list(range(10))
    assert (restored.number, restored.calls) == (1, 10)
    assert restored.calls_since >= 5, "four additions and pid()"
    assert abs(restored.saved_s - time.time()) < 60
    assert last == restored


class AsyncLedger(Ledger):
    """The same on a loop."""

    async def nothing(self) -> None:
        """One async method makes it an async actor."""


@pytest.mark.parametrize("kind", ["plain", "async", "threaded"])
def test_by_time_and_while_it_is_idle(shared_cluster: Any, tmp_path: Path, kind: str) -> None:
    options = {"max_concurrency": 3} if kind == "threaded" else {}
    cls = AsyncLedger if kind == "async" else Ledger
    actor = made(linckia.CheckpointPolicy(every_s=0.2, dir=str(tmp_path)), cls, **options)
    linckia.get(actor.add.remote(7))
    until(lambda: list(tmp_path.glob("actor-*/checkpoint-*")))
    kill(actor)
    assert linckia.get(actor.all.remote()) == [7]


def test_on_request(shared_cluster: Any) -> None:
    actor = made(linckia.CheckpointPolicy())
    linckia.get(actor.add.remote(1))
    info = linckia.get(actor.__linckia_checkpoint__.remote())
    assert info.number == 1 and Path(info.path).exists()
    linckia.get(actor.add.remote(2))
    kill(actor)
    assert linckia.get(actor.all.remote()) == [1]


def test_the_class_says_what_its_state_is(shared_cluster: Any, tmp_path: Path) -> None:
    class Counter(Ledger):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()  # cannot be pickled

        def save_checkpoint(self) -> int:
            return len(self.entries)

        def load_checkpoint(self, state: int, info: linckia.CheckpointInfo) -> None:
            self.entries = [info.number] * state

    actor = made(linckia.CheckpointPolicy(every_calls=3, dir=f"file://{tmp_path}"), Counter)
    for number in range(3):
        linckia.get(actor.add.remote(number))
    kill(actor)
    assert linckia.get(actor.all.remote()) == [1, 1, 1]


def test_getstate_and_setstate(shared_cluster: Any, tmp_path: Path) -> None:
    class Own(Ledger):
        def __getstate__(self) -> Any:
            return {"kept": self.entries}

        def __setstate__(self, state: Any) -> None:
            self.entries = [*state["kept"], -1]

    actor = made(linckia.CheckpointPolicy(every_calls=1, dir=str(tmp_path)), Own)
    linckia.get(actor.add.remote(5))
    kill(actor)
    assert linckia.get(actor.all.remote())[:2] == [5, -1]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(shared_cluster: Any, tmp_path: Path) -> None:
    actor = made(linckia.CheckpointPolicy(every_calls=2, keep=3, dir=str(tmp_path)))
    for number in range(4):
        linckia.get(actor.add.remote(number))
    newest = max(folder_of(tmp_path).glob("checkpoint-*"))
    data = newest.read_bytes()
    newest.write_bytes(data[:-5])
    kill(actor)
    restored, _ = linckia.get(actor.info.remote())
    assert linckia.get(actor.all.remote()) == [0, 1]
    assert restored.number == 1 and restored.calls_since >= 2
    assert len(restored.damaged) == 1 and newest.name in restored.damaged[0]
    assert newest.exists(), "it is named, not deleted"


def test_an_actor_does_not_begin_anew_in_silence(shared_cluster: Any, tmp_path: Path) -> None:
    actor = made(linckia.CheckpointPolicy(every_calls=1, dir=str(tmp_path)))
    linckia.get(actor.add.remote(1))
    for path in folder_of(tmp_path).glob("checkpoint-*"):
        path.write_bytes(b"rubbish")
    os.kill(linckia.get(actor.pid.options(max_task_retries=0).remote()), signal.SIGKILL)
    for path in folder_of(tmp_path).glob("checkpoint-*"):  # pid() was saved too
        path.write_bytes(b"rubbish")
    with pytest.raises(exceptions.RayActorError):
        while True:
            linckia.get(actor.add.remote(2), timeout=30)


def test_what_cannot_be_pickled_is_told_and_fails_no_call(shared_cluster: Any, tmp_path: Path) -> None:
    class Locked(Ledger):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    actor = made(linckia.CheckpointPolicy(every_calls=1, dir=str(tmp_path)), Locked)
    assert linckia.get(actor.add.remote(1)) == 1
    with pytest.raises(exceptions.CheckpointError, match="save_checkpoint") as caught:
        linckia.get(actor.__linckia_checkpoint__.remote())
    assert caught.value.origin == "application"
    assert not list(tmp_path.glob("actor-*/checkpoint-*"))


def test_errors_of_methods_count_as_calls_and_change_nothing(shared_cluster: Any, tmp_path: Path) -> None:
    class Raising(Ledger):
        def fail(self) -> None:
            self.entries.append(-1)
            raise ValueError

        def items(self, count: int) -> Any:
            for number in range(count):
                self.entries.append(number)
                yield number

        def never_begun(self) -> Any:
            return (number for number in range(3))

    actor = made(linckia.CheckpointPolicy(every_calls=1, dir=str(tmp_path)), Raising)
    with pytest.raises(ValueError):
        linckia.get(actor.fail.remote())
    assert [linckia.get(ref) for ref in actor.items.remote(3)] == [0, 1, 2]
    with pytest.raises(TypeError):
        linckia.get(actor.never_begun.remote())
    kill(actor)
    assert linckia.get(actor.all.remote()) == [-1, 0, 1, 2], "a generator is one call, saved at its end"
    assert linckia.get(actor.__linckia_checkpoint__.remote(), timeout=10).number >= 4, "no call is thought to run on"


def test_async_generators_are_calls_too(shared_cluster: Any, tmp_path: Path) -> None:
    class Streaming(AsyncLedger):
        async def items(self, count: int) -> Any:
            for number in range(count):
                self.entries.append(number)
                await asyncio.sleep(0)
                yield number

    actor = made(linckia.CheckpointPolicy(every_calls=1, dir=str(tmp_path)), Streaming)
    assert [linckia.get(ref) for ref in actor.items.remote(3)] == [0, 1, 2]
    dropped = actor.items.options(_generator_backpressure_num_objects=1).remote(1000)
    next(dropped)
    del dropped
    assert linckia.get(actor.__linckia_checkpoint__.remote(), timeout=10).number >= 2


@pytest.mark.parametrize("kind", ["async", "threaded"])
def test_calls_that_overlap_are_never_cut_by_a_checkpoint(shared_cluster: Any, tmp_path: Path, kind: str) -> None:
    class Pairs:
        """Between the two halves of a call its state is inconsistent."""

        def __init__(self) -> None:
            self.lock_free: list[int] = []
            self.left = self.right = 0

        def __getstate__(self) -> Any:
            return self.left, self.right

        def __setstate__(self, state: Any) -> None:
            self.left, self.right = state

        def pid(self) -> int:
            return os.getpid()

        def sides(self) -> Any:
            return self.left, self.right

    class Async(Pairs):
        async def move(self) -> None:
            self.left += 1
            await asyncio.sleep(0.005)  # sleep: the others run meanwhile
            self.right += 1

    class Threaded(Pairs):
        def move(self) -> None:
            self.left += 1
            time.sleep(0.005)  # sleep: the others run meanwhile
            self.right += 1

    options = {} if kind == "async" else {"max_concurrency": 4}
    actor = made(
        linckia.CheckpointPolicy(every_calls=20, dir=str(tmp_path)), Async if kind == "async" else Threaded, **options
    )
    linckia.get([actor.move.remote() for _ in range(200)], timeout=60)
    info = linckia.get(actor.__linckia_checkpoint__.remote(), timeout=30)
    assert 3 <= info.number <= 11, "some on the way, one on request"
    linckia.get([actor.move.remote() for _ in range(30)], timeout=60)
    kill(actor)
    left, right = linckia.get(actor.sides.remote())
    assert left == right >= 200


@pytest.mark.parametrize("kind", ["async", "threaded"])
def test_a_call_that_waits_for_another_of_its_actor_goes_on(shared_cluster: Any, tmp_path: Path, kind: str) -> None:
    class Async(Ledger):
        async def outer(self, me: Any) -> str:
            return str(await me.inner.remote())

        async def inner(self) -> str:
            return "inner"

    class Threaded(Ledger):
        def outer(self, me: Any) -> str:
            return str(linckia.get(me.inner.remote()))

        def inner(self) -> str:
            return "inner"

    options = {} if kind == "async" else {"max_concurrency": 4}
    actor = made(
        linckia.CheckpointPolicy(every_calls=1, dir=str(tmp_path)), Async if kind == "async" else Threaded, **options
    )
    assert linckia.get(actor.outer.remote(actor), timeout=30) == "inner"


def test_files_in_the_session_go_with_the_actor(shared_cluster: Any) -> None:
    actor = made(linckia.CheckpointPolicy(every_calls=1))
    linckia.get(actor.add.remote(1))
    folder = Path(shared_cluster.address_info["session_dir"]) / "checkpoints" / f"actor-{actor._actor_id.hex()}"
    assert list(folder.glob("checkpoint-*"))
    del actor
    until(lambda: not folder.exists())


def test_what_cannot_work_is_refused(shared_cluster: Any) -> None:
    class Half(Ledger):
        def save_checkpoint(self) -> int:
            return 1

    with pytest.raises(ValueError, match="max_restarts"):
        linckia.remote(checkpoint=linckia.CheckpointPolicy())(Ledger).remote()
    with pytest.raises(TypeError, match="load_checkpoint"):
        made(linckia.CheckpointPolicy(), Half)
    with pytest.raises(exceptions.CheckpointError, match="CheckpointPolicy"):
        linckia.get(linckia.remote(Ledger).remote().__linckia_checkpoint__.remote())
