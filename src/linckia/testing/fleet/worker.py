"""A simulated worker process of a machine of many: registers, and hosts an actor when it is told to.

Tasks are not pushed to it: their owner holds the lease for as long as they run (``driver.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from linckia.model.specs import ActorSpec
from linckia.protocol import messages as m
from linckia.testing.network import SimConnection
from linckia.testing.peer import SimPeer

if TYPE_CHECKING:
    from linckia.testing.fleet.machine import SimMachine
    from linckia.testing.fleet.world import Fleet

_decode_spec = msgspec.msgpack.Decoder(ActorSpec).decode


class FleetWorker(SimPeer):
    """Made when the pool of its machine forks."""

    def __init__(self, fleet: Fleet, machine: SimMachine, name: bytes, pid: int) -> None:
        super().__init__(fleet, name, "worker")
        self.machine, self.pid = machine, pid
        self.actor_id = self.job_id = b""
        self.actor_name = ""
        connection = self.network.connect(self.endpoint, machine.node_id)
        assert connection is not None, "a machine forks while it lives"
        self.raylet = connection
        self.handlers = {
            m.AssignJob: self._on_job,
            m.NodesChanged: lambda _c, _msg: None,
            m.ActorStarting: self._on_actor_starting,
            m.TerminateActor: lambda _c, _msg: self._leave(),
            m.ExitWorker: lambda _c, _msg: machine.end_worker(self.name, "told to exit"),
            m.WorkerFailed: lambda _c, _msg: None,
        }
        self.raylet.post(m.RegisterWorker(name, pid, f"sim:{name.hex()}"))

    def _on_job(self, _connection: SimConnection, message: m.AssignJob) -> None:
        self.job_id = message.job_id

    def _on_actor_starting(self, _connection: SimConnection, message: m.ActorStarting) -> None:
        spec = _decode_spec(message.spec)
        self.actor_id, self.actor_name = spec.actor_id, spec.name
        self.machine.fleet.hosts_actor(self, message.restarts)
        self.later(self.machine.fleet.constructor_s(), lambda: self.raylet.post(m.ActorStarted(self.actor_id, None)))

    def _leave(self) -> None:
        self.raylet.post(m.ActorExiting(self.actor_id, True, "its last handle went out of scope"))
        self.machine.end_worker(self.name, "its actor ended")

    def on_close(self, connection: SimConnection, reason: str) -> None:
        """Its raylet hung up: it goes too."""
        if connection is self.raylet:
            self.machine.end_worker(self.name, "its raylet hung up")
