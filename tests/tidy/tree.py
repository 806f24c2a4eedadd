"""The tree under check: which files, and which exceptions are granted."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.tidy.rules import Finding, Source

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("src", "tests", "bench", "tools", "examples")
ALLOW_FILE = Path(__file__).with_name("allow.toml")


@dataclass(frozen=True)
class Allowance:
    """One exception: this rule, in this file, up to `max` where the rule has a cap."""

    path: str
    rule: str
    reason: str
    max: int | None = None

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is the exception that was meant."""
        if (finding.path, finding.rule) != (self.path, self.rule):
            return False
        return self.max is None or (finding.size is not None and finding.size <= self.max)


def sources() -> Iterator[Source]:
    """Every Python file of the tree, in order."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


def allowances() -> list[Allowance]:
    """The exceptions of allow.toml. TypeError when an entry lacks its reason."""
    return [Allowance(**entry) for entry in tomllib.loads(ALLOW_FILE.read_text(encoding="utf-8"))["allow"]]
