"""Clusters that start, stop and crash again and again, beside one that must not notice. Prints its counts.

LINCKIA_FAULT_SCALE=20 makes 200 cycles of it.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from programs import Programs
from watching import SCALE, Leftovers, children_of, is_gone, until

import linckia
from linckia import exceptions
from linckia.host import session

pytestmark = [pytest.mark.fault, pytest.mark.slow]
WAYS = ("stop", "kill driver", "stop at work", "kill node", "kill zygote")
NEIGHBOUR = """
import os, sys, linckia
linckia.init(address="local", num_cpus=1, log_to_driver=False)

@linckia.remote
class Counter:
    def __init__(self):
        self.calls = 0
    def more(self):
        self.calls += 1
        return self.calls, os.getpid()

counter = Counter.remote()
held = linckia.put(bytes(10**6))
print("ready")
for line in sys.stdin:
    calls, pid = linckia.get(counter.more.remote(), timeout=20)
    print(calls, pid, len(linckia.get(held)), len(linckia.nodes()))
"""
VICTIM = """
import sys, time, linckia
linckia.init(address="local", num_cpus=1, log_to_driver=False)

@linckia.remote
class Holder:
    def hold(self, data):
        self.data = data
        return len(data)

@linckia.remote
def long():
    time.sleep(600)  # sleep: work that is under way when its driver dies

holder = Holder.options(num_cpus=0).remote()
assert linckia.get(holder.hold.remote(bytes(10**6))) == 10**6
held, running = linckia.put(bytes(10**6)), long.remote()
print("ready")
sys.stdin.read()
"""


@linckia.remote
def one() -> int:
    return 1


@linckia.remote
class Busy:
    def pid(self) -> int:
        return os.getpid()

    def work(self, data: Any) -> int:
        return len(data)


def node_of(context: Any) -> int:
    """The pid of a session's node process."""
    return int(session.read_facts(context.address_info["session_dir"])["pid"])


def stop(programs: Programs) -> None:
    with linckia.init(address="local", num_cpus=1, log_to_driver=False):
        assert linckia.get(one.remote(), timeout=20) == 1


def stop_at_work(programs: Programs) -> None:
    with linckia.init(address="local", num_cpus=1, log_to_driver=False):
        held = linckia.put(bytes(10**6))
        busy = Busy.options(num_cpus=0).remote()
        refs = [busy.work.remote(held) for _ in range(100)] + [one.remote() for _ in range(100)]
        linckia.wait(refs, timeout=20)


def kill_driver(programs: Programs) -> None:
    program = programs.start(VICTIM)
    assert program.line() == "ready"
    program.kill()
    programs.forget(program)


def kill_node(programs: Programs) -> None:
    with linckia.init(address="local", num_cpus=1, log_to_driver=False) as context:
        busy = Busy.remote()
        worker = linckia.get(busy.pid.remote(), timeout=20)
        os.kill(node_of(context), signal.SIGKILL)
        until(lambda: is_gone(worker), 1.0, "the worker's end with its node")
        with pytest.raises(exceptions.RayError):
            linckia.get(busy.pid.remote(), timeout=5)


def kill_zygote(programs: Programs) -> None:
    with linckia.init(address="local", num_cpus=1, log_to_driver=False) as context:
        assert linckia.get(one.remote(), timeout=20) == 1
        zygotes = [pid for pid in children_of(node_of(context)) if _name(pid) == "linckia-zygote"]
        assert len(zygotes) == 1
        os.kill(zygotes[0], signal.SIGKILL)
        assert linckia.get(one.remote(), timeout=20) == 1, "another zygote, another worker"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.mark.timeout(600 * max(1, SCALE))
@pytest.mark.row("S35")
def test_starts_stops_and_crashes_leave_nothing_and_hurt_nobody(leftovers: Leftovers, programs: Programs) -> None:
    ways = {
        "stop": stop,
        "kill driver": kill_driver,
        "stop at work": stop_at_work,
        "kill node": kill_node,
        "kill zygote": kill_zygote,
    }
    neighbour = programs.start(NEIGHBOUR)
    assert neighbour.line() == "ready"
    calls, pid, size, nodes = map(int, neighbour.ask().split())  # its actor has its worker: no more processes come
    since = leftovers.again()
    done: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for cycle in range(10 * SCALE):
        way = WAYS[cycle % len(WAYS)]
        ways[way](programs)
        done[way] += 1
        left.update(since.count())
        calls += 1
        assert neighbour.ask() == f"{calls} {pid} {size} {nodes}", f"the neighbour noticed cycle {cycle} ({way})"
    print(f"{sum(done.values())} cycles {dict(done)}, left behind: {dict(left) or 'nothing'}")
    assert not left
    neighbour.process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
    assert neighbour.ended() == 0
    programs.forget(neighbour)
    assert leftovers.count() == {}
