"""The driver of a chaos run, a process of its own: a thread per class of operations, each operation checked and written
down. ``python -m linckia.testing.chaos.driver ADDRESS FOLDER CLASSES``; it prints `ready` and goes on until its input
ends.

At the end it looks whether all that was acknowledged is there, lets go of everything, and waits for the cluster to be
idle; what it found is in ``end.json``.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

import linckia
from linckia.exceptions import GetTimeoutError, RayError
from linckia.testing.chaos import deeds
from linckia.testing.chaos.checking import PARTS
from linckia.testing.chaos.history import SPILLING, Op, Outcome
from linckia.testing.chaos.waiting import NEVER_S, got
from linckia.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

GROUPS_KEPT = 30
BLOCKS_EACH, BLOCKS_KEPT = 4, 8
SETTLE_S = 30.0
KEEPER = "keeper"
NAMESPACE = "chaos"
CALLERS = 2
SMALL_SHARE = 0.01
"""CPUs of an actor: heads have none, and what runs on their hosts would be lost with them."""
PACE_S = {
    "task": 0.01,
    "tasks": 0.05,
    "call": 0.02,
    "retried": 0.02,
    "creation": 0.05,
    "find": 0.05,
    "group": 0.05,
    "object": 0.2,
    SPILLING: 0.5,
}
"""Pauses: most of what two cores can do is left to what is being looked at."""
_never = threading.Event()


class WrongAnswerError(Exception):
    """An operation was answered, and not as it should be."""


class End(msgspec.Struct):
    """What was found when the load had ended."""

    missing: list[str] = []
    quiet_s: float | None = None
    """From letting go of everything to available == total; None when that did not happen in time."""


class Load:
    """Everything that one driver does."""

    def __init__(self, folder: Path) -> None:
        self.ledger = str(folder / "ledger")
        self.over = threading.Event()
        self.kept: deque[tuple[int, PlacementGroup]] = deque()
        self.removed: list[tuple[int, PlacementGroup]] = []
        self.blocks: deque[tuple[int, Any]] = deque()
        counter = linckia.remote(num_cpus=SMALL_SHARE, max_restarts=-1)(deeds.Counter)
        self.strict: Any = counter.options(max_task_retries=0).remote(self.ledger)
        self.retried: Any = counter.options(max_task_retries=-1).remote(self.ledger)
        self.short_lived = counter.options(max_task_retries=-1)
        lasting = counter.options(max_task_retries=-1, name=KEEPER, namespace=NAMESPACE, lifetime="detached")
        self.keeper: Any = lasting.remote(self.ledger)
        self.keeper_id: str = self.keeper._actor_id.hex()
        ready = [each.ping.remote() for each in (self.strict, self.retried, self.keeper)]
        got([*ready, deeds.double.remote(self.ledger, -1)])

    def operations(self) -> dict[str, Callable[[int], str | None]]:
        """By class: from a number to what is written down with the answer."""
        return {
            "task": self.task,
            "tasks": self.tasks,
            "call": self.call,
            "retried": lambda number: str(got(self.retried.add.remote("retried", number))),
            "creation": self.creation,
            "find": self.find,
            "group": self.group,
            "object": self.object,
            SPILLING: self.spill,
        }

    def task(self, number: int) -> None:
        expect(got(deeds.double.remote(self.ledger, number)), 2 * number)

    def tasks(self, number: int) -> None:
        numbers = [number * PARTS + part for part in range(PARTS)]
        expect(got([deeds.nap.remote(self.ledger, each) for each in numbers]), numbers)

    def call(self, number: int) -> str:
        answer: str = got(self.strict.add.remote("call", number))
        return answer

    def creation(self, number: int) -> None:
        actor: Any = self.short_lived.remote(self.ledger, number)
        got(actor.ping.remote())

    def find(self, _number: int) -> None:
        found: Any = linckia.get_actor(KEEPER, NAMESPACE)
        expect(found._actor_id.hex(), self.keeper_id)
        got(found.ping.remote())

    def group(self, number: int) -> None:
        group = placement_group([{"memory": 1000}], name=f"g{number}", lifetime="detached")
        got(group.ready())
        self.kept.append((number, group))
        if len(self.kept) > GROUPS_KEPT:
            old = self.kept.popleft()
            remove_placement_group(old[1])
            self.removed.append(old)

    def object(self, number: int) -> None:
        block = number.to_bytes(8, "little") * (deeds.BLOCK_BYTES // 8)
        block_ref: Any = linckia.put(block)
        checksum, turned = got(deeds.turned.remote(block_ref))
        expect((checksum, turned == block[::-1]), (zlib.crc32(block), True))

    def spill(self, number: int) -> None:
        """What was put is there although it does not all fit; what cannot be put is told."""
        for part in range(number * BLOCKS_EACH, (number + 1) * BLOCKS_EACH):
            self.blocks.append((part, linckia.put(_block(part))))
            if len(self.blocks) > BLOCKS_KEPT:
                self.read_block()

    def read_block(self) -> None:
        """The oldest."""
        part, ref = self.blocks.popleft()
        expect(zlib.crc32(got(ref)), zlib.crc32(_block(part)))

    # --- the end ------------------------------------------------------------------------------------------------------

    def look(self) -> list[str]:
        """`class number` of what is not as it was acknowledged."""
        missing = []
        while self.blocks:
            part = self.blocks[0][0]
            outcome, value = carry_out(lambda _number: self.read_block(), part)
            missing += [f"{SPILLING} {part} ({value})"] * (outcome != "ok")
        deadline_s = time.monotonic() + SETTLE_S
        for number, group in self.kept:
            while not _is_there(number, group):
                if time.monotonic() > deadline_s:
                    missing.append(f"group {number}")
                    break
                _never.wait(0.05)
        gone = ("REMOVED", "")
        states = placement_group_table()
        missing += [
            f"group {number} (removed)"
            for number, group in self.removed
            if states.get(group.id.hex(), {}).get("state", "") not in gone
        ]
        return missing

    def let_go(self) -> float | None:
        """End everything; how long until all resources are available again."""
        for _, group in self.kept:
            remove_placement_group(group)
        for actor in (self.strict, self.retried, self.keeper):
            linckia.kill(actor)
        began_s = time.monotonic()
        while time.monotonic() < began_s + SETTLE_S:
            if _work_resources(linckia.available_resources()) == _work_resources(linckia.cluster_resources()):
                return time.monotonic() - began_s
            _never.wait(0.05)
        return None


def _block(part: int) -> bytes:
    return part.to_bytes(8, "little") * (deeds.BLOCK_BYTES * 10 // 8)


def _is_there(number: int, group: PlacementGroup) -> bool:
    try:
        if get_placement_group(f"g{number}").id != group.id:
            return False
    except ValueError:
        return False
    return bool(placement_group_table(group)["state"] == "CREATED")


def _work_resources(amounts: dict[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in amounts.items() if name == "CPU" or "_group_" in name}


def expect(found: object, wanted: object) -> None:
    """WrongAnswerError when they differ."""
    if found != wanted:
        raise WrongAnswerError(f"{wanted!r} was expected, not {found!r}"[:300])


def repeat(load: Load, kind: str, numbers: itertools.count[int], file: TextIO, lock: threading.Lock) -> None:
    """One operation after the other until the load is over."""
    operation = load.operations()[kind]
    while not load.over.is_set():
        number = next(numbers)
        began_ns = time.monotonic_ns()
        outcome, value = carry_out(operation, number)
        op = Op(kind, number, began_ns, time.monotonic_ns(), outcome, value)
        with lock:
            file.write(op.line())
        load.over.wait(PACE_S[kind])


def carry_out(operation: Callable[[int], str | None], number: int) -> tuple[Outcome, str]:
    """What came of it."""
    try:
        return "ok", operation(number) or ""
    except GetTimeoutError as error:
        return "never", " ".join([f"no answer in {NEVER_S:g} s", *getattr(error, "__notes__", ())])
    except WrongAnswerError as error:
        return "wrong", str(error)
    except (RayError, ValueError, OSError, RuntimeError) as error:
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def main(address: str, folder: Path, kinds: Sequence[str]) -> None:
    """Until standard input ends."""
    linckia.init(address=address, log_to_driver=False, namespace=NAMESPACE)
    load = Load(folder)
    lock = threading.Lock()
    with (folder / "history").open("w") as file:
        threads = []
        for kind in kinds:
            numbers = itertools.count()
            for _ in range(CALLERS if kind == "call" else 1):
                threads.append(threading.Thread(target=repeat, args=(load, kind, numbers, file, lock), name=kind))
        for thread in threads:
            thread.start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
        load.over.set()
        for thread in threads:
            thread.join()
    missing = load.look()
    end = End(missing, load.let_go())
    (folder / "end.json").write_bytes(msgspec.json.encode(end))
    linckia.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(","))
