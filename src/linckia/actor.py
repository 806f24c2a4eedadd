"""Ray's module path for actor names: ``linckia.actor.ActorHandle`` and friends. Names only."""

from __future__ import annotations

from linckia.api.actor import (
    ActorClass,
    ActorClassInheritanceException,
    ActorHandle,
    ActorMethod,
    exit_actor,
    method,
)

__all__ = ["ActorClass", "ActorClassInheritanceException", "ActorHandle", "ActorMethod", "exit_actor", "method"]
