"""Does the faults of a schedule, each to a process that lives then, and undoes what has to be undone.

What comes later (SIGCONT, a healed link, a new node for a killed one, a look for orphans) has a thread each, so that
nothing that the next fault waits for makes it late: a SIGSTOP that was meant for 3 s must not last 13.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from linckia.host import process
from linckia.node.launch import NodeStartError
from linckia.testing.chaos.ground import Ground, Node
from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.schedule import Fault
from linckia.testing.chaos.stale import Stale

GONE_AFTER_S = 3.0
WHOLE_MAX_S = 90.0
STARTS_MAX, START_AGAIN_S = 5, 1.0
LOOK_EVERY_S = 0.05

Doing = Callable[[Fault], Deed | None]


class Injector:
    """``deeds`` is what was done; ``epochs`` the terms that were seen, in order. ``kinds``: fault -> how it is done."""

    def __init__(self, ground: Ground, say: Callable[[str], None]) -> None:
        self.ground, self.say = ground, say
        self.deeds: list[Deed] = []
        self.skipped: list[str] = []
        self.epochs: list[int] = []
        self.troubles: list[str] = []
        """What could not be undone: then the injector is at fault, whatever was lost."""
        self.kinds: dict[str, Doing] = {}
        self.find_stale: Callable[[], Stale | None] = lambda: None
        self._pending: list[threading.Thread] = []
        self._hurt: set[str] = set()
        """Ids of nodes that are being replaced, or may have to be."""
        self._is_over = threading.Event()

    def run(self, faults: Sequence[Fault], for_s: float) -> None:
        """Returns when the time is over and everything is undone."""
        began_s = time.monotonic()
        for fault in faults:
            self._sleep_until(began_s + fault.at_s)
            self._do(fault, began_s)
        self._sleep_until(began_s + for_s)
        self.close(at_once=False)

    def close(self, *, at_once: bool = True) -> None:
        """Returns when everything is undone. ``at_once``: the cluster ends, so nothing is awaited or started again."""
        if at_once:
            self._is_over.set()
        for thread in self._pending:
            thread.join()

    def _do(self, fault: Fault, began_s: float) -> None:
        deed = self.kinds[fault.kind](fault)
        if deed is None:
            self.skipped.append(f"{fault.kind} at {fault.at_s:g} s: there was nobody to hit")
            self.say(self.skipped[-1])
            return
        self.deeds.append(deed)
        lasts = f" for {fault.lasts_s:g} s" * (fault.lasts_s > 0)
        self.say(f"{deed.at_ns / 1e9 - began_s:7.2f} s  {fault.kind} {deed.target}{lasts}")

    def _sleep_until(self, moment_s: float) -> None:
        time.sleep(max(0.0, moment_s - time.monotonic()))

    # --- for faults ---------------------------------------------------------------------------------------------------

    def later(self, after_s: float, action: Callable[[], object], name: str = "undo", *, starts: bool = False) -> None:
        """In time, whatever happens meanwhile. ``starts``: it starts processes, which nobody needs when all ends."""
        due_s = time.monotonic() + after_s

        def act() -> None:
            self._is_over.wait(max(0.0, due_s - time.monotonic()))
            if self._is_over.is_set() and starts:
                return
            try:
                action()
            except (OSError, RuntimeError) as error:  # the run goes on, and its report says so
                self.troubles.append(f"{name}: {error}")
                self.say(f"{name}: {error}")

        self._pending = [thread for thread in self._pending if thread.is_alive()]
        self._pending.append(threading.Thread(target=act, name=name))
        self._pending[-1].start()

    def hit(self, fault: Fault, pid: int, name: str, number: signal.Signals) -> Deed | None:
        """SIGKILL, or SIGSTOP with a SIGCONT later: through a pidfd, so that no other process is ever hit."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        at_ns = time.monotonic_ns()
        done = process.signal_pidfd(pidfd, number)

        def go_on() -> None:
            process.signal_pidfd(pidfd, signal.SIGCONT)
            os.close(pidfd)

        if number == signal.SIGSTOP and done:
            self.later(fault.lasts_s, go_on, f"SIGCONT to {pid}")
        else:
            os.close(pidfd)
        return Deed(fault.kind, at_ns, f"{name} (pid {pid})", pid, fault.lasts_s) if done else None

    def whole(self) -> list[Node]:
        """Nodes that work and that nothing is wrong with, once there are all: else an overdue fault would hit the last
        one that is left, or one that is still judged after the last fault.
        """
        deadline_s = time.monotonic() + WHOLE_MAX_S
        while time.monotonic() < deadline_s:
            for node in self.ground.workers:
                if node.node_id not in self._hurt and not node.is_alive():  # it ended late, after it had been judged
                    self.replace_later(node, 0.0)
            if not self._hurt:
                break
            time.sleep(LOOK_EVERY_S)
        return [node for node in self.ground.workers if node.node_id not in self._hurt]

    def replace_later(self, node: Node, after_s: float, *, only_if_gone: bool = False) -> None:
        """Another node takes its place; with ``only_if_gone`` a node that lives by then stays."""
        self._hurt.add(node.node_id)

        def act() -> None:
            try:
                if not (only_if_gone and node.is_alive()):
                    self._replace(node)
            finally:
                self._hurt.discard(node.node_id)

        self.later(after_s, act, f"replace node {node.node_id[:8]}", starts=True)

    def _replace(self, node: Node) -> None:
        """A node that cannot start now, because no head leads, is tried again."""
        for attempt in range(STARTS_MAX):
            try:
                self.ground.replace(node)
                return
            except NodeStartError as error:
                self.say(f"a node did not start: {error}")
                if attempt == STARTS_MAX - 1:
                    raise
                time.sleep(START_AGAIN_S)
