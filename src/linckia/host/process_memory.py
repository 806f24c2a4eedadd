"""What a process holds: private memory (USS), its proportional part of shared memory (PSS), and shared memory apart.

`private_bytes` is quick whatever the size (one line of ``statm``, 6 us) and a little too large, because what a worker
still shares with the process it was forked from counts; decisions in an emergency use it. `measure` asks the kernel to
walk the page tables (27 ms per GiB) and is exact; reports use it. RSS, which counts shared pages once per process, is
never used (P 15). Called by raylet/memory_monitor.py.
"""

from __future__ import annotations

import ctypes
import gc
import os

from linckia.base.limits import GIB
from linckia.core.memory.report import ProcessMemory

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
EXACT_MAX_BYTES = GIB
"""Larger processes are not walked: their children and what they share hardly count."""
FAMILY_MAX = 256


def private_bytes(pid: int) -> int:
    """Resident memory that is neither of a file nor of the object store; 0 when there is no such process."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            fields = file.read().split()
        return (int(fields[1]) - int(fields[2])) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for each in found:
        if len(found) >= FAMILY_MAX:
            break
        found += _children(each)
    return found


def private_bytes_of_family(pid: int) -> int:
    """Of a worker with the processes that its tasks started: they end with it."""
    return sum(private_bytes(each) for each in family(pid))


def measure(pid: int) -> ProcessMemory:
    """Exact, of one process; of a very large one what `private_bytes` says."""
    quick = private_bytes(pid)
    if quick > EXACT_MAX_BYTES:
        return ProcessMemory(quick, quick, 0)
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            fields = _fields(file.read())
    except OSError:
        return ProcessMemory(quick, quick, 0)
    private = fields.get(b"Private_Clean", 0) + fields.get(b"Private_Dirty", 0)
    shared = fields.get(b"Pss_Shmem", 0)
    if b"Pss_Anon" in fields:  # a page of the object store that only this process has touched counts as private there
        private = min(private, fields[b"Pss_Anon"] + fields.get(b"Pss_File", 0))
    return ProcessMemory(private, fields.get(b"Pss", private), shared)


def give_back() -> None:
    """Return to the machine what this process has freed and its allocator keeps. Takes milliseconds per 100 MiB."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        pass  # another C library, which keeps less


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    except OSError:
        pass  # it has ended
    return found


def _fields(text: bytes) -> dict[bytes, int]:
    """``Pss:   123 kB`` by name, in bytes."""
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(b":")
        words = value.split()
        if len(words) == 2 and words[1] == b"kB":
            fields[name] = int(words[0]) * 1024
    return fields
