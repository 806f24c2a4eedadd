"""Objects in shared memory: put and get of 1 MiB and 256 MiB. A part of the workloads, kept apart because of numpy.

Memory is recycled as in a program that runs for a while: each put lets go of the object before it, and warm-up rounds
come first. The source array changes before every put and is compared afterwards, so an engine that skipped the copy
would be caught; `get` is shown to copy nothing by this process's anonymous memory, which a copy would have to grow.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from bench.measure import Timing, expect, rate
from bench.memory import anonymous_bytes
from bench.ray_api import Api, Ref
from bench.workloads import Values, Workload

Array: TypeAlias = npt.NDArray[np.uint8]

MIB = 1024**2
LARGE_BYTES = 256 * MIB
WARM_UP_PUTS = 4
PATTERN = 251
"""A prime, so that the pattern of bytes never lines up with a page or a chunk."""


def put_1mib(ray: Api, timing: Timing) -> Values:
    """`put` of 1 MiB."""
    return {"put_1mib": _puts_per_s(ray, MIB, timing.seconds)}


def put_256mib(ray: Api, timing: Timing) -> Values:
    """`put` of 256 MiB, in bytes per second as memcpy is."""
    return {"put_256mib": _puts_per_s(ray, LARGE_BYTES, timing.seconds) * LARGE_BYTES / 1e9}


def get_256mib(ray: Api, timing: Timing) -> Values:
    """`get` of 256 MiB that this process put, and what the gets added to its own memory."""
    source = _pattern(LARGE_BYTES)
    ref = ray.put(source)
    first = cast("Array", ray.get(ref))
    expect(bool(np.array_equal(first, source)), True, "bytes of the object")
    expect(first.flags.writeable, False, "write flag of an object in shared memory")
    before = anonymous_bytes()
    kept = [cast("Array", ray.get(ref)) for _ in range(3)]
    sums = [int(value[::4096].sum()) for value in kept]
    expect(sums, [int(source[::4096].sum())] * 3, "checksums of the object")
    grown = max(0, anonymous_bytes() - before)
    del kept, first  # a value that is kept pins the object, and then Ray answers from its own process

    def call() -> None:
        value = cast("Array", ray.get(ref))
        expect((value.size, value[-1]), (LARGE_BYTES, source[-1]), "size and last byte")

    return {"get_256mib": rate(call, 1, timing.seconds), "get_copied_mb": grown / 1e6}


def _puts_per_s(ray: Api, size_bytes: int, seconds: float) -> float:
    source = _pattern(size_bytes)
    numbers = itertools.count()
    refs: list[Ref] = []

    def call() -> None:
        source[0] = next(numbers) % PATTERN
        refs[:] = [ray.put(source)]

    for _ in range(WARM_UP_PUTS):
        call()
    value = rate(call, 1, seconds)
    stored = cast("Array", ray.get(refs[0]))
    expect(bool(np.array_equal(stored, source)), True, "bytes of the object put last")
    last = int(source[0])
    source[0] = (last + 1) % PATTERN
    expect(int(stored[0]), last, "first byte after the source changed")
    return value


def _pattern(size_bytes: int) -> Array:
    return np.resize(np.arange(PATTERN, dtype=np.uint8), size_bytes)


LARGE_WORKLOADS: dict[str, Workload] = {"put_1mib": put_1mib, "put_256mib": put_256mib, "get_256mib": get_256mib}
"""Every step of this page by name."""
