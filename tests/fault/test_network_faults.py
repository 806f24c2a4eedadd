"""Real nodes on hosts of their own whose network fails, or whose raylet is killed or stopped (S3, S13, S15, S17-S20).

One cluster of a head and seven nodes for all tests; each prints its counts and times. A fault is done to several nodes
at once, each in its own way, because waiting for a lease is what takes the time. What really ran is read from a file
that all hosts share.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from machines import Machine, Machines
from watching import SCALE, is_gone, until

import linckia
from linckia import exceptions
from linckia.base.limits import NODE_LEASE_TTL_S
from linckia.testing.namespaces import Network, why_not
from linckia.util.scheduling_strategies import NodeAffinitySchedulingStrategy

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]
NODES = 7
BEYOND_THE_LEASE_S = (0.0,) * SCALE if SCALE < 10 else (20.0, 30.0, 120.0)  # at least; the lease always ends
BELOW_THE_LEASE_S = (1.0, 5.0) if SCALE == 1 else (1.0, 3.0, 5.0, 8.0) * SCALE
TASKS_EACH = 5


class Fault(NamedTuple):
    """Something that happens to a node, and how it ends. ``isolated``: its raylet works, the head is out of reach."""

    name: str
    begin: Callable[[Machines, Machine], None]
    end: Callable[[Machines, Machine], None]
    isolated: bool = True


def _heal(machines: Machines, machine: Machine) -> None:
    machines.network.heal(machine.host)


STOPPED = Fault("raylet stopped", lambda _all, node: node.stop(), lambda _all, node: node.cont(), isolated=False)
CUT = Fault("link cut", lambda all_, node: all_.network.cut(node.host), _heal)
DEAF = Fault("hears nothing", lambda all_, node: all_.network.one_way(all_.head.host, node.host), _heal)
MUTE = Fault("is not heard", lambda all_, node: all_.network.one_way(node.host, all_.head.host), _heal)
FAULTS = (STOPPED, CUT, DEAF, MUTE)


# --- the work ---------------------------------------------------------------------------------------------------------


def note(book: Path, what: str) -> None:
    """One line, whole, whoever else writes."""
    fd = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{what}\n".encode())
    os.close(fd)


def here() -> str:
    """The node of this process."""
    found: str = linckia.get_runtime_context().get_node_id()
    return found


@linckia.remote(max_retries=0)
def step(book: Path, what: str) -> str:
    """Runs once, or is lost."""
    note(book, what)
    return what


@linckia.remote(max_retries=1)
def held(book: Path, name: str, gate: Path) -> str:
    """Runs until the gate is there; says on which node."""
    note(book, f"{name} {here()} {os.getpid()}")
    while not gate.exists():
        time.sleep(0.02)  # sleep: polls a file that another host makes
    return here()


@linckia.remote
class Resident:
    """Counts its calls; runs work of its own node while it may."""

    def __init__(self, book: Path, name: str) -> None:
        self.book, self.name, self.count = book, name, 0
        note(book, f"born {name} {here()} {os.getpid()}")

    def add(self) -> int:
        self.count += 1
        return self.count

    def where(self) -> tuple[str, int]:
        return here(), os.getpid()

    def work(self, gate: Path) -> int:
        """Tasks submitted here for here, one after the other, until the gate is there."""
        local = step.options(scheduling_strategy=NodeAffinitySchedulingStrategy(here(), soft=False), num_cpus=0)
        done = 0
        while not gate.exists():
            linckia.get(local.remote(self.book, f"local {self.name} {gate.name} {done}"))
            done += 1
            time.sleep(0.01)  # sleep: a local task each 10 ms is enough
        return done


def on(node_id: str) -> dict[str, Any]:
    """Options: there and nowhere else."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False)}


