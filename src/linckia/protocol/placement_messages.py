"""Placement groups: owners, GCS and raylets (tags 180-199). See ``protocol/messages.py``."""

from __future__ import annotations

from linckia.model.placement import GroupSpec
from linckia.protocol.message import Message


class CreateGroup(Message, tag=180):
    """Creator to GCS; idempotent by group id. Answered by GroupCreated, then GroupUpdate to the creator."""

    rid: int
    spec: GroupSpec


class GroupCreated(Message, tag=181):
    """``error``: why it cannot exist (a taken name)."""

    rid: int
    error: str = ""


class RemoveGroup(Message, tag=182):
    """Idempotent."""

    group_id: bytes


class SubscribeGroup(Message, tag=183):
    """Answered at once and on each change by GroupUpdate."""

    group_id: bytes


class GroupUpdate(Message, tag=184):
    """To subscribers, and when it is REMOVED to all raylets."""

    group_id: bytes
    state: str


class GroupQuery(Message, tag=185):
    """One group by id, or by name and namespace, or all. Answered by GroupTable."""

    rid: int
    group_id: bytes = b""
    name: str = ""
    namespace: str = ""


class GroupTable(Message, tag=186):
    """``body``: msgpack list of dicts with Ray's keys."""

    rid: int
    body: bytes


class PrepareBundles(Message, tag=187):
    """GCS to raylet: reserve these (index, amounts), all or none. Answered by BundlesPrepared. ``wait_s``: for so long
    tasks may have to make room first.
    """

    group_id: bytes
    attempt: int
    bundles: list[tuple[int, dict[str, float]]]
    wait_s: float = 0.0


class BundlesPrepared(Message, tag=188):
    """Raylet to GCS: answer to PrepareBundles."""

    group_id: bytes
    attempt: int
    node_id: bytes
    ok: bool
    reason: str = ""


class CommitBundles(Message, tag=189):
    """GCS to raylet: offer what was prepared. Answered by BundlesCommitted."""

    group_id: bytes
    attempt: int


class BundlesCommitted(Message, tag=190):
    """Raylet to GCS: answer to CommitBundles."""

    group_id: bytes
    attempt: int
    node_id: bytes


class ReturnBundles(Message, tag=191):
    """GCS to raylet: give these bundles back (empty: all of the group). What still uses them is killed."""

    group_id: bytes
    indexes: list[int] = []
