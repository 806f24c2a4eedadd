"""One placement group's record, what the directory asks for, and what can be said of a group by itself. Called by
directory.py and the head's services.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base.labels import Selector
from linckia.core.leases import vectors
from linckia.core.placement.bundles import BundleAsk
from linckia.core.placement.claim_turns import Claim
from linckia.core.placement.states import GROUP_TABLE, GroupState

if TYPE_CHECKING:
    from linckia.model.placement import GroupSpec

S = GroupState


class Prepare(msgspec.Struct, frozen=True):
    """Ask a node to reserve bundles."""

    node_id: bytes
    group_id: bytes
    attempt: int
    indexes: list[int]
    wait_s: float = 0.0


class Commit(msgspec.Struct, frozen=True):
    """Tell a node to offer them."""

    node_id: bytes
    group_id: bytes
    attempt: int


class Return(msgspec.Struct, frozen=True):
    """Tell a node to give them back."""

    node_id: bytes
    group_id: bytes
    indexes: list[int]


class Publish(msgspec.Struct, frozen=True):
    """Tell who listens."""

    group_id: bytes


Effect = Prepare | Commit | Return | Publish


class Group:
    """One group's record."""

    def __init__(self, spec: GroupSpec, now_s: float) -> None:
        self.spec: Any = spec
        self.state = GROUP_TABLE.initial
        self.scheduling_state = "QUEUED"
        self.reason = ""
        self.nodes: dict[int, bytes] = {}  # committed bundles
        self.trying: dict[int, bytes] = {}  # of the attempt under way
        self.waiting_for: set[bytes] = set()
        self.attempt = 0
        self.removal_number = 0  # the removed in their order, also for the next head
        self.retry_s, self.not_before_s = 0.0, 0.0
        self.created_s, self.first_try_s, self.done_s = now_s, 0.0, 0.0
        self.highest_retry_s = 0.0
        self.claim = Claim()
        self.units = [vectors.to_units(bundle) for bundle in spec.bundles]

    @property
    def wants_nodes(self) -> bool:
        """Bundles lack a node and no attempt is under way."""
        return self.state in (S.PENDING, S.RESCHEDULING) and not self.trying


def row_of(group: Group) -> dict[str, Any]:
    """With Ray's keys (R 6.14)."""
    spec = group.spec
    end_s = group.done_s or group.created_s
    return {
        "placement_group_id": spec.group_id.hex(),
        "name": spec.name,
        "bundles": {str(index): bundle for index, bundle in enumerate(spec.bundles)},
        "bundles_to_node_id": {str(index): group.nodes.get(index, b"").hex() for index in range(len(spec.bundles))},
        "strategy": spec.strategy,
        "state": group.state.value,
        "stats": {
            "end_to_end_creation_latency_ms": (end_s - group.created_s) * 1000,
            "scheduling_latency_ms": max(0.0, end_s - (group.first_try_s or end_s)) * 1000,
            "scheduling_attempt": group.attempt,
            "highest_retry_delay_ms": group.highest_retry_s * 1000,
            "scheduling_state": group.scheduling_state,
        },
        "reason": group.reason,
        "creator_job_id": spec.job_id.hex(),
        "namespace": spec.namespace,
        "detached": spec.detached,
    }


def ask_of(group: Group) -> BundleAsk:
    spec = group.spec
    return BundleAsk(group.units, spec.strategy, dict(group.nodes), spec.selectors, spec.soft_target)


def likeness_of(spec: GroupSpec) -> object:
    """Equal for groups that fit into the same nodes."""
    bundles = tuple(tuple(sorted(bundle.items())) for bundle in spec.bundles)
    selectors = tuple(tuple(sorted(selector.items())) for selector in spec.selectors)
    return bundles, spec.strategy, selectors, spec.soft_target, tuple(sorted(spec.topology.items()))


def mistake_in(spec: GroupSpec) -> str:
    """Why nothing can ever come of it; the API has looked already, but not everybody uses the API."""
    if not spec.group_id:
        return "a placement group needs an id"
    if spec.selectors and len(spec.selectors) != len(spec.bundles):
        return f"a placement group needs one label selector per bundle: {len(spec.selectors)} for {len(spec.bundles)}"
    try:
        for selector in spec.selectors:
            Selector.parse(selector)
        for bundle in spec.bundles:
            vectors.to_units(bundle)
    except (ValueError, OverflowError) as error:
        return str(error)
    return ""
