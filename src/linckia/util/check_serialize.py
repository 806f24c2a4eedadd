"""`inspect_serializability`: what in a value cannot be sent to another process.

User programs call it, mostly at a prompt. The search is in serializability.py; here the answer is printed
and given Ray's shape.
"""

from __future__ import annotations

import sys
from typing import TextIO

from linckia.util.serializability import Culprit, explain


class FailureTuple:
    """An object that cannot be serialized, the names that lead to it, and the object that holds it."""

    def __init__(self, obj: object, path: tuple[str, ...], parent: object) -> None:
        self.obj = obj
        self.path = path
        self.parent = parent

    @property
    def name(self) -> str:
        """The last name of the path: the variable or attribute."""
        return self.path[-1] if self.path else ""

    def __repr__(self) -> str:
        return f"FailureTuple({' -> '.join(self.path)}: obj={self.obj!r}, parent={self.parent!r})"


def inspect_serializability(
    base_obj: object, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Say whether `base_obj` can be serialized and, if not, what in it stands in the way.

    Prints a tree to `print_file` (default: standard output) that goes `depth` levels into closures, globals in use,
    attributes and containers. Returns (True, empty set), or (False, the objects at the ends of that tree).
    """
    explanation = explain(base_obj, name, depth)
    out = sys.stdout if print_file is None else print_file
    out.write(explanation.text() + "\n")
    return explanation.serializable, {_failure(culprit, name) for culprit in explanation.culprits}


def _failure(culprit: Culprit, given_name: str | None) -> FailureTuple:
    # Ray's paths begin with the name only if one was given; the drawn tree needs a label in any case.
    path = culprit.path if given_name else culprit.path[1:]
    return FailureTuple(culprit.obj, path, culprit.parent)


__all__ = ["FailureTuple", "inspect_serializability"]
