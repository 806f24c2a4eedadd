"""Real processes are killed and stopped while work runs; the work checks its own results. Prints its counts.

LINCKIA_FAULT_SCALE multiplies the number of faults.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
from watching import SCALE, is_gone, until

import linckia
from linckia import exceptions

pytestmark = pytest.mark.fault


@pytest.mark.row("S1", "4.18", "7.1")
def test_killed_workers_lose_no_task(cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_retries=-1)
    def work(number: int) -> int:
        (tmp_path / "running").write_text(str(os.getpid()))
        time.sleep(0.01)  # sleep: so that the killer meets it while it runs
        return number * number

    kills = 20 * SCALE
    refs = [work.remote(number) for number in range(100 * SCALE)]
    killed = 0
    for _ in range(kills):
        marker = until(lambda: (tmp_path / "running").exists() and (tmp_path / "running").read_text())
        (tmp_path / "running").unlink()
        try:
            os.kill(int(marker), signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            continue
        if not linckia.wait(refs, num_returns=len(refs), timeout=0)[1]:
            break
    assert linckia.get(refs, timeout=60) == [number * number for number in range(100 * SCALE)]
    print(f"killed {killed} workers, lost 0 of {len(refs)} tasks")
    assert killed > 0
    until(lambda: linckia.available_resources().get("CPU") == 2)


@pytest.mark.row("S2", "5.18", "7.3")
def test_killed_actors_come_back_and_no_call_is_lost(cluster: Any, tmp_path: Path) -> None:
    @linckia.remote(max_restarts=-1, max_task_retries=-1)
    class Recorder:
        def record(self, number: int) -> int:
            with (tmp_path / "record").open("a") as file:
                file.write(f"{number}\n")
            return os.getpid()

    recorder = Recorder.remote()
    kills = 5 * SCALE
    calls = 0
    for _ in range(kills):
        pid = linckia.get(recorder.record.remote(calls), timeout=20)
        refs = [recorder.record.remote(calls + 1 + offset) for offset in range(20)]
        os.kill(pid, signal.SIGKILL)
        linckia.get(refs, timeout=20)
        calls += 21
    recorded = (tmp_path / "record").read_text().split()
    print(f"killed the actor {kills} times, {calls} calls, {len(recorded) - calls} ran twice")
    assert {int(number) for number in recorded} == set(range(calls)), "at least once, each"


@pytest.mark.row("3.14", "3.40")
def test_a_full_store_says_so_and_serves_on(cluster: Any) -> None:
    held: list[Any] = []  # views: what is read stays in memory, all else goes to disk
    with pytest.raises(exceptions.ObjectStoreFullError, match="capacity|store"):
        for _ in range(20):
            held.append(linckia.get(linckia.put(numpy.zeros(10 * 2**20, numpy.uint8))))
    assert len(held) > 1
    assert len(held[0]) == 10 * 2**20
    count = len(held)
    held.clear()
    for _ in range(count):
        assert len(linckia.get(linckia.put(bytes(10 * 2**20)))) == 10 * 2**20


@pytest.mark.row("S31", "P39")
@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<I", 1 << 31),
        struct.pack("<I", 10) + b"\x80" * 10,
        b"\xff" * 4096,
    ],
    ids=["silence", "http", "huge frame", "malformed", "noise"],
)
def test_strangers_at_the_socket_are_shown_the_door(cluster: Any, words: bytes) -> None:
    endpoint = cluster.address_info["address"].removeprefix("unix:")
    assert os.stat(os.path.dirname(endpoint)).st_mode & 0o077 == 0, "nobody else may even reach the socket"
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(endpoint)
        stranger.sendall(words)
        if words and words[:4] != struct.pack("<I", 10):
            stranger.settimeout(5)
            try:
                while stranger.recv(4096):
                    continue  # a refusal in words, then the hang-up
            except ConnectionResetError:
                pass

        @linckia.remote
        def alive() -> str:
            return "yes"

        assert linckia.get(alive.remote(), timeout=10) == "yes"


@pytest.mark.row("S3")
def test_a_dead_node_takes_its_workers_along_and_the_driver_learns_of_it(cluster: Any) -> None:
    @linckia.remote
    class Holder:
        def pids(self) -> tuple[int, int]:
            return os.getpid(), os.getppid()

    holder = Holder.remote()
    worker, zygote = linckia.get(holder.pids.remote())
    node = int(Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(node, signal.SIGKILL)
    until(lambda: is_gone(worker) and is_gone(zygote), 1.0)
    with pytest.raises(exceptions.RayError):
        linckia.get(holder.pids.remote(), timeout=5)
    linckia.shutdown()
    with linckia.init(address="local", num_cpus=1):
        assert linckia.get(linckia.put(1)) == 1
