"""Memory of real processes: private and shared apart, and what an allocator keeps given back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from linckia.host import process_memory


@pytest.mark.row("P15")
def test_private_and_shared_memory_stand_apart() -> None:
    program = """
        import mmap, sys
        held = bytearray(b"x") * (40 << 20)
        shared = mmap.mmap(-1, 30 << 20)
        shared.write(b"y" * (30 << 20))
        print("ready", flush=True)
        sys.stdin.read()
    """
    code = "\n".join(line.strip() for line in program.splitlines())
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        quick, exact = process_memory.private_bytes(child.pid), process_memory.measure(child.pid)
        family = process_memory.family(os.getpid())
        child.communicate()
    assert 40 << 20 <= exact.private_bytes < 65 << 20, "with the interpreter, without the shared memory"
    assert exact.private_bytes <= quick + (4 << 20)
    assert 40 << 20 <= quick < 65 << 20
    assert 29 << 20 <= exact.shared_bytes <= 32 << 20
    assert child.pid in family


@pytest.mark.row("P13")
def test_memory_is_given_back() -> None:
    code = """
        from linckia.host import process_memory
        import os
        blocks = [bytes(90_000) for _ in range(1500)]
        keep = blocks[::100]
        del blocks
        full = process_memory.private_bytes(os.getpid())
        process_memory.give_back()
        print(full, process_memory.private_bytes(os.getpid()))
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    ended = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    full, left = map(int, ended.stdout.split())
    assert left < full - (50 << 20)
