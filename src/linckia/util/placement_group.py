"""Placement groups: bundles of resources reserved together, on one node or on several (section 6 of Ray's behaviours).

``placement_group(...)`` returns a handle at once; ``ready()`` is a ref that is there when all bundles are reserved. The
GCS places and reserves them (core/placement); work is put into them by PlacementGroupSchedulingStrategy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linckia.api.remote_function import connected
from linckia.base.labels import Selector

if TYPE_CHECKING:
    from linckia.worker.refs import ObjectRef
    from linckia.worker.runtime import Runtime

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
NODE_LABEL = "ray.io/node-id"
BUNDLES_MAX = 10_000


class PlacementGroup:
    """The handle of a group. Equal by id, picklable, may be passed to tasks and actors."""

    __slots__ = ("_bundles", "_id", "_ready")

    def __init__(self, id: Any, bundle_cache: Sequence[Mapping[str, float]] | None = None) -> None:
        self._id = id.binary() if hasattr(id, "binary") else bytes(id)
        self._bundles = [dict(bundle) for bundle in bundle_cache] if bundle_cache is not None else None
        self._ready: Any = None

    @staticmethod
    def empty() -> PlacementGroup:
        """The handle of no group."""
        return PlacementGroup(b"\xff" * 18, [])

    @property
    def id(self) -> Any:
        """PlacementGroupID."""
        from linckia.base.ids import PlacementGroupID  # noqa: PLC0415  (start-up time)

        return PlacementGroupID(self._id)

    @property
    def is_empty(self) -> bool:
        """True for the handle of no group."""
        return self._id == b"\xff" * 18

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The bundles, amounts as floats."""
        if self._bundles is None:
            self._bundles = connected().groups.bundles(self._id)
        return [dict(bundle) for bundle in self._bundles]

    @property
    def bundle_count(self) -> int:
        """How many bundles."""
        return len(self.bundle_specs)

    def ready(self) -> ObjectRef[Any]:
        """A ref that gives this handle once all bundles are reserved; TaskPlacementGroupRemoved if that never comes."""
        runtime = connected()
        ref: ObjectRef[Any] = runtime.groups.ready(self._id, self)
        return ref

    def wait(self, timeout_seconds: float = 30) -> bool:
        """True when all bundles are reserved within the time; -1 waits for ever. TaskPlacementGroupRemoved when the
        group is gone.
        """
        from linckia.api.calls import get, wait  # noqa: PLC0415  (start-up time)

        timeout = None if timeout_seconds < 0 else timeout_seconds
        done, _ = wait([self.ready()], timeout=timeout)
        if done:
            get(done)  # raises when it was removed
        return bool(done)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self._id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (PlacementGroup, (self._id, self._bundles))


