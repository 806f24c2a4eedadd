"""A crowd of processes on one store: arenas, late messages, readers, sudden deaths; no byte is shared or lost.

Each process has one connection to the store, with messages in order per direction and any delay; processes talk to each
other directly, so frees overtake seals. What may still be read by a living process must never be handed out again.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from linckia.shm.arena import Arena
from linckia.shm.check import check_store
from linckia.shm.effects import DenyExtent, Effect, ForwardFree, GrantExtent, Recall, StoreOptions
from linckia.shm.pressure import spillable
from linckia.shm.store import StoreCore

KIB = 1024
CAPACITY = 256 * KIB
SPILLER = b"spiller"
OPTIONS = StoreOptions(extent_bytes=32 * KIB, release_after_s=5.0, keep_warm_bytes=0)


class FakeSegment:
    capacity_bytes = CAPACITY


@dataclass(eq=False)
class Object:
    offset: int
    size: int
    object_id: bytes
    owner: Process
    holder: Process
    freed: bool = False  # by its owner
    taken: bool = False  # being spilled: the memory is the node's
    readers: list[Process] = field(default_factory=list)

    def readable(self) -> bool:
        return self.taken or (self.owner.alive and not self.freed) or any(reader.alive for reader in self.readers)


class Process:
    def __init__(self, name: bytes) -> None:
        self.name = name
        self.alive = True
        self.sent: deque[tuple[str, Any]] = deque()
        self.received: deque[Effect] = deque()
        self.asked = False
        self.arena = Arena(FakeSegment(), self._never, lambda e: self.sent.append(("returned", e)))  # type: ignore[arg-type]

    @staticmethod
    def _never(_size: int) -> tuple[int, int]:
        raise AssertionError("the model asks by message")

    def handle(self, effect: Effect) -> None:
        if isinstance(effect, GrantExtent):
            self.asked = False
            self.arena.add_extent(effect.offset, effect.size)
        elif isinstance(effect, DenyExtent):
            self.asked = False
        elif isinstance(effect, Recall):
            self.arena.trim()
        elif isinstance(effect, ForwardFree):
            for offset in effect.offsets:
                self.arena.free(offset)


class Crowd(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.core = StoreCore(CAPACITY, OPTIONS)
        self.core.client_joined(SPILLER, "spiller")
        self.now = 0.0
        self.births = 0
        self.processes: list[Process] = []
        self.objects: list[Object] = []
        self.start()
        self.start()

    def alive(self) -> list[Process]:
        return [p for p in self.processes if p.alive]

    # --- processes ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.alive()) < 4)
    @rule()
    def start(self) -> None:
        self.births += 1
        process = Process(b"p%d" % self.births)
        self.processes.append(process)
        self.core.client_joined(process.name, process.name.decode())

    @precondition(lambda self: len(self.alive()) > 1)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self.alive()))
        process.alive = False
        process.received.clear()
        process.sent.append(("died", None))  # what it has sent is still read
        for found in self.objects:
            if found.owner is process and not found.freed:
                for reader in found.readers:
                    if reader.alive:
                        reader.sent.append(("sealed", [(found.offset, found.size, found.object_id, reader.name)]))

    # --- objects ------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), size=st.integers(1, 80 * KIB))
    def produce(self, data: st.DataObject, size: int) -> None:
        holder = data.draw(st.sampled_from(self.alive()), label="producer")
        owner = data.draw(st.sampled_from(self.alive()), label="owner")
        if holder.asked:
            return
        offset = holder.arena.try_allocate(size)
        if offset is None:
            holder.asked = True
            holder.sent.append(("alloc", holder.arena.extent_sizes(size)[0]))
            return
        for found in self.objects:
            if found.readable():
                assert offset + size <= found.offset or found.offset + found.size <= offset, "memory in use handed out"
        object_id = b"%d" % len(self.objects)
        self.objects.append(Object(offset, size, object_id, owner, holder))
        holder.sent.append(("sealed", [(offset, size, object_id, owner.name)]))

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.alive()))
        visible = [o for o in self.objects if o.owner.alive and not o.freed and o.owner is not reader]
        if visible:
            data.draw(st.sampled_from(visible)).readers.append(reader)

    @rule(data=st.data())
    def stop_reading(self, data: st.DataObject) -> None:
        reading = [(o, r) for o in self.objects for r in o.readers if r.alive]
        if reading:
            found, reader = data.draw(st.sampled_from(reading))
            found.readers.remove(reader)
            if not found.owner.alive and reader not in found.readers:
                reader.sent.append(("free", [found.offset]))

    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        if unread := self.unread():
            self.free_object(data.draw(st.sampled_from(unread)))

    def unread(self) -> list[Object]:
        return [o for o in self.objects if o.owner.alive and not o.freed and not any(r.alive for r in o.readers)]

    @rule(data=st.data())
    def take_over(self, data: st.DataObject) -> None:
        """Owner and readers agree to spill an object; the answer reaches the store at once."""
        sealed = {each.object_id: each for each in spillable(self.core, SPILLER)}
        idle = [o for o in self.unread() if o.object_id in sealed]
        if idle:
            found = data.draw(st.sampled_from(idle))
            assert self.core.take_over(found.offset, found.object_id, found.owner.name, SPILLER)
            assert not self.core.take_over(found.offset, found.object_id, found.owner.name, SPILLER)
            found.taken = found.freed = True

    @rule(data=st.data())
    def spilled(self, data: st.DataObject) -> None:
        taken = [o for o in self.objects if o.taken]
        if taken:
            found = data.draw(st.sampled_from(taken))
            found.taken = False
            self.carry(self.core.free_blocks(SPILLER, [found.offset], self.now))

    def free_object(self, found: Object) -> None:
        found.freed = True
        if found.holder is found.owner:
            found.owner.arena.free(found.offset)
        found.owner.sent.append(("free", [found.offset]))

    # --- messages and time --------------------------------------------------------------------------------------------

    @rule(data=st.data(), count=st.integers(1, 6))
    def to_store(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            speaking = [p for p in self.processes if p.sent]
            if speaking:
                self.deliver(data.draw(st.sampled_from(speaking)))

    def deliver(self, process: Process) -> None:
        what, body = process.sent.popleft()
        core, name = self.core, process.name
        if what == "alloc":
            self.carry(core.alloc_extent(name, 1, body, self.now))
        elif what == "returned":
            self.carry(core.extents_returned(name, body, self.now))
        elif what == "sealed":
            self.carry(core.sealed(name, body))
        elif what == "free":
            self.carry(core.free_blocks(name, body, self.now))
        else:
            self.carry(core.client_died(name, self.now))

    def carry(self, effects: list[Effect]) -> None:
        by_name = {p.name: p for p in self.processes}
        for effect in effects:
            client = getattr(effect, "client", None)
            if client is not None and by_name[client].alive:
                by_name[client].received.append(effect)

    @rule(data=st.data())
    def from_store(self, data: st.DataObject) -> None:
        listening = [p for p in self.processes if p.received]
        if listening:
            process = data.draw(st.sampled_from(listening))
            process.handle(process.received.popleft())

    @rule(step=st.sampled_from([0.01, 0.1, 0.6, 3.0]))
    def wait(self, step: float) -> None:
        """Messages arrive within the grace period."""
        while any(p.sent for p in self.processes):
            for process in self.processes:
                while process.sent:
                    self.deliver(process)
        self.now += step
        due = self.core.next_deadline()
        if due is not None and due <= self.now:
            self.carry(self.core.tick(self.now))

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def consistent(self) -> None:
        check_store(self.core)

    @invariant()
    def denials_come_in_time(self) -> None:
        waiting = self.core._waiting
        assert not waiting or waiting[0].deadline >= self.now - 3.0

    def teardown(self) -> None:
        for found in self.objects:
            found.readers = [r for r in found.readers if not r.alive] if found.owner.alive else found.readers
            if found.owner.alive and not found.freed:
                self.free_object(found)
            for reader in {r.name: r for r in found.readers if r.alive}.values():
                reader.sent.append(("free", [found.offset]))
            if found.taken:
                self.carry(self.core.free_blocks(SPILLER, [found.offset], self.now))
        for _ in range(6):
            self.settle()
        used = sum(p.arena.used_bytes for p in self.alive())
        assert used == 0, f"{used} bytes in blocks that all owners and readers have given up"
        for process in self.alive():
            process.arena.trim()
        self.settle()
        usage = self.core.usage()
        assert (usage.leased_bytes, usage.sealed_bytes, usage.objects, usage.waiting) == (0, 0, 0, 0)
        assert usage.largest_free_bytes == CAPACITY
        assert not self.core._adopted_early

    def settle(self) -> None:
        self.wait(3.0)
        for process in self.processes:
            while process.received:
                process.handle(process.received.popleft())


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)


class Chooser:
    """Stands in for hypothesis' ``data``: long random histories find what short, shrinkable ones miss."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def draw(self, strategy: Any, label: str = "") -> Any:
        return self.rng.choice(strategy.elements)


@pytest.mark.sim
@pytest.mark.row("P17")
@pytest.mark.parametrize("seed", range(30))
def test_a_long_random_history_loses_no_byte(seed: int) -> None:
    crowd, data = Crowd(), Chooser(seed)
    rng = data.rng
    for _ in range(300):
        step = rng.choice("ppppprrssffffooxxttttttttvvvvvvwd+")
        if step == "p":
            crowd.produce(data, rng.choice([100, 2000, 20 * KIB, 70 * KIB]))
        elif step == "t":
            crowd.to_store(data, rng.randint(1, 6))
        elif step == "w":
            crowd.wait(rng.choice([0.01, 0.1, 0.6, 3.0]))
        elif step == "d" and len(crowd.alive()) > 1 and rng.random() < 0.5:
            crowd.die(data)
        elif step == "+" and len(crowd.alive()) < 4:
            crowd.start()
        else:
            rules = {"r": crowd.read, "s": crowd.stop_reading, "f": crowd.free, "v": crowd.from_store}
            rules.update({"o": crowd.take_over, "x": crowd.spilled})
            if step in rules:
                rules[step](data)
        crowd.consistent()
        crowd.denials_come_in_time()
    crowd.teardown()
