"""All placement groups and what should happen to them next: the GCS's decisions, without I/O (section 6 of the list).

Two phases: every chosen node *prepares* (reserves) its bundles; when all have, all *commit* (offer them). One refusal
gives everything back, and the group is tried again after a pause that grows from 0.1 s to 1 s. Answers carry the
attempt, so that late ones are recognised. A node that dies loses its bundles only; the others stay as they are. What
does not fit into what is free may have room made for it (claim_turns.py): then nodes prepare when tasks have given way.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base.callbacks import nobody_cares
from linckia.base.limits import REMOVED_GROUPS_MAX_BYTES
from linckia.core.placement.bundles import NO_ROOM, BundleAsk, NotPlaced, place_as_if_empty, place_bundles
from linckia.core.placement.claim_turns import Claim, ClaimTurns
from linckia.core.placement.group_index import GroupIndex
from linckia.core.placement.records import (
    Commit,
    Effect,
    Group,
    Prepare,
    Publish,
    Return,
    ask_of,
    likeness_of,
    mistake_in,
)
from linckia.core.placement.states import GROUP_TABLE, GroupEvent, GroupState
from linckia.core.tables.budget import Ledger

if TYPE_CHECKING:
    from linckia.core.scheduling.view import ClusterView
    from linckia.model.placement import GroupSpec

S, E = GroupState, GroupEvent
RETRY_FIRST_S, RETRY_FACTOR, RETRY_MAX_S = 0.1, 1.5, 1.0
GROUP_RECORD_BYTES, BUNDLE_BYTES = 2000, 500
"""Of a removed group's record, and of each of its bundles: measured."""
LOOKED_AT_MAX = 64
"""Waiting groups that are looked at in one go: the head does other things in between."""