def placement_group(
    bundles: Sequence[Mapping[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
    topology_strategy: Mapping[str, str] | None = None,
) -> PlacementGroup:
    """Ask for a group; returns its handle at once. ``strategy``: PACK (default), SPREAD, STRICT_PACK, STRICT_SPREAD.

    ValueError for bundles or options that make no sense, or a taken name. The group is removed with its job, or,
    when a detached actor made it, with the process of that actor; ``lifetime="detached"`` keeps it.
    """
    runtime = connected()
    checked = _bundles(bundles)
    if strategy is not None and topology_strategy:
        raise ValueError("placement_group: give strategy or topology_strategy, not both")
    chosen = strategy or "PACK"
    if chosen not in STRATEGIES:
        raise ValueError(f"placement_group(strategy={strategy!r}): must be one of {', '.join(STRATEGIES)}")
    if lifetime not in (None, "detached"):
        raise ValueError(f'placement_group(lifetime={lifetime!r}): must be None or "detached"')
    if not isinstance(name, str):
        raise TypeError(f"placement_group(name=...) must be a str, got {type(name).__name__}")
    if _soft_target_node_id and chosen != "STRICT_PACK":
        raise ValueError("placement_group(_soft_target_node_id=...) is only possible with STRICT_PACK")
    target = _node_id(_soft_target_node_id)
    selectors = _selectors(bundle_label_selector, len(checked))
    from linckia.host.entropy import random_bytes  # noqa: PLC0415  (start-up time)
    from linckia.model.placement import GroupSpec  # noqa: PLC0415  (start-up time)
    from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)

    host = runtime.executor.actor if runtime.executor is not None else None
    spec = GroupSpec(
        group_id=random_bytes(14) + runtime.job_id,
        bundles=checked,
        strategy=chosen,
        name=name,
        namespace=runtime.job_config.namespace,
        detached=lifetime == "detached",
        job_id=runtime.job_id,
        selectors=selectors,
        soft_target=target,
        topology=_topology(topology_strategy),
        creator=host.actor_id if host is not None and host.spec.detached else b"",
    )
    message = m.CreateGroup(runtime.next_rid(), spec)
    runtime.groups.created(spec.group_id)
    if name:
        answer = runtime.call(runtime.raylet, message)
        if answer.error:
            raise ValueError(answer.error)
    else:
        runtime.raylet.send(message)
    return PlacementGroup(spec.group_id, checked)


def _bundles(bundles: Any) -> list[dict[str, float]]:
    """Checked, zeros left out. ValueError names the bundle."""
    if not isinstance(bundles, list):
        raise ValueError(f"placement_group: bundles must be a list of dicts, got {type(bundles).__name__}")
    if not bundles:
        raise ValueError("placement_group: needs at least one bundle")
    if len(bundles) > BUNDLES_MAX:
        raise ValueError(f"placement_group: at most {BUNDLES_MAX} bundles, got {len(bundles)}")
    checked = []
    for position, bundle in enumerate(bundles):
        if not isinstance(bundle, Mapping):
            raise ValueError(f"placement_group: bundle {position} must be a dict, got {type(bundle).__name__}")
        amounts = {name: _amount(position, name, amount) for name, amount in bundle.items()}
        kept = {name: amount for name, amount in amounts.items() if amount}
        if not kept:
            raise ValueError(f"placement_group: bundle {position} asks for nothing: {dict(bundle)!r}")
        if "object_store_memory" in kept:
            raise ValueError(f"placement_group: bundle {position}: object_store_memory cannot be reserved")
        checked.append(kept)
    return checked


def _amount(position: int, name: Any, amount: Any) -> float:
    where = f"placement_group: bundle {position}"
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: resource names are str, got {name!r}")
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise ValueError(f"{where}: {name} must be a number, got {amount!r}")
    if amount != amount or amount < 0 or amount > 1e14:
        raise ValueError(f"{where}: {name} must be from 0 to 1e14, got {amount!r}")
    if 0 < amount < 1e-4:
        raise ValueError(f"{where}: {name}={amount!r} is below the smallest amount, 0.0001")
    return float(amount)


def _selectors(given: Any, count: int) -> list[dict[str, str]]:
    if given is None:
        return []
    if not isinstance(given, (list, tuple)) or len(given) != count:
        found = len(given) if isinstance(given, (list, tuple)) else type(given).__name__
        raise ValueError(f"placement_group(bundle_label_selector=...): one per bundle, {count}; got {found}")
    for selector in given:
        Selector.parse(selector)
    return [dict(selector) for selector in given]


def _topology(given: Any) -> dict[str, str]:
    if not given:
        return {}
    others = [key for key in given if key != NODE_LABEL]
    if len(others) > 1:
        raise ValueError(f"placement_group(topology_strategy=...): one label besides {NODE_LABEL}, got {others}")
    for key, value in given.items():
        allowed = STRATEGIES if key == NODE_LABEL else ("STRICT_PACK",)
        if value not in allowed:
            raise ValueError(f"placement_group(topology_strategy): {key} must be one of {allowed}, got {value!r}")
    return dict(given)


def _node_id(text: str | None) -> bytes:
    if not text:
        return b""
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise ValueError(f"placement_group(_soft_target_node_id={text!r}): expected the hex id of a node") from None


# --- looking up and removing ------------------------------------------------------------------------------------------


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in this job's namespace. ValueError when there is none."""
    if not placement_group_name:
        raise ValueError("get_placement_group: give the name of a placement group")
    runtime = connected()
    rows = _query(runtime, b"", placement_group_name, runtime.job_config.namespace)
    if not rows:
        raise ValueError(
            f"no placement group named {placement_group_name!r} in namespace {runtime.job_config.namespace!r}"
        )
    return PlacementGroup(bytes.fromhex(rows[0]["placement_group_id"]), list(rows[0]["bundles"].values()))


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the calling task or actor runs in; None outside of groups and on drivers."""
    from linckia.api.current_group import current_group_id  # noqa: PLC0415  (start-up time)

    group = current_group_id()
    return PlacementGroup(bytes.fromhex(group)) if group else None


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """One group's record with Ray's keys (empty when unknown), or those of all groups by id."""
    runtime = connected()
    if placement_group is not None:
        rows = _query(runtime, placement_group._id)
        return _row(rows[0]) if rows else {}
    return {row["placement_group_id"]: _row(row) for row in _query(runtime, b"")}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    by_index = {name: {int(i): v for i, v in row[name].items()} for name in ("bundles", "bundles_to_node_id")}
    return {**row, **by_index}


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Remove a group; tasks and actors in it are killed. Asynchronous and idempotent."""
    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(f"remove_placement_group needs a PlacementGroup, got {type(placement_group).__name__}")
    runtime = connected()
    from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)

    runtime.raylet.send(m.RemoveGroup(placement_group._id))


def _query(runtime: Runtime, group_id: bytes, name: str = "", namespace: str = "") -> list[dict[str, Any]]:
    import msgspec  # noqa: PLC0415  (start-up time)

    from linckia.protocol import messages as m  # noqa: PLC0415  (start-up time)

    answer = runtime.call(runtime.raylet, m.GroupQuery(runtime.next_rid(), group_id, name, namespace))
    rows: list[dict[str, Any]] = msgspec.msgpack.decode(answer.body)
    return rows
