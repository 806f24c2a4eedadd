"""The small frozen parts that messages and specs are made of: addresses, references, blocks, results. No behaviour."""

from __future__ import annotations

import msgspec


class Address(msgspec.Struct, array_like=True, frozen=True):
    """Where a runtime process (driver or worker) can be reached."""

    worker_id: bytes
    endpoint: str


class RefInfo(msgspec.Struct, array_like=True, frozen=True):
    """An object reference on the wire: its id and its owner."""

    object_id: bytes
    owner: Address


class Block(msgspec.Struct, array_like=True, frozen=True):
    """A sealed object in the shared-memory segment of a node."""

    offset: int
    size: int
    node_id: bytes = b""


class Dependency(msgspec.Struct, array_like=True):
    """A top-level reference argument, resolved by the submitter: inline bytes or a shared-memory block."""

    ref: RefInfo
    inline: bytes | None = None
    block: Block | None = None


class PushExtras(msgspec.Struct, array_like=True):
    """What only some pushed tasks need; absent on the hot path."""

    dependencies: list[Dependency] = []
    borrowed: list[RefInfo] = []  # references nested in the arguments
    attempt: int = 0
    name: str = ""
    num_returns: int = 1
    backpressure: int = -1
    concurrency_group: str = ""
    args_block: Block | None = None  # arguments too large to travel inline
    method_retries: bool = False  # retry_exceptions for this call: worker reports whether the error matches
    parent_task_id: bytes = b""
    call_site: str = ""


class Result(msgspec.Struct, array_like=True):
    """One return value: exactly one of inline, block, error is set; ``contained`` are references inside the value."""

    inline: bytes | None = None
    block: Block | None = None
    error: bytes | None = None
    contained: list[RefInfo] = []


class LogLine(msgspec.Struct, array_like=True):
    """A line of a worker's output. ``source`` is what the prefix shows: a task or actor class name."""

    pid: int
    source: str
    stream: int  # 1 stdout, 2 stderr
    text: str
    seq: int