def near(node_id: str) -> dict[str, Any]:
    """Options: there if possible."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=True)}


def lines(book: Path, beginning: str) -> list[str]:
    """What was noted, of one kind."""
    return [line for line in book.read_text().splitlines() if line.startswith(beginning)] if book.exists() else []


# --- the cluster ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster_of_machines() -> Iterator[Machines]:
    """A head without CPUs and seven nodes with two each."""
    network = Network(["head", *(f"n{number}" for number in range(1, NODES + 1))])
    with TemporaryDirectory(prefix="lk-", ignore_cleanup_errors=True) as folder:
        machines = Machines(network, Path(folder))
        try:
            began_s = time.monotonic()
            machines.start()
            print(f"{NODES + 1} nodes started in {time.monotonic() - began_s:.1f} s")
            yield machines
        finally:
            left = machines.close()
            network.close()
        assert left == [], "all processes end with their node"


@pytest.fixture
def machines(cluster_of_machines: Machines) -> Iterator[Machines]:
    """The cluster, whole before the test and after it."""
    machines = cluster_of_machines
    yield machines
    for machine in machines.all:
        machines.network.heal(machine.host)
        if is_gone(machine.pid):
            machines.join(machine)
        machine.cont()
    addresses = {machine.address for machine in machines.all}

    def whole() -> bool:
        states = Counter(row["node_ip"] for row in machines.table().values() if row["state"] == "ALIVE")
        return states == dict.fromkeys(addresses, 1)

    until(whole, 30.0, "all nodes are alive again")


@pytest.fixture
def driver(machines: Machines) -> Iterator[None]:
    """This process is a driver on the head."""
    with machines.driver(machines.head):
        yield


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Where work notes that it ran."""
    return tmp_path / "book"


# --- below the lease --------------------------------------------------------------------------------------------------


@pytest.mark.row("S13", "S15", "S17")
def test_what_is_over_before_the_lease_ends_costs_nothing(
    machines: Machines, driver: None, book: Path, tmp_path: Path
) -> None:
    """Nothing may be retried here: what ran twice, or was lost, shows."""
    victims = dict(zip(FAULTS, machines.nodes, strict=False))
    ids = {fault: node.node_id for fault, node in victims.items()}
    residents = {fault: Resident.options(**on(ids[fault])).remote(book, fault.name) for fault in FAULTS}
    linckia.get([resident.add.remote() for resident in residents.values()], timeout=30)
    before = machines.dead()
    for number, hold_s in enumerate(BELOW_THE_LEASE_S):
        gate = tmp_path / f"gate{number}"
        working = [residents[fault].work.remote(gate) for fault in FAULTS]
        until(lambda gate=gate: all(lines(book, f"local {fault.name} {gate.name}") for fault in FAULTS), 20.0)
        sent = _send(book, ids, f"{number} before")
        for fault, node in victims.items():
            fault.begin(machines, node)
        for fault, refs in _send(book, ids, f"{number} after").items():
            sent[fault] += refs
        grown = _local_work(book, hold_s)
        for fault, node in victims.items():
            fault.end(machines, node)
        healed_s, took_s = time.monotonic(), {}
        for fault in FAULTS:
            linckia.get(sent[fault], timeout=30)
            took_s[fault.name] = round(time.monotonic() - healed_s, 2)
        gate.touch()
        linckia.get(working, timeout=30)
        counts = linckia.get([each.add.remote() for each in residents.values()], timeout=30)
        assert counts == [number + 2] * len(FAULTS)
        machines.until_state(list(ids.values()), "ALIVE", 10)
        print(f"{hold_s:g} s: {[*grown.values()]} local tasks meanwhile; all answered after its end (s): {took_s}")
        if hold_s > 3:  # shorter ones say little on a busy machine
            assert all(grown[fault] > 0 for fault in FAULTS if fault.isolated), "work of a node needs no head"
    ran = Counter(line for fault in FAULTS for line in lines(book, f"{fault.name} "))
    twice = [line for line, count in Counter(lines(book, "")).items() if count > 1]
    print(
        f"{len(ran)} tasks, {len(BELOW_THE_LEASE_S)} rounds of {len(FAULTS)} faults: {len(twice)} ran twice, "
        f"{len(machines.dead()) - len(before)} false deaths"
    )
    assert len(ran) == 2 * TASKS_EACH * len(FAULTS) * len(BELOW_THE_LEASE_S)
    assert twice == []
    assert machines.dead() == before


def _send(book: Path, ids: dict[Fault, str], what: str) -> dict[Fault, list[Any]]:
    return {
        fault: [step.options(**on(ids[fault])).remote(book, f"{fault.name} {what} {i}") for i in range(TASKS_EACH)]
        for fault in FAULTS
    }


def _local_work(book: Path, hold_s: float) -> dict[Fault, int]:
    """Wait so long; how many local tasks ran in the second half of it."""
    began_s = time.monotonic()
    until(lambda: time.monotonic() - began_s > hold_s / 2, hold_s + 5)
    half = _progress(book)
    until(lambda: time.monotonic() - began_s > hold_s, hold_s + 5)
    now = _progress(book)
    return {fault: now[fault] - half[fault] for fault in FAULTS}