class GroupDirectory:
    """The groups by id and by name; ``pending`` in the order in which they are tried (lost bundles first).
    ``on_change(group_id)`` is called whenever a record is new, other than before, or gone.
    """

    def __init__(self, view: ClusterView) -> None:
        self.view = view
        self.on_change: Callable[[bytes], None] = nobody_cares
        self.groups: dict[bytes, Group] = {}
        self.names: dict[tuple[str, str], bytes] = {}
        self.pending: OrderedDict[bytes, None] = OrderedDict()
        self.resting: dict[bytes, None] = {}  # in a pause after a failed attempt
        self.gone: Ledger[bytes] = Ledger(REMOVED_GROUPS_MAX_BYTES, "those that were removed first")
        self._removals = 0
        self._index = GroupIndex()
        self._stuck: dict[object, NotPlaced] = {}  # what fits nowhere until the view gains something
        self._gains = 0  # of the view, when it was last looked at for what is stuck
        self._turns = itertools.count()
        self._left = 0  # of those that wait, how many the last change of the view has left to look at
        self._claims = ClaimTurns()

    # --- creation and removal -----------------------------------------------------------------------------------------

    def create(self, spec: GroupSpec, now_s: float) -> tuple[list[Effect], str]:
        """(effects, error). Idempotent by id."""
        if spec.group_id in self.groups:
            return [], ""
        mistake = mistake_in(spec)
        if mistake:
            return [], mistake
        if spec.name:
            if (spec.namespace, spec.name) in self.names:
                return [], f"a placement group named {spec.name!r} exists in namespace {spec.namespace!r} already"
            self.names[spec.namespace, spec.name] = spec.group_id
        group = self.groups[spec.group_id] = Group(spec, now_s)
        self.pending[spec.group_id] = None
        self.on_change(spec.group_id)
        self._index.add(spec)
        return self._try(group, now_s), ""

    def remove(self, group_id: bytes) -> list[Effect]:
        """In any state; idempotent."""
        group = self.groups.get(group_id)
        if group is None or group.state is S.REMOVED:
            return []
        effects = self._give_back(group, {**group.nodes, **group.trying})
        self._index.discard(group.spec, [*group.nodes.values(), *group.trying.values()])
        group.nodes, group.trying, group.waiting_for = {}, {}, set()
        self._move(group, E.REMOVE)
        group.scheduling_state = "REMOVED"
        self.pending.pop(group_id, None)
        self.resting.pop(group_id, None)
        self._claims.end(group_id, 0.0)
        if self.names.get((group.spec.namespace, group.spec.name)) == group_id:
            del self.names[group.spec.namespace, group.spec.name]
        self._removals += 1
        group.removal_number = self._removals
        self._bury(group)
        return [*effects, Publish(group_id)]

    def _bury(self, group: Group) -> None:
        """Remembered as long as there is room; those that were removed first go first."""
        size_bytes = GROUP_RECORD_BYTES + BUNDLE_BYTES * len(group.spec.bundles)
        for oldest in self.gone.add(group.spec.group_id, size_bytes):
            del self.groups[oldest]
            self.on_change(oldest)

    def job_finished(self, job_id: bytes) -> list[Effect]:
        """Its groups go, except detached ones and those of detached actors (R 6.18)."""
        return [effect for group_id in self._index.of_job(job_id) for effect in self.remove(group_id)]

    def actor_ended(self, actor_id: bytes) -> list[Effect]:
        """The process of a detached actor is gone: what it made goes too, though it may be restarted (R 5.20)."""
        return [effect for group_id in self._index.of_actor(actor_id) for effect in self.remove(group_id)]

    # --- scheduling ---------------------------------------------------------------------------------------------------

    def schedule(self, now_s: float, limit: int = LOOKED_AT_MAX) -> list[Effect]:
        """The view has changed: look at the groups that wait, first come first; one that does not fit does not hold up
        the others. After ``limit`` that do not fit the rest is left for `go_on`.
        """
        self._left = len(self.pending)
        if self.view.gains != self._gains:
            self._gains = self.view.gains
            self._stuck.clear()
        return self.go_on(now_s, limit)

    def go_on(self, now_s: float, limit: int = LOOKED_AT_MAX) -> list[Effect]:
        """What `schedule` has left, and groups whose pause is over. Wants to be called at `next_try_s`."""
        effects: list[Effect] = []
        for group_id in [each for each in self.resting if now_s >= self.groups[each].not_before_s]:
            effects += self._look(group_id, now_s)
        for group_id in list(self.pending)[: self._left]:
            self._left -= 1
            tried = self._look(group_id, now_s)
            effects += tried
            if not tried:  # to the end: the next look begins with those that were not looked at
                self.pending[group_id] = self.pending.pop(group_id)
                limit -= 1
                if limit <= 0:
                    return effects
        self._left = 0
        return effects + self._claim_next(now_s)

    def _look(self, group_id: bytes, now_s: float) -> list[Effect]:
        group = self.groups[group_id]
        if not group.wants_nodes or now_s < group.not_before_s:
            return []
        self.resting.pop(group_id, None)
        return self._try(group, now_s)

    def next_try_s(self) -> float | None:
        """When to call `go_on`: a pause ends, or not all were looked at (0). None when only changes of the view can
        help.
        """
        if self._left > 0:
            return 0.0
        due_s = [self.groups[group_id].not_before_s for group_id in self.resting]
        claim_s = self._claims.next_s()
        return min(due_s if claim_s is None else [*due_s, claim_s], default=None)

    def _try(self, group: Group, now_s: float) -> list[Effect]:
        spec = group.spec
        group.first_try_s = group.first_try_s or now_s
        ask = ask_of(group)
        alike = None if group.nodes else likeness_of(spec)
        answer = self._stuck.get(alike) or self._place(ask, spec.topology)
        if isinstance(answer, NotPlaced):
            if alike is not None:
                self._stuck[alike] = answer
            group.scheduling_state = answer.kind.upper()
            group.reason = answer.reason
            if answer.kind == NO_ROOM and not spec.topology:  # there what is free decides which label value it is
                self._claims.want(spec.group_id, group.claim, now_s)
            return []
        for index, node_id in answer.nodes.items():
            self.view.debit(node_id, group.units[index])
        return self._begin(group, answer.nodes)

    def _begin(self, group: Group, nodes: dict[int, bytes], wait_s: float = 0.0) -> list[Effect]:
        """An attempt; for ``wait_s`` nodes may wait for their tasks to make room."""
        group_id = group.spec.group_id
        group.attempt += 1
        self.on_change(group_id)
        group.scheduling_state, group.reason = "SCHEDULING_STARTED", ""
        group.trying = nodes
        self._index.comes(group_id, nodes.values())
        self.pending.pop(group_id, None)
        by_node: dict[bytes, list[int]] = {}
        for index, node_id in sorted(nodes.items()):
            by_node.setdefault(node_id, []).append(index)
        group.waiting_for = set(by_node)
        return [Prepare(node_id, group_id, group.attempt, indexes, wait_s) for node_id, indexes in by_node.items()]

    def _claim_next(self, now_s: float) -> list[Effect]:
        """The next group that fits nowhere has room made for it."""
        while group_id := self._claims.due(now_s):
            group = self.groups.get(group_id)
            if group is None:
                continue
            claim = group.claim
            claim.is_queued = False
            if not group.wants_nodes or group.scheduling_state != NO_ROOM.upper():
                continue
            nodes = place_as_if_empty(self.view, ask_of(group), next(self._turns), claim.shunned)
            if nodes is not None:
                self._claims.begin(group_id, now_s)
                return self._begin(group, nodes, claim.wait_s)
            claim.shunned.clear()
            claim.failed(now_s)
            self._claims.want(group_id, claim, now_s)
        return []

    def _place(self, ask: BundleAsk, topology: dict[str, str]) -> Any:
        """With a topology: for each value of the label in turn, all bundles on nodes that have it (R 6.7)."""
        label = next((key for key in topology if key != "ray.io/node-id"), "")
        if not label:
            wanted = topology.get("ray.io/node-id")
            asked = msgspec.structs.replace(ask, strategy=wanted) if wanted else ask
            return place_bundles(self.view, asked, next(self._turns))
        values = dict.fromkeys(n.labels[label] for n in self.view.nodes.values() if label in n.labels)
        strategy = topology.get("ray.io/node-id", "PACK")
        answer: Any = NotPlaced("infeasible", f"no node has the label {label!r}")
        for value in values:
            selectors = [{**(ask.selectors[i] if ask.selectors else {}), label: value} for i in range(len(ask.bundles))]
            asked = msgspec.structs.replace(ask, strategy=strategy, selectors=selectors)
            answer = place_bundles(self.view, asked, next(self._turns))
            if not isinstance(answer, NotPlaced):
                return answer
        return answer

    def prepared(
        self, group_id: bytes, attempt: int, node_id: bytes, now_s: float, *, ok: bool, reason: str = ""
    ) -> list[Effect]:
        """A node has reserved its bundles, or cannot, for that reason."""
        group = self.groups.get(group_id)
        if group is None or attempt != group.attempt or node_id not in group.waiting_for:
            stale = group is None or group.state is S.REMOVED
            return [Return(node_id, group_id, [])] if ok and stale else []
        if not ok:
            effects = self._failed(group, now_s, node_id)
            group.reason = reason
            return effects
        group.waiting_for.discard(node_id)
        if group.waiting_for or group.state is S.PREPARED:
            return []
        self._move(group, E.ALL_PREPARED)
        group.waiting_for = set(group.trying.values())
        return [Commit(each, group_id, attempt) for each in sorted(group.waiting_for)]

    def committed(self, group_id: bytes, attempt: int, node_id: bytes, now_s: float) -> list[Effect]:
        """A node offers its bundles."""
        group = self.groups.get(group_id)
        if group is None or attempt != group.attempt or group.state is not S.PREPARED:
            return []
        group.waiting_for.discard(node_id)
        if group.waiting_for:
            return []
        self._move(group, E.ALL_COMMITTED)
        self._claims.end(group_id, now_s)
        group.claim = Claim()
        group.nodes.update(group.trying)
        group.trying = {}
        group.scheduling_state, group.done_s = "FINISHED", now_s
        group.retry_s = group.not_before_s = 0.0
        self.pending.pop(group_id, None)
        if len(group.nodes) < len(group.units):  # meanwhile a node of the others died
            self._move(group, E.NODE_LOST)
            self._goes_first(group_id)
            return [Publish(group_id), *self._try(group, now_s)]
        return [Publish(group_id)]

    def _failed(self, group: Group, now_s: float, culprit: bytes, *, may_have: bool = False) -> list[Effect]:
        """The attempt is given up because of one node, which ``may_have`` reserved its bundles."""
        if self._claims.holder == group.spec.group_id:
            self._claims.end(group.spec.group_id, now_s)
            group.claim.shunned.add(culprit)
            group.claim.failed(now_s)
        effects = self._give_back(group, {i: n for i, n in group.trying.items() if may_have or n != culprit})
        kept = set(group.nodes.values())
        self._index.leaves(group.spec.group_id, [node_id for node_id in group.trying.values() if node_id not in kept])
        group.trying, group.waiting_for = {}, set()
        if group.state is S.PREPARED and group.nodes:
            self._move(group, E.NODE_LOST)
        else:
            self._move(group, E.FAILED)
        group.scheduling_state = "FAILED_TO_COMMIT_RESOURCES"
        group.retry_s = min(RETRY_MAX_S, group.retry_s * RETRY_FACTOR or RETRY_FIRST_S)
        group.highest_retry_s = max(group.highest_retry_s, group.retry_s)
        group.not_before_s = now_s + group.retry_s
        self.resting[group.spec.group_id] = self.pending[group.spec.group_id] = None
        return effects

    # --- nodes --------------------------------------------------------------------------------------------------------

    def node_suspect(self, node_id: bytes, now_s: float) -> list[Effect]:
        """It is silent: groups under way there begin again, on others. Nothing can run in them before all nodes have
        committed; what it may have reserved it is told to give back, now or when it comes again (`expects`).
        """
        effects: list[Effect] = []
        for group_id in self._index.on(node_id):
            group = self.groups[group_id]
            if node_id in group.trying.values():
                effects += self._failed(group, now_s, node_id, may_have=True)
                group.not_before_s = now_s
        return [*effects, *self.schedule(now_s)] if effects else []

    def node_dead(self, node_id: bytes, now_s: float) -> list[Effect]:
        """Its bundles are lost; groups under way begin again."""
        effects: list[Effect] = []
        for group_id in self._index.on(node_id):
            group = self.groups[group_id]
            if node_id in group.trying.values():
                effects += self._failed(group, now_s, node_id)
                group.not_before_s = now_s
            lost = [index for index, where in group.nodes.items() if where == node_id]
            if lost:
                for index in lost:
                    del group.nodes[index]
                self._index.leaves(group_id, [node_id])
                self.on_change(group.spec.group_id)
                if group.state is S.CREATED:
                    self._move(group, E.NODE_LOST)
                self._goes_first(group_id)
                effects.append(Publish(group.spec.group_id))
        return [*effects, *self.schedule(now_s)]

    def _goes_first(self, group_id: bytes) -> None:
        """Lost bundles are placed before new groups."""
        self.pending[group_id] = None
        self.pending.move_to_end(group_id, last=False)

    def _give_back(self, group: Group, bundles: dict[int, bytes]) -> list[Effect]:
        by_node: dict[bytes, list[int]] = {}
        for index, node_id in bundles.items():
            by_node.setdefault(node_id, []).append(index)
        return [Return(node_id, group.spec.group_id, indexes) for node_id, indexes in by_node.items()]

    def _move(self, group: Group, event: GroupEvent) -> None:
        group.state = GROUP_TABLE.next(group.state, event, group.spec.group_id.hex())
        self.on_change(group.spec.group_id)

    def without_nodes(self) -> list[Group]:
        """Groups that want nodes: also the one that has room made for it."""
        holder = self.groups.get(self._claims.holder)
        return [*([holder] if holder is not None else []), *(self.groups[group_id] for group_id in self.pending)]

    # --- another head -------------------------------------------------------------------------------------------------

    def restore(self, group: Group) -> None:
        """A group as the last head knew it; before anything happens here. An attempt that was under way is given up."""
        spec = group.spec
        self.groups[spec.group_id] = group
        if group.state is S.REMOVED:
            self._removals = max(self._removals, group.removal_number)
            self._bury(group)
            return
        if group.state is S.PREPARED:
            self._move(group, E.NODE_LOST if group.nodes else E.FAILED)
        if group.state is not S.CREATED:
            self.pending[spec.group_id] = None
        if spec.name:
            self.names[spec.namespace, spec.name] = spec.group_id
        self._index.add(spec)
        self._index.comes(spec.group_id, group.nodes.values())

    def expects(self, group_id: bytes, index: int, node_id: bytes) -> bool:
        """The bundle is, or is about to be, on that node."""
        group = self.groups.get(group_id)
        return group is not None and node_id in (group.nodes.get(index), group.trying.get(index))

    # --- questions ----------------------------------------------------------------------------------------------------

    def by_name(self, name: str, namespace: str) -> Group | None:
        """The living group of that name."""
        group_id = self.names.get((namespace, name))
        return self.groups.get(group_id) if group_id is not None else None
