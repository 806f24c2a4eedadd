"""Values that outlive their owners, in a seeded world: the nodes' and the head's own code, with late messages, nodes
and owners that die while copies are made, and heads that are replaced while somebody asks.

Whoever asks when a complete copy is on a node that lives gets one; every question is answered in time; as long as one
copy is left there are soon as many as were wanted again; nothing is left when the job has ended.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from linckia.base.limits import NODE_LEASE_TTL_S, ORPHAN_SEARCH_MAX_S
from linckia.core.objects import pull_records as p
from linckia.core.objects.copies import CopyTable
from linckia.core.objects.pulls import PullQueue
from linckia.gcs.keepers import KeeperService
from linckia.model.wire import Address, Block
from linckia.protocol import messages as m
from linckia.raylet import orphan_repair, orphans, replicas
from linckia.raylet.orphan_repair import Members, OrphanRepairer
from linckia.raylet.orphans import OrphanFinder
from linckia.raylet.replicas import ReplicaHost

pytestmark = pytest.mark.sim

SEEDS = 60
JOB = b"job1"
SIZE = 2 * 2**20  # sources are asked for, not guessed
DELAY_S = 0.05
FIRST, LATE = (b"A", b"B", b"C", b"D", b"E"), b"0"
"""Machines that are there from the beginning, and one that joins, whose id is before the others'."""


