"""How the driver of a chaos run waits: not for ever, and it asks why when it takes long. Called by driver.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import linckia
from linckia.exceptions import GetTimeoutError, RayError
from linckia.util.pending import why_pending

SLOW_S, NEVER_S = 8.0, 60.0
"""When it is asked why; when nobody waits any more."""


def got(refs: Any) -> Any:
    """The values. GetTimeoutError after NEVER_S, with what they wait for as its note."""
    try:
        return linckia.get(refs, timeout=SLOW_S)
    except GetTimeoutError:
        _tell(refs)
    try:
        return linckia.get(refs, timeout=NEVER_S - SLOW_S)
    except GetTimeoutError as error:
        error.add_note(_tell(refs))
        raise


def _tell(refs: Any) -> str:
    """What the first that is not ready waits for; also into the log of the driver."""
    asked = list(refs) if isinstance(refs, Sequence) else [refs]
    waiting = linckia.wait(asked, num_returns=len(asked), timeout=0, fetch_local=False)[1] or asked
    try:
        reason = str(why_pending(waiting[0]))
    except RayError as error:
        reason = f"and nobody says why: {error}"
    sys.stderr.write(f"{time.time():.3f} {waiting[0].hex()}: {reason}\n")
    sys.stderr.flush()
    return reason
