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


class AskHead(Message, tag=246):
    """Autoscaler process to its head (gcs/scaling.py): ``what`` is see | round | drain | start | end, ``body`` its
    argument. Answered by HeadSays.
    """

    rid: int
    what: str
    body: bytes = b""


class HeadSays(Message, tag=247):
    """Answer to AskHead, when what it follows from is in the store. With ``rid`` 0, first of all: the settings of a new
    autoscaler.
    """

    rid: int
    body: bytes = b""


class StartInstance(Message, tag=248):
    """Head to a raylet: start a node of this type (encoded) on your machine. The same name again: nothing new."""

    name: str
    node_type: bytes
    epoch: int


class EndInstance(Message, tag=249):
    """Head to a raylet: end that node, which you started."""

    name: str
    epoch: int


class InstancesHere(Message, tag=250):
    """Raylet to head: nodes that it started and that run (name -> node type), and those that ended by themselves or
    never began, with the reason. On each change, and first in each session.
    """

    node_id: bytes
    running: dict[str, str]
    failed: dict[str, str] = {}
