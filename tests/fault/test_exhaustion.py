"""Out of descriptors, processes or threads: nothing crashes, what runs goes on, new work is refused with the limit's
name, and all is well again when there is room. Prints what it met. (A worker needs about ten descriptors of its node.)
"""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import Programs
from watching import cpu_s, until

import linckia
from linckia import exceptions
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor

pytestmark = [pytest.mark.fault, pytest.mark.row("S27")]
SENTENCE = "the limit of open files of process .* is reached; raise it with `ulimit -n"
MANY_CONNECTIONS = 200

NODE_AT_ITS_LIMIT = """
    import os, resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    import linckia

    context = linckia.init(address="local", num_cpus=2, object_store_memory=80 * 2**20, log_to_driver=False)

    @linckia.remote
    class Actor:
        def pid(self):
            return os.getpid()

    @linckia.remote
    def task():
        return 1

    actors, refusal = [], None
    while refusal is None:
        actor = Actor.options(num_cpus=0).remote()
        try:
            linckia.get(actor.pid.remote(), timeout=20)
            actors.append(actor)
        except linckia.exceptions.ActorDiedError as error:
            refusal = error
    before = [linckia.get(actor.pid.remote(), timeout=20) for actor in actors]
    try:
        linckia.get(task.remote(), timeout=20)  # the last worker went to an actor
        raise SystemExit("a worker is left")
    except linckia.exceptions.RaySystemError as error:
        said = [context.address_info["session_dir"], str(error), f"{len(actors)} actors, then: {refusal}"]
    print("|".join(said).replace(chr(10), " "))
    input()
    assert [linckia.get(actor.pid.remote(), timeout=20) for actor in actors] == before, "what ran, runs"
    del actor, actors[1:]
    linckia.get([task.remote() for _ in range(20)], timeout=20)
    linckia.get(Actor.options(num_cpus=0).remote().pid.remote(), timeout=20)
    print("goes on")
    linckia.shutdown()
"""


