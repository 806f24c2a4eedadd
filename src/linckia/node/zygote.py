"""The zygote: a single-threaded process that imports the worker runtime once and forks workers from it in milliseconds.

Forked from the node early, before the node opens most descriptors. Commands come over a SEQPACKET socketpair as msgpack
maps: ``{"fork": config}`` with two descriptors (the worker's stdout and stderr), answered by ``{"forked": worker_id,
"pid": pid}`` or ``{"fork_failed": worker_id, "error": text}``; the zygote says ``{"ready": ...}`` once and ``{"exited":
pid, "status": status}`` when it has reaped a worker. It reaps in two steps: while the dead worker is still a zombie its
process group is killed (the pid cannot be reused meanwhile), then it is reaped. When the node is gone, by whatever
death, it kills every worker's group and ends.
"""

from __future__ import annotations

import array
import contextlib
import errno
import gc
import importlib
import importlib.util
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

import msgspec

from linckia.host import exhaustion, process
from linckia.host.environment import SUPERVISOR_VARIABLE

MESSAGE_MAX_BYTES = 1 << 17
WARM_UP_AFTER_IDLE_MS = 20
WARM_MODULES = ("linckia.worker.actor_host",)
"""What an actor needs besides (asyncio: 40 ms). Imported when the first workers run, not to hold up the first task."""
SUPERVISED_ROUNDS, SUPERVISED_END_MAX_S = 100, 1.0
encode = msgspec.msgpack.encode
decode = msgspec.msgpack.Decoder(dict[str, Any]).decode

WorkerEntry = Callable[[dict[str, Any]], None]


