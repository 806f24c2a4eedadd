"""What a head process is started with: made by its node (node/rooms.py), sent as JSON, read by node/head_process.py."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

CONNECTION: Final = b"c"
"""On the channel from the node: a socket that asks for the head comes with it."""
STOP: Final = b"stop"
"""On the same channel: give up the term and end."""


class HeadOptions(NamedTuple):
    """``host`` and ``port``: of its node, where it is reached; ``node_id`` its id (hex). ``predecessor``: pid of its
    last run, which is over; ``predecessor_lease``: what that run had of the store (0: nothing), which nobody else ever
    has. ``scaling``: what the autoscaler may do (core/autoscaling `Limits` as JSON), None without one; ``scaler_log``:
    path of its log.
    """

    store: str
    host: str
    port: int
    token: str
    session_name: str
    tls: list[str] = []  # noqa: RUF012 - never changed
    predecessor: int = 0
    predecessor_lease: int = 0
    node_id: str = ""
    scaling: dict[str, Any] | None = None
    scaler_log: str = ""

    def as_json_object(self) -> dict[str, Any]:
        """For the channel."""
        return self._asdict()
