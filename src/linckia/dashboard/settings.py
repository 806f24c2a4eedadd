"""What a dashboard is started with: one JSON packet over the socketpair with its node, so that the token is on no
command line and in no environment, and with it the socket that it listens on. Imported by node/dashboard_child.py:
nothing heavy here.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import msgspec

PACKET_MAX_BYTES: Final = 64 * 1024
PULSE: Final = b"."
"""All that a dashboard says to its node: it lives."""
DEFAULT_PORT: Final = 8265
DEFAULT_HOST: Final = "127.0.0.1"


class Settings(msgspec.Struct, frozen=True):
    """``endpoint``: of the node that is asked. ``port`` 0: any free one; else that one, or the next that is free.
    ``node_ip``: where others reach the node.
    """

    host: str
    port: int
    endpoint: str
    token: str
    session_name: str
    node_ip: str
    pulse_s: float

    @property
    def reached_at(self) -> str:
        """The host of its URL."""
        return self.node_ip if is_any(self.host) else self.host


def is_any(host: str) -> bool:
    """All addresses of the machine, such as ``0.0.0.0``."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Only programs of this machine reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
