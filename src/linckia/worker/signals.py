"""Ctrl-C and cancel at any moment: a KeyboardInterrupt is raised in user code at once, inside the runtime at the next
safe point.

Python runs signal handlers in the main thread between two bytecodes, so an exception from one could tear the
runtime's own bookkeeping apart. The handler looks at the interrupted stack: user code (or a thread asleep in epoll)
is interrupted there and then; runtime code finishes its step and the waiting loops raise. This costs the hot path
nothing.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

from linckia.worker.task_run import call_user

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

_INSIDE = ("linckia.worker.", "linckia.rpc.", "linckia.shm.", "linckia.serialization.", "linckia.api.")
_BOUNDARY = call_user.__code__


def inside_runtime(frame: FrameType | None) -> bool:
    """Does the innermost Linckia frame belong to the runtime, rather than to the call of user code?"""
    while frame is not None:
        if frame.f_code is _BOUNDARY:
            return False
        if str(frame.f_globals.get("__name__", "")).startswith(_INSIDE):
            return True
        frame = frame.f_back
    return False


def install(runtime: Runtime, *, worker: bool) -> Any:
    """Install the SIGINT handler (main thread only); returns the previous one. In a worker SIGINT means cancel,
    nothing else.
    """
    previous = signal.getsignal(signal.SIGINT)

    def on_sigint(signum: int, frame: FrameType | None) -> None:
        if worker:
            executor = runtime.executor
            current = executor.current
            if executor.cancelling is None or current is None or current.task_id != executor.cancelling:
                return
        elif callable(previous) and previous is not signal.default_int_handler:
            previous(signum, frame)
            return
        if runtime.reactor.blocked_ident == runtime.main_ident or not inside_runtime(frame):
            raise KeyboardInterrupt
        runtime.interrupt_pending = True
        runtime.progress.wake_all()

    signal.signal(signal.SIGINT, on_sigint)
    return previous
