"""Wall clocks of a chaos run: a small library that is preloaded adds to what the kernel says (wall_clock.c).

libfaketime would do it too, but breaks sleeps until a time of the monotonic clock (0.9.10), which Python's are.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")
SHIFT = struct.Struct("=q")


def why_not() -> str:
    """Why clocks cannot be changed here; empty when they can."""
    if os.environ.get("LD_PRELOAD"):
        return "clocks are changed by a library that is preloaded, and another one is (LD_PRELOAD)"
    return "" if shutil.which("cc") else "clocks are changed by a library that is built first: apt-get install gcc"


def build(folder: Path) -> Path:
    """The library, made there."""
    library = folder / "wall_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class WallClock:
    """That of one host; right at first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(SHIFT.pack(0))

    def set(self, wrong_by_s: int) -> None:
        """So many seconds ahead, or behind if negative."""
        with self.path.open("r+b") as file:
            file.write(SHIFT.pack(wrong_by_s))
