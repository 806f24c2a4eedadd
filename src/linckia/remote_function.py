"""Ray's module path for remote functions. Names only."""

from __future__ import annotations

from linckia.api.remote_function import RemoteFunction

__all__ = ["RemoteFunction"]
