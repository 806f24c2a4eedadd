"""The node's side of the head zygote (node/head_zygote.py): asks it for heads, and starts another one when it dies.

The heads go on meanwhile; who asked for one hears that it failed. Used by node/head_child.py.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable

from linckia.base.backoff import Backoff
from linckia.host import process
from linckia.host.entropy import random_generator
from linckia.host.own_log import say
from linckia.node.child import spawn
from linckia.rpc.reactor import Reactor

ANSWER_MAX_BYTES = 1024
FORK_MAX_S = 10.0  # the first one imports, on a busy machine for two seconds; one that is stopped answers never
Forked = Callable[[int, str], None]
"""``(pid, "")``, or ``(0, why not)``."""


class HeadForks:
    """``kind`` is how the store's address begins. Heads write to the log that the zygote was started with."""

    def __init__(self, reactor: Reactor, kind: str, log_path: str) -> None:
        self._reactor, self._kind, self._log_path = reactor, kind, log_path
        self.pid = 0
        self.starts = 0
        self._commands: socket.socket | None = None
        self._asked: deque[Forked] = deque()
        self._rng, self._backoff, self._deaths = random_generator(), Backoff(0.1, 2.0, jitter=0.5), 0
        self._is_over = False

    def fork(self, channel: socket.socket, then: Forked) -> None:
        """Ask for a head with this end of its channel; the caller closes it. OSError when there cannot be a zygote."""
        if self._commands is None:
            self._start()
        commands = self._commands
        assert commands is not None
        self._asked.append(then)
        with contextlib.suppress(OSError):  # it is dead: the hang-up is told, and tells who asked
            socket.send_fds(commands, [self._kind.encode()], [channel.fileno()])
        self._reactor.call_later(FORK_MAX_S, lambda: self._too_long(then))

    def _too_long(self, then: Forked) -> None:
        if then in self._asked:
            said = f"the process that forks heads, {self.pid}, has not answered for {FORK_MAX_S:g} s and is ended"
            say(said)
            process.kill_child(self.pid)  # the hang-up follows

    def _start(self) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self.pid = spawn("linckia.node.head_zygote", "linckia-head", theirs, self._log_path)
        except OSError:
            mine.close()
            raise
        finally:
            theirs.close()
        self.starts += 1
        mine.setblocking(False)
        self._commands = mine
        self._reactor.register(mine.fileno(), self._on_answer)

    def _on_answer(self, _events: int) -> None:
        assert self._commands is not None
        try:
            answer = self._commands.recv(ANSWER_MAX_BYTES).decode()
        except BlockingIOError:
            return
        except OSError:
            answer = ""
        if not answer:
            self._on_death()
            return
        self._deaths = 0
        then = self._asked.popleft()
        if answer.isdecimal():
            then(int(answer), "")
        else:
            then(0, answer.removeprefix("!"))

    def _on_death(self) -> None:
        """Another one, so that it is there when it is needed."""
        self._hang_up()
        say(f"the process that forks heads, {self.pid}, has ended; another one is started")
        delay_s = self._backoff.delay_s(self._deaths, self._rng)
        self._deaths += 1
        self._reactor.call_later(delay_s, self._again)
        self._refuse("the process that forks heads has ended")

    def _refuse(self, why: str) -> None:
        asked, self._asked = self._asked, deque()
        for then in asked:
            then(0, why)

    def _again(self) -> None:
        if self._commands is None and not self._is_over:
            with contextlib.suppress(OSError):  # the next head asks for it
                self._start()

    def _hang_up(self) -> None:
        commands, self._commands = self._commands, None
        if commands is not None:
            self._reactor.unregister(commands.fileno())
            commands.close()
            process.kill_child(self.pid)  # it may be stopped, and holds nothing
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def close(self) -> None:
        """It ends; so does nothing else. Blocks shortly; leaves no zombie."""
        self._is_over = True
        self._hang_up()
        self._refuse("its node ends")