def _progress(book: Path) -> dict[Fault, int]:
    return {fault: len(lines(book, f"local {fault.name} ")) for fault in FAULTS}


# --- beyond the lease -------------------------------------------------------------------------------------------------


@pytest.mark.row("S13", "S15", "S17", "7.1", "7.2")
def test_what_lasts_longer_than_the_lease_is_fenced(
    machines: Machines, driver: None, book: Path, tmp_path: Path
) -> None:
    """Its work is done elsewhere, its own results count for nothing, and it comes back as a new node."""
    for number, hold_s in enumerate(BEYOND_THE_LEASE_S):
        _fence_all(machines, book.with_suffix(f".{number}"), tmp_path / f"gate{number}", hold_s)


def _fence_all(machines: Machines, book: Path, gate: Path, hold_s: float) -> None:
    victims = dict(zip(FAULTS, machines.nodes, strict=False))
    ids = {fault: node.node_id for fault, node in victims.items()}
    options: dict[str, Any] = {"max_restarts": 1, "max_task_retries": -1}
    residents = {fault: Resident.options(**options, **near(ids[fault])).remote(book, fault.name) for fault in FAULTS}
    first = {fault: linckia.get(residents[fault].where.remote(), timeout=30) for fault in FAULTS}
    assert [node for node, _ in first.values()] == list(ids.values())
    refs = {fault: held.options(**near(ids[fault])).remote(book, f"held {fault.name}", gate) for fault in FAULTS}
    until(lambda: len(lines(book, "held ")) == len(FAULTS), 20.0)
    old_pids = [int(line.split()[-1]) for line in lines(book, "held ")] + [pid for _, pid in first.values()]
    began_s = time.monotonic()
    for fault, node in victims.items():
        fault.begin(machines, node)
    dead_s = machines.until_state(list(ids.values()), "DEAD", NODE_LEASE_TTL_S + 5)
    second = {fault: linckia.get(residents[fault].where.remote(), timeout=20) for fault in FAULTS}
    until(lambda: len(lines(book, "held ")) == 2 * len(FAULTS), 20.0)
    gate.touch()  # the first ones end too now: their results are stale
    found = linckia.get([refs[fault] for fault in FAULTS], timeout=20)
    until(lambda: time.monotonic() - began_s > hold_s, hold_s + 5)
    lasted_s = time.monotonic() - began_s
    for fault, node in victims.items():
        fault.end(machines, node)
    healed_s = time.monotonic()
    back_s = {}
    for fault, node in victims.items():
        machines.until_rejoined(node, ids[fault], 20.0)
        back_s[fault.name] = f"{time.monotonic() - healed_s:.1f}"
    until(lambda: all(is_gone(pid) for pid in old_pids), 5.0, "what the fenced nodes ran has ended")
    third = {fault: linckia.get(residents[fault].where.remote(), timeout=20) for fault in FAULTS}
    again = linckia.get([refs[fault] for fault in FAULTS], timeout=20)
    stale = sum(node in ids.values() for node in found + again) + sum(second[each] != third[each] for each in FAULTS)
    declared = {fault.name: f"{dead_s[ids[fault]]:.1f}" for fault in FAULTS}
    print(f"{lasted_s:.0f} s: declared dead after (s) {declared}, joined as a new node after its end (s) {back_s}")
    print(f"stale effects: {stale}")
    silent_s = [float(machines.dead()[each].split("no heartbeat for ")[1].split()[0]) for each in ids.values()]
    assert max(silent_s) < NODE_LEASE_TTL_S + 2, "by the head's own clock"
    assert stale == 0
    assert not {node for node, _ in second.values()} & set(ids.values())
    assert len(lines(book, "born ")) == 2 * len(FAULTS), "each actor was restarted once"
    assert len(lines(book, "held ")) == 2 * len(FAULTS), "each task ran once more"


# --- the raylet dies --------------------------------------------------------------------------------------------------


