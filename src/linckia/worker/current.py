"""The runtime of this process, if it is connected: the one place that holds it. No behaviour.

Set by ``api`` (drivers) and ``worker/main.py`` (workers); read wherever an implicit context is part of the API
(``ObjectRef.__await__``, unpickling a reference, ``.remote()``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime

runtime: Runtime | None = None
