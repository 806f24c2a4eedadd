"""The node process: builds the head (GCS) and node (raylet) rooms around one reactor, announces itself, runs, cleans
up.

Started by node/launch.py with its options as one JSON line on standard input, which then is the life line: end of file
or ``stop`` means the starter is gone or wants an end. Standard output carries the readiness line, standard error the
log until the session directory exists. Everything this process owns is removed when it ends.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from linckia.base.limits import STORE_DEFAULT_MAX_BYTES, STORE_DEFAULT_MEMORY_FRACTION
from linckia.host import environment, process, tokens
from linckia.host.entropy import random_bytes
from linckia.host.own_log import say
from linckia.host.session import Session
from linckia.node.dispatch import log_failure
from linckia.node.launch import restart_program
from linckia.node.options import NodeOptions
from linckia.node.start_errors import JoinError, StartError
from linckia.node.zygote_link import ZygoteLink, reap
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor
from linckia.shm.segment import Segment

if TYPE_CHECKING:
    from linckia.core.autoscaling.records import Limits
    from linckia.host.tls_files import TlsFiles

NODE_ID_BYTES = 28
HEAD_START_MAX_S = 15.0  # it waits for its store
JOIN_MAX_S = float(environment.option("JOIN_TIMEOUT_S", "10"))  # a head that starts at the same moment needs some
AGAIN = "LINCKIA_NODE_AGAIN_FD"
LOG_NAME = "node.log"


class Node:
    """One node process, assembled in the order that makes it ready soonest."""

    def __init__(self, options: NodeOptions) -> None:
        self.options = options
        self.reactor = Reactor()
        self.reactor.on_error = log_failure
        self.tls_files = _use_tls(self.reactor, options)
        self.scaling = _scaling(options.autoscaling_config)
        self.node_id = random_bytes(NODE_ID_BYTES)
        self.segment = Segment.create(_store_capacity(options))
        self.session = Session.create(
            options.temp_dir or environment.temporary_directory(),
            random_bytes(4).hex(),
            keep=options.keep_session or environment.flag("LINCKIA_KEEP_SESSION"),
        )
        self.token = _cluster_token(options)
        self.session.write_token(self.token)
        # Before anything else: the zygote boots beside us, and inherits little.
        self.zygote = ZygoteLink(self.reactor, {self.segment.fd}, options.worker_entry)
        self.reason = ""
        self.starts_again = self.is_announced = False
        self.is_again = bool(environment.setting(AGAIN))

    def build(self) -> None:
        """The rooms, the link between them and the listening socket."""
        from linckia.node.rooms import Rooms  # noqa: PLC0415 - after the fork: the zygote does without them

        identity = Identity("raylet", self.node_id, self.token.encode())
        self.rooms = Rooms(self.reactor, identity, self, self.zygote)
        self.zygote.log_to(os.path.join(self.session.logs, "zygote.log"))

    def join(self) -> None:
        """Wait until the head has accepted this node. RuntimeError, in a sentence, when it does not."""
        rooms = self.rooms
        patience_s = HEAD_START_MAX_S if self.options.store else JOIN_MAX_S
        deadline_s = time.monotonic() + patience_s
        if rooms.head is not None:
            return
        link = rooms.raylet.gcs
        link.open()
        while not rooms.registered and not rooms.refused and not self.reactor.stopping:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 and self.options.store:
                raise StartError(self._no_leader(link.last_error))
            if left_s <= 0 and not self.is_again:
                raise JoinError(self._no_head(link.last_error))
            self.reactor.poll(max(0.0, left_s) if not self.is_again else None)
        if rooms.refused:
            if self.options.store:
                raise StartError(f"the head does not start: {rooms.refused}")
            raise JoinError(f"the head at {self.options.address} does not accept this node: {rooms.refused}")

    def _no_head(self, last_error: str) -> str:
        text = (
            f"no head answers at {self.options.address} within {JOIN_MAX_S:g} s ({last_error}); check the address and "
            "port, that `linckia start --head` runs there, and that firewalls let it through"
        )
        if "," in self.options.address:
            return text
        return (
            f"{text}. If another head leads now: give the address of any node that runs, several "
            "(--address=host1:port,host2:port), or that of the heads' store (--address=etcd://...)"
        )

    def _no_leader(self, last_error: str) -> str:
        from linckia.store.address import without_password  # noqa: PLC0415 - seldom

        child = self.rooms.head_child
        why = child.trouble if child is not None and child.trouble else last_error
        return (
            f"no head leads within {HEAD_START_MAX_S:g} s ({why}). The head of this node keeps its state in "
            f"{without_password(self.options.store)}; its log is {self.session.logs}/head.log"
        )

    def rejoin(self, reason: str) -> None:
        """End everything that runs here and start again, in this process, as a new node."""
        say(f"this node ends what it runs and joins again as a new one: {reason}")
        self.starts_again = True
        self.stop(reason)

    def _addresses(self) -> dict[str, str]:
        dashboard = self.rooms.dashboard
        return {
            "endpoint": self.rooms.endpoint,
            "tcp_address": self.rooms.tcp_address,
            "cluster_address": self.options.address or self.rooms.tcp_address,
            "node_id": self.node_id.hex(),
            "node_ip": self.rooms.node_ip,
            "dashboard_url": dashboard.url if dashboard is not None else "",
            "dashboard_trouble": dashboard.why if dashboard is not None and not dashboard.url else "",
        }

    def write_facts(self) -> None:
        """For those who look for clusters on this machine."""
        self.session.write_facts(
            {
                **self._addresses(),
                "is_head": not self.options.address,
                "tls": self.tls_files,
                "fate_share_with_driver": self.options.fate_share_with_driver,
            }
        )

    def announce(self) -> None:
        """Say that clients may connect; from now on the log is a file."""
        facts = {
            "ok": True,
            **self._addresses(),
            "session_dir": self.session.path,
            "session_name": self.session.name,
            "token_path": self.session.token_path,
            "pid": os.getpid(),
            "zygote_pid": self.zygote.pid,
        }
        self.write_facts()
        self.is_announced = True
        if not self.is_again:
            os.write(1, msgspec.json.encode(facts) + b"\n")
        _log_to_file(os.path.join(self.session.logs, LOG_NAME))

    # --- ends ---------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """The life line, the driver's process, signals and dead children."""
        os.set_blocking(0, False)
        self.reactor.register(0, self._on_life_line)
        if self.options.fate_share_with_driver and self.options.driver_pid:
            self._watch_driver(self.options.driver_pid)
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        self._signal_sockets = (wake_read, wake_write)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda _number, _frame: self.stop("SIGTERM"))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.reactor.register(wake_read.fileno(), self._on_signal)

    def _watch_driver(self, pid: int) -> None:
        """The life line may be held open by the driver's forked children: its process is what counts."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            self.stop("the driver has ended")
            return
        self.reactor.register(pidfd, lambda _events: self.stop("the driver has ended"))

    def _on_life_line(self, _events: int) -> None:
        try:
            data = os.read(0, 4096)
        except BlockingIOError:
            return
        if not data and not self.options.fate_share_with_driver:
            self.reactor.unregister(0)  # a detached node outlives its starter
            return
        self.stop("asked by its starter" if data else "its starter is gone")

    def _on_signal(self, _events: int) -> None:
        """Reap orphans that the kernel gave us; the zygote's death is seen by its link."""
        try:
            self._signal_sockets[0].recv(4096)
        except BlockingIOError:
            pass
        for pid in process.children_of(os.getpid()):
            others = self.rooms.children() if hasattr(self, "rooms") else set()
            if pid != self.zygote.pid and pid not in others and process.parent_and_state(pid)[1] == "Z":
                self.zygote.reap_inherited(pid)

    def stop(self, reason: str) -> None:
        """Orderly end, after this turn of the reactor."""
        self.reason = self.reason or reason
        self.reactor.stop()

    def close(self, *, keep_session: bool) -> None:
        """Kill all processes below, remove the session directory; after a crash its starter may want the log first."""
        if hasattr(self, "rooms"):
            self.rooms.close()
        self.zygote.stop()
        for _ in range(100):  # what the zygote left: it was killed, or a process escaped its group
            children = process.children_of(os.getpid())
            if not children:
                break
            for pid in children:
                process.kill_child(pid)
                reap(pid)
        self.session.keep = self.session.keep or keep_session
        self.session.close()


