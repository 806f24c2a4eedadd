"""Start a node process and stop it again; used by ``linckia.init()``, the CLI and tests.

``start_node`` returns as soon as the process is spawned, so that the driver imports its own runtime while the node
boots; ``wait_ready`` then reads one JSON line from the node. Imports next to nothing: every millisecond here is one of
``init()``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import Any

from linckia.host import environment
from linckia.node.options import NodeOptions

STOP_GRACE_S = 1.0  # a healthy node needs a tenth; a killed one leaves its zombies to init
FAILED_GRACE_S = 5.0  # a node that has said why it does not start is busy removing what it made
BOOT = """\
import gc, os, sys
gc.disable()
sys.path += os.environ.pop("LINCKIA_BOOT_PATH").split(":")
package = sys.modules["linckia"] = type(sys)("linckia")
package.__path__ = [os.environ.pop("LINCKIA_BOOT_ROOT")]
from importlib import import_module
import_module(sys.argv[2]).main()
"""
# The package is a shell without its public API: the node has no use for it and it costs 30 ms; the zygote completes it
# (node/zygote.py). No collections while modules are imported: nothing of that is garbage.


class NodeStartError(RuntimeError):
    """The node process did not come up; the text has its last log lines."""


class NodeProcess:
    """A node started by this process; its endpoint, session, id and token are known after ``wait_ready``."""

    def __init__(self, pid: int, life_fd: int, ready_fd: int, log_fd: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.endpoint = self.session_dir = self.session_name = self.token_path = ""
        self.node_id = b""
        self.facts: dict[str, Any] = {}
        self._life_fd, self._ready_fd, self._log_fd = life_fd, ready_fd, log_fd
        self._owner_pid = os.getpid()

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until the node listens. Raises NodeStartError with what the node said last."""
        import json  # noqa: PLC0415 - not before the spawn

        line = self._read_ready_line(time.monotonic() + timeout_s)
        try:
            facts = json.loads(line) if line else {}
        except ValueError:
            facts = {"error": f"it sent {line[:200]!r} instead of its readiness"}
        if not facts.get("ok"):
            error = facts.get("error") or self._why_not_ready(timeout_s)
            tail = facts.get("log_tail") or self._early_log_tail()
            self.stop(FAILED_GRACE_S if facts.get("error") else STOP_GRACE_S)
            tail = "" if tail == "(nothing)" else f"\n--- its last lines ---\n{tail}"
            raise NodeStartError(f"the node process {self.pid} did not start: {error}{tail}")
        self.facts = facts
        self.endpoint, self.session_dir = facts["endpoint"], facts["session_dir"]
        self.session_name, self.token_path = facts["session_name"], facts["token_path"]
        self.node_id = bytes.fromhex(facts["node_id"])
        self._close_fd("_ready_fd")
        self._close_fd("_log_fd")

    def _read_ready_line(self, deadline_s: float) -> bytes:
        poller = select.poll()
        poller.register(self._ready_fd, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not poller.poll(left_s * 1000):
                break
            piece = os.read(self._ready_fd, 65536)
            if not piece:
                break
            line += piece
        return line if line.endswith(b"\n") else b""

    def _why_not_ready(self, timeout_s: float) -> str:
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return "it ended during start-up" if poller.poll(100) else f"not ready within {timeout_s:g} s"

    def _early_log_tail(self) -> str:
        size = os.fstat(self._log_fd).st_size
        text = os.pread(self._log_fd, 65536, max(0, size - 65536)).decode(errors="replace")
        return "\n".join(text.rstrip().splitlines()[-20:]) or "(nothing)"

    def log_tail(self) -> str:
        """The node's last log lines: what it said when it crashed. Ask before ``stop``."""
        try:
            with open(os.path.join(self.session_dir, "logs", "node.log"), encoding="utf-8", errors="replace") as file:
                return "\n".join(file.read()[-65536:].rstrip().splitlines()[-20:])
        except OSError:
            return ""

    def is_alive(self) -> bool:
        """False once the process has ended."""
        if self.pidfd < 0:
            return False  # it was stopped, and reaped
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return not poller.poll(0)

    def stop(self, grace_s: float = STOP_GRACE_S, *, ask_first: bool = True) -> None:
        """End the node and all below it; at most ``grace_s`` and a bit. Idempotent; leaves no zombie.
        ``ask_first`` False: SIGKILL at once.
        """
        if self.pidfd < 0 or os.getpid() != self._owner_pid:  # a forked child must not stop its parent's node
            return
        if ask_first:
            with contextlib.suppress(OSError):
                os.write(self._life_fd, b"stop\n")
            self._close_fd("_life_fd")
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        if not poller.poll(grace_s * 1000):
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._close_fd("_life_fd")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._remove_session()
        for name in ("pidfd", "_ready_fd", "_log_fd"):
            self._close_fd(name)

    def begin_stop(self) -> None:
        """Ask it to end, without waiting; ``is_alive`` tells when it has, ``stop`` then cleans up."""
        with contextlib.suppress(OSError):
            os.write(self._life_fd, b"stop\n")

    def _remove_session(self) -> None:
        """Only needed when the node was killed."""
        if self.session_dir and os.path.isdir(self.session_dir):
            from linckia.host import session  # noqa: PLC0415 - the rare path

            if session.is_dead(self.session_dir) and not session.read_facts(self.session_dir).get("keep"):
                session.remove_tree(self.session_dir)

    def _close_fd(self, name: str) -> None:
        fd = getattr(self, name)
        if fd >= 0:
            setattr(self, name, -1)
            os.close(fd)


def start_node(options: NodeOptions) -> NodeProcess:
    """Spawn the node process; returns before it is ready."""
    life_read, life_write = map(_above_standard, os.pipe())
    ready_read, ready_write = map(_above_standard, os.pipe())
    log_fd = _above_standard(os.memfd_create("linckia-node-log"))
    command, boot = program()
    try:
        pid = os.posix_spawn(
            sys.executable,
            command,
            {**environment.process_environment(), **boot},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, life_read, 0),
                (os.POSIX_SPAWN_DUP2, ready_write, 1),
                (os.POSIX_SPAWN_DUP2, log_fd, 2),
            ],
        )
    except BaseException:
        for fd in (life_write, ready_read, log_fd):
            os.close(fd)
        raise
    finally:
        os.close(life_read)
        os.close(ready_write)
    node = NodeProcess(pid, life_write, ready_read, log_fd)
    import json  # noqa: PLC0415 - overlaps with the child's start

    config = options._replace(driver_pid=os.getpid() if options.fate_share_with_driver else 0)
    with contextlib.suppress(BrokenPipeError):  # it is dead: wait_ready says why
        os.write(life_write, json.dumps(config.as_json_object()).encode() + b"\n")
    return node


def program(module: str = "linckia.node.main", name: str = "linckia-node") -> tuple[list[str], dict[str, str]]:
    """The command of a node process, or of another one with a ``main``, and what its environment must say."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    boot = {"LINCKIA_BOOT_PATH": ":".join(_more_paths(package)), "LINCKIA_BOOT_ROOT": package}
    return [sys.executable, "-P", "-c", BOOT, name, module], boot


def restart_program(env: dict[str, str]) -> None:
    """Run the node's program anew in this very process (node/main.py). Never returns."""
    command, boot = program()
    os.execve(sys.executable, command, {**env, **boot})


def _above_standard(fd: int) -> int:
    """The same, not as one of 0, 1, 2: a driver may run with those closed, and they are about to be replaced."""
    if fd > 2:
        return fd
    import fcntl  # noqa: PLC0415 - hardly ever

    higher = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return higher


def _more_paths(package: str) -> list[str]:
    """Where this process finds Linckia and what it needs; put *behind* the node's own path, nothing gets shadowed."""
    wanted = [os.path.abspath(path) for path in sys.path if path] + [os.path.dirname(package)]
    return list(dict.fromkeys(path for path in wanted if ":" not in path))
