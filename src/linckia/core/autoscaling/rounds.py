"""One round of the autoscaler: what has become of its instances, then the plan. A pure function of what the head and
the provider say, so that an autoscaler has no memory of its own: it may die at any time, and the next one, of this head
or of another, goes on where it was.

That nothing is launched twice rests on three rules: an instance is in the head's store before the provider hears of it;
launching is idempotent by its name; what was asked for and has not joined counts as on its way. That nothing is
forgotten rests on two: what the provider or a node's label names and the store does not is taken in; what a dead node
left behind is ended.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from linckia.core.autoscaling.instances import JOIN_MAX_S, TERMINATE_MAX_S, InstanceEvent, InstanceState
from linckia.core.autoscaling.plan import plan
from linckia.core.autoscaling.records import Change, Instance, Limits, Observation, Round, RunningNode

INSTANCE_LABEL = "linckia.io/instance"
TYPE_LABEL = "ray.io/node-group"
S, E = InstanceState, InstanceEvent
COMING = (S.REQUESTED, S.ALLOCATED)


def next_round(
    limits: Limits, seen: Observation, alive: dict[str, str], failed: dict[str, str], new_name: Callable[[], str]
) -> Round:
    """``alive``: the provider's instances that start or run, name -> node type; ``failed``: those that it could not
    start, and why. ``new_name()`` gives a name that nothing had before.
    """
    made = Round([], [], [], [], [], [])
    joined = {node.labels[INSTANCE_LABEL]: node for node in seen.nodes if INSTANCE_LABEL in node.labels}
    configured = {each.name for each in limits.types}
    types: dict[str, str] = {}  # of instances that are there or coming
    launching: dict[str, int] = {}
    for instance in seen.instances:
        if instance.state in COMING and instance.node_type not in configured:
            failed = {instance.name: "its node type is not in the configuration any more", **failed}
        if _reconcile(instance, made, joined, alive, failed, held=bool(seen.hold)):
            types[instance.name] = instance.node_type
            if instance.state in COMING and instance.name not in joined:
                launching[instance.node_type] = launching.get(instance.node_type, 0) + 1
    _take_in(made, {each.name for each in seen.instances}, joined, alive, types)
    if seen.hold:
        return made
    fresh = {each.name for each in seen.instances if each.state in COMING and each.name in joined}
    nodes = [_typed(node, types, fresh) for node in seen.nodes]
    decided = plan(limits, nodes, launching, seen.demand, seen.now_s)
    made.unmet.extend(decided.unmet)
    for launch in decided.launch:
        names = [new_name() for _ in range(launch.count)]
        made.changes.extend(Change(name, launch.node_type, state=S.REQUESTED) for name in names)
        made.launch.extend((name, launch.node_type) for name in names)
        made.said.append(f"starting {launch.count} x {launch.node_type} for {launch.reason or 'demand'}")
    by_node = {node.node_id: _instance_of(node) for node in nodes}
    running = {each.name for each in seen.instances if each.state is S.RUNNING}
    for doomed in decided.terminate:
        if by_node[doomed.node_id] in running:
            made.drain.append((by_node[doomed.node_id], doomed.reason))
    return made


def _typed(node: RunningNode, types: dict[str, str], fresh: set[str]) -> RunningNode:
    """With its type. What a node took in the moment it joined may still be told as waiting by the node that it came
    from: in its first round it counts as empty.
    """
    name = _instance_of(node)
    available = node.total if name in fresh else node.available
    return msgspec.structs.replace(node, node_type=types.get(name, ""), available=available)


def _instance_of(node: RunningNode) -> str:
    return node.labels.get(INSTANCE_LABEL, "")


def _reconcile(
    instance: Instance,
    made: Round,
    joined: dict[str, RunningNode],
    alive: dict[str, str],
    failed: dict[str, str],
    *,
    held: bool,
) -> bool:
    """What has become of it. Whether it is still there or coming. ``held``: only what it is certain of."""
    name = instance.name
    node = joined.get(name)
    what = f"{instance.node_type} {name}"

    def move(event: InstanceEvent, node_id: bytes = b"") -> None:
        made.changes.append(Change(name, instance.node_type, event, node_id=node_id))

    if instance.state in COMING:
        if node is not None:
            move(E.JOINED, node.node_id)
            return True
        if not held and (name in failed or instance.age_s > JOIN_MAX_S):
            made.said.append(f"{what} failed: {failed.get(name, 'it did not join in time')}")
            made.end.append(name)
            move(E.LAUNCH_FAILED)
            return False
        if name in alive:
            if instance.state is S.REQUESTED:
                move(E.PROVIDER_STARTED)
        elif not held and instance.state is S.REQUESTED:
            made.launch.append((name, instance.node_type))  # whoever wrote it down may not have come to it
        elif not held:
            made.said.append(f"{what} failed: it is gone and has not joined")
            move(E.GONE)
            return False
        return True
    if held:
        return True
    if node is None and name not in alive:
        move(E.GONE)
        return False
    if instance.state is S.TERMINATING:
        _end_again(instance, made, what)
    elif node is None:
        made.said.append(f"ending {what}: its node is dead")
        move(E.NODE_DEAD)
        made.end.append(name)
    return node is not None


def _end_again(instance: Instance, made: Round, what: str) -> None:
    if instance.age_s > TERMINATE_MAX_S:
        made.said.append(f"{what} does not end: asking again")
        made.changes.append(Change(instance.name, instance.node_type, state=S.TERMINATING, node_id=instance.node_id))
        made.end.append(instance.name)


def _take_in(
    made: Round, known: set[str], joined: dict[str, RunningNode], alive: dict[str, str], types: dict[str, str]
) -> None:
    """Instances that are there and that nobody wrote down."""
    for name, node in joined.items():
        if name not in known:
            node_type = node.labels.get(TYPE_LABEL, "") or alive.get(name, "")
            made.changes.append(Change(name, node_type, state=S.RUNNING, node_id=node.node_id))
            types[name] = node_type
    for name, node_type in alive.items():
        if name not in known and name not in joined:
            made.changes.append(Change(name, node_type, state=S.ALLOCATED))
