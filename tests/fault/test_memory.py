"""Too little memory, for real, in a control group of 256 MiB: who goes, who stays, what is said (S25)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import Program, Programs
from watching import until

import linckia
from linckia.host import process_memory
from linckia.testing.memory_group import MemoryGroup

pytestmark = [pytest.mark.fault, pytest.mark.row("S25", "P16")]
STATUS, CAP_SYS_RESOURCE = Path("/proc/self/status"), 24
LIMIT_BYTES = 256 << 20

BEGIN = """
    import os, sys, time
    from pathlib import Path
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(str(os.getpid()))
    import linckia
    from linckia import exceptions

    context = linckia.init(address="local", num_cpus=4, object_store_memory=80 << 20, log_to_driver=False)
    log = Path(context.address_info["session_dir"], "logs", "node.log")

    def note(name):
        with open(folder / name, "a") as file:
            file.write(f"{os.getpid()}\\n")

    def eat():
        held = []
        for _ in range(200):  # 400 MiB: more than there is, and no danger for anybody else
            held.append(bytearray(b"x") * (2 << 20))
            time.sleep(0.01)  # sleep: it grows at a pace, so that a loaded machine can follow
        return "ate it all"
"""

ONE_HUNGRY = """
    @linckia.remote
    def good(number):
        mine = bytearray(b"x") * (8 << 20)
        note("good")
        while not (folder / "stop").exists():
            time.sleep(0.02)  # sleep: between two looks for the end
        return number

    @linckia.remote(num_cpus=0.5, max_retries=1)
    def hungry():
        note("hungry")
        return "modest" if (folder / "modest").exists() else eat()

    refs = [good.remote(number) for number in range(3)]
    while not (folder / "good").exists() or len((folder / "good").read_text().split()) < 3:
        time.sleep(0.02)  # sleep: between two looks for what others write
    eater = hungry.remote()
    print("begun")
    input()
    print(linckia.get(eater, timeout=60))
    print(linckia.get(refs, timeout=60))
    print(log.read_text().count("NODE_OUT_OF_MEMORY: the worker of task hungry"))
    print(log.read_text().count("NODE_OUT_OF_MEMORY: the worker of task good"))
    linckia.shutdown()
"""

NO_RETRIES = """
    @linckia.remote(max_retries=0)
    def hungry():
        return eat()

    @linckia.remote
    class Eater:
        def pid(self):
            return os.getpid()

        def eat(self):
            return eat()

    def outcome(ref):
        try:
            return linckia.get(ref, timeout=60)
        except exceptions.RayError as error:
            return f"{type(error).__name__}: {error}".replace("\\n", " ")

    print(outcome(hungry.remote()))
    actor = Eater.remote()
    print(outcome(actor.eat.remote()))
    print(outcome(actor.pid.remote()))
    again = Eater.options(max_restarts=1, max_task_retries=0).remote()
    first = outcome(again.pid.remote())
    print(outcome(again.eat.remote()))
    while not isinstance(second := outcome(again.pid.remote()), int):
        assert second.startswith("ActorUnavailableError"), second
        time.sleep(0.02)  # sleep: between two attempts
    print(first != second)
    linckia.shutdown()
"""

IDLE = """
    @linckia.remote
    def fat():
        sys.modules["linckia"].held = bytearray(b"x") * (150 << 20)
        return os.getpid()

    @linckia.remote(num_cpus=0.5)  # a worker of its own
    def lean():
        return os.getpid()

    print(linckia.get(lean.remote(), timeout=60))
    print(linckia.get(fat.remote(), timeout=60))
    input()
    print(linckia.get(lean.remote(), timeout=60))
    linckia.shutdown()
