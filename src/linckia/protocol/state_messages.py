"""What runs, and what ran: questions of the state API and their way through the cluster (tags 260-264). See
``protocol/messages.py``.

Anybody asks the GCS (`StateQuery`, answered by `StateAnswer`). What the GCS does not know itself it collects: from all
raylets, and these from their drivers and workers (`StateCollect`, answered by `StatePart`). Nobody reports anything
unasked, a worker that ends by intention excepted (`TaskHistory`).
"""

from __future__ import annotations

from typing import Any

from linckia.protocol.message import Message


class StateQuery(Message, tag=260):
    """``what``: tasks | objects | workers | actors | jobs | nodes | placement_groups | runtime_envs | cluster_events |
    logs | log. ``filters``: (column, ``=`` or ``!=``, value). ``timeout_s``: of the whole collection.
    """

    rid: int
    what: str
    filters: list[tuple[str, str, Any]] = []
    limit: int = 100
    timeout_s: float = 24.0


class StateAnswer(Message, tag=261):
    """``body``: an encoded model.listing.Part."""

    rid: int
    body: bytes


class StateCollect(Message, tag=262):
    """GCS to raylets, raylet to its drivers and workers. ``number`` names the collection at whoever asks."""

    number: int
    what: str
    filters: list[tuple[str, str, Any]]
    limit: int
    timeout_s: float


class StatePart(Message, tag=263):
    """Answer to StateCollect. ``body``: an encoded model.listing.Part."""

    number: int
    body: bytes


class TaskHistory(Message, tag=264):
    """Worker or driver to its raylet before it ends by intention: the last tasks that ended in it (``count`` rows)."""

    count: int
    body: bytes
