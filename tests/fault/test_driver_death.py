"""A driver is killed in the middle of its work: what belongs to its job ends with it, detached actors live (S11).

The cluster was started by `linckia start --head`, so that it outlives its drivers. Prints its counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from programs import Programs, linckia_command
from watching import SCALE, Leftovers, is_gone, until

import linckia

pytestmark = [pytest.mark.fault, pytest.mark.slow]
ROUNDS = 3 * SCALE
DRIVER = """
import json, os, subprocess, sys, time
import linckia
linckia.init(address="auto", namespace="tests", log_to_driver=False)
number = int(sys.argv[1])

@linckia.remote(num_cpus=0)
class Keeper:
    def keep(self, *values):
        self.values = values
        self.child = subprocess.Popen(["sleep", "600"])
        return [os.getpid(), self.child.pid]

@linckia.remote
def long(path, value):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)  # sleep: work that is under way when its driver dies

@linckia.remote(num_cpus=0)
class Detached:
    def __init__(self, value):
        self.value, self.calls = value, 0
    def call(self):
        self.calls += 1
        return self.calls, os.getpid()

data = linckia.put(bytes(5 * 2**20))
keeper = Keeper.remote()
pids = linckia.get(keeper.keep.remote([data], [linckia.put(bytes(5 * 2**20))]), timeout=20)
if number == 0:
    detached = Detached.options(name="survivor", lifetime="detached").remote(bytes(2**20))
    linckia.get(detached.call.remote(), timeout=20)
started = sys.argv[2]
running, queued = long.remote(started, data), [long.remote(started + "never", data) for _ in range(20)]
results = keeper.keep.remote([bytes(3 * 2**20)])
while not (os.path.exists(started) and os.path.getsize(started)):
    time.sleep(0.01)  # sleep: between two looks
pids += linckia.get(results, timeout=20)
print(json.dumps([*pids, int(open(started).read())]))
sys.stdin.read()
"""


@pytest.fixture
def head(leftovers: Leftovers) -> Iterator[dict[str, Any]]:
    """A cluster that outlives its drivers; what it has when nothing runs."""
    options = ("--num-cpus=1", "--object-store-memory=200000000")
    linckia_command("start", "--head", "--port=0", *options)
    try:
        linckia.init(address="auto", namespace="tests", log_to_driver=False)
        yield linckia.cluster_resources()
    finally:
        linckia.shutdown()
        linckia_command("stop")
        assert leftovers.count() == {}


@pytest.mark.timeout(120 * max(1, SCALE // 10))
@pytest.mark.row("S11", "4.34", "5.31")
def test_a_killed_driver_takes_its_job_along(head: dict[str, Any], programs: Programs, tmp_path: Any) -> None:
    total = (head["CPU"], head["object_store_memory"])
    calls, survivor, slowest_s, orphans = 0, 0, 0.0, 0
    for number in range(ROUNDS):
        program = programs.start(DRIVER, str(number), str(tmp_path / f"started{number}"))
        pids = json.loads(program.line())
        if number == 0:
            calls, survivor = linckia.get(linckia.get_actor("survivor").call.remote(), timeout=20)
        program.kill()
        began_s = time.monotonic()
        until(lambda pids=pids: all(is_gone(pid) for pid in pids), 2.0, "the end of the job's processes")
        orphans += sum(not is_gone(pid) for pid in pids)
        until(lambda: _free() == total, 2.0, f"resources {total} free again, now {_free()}")
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        calls += 1
        assert linckia.get(linckia.get_actor("survivor").call.remote(), timeout=20) == (calls, survivor)
        programs.forget(program)
        assert not (tmp_path / f"started{number}never").exists()
    print(f"killed {ROUNDS} drivers: {orphans} orphans, 0 bytes left in the store, all gone within {slowest_s:.2f} s")
    linckia.kill(linckia.get_actor("survivor"))


def _free() -> tuple[float, float]:
    free = linckia.available_resources()
    return free.get("CPU", 0.0), free.get("object_store_memory", 0.0)