@pytest.mark.row("S3", "7.1", "7.2")
def test_a_killed_raylet_takes_its_workers_along(machines: Machines, driver: None, book: Path, tmp_path: Path) -> None:
    """Its connection closes, its kernel refuses: nobody waits for a lease."""
    seen_s, gone_s, again_s = [], [], []
    for number in range(2 * SCALE):
        node, folder, gate = machines.nodes[number % NODES], tmp_path / str(number), tmp_path / f"gate{number}"
        folder.mkdir()
        book, old_id = folder / "book", node.node_id
        resident = Resident.options(max_restarts=1, max_task_retries=-1, **near(old_id)).remote(book, "resident")
        assert linckia.get(resident.where.remote(), timeout=30)[0] == old_id
        ref = held.options(**near(old_id)).remote(book, "held", gate)
        until(lambda book=book: lines(book, "held "), 20.0)
        below = [pid for pid in node.host.pids() if pid != node.pid]
        assert len(below) >= 3, "a zygote and two workers"
        node.kill()
        killed_s = time.monotonic()
        seen_s.append(machines.until_state([old_id], "DEAD", 5.0)[old_id])
        until(lambda below=below: all(is_gone(pid) for pid in below), 5.0, "its workers have ended")
        gone_s.append(time.monotonic() - killed_s)
        assert linckia.get(resident.add.remote(), timeout=20) == 1
        until(lambda book=book: len(lines(book, "held ")) == 2, 20.0)
        again_s.append(time.monotonic() - killed_s)
        gate.touch()
        assert linckia.get(ref, timeout=20) not in (old_id, "")
        assert len(lines(book, "born ")) == 2
        machines.join(node)
    print(
        f"{len(seen_s)} raylets killed: known after {max(seen_s):.3f} s at most, all its processes gone after "
        f"{max(gone_s):.3f} s, task and actor run elsewhere after {max(again_s):.3f} s"
    )
    assert max(seen_s) < 0.5
    assert max(gone_s) < 1.0


# --- most nodes vanish ------------------------------------------------------------------------------------------------


@pytest.mark.row("S19")
def test_most_nodes_vanish_and_nobody_is_declared_dead(
    machines: Machines, driver: None, book: Path, tmp_path: Path
) -> None:
    """The fault is more likely ours than theirs."""
    victims, gate = machines.nodes[:5], tmp_path / "gate"
    ids, before = [node.node_id for node in victims], machines.dead()
    refs = [held.options(max_retries=0, **on(each)).remote(book, f"held {each}", gate) for each in ids]
    until(lambda: len(lines(book, "held ")) == len(ids), 20.0)
    for node in victims:
        machines.network.cut(node.host)
    began_s = time.monotonic()
    machines.until_state(ids, "SUSPECT", 6.0)
    linckia.get([step.remote(book, f"meanwhile {number}") for number in range(20)], timeout=20)
    until(lambda: time.monotonic() - began_s > NODE_LEASE_TTL_S + 1, NODE_LEASE_TTL_S + 5)
    states = Counter(machines.state(each) for each in ids)
    gate.touch()
    for node in victims:
        machines.network.heal(node.host)
    healed_s = time.monotonic()
    assert linckia.get(refs, timeout=40) == ids
    came_s = time.monotonic() - healed_s
    machines.until_state(ids, "ALIVE", 20.0)
    back_s = time.monotonic() - healed_s
    print(
        f"{len(ids)} of {NODES + 1} nodes cut for {NODE_LEASE_TTL_S + 1:g} s: {dict(states)}; their results came "
        f"{came_s:.1f} s and they were alive {back_s:.1f} s after it ended"
    )
    assert states == {"SUSPECT": len(ids)}
    assert machines.dead() == before
    assert "brake on" in machines.head.log()
    assert len(lines(book, "held ")) == len(ids), "nothing ran twice"


# --- two nodes that do not see each other -----------------------------------------------------------------------------


@linckia.remote(max_retries=0)
def make(size: int) -> bytes:
    return b"x" * size


@linckia.remote(max_retries=0)
def measure(data: bytes) -> tuple[int, str]:
    return len(data), here()


@linckia.remote(max_retries=0)
def fetch(refs: list[Any], timeout_s: float) -> tuple[str, float]:
    """What a `get` there gives, or says, and when."""
    began_s = time.monotonic()
    try:
        text = f"{len(linckia.get(refs[0], timeout=timeout_s))} bytes"
    except exceptions.RayError as error:
        text = f"{type(error).__name__}: {error}"
    return text, time.monotonic() - began_s


