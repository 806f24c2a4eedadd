"""The GCS's placement group service: messages in, `core/placement` decides, messages out. Built by node/head.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.core.placement.directory import GroupDirectory
from linckia.core.placement.records import Commit, Effect, Group, Prepare, Publish, Return, row_of
from linckia.core.placement.states import GroupState
from linckia.gcs import records
from linckia.gcs.journal import Outbox
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.gcs.nodes import NodeService

UNKNOWN_WAIT_S = 2.0
GO_ON_AFTER_S = 0.001  # a turn of the reactor for others


class GroupService:
    """``on_removed``: callbacks with the id (hex) of a group that is gone."""

    def __init__(
        self,
        nodes: NodeService,
        call_later: Callable[[float, Callable[[], None]], Any],
        reply: Callable[[Any, m.Message], None],
        outbox: Outbox | None = None,
    ) -> None:
        self.directory = GroupDirectory(nodes.view)
        self._outbox = outbox or Outbox()
        self._outbox.tables[records.GROUPS] = self._row
        self.directory.on_change = lambda group_id: self._outbox.touch(records.GROUPS, group_id)
        self._nodes, self._call_later, self._reply = nodes, call_later, reply
        self._subscribers: dict[bytes, dict[int, Any]] = {}
        self._retry: Any = None
        self._retry_s = 0.0  # what it was set for
        self.on_removed: list[Callable[[str], None]] = []
        nodes.on_resources.append(self._look_again)
        nodes.on_joined.append(lambda _node: self._look_again())
        nodes.on_suspect.append(lambda node_id: self._apply(self.directory.node_suspect(node_id, _now_s())))
        nodes.on_dead.append(lambda node, _text: self._apply(self.directory.node_dead(node.info.node_id, _now_s())))

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {
            m.CreateGroup: self._on_create,
            m.RemoveGroup: lambda _peer, message: self._apply(self.directory.remove(message.group_id)),
            m.SubscribeGroup: self._on_subscribe,
            m.GroupQuery: self._on_query,
            m.BundlesPrepared: self._on_prepared,
            m.BundlesCommitted: self._on_committed,
        }

    def job_finished(self, job_id: bytes) -> None:
        """A job has ended."""
        self._apply(self.directory.job_finished(job_id))

    def actor_ended(self, actor_id: bytes) -> None:
        """The process of an actor is gone, for good or not."""
        self._apply(self.directory.actor_ended(actor_id))

    def table(self) -> list[dict[str, Any]]:
        """All groups, removed ones included as long as they are remembered."""
        return [row_of(group) for group in self.directory.groups.values()]

    def waiting(self) -> list[Group]:
        """Groups that want nodes: gang demand for the autoscaler."""
        return self.directory.without_nodes()

    # --- the store, and nodes that come to a new head -----------------------------------------------------------------

    def _row(self, group_id: bytes) -> bytes | None:
        group = self.directory.groups.get(group_id)
        return records.encode(records.group_row(group)) if group is not None else None

    def restore(self, row: records.GroupRow) -> None:
        """A group as the last head knew it; after the nodes."""
        self.directory.restore(records.group_of_row(row, _now_s()))

    def node_runs(self, node_id: bytes, bundles: list[tuple[bytes, int]], awaited: list[bytes]) -> None:
        """A node tells which bundles it has: it gives back what the group has no use for. ``awaited``: groups that
        something waits for there: it hears of those that are gone.
        """
        for group_id in awaited:
            group = self.directory.groups.get(group_id)
            if group is not None and group.state is GroupState.REMOVED:
                self._nodes.send(node_id, m.GroupUpdate(group_id, group.state.value))
        for group_id, index in bundles:
            if not self.directory.expects(group_id, index, node_id):
                self._nodes.send(node_id, m.ReturnBundles(group_id, [index]))

    def removed(self) -> list[Group]:
        """Groups that are gone and still remembered."""
        return [group for group in self.directory.groups.values() if group.state is GroupState.REMOVED]

    def settle(self) -> None:
        """All is restored: bundles whose node is gone are lost."""
        living = {node.info.node_id for node in self._nodes.living()}
        gone = {where for group in self.directory.groups.values() for where in group.nodes.values()} - living
        for node_id in gone:
            self._apply(self.directory.node_dead(node_id, _now_s()))

    # --- messages -----------------------------------------------------------------------------------------------------

    def _on_create(self, peer: Any, message: m.CreateGroup) -> None:
        known = self.directory.groups.get(message.spec.group_id)  # to the last head, whose answer was lost
        effects, error = self.directory.create(message.spec, _now_s())
        if not error:
            self._subscribe(peer, message.spec.group_id)
        self._reply(peer, m.GroupCreated(message.rid, error))
        if known is not None:
            peer.post(m.GroupUpdate(message.spec.group_id, known.state.value))
        self._apply(effects)

    def _on_subscribe(self, peer: Any, message: m.SubscribeGroup) -> None:
        self._subscribe(peer, message.group_id)
        group = self.directory.groups.get(message.group_id)
        if group is not None:
            peer.post(m.GroupUpdate(message.group_id, group.state.value))
        else:  # a handle may arrive at its reader before its creator's message arrives here
            self._call_later(UNKNOWN_WAIT_S, lambda: self._still_unknown(peer, message.group_id))

    def _still_unknown(self, peer: Any, group_id: bytes) -> None:
        if group_id not in self.directory.groups and not peer.closed:
            peer.post(m.GroupUpdate(group_id, GroupState.REMOVED.value))
            self._subscribers.pop(group_id, None)

    def _subscribe(self, peer: Any, group_id: bytes) -> None:
        self._subscribers.setdefault(group_id, {})[id(peer)] = peer

    def _on_query(self, peer: Any, message: m.GroupQuery) -> None:
        directory = self.directory
        if message.name:
            found = [directory.by_name(message.name, message.namespace)]
        elif message.group_id:
            found = [directory.groups.get(message.group_id)]
        else:
            found = list(directory.groups.values())
        rows = [row_of(group) for group in found if group is not None]
        self._reply(peer, m.GroupTable(message.rid, msgspec.msgpack.encode(rows)))

    def _on_prepared(self, _peer: Any, message: m.BundlesPrepared) -> None:
        answer = (message.group_id, message.attempt, message.node_id)
        self._apply(self.directory.prepared(*answer, _now_s(), ok=message.ok, reason=message.reason))

    def _on_committed(self, _peer: Any, message: m.BundlesCommitted) -> None:
        self._apply(self.directory.committed(message.group_id, message.attempt, message.node_id, _now_s()))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        if self.directory.pending:
            self._apply(self.directory.schedule(_now_s()))

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Prepare(node_id, group_id, attempt, indexes, wait_s):
                    bundles = self.directory.groups[group_id].spec.bundles
                    chosen = [(index, bundles[index]) for index in indexes]
                    self._nodes.send(node_id, m.PrepareBundles(group_id, attempt, chosen, wait_s))
                case Commit(node_id, group_id, attempt):
                    self._nodes.send(node_id, m.CommitBundles(group_id, attempt))
                case Return(node_id, group_id, indexes):
                    self._nodes.send(node_id, m.ReturnBundles(group_id, indexes))
                case Publish(group_id):
                    self._publish(group_id)
        due_s = self.directory.next_try_s()
        if due_s is None:
            return
        if self._retry is not None:
            if self._retry_s <= due_s:
                return
            self._retry.cancel()
        self._retry_s = due_s
        self._retry = self._call_later(max(GO_ON_AFTER_S, due_s - _now_s()), self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._apply(self.directory.go_on(_now_s()))

    def _publish(self, group_id: bytes) -> None:
        group = self.directory.groups[group_id]
        update = m.GroupUpdate(group_id, group.state.value)
        subscribers = self._subscribers.get(group_id, {})
        for key, peer in list(subscribers.items()):
            if peer.closed:
                del subscribers[key]
            else:
                peer.post(update)
        if group.state is GroupState.REMOVED:
            self._subscribers.pop(group_id, None)
            self._nodes.announce(update)
            for callback in self.on_removed:
                callback(group_id.hex())


def _now_s() -> float:
    return time.monotonic()
