"""The head's side of the autoscaler: what it sees, what it has decided, and the table of its instances, which is in the
store before a provider hears of them.

The autoscaler itself is a process beside the head (scaling/monitor.py) with no memory of its own. It reaches only this
head, and is answered only when the store has taken what it said: an autoscaler of a head that has been replaced
launches nothing. Instances of the local provider are node processes that raylets start (node/instances.py). Built by
node/head.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from linckia.core.autoscaling.instances import INSTANCE_TABLE, InstanceEvent, InstanceState
from linckia.core.autoscaling.records import Change, Instance, NodeType, Observation, Round
from linckia.gcs import records
from linckia.gcs.journal import Outbox
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.gcs.demand import DemandService
    from linckia.gcs.nodes import NodeService

EVENTS_KEPT_MAX: Final = 50
_encode = msgspec.msgpack.encode
_decode_round = msgspec.msgpack.Decoder(Round).decode
_decode_name = msgspec.msgpack.Decoder(str).decode
_decode_start = msgspec.msgpack.Decoder(tuple[str, NodeType]).decode


class _Known:
    """An instance, and since when it is in its state by this head's clock."""

    def __init__(self, node_type: str, state: InstanceState, since_s: float, node_id: bytes = b"") -> None:
        self.node_type, self.state, self.since_s, self.node_id = node_type, state, since_s, node_id


