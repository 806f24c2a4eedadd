"""Ray's import path of the progress bars, which live in `linckia.util.tqdm`."""

from __future__ import annotations

from linckia.util.tqdm import instance, safe_print, tqdm

__all__ = ["instance", "safe_print", "tqdm"]
