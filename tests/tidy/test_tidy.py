"""The tree follows the house's rules, and generated files are what their generators write."""

from __future__ import annotations

import re

import pytest

from tests.tidy.rules import Finding, check
from tests.tidy.tree import ROOT, Allowance, allowances, sources
from tools import diagrams, rows


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return [finding for source in sources() for finding in check(source)]


def test_the_tree_is_tidy(findings: list[Finding]) -> None:
    granted = allowances()
    refused = [str(finding) for finding in findings if not any(allowance.covers(finding) for allowance in granted)]
    assert not refused, "\n" + "\n".join(refused)


@pytest.mark.parametrize("allowance", allowances(), ids=lambda allowance: f"{allowance.path}:{allowance.rule}")
def test_an_exception_is_needed_and_no_wider_than_needed(allowance: Allowance, findings: list[Finding]) -> None:
    covered = [finding for finding in findings if allowance.covers(finding)]
    assert covered, "nothing needs this entry of allow.toml any more: remove it"
    if allowance.max is not None:
        needed = max(finding.size or 0 for finding in covered)
        assert allowance.max == needed, f"lower max to {needed}"


def test_diagrams_are_those_of_the_tables() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in diagrams.DIRECTORY.glob("*.md")}
    assert written == diagrams.pages(), "run `make diagrams` and commit the result"


def test_every_row_mark_names_a_row() -> None:
    known = rows.known_rows()
    other = re.compile(r"[SP]\d+[a-z]?|(6|8|9|1[0-3])\.\d+")  # scorecard, pains, sections of later parts
    strays = {
        row: places
        for row, places in rows.claimed_rows(ROOT / "tests").items()
        if row not in known and not other.fullmatch(row)
    }
    assert not strays


def test_the_map_is_short_enough_to_read() -> None:
    assert (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").count("\n") <= 200
