"""What users say and hear about checkpoints: when an actor's state is saved, and what was restored. Frozen; no
behaviour beyond the check of what was written.
"""

from __future__ import annotations

import msgspec


class CheckpointPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When and where the runtime saves an actor's state: ``@linckia.remote(max_restarts=-1, checkpoint=...)``.

    ``every_calls``: before every so many-th answer, so that 1 loses no call that was answered. ``every_s``: at most so
    many seconds after the first call that is not saved yet. Without either only on request
    (``actor.__linckia_checkpoint__.remote()``). ``keep``: files that stay, the newest. ``dir``: an absolute path or a
    ``file://`` URL of a directory, which must be on a shared file system if the actor may restart on another machine;
    default: the session's directory on its node, which goes with the session.
    TypeError, ValueError.
    """

    every_s: float | None = None
    every_calls: int | None = None
    keep: int = 2
    dir: str | None = None

    def __post_init__(self) -> None:
        check_count("CheckpointPolicy(keep=...)", self.keep)
        if self.every_calls is not None:
            check_count("CheckpointPolicy(every_calls=...)", self.every_calls)
        every_s: object = self.every_s
        if every_s is not None:
            if isinstance(every_s, bool) or not isinstance(every_s, (int, float)):
                raise TypeError(f"CheckpointPolicy(every_s=...) must be a number of seconds or None, got {every_s!r}")
            if not 0 < every_s < float("inf"):
                raise ValueError(f"CheckpointPolicy(every_s=...) must be more than 0 seconds, got {every_s}")
        if self.dir is not None:
            msgspec.structs.force_setattr(self, "dir", directory(self.dir, "CheckpointPolicy(dir=...)"))


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint. ``number`` counts from 1; ``saved_s``: seconds since 1970; ``calls``: calls that the actor had
    begun by then, over all its lives.

    In what is restored, ``calls_since`` says how many calls were begun after it was saved, whose effects are therefore
    lost (None: not known; too low when a whole machine was lost); ``damaged`` lists newer files that could not be read.
    """

    number: int
    saved_s: float
    calls: int = 0
    calls_since: int | None = None
    path: str = ""
    damaged: tuple[str, ...] = ()


def directory(written: object, what: str) -> str:
    """An absolute path, from a path or a ``file://`` URL."""
    path_of = getattr(written, "__fspath__", None)
    path = written if path_of is None else path_of()
    if not isinstance(path, str):
        raise TypeError(f"{what} must be a path or a file:// URL, got {type(written).__name__}")
    scheme, separator, rest = path.partition("://")
    if separator and scheme != "file":
        raise ValueError(
            f"{what}: {scheme}:// cannot be written to with fsync and an atomic rename; mount it, or use a shared file "
            "system, and give the path"
        )
    if separator:
        host, slash, tail = rest.partition("/")
        if host not in ("", "localhost"):
            raise ValueError(f"{what}: a file:// URL names a path on this machine, got host {host!r} in {path!r}")
        path = slash + tail
    if not path.startswith("/"):
        raise ValueError(f"{what} must be an absolute path (workers run elsewhere), got {written!r}")
    return path.rstrip("/") or "/"


def check_count(what: str, value: object) -> None:
    """TypeError, ValueError unless it is a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be at least 1, got {value}")


encode_policy = msgspec.msgpack.Encoder().encode
decode_policy = msgspec.msgpack.Decoder(CheckpointPolicy).decode
