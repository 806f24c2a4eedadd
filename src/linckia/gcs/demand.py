"""What the cluster waits for, as the autoscaler wants it: tasks, actors, gangs, and `request_resources`.

Built by node/head.py from the GCS's services; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.core.autoscaling.records import Amounts, Demand, Gang, RunningNode
from linckia.core.leases import vectors
from linckia.core.placement.records import Group
from linckia.gcs import records
from linckia.gcs.journal import Outbox
from linckia.model.placement import decode_strategy
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.gcs.actors import ActorService
    from linckia.gcs.nodes import NodeService
    from linckia.gcs.placement_groups import GroupService


class DemandService:
    """Keeps what `request_resources` asked for last."""

    def __init__(
        self,
        nodes: NodeService,
        actors: ActorService,
        groups: GroupService,
        reply: Callable[[Any, m.Message], None],
        outbox: Outbox | None = None,
    ) -> None:
        self._outbox = outbox or Outbox()
        self._outbox.tables[records.DEMAND] = lambda _key: records.encode(
            records.DemandRow(self.constraints, self.selectors)
        )
        self._nodes, self._actors, self._groups, self._reply = nodes, actors, groups, reply
        self.constraints: list[Amounts] = []
        self.selectors: list[dict[str, str]] = []

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {m.RequestResources: self._on_request}

    def _on_request(self, peer: Any, message: m.RequestResources) -> None:
        """Replaces the last request; an empty one clears it."""
        self.constraints, self.selectors = message.bundles, message.selectors
        self._outbox.touch(records.DEMAND)
        self._reply(peer, m.ResourcesRequested(message.rid))

    def nodes(self) -> list[RunningNode]:
        """The living nodes."""
        view = self._nodes.view.nodes
        return [
            RunningNode(
                node_id=node.info.node_id,
                node_type="",
                total=vectors.to_amounts(node.total),
                available=vectors.to_amounts(node.available),
                labels=node.info.labels,
                idle_since_s=node.idle_since_s,
                is_head=node.info.is_head,
                takes_work=node.info.node_id in view and view[node.info.node_id].takes_work,
            )
            for node in self._nodes.living()
        ]

    def demand(self) -> Demand:
        """What waits now."""
        shapes = [
            (shape, count, _selectors(strategy))
            for node in self._nodes.living()
            for shape, count, strategy in node.demand
            if not any("_group_" in name for name in shape)
        ]
        shapes += [
            (spec.placement_resources or spec.lifetime_resources, 1, _selectors(spec.strategy))
            for spec, _, _ in self._actors.placement.waiting.values()
            if not any("_group_" in name for name in spec.lifetime_resources)
        ]
        gangs = [_gang(group) for group in self._groups.waiting()[:1000]]
        return Demand(shapes, gangs, self.constraints, self.selectors)

    @property
    def braked(self) -> bool:
        """Most nodes are silent: nothing that is known of them can be trusted."""
        return self._nodes.directory.braked_since_s is not None


def _gang(group: Group) -> Gang:
    """The bundles that have no node yet."""
    spec = group.spec
    left = [index for index in range(len(spec.bundles)) if index not in group.nodes]
    return Gang(
        spec.group_id.hex()[:12],
        [spec.bundles[index] for index in left],
        spec.strategy,
        list(group.nodes.values()),
        [spec.selectors[index] for index in left] if spec.selectors else [],
    )


def _selectors(strategy: bytes) -> list[dict[str, str]]:
    return decode_strategy(strategy).selectors if strategy else []
