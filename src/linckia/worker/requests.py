"""Requests to the raylet and the GCS: send, wait for the answer with the same rid, raise what it says went wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.rpc.connection import Connection
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer


class Request:
    """One outstanding request: ``state`` is true once ``answer`` is there."""

    __slots__ = ("answer", "error", "state")

    def __init__(self) -> None:
        self.state = 0
        self.answer: Any = None
        self.error: BaseException | None = None


class Requests:
    """Outstanding requests of one runtime by rid."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.open: dict[int, Request] = {}

    def call(self, conn: Connection, message: Any, timeout_s: float | None = 60.0) -> Any:
        """Send ``message`` (which has a ``rid``) and return the answer. Raises RaySystemError on failure or timeout."""
        request = self.open[message.rid] = Request()
        try:
            if conn.closed:
                raise errors.RaySystemError("the connection to the cluster is closed; call linckia.init() again")
            conn.send(message)
            deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
            if not self.runtime.progress.wait_for(request, deadline_s):
                raise errors.RaySystemError(
                    f"{type(message).__name__}: no answer within {timeout_s} s; is the node overloaded or stopped?"
                )
        finally:
            self.open.pop(message.rid, None)
        if request.error is not None:
            raise request.error
        if isinstance(request.answer, m.Failure):
            kind = getattr(errors, request.answer.kind, errors.RaySystemError)
            raise kind(request.answer.text)
        return request.answer

    def on_answer(self, _peer: Peer, message: Any) -> None:
        """An answer arrived; late ones are dropped."""
        request = self.open.get(message.rid)
        if request is not None:
            request.answer = message
            request.state = 1

    def fail_all(self, error: BaseException) -> None:
        """The cluster is gone."""
        for request in list(self.open.values()):
            request.error = error
            request.state = 1