class World:
    """The clock, what is to happen, who lives, and what was asked."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now_s = 0.0
        self._todo: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.machines = {name: Machine(self, name) for name in (*FIRST, LATE)}
        self.owners: dict[bytes, Owner] = {}
        self.head = Head(self, told=set(self.machines))
        self.job_ended = False
        self.found = self.lost = self.repaired = 0
        self.asking: dict[int, Machine] = {}  # questions without an answer

    def after(self, delay_s: float, what: Callable[[], None]) -> Any:
        timer = SimpleNamespace(due_s=self.now_s + delay_s, cancel=lambda: None)
        heapq.heappush(self._todo, (timer.due_s, next(self._order), what))
        return timer

    def soon(self, what: Callable[[], None]) -> None:
        self.after(self.rng.random() * DELAY_S, what)

    def run(self, until_s: float) -> None:
        while self._todo and self._todo[0][0] <= until_s:
            self.now_s, _, what = heapq.heappop(self._todo)
            what()
        self.now_s = until_s

    def living(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if machine.lives]

    # --- what happens -------------------------------------------------------------------------------------------------

    def kill_machine(self, name: bytes) -> None:
        self.machines[name].lives = False
        for owner in self.owners.values():
            if owner.home == name:
                self.kill_owner(owner)
        head = self.head
        self.after(self.rng.random(), lambda: head.sees_death(name))

    def kill_owner(self, owner: Owner) -> None:
        """Each node hears of it in its time."""
        if owner.lives:
            owner.lives = False
            for machine in self.living():
                self.after(self.rng.random() * 2, lambda machine=machine: machine.hears_of_death(owner.address))

    def replace_head(self) -> None:
        """The next one knows nodes from the store, and what they keep from themselves."""
        self.head.lives = False
        self.head = Head(self, told=set())
        for machine in self.machines.values():
            self.after(1 + self.rng.random() * 2, lambda machine=machine: self.head.begins_with(machine))

    def ask(self, asker: Machine, owner: Owner, object_id: bytes) -> None:
        if not asker.lives or self.job_ended:
            return
        asked_s, number = self.now_s, next(self._order)
        self.asking[number] = asker
        sure = [each for each in self.living() if each.has(object_id) and each.since_s[object_id] < asked_s - 1]

        def located(sources: list[Block], why: str) -> None:
            del self.asking[number]
            if not asker.lives:
                return
            assert self.now_s - asked_s <= ORPHAN_SEARCH_MAX_S + 0.01, "too late"
            self.found, self.lost = self.found + bool(sources), self.lost + (not sources)
            assert sources or why
            for block in sources[:1]:
                other = self.machines[block.node_id]
                assert not other.lives or other.may_have(object_id)
            stayed = [each for each in sure if each.lives]
            assert sources or not stayed, (asked_s, why, stayed)

        asker.finder.find(object_id, owner.address, (), located)


class Owner:
    """A process that puts values with copies on other nodes."""

    def __init__(self, world: World, home: bytes, number: int) -> None:
        self.world, self.home, self.lives = world, home, True
        self.address = Address(b"owner%d" % number, f"node:{home.hex()}:h:1:/x")
        self.objects: list[bytes] = []
        self.copies: dict[bytes, int] = {}  # as many as are wanted
        world.owners[self.address.worker_id] = self

    def put(self, copies: int) -> None:
        world = self.world
        object_id = b"%s %10d" % (self.address.worker_id, len(self.objects))
        object_id = object_id.ljust(20, b".")[:20] + JOB + b"...."
        self.objects.append(object_id)
        self.copies[object_id] = copies
        item = m.Wanted(object_id, SIZE, self.address, Block(len(self.objects), SIZE, self.home))
        others = [name for name in FIRST if name != self.home]
        for name in [self.home, *world.rng.sample(others, copies - 1)]:
            world.soon(lambda name=name: world.machines[name].keep(m.KeepCopy(1, item, copies)))


class Machine:
    """A node with its own pull queue, replicas and finder; transfers take time."""

    peer_id = property(lambda self: self.node_id)

    def __init__(self, world: World, name: bytes) -> None:
        self.world, self.node_id, self.lives = world, name, True
        reactor: Any = SimpleNamespace(call_later=world.after, call_soon=lambda what: world.after(0, what))
        self.copies = CopyTable()
        self.queue = PullQueue(name, 10**9, self.copies)
        self.blocks: dict[bytes, int] = {}
        self.adopted: dict[bytes, int] = {}
        self.receiving: set[bytes] = set()
        self.dead_owners: set[bytes] = set()
        self.since_s: dict[bytes, float] = {}  # object -> since when it is kept, or begins to be
        self.host = ReplicaHost(self, 10**9, self)  # type: ignore[arg-type]
        self.host.job_goes_on = lambda _job_id: not world.job_ended
        self.host.tell_head = lambda message: world.head.hears(self, message)
        self.finder = OrphanFinder(reactor, name, self, self.host)  # type: ignore[arg-type]
        self.nodes = {*FIRST, name}  # that live, as far as it knows
        self.repairs = OrphanRepairer(self.finder, lambda: Members(self.nodes, set()))
        self._offsets = itertools.count(10**6)

    # --- what the checks look at --------------------------------------------------------------------------------------

    def has(self, object_id: bytes) -> bool:
        return self.host.kept_here(object_id).complete

    def may_have(self, object_id: bytes) -> bool:
        return self.has(object_id) or object_id in self.host.table.objects or object_id in self.host.table.missed

    # --- events -------------------------------------------------------------------------------------------------------

    def keep(self, message: m.KeepCopy, answer: Callable[[Any], None] = lambda _message: None) -> None:
        item = message.item
        if not self.lives or self.world.job_ended:
            return
        if not self.has(item.object_id):
            self.since_s[item.object_id] = self.world.now_s
        if message.is_orphan:
            self.world.repaired += item.object_id not in self.host.table.objects
            self.dead_owners.add(item.owner.worker_id)
        if item.block.node_id == self.node_id:
            self.blocks[item.object_id] = item.block.offset
        self.host.on_keep(SimpleNamespace(post=answer), message)
        if item.owner.worker_id in self.dead_owners:
            self.host.owner_gone(item.owner.worker_id)

    def hears_of_death(self, owner: Address) -> None:
        if self.lives:
            self.dead_owners.add(owner.worker_id)
            self.host.owner_gone(owner.worker_id)
            for object_id in [each for each in self.blocks if each not in self.adopted]:
                if object_id.startswith(owner.worker_id + b" "):
                    del self.blocks[object_id]  # the store reclaims it

    def hears_of_another(self, name: bytes) -> None:
        if self.lives and self.world.machines[name].lives:
            self.nodes.add(name)
            self.repairs.node_joined()

    def hears_of_node(self, name: bytes) -> None:
        if self.lives:
            self.repairs.node_gone(name)
            self.nodes.discard(name)

    # --- the store and the wire, as ReplicaHost and OrphanFinder know them --------------------------------------------

    def take_over(self, offset: int, object_id: bytes, _owner_id: bytes) -> bool:
        found = self.blocks.get(object_id) == offset or self.copies.offset_of(object_id) == offset >= 0
        if found:
            self.adopted[object_id] = offset
        return found

    def stays_at(self, offset: int, object_id: bytes) -> bool:
        return self.blocks.get(object_id) == offset and object_id in self.adopted

    def let_go(self, offset: int, object_id: bytes) -> None:
        assert self.adopted.pop(object_id) == offset
        self.blocks.pop(object_id, None)
        self.carry_out(self.queue.freed([object_id]))

    def is_receiving(self, object_id: bytes) -> bool:
        return object_id in self.receiving

    def request(self, node_id: bytes, make: Any, answered: Any) -> None:
        world, other, message = self.world, self.world.machines[node_id], make(1)
        waits = [answered]

        def answer(text: Any, reason: str = "") -> None:
            if self.lives and waits:
                waits.pop()(text, reason)

        def arrives() -> None:
            if not other.lives:
                world.soon(lambda: answer(None, f"{node_id!r} is dead"))
                return
            if isinstance(message, m.KeepCopy):
                other.keep(message, lambda kept: world.soon(lambda: answer(kept)))
                return
            kept = [other.host.kept_here(object_id) for object_id in message.object_ids]
            world.soon(lambda: answer(m.KeptHere(1, kept)))

        world.soon(arrives)
        world.after(5.0, lambda: answer(None, "no answer"))

    def carry_out(self, effects: Iterable[p.Effect]) -> None:
        for effect in effects:
            match effect:
                case p.Allocate():
                    offset = next(self._offsets)
                    self.carry_out(self.queue.allocated(effect.object_id, offset, self.world.now_s) or [])
                case p.Locate():
                    self.world.soon(lambda effect=effect: self._locate(effect))
                case p.Transfer():
                    self.receiving.add(effect.object_id)
                    self.world.after(self.world.rng.random(), lambda effect=effect: self._ends(effect))
                case p.Answer():
                    self.host.post(m.ObjectFetched(effect.rid, effect.offsets))
                case p.Failed():
                    self.host.post(m.FetchFailed(effect.rid, effect.object_id, effect.kind, effect.reason))
                case _:
                    pass

    def _locate(self, effect: p.Locate) -> None:
        owner, object_id = self.world.owners[effect.owner.worker_id], effect.object_id

        def located(sources: list[Block], kind: str, why: str) -> None:
            self.carry_out(self.queue.located(object_id, sources, kind, why, self.world.now_s))

        if not self.lives:
            return
        if not owner.lives:
            dead = "owner_died"
            self.finder.find(
                object_id, effect.owner, effect.exclude, lambda found, why: located(found, "" if found else dead, why)
            )
        elif owner.home in effect.exclude:
            located([], "unreachable", "its home is silent")
            self.world.after(0.5, lambda: self.carry_out(self.queue.tick(self.world.now_s)))
        else:
            located([Block(1, SIZE, owner.home)], "", "")

    def _ends(self, effect: p.Transfer) -> None:
        self.receiving.discard(effect.object_id)
        source = self.world.machines[effect.source.node_id]
        fine = source.lives and (effect.object_id in source.blocks or source.has(effect.object_id))
        now_s = self.world.now_s
        if not self.lives or self.copies.get(effect.object_id) is None:
            return
        if fine:
            self.carry_out(self.queue.transferred(effect.object_id, now_s))
        else:
            self.carry_out(self.queue.transfer_failed(effect.object_id, source.node_id, "it is dead", now_s))


class Head:
    """One life of the head: its keepers' service, and which nodes have told it what they keep."""

    def __init__(self, world: World, told: set[bytes]) -> None:
        self.world, self.told, self.lives = world, told, True
        self.dead: set[bytes] = set()
        self.nodes: Any = SimpleNamespace(on_dead=[], on_resources=[], living=self._living)
        self.service = KeeperService(self.nodes, lambda _job_id: not world.job_ended)
        for name in [] if told else list(world.machines):
            world.after(NODE_LEASE_TTL_S + world.rng.random(), lambda name=name: self.lease_ends(name))

    def _living(self) -> list[Any]:
        return [SimpleNamespace(has_told=name in self.told) for name in self.world.machines if name not in self.dead]

    def hears(self, machine: Machine, message: m.Message) -> None:
        peer = SimpleNamespace(peer_id=machine.node_id, post=lambda answer: self._answers(machine, answer))
        order = self.world.now_s + DELAY_S  # a session keeps order
        self.world.after(order - self.world.now_s, lambda: self._handle(peer, machine, message))

    def _handle(self, peer: Any, machine: Machine, message: m.Message) -> None:
        if self.lives and machine.lives and machine.node_id in self.told | {machine.node_id}:
            self.service.handlers()[type(message)](peer, message)

    def _answers(self, machine: Machine, answer: Any) -> None:
        self.world.soon(lambda: machine.lives and self.lives and machine.finder.on_keepers(None, answer))

    def begins_with(self, machine: Machine) -> None:
        if self.lives and machine.lives:
            machine.finder.head_is_new()
            self.world.after(DELAY_S, lambda: self._has_told(machine.node_id))

    def _has_told(self, name: bytes) -> None:
        self.told.add(name)
        for listener in self.nodes.on_resources:
            listener()

    def sees_death(self, name: bytes) -> None:
        if self.lives and name not in self.dead:
            self.dead.add(name)
            for listener in self.nodes.on_dead:
                listener(SimpleNamespace(info=SimpleNamespace(node_id=name)), "")
            for machine in self.world.living():
                self.world.soon(lambda machine=machine: machine.hears_of_node(name))

    def lease_ends(self, name: bytes) -> None:
        if not self.world.machines[name].lives:
            self.sees_death(name)