class ScalingService:
    """``host_id``: the node whose machine new instances of the local provider start on."""

    def __init__(self, nodes: NodeService, demand: DemandService, epoch: int, outbox: Outbox) -> None:
        self._nodes, self._demand, self._epoch, self._outbox = nodes, demand, epoch, outbox
        outbox.tables[records.INSTANCES] = self._row
        self.host_id = b""
        self.instances: dict[str, _Known] = {}
        self.types: list[str] = []  # of the configuration, while there is an autoscaler
        self.part: Callable[[], dict[str, Any]] = dict  # whether its process is up; node/scaler_child.py sets it
        self._hosted: dict[bytes, dict[str, str]] = {}  # by the node that runs them
        self._failed: dict[str, str] = {}
        self._unmet: list[tuple[str, str]] = []
        self._hold = ""
        self.events: list[str] = []
        nodes.on_dead.append(lambda node, _text: self._host_gone(node.info.node_id))

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message): from raylets."""
        return {m.InstancesHere: self._on_instances}

    def on_ask(self, peer: Any, message: m.AskHead) -> None:
        """From the autoscaler's process; ``peer.post`` answers through the outbox."""
        answer = getattr(self, f"_on_{message.what}")(message.body)
        peer.post(m.HeadSays(message.rid, answer))

    # --- what it sees -------------------------------------------------------------------------------------------------

    def _on_see(self, _body: bytes) -> bytes:
        return _encode(self.observe())

    def observe(self) -> Observation:
        """The cluster now."""
        now_s = self._nodes.now_s()
        self._hold = self._why_hold()
        hosted = {name: kind for running in self._hosted.values() for name, kind in running.items()}
        known = [
            Instance(name, each.node_type, each.state, now_s - each.since_s, each.node_id)
            for name, each in self.instances.items()
        ]
        return Observation(
            self._demand.nodes(), self._demand.demand(), now_s, self._hold, known, hosted, dict(self._failed)
        )

    def _why_hold(self) -> str:
        if self._demand.braked:
            return "most nodes are silent"
        absent = len(self._nodes.absent())
        return f"{absent} nodes of the last head have not come to this one yet" if absent else ""

    # --- what it has decided ------------------------------------------------------------------------------------------

    def _on_round(self, body: bytes) -> bytes:
        made = _decode_round(body)
        for change in made.changes:
            self._change(change)
        self._unmet = made.unmet[:20]
        for text in made.said:
            self._event(text)
        return b""

    def _change(self, change: Change) -> None:
        now_s, name = self._nodes.now_s(), change.name
        known = self.instances.get(name)
        if change.event is None:
            if change.state is not None:
                self.instances[name] = _Known(change.node_type, change.state, now_s, change.node_id)
        elif known is not None and INSTANCE_TABLE.allows(known.state, change.event):
            self._move(name, known, change.event, change.node_id)
        self._outbox.touch(records.INSTANCES, name.encode())

    def _move(self, name: str, known: _Known, event: InstanceEvent, node_id: bytes = b"") -> None:
        known.state = INSTANCE_TABLE.next(known.state, event, name)
        known.since_s, known.node_id = self._nodes.now_s(), node_id or known.node_id
        if INSTANCE_TABLE.is_terminal(known.state):
            del self.instances[name]
            self._failed.pop(name, None)

    def _on_drain(self, body: bytes) -> bytes:
        """Its node takes no new work from now on; or why not."""
        name, reason = msgspec.msgpack.decode(body, type=tuple[str, str])
        known = self.instances.get(name)
        if known is None or known.state is not InstanceState.RUNNING:
            return b"it does not run"
        self._move(name, known, InstanceEvent.STOP)
        why_not = self._nodes.drain(known.node_id, "IDLE_TERMINATION")
        self._move(name, known, InstanceEvent.STOP_REFUSED if why_not else InstanceEvent.DRAINED)
        self._outbox.touch(records.INSTANCES, name.encode())
        if not why_not:
            self._event(f"ending {known.node_type} {name}: {reason}")
        return why_not.encode()

    def _on_start(self, body: bytes) -> bytes:
        """By the local provider."""
        name, node_type = _decode_start(body)
        if name in self.instances:
            self._nodes.send(self.host_id, m.StartInstance(name, _encode(node_type), self._epoch))
        return b""

    def _on_end(self, body: bytes) -> bytes:
        """By the local provider: whoever runs it."""
        name = _decode_name(body)
        for node_id, running in self._hosted.items():
            if name in running:
                self._nodes.send(node_id, m.EndInstance(name, self._epoch))
        return b""

    def _event(self, text: str) -> None:
        self._nodes.note("INFO", f"autoscaler: {text}")
        self.events = [*self.events[-EVENTS_KEPT_MAX + 1 :], text]

    # --- raylets that run instances -----------------------------------------------------------------------------------

    def _on_instances(self, _peer: Any, message: m.InstancesHere) -> None:
        self._hosted[message.node_id] = message.running
        self._failed.update((name, why) for name, why in message.failed.items() if name in self.instances)

    def _host_gone(self, node_id: bytes) -> None:
        """What it ran ends with it."""
        self._hosted.pop(node_id, None)

    # --- the store ----------------------------------------------------------------------------------------------------

    def _row(self, key: bytes) -> bytes | None:
        known = self.instances.get(key.decode())
        if known is None:
            return None
        return records.encode(records.InstanceRow(known.node_type, known.state, known.node_id))

    def restore(self, name: bytes, row: records.InstanceRow) -> None:
        """As the last head knew it. Its times begin anew."""
        self.instances[name.decode()] = _Known(row.node_type, row.state, self._nodes.now_s(), row.node_id)

    # --- questions ----------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For `linckia status`: what runs, what is on its way, what cannot be helped, whether the process is up."""
        counts: dict[str, dict[str, int]] = {name: {} for name in self.types}
        for each in self.instances.values():
            of_type = counts.setdefault(each.node_type, {})
            of_type[each.state.value] = of_type.get(each.state.value, 0) + 1
        coming = (InstanceState.REQUESTED, InstanceState.ALLOCATED)
        return {
            "node_types": counts,
            "pending": [
                {"instance": name, "node_type": each.node_type, "state": each.state.value}
                for name, each in self.instances.items()
                if each.state in coming
            ],
            "unmet": [{"what": what, "why": why} for what, why in self._unmet],
            "hold": self._hold,
            "events": self.events[-10:],
            "process": self.part(),
        }
