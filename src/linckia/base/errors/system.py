"""Errors of the cluster itself: processes, nodes, memory, the wire, authentication, channels."""

from __future__ import annotations

from linckia.base.errors.root import Origin, RayError


class RaySystemError(RayError):
    """Not initialised, a failed start, or a defect of the cluster; `client_exc` is the reason (text or exception)."""

    def __init__(self, client_exc: object = None, traceback_str: str | None = None) -> None:
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def _told(self) -> str:
        told = f"System error: {self._summary if self.client_exc is None else self.client_exc}"
        return f"{told}\ntraceback: {self.traceback_str}" if self.traceback_str else told


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator that ran again yielded another number of objects than the first time."""

    origin: Origin = "application"
    _summary = "a generator task yielded another number of objects when it ran again"
    _advice = "Make the generator deterministic, or forbid retries with max_retries=0."


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed."""

    _summary = "a channel of a compiled graph failed"


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph was not ready in time."""

    retryable = True
    _summary = "a channel of a compiled graph was not ready in time"
    _advice = "Raise the timeout of the graph, or read its results sooner."


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has as many unfinished executions as it can buffer."""

    origin: Origin = "application"
    retryable = True
    _summary = "the compiled graph has no room for another execution"
    _advice = "Get some of its results first, or compile it with a larger buffer."


class RayDirectTransportError(RaySystemError):
    """A transfer of tensors between actors failed."""

    _summary = "a direct transfer of tensors failed"


class LocalRayletDiedError(RayError):
    """The node process of this machine is gone."""

    _summary = "The node process of this machine died."
    _advice = "Read raylet.log in the session directory, then start again with linckia.init() or `linckia start`."


class _MessageError(RayError):
    """An error that is its message."""

    def __init__(self, message: str = "") -> None:
        self.message = message
        self.args = (message,) if message else ()


class NodeDiedError(_MessageError):
    """The node of a running task died or is out of reach, and no retry was left."""

    retryable = True
    _summary = "The node that ran this task died or cannot be reached."
    _advice = "Submit again, or allow retries with max_retries."


class OutOfMemoryError(_MessageError):
    """The worker was ended because its node ran out of memory, and it may not run again."""

    retryable = True
    _summary = "The worker was ended because its node was running out of memory."
    _advice = "Ask for memory=<bytes> so that fewer run side by side, use a larger node, or allow max_retries."


class RpcError(RayError):
    """A call to a cluster service failed."""

    retryable = True
    _summary = "A call to a cluster service failed."
    _advice = "Check that the head is alive (`linckia status`) and try again."

    def __init__(self, message: str = "", rpc_code: int | None = None) -> None:
        self.message = message
        self.rpc_code = rpc_code
        self.args = (message,) if message else ()


class AuthenticationError(_MessageError):
    """The cluster token is missing or wrong."""

    origin: Origin = "application"
    _summary = "The cluster refused the connection: its token is missing or wrong."
    _advice = "Use the token file that the cluster's head wrote when it started; copy it to every machine (mode 0600)."
