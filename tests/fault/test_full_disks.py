"""A disk that is full, and a /dev/shm as small as a container's: who puts is told, nothing crashes (S23, S24).

The node finds a disk of 64 MB in a mount namespace of its own. Counts are printed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from machines import STORE_BYTES, Machines
from watching import SCALE, is_gone

import linckia
from linckia import exceptions
from linckia.testing.namespaces import Network, why_not

pytestmark = [pytest.mark.fault, pytest.mark.skipif(bool(why_not()), reason=why_not())]
OBJECT_BYTES = 10_000_000
NO_ROOM = (exceptions.OutOfDiskError, exceptions.ObjectStoreFullError)


@pytest.fixture
def machines() -> Iterator[Machines]:
    """One machine; the test starts its node."""
    network = Network(["head"])
    with TemporaryDirectory(prefix="lk-", ignore_cleanup_errors=True) as folder:
        machines = Machines(network, Path(folder))
        try:
            yield machines
        finally:
            left = machines.close()
            network.close()
        assert left == [], "all processes end with their node"


def block(number: int) -> Any:
    """Ten megabytes of one number."""
    return np.full(OBJECT_BYTES, number, dtype=np.uint8)


@linckia.remote
def total(data: Any) -> int:
    """Of the first and the last byte."""
    return int(data[0]) + int(data[-1])


def last(data: Any) -> int:
    """Its last byte."""
    return int(data[-1])


def _outcome(ref: Any, expected: int, value: Callable[[Any], int] = int) -> str:
    try:
        return "right" if value(linckia.get(ref, timeout=30)) == expected else "wrong"
    except NO_ROOM:
        return "no room"


@pytest.mark.row("S23")
def test_a_full_spill_disk_is_told_to_who_puts_and_is_no_end(machines: Machines, tmp_path: Path) -> None:
    machines.launch(
        machines.head, "--head", "--port=6379", "--num-cpus=1", f"--object-spilling-directory={tmp_path}",
        small_disk=str(tmp_path),
    )  # fmt: skip
    with machines.driver(machines.head):
        for _ in range(SCALE):
            refs: list[Any] = []
            began_s = time.monotonic()
            with pytest.raises(NO_ROOM) as refused:
                while len(refs) < 60:
                    refs.append(linckia.put(block(len(refs))))
            refused_s = time.monotonic() - began_s
            began_s = time.monotonic()
            reading = [total.remote(ref) for ref in refs]
            sums = Counter(_outcome(ref, 2 * number) for number, ref in enumerate(reading))
            full_s = time.monotonic() - began_s
            assert not is_gone(machines.head.pid)
            count = len(refs)
            del refs[count // 2 :]
            began_s = time.monotonic()
            while True:
                try:
                    again = linckia.put(block(7))
                    break
                except NO_ROOM:
                    assert time.monotonic() - began_s < 5, "there is room again"
            recovered_s = time.monotonic() - began_s
            assert _outcome(total.remote(again), 14) == "right"
            values = Counter(_outcome(ref, number, last) for number, ref in enumerate(refs))
            print(
                f"{count} objects of 10 MB in {STORE_BYTES // 10**6} MB of memory and a disk of 67 MB, then after "
                f"{refused_s:.1f} s {type(refused.value).__name__}: {refused.value}\ntasks that read them meanwhile: "
                f"{dict(sums)} in {full_s:.1f} s; put works {recovered_s:.2f} s after half of them were dropped, "
                f"the others are {dict(values)}"
            )
            assert sums["right"] >= count - 64_000_000 // OBJECT_BYTES, "what is in memory can be read"
            assert set(sums) <= {"right", "no room"}
            assert values == {"right": len(refs)}
            assert count * OBJECT_BYTES > STORE_BYTES, "the disk was used before it was full"


@pytest.mark.row("S24")
def test_a_small_dev_shm_does_not_matter(machines: Machines) -> None:
    """Objects live in memory files of the node's own (memfd): no limit of a mount, no SIGBUS."""
    machines.launch(machines.head, "--head", "--port=6379", "--num-cpus=2", small_disk="/dev/shm")
    with machines.driver(machines.head):
        read = 0
        for number in range(2 * SCALE):
            refs = [linckia.put(block(number)) for _ in range(15)]  # more than twice the mount at a time
            assert (
                linckia.get([total.options(max_retries=0).remote(ref) for ref in refs], timeout=60) == [2 * number] * 15
            )
            read += len(refs)
    assert not is_gone(machines.head.pid)
    print(f"{read} objects of 10 MB, 150 MB at a time beside a /dev/shm of 64 MB: all read by tasks, no process died")
