"""Four processes pass references around at random, and some die: nothing that is held is freed, and what nobody holds
is.

The oracle counts the references in user code by itself and never asks the counters who holds what. Messages between two
processes arrive in order, those of different pairs in any.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from linckia.core.objects.reference_counter import ReferenceCounter
from linckia.core.objects.references import Acknowledge, Answer, Effect, End, Free, Ref, Register, Value

NAMES = [b"A", b"B", b"C", b"D"]


@dataclass
class Task:
    """A task as the test sees it. ``state``: sent, running, finishing, over."""

    task_id: bytes
    caller: bytes
    worker: bytes
    arguments: tuple[bytes, ...]
    result: bytes
    state: str = "sent"
    contained: tuple[bytes, ...] = ()


class ReferenceMachine(RuleBasedStateMachine):
    """The world around the counters."""

    def __init__(self) -> None:
        super().__init__()
        self.counters = {name: ReferenceCounter(name) for name in NAMES}
        self.user: dict[bytes, Counter[bytes]] = {name: Counter() for name in NAMES}
        self.links: dict[tuple[bytes, bytes], deque[tuple[str, Any]]] = {
            (a, b): deque() for a in NAMES for b in NAMES if a != b
        }
        self.tasks: dict[bytes, Task] = {}
        self.owner: dict[bytes, bytes] = {}
        self.contents: dict[bytes, tuple[bytes, ...]] = {}
        self.freed: set[bytes] = set()
        self.unprotected: set[bytes] = set()  # whoever kept them alive for a borrower died before it could register
        self.may_leak: set[bytes] = set()  # a worker died between introducing its caller and answering
        self.fetching: list[tuple[bytes, bytes]] = []
        self.crashes_left = 0
        self.number = 0

    @initialize(crashes=st.sampled_from([0, 0, 1, 2]))
    def begin(self, crashes: int) -> None:
        self.crashes_left = crashes

    # --- what user code does ------------------------------------------------------------------------------------------

    def held(self, name: bytes) -> list[bytes]:
        """What user code of a process could name: its references and the arguments of its running tasks."""
        found = {obj: None for obj, count in sorted(self.user[name].items()) if count}
        for task in self.tasks.values():
            if task.worker == name and task.state == "running":
                found.update(dict.fromkeys(task.arguments))
        return list(found)

    def some(self, data: st.DataObject, name: bytes) -> tuple[bytes, ...]:
        held = self.held(name)
        return tuple(data.draw(st.lists(st.sampled_from(held), max_size=3, unique=True))) if held else ()

    def process(self, data: st.DataObject) -> bytes:
        return data.draw(st.sampled_from(sorted(self.counters)))

    def new_id(self, owner: bytes) -> bytes:
        self.number += 1
        object_id = owner + str(self.number).encode()
        self.owner[object_id] = owner
        return object_id

    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        name = self.process(data)
        contained = self.some(data, name)
        object_id = self.new_id(name)
        self.contents[object_id] = contained
        self.user[name][object_id] += 1
        self.carry(name, self.counters[name].create(object_id, contained))

    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        name = self.process(data)
        for object_id in self.some(data, name)[:1]:
            self.counters[name].keep(object_id)
            self.user[name][object_id] += 1

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        name = self.process(data)
        mine = [obj for obj, count in sorted(self.user[name].items()) if count]
        if mine:
            self.drop_one(name, data.draw(st.sampled_from(mine)))

    def drop_one(self, name: bytes, object_id: bytes) -> None:
        self.user[name][object_id] -= 1
        self.carry(name, self.counters[name].drop(object_id))

    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        """User code takes the references out of a value, which is sent for when it is elsewhere."""
        name = self.process(data)
        counter = self.counters[name]
        for object_id in self.some(data, name)[:1]:
            for inner in counter.entries[object_id].contains:
                counter.keep(inner)
                self.user[name][inner] += 1
            owner = self.owner[object_id]
            if owner in self.counters and owner != name:
                counter.fetch(object_id)
                self.fetching.append((name, object_id))
                self.send(name, owner, "get", object_id)

    @rule(data=st.data())
    def submit(self, data: st.DataObject) -> None:
        name, worker = self.process(data), self.process(data)
        if name == worker:
            return
        arguments = self.some(data, name)
        result = self.new_id(name)
        task = self.tasks[b"t" + result] = Task(b"t" + result, name, worker, arguments, result)
        self.user[name][result] += 1
        self.carry(name, self.counters[name].create(result))
        refs = self.counters[name].submit(task.task_id, arguments)
        self.send(name, worker, "push", (task.task_id, refs))

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        running = [task for task in self.tasks.values() if task.state == "running"]
        if running:
            task = data.draw(st.sampled_from(running))
            contained = self.some(data, task.worker)
            if task.result not in self.reachable(contained):  # a cycle across processes is never freed
                self.finish_one(task, contained)

    def finish_one(self, task: Task, contained: tuple[bytes, ...]) -> None:
        task.state, task.contained = "finishing", contained
        self.contents[task.result] = contained
        self.carry(task.worker, self.counters[task.worker].finish(task.task_id, contained))

    # --- messages -----------------------------------------------------------------------------------------------------

    def send(self, source: bytes, to: bytes, kind: str, body: Any) -> None:
        if to in self.counters:
            self.links[source, to].append((kind, body))

    def carry(self, name: bytes, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Register():
                    self.send(name, effect.owner, "add", effect)
                case Acknowledge():
                    self.send(name, effect.to, "added", effect)
                case End():
                    self.send(name, effect.owner, "ended", effect.object_ids)
                case Answer():
                    self.tasks[effect.task_id].state = "over"
                    self.send(name, effect.to, "answer", effect)
                case Value():
                    self.send(name, effect.to, "value", effect)
                case Free(object_id):
                    assert object_id not in self.freed
                    self.freed.add(object_id)

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        busy = sorted(link for link, queue in self.links.items() if queue)
        if busy:
            self.deliver_one(data.draw(st.sampled_from(busy)))

    def deliver_one(self, link: tuple[bytes, bytes]) -> None:
        source, to = link
        kind, body = self.links[link].popleft()
        self.carry(to, self.receive(source, to, kind, body))

    def receive(self, source: bytes, to: bytes, kind: str, body: Any) -> list[Effect]:
        counter = self.counters[to]
        if kind == "add":
            return counter.add_borrower(source, body.rid, body.object_id, body.borrower)
        if kind == "added":
            return counter.acknowledged(body.rid, known=body.known)
        if kind == "ended":
            return counter.ended(source, body)
        if kind == "push":
            self.tasks[body[0]].state = "running"
            return counter.begin(body[0], source, body[1])
        if kind == "answer":
            task = self.tasks[body.task_id]
            return counter.answered(body.task_id, source, body.borrowing, task.result, body.contained)
        if kind == "get":
            return counter.serve(body, source)
        if kind == "value":
            return self.fetched(to, body.object_id, body.contained)
        assert kind == "died"
        return self.died(to, source)

    def fetched(self, name: bytes, object_id: bytes, contained: tuple[Ref, ...] | None) -> list[Effect]:
        self.fetching.remove((name, object_id))
        return self.counters[name].fetched(object_id, contained)

    def died(self, name: bytes, dead: bytes) -> list[Effect]:
        counter = self.counters[name]
        effects = counter.died(dead)
        for task in self.tasks.values():
            if task.caller == name and task.worker == dead:
                effects += counter.abandoned(task.task_id)
        for fetcher, object_id in [f for f in self.fetching if f[0] == name and self.owner[f[1]] == dead]:
            effects += self.fetched(fetcher, object_id, None)
        return effects

    # --- deaths -------------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """The socket delivers what was written before; what is written to the dead is lost."""
        if not self.crashes_left:
            return
        self.crashes_left -= 1
        dead = self.process(data)
        for task in self.tasks.values():
            if task.caller == dead and task.state != "over":
                self.unprotected |= self.reachable(task.arguments)
            if task.worker == dead and task.state == "finishing":
                self.may_leak |= self.reachable(task.contained)
            if task.worker == dead:
                task.state = "over"
        for object_id, owner in self.owner.items():
            if owner == dead:
                self.unprotected |= self.reachable(self.contents.get(object_id, ()))
        del self.counters[dead], self.user[dead]
        self.fetching = [fetch for fetch in self.fetching if fetch[0] != dead]
        for name in NAMES:
            if name != dead:
                self.links[name, dead].clear()
        for name in self.counters:
            self.links[dead, name].append(("died", None))

    def reachable(self, object_ids: tuple[bytes, ...]) -> set[bytes]:
        found: set[bytes] = set()
        frontier = list(object_ids)
        while frontier:
            object_id = frontier.pop()
            if object_id not in found:
                found.add(object_id)
                frontier += self.contents.get(object_id, ())
        return found

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_held_is_freed(self) -> None:
        for name in self.counters:
            for object_id in self.held(name):
                if self.owner[object_id] in self.counters and object_id not in self.unprotected:
                    assert object_id not in self.freed, f"{object_id!r} is freed, and {name!r} holds it"
                    assert not self.counters[name].entries[object_id].lost
        for task in self.tasks.values():
            if task.caller in self.counters and task.state in ("sent", "running"):
                alive = {a for a in task.arguments if self.owner[a] in self.counters} - self.unprotected
                assert not alive & self.freed

    def settle(self) -> None:
        while busy := sorted(link for link, queue in self.links.items() if queue):
            for link in busy:
                self.deliver_one(link)

    def teardown(self) -> None:
        self.settle()
        while running := [task for task in self.tasks.values() if task.state == "running"]:
            self.finish_one(running[0], ())
            self.settle()
        for name, user in self.user.items():
            for object_id in sorted(user.elements()):
                self.drop_one(name, object_id)
        self.settle()
        kept = {obj for obj, owner in self.owner.items() if owner in self.counters} - self.freed - self.may_leak
        assert not kept, f"nobody holds {sorted(kept)}, and they are not freed"
        for counter in self.counters.values():
            assert not counter.entries.keys() - self.may_leak
            assert not counter.frames and not counter._open and not counter._pins


@pytest.mark.row("3.1")
def test_references_under_random_use_and_crashes() -> None:
    quick = settings(
        max_examples=60,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate],  # shrinking such a history takes minutes; replay it from the database
    )
    run_state_machine_as_test(ReferenceMachine, settings=quick)