def _limit_files(soft: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


class _Glut:
    """All descriptors of this process that are left under a low limit; ``end`` gives them back."""

    def __init__(self) -> None:
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._fds: list[int] = []
        _limit_files(len(os.listdir("/proc/self/fd")) + 20)
        while True:
            try:
                self._fds.append(os.dup(2))
            except OSError:
                return

    def end(self) -> None:
        _limit_files(self._limit)
        while self._fds:
            os.close(self._fds.pop())


@pytest.fixture
def glut() -> Iterator[type[_Glut]]:
    """Makes gluts that end with the test, whatever happens."""
    made: list[_Glut] = []

    class Remembered(_Glut):
        def __init__(self) -> None:
            made.append(self)
            super().__init__()

    yield Remembered
    for one in made:
        one.end()


def test_a_node_without_descriptors_refuses_new_work_and_keeps_the_old(programs: Programs) -> None:
    program = programs.start(NODE_AT_ITS_LIMIT)
    session_dir, task_refusal, actor_refusal = program.line(60).split("|")
    print(f"task: {task_refusal}\nactor: {actor_refusal}")
    assert "RLIMIT_NOFILE" in task_refusal and "ulimit -n" in task_refusal
    assert "64 (RLIMIT_NOFILE), is reached; raise it with `ulimit -n" in actor_refusal
    assert "Relax its scheduling" not in actor_refusal
    node = int(Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()[0])
    strangers = []
    endpoint = f"{session_dir}/sockets/raylet.sock"
    for _ in range(MANY_CONNECTIONS):  # more than it can accept: it must wait, not spin
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(endpoint)
        strangers.append(stranger)
    used_s, began_s = cpu_s(node), time.monotonic()
    until(lambda: time.monotonic() - began_s > 1.0)  # the time in which a loop would show
    used_s = cpu_s(node) - used_s
    print(f"node at its limit with {MANY_CONNECTIONS} connections in its backlog: {used_s:.2f} s of CPU in 1 s")
    assert used_s < 0.3
    for stranger in strangers:
        stranger.close()
    assert program.ask(timeout_s=60) == "goes on"
    assert program.ended() == 0


def test_accepting_without_descriptors_backs_off_and_resumes(tmp_path: Path, glut: type[_Glut]) -> None:
    server, identity = Reactor(), Identity("raylet", b"s" * 28, b"token")
    arrived: list[Any] = []
    listener = server.listen(f"unix:{tmp_path}/s", identity, lambda _c, _m: None, lambda _c, _r: None)
    with socket.socket(socket.AF_UNIX) as stranger:
        crowd = glut()
        stranger.connect(f"{tmp_path}/s")
        stranger.setblocking(False)
        turns, used_s, end_s = 0, time.process_time(), time.monotonic() + 0.5
        while time.monotonic() < end_s:
            server.poll(end_s - time.monotonic())
            turns += 1
        assert time.process_time() - used_s < 0.2
        assert turns < 20
        crowd.end()

        def answered() -> bool:
            server.poll(0.05)
            try:
                arrived.append(stranger.recv(1))
            except BlockingIOError:
                return False
            return True

        stranger.sendall(b"\xff" * 64)  # no hello: it is told so
        until(answered)
    server.close_listener(listener)
    server.close()


def test_a_driver_without_descriptors_is_told_and_goes_on_later(cluster: Any, glut: type[_Glut]) -> None:
    @linckia.remote
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    @linckia.remote
    def task() -> int:
        return os.getpid()

    actor = Actor.options(num_cpus=0).remote()
    crowd = glut()
    asked_task, asked_actor = task.remote(), actor.pid.remote()
    with pytest.raises(exceptions.RaySystemError, match=SENTENCE):
        linckia.get(asked_task, timeout=20)
    with pytest.raises(exceptions.ActorUnavailableError, match=SENTENCE):
        linckia.get(asked_actor, timeout=20)
    crowd.end()
    pids = linckia.get([task.remote() for _ in range(20)], timeout=20)
    assert linckia.get(actor.pid.remote(), timeout=20) not in pids


def test_a_short_lack_of_descriptors_is_not_even_noticed(cluster: Any, glut: type[_Glut]) -> None:
    @linckia.remote(max_retries=0)
    def task() -> int:
        return 7

    crowd = glut()
    ref = task.remote()
    assert linckia.wait([ref], timeout=0.5) == ([], [ref])
    crowd.end()
    assert linckia.get(ref, timeout=20) == 7


def test_a_worker_whose_task_opened_too_much_lives_on(cluster: Any) -> None:
    @linckia.remote(num_cpus=2, max_retries=0)
    def greedy() -> tuple[int, str]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        files = []
        try:
            while True:
                files.append(os.dup(2))
        except OSError as error:
            for fd in files:
                os.close(fd)
            return os.getpid(), str(error)

    @linckia.remote(num_cpus=2, max_retries=0)
    def careless() -> None:
        while True:
            os.dup(2)

    @linckia.remote(num_cpus=2, max_retries=0)
    def modest(value: bytes) -> tuple[int, int]:
        return os.getpid(), len(value)

    pid, text = linckia.get(greedy.remote(), timeout=20)
    assert "Too many open files" in text
    assert linckia.get(greedy.remote(), timeout=20)[0] == pid
    with pytest.raises(OSError, match="Too many open files"):
        linckia.get(careless.remote(), timeout=20)  # and keeps them
    assert linckia.get([modest.remote(b"x" * 50_000) for _ in range(20)], timeout=20) == [(pid, 50_000)] * 20


@pytest.fixture
def pids_group() -> Iterator[Path]:
    """A control group for this process and those it starts, whose number of processes can be limited."""
    bases = [Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")]
    group = next((base / f"linckia-test-{os.getpid()}" for base in bases if (base / "cgroup.procs").exists()), None)
    try:
        assert group is not None
        group.mkdir()
        (group / "pids.max").write_text("max")
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except (OSError, AssertionError) as error:
        if group is not None and group.exists():
            group.rmdir()
        pytest.skip(f"no control group for processes can be made here: {error}")
    yield group
    (group / "pids.max").write_text("max")
    (group.parent / "cgroup.procs").write_text(str(os.getpid()))
    until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_machine_without_processes_refuses_new_work_and_keeps_the_old(
    pids_group: Path, cluster: Any, room: int
) -> None:
    """With room for one or two more a worker is forked whose threads cannot start."""

    @linckia.remote
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    old = [Actor.options(num_cpus=0).remote() for _ in range(3)]
    pids = linckia.get([actor.pid.remote() for actor in old], timeout=20)
    (pids_group / "pids.max").write_text(str(int((pids_group / "pids.current").read_text()) + room))
    refused = None
    new: list[Any] = []
    while refused is None:
        new.append(Actor.options(num_cpus=0).remote())
        try:
            linckia.get(new[-1].pid.remote(), timeout=20)
        except exceptions.ActorDiedError as error:
            refused = error
    print(f"room for {room}: {refused}")
    assert "pids.max of its control group is" in str(refused)
    assert "ulimit -u" in str(refused)
    assert "Traceback" not in str(refused)
    assert linckia.get([actor.pid.remote() for actor in old], timeout=20) == pids, "what ran, runs"
    (pids_group / "pids.max").write_text("max")
    assert linckia.get(Actor.options(num_cpus=0).remote().pid.remote(), timeout=20) not in pids
