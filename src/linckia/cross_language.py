"""Ray's module path for cross-language names. Names only."""

from __future__ import annotations

from typing import Any

from linckia.api.other_languages import java_actor_class, java_function


def cpp_function(function_name: str) -> Any:
    """Not available."""
    raise NotImplementedError(f"cpp_function({function_name!r}): Linckia runs Python functions only")


__all__ = ["cpp_function", "java_actor_class", "java_function"]
