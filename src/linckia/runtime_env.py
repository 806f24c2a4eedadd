"""Ray's module path for runtime environments: a checked dict (their fields take effect with "Own machines")."""

from __future__ import annotations

from typing import Any


class RuntimeEnv(dict[str, Any]):
    """A runtime environment as a dict; ``env_vars`` and the rest by keyword."""

    def __init__(self, **fields: Any) -> None:
        super().__init__({name: value for name, value in fields.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """A plain dict."""
        return dict(self)


class RuntimeEnvConfig(dict[str, Any]):
    """Settings of environment creation: ``setup_timeout_seconds``, ``eager_install``."""

    def __init__(self, setup_timeout_seconds: int = 600, eager_install: bool = True, **more: Any) -> None:
        super().__init__(setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, **more)


__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]
