"""What the store core asks its host to do, its settings and its figures; plain data.

Made by ``store.py``, carried out by ``raylet/store_host.py``. ``client`` is a worker_id.
"""

from __future__ import annotations

from dataclasses import dataclass

from linckia.base.limits import STORE_FULL_GRACE_S

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class GrantExtent:
    """Answer the request ``rid`` with ExtentGranted."""

    client: bytes
    rid: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class DenyExtent:
    """Answer the request ``rid`` with ExtentDenied."""

    client: bytes
    rid: int
    reason: str
    kind: str = ""  # disk_full: it could not be spilled either


@dataclass(frozen=True, slots=True)
class Recall:
    """Send RecallExtents: others wait for memory."""

    client: bytes


@dataclass(frozen=True, slots=True)
class ForwardFree:
    """Send FreeBlocks to the process whose extents hold these blocks."""

    client: bytes
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReleasePages:
    """Call ``Segment.release_pages``: nobody has used this range for a while."""

    offset: int
    size: int


Effect = GrantExtent | DenyExtent | Recall | ForwardFree | ReleasePages


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Times and bounds of the store."""

    extent_bytes: int = 16 * MIB  # what small blocks share; objects from half of this have their own extent
    deny_after_s: float = STORE_FULL_GRACE_S  # how long a request waits for others to give memory back
    recall_every_s: float = 0.05
    orphan_grace_s: float = 1.0  # how long the memory of a dead process is kept for readers to adopt their blocks
    release_after_s: float = 10.0  # how long memory lies idle before its pages go back to the system
    keep_warm_bytes: int = 128 * MIB  # so much free memory keeps its pages: recycled ones are 20 times faster
    release_step_bytes: int = 64 * MIB  # at most so much in one go: punching holes takes time


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """Figures for status. leased = extents of processes, living or dead; sealed = complete objects inside them."""

    capacity_bytes: int
    leased_bytes: int
    free_bytes: int
    largest_free_bytes: int
    sealed_bytes: int
    objects: int
    extents: int
    waiting: int
    top_owners: tuple[tuple[str, int, int], ...]  # name, bytes, objects: the three largest


def denial_text(size: int, usage: StoreUsage, not_spilled: str = "") -> str:
    """What a denied process, and in the end its user, reads."""
    owners = ", ".join(f"{name} {size_text(held)} in {count} objects" for name, held, count in usage.top_owners)
    if size > usage.capacity_bytes:
        advice = "This object can never fit: start the node with a larger object_store_memory, or split the object."
    elif usage.sealed_bytes + size <= usage.capacity_bytes:
        advice = "Free memory is split up or still being written: retry, or use a larger object_store_memory."
    else:
        advice = "Drop references and arrays that are no longer needed, or use a larger object_store_memory."
    return (
        f"the object store has no room for {size_text(size)}: capacity {size_text(usage.capacity_bytes)}, "
        f"used {size_text(usage.leased_bytes)} ({usage.objects} objects with {size_text(usage.sealed_bytes)}), "
        f"largest free range {size_text(usage.largest_free_bytes)}; largest owners: {owners or 'none'}. "
        f"{not_spilled + ' ' if not_spilled else ''}{advice}"
    )


def size_text(size: int) -> str:
    """``1536`` as ``1.5 KiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
