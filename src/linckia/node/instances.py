"""Nodes that the autoscaler wants on this machine: started, watched and ended by the node process that is here already.

They outlive autoscalers and head processes, whose orders come as messages to the raylet, and end with this node. Orders
are idempotent by name; an order of an old leader is not followed. Only processes started here are ever ended, by their
pidfd. Built by node/rooms.py.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from linckia.core.autoscaling.records import NodeType
from linckia.core.autoscaling.rounds import INSTANCE_LABEL, TYPE_LABEL
from linckia.host.own_log import say
from linckia.node.launch import NodeProcess, start_node
from linckia.node.options import NodeOptions
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.node.rooms import Rooms

NAMES_KEPT_MAX: Final = 10_000
FAILED_KEPT_MAX: Final = 100
KILL_AFTER_S: Final = 5.0
_decode_type = msgspec.msgpack.Decoder(NodeType).decode


class Process(Protocol):
    """A node/launch.py NodeProcess."""

    pid: int
    pidfd: int

    def begin_stop(self) -> None: ...
    def stop(self, grace_s: float = ..., *, ask_first: bool = ...) -> None: ...


class Loop(Protocol):
    """What is needed of the reactor."""

    def register(self, fd: int, handler: Callable[[int], None]) -> None: ...
    def unregister(self, fd: int) -> None: ...
    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any: ...


Start = Callable[[NodeType, dict[str, str]], Process]
"""(node type, labels) -> a node process that joins the cluster. OSError when it cannot be started."""


class InstanceHost:
    """``tell(message)`` goes to the head that leads; ``epoch()`` is the highest that is known here."""

    def __init__(
        self,
        loop: Loop,
        node_id: bytes,
        start: Start,
        tell: Callable[[m.Message], None],
        epoch: Callable[[], int],
    ) -> None:
        self._loop, self._node_id, self._start, self._tell, self._epoch = loop, node_id, start, tell, epoch
        self._running: dict[str, tuple[str, Process]] = {}
        self._ending: dict[str, Process] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()  # names that were started once
        self._failed: OrderedDict[str, str] = OrderedDict()

    def handlers(self) -> dict[type[m.Message], Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {m.StartInstance: self._on_start, m.EndInstance: self._on_end}

    def begin(self) -> None:
        """A session with a head begins."""
        if self._running or self._failed:
            self._say()

    def pids(self) -> set[int]:
        """Of processes that were started here and not reaped yet."""
        return {each.pid for each in (*(process for _, process in self._running.values()), *self._ending.values())}

    def close(self) -> None:
        """End them all, now. Idempotent; leaves no zombie."""
        everybody = [*(process for _, process in self._running.values()), *self._ending.values()]
        self._running.clear()
        self._ending.clear()
        for process in everybody:
            self._loop.unregister(process.pidfd)
            process.begin_stop()
        for process in everybody:
            process.stop()

    def _on_start(self, _peer: Any, message: m.StartInstance) -> None:
        name = message.name
        if message.epoch < self._epoch() or name in self._seen:
            return
        node_type = _decode_type(message.node_type)
        self._seen[name] = None
        if len(self._seen) > NAMES_KEPT_MAX:
            self._seen.popitem(last=False)
        labels = {**node_type.labels, TYPE_LABEL: node_type.name, INSTANCE_LABEL: name}
        try:
            process = self._start(node_type, labels)
        except OSError as error:
            self._fail(name, f"its process could not be started: {error}")
        else:
            self._running[name] = (node_type.name, process)
            self._loop.register(process.pidfd, lambda _events: self._exited(name))
        self._say()

    def _on_end(self, _peer: Any, message: m.EndInstance) -> None:
        if message.epoch < self._epoch():
            return
        _, process = self._running.pop(message.name, ("", None))
        if process is not None:
            self._ending[message.name] = process
            process.begin_stop()
            self._loop.call_later(KILL_AFTER_S, lambda: self._kill(message.name))
            self._say()

    def _kill(self, name: str) -> None:
        """It was asked to end, and is still there."""
        process = self._ending.pop(name, None)
        if process is not None:
            self._loop.unregister(process.pidfd)
            process.stop(ask_first=False, grace_s=0.0)

    def _exited(self, name: str) -> None:
        _, process = self._running.pop(name, ("", None))
        if process is not None:
            self._fail(name, "its process has ended")
        process = process or self._ending.pop(name, None)
        if process is not None:
            self._loop.unregister(process.pidfd)
            process.stop(grace_s=0.0)
            self._say()

    def _fail(self, name: str, why: str) -> None:
        say(f"instance {name}: {why}")
        self._failed[name] = why
        if len(self._failed) > FAILED_KEPT_MAX:
            self._failed.popitem(last=False)

    def _say(self) -> None:
        running = {name: kind for name, (kind, _) in self._running.items()}
        self._tell(m.InstancesHere(self._node_id, running, dict(self._failed)))


def start_instance(rooms: Rooms, node_type: NodeType, labels: dict[str, str]) -> NodeProcess:
    """Spawn one. OSError."""
    return start_node(_options(rooms, node_type, labels))


def _options(rooms: Rooms, node_type: NodeType, labels: dict[str, str]) -> NodeOptions:
    """What such a node is started with: in this cluster, and to end with this node."""
    node = rooms.node
    amounts: dict[str, Any] = dict(node_type.resources)
    cpus, gpus, memory = amounts.pop("CPU", 0), amounts.pop("GPU", None), amounts.pop("memory", None)
    store = amounts.pop("object_store_memory", None)
    tls = node.tls_files or ("", "", "")
    return NodeOptions(
        num_cpus=cpus,
        num_gpus=gpus,
        resources=amounts,
        memory=None if memory is None else int(memory),
        object_store_memory=node.options.object_store_memory if store is None else int(store),
        labels=labels,
        temp_dir=node.options.temp_dir,
        token=node.token,
        address=_heads(rooms),
        node_ip=rooms.node_ip,
        port=0,
        rejoin=False,
        tls_cert=tls[0],
        tls_key=tls[1],
        tls_ca=tls[2],
        fate_share_with_driver=True,
        driver_pid=os.getpid(),
    )


def _heads(rooms: Rooms) -> str:
    """Where heads are, this node's own first: it may not be the leader by then, or not be there."""
    known = [each.removeprefix("tcp:") for each in getattr(rooms.link, "endpoints", [])]
    return ",".join(dict.fromkeys([rooms.tcp_address, *known]))
