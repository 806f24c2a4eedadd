"""Ray's module path for the runtime context. Names only."""

from __future__ import annotations

from linckia.api.runtime_context import RuntimeContext, get_runtime_context

__all__ = ["RuntimeContext", "get_runtime_context"]