def fork_zygote(keep_fds: set[int], worker_entry: str) -> tuple[int, socket.socket]:
    """Fork the zygote; returns its pid and the node's end of the command socket. Only from a single-threaded process.

    ``worker_entry`` is ``module:function``; ``keep_fds`` stay open in it and in all workers.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        ours.setblocking(False)
        return pid, ours
    status = 1
    try:
        ours.close()
        process.close_all_descriptors({theirs.fileno(), *keep_fds})
        status = Zygote(theirs, keep_fds, worker_entry).run()
    except BaseException:  # noqa: BLE001 - a forked process must never run its parent's code
        traceback.print_exc()
    finally:
        _flush_output()
        os._exit(status)


class Zygote:
    """The loop: commands from the node, deaths of workers."""

    def __init__(self, commands: socket.socket, keep_fds: set[int], worker_entry: str) -> None:
        self.commands, self.keep_fds, self.worker_entry = commands, keep_fds, worker_entry
        self.pid, self.node_pid = os.getpid(), os.getppid()
        self.workers: dict[int, bytes] = {}
        self.entry: WorkerEntry = _no_entry
        self.is_warm = False
        self.signal_read, self.signal_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Serve until the node hangs up."""
        self._prepare()
        poller = select.poll()
        poller.register(self.commands.fileno(), select.POLLIN)
        poller.register(self.signal_read, select.POLLIN)
        while True:
            ready = poller.poll(None if self.is_warm or not self.workers else WARM_UP_AFTER_IDLE_MS)
            if not ready:
                self._warm_up()
            for fd, _ in ready:
                if fd == self.signal_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.signal_read, 4096)
                elif not self._serve_command():
                    self._end_everything()
                    return 0
            self._reap()

    def _prepare(self) -> None:
        process.set_process_name("linckia-zygote")
        _detach_standard_input_and_output()
        process.become_subreaper()
        process.die_with_parent(self.node_pid, signal.SIGCONT)  # not to die: to see the hang-up even if it was stopped
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it ends with the node, not by a stray Ctrl-C
        signal.signal(signal.SIGCHLD, _on_child_signal)
        signal.set_wakeup_fd(self.signal_write, warn_on_full_buffer=False)
        _complete_package()
        self.entry = _import_worker_entry(self.worker_entry)
        gc.enable()
        gc.collect()
        gc.freeze()  # a collection in a worker would touch, and so copy, every page of the shared objects
        self._send({"ready": os.getpid()})

    def _warm_up(self) -> None:
        """Import what later workers will share: when nobody waits for us, or just before the first of them."""
        self.is_warm = True
        for name in WARM_MODULES:
            with contextlib.suppress(ImportError):  # then each worker that needs it says so itself
                importlib.import_module(name)
        gc.collect()
        gc.freeze()

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the node is gone: the next receive sees it
            self.commands.sendall(encode(message))

    # --- commands -----------------------------------------------------------------------------------------------------

    def _serve_command(self) -> bool:
        """One command; False when the node has hung up."""
        try:
            data, ancillary, _flags, _address = self.commands.recvmsg(MESSAGE_MAX_BYTES, socket.CMSG_SPACE(16 * 4))
        except ConnectionError:
            return False
        fds = _descriptors(ancillary)
        try:
            if not data:
                return False
            command = decode(data)
            if "fork" in command:
                if command["fork"].get("warm") and not self.is_warm:
                    self._warm_up()
                self._fork(command["fork"], fds)
            elif "log" in command:
                _redirect_output(command["log"])
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _fork(self, config: dict[str, Any], fds: list[int]) -> None:
        try:
            if len(fds) < 2:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # the kernel drops what it has no number for
            pid = os.fork()
        except OSError as error:
            self._send({"fork_failed": config["worker_id"], "error": exhaustion.describe(error)})
            return
        if pid == 0:
            self._become_worker(config, fds)
        self.workers[pid] = config["worker_id"]
        self._send({"forked": config["worker_id"], "pid": pid})

    def _become_worker(self, config: dict[str, Any], fds: list[int]) -> None:
        """In the child: never returns."""
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if not process.die_with_parent(self.pid):
                os._exit(1)
            os.dup2(fds[0], 1)
            os.dup2(fds[1], 2)
            process.close_all_descriptors(self.keep_fds)
            self.commands.detach()
            process.set_process_name("linckia-worker")
            process.prefer_as_oom_victim()
            _reopen_output()
            self.entry(config)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - the worker's log is the last place to say why
            traceback.print_exc()
        finally:
            _flush_output()
            os._exit(status)

    # --- deaths -------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Reap all dead children; a dead worker's process group is killed while its pid is still taken."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            if pid in self.workers:
                process.kill_group(pid)
                self._end_supervised(pid)
            _, status = os.waitpid(pid, 0)
            if self.workers.pop(pid, None) is not None:
                self._send({"exited": pid, "status": status})

    def _end_supervised(self, worker_pid: int) -> None:
        """Processes of a job's entrypoint that have left the group of their supervisor, which has just died and left
        them to us (host/entrypoint.py). Orphans of other workers stay until the node ends.
        """
        mark = f"{SUPERVISOR_VARIABLE}={worker_pid}".encode()
        for _ in range(SUPERVISED_ROUNDS):  # who is killed may have begun another one
            children = process.children_of(self.pid)
            orphans = [pid for pid in children if pid not in self.workers]
            below = [each for pid in orphans for each in (pid, *process.descendants_of(pid))]  # of who is dying, too
            found = [pid for pid in below if _has_mark(pid, mark)]
            for pid in found:
                process.end_now(pid, partial(_has_mark, pid, mark), SUPERVISED_END_MAX_S)
            if not found and process.children_of(self.pid) == children:
                return  # else one has ended between two looks, and its children are ours now

    def _end_everything(self) -> None:
        """The node is gone: kill all workers with their groups, then whatever else is left below this process."""
        for pid in self.workers:
            process.kill_group(pid)
        for _ in range(1000):
            for pid in process.children_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def _complete_package() -> None:
    """The node's ``linckia`` is a shell without the public API (node/launch.py); users' functions need the real one."""
    package = sys.modules["linckia"]
    if getattr(package, "__file__", None) is not None:
        return
    root = package.__path__[0]
    spec = importlib.util.spec_from_file_location("linckia", f"{root}/__init__.py", submodule_search_locations=[root])
    if spec is None or spec.loader is None:
        raise ImportError(f"{root}/__init__.py cannot be loaded")
    package.__spec__, package.__loader__, package.__file__ = spec, spec.loader, spec.origin
    package.__package__ = "linckia"
    spec.loader.exec_module(package)


def _import_worker_entry(worker_entry: str) -> WorkerEntry:
    """The worker's main function, with all it imports. An import that fails is said by each worker, in its log."""
    module_name, _, function_name = worker_entry.partition(":")
    try:
        entry: WorkerEntry = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        reason = "".join(traceback.format_exception(error))

        def report(_config: dict[str, Any]) -> None:
            raise RuntimeError(f"the worker runtime {worker_entry} cannot be imported:\n{reason}")

        return report
    return entry


def _detach_standard_input_and_output() -> None:
    """0 and 1 are the node's life and readiness pipes: workers must neither read the one nor hold the other open."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)


def _no_entry(_config: dict[str, Any]) -> None:
    raise RuntimeError("the zygote has not imported the worker runtime yet")


def _has_mark(pid: int, mark: bytes) -> bool:
    return process.parent_and_state(pid)[1] != "Z" and mark in process.environment_of(pid)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return list(fds)


def _redirect_output(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _reopen_output() -> None:
    """Text streams over the descriptors as they are now; the old objects may think they are seekable files."""
    sys.stdout, sys.stderr = _text_stream(1), _text_stream(2)


def _text_stream(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _on_child_signal(_number: int, _frame: object) -> None:
    """Only wakes the poll, through the wakeup descriptor."""


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
