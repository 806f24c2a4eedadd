"""Why is an actor or a placement group not there? The head's part of `why_pending` (worker/why.py): one sentence from
what the services know. Changes nothing, asks nobody. Built by node/head.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from linckia.core.actors.states import ActorState
from linckia.core.nodes.states import NodeState
from linckia.core.placement.names import group_of
from linckia.core.placement.states import GroupState
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.core.actors.record import Actor
    from linckia.core.placement.records import Group
    from linckia.gcs.actors import ActorService
    from linckia.gcs.node_record import NodeRecord
    from linckia.gcs.nodes import NodeService
    from linckia.gcs.placement_groups import GroupService

NAMED_MAX = 3
"""So many nodes are named, the others counted."""


class WhyService:
    """``reply`` answers requests (Gcs.reply)."""

    def __init__(
        self,
        nodes: NodeService,
        actors: ActorService,
        groups: GroupService,
        reply: Callable[[Any, m.Message], None],
    ) -> None:
        self._nodes, self._actors, self._groups, self._reply = nodes, actors, groups, reply

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {m.WhyAbsent: self._on_why}

    def _on_why(self, peer: Any, message: m.WhyAbsent) -> None:
        answer = self._of_group(message) if message.group_id else self._of_actor(message)
        self._reply(peer, answer)

    # --- actors -------------------------------------------------------------------------------------------------------

    def _of_actor(self, message: m.WhyAbsent) -> m.Pending:
        actor = self._actors.directory.actors.get(message.actor_id)
        if actor is None:
            return m.Pending(message.rid, "UNKNOWN", "is unknown to the head: not registered yet, or forgotten")
        state, node_id = actor.state, b""
        match state:
            case ActorState.DEPENDENCIES_UNREADY:
                why = "arguments of its constructor are not ready"
            case ActorState.DEAD:
                why = actor.death_text
            case ActorState.ALIVE:
                why = f"it lives at {self._node(self._actors.placement.places.get(message.actor_id))}"
            case ActorState.PENDING_CREATION | ActorState.RESTARTING:
                why, node_id = self._start_of(actor)
        return m.Pending(message.rid, state.value, f"is {state.value}{_restarts(actor)}: {why}", node_id)

    def _start_of(self, actor: Actor) -> tuple[str, bytes]:
        """What its start waits for, and the node that may know more, if any."""
        placement, actor_id = self._actors.placement, actor.spec.actor_id
        node_id = placement.places.get(actor_id)
        if actor.worker is not None:
            return f"its constructor runs in process {actor.pid} at {self._node(node_id)}", b""
        group = self._groups.directory.groups.get(bytes.fromhex(group_of(actor.spec.lifetime_resources)))
        in_group = f"; its {self._group(group)}" if group is not None and group.state is not GroupState.CREATED else ""
        waiting = placement.waiting.get(actor_id)
        if waiting is not None:
            return f"it waits for a node with room: {waiting[2]}{self._missing()}{in_group}", b""
        if not node_id:
            return f"no node has been chosen for it yet{in_group}", b""
        node = self._nodes.nodes.get(node_id)
        answers = node is not None and node.alive and node.state != "SUSPECT"
        text = f"it was sent to {self._node(node_id)}, where no worker has it yet{in_group}"
        return text, node_id if answers else b""

    # --- placement groups ---------------------------------------------------------------------------------------------

    def _of_group(self, message: m.WhyAbsent) -> m.Pending:
        group = self._groups.directory.groups.get(message.group_id)
        if group is None:
            text = f"placement group {message.group_id.hex()} is unknown to the head: not created yet, or forgotten"
            return m.Pending(message.rid, "UNKNOWN", text)
        return m.Pending(message.rid, group.state.value, self._group(group))

    def _group(self, group: Group) -> str:
        spec = group.spec
        name = repr(spec.name) if spec.name else spec.group_id.hex()
        lost = len(spec.bundles) - len(group.nodes)
        again = f", as {lost} of its {len(spec.bundles)} bundles lost their node" if group.nodes and lost else ""
        why = self._why_not_created(group)
        return f"placement group {name} is {group.state.value}{again}{': ' if why else ''}{why}"

    def _why_not_created(self, group: Group) -> str:
        if group.state in (GroupState.CREATED, GroupState.REMOVED):
            return ""
        if group.trying:
            what = "offer" if group.state is GroupState.PREPARED else "reserve"
            return f"attempt {group.attempt} waits for {self._named(group.waiting_for)} to {what} bundles"
        if group.reason:
            return f"{group.reason}{self._missing()}"
        if group.attempt and group.scheduling_state == "FAILED_TO_COMMIT_RESOURCES":
            return f"attempt {group.attempt} failed, as a node had no room or was lost; it is tried again soon"
        return f"nobody has looked for nodes yet{self._missing()}"

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _named(self, node_ids: Collection[bytes]) -> str:
        some = sorted(node_ids)[:NAMED_MAX]
        more = f" and {len(node_ids) - len(some)} more" if len(node_ids) > len(some) else ""
        return ", ".join(self._node(node_id) for node_id in some) + more

    def _node(self, node_id: bytes) -> str:
        """``node 12345678 (10.0.0.1, SUSPECT, heard 4.2 s ago)``."""
        node = self._nodes.nodes.get(node_id)
        if node is None:
            return f"node {node_id.hex()[:8]} (unknown)"
        return f"node {node_id.hex()[:8]} ({node.info.node_ip}, {node.state}{self._heard(node)})"

    def _heard(self, node: NodeRecord) -> str:
        if node in self._nodes.absent():
            return ", not heard by this head yet"
        known = self._nodes.directory.nodes.get(node.info.node_id)
        if known is None or self._nodes.is_own(node):
            return ""
        return f", heard {max(0.0, self._nodes.now_s() - known.heard_s):.1f} s ago"

    def _missing(self) -> str:
        """Nodes that may have the room that is looked for."""
        absent = [node.info.node_id for node in self._nodes.absent()]
        silent = [node.node_id for node in self._nodes.directory.nodes.values() if node.state is NodeState.SUSPECT]
        text = f"; the last head also knew {self._named(absent)}" if absent else ""
        here = [node_id for node_id in silent if node_id not in absent]
        return text + (f"; nothing new is asked of {self._named(here)}" if here else "")


def _restarts(actor: Actor) -> str:
    if not actor.restarts:
        return ""
    return f" (restart {actor.restarts}, max_restarts {actor.spec.max_restarts})"
