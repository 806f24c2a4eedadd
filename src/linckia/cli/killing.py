"""`linckia kill-actor`: end a named actor of a running cluster. Called by cli/main.py."""

from __future__ import annotations

from typing import Any

import linckia
from linckia.cli.starting import refuse

GRACE_S = 30.0


def kill_actor(name: str, namespace: str, address: str, *, force: bool, no_restart: bool) -> int:
    """Let it finish its calls and end (`__ray_terminate__`), or kill it. Returns the exit code."""
    try:
        with linckia.init(address=address or "auto", namespace=namespace or None, log_to_driver=False):
            actor = linckia.get_actor(name, namespace or None)
            if force:
                linckia.kill(actor, no_restart=no_restart)
                print(f"actor {name} was killed")
            else:
                return _end(actor, name)
    except (OSError, ValueError, linckia.exceptions.RayError) as error:
        return refuse(str(error))
    return 0


def _end(actor: Any, name: str) -> int:
    try:
        linckia.get(actor.__ray_terminate__.remote(), timeout=GRACE_S)
    except linckia.exceptions.RayActorError:
        print(f"actor {name} has ended")
        return 0
    except linckia.exceptions.GetTimeoutError:
        return refuse(f"actor {name} has not ended within {GRACE_S:g} s: it finishes its calls first; --force kills it")
    print(f"actor {name} has ended")
    return 0
