"""Names of Ray's client and cross-language API: importable; using them says what is missing."""

from __future__ import annotations

import enum
from typing import Any


class Language(enum.Enum):
    """Languages of Ray's workers; Linckia runs Python."""

    PYTHON = 0
    JAVA = 1
    CPP = 2


def java_function(class_name: str, function_name: str) -> Any:
    """Not available."""
    raise NotImplementedError(f"java_function({class_name!r}, {function_name!r}): Linckia runs Python functions only")


def java_actor_class(class_name: str) -> Any:
    """Not available."""
    raise NotImplementedError(f"java_actor_class({class_name!r}): Linckia runs Python actors only")


class ClientBuilder:
    """``ray.client(address)``: a remote client. Not available yet."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address

    def env(self, _runtime_env: dict[str, Any]) -> ClientBuilder:
        """Set the runtime environment."""
        return self

    def namespace(self, _namespace: str) -> ClientBuilder:
        """Set the namespace."""
        return self

    def connect(self) -> Any:
        """Not available."""
        raise NotImplementedError(
            "client connections are not available; run the driver on a machine of the cluster with linckia.init()"
        )


def client(address: str | None = None, **_options: Any) -> ClientBuilder:
    """A builder of a client connection."""
    return ClientBuilder(address)
