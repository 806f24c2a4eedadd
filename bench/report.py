"""Turn summaries into the tables that people read. Pure: text in, text out. Called by `__main__.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.engines import Engine
from bench.figures import OURS, Figure, Medians, Summary, Verdict, judge, number, with_unit
from bench.records import Failure, Record, to_lines

Row = Sequence[str]
EMPTY = ""
NOISY_SPREAD = 0.3


def figure_table(figures: Sequence[Figure], engines: Sequence[Engine], medians: Medians) -> list[Row]:
    """One row per figure: the median of each engine and, in brackets, how many times better Linckia is."""
    rows: list[Row] = [["figure", "unit", *(engine.title for engine in engines)]]
    for figure in figures:
        if any((engine.name, figure.id) in medians for engine in engines):
            rows.append([figure.title, figure.unit, *(_cell(figure, engine.name, medians) for engine in engines)])
    return rows


def _cell(figure: Figure, engine: str, medians: Medians) -> str:
    found, ours = medians.get((engine, figure.id)), medians.get((OURS, figure.id))
    if found is None:
        return EMPTY
    if figure.is_fact or ours is None or engine == OURS or not found.median or not ours.median:
        return number(found.median)
    better = ours.median / found.median if figure.higher_is_better else found.median / ours.median
    return f"{number(found.median)} ({number(better)}x)"


def target_table(verdicts: Sequence[Verdict]) -> list[Row]:
    """One row per target."""
    rows: list[Row] = [["figure", "asked", "reached", "verdict"]]
    for verdict in verdicts:
        reached = verdict.reached if verdict.met is not None else EMPTY
        rows.append([verdict.figure.title, verdict.asked, reached, verdict.text()])
    return rows


def spread_table(figures: Sequence[Figure], engines: Sequence[Engine], medians: Medians) -> list[Row]:
    """Lowest and highest round of every figure, noisy ones marked."""
    rows: list[Row] = [["figure", "engine", "median", "lowest", "highest", "rounds", "spread"]]
    for figure in figures:
        for engine in engines:
            if found := medians.get((engine.name, figure.id)):
                values = [with_unit(value, figure.unit) for value in (found.median, found.low, found.high)]
                rows.append([figure.title, engine.title, *values, str(found.rounds), _spread_text(found)])
    return rows


def _spread_text(summary: Summary) -> str:
    if summary.rounds < 2 or not summary.median:
        return EMPTY
    spread = (summary.high - summary.low) / summary.median
    return f"{spread:.0%}" + (" noisy" if spread > NOISY_SPREAD else "")


def verdicts(figures: Sequence[Figure], medians: Medians) -> list[Verdict]:
    """Judge every target of the figures."""
    return [judge(figure, target, medians) for figure in figures for target in figure.targets]


def markdown(rows: Sequence[Row]) -> str:
    """Write rows as a Markdown table that is also readable as it stands."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def count_text(judged: Sequence[Verdict]) -> str:
    """Say in one line how many targets are met."""
    met = sum(verdict.met is True for verdict in judged)
    missed = sum(verdict.met is False for verdict in judged)
    return f"{met} targets met, {missed} not met, {len(judged) - met - missed} not measured"


def failure_text(found: Sequence[Failure]) -> str:
    """List what could not be measured, one line each."""
    return "\n".join(f"* {f.engine}, {f.step} (round {f.round}): {' '.join(f.error.split())}" for f in found)


def document(facts: Mapping[str, str], tables: Mapping[str, str], records: Sequence[Record]) -> str:
    """Return the page that `--write` stores: facts, tables and the raw records."""
    parts = [
        "# Benchmark results",
        "Written by `python -m bench --write`; do not edit. How to read it: [README.md](README.md).",
    ]
    parts.append("\n".join(f"* {name}: {text}" for name, text in facts.items()))
    parts += [f"## {title}\n\n{text}" for title, text in tables.items() if text]
    parts.append(
        "## Raw output\n\n<details><summary>Every figure of every round</summary>\n\n"
        f"```json\n{to_lines(records)}```\n\n</details>"
    )
    return "\n\n".join(parts) + "\n"
