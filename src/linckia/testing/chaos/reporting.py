"""The report of a run, for people (markdown) and for programs (JSON). Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from linckia.testing.chaos.history import AVAILABLE_SHARE, CONTROL, CONTROL_SHARE, NAMES, WITHOUT_RETRIES, limit_s
from linckia.testing.chaos.results import Result
from linckia.testing.chaos.schedule import KINDS
from linckia.testing.chaos.stale import Stale

SHOWN_ERRORS = 3
LOST_LEAST_S = 0.1
COLUMNS = (
    *("class", "operations", "failed", "lost", "duplicated", "ran again"),
    *("longest pause, quiet", "with faults", "within limit", "time", "slots"),
)


def as_json(result: Result) -> str:
    """All numbers; times in seconds."""
    verdict: dict[str, Any] = {"lost": result.lost, "duplicated": result.duplicated, "good": result.good}
    return msgspec.json.format(msgspec.json.encode({"verdict": verdict, **_plain(result)})).decode()


def as_markdown(result: Result) -> str:
    """With tables; times in seconds."""
    parts = [_head(result), _classes(result), _available(result), _faults(result), _others(result)]
    return "\n\n".join(filter(None, parts)) + "\n"


def verdict(result: Result) -> str:
    """One line."""
    word = "good" if result.good else "BAD"
    return (
        f"{word}: {sum(row.tally.count for row in result.classes.values()):,} operations, {len(result.seen.deeds)} "
        f"faults, lost {result.lost}, duplicated {result.duplicated}, out of order {result.out_of_order}"
    )


def _plain(result: Result) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return plain


def _head(result: Result) -> str:
    facts = result.facts
    lines = [f"# Chaos: {', '.join(facts['kinds']) or 'no faults'} on {facts['store']}", ""]
    if facts.get("command"):
        lines += [f"`{facts['command']}`", ""]
    needs = "".join(f", {need}" for need in facts.get("needs", ()))
    cluster = f"{facts['heads']} head(s), {facts['nodes']} nodes of {facts['cpus']} CPUs{needs}"
    faults = f"seed {facts['seed']}, {facts['for_s']:g} s, a fault every {facts['every_s']:g} s"
    machine = f"{facts['cores']} cores, load average {facts['load average']}; Linckia {facts['version']}"
    load = f"load: {', '.join(facts['classes'])}; " if facts.get("classes") else ""
    lines += [f"**{verdict(result)}**", "", f"{cluster}, {load}{faults}; {machine}."]
    return "\n".join(lines)


def _classes(result: Result) -> str:
    rows = [
        "| " + " | ".join(COLUMNS) + " |",
        "| " + " | ".join(["---"] * len(COLUMNS)) + " |",
    ]
    for kind, row in result.classes.items():
        tally = row.tally
        allowed = "" if tally.retry_allowed else " (no retry)"
        shares = f"{row.faults.within:.3%} | {row.faults.time:.3%} | {row.faults.slots:.2%}"
        rows.append(
            f"| {kind} | {tally.count:,} | {tally.failed}{allowed} | {tally.lost} | {tally.duplicated} | "
            f"{tally.ran_again} | {row.quiet.longest_s:.3f} | {row.faults.longest_s:.3f} | {shares} |"
        )
    legend = "; ".join(f"{kind}: {NAMES[kind]}, limit {limit_s(kind):g} s" for kind in result.classes if kind in NAMES)
    notes = (
        f"{legend}. *Within limit*: share of operations that succeeded in that time. *Time*, *slots*: share of time, "
        "and of slots of 100 ms, in which nobody waited for longer. *Ran again*: as declared retries allow."
    )
    said = [f"* {kind}: {text}" for kind, row in result.classes.items() for text in row.tally.errors[:SHOWN_ERRORS]]
    errors = "\n\nFirst errors:\n" + "\n".join(said) if said else ""
    return "\n".join(rows) + "\n\n" + notes + errors


def _available(result: Result) -> str:
    """What was asked of each class, and what came of it."""
    rows = ["| class | asked | of operations | of time |", "| --- | --- | --- | --- |"]
    for kind, row in result.classes.items():
        asked = f"{CONTROL_SHARE if kind in CONTROL else AVAILABLE_SHARE:.1%}"
        asked = "fails by choice" if kind in WITHOUT_RETRIES else asked
        rows.append(f"| {kind} | {asked} | {row.faults.within_1s:.3%} | {row.faults.time_1s:.3%} |")
    return (
        "## Available: answered well within 1 s\n\n" + "\n".join(rows) + "\n\nFrom the first fault to the end. *Of "
        "time*: who waits asks nothing, so each moment in which somebody waited for more than 1 s counts as lost."
        f"{_lost_to(result)}"
    )


def _lost_to(result: Result) -> str:
    """Of which faults the time was lost, most first."""
    lines = []
    for kind in result.classes:
        lost = {fault: row.lost_s.get(kind, 0.0) for fault, row in result.faults.items()}
        most = sorted((fault for fault in lost if lost[fault] >= LOST_LEAST_S), key=lambda fault: -lost[fault])
        if most:
            named = ", ".join(f"{fault} {lost[fault]:.1f}" for fault in most)
            lines.append(f"* {kind}: {sum(lost.values()):.1f} s: {named}")
    return "\n\nTime lost, in seconds, and between which fault and the next:\n" + "\n".join(lines) if lines else ""


def _faults(result: Result) -> str:
    parts = []
    for fault, row in result.faults.items():
        parts.append(
            f"## {fault}: {row.count} times ({KINDS[fault]})\n\n"
            "| class | recovery: min / median / p99 / max | longest pause per fault: the same |\n| --- | --- | --- |\n"
            + "\n".join(
                f"| {kind} | {row.recovery[kind].text()} | {pause.text()} |"
                for kind, pause in row.pause.items()
                if kind in row.recovery
            )
        )
    return "\n\n".join(parts)


def _others(result: Result) -> str:
    seen = result.seen
    quiet = "never" if seen.quiet_s is None else f"after {seen.quiet_s:.2f} s"
    lines = [
        f"* Restarts of the counter actors: {result.restarts}.",
        f"* Answers of the counter that no order in real time explains: {result.out_of_order}.",
        f"* Terms of heads that were seen: {len(set(seen.epochs))}, epochs "
        + ("in order." if seen.epochs == sorted(seen.epochs) else f"NOT in order: {seen.epochs}."),
        f"* At the end everything was let go of; available equals total {quiet}.",
        f"* Processes that lived a second after the end: {seen.left}.",
        f"* Nodes that were declared dead: {seen.dead_nodes}.",
    ]
    if result.retry_start.count:
        lines.append(
            f"* SIGKILL of a worker or its node to the next attempt of the task that ran there, "
            f"{result.retry_start.count} times: {result.retry_start.text()} s."
        )
    if "raylet" in result.faults:
        lines.append(f"* Processes of killed nodes that lived a second later: {result.orphans}.")
    if seen.missing:
        lines.append(f"* Missing at the end: {', '.join(seen.missing[:10])}.")
    if seen.kernel_kills is not None:
        lines.append(f"* Processes that the kernel ended for want of memory: {seen.kernel_kills}.")
    if seen.stale is not None:
        lines += _stale(seen.stale)
    if seen.troubles:
        lines.append(f"* **The injector itself failed**: {'; '.join(seen.troubles)}.")
    if seen.skipped:
        lines.append(f"* Faults that found nobody: {len(seen.skipped)}.")
    return "## Beside it\n\n" + "\n".join(lines)


def _stale(stale: Stale) -> list[str]:
    ends = ", ".join(f"{why} ({count})" for why, count in sorted(stale.ends.items())) or "none"
    followed = f"{stale.rounds}; whom nobody followed in time: {stale.without_follower}"
    writes = f"{stale.writes_tried} tried, {stale.writes_accepted} accepted"
    heard = f"of {stale.terms_looked_at} terms of nodes, heard after their leader went on: {stale.commands_accepted}"
    return [
        f"* Leaders that were stopped until another one led: {followed}.",
        f"* Writes in the name of their terms after that: {writes}.",
        f"* Calls to nodes in the name of their terms: {stale.calls_tried}; {heard}.",
        f"* Refused by nodes, these and what connections of former leaders still said: {stale.commands_refused}.",
        f"* Why heads said that they lead no more: {ends}.",
    ]
