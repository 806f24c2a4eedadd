"""Connections from this node to drivers on other nodes: output of their workers and warnings go there directly.

Made when there is something to say, through the driver's node's port. Used by raylet/service.py.
"""

from __future__ import annotations

from typing import Any

from linckia.model.wire import Address
from linckia.rpc.connection import Connection
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor


class RemoteDrivers:
    """By worker id of the driver."""

    def __init__(self, reactor: Reactor, identity: Identity | None) -> None:
        self._reactor, self._identity = reactor, identity
        self._connections: dict[bytes, Connection] = {}

    def connection(self, driver: Address) -> Any:
        """An open or opening connection; None when the driver cannot be reached."""
        connection = self._connections.get(driver.worker_id)
        if connection is not None and not connection.closed:
            return connection
        if self._identity is None or not driver.endpoint:
            return None
        try:
            connection = self._reactor.connect(
                driver.endpoint, self._identity, _nothing, _nothing, route=driver.worker_id
            )
        except OSError:
            return None
        self._connections[driver.worker_id] = connection
        return connection

    def forget(self, worker_id: bytes) -> None:
        """Its job has ended."""
        connection = self._connections.pop(worker_id, None)
        if connection is not None:
            connection.flush()
            connection.close("the job has ended")


def _nothing(_connection: Connection, _what: object) -> None:
    """Drivers do not answer; a hang-up is noticed by the next use."""