@pytest.mark.row("S18")
def test_two_nodes_that_do_not_reach_each_other(
    machines: Machines, driver: None, book: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both see the head. A value of one is read on the other by a third way, or an error names both."""
    one, other = machines.nodes[:2]
    sizes = [50_000, 2_000_000, 30_000_000] if SCALE > 1 else [50_000, 2_000_000]
    refs = [make.options(**on(other.node_id)).remote(size) for size in sizes]
    linckia.wait(refs, num_returns=len(refs), timeout=30, fetch_local=False)
    machines.network.isolate(one.host, other.host)
    answers = [linckia.get(fetch.options(**on(one.node_id)).remote([ref], 30.0), timeout=60) for ref in refs]
    began_s = time.monotonic()
    where = linckia.get([measure.remote(ref) for ref in refs], timeout=60)
    located_s = time.monotonic() - began_s
    told = capfd.readouterr().err.strip()
    with capfd.disabled():
        for size, (text, took_s) in zip(sizes, answers, strict=True):
            print(f"\nget of {size} bytes: {took_s:.1f} s, {text}", end="")
        print(f"; tasks with these arguments ended after {located_s:.1f} s; told: {told!r}")
    for size, (text, took_s) in zip(sizes, answers, strict=True):
        named = one.address in text and other.address in text
        assert text == f"{size} bytes" or named
        assert took_s < 10
    assert [size for size, _ in where] == sizes


@pytest.mark.row("S18")
def test_a_driver_that_does_not_reach_one_node(
    machines: Machines, book: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its tasks go where it gets; what can only be there says so."""
    one, other = machines.nodes[:2]
    with machines.driver(one):
        began_s = time.monotonic()
        ref = make.options(**on(other.node_id)).remote(2_000_000)
        linckia.wait([ref], timeout=30, fetch_local=False)
        machines.network.isolate(one.host, other.host)
        spread = [step.options(scheduling_strategy="SPREAD").remote(book, str(number)) for number in range(3 * NODES)]
        linckia.get(spread, timeout=60)
        spread_s = time.monotonic() - began_s
        began_s = time.monotonic()
        resident = Resident.options(**on(other.node_id)).remote(book, "resident")
        calls = [resident.add.remote() for _ in range(3)]
        with pytest.raises(exceptions.GetTimeoutError):
            linckia.get(ref, timeout=9.5)
        get_s = time.monotonic() - began_s
        machines.network.heal(one.host)
        assert len(linckia.get(ref, timeout=20)) == 2_000_000
        assert linckia.get(calls, timeout=20) == [1, 2, 3], "nothing of them was sent before"
        healed_s = time.monotonic() - began_s - get_s
        told = capfd.readouterr().err.strip()
        with capfd.disabled():
            print(f"\n{len(spread)} tasks over all nodes after {spread_s:.1f} s; of what only it has: {told!r}")
            print(f"after it was healed value and actor were there after {healed_s:.1f} s")
        assert one.address in told and other.address in told
        assert len(set(lines(book, ""))) == len(spread) + 1


# --- a slow network ---------------------------------------------------------------------------------------------------


@pytest.mark.row("S20")
def test_a_slow_network_is_no_death(machines: Machines, driver: None, book: Path) -> None:
    """1 Mbit/s with a full queue both ways, for longer than a lease: heartbeats get through."""
    node, before = machines.nodes[0], machines.dead()
    node_id = node.node_id
    there = make.options(**on(node_id)).remote(20_000_000)
    linckia.wait([there], timeout=30, fetch_local=False)
    here_ref = linckia.put(b"y" * 20_000_000)
    machines.network.slow(node.host, "1mbit")
    began_s, states, hold_s = time.monotonic(), Counter[str](), NODE_LEASE_TTL_S + 1 if SCALE == 1 else 60.0 * SCALE
    flood = [measure.options(**on(node_id)).remote(here_ref), fetch.options(num_cpus=0).remote([there], hold_s + 600)]
    done: list[Any] = []
    while time.monotonic() - began_s < hold_s:
        states[machines.state(node_id)] += 1
        done += linckia.get([step.options(**on(node_id), num_cpus=0).remote(book, f"slow {len(done)}")], timeout=60)
    machines.network.heal(node.host)
    healed_s = time.monotonic()
    (size, _), (text, _) = linckia.get(flood, timeout=60)
    print(
        f"{hold_s:g} s of 1 Mbit/s with 20 MB waiting each way: {dict(states)}, {len(done)} tasks meanwhile; "
        f"both were there {time.monotonic() - healed_s:.1f} s after it ended"
    )
    assert (size, text) == (20_000_000, "20000000 bytes")
    assert machines.dead() == before
    assert set(states) == {"ALIVE"}, "not even suspect"
