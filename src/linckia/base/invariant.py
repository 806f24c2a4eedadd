"""`invariant()`: a broken assumption ends the work at once, with the evidence.

Called wherever state is about to be written or has just been read. Unlike `assert` it survives `python -O`. It is for
our own mistakes only: bad input from users and failures of other processes have typed errors in `base.errors`.
"""

from __future__ import annotations


class InvariantError(AssertionError):
    """The program contradicts itself: a bug in Linckia, never the user's fault. Nothing to retry; please report it."""


def invariant(condition: object, claim: str, *evidence: object) -> None:
    """Raise InvariantError with `claim` and the `evidence` unless `condition` holds.

    The evidence is formatted only when the claim is broken, so passing large objects costs nothing.
    """
    if condition:
        return
    shown = "; ".join(repr(item) for item in evidence)
    raise InvariantError(f"broken invariant: {claim}" + (f" ({shown})" if shown else ""))
