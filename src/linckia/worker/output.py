"""Worker output that says whose it is: a marker line before the first line of each new source (task or actor name).

The raylet strips the markers and puts the source into the prefix the driver shows (``raylet/logs.py``). Lines leave
the process whole, so that lines of different workers never mix.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TextIO

MARKER = "\x00linckia:source="


def report_failure(error: Exception) -> None:
    """A message or deferred call that this process could not handle: said in its log; it serves on."""
    import traceback  # noqa: PLC0415 - only a failure needs it

    text = "".join(traceback.format_exception(error))
    sys.stderr.write(f"linckia: a message could not be handled, its connection is closed:\n{text}")


class SourceStream(io.TextIOBase):
    """Wraps a text stream; asks ``source()`` at each write."""

    def __init__(self, stream: TextIO, source: Callable[[], str]) -> None:
        self._stream, self._source = stream, source
        self._last = ""

    def write(self, text: str) -> int:
        """Write, announcing a new source first."""
        source = self._source()
        if source != self._last:
            self._last = source
            self._stream.write(f"{MARKER}{source}\x00\n")
        return self._stream.write(text)

    def flush(self) -> None:
        """Flush the wrapped stream."""
        self._stream.flush()

    def fileno(self) -> int:
        """Descriptor of the wrapped stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Never."""
        return False

    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def buffer(self) -> object:
        return getattr(self._stream, "buffer", None)


def install(source: Callable[[], str]) -> None:
    """Line-buffer and wrap stdout and stderr."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
        setattr(sys, name, SourceStream(stream, source))