"""


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    """256 MiB."""
    try:
        group = MemoryGroup(LIMIT_BYTES)
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield group
    group.remove()


@pytest.fixture
def small(group: MemoryGroup, programs: Programs) -> Iterator[MemoryGroup]:
    """The group, emptied of programs before it is removed."""
    yield group
    programs.close()


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Early enough for a slow machine: the kernel must have nothing to do."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.75")
    monkeypatch.setenv("RAY_task_oom_retry_delay_base_ms", "100")


def start(programs: Programs, source: str, folder: Path, group: MemoryGroup | None = None) -> Program:
    return programs.start(BEGIN + source, str(folder), *([group.procs] if group is not None else []))


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.row("4.20", "7.17", "7.18", "7.20")
def test_the_hungry_task_goes_and_good_work_stays(small: MemoryGroup, programs: Programs, tmp_path: Path) -> None:
    program = start(programs, ONE_HUNGRY, tmp_path, small)
    assert program.line(60) == "begun"
    until(lambda: len(lines(tmp_path / "hungry")) >= 3, 60, "a third attempt, beyond max_retries=1")
    (tmp_path / "modest").touch()
    program.say()
    (tmp_path / "stop").touch()
    assert program.line(60) == "modest"
    assert program.line(60) == "[0, 1, 2]"
    killed, good_killed = int(program.line()), int(program.line())
    print(f"the hungry task was ended {killed} times; the kernel ended {small.kernel_kills()} processes")
    assert killed == len(lines(tmp_path / "hungry")) - 1
    assert good_killed == 0 and len(lines(tmp_path / "good")) == 3
    assert small.kernel_kills() == 0
    assert program.ended() == 0


@pytest.mark.row("7.17", "7.20", "3.46")
def test_who_may_not_run_again_is_told_why(small: MemoryGroup, programs: Programs, tmp_path: Path) -> None:
    program = start(programs, NO_RETRIES, tmp_path, small)
    task, call, after, lost = (program.line(60) for _ in range(4))
    print(task)
    for text, who in [(task, "the worker of task hungry"), (call, "the worker of actor Eater"), (lost, "actor Eater")]:
        assert text.startswith("OutOfMemoryError: ")
        assert "NODE_OUT_OF_MEMORY: " in text and who in text
        for part in ("node 127.0.0.1", "of 256.0 MiB", "threshold is 192.0 MiB", "(USS)", "largest processes", "PSS"):
            assert part in text
    assert after.startswith("OutOfMemoryError: ")
    assert program.line(60) == "True", "it was restarted"
    assert small.kernel_kills() == 0
    assert program.ended() == 0


def test_what_the_kernel_ends_is_called_out_of_memory_too(
    small: MemoryGroup, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINCKIA_memory_usage_threshold", "1.0")  # above that nothing can be
    program = start(programs, NO_RETRIES.replace("print(outcome(hungry.remote()))", FIRST_ONLY), tmp_path, small)
    text = program.line(60)
    print(text)
    assert text.startswith("OutOfMemoryError: task hungry")
    assert "kernel's OOM killer" in text
    assert small.kernel_kills() == 1, "the worker, and nothing of ours besides"
    assert program.ended() == 0


FIRST_ONLY = """print(outcome(hungry.remote()))
    linckia.shutdown()
    sys.exit()
"""


@pytest.mark.row("7.21")
def test_the_kernel_would_end_workers_first(cluster: Any) -> None:
    @linckia.remote
    def scores() -> tuple[str, str]:
        zygote = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
        return _score("self"), _score(zygote[1])

    worker, node = linckia.get(scores.remote(), timeout=30)
    (mask,) = [line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith("CapEff:")]
    may_protect = int(mask, 16) >> CAP_SYS_RESOURCE & 1
    assert worker == "1000"
    assert node == ("-900" if may_protect else _score("self"))


def _score(pid: str) -> str:
    return Path(f"/proc/{pid}/oom_score_adj").read_text().strip()


@pytest.mark.row("P13", "P14")
def test_a_fat_idle_worker_is_replaced_and_a_lean_one_stays(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINCKIA_idle_worker_max_bytes", str(100 << 20))
    program = start(programs, IDLE, tmp_path)
    lean, fat = int(program.line(60)), int(program.line(60))
    until(lambda: not os.path.exists(f"/proc/{fat}"), 30, "the end of the fat worker")
    held = process_memory.measure(lean)
    print(f"idle worker: {held}")
    assert held.private_bytes < 10 << 20
    program.say()
    assert int(program.line(60)) != fat
    assert program.ended() == 0
