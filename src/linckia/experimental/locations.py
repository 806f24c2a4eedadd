"""Where objects are, for programs that place work near its data (R 3.24)."""

from __future__ import annotations

from typing import Any

from linckia.api.remote_function import connected
from linckia.base.errors import GetTimeoutError, RaySystemError
from linckia.worker.refs import ObjectRef


def get_object_locations(obj_refs: list[ObjectRef[Any]], timeout_ms: int = -1) -> dict[ObjectRef[Any], dict[str, Any]]:
    """``{ref: {"node_ids": [hex], "object_size": bytes or None, "did_spill": bool}}``.

    Owners of borrowed refs are asked. Values up to 100 KiB live in their owner's process: no node ids.
    ``object_size`` is None while there is no value.
    ``timeout_ms`` is for each owner's answer, -1 for 60 s. TypeError unless a list of ObjectRefs; GetTimeoutError.
    """
    _check(obj_refs)
    timeout_s = timeout_ms / 1000 if timeout_ms >= 0 else 60.0
    try:
        found = connected().locations.ask(obj_refs, timeout_s)
    except RaySystemError as error:
        raise GetTimeoutError(f"get_object_locations: {error}") from error
    return {ref: _told(*place) for ref, place in zip(obj_refs, found, strict=True)}


def get_local_object_locations(obj_refs: list[ObjectRef[Any]]) -> dict[ObjectRef[Any], dict[str, Any]]:
    """As `get_object_locations`, from what this process knows, without asking anybody; what it does not know is left
    out as in an empty answer.
    """
    _check(obj_refs)
    locations = connected().locations
    return {ref: _told(*locations.of(ref)) for ref in obj_refs}


def _check(obj_refs: Any) -> None:
    if not isinstance(obj_refs, list) or not all(isinstance(ref, ObjectRef) for ref in obj_refs):
        raise TypeError(f"expected a list of ObjectRefs, got {obj_refs!r}")


def _told(nodes: list[bytes], size: int, spilled: bool) -> dict[str, Any]:
    return {
        "node_ids": [node.hex() for node in nodes],
        "object_size": size if size >= 0 else None,
        "did_spill": spilled,
    }
