"""Lists behaviour rows without a test: `make rows`, or `python -m tools.rows 4 5` for the sections 4 and 5.

The rows are in tools/rows.txt; a test claims one with `@pytest.mark.row("4.16")`. The marks are read from the source,
so nothing is imported and no cluster starts. A test in tests/tidy refuses marks that name no row.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parent.parent
ROWS_FILE = Path(__file__).with_name("rows.txt")
LIKE_A_ROW = re.compile(r"\d+\.\d+")


def known_rows() -> dict[str, str]:
    """Row id to subject, in the order of the file."""
    lines = ROWS_FILE.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if line and not line.startswith("#"))


def marks_in(source: str) -> list[tuple[str, int]]:
    """Row ids that `source` claims, each with its line, in order.

    A mark that is computed, such as `row(*TABLE)`, claims every literal of the file that reads like a row id.
    """
    found: dict[tuple[str, int], None] = {}
    nodes = list(ast.walk(ast.parse(source)))
    like_rows = {text: None for node in nodes if (text := _literal(node)) and LIKE_A_ROW.fullmatch(text[0])}
    for mark in filter(_is_row_mark, nodes):
        for argument in mark.args:
            literal = _literal(argument)
            found |= {literal: None} if literal else like_rows
    return sorted(found, key=lambda claim: claim[1])


def _literal(node: ast.AST) -> tuple[str, int] | None:
    match node:
        case ast.Constant(value=str(text), lineno=line):
            return text, line
    return None


def _is_row_mark(node: ast.AST) -> TypeGuard[ast.Call]:
    match node:
        case ast.Call(func=ast.Attribute(attr="row", value=ast.Attribute(attr="mark"))):
            return True
    return False


def claimed_rows(tests: Path) -> dict[str, list[str]]:
    """Row id to the places below `tests` that claim it, as `file:line`."""
    claims: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("*.py")):
        where = str(path.relative_to(tests.parent))
        for row, line in marks_in(path.read_text(encoding="utf-8")):
            claims.setdefault(row, []).append(f"{where}:{line}")
    return claims


def section_of(row: str) -> str:
    """`4` for `4.16`."""
    return row.partition(".")[0]


def main(sections: list[str]) -> None:
    """Print what is missing, and how much of each section is covered."""
    claims = claimed_rows(ROOT / "tests")
    rows = {row: subject for row, subject in known_rows().items() if not sections or section_of(row) in sections}
    for row, subject in rows.items():
        if row not in claims:
            print(f"{row:7} {subject}")
    for section in dict.fromkeys(map(section_of, rows)):
        inside = [row for row in rows if section_of(row) == section]
        covered = sum(row in claims for row in inside)
        print(f"section {section}: {covered} of {len(inside)} rows have a test")


if __name__ == "__main__":
    main(sys.argv[1:])
