"""Where a task or actor shall run: values for the option `scheduling_strategy`, with Ray's names and arguments.

Users make them, `options.py` reads them. They check their own arguments and compare by value, so that equal strategies
share leases; they look at no cluster.
"""

from __future__ import annotations

from collections.abc import Mapping

NODE_ID_HEX_CHARS = 56
_NIL_NODE_ID = "f" * NODE_ID_HEX_CHARS


class _ByValue:
    """Equality, hash and repr by the attributes in `__slots__`."""

    __slots__: tuple[str, ...] = ()

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), repr(self._values())))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in zip(self.__slots__, self._values(), strict=True))
        return f"{type(self).__name__}({inside})"


class PlacementGroupSchedulingStrategy(_ByValue):
    """Run in a placement group: in bundle `placement_group_bundle_index`, or in any bundle with room (-1)."""

    __slots__ = ("placement_group", "placement_group_bundle_index", "placement_group_capture_child_tasks")

    def __init__(
        self,
        placement_group: object,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        check_bundle_index(placement_group_bundle_index)
        capture = placement_group_capture_child_tasks
        if capture is not None and not isinstance(capture, bool):
            raise TypeError(f"placement_group_capture_child_tasks must be True, False or None, got {capture!r}")
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = capture


class NodeAffinitySchedulingStrategy(_ByValue):
    """Run on one node, waiting for room there; if the node is dead or too small: elsewhere (soft) or not at all."""

    __slots__ = ("_fail_on_unavailable", "_spill_on_unavailable", "node_id", "soft")

    def __init__(
        self,
        node_id: str | bytes | object,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        self.node_id = _node_id_hex(node_id)
        flags: dict[str, object] = {"soft": soft, "_spill_on_unavailable": _spill_on_unavailable}
        for name, value in {**flags, "_fail_on_unavailable": _fail_on_unavailable}.items():
            if value is not None and not isinstance(value, bool):
                raise TypeError(f"NodeAffinitySchedulingStrategy: {name} must be True or False, got {value!r}")
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable needs soft=True: a hard affinity never runs elsewhere")
        if _fail_on_unavailable and soft:
            raise ValueError("_fail_on_unavailable needs soft=False: a soft affinity runs elsewhere instead of failing")
        self.soft = bool(soft)
        self._spill_on_unavailable = bool(_spill_on_unavailable)
        self._fail_on_unavailable = bool(_fail_on_unavailable)


class _Values(_ByValue):
    __slots__ = ("values",)

    def __init__(self, *values: str) -> None:
        name = type(self).__name__
        if not values:
            raise ValueError(f'{name}() needs at least one value: {name}("value1", "value2")')
        for position, value in enumerate(values):
            if not isinstance(value, str):
                raise ValueError(f"{name}(): value {position} must be a str, got {value!r} ({type(value).__name__})")
        self.values = list(values)


class In(_Values):
    """The node's label has one of these values."""

    __slots__ = ()


class NotIn(_Values):
    """The node's label has none of these values."""

    __slots__ = ()


class Exists(_ByValue):
    """The node has the label."""

    __slots__ = ()


class DoesNotExist(_ByValue):
    """The node does not have the label."""

    __slots__ = ()


LabelOperator = In | NotIn | Exists | DoesNotExist


class LabelMatchExpression(_ByValue):
    """One label of a node and what is asked of it."""

    __slots__ = ("key", "operator")

    def __init__(self, key: str, operator: LabelOperator) -> None:
        self.key = key
        self.operator = operator


class NodeLabelSchedulingStrategy(_ByValue):
    """Run on nodes whose labels match all of `hard`; among them, rather on those that match `soft` too."""

    __slots__ = ("hard", "soft")

    def __init__(
        self, hard: Mapping[str, LabelOperator] | None, *, soft: Mapping[str, LabelOperator] | None = None
    ) -> None:
        self.hard = _expressions(hard, "hard")
        self.soft = _expressions(soft, "soft")
        if not self.hard and not self.soft:
            raise ValueError('NodeLabelSchedulingStrategy: give hard or soft, for example {"region": In("us")}')


def check_bundle_index(index: object) -> None:
    """TypeError unless an int, ValueError below -1. Whether the group has such a bundle is checked at submission."""
    if not isinstance(index, int) or isinstance(index, bool):
        raise TypeError(f"placement_group_bundle_index must be an int, got {index!r} ({type(index).__name__})")
    if index < -1:
        raise ValueError(f"placement_group_bundle_index must be -1 (any bundle) or the number of a bundle, got {index}")


def _node_id_hex(node_id: object) -> str:
    to_hex = getattr(node_id, "hex", None)
    text = node_id if isinstance(node_id, str) else to_hex() if callable(to_hex) else None
    if isinstance(text, str) and len(text) == NODE_ID_HEX_CHARS and text.lower() != _NIL_NODE_ID:
        try:
            parsed = bytes.fromhex(text).hex()  # it skips blanks, so compare
            if parsed == text.lower():
                return parsed
        except ValueError:
            pass  # not hexadecimal; the message below says what is
    raise ValueError(
        f"node_id must be the {NODE_ID_HEX_CHARS} hex digits of a node (see linckia.nodes()), got {node_id!r}"
    )


def _expressions(given: Mapping[str, LabelOperator] | None, side: str) -> list[LabelMatchExpression]:
    if given is None:
        return []
    example = 'for example {"region": In("us")}'
    if not isinstance(given, Mapping):
        raise ValueError(f"{side} must be a dict of label to operator, {example}; got {type(given).__name__}")
    for key, operator in given.items():
        if not isinstance(key, str):
            raise ValueError(f"{side}: a label key must be a str, {example}; got {key!r} ({type(key).__name__})")
        if not isinstance(operator, LabelOperator):
            raise ValueError(f"{side}[{key!r}] must be In, NotIn, Exists or DoesNotExist, {example}; got {operator!r}")
    return [LabelMatchExpression(key, operator) for key, operator in given.items()]
