"""The autoscaler's API for programs (tags 240-254). See ``protocol/messages.py``."""

from __future__ import annotations

from linckia.protocol.message import Message


class RequestResources(Message, tag=240):
    """Driver to GCS: the cluster shall be able to hold these bundles, until the next request; ``selectors``: of each
    bundle's node, or empty. Answered by ResourcesRequested.
    """

    rid: int
    bundles: list[dict[str, float]]
    selectors: list[dict[str, str]] = []


class ResourcesRequested(Message, tag=241):
    """Answer to RequestResources."""

    rid: int