def play(seed: int, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(seed)
    clock = SimpleNamespace(monotonic=lambda: world.now_s)
    monkeypatch.setattr(orphans, "time", clock)
    monkeypatch.setattr(replicas, "time", clock)
    monkeypatch.setattr(orphan_repair, "time", clock)
    rng, names = world.rng, FIRST
    owners = [Owner(world, rng.choice(names), number) for number in range(4)]
    for owner in owners:
        for _ in range(5):
            world.after(rng.random() * 3, lambda owner=owner: owner.lives and owner.put(rng.choice((2, 2, 3))))
    for name in rng.sample([*FIRST, LATE], 3):
        world.after(rng.random() * 8, lambda name=name: world.kill_machine(name))
    for machine in world.machines.values():
        world.after(8 + rng.random() * DELAY_S, lambda machine=machine: machine.hears_of_another(LATE))
    world.after(rng.random() * 8, lambda: world.kill_owner(rng.choice(owners)))
    for _ in range(rng.choice((0, 1, 2))):
        world.after(rng.random() * 8, world.replace_head)
    for _ in range(120):
        world.after(rng.random() * 12, lambda: question(world, owners))
    world.run(40.0)
    check_copies(world, owners)
    world.job_ended = True
    world.head.service.job_finished(JOB)
    for machine in world.living():
        for owner in owners:
            machine.hears_of_death(owner.address)
        machine.host.job_ended(JOB)
    world.run(60.0)
    return world


def check_copies(world: World, owners: list[Owner]) -> None:
    """Of what has no owner, and of which something is left, there is all that was wanted."""
    living = world.living()
    for owner in [each for each in owners if not each.lives]:
        for object_id, copies in owner.copies.items():
            there = [machine.node_id for machine in living if machine.has(object_id)]
            assert len(there) in (0, *range(min(copies, len(living)), 6)), f"{object_id!r}: {copies} wanted, {there}"


def question(world: World, owners: list[Owner]) -> None:
    owner = world.rng.choice(owners)
    if owner.objects and not owner.lives and world.living():
        world.ask(world.rng.choice(world.living()), owner, world.rng.choice(owner.objects))


def test_who_asks_is_answered_in_time_and_truthfully(monkeypatch: pytest.MonkeyPatch) -> None:
    found = lost = repaired = 0
    for seed in range(SEEDS):
        try:
            world = play(seed, monkeypatch)
            assert not any(asker.lives for asker in world.asking.values()), "a question without an answer"
            for machine in world.living():
                table = machine.host.table
                assert not table.objects and not machine.adopted, machine.node_id
                assert table.replica_bytes == table.orphan_bytes == 0 == machine.copies.promoted_bytes
                assert not machine.finder._waiting and not machine.host._asked
                core = machine.repairs.core
                assert not (core.objects or core._at or core._due or core._later or core._lacking), "repairs are left"
            assert not world.head.service.table.owners
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        found, lost, repaired = found + world.found, lost + world.lost, repaired + world.repaired
    assert found > 1000 and lost > 100 and repaired > 100, "all of it happens"
    print(f"{found} found, {lost} lost, {repaired} copies made anew")
