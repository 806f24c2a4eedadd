"""Session directories: where a cluster on this machine keeps its sockets, logs and token, and how a dead one is
recognised.

``<tmp>/linckia-<uid>/session_<stamp>_<pid>_<random>/`` (all 0700) holds ``sockets/ logs/ token session.json lock``. The
node holds a flock on ``lock`` for its whole life: a session whose lock can be taken is dead and is removed by the next
start, whatever killed it. Nothing is decided by names of processes. Called by node/ and by ``linckia status|stop``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import Any

import msgspec

from linckia.host import environment, process

_decode_facts = msgspec.json.Decoder(dict[str, Any]).decode

UNIX_PATH_MAX_BYTES = 107
LONGEST_SOCKET_NAME = "sockets/raylet-00000000.sock"


class SessionError(Exception):
    """The session directory cannot be made or used; the text says which path and what to do."""


class Session:
    """A session directory of which this process holds the lock."""

    def __init__(self, path: str, lock_fd: int, *, keep: bool) -> None:
        self.path, self.lock_fd, self.keep = path, lock_fd, keep
        self.name = os.path.basename(path)
        self.logs = os.path.join(path, "logs")
        self.sockets = os.path.join(path, "sockets")
        self.token_path = os.path.join(path, "token")

    @classmethod
    def create(cls, temp_dir: str, random_part: str, *, keep: bool = False) -> Session:
        """Make a new session directory, removing dead ones first. Raises SessionError."""
        base = base_directory(temp_dir)
        _make_base(base)
        name = f"session_{environment.wall_clock_stamp()}_{os.getpid()}_{random_part}"
        path = os.path.join(base, name)
        if len(os.fsencode(os.path.join(path, LONGEST_SOCKET_NAME))) > UNIX_PATH_MAX_BYTES:
            raise SessionError(
                f"temp_dir {temp_dir!r} is too long for Unix sockets; use a shorter one (LINCKIA_TMPDIR)"
            )
        with _base_locked(base):
            remove_dead_sessions(base)
            os.mkdir(path, 0o700)
            os.mkdir(os.path.join(path, "sockets"), 0o700)
            os.mkdir(os.path.join(path, "logs"), 0o700)
            lock_fd = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        session = cls(path, lock_fd, keep=keep)
        session.write_facts({})
        return session

    def write_facts(self, more: dict[str, Any]) -> None:
        """(Re)write ``session.json``: who owns this session, and ``more``."""
        pid = os.getpid()
        facts = {
            "pid": pid,
            "start_time": process.process_start_time(pid),
            "boot_id": process.boot_id(),
            "keep": self.keep,
            **more,
        }
        write_private(os.path.join(self.path, "session.json"), msgspec.json.encode(facts))

    def write_token(self, token: str) -> None:
        """Store the cluster token, readable by its owner only."""
        write_private(self.token_path, token.encode("ascii"))

    def close(self) -> None:
        """Remove the directory (unless it is kept) and let go of the lock."""
        if self.lock_fd < 0:
            return
        if not self.keep:
            remove_tree(self.path)
        os.close(self.lock_fd)
        self.lock_fd = -1


def base_directory(temp_dir: str) -> str:
    """The directory of all sessions of this user."""
    return os.path.join(temp_dir, f"linckia-{os.getuid()}")


def _make_base(base: str) -> None:
    try:
        os.makedirs(os.path.dirname(base), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(base, 0o700)
        found = os.lstat(base)
    except OSError as error:
        raise SessionError(
            f"cannot make {base}: {error.strerror}; set LINCKIA_TMPDIR to a writable directory"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SessionError(f"{base} is not a directory of this user; remove it or set LINCKIA_TMPDIR to another place")
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(base, 0o700)


@contextlib.contextmanager
def _base_locked(base: str) -> Iterator[None]:
    """One start or cleaning at a time, so that a session being made is never taken for a dead one."""
    fd = os.open(os.path.join(base, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def session_names(base: str) -> list[str]:
    """Names of all session directories, oldest first."""
    try:
        return sorted(name for name in os.listdir(base) if name.startswith("session_"))
    except OSError:
        return []


def is_dead(path: str) -> bool:
    """True when nobody holds the session's lock."""
    try:
        fd = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def remove_dead_sessions(base: str) -> list[str]:
    """Remove what dead sessions left, except sessions that were to be kept. Returns their names."""
    removed = []
    for name in session_names(base):
        path = os.path.join(base, name)
        if is_dead(path) and not read_facts(path).get("keep"):
            remove_tree(path)
            removed.append(name)
    return removed


def read_facts(path: str) -> dict[str, Any]:
    """What ``session.json`` says; empty when there is none."""
    try:
        with open(os.path.join(path, "session.json"), "rb") as file:
            return _decode_facts(file.read())
    except (OSError, msgspec.DecodeError):
        return {}


def live_sessions(temp_dir: str) -> list[tuple[str, dict[str, Any]]]:
    """(path, facts) of sessions whose node lives: lock held, same boot, same process. Newest last."""
    base = base_directory(temp_dir)
    found = []
    for name in session_names(base):
        path = os.path.join(base, name)
        facts = read_facts(path)
        same_boot = facts.get("boot_id") == process.boot_id()
        if same_boot and process.is_alive(facts.get("pid", 0), facts.get("start_time", 0)) and not is_dead(path):
            found.append((path, facts))
    return found


def write_private(path: str, content: bytes) -> None:
    """Replace a 0600 file in one step."""
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
    os.replace(temporary, path)


def remove_tree(path: str) -> None:
    """Remove a directory and all in it; what is gone already does not matter (and shutil costs 10 ms of import)."""
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))
        for name in folders:
            inner = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                os.unlink(inner) if os.path.islink(inner) else os.rmdir(inner)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def last_lines(text: str, count: int = 20) -> str:
    """The end of a log, for error messages."""
    return "\n".join(text.rstrip().splitlines()[-count:])