def _cluster_token(options: NodeOptions) -> str:
    """The given one, the environment's, for a joining node where else it may be; for a head a new one."""
    if options.token:
        return options.token
    if options.address:
        return tokens.token_for(options.address.partition(",")[0], options.temp_dir)
    return tokens.given_token() or random_bytes(32).hex()


def _scaling(path: str) -> Limits | None:
    """What the autoscaler may do, when this head has one: read once, so that the file may go. StartError."""
    if not path:
        return None
    from linckia.scaling import config  # noqa: PLC0415 - few heads have one

    try:
        return config.read(path)
    except (config.ConfigError, OSError) as error:
        raise StartError(f"--autoscaling-config: {error}") from None


def _use_tls(reactor: Reactor, options: NodeOptions) -> TlsFiles | None:
    """Only nodes with a port have connections that it could protect. StartError when the files are of no use."""
    if options.port < 0:
        return None
    from linckia.host import tls_files  # noqa: PLC0415 - not in embedded clusters
    from linckia.rpc import tls  # noqa: PLC0415 - likewise

    try:
        files = tls_files.configured(options.tls_cert, options.tls_key, options.tls_ca)
        if files is None and options.address:
            files = tls_files.configured_for(options.address.partition(",")[0], options.temp_dir)
        tls.use(reactor, files, check=True)
    except tls_files.TlsFilesError as error:
        raise StartError(str(error)) from None
    return files


