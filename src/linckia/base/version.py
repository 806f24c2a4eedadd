"""The version, in one place: the package, its metadata and `init()` read it."""

from __future__ import annotations

__version__ = "0.1.0"
