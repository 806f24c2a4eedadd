"""The autoscaler's loop: look, plan (`core/autoscaling`), act through the provider, say what it does and why.

Runs inside the head's process on its reactor; the provider never blocks. Built by node/autoscaling.py, and by tests
with a fake provider in virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from linckia.core.autoscaling.instances import (
    INSTANCE_TABLE,
    JOIN_MAX_S,
    TERMINATE_MAX_S,
    InstanceEvent,
    InstanceState,
)
from linckia.core.autoscaling.plan import plan
from linckia.core.autoscaling.records import Demand, Limits, Plan, RunningNode
from linckia.scaling.providers.base import INSTANCE_LABEL, Provider

ROUND_EVERY_S = 1.0
EVENTS_KEPT_MAX = 50
S, E = InstanceState, InstanceEvent


class Observation(msgspec.Struct, frozen=True):
    """The cluster as the head sees it. ``braked``: most nodes are silent, nothing may be started or ended (S 19)."""

    nodes: list[RunningNode]
    demand: Demand
    braked: bool = False


class Instance:
    """One instance of the provider."""

    def __init__(self, name: str, node_type: str, now_s: float) -> None:
        self.name, self.node_type, self.since_s = name, node_type, now_s
        self.state = INSTANCE_TABLE.next(INSTANCE_TABLE.initial, E.PROVIDER_STARTED, name)
        self.node_id = b""

    def move(self, event: InstanceEvent, now_s: float) -> None:
        """Its next state."""
        self.state = INSTANCE_TABLE.next(self.state, event, self.name)
        self.since_s = now_s


class Monitor:
    """``drain(node_id)`` asks the head to drain a node and returns why not; ``say`` goes to the log."""

    def __init__(
        self,
        limits: Limits,
        provider: Provider,
        observe: Callable[[], Observation],
        drain: Callable[[bytes], str],
        call_later: Callable[[float, Callable[[], None]], Any],
        now_s: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self.limits, self.provider = limits, provider
        self._observe, self._drain, self._call_later, self._now_s, self._say = observe, drain, call_later, now_s, say
        self.instances: dict[str, Instance] = {}
        self.last = Plan([], [], [])
        self.braked = False
        self.events: list[str] = []
        self._requests = 0
        self._stopped = False

    def start(self) -> None:
        """Begin the rounds."""
        self._round()

    def _round(self) -> None:
        if not self._stopped:
            self.step()
            self._call_later(ROUND_EVERY_S, self._round)

    def step(self) -> None:
        """One round."""
        now_s, seen = self._now_s(), self._observe()
        self._reconcile(seen, now_s)
        self.braked = seen.braked
        if seen.braked:
            return
        by_instance = {node.labels.get(INSTANCE_LABEL, ""): node for node in seen.nodes}
        nodes = [self._typed(node) for node in seen.nodes]
        launching: dict[str, int] = {}
        for each in self.instances.values():
            if each.state is S.ALLOCATED and each.name not in by_instance:
                launching[each.node_type] = launching.get(each.node_type, 0) + 1
        self.last = plan(self.limits, nodes, launching, seen.demand, now_s)
        for launch in self.last.launch:
            self._launch(launch.node_type, launch.count, launch.reason, now_s)
        for doomed in self.last.terminate:
            self._terminate(doomed.node_id, doomed.reason, now_s)

    def _typed(self, node: RunningNode) -> RunningNode:
        instance = self.instances.get(node.labels.get(INSTANCE_LABEL, ""))
        return msgspec.structs.replace(node, node_type=instance.node_type if instance is not None else "")

    def _reconcile(self, seen: Observation, now_s: float) -> None:
        """What has become of the instances."""
        joined = {node.labels.get(INSTANCE_LABEL, ""): node.node_id for node in seen.nodes}
        alive = self.provider.non_terminated()
        failed = dict(self.provider.poll_errors())
        for instance in list(self.instances.values()):
            name = instance.name
            if instance.state is S.ALLOCATED and name in joined:
                instance.node_id = joined[name]
                instance.move(E.JOINED, now_s)
            elif instance.state is S.ALLOCATED and (name in failed or now_s - instance.since_s > JOIN_MAX_S):
                self._event(f"{instance.node_type} {name} failed: {failed.get(name, 'it did not join in time')}")
                self.provider.terminate([name], f"give up {name}")
                instance.move(E.LAUNCH_FAILED, now_s)
            elif name not in alive and name not in joined and not INSTANCE_TABLE.is_terminal(instance.state):
                instance.move(E.GONE, now_s)
            elif instance.state is S.TERMINATING and now_s - instance.since_s > TERMINATE_MAX_S:
                self._event(f"{instance.node_type} {name} does not end: asking again")
                instance.since_s = now_s
                self._requests += 1
                self.provider.terminate([name], f"terminate {name} {self._requests}")
            if INSTANCE_TABLE.is_terminal(instance.state):
                del self.instances[name]

    def _launch(self, node_type: str, count: int, reason: str, now_s: float) -> None:
        kind = next(each for each in self.limits.types if each.name == node_type)
        self._requests += 1
        names = self.provider.launch(kind, count, f"launch {self._requests}")
        for name in names:
            self.instances[name] = Instance(name, node_type, now_s)
        self._event(f"starting {count} x {node_type} for {reason or 'demand'}")

    def _terminate(self, node_id: bytes, reason: str, now_s: float) -> None:
        instance = next((each for each in self.instances.values() if each.node_id == node_id), None)
        if instance is None or instance.state is not S.RUNNING:
            return
        instance.move(E.STOP, now_s)
        why_not = self._drain(node_id)
        if why_not:
            instance.move(E.STOP_REFUSED, now_s)
            return
        instance.move(E.DRAINED, now_s)
        self.provider.terminate([instance.name], f"terminate {instance.name}")
        self._event(f"ending {instance.node_type} {instance.name}: {reason}")

    def _event(self, text: str) -> None:
        self._say(f"autoscaler: {text}")
        self.events = [*self.events[-EVENTS_KEPT_MAX + 1 :], text]

    def status(self) -> dict[str, Any]:
        """For `linckia status`: what runs, what is on its way, what cannot be helped."""
        counts: dict[str, dict[str, int]] = {}
        for instance in self.instances.values():
            of_type = counts.setdefault(instance.node_type, {})
            of_type[instance.state.value] = of_type.get(instance.state.value, 0) + 1
        return {
            "node_types": {each.name: counts.get(each.name, {}) for each in self.limits.types},
            "pending": [
                {"instance": each.name, "node_type": each.node_type, "state": each.state.value}
                for each in self.instances.values()
                if each.state is S.ALLOCATED
            ],
            "unmet": [{"what": what, "why": why} for what, why in self.last.unmet[:20]],
            "braked": self.braked,
            "events": self.events[-10:],
        }

    def close(self) -> None:
        """End every instance."""
        self._stopped = True
        self.provider.close()
