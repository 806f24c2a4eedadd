"""Ray's module path for the job configuration: what ``init(job_config=...)`` takes."""

from __future__ import annotations

from typing import Any


class JobConfig:
    """Settings of a job: namespace, default actor lifetime, runtime environment, metadata (R 1.10)."""

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
    ) -> None:
        self.jvm_options = list(jvm_options or [])
        self.code_search_path = list(code_search_path or [])
        self.runtime_env = dict(runtime_env or {})
        self.metadata = dict(metadata or {})
        self.ray_namespace = ray_namespace
        self.set_default_actor_lifetime(default_actor_lifetime)

    def set_default_actor_lifetime(self, lifetime: str) -> None:
        """ "detached" or "non_detached", for actors created without a ``lifetime`` option. ValueError otherwise."""
        if lifetime not in ("detached", "non_detached"):
            raise ValueError(f"default_actor_lifetime must be 'detached' or 'non_detached', got {lifetime!r}")
        self.default_actor_lifetime = lifetime

    def set_metadata(self, key: str, value: str) -> None:
        """Attach a piece of metadata to the job."""
        self.metadata[key] = value

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """Use this namespace instead of an anonymous one."""
        self.ray_namespace = ray_namespace