def _store_capacity(options: NodeOptions) -> int:
    capacity = options.object_store_memory
    if capacity is None:
        fraction = int(environment.available_memory_bytes() * STORE_DEFAULT_MEMORY_FRACTION)
        return min(fraction, STORE_DEFAULT_MAX_BYTES)
    total = environment.total_memory_bytes()
    if capacity > total:  # it would start, and be killed when it fills
        raise StartError(
            f"object_store_memory={capacity} is more than the {total} bytes of memory that this machine or its "
            f"container has; start with at most {total // 2}: what does not fit is spilled to disk"
        )
    return capacity


def _log_to_file(path: str) -> None:
    """Standard output and error go to the node's log; what was said so far is kept."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    sys.stderr.flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _start_again(options: NodeOptions) -> None:
    """Replace this process's program: what it was is gone, its pid, log and life line stay. Never returns."""
    fd = os.memfd_create("linckia-node-options")  # inherited, and not readable by others as an environment is
    os.write(fd, msgspec.json.encode(options.as_json_object()) + b"\n")
    os.lseek(fd, 0, os.SEEK_SET)
    os.set_inheritable(fd, True)
    more = environment.process_environment()
    restart_program({**more, AGAIN: str(fd)})


def _read_options() -> NodeOptions:
    """One JSON line from standard input, or from where this process left it before it started again."""
    fd = int(environment.setting(AGAIN) or 0)
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(fd, 1 << 16)
        if not piece:
            raise RuntimeError("standard input ended before the options line")
        line += piece
    return NodeOptions.from_json_object(msgspec.json.decode(line))


def main() -> None:
    """Entry of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the driver's terminal is the driver's business
    if os.getsid(0) != os.getpid():  # it is already when this process starts again
        os.setsid()
    process.set_process_name("linckia-node")
    process.spare_as_oom_victim()  # before the zygote is forked
    status, node, is_ready = 0, None, False
    try:
        node = Node(_read_options())
        process.become_subreaper()
        process.allow_many_descriptors()
        node.build()
        node.watch()
        node.join()
        node.announce()
        is_ready = True
        node.rooms.start()
        gc.enable()
        node.reactor.run()
    except Exception as error:  # noqa: BLE001 - said on the log and to the starter, then the process ends
        if not isinstance(error, StartError):
            import traceback  # noqa: PLC0415 - 4 ms that only a failure needs

            traceback.print_exc()
        status = 1
        _say_failure(error)
    finally:
        if node is not None:
            node.close(keep_session=status != 0 and is_ready)
    if node is not None and node.starts_again:
        _start_again(node.options)
    os._exit(status)


def _say_failure(error: Exception) -> None:
    text = str(error) if isinstance(error, StartError) else f"{type(error).__name__}: {error}"
    answer: dict[str, Any] = {"ok": False, "error": text}
    try:
        os.write(1, msgspec.json.encode(answer) + b"\n")
    except OSError:
        pass  # nobody listens any more


if __name__ == "__main__":
    main()
