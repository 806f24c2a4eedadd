"""Which thread reads the sockets: leader and followers, so that a synchronous call costs no thread hop.

Whoever waits for something takes the lead if it is free and polls the reactor itself until the thing is there; other
waiting threads follow: they sleep on a lock each and are woken when their thing is there, or to take the lead. When
nobody waits, a background thread leads after ``YIELD_S`` (so that log lines, borrowers and chained tasks are served
while the user computes), blocked in epoll at no cost; a thread that wants the lead wakes it and gets it. The nap of
``YIELD_S`` between looks is what keeps the background thread out of a tight get loop; it is taken only right after
foreground activity. Used by ``worker/runtime.py``; knows nothing of tasks or objects.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Protocol

from linckia.rpc.reactor import Reactor

YIELD_S = 0.003


class Target(Protocol):
    """What one can wait for: ``state`` becomes true, in a message handler, or in a thread that calls ``notify``."""

    @property
    def state(self) -> object: ...


class Flag:
    """The simplest target."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = 0


class _Follower:
    __slots__ = ("lock", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.lock = threading.Lock()
        self.lock.acquire()

    def wake(self) -> None:
        if self.lock.locked():
            try:
                self.lock.release()
            except RuntimeError:
                return  # woken twice at the same moment


class Progress:
    """Leadership over one reactor. ``check_interrupt`` is called by waiting threads and may raise (Ctrl-C, cancel)."""

    def __init__(self, reactor: Reactor, check_interrupt: Callable[[], None]) -> None:
        self.reactor = reactor
        self.generation = 0  # counts foreground leads: the background thread stays away while it moves
        self._check_interrupt = check_interrupt
        self._lead = threading.Lock()
        self._followers: deque[_Follower] = deque()
        self._armed = False
        self._arm = threading.Lock()  # held: nothing to do for the background thread
        self._arm.acquire()
        self._yield = False
        self._nap = threading.Lock()  # held, but when a nap is to end early
        self._nap.acquire()
        self._closing = False
        self._background_leads = False
        self.loop_leads = (
            False  # an event loop watches the sockets: the background thread only helps when that is stuck
        )
        self._thread: threading.Thread | None = None

    def start_background(self) -> None:
        """Start the thread that leads when nobody else does."""
        self._thread = threading.Thread(target=self._background, name="linckia-io", daemon=True)
        self._thread.start()
        self.arm()

    def arm(self) -> None:
        """There may be work with nobody leading. Cheap; from any thread."""
        if not self._armed:
            self._armed = True
            with contextlib.suppress(RuntimeError):  # two threads armed at the same moment
                self._arm.release()

    def touch(self) -> None:
        """Something was posted by a thread that may not wait for it: see to it soon, without getting in its way."""
        self.generation += 1
        if self._background_leads:
            if not self._yield:
                self._yield = True
                self.reactor.wake()
        elif not self._armed:
            self.arm()

    def wait_for(self, target: Target, deadline_s: float | None = None) -> bool:
        """Block until ``target.state`` (True) or the monotonic deadline (False); messages are handled meanwhile."""
        while not target.state:
            if self._lead.acquire(blocking=False):
                try:
                    self.generation += 1
                    if not self._lead_until(target, deadline_s):
                        return False
                finally:
                    self._lead.release()
                    self._hand_over()
            elif not self._follow(target, deadline_s):
                return False
        return True

    def poll_if_free(self) -> bool:
        """One non-blocking turn, unless somebody leads (event loops that watch the reactor's epoll descriptor)."""
        if not self._lead.acquire(blocking=False):
            return False
        try:
            self.generation += 1
            self.reactor.poll(0.0)
            if self._followers:
                self._wake_ready()
        finally:
            self._lead.release()
            self._hand_over()
        return True

    def take_ready_if_free(self) -> None:
        """Handle what has arrived, unless somebody leads: whoever submits a million tasks in a row keeps the workers
        busy meanwhile, and gets the results as they come. Calls no code of the user.
        """
        if self._lead.acquire(blocking=False):
            try:
                self.reactor.take_ready()
                if self._followers:
                    self._wake_ready()
            finally:
                self._lead.release()
                self._hand_over()

    def spin_if_free(self) -> None:
        """Look for messages a little longer before an event loop goes to sleep: a wake-up costs more than that."""
        if self._lead.acquire(blocking=False):
            try:
                if self.reactor.poll_spinning():
                    self.generation += 1
            finally:
                self._lead.release()

    def notify(self) -> None:
        """A target may have become true outside of the leading thread."""
        for follower in list(self._followers):
            if follower.target.state:
                follower.wake()
        self.reactor.wake()

    def wake_all(self) -> None:
        """Make every waiting thread look again (an interrupt is pending)."""
        for follower in list(self._followers):
            follower.wake()
        self.reactor.wake()

    def lead_now(self) -> None:
        """Somebody waits without leading (a future): the background thread shall not nap."""
        if not self._background_leads and not self.loop_leads:
            self.arm()
            with contextlib.suppress(RuntimeError):
                self._nap.release()

    def _lead_until(self, target: Target, deadline_s: float | None) -> bool:
        poll = self.reactor.poll
        while not target.state:
            self._check_interrupt()
            if deadline_s is None:
                poll(None)
            else:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    poll(0.0)
                    return bool(target.state)
                poll(left_s)
            if self._followers:
                self._wake_ready()
        return True

    def _follow(self, target: Target, deadline_s: float | None) -> bool:
        follower = _Follower(target)
        self._followers.append(follower)
        try:
            if self._background_leads:
                self.reactor.wake()
            elif not self._lead.locked():
                return True  # the lead got free in between: try again
            if target.state:
                return True
            timeout = -1.0 if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            woken = follower.lock.acquire(timeout=timeout)
            self._check_interrupt()
            return woken or bool(target.state)
        finally:
            self._followers.remove(follower)
            if not self._lead.locked():
                self._hand_over()  # a wake-up meant for us must not be lost when we leave without leading

    def _wake_ready(self) -> None:
        for follower in list(self._followers):
            if follower.target.state:
                follower.wake()

    def _hand_over(self) -> None:
        if self._followers:
            try:
                self._followers[0].wake()
            except IndexError:
                self.arm()
        else:
            self.arm()

    def _background(self) -> None:
        while not self._closing:
            self._arm.acquire()
            seen = -1
            while not self._closing:
                if seen != self.generation:
                    seen = self.generation
                    if not self._nap.acquire(timeout=YIELD_S):
                        continue
                if self.loop_leads:
                    self._help_loop()
                    continue
                self._armed = False
                if self._lead.acquire(blocking=False):
                    self._lead_in_background()
                break

    def _help_loop(self) -> None:
        """Sleep until something arrives; if the loop has not taken it after a nap, its thread is busy: take it for
        it.
        """
        poller = select.poll()
        poller.register(self.reactor.epoll.fileno(), select.POLLIN)
        poller.poll()
        seen = self.generation
        napped = not self._nap.acquire(timeout=YIELD_S)
        if napped and seen == self.generation and not self._closing:
            self.poll_if_free()

    def _lead_in_background(self) -> None:
        try:
            self._background_leads = True
            while not self._closing and not self._followers and not self._yield:
                try:
                    self.reactor.poll(None)
                except Exception:  # noqa: BLE001  (a bug in a handler must be seen, and must not stop all I/O)
                    traceback.print_exc()
                if self._followers:
                    self._wake_ready()
        finally:
            self._background_leads = False
            self._lead.release()
            if self._yield or self._followers:
                self._yield = False
                self._hand_over()
                self.arm()

    def close(self) -> None:
        """Stop the background thread (joined unless called from it)."""
        self._closing = True
        self._armed = False
        self.arm()
        with contextlib.suppress(RuntimeError):
            self._nap.release()
        self.wake_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def close_reactor(self) -> None:
        """Close the reactor's descriptors once no thread reads them; a thread that does not let go keeps them."""
        if self._lead.acquire(timeout=1.0):
            self.reactor.close()
