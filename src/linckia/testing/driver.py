"""A simulated driver: registers, then does at random what users do, for about three seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from linckia.model.specs import JobConfig
from linckia.protocol import messages as m
from linckia.testing.owner import SimOwner, SimTask
from linckia.testing.scripts import ActorScript, Script

if TYPE_CHECKING:
    from linckia.testing.cluster import SimCluster

SHAPES: list[tuple[tuple[str, float], ...]] = [
    (("CPU", 1.0),),
    (("CPU", 1.0),),
    (("CPU", 0.5),),
    (("CPU", 2.0),),
    (("CPU", 1.0), ("GPU", 0.5)),
    (("GPU", 1.0),),
    (("oil", 1.0),),
    (),
]
ACTIONS_MAX = 40


class SimDriver(SimOwner):
    """One job."""

    def __init__(self, cluster: SimCluster, name: bytes) -> None:
        super().__init__(cluster, name, "driver")
        self.held: list[bytes] = []  # references in user code
        self.actions = self.rng.randint(5, ACTIONS_MAX)
        self.pace_s = 2.5 / self.actions
        config = msgspec.msgpack.encode(JobConfig("sim", [], "", "", log_to_driver=False))
        message = m.RegisterDriver(self.next_rid(), name, 1, f"sim:{name.decode()}", config)
        self.ask(self.raylet, message, self._registered)

    def _registered(self, reply: Any) -> None:
        self.job_id = reply.job_id
        self._act()

    def _act(self) -> None:
        if self.actions <= 0:
            return
        self.actions -= 1
        for _ in range(self.rng.choice([1, 1, 1, 8])):
            self._one_action()
        self.later(self.rng.expovariate(1.0 / self.pace_s), self._act)

    def _one_action(self) -> None:
        kinds = [self._submit] * 6 + [self._call] * 4 + [self._put, self._drop, self._open] * 2
        kinds += [self._create_actor, self._end_actor]
        self.rng.choice(kinds)()

    def _some(self, most: int) -> list[bytes]:
        return self.rng.sample(self.held, k=min(len(self.held), self.rng.randint(0, most)))

    def _script(self) -> Script:
        rng = self.rng
        return Script(
            shape=rng.choice(SHAPES),
            duration_s=rng.choice([0.0, 0.001, 0.01, 0.1, 0.5]),
            children=rng.choice([0, 0, 0, 1, 3]),
            keeps=rng.random() < 0.3,
            returns_refs=rng.random() < 0.3,
            large=rng.random() < 0.15,
            raises=rng.random() < 0.1,
            max_retries=rng.choice([0, 1, 3]),
        )

    def _submit(self) -> None:
        self._keep(self.submit(self._script(), self._some(2)))

    def _keep(self, task: SimTask) -> None:
        if self.rng.random() < 0.7:
            self.held.append(task.result)
        else:
            self.carry(self.refs.drop(task.result))

    def _put(self) -> None:
        large = self.rng.random() < 0.5
        self.held.append(self.put_large(self.rng.choice([300_000, 2 << 20])) if large else self.put(self._some(2)))

    def _drop(self) -> None:
        if self.held:
            self.carry(self.refs.drop(self.held.pop(self.rng.randrange(len(self.held)))))

    def _open(self) -> None:
        """Take references out of a value."""
        for object_id in self._some(1):
            entry = self.refs.entries[object_id]
            if entry.owner != self.name and entry.owner not in self.refs.dead:
                self.fetch(object_id, entry.owner)
            for inner in entry.contains:
                self.refs.keep(inner)
                self.held.append(inner)

    # --- actors -------------------------------------------------------------------------------------------------------

    def _create_actor(self) -> None:
        rng = self.rng
        script = ActorScript(
            name=rng.choice(["", "", "alice", "bob"]),
            detached=rng.random() < 0.15,
            max_restarts=rng.choice([0, 1, -1]),
            fails=rng.random() < 0.1,
            cpus=rng.choice([0.0, 0.0, 0.1]),
            start_s=rng.choice([0.001, 0.05]),
        )
        self.create_actor(script)

    def _call(self) -> None:
        living = [actor for actor in self.actors.values() if not actor.out_of_scope]
        if living:
            script = Script((), self.rng.choice([0.001, 0.02]), keeps=True, max_retries=self.rng.choice([0, 2]))
            self._keep(self.call(self.rng.choice(living), script, self._some(1)))

    def _end_actor(self) -> None:
        living = [actor for actor in self.actors.values() if not actor.out_of_scope]
        if living:
            actor = self.rng.choice(living)
            if self.rng.random() < 0.5:
                self.kill(actor, no_restart=self.rng.random() < 0.5)
            elif not actor.script.detached:
                self.drop_actor(actor)

    # --- the end ------------------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """User code has ended: every reference and handle goes."""
        if not self.alive:
            return
        while self.held:
            self.carry(self.refs.drop(self.held.pop()))
        for actor in self.actors.values():
            if not actor.script.detached:
                self.drop_actor(actor)

    def leave(self) -> None:
        """Hang up."""
        self.cluster.crash(self.name, "the program has ended", 0)
