"""Where a task or actor may run, as it travels in requests: made by the API, read by core/scheduling. No behaviour."""

from __future__ import annotations

import msgspec


class LabelRule(msgspec.Struct, array_like=True, frozen=True):
    """One expression of NodeLabelSchedulingStrategy. ``operator``: in | not_in | exists | absent."""

    key: str
    operator: str
    values: list[str] = []


class Strategy(msgspec.Struct, array_like=True, frozen=True):
    """``kind``: DEFAULT | SPREAD | NODE_AFFINITY | NODE_LABEL. ``selectors``: the label selector and then its
    fallbacks, tried in order; each maps a label key to a condition in ``base/labels.py``'s syntax.
    """

    kind: str = "DEFAULT"
    node_id: bytes = b""
    soft: bool = True
    spill_on_unavailable: bool = False
    fail_on_unavailable: bool = False
    hard_labels: list[LabelRule] = []
    soft_labels: list[LabelRule] = []
    selectors: list[dict[str, str]] = []


DEFAULT = Strategy()

decode_strategy = msgspec.msgpack.Decoder(Strategy).decode
"""Bytes -> Strategy."""


class GroupSpec(msgspec.Struct, array_like=True, frozen=True):
    """A placement group as its creator asked for it. ``topology``: label key -> strategy. ``creator``: the detached
    actor whose process it ends with, empty when it ends with its job.
    """

    group_id: bytes
    bundles: list[dict[str, float]]
    strategy: str
    name: str = ""
    namespace: str = ""
    detached: bool = False
    job_id: bytes = b""
    selectors: list[dict[str, str]] = []
    soft_target: bytes = b""
    topology: dict[str, str] = {}
    creator: bytes = b""
