"""`linckia list`, `get`, `summary`, `memory`, `logs`: the state API as text. Called by cli/main.py; the questions are
`util.state`'s, here is only how answers look. What is missing in an answer is said on standard error.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import typer

from linckia.cli.starting import refuse
from linckia.core.listing.filters import PREDICATES
from linckia.core.listing.records import RAY_MAX_LIMIT_FROM_API_SERVER, RESOURCES, StateSchema
from linckia.util import state
from linckia.util.state import api
from linckia.util.state.exception import RayStateApiException

UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
SORTED_BY = {"OBJECT_SIZE": "object_size", "PID": "pid", "REFERENCE_TYPE": "reference_type"}
GROUPED_BY = {"NODE_ADDRESS": "ip", "STACK_TRACE": "call_site"}
Rows = list[dict[str, Any]]


class Look(NamedTuple):
    """Options that the commands have in common."""

    address: str
    timeout_s: float
    form: str  # default | json | yaml | table


def answered(show: Callable[[], int]) -> int:
    """The exit code of a command; what cannot be had, or is missing, is one sentence on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            code = show()
        except (RayStateApiException, ValueError) as error:
            code = refuse(str(error))
    for warning in caught:
        typer.echo(f"linckia: {warning.message}", err=True)
    return code


# --- list, get, summary -----------------------------------------------------------------------------------------------


def show_list(resource: str, filters: list[str], limit: int, look: Look, *, detail: bool) -> int:
    """Print the records. 0, or 1 when they cannot be had."""
    asked = api.Question(
        look.address or None, [_filter(text) for text in filters], limit, look.timeout_s, detail, False
    )
    part = asked.part(resource)
    kind = RESOURCES[resource]
    columns = kind.schema.columns() if detail else kind.schema.base_columns()
    rows = [{column: row.get(column) for column in columns} for row in part.rows]
    form = look.form if look.form != "default" else ("yaml" if detail else "table")
    typer.echo(_shown(rows, form))
    if part.matched > len(rows):
        typer.echo(f"linckia: {len(rows)} of {part.matched}; --limit shows more, -f key=value chooses", err=True)
    return 0


def _filter(text: str) -> tuple[str, str, str]:
    """``key=value`` or ``key!=value``."""
    for predicate in reversed(PREDICATES):
        key, found, value = text.partition(predicate)
        if found and key.strip():
            return key.strip(), predicate, value.strip()
    raise ValueError(f"-f {text!r}: expected key=value or key!=value")


def show_one(resource: str, id_: str, look: Look) -> int:
    """Print all there is about one thing; 1 when nobody knows it."""
    found = [record.asdict() for record in api.records_of(resource, id_, look.address or None, look.timeout_s)]
    if not found:
        return refuse(f"no {resource} with the id {id_}; `linckia list {resource}` shows what there is")
    typer.echo(_shown(found, "yaml" if look.form == "default" else look.form))
    return 0


def show_summary(resource: str, look: Look) -> int:
    """Print how many there are of which kind."""
    summarize: dict[str, Callable[..., dict[str, Any]]] = {
        "tasks": state.summarize_tasks,
        "actors": state.summarize_actors,
        "objects": state.summarize_objects,
    }
    told = summarize[resource](look.address or None, look.timeout_s, False)["cluster"]
    if look.form in ("json", "yaml"):
        typer.echo(_shown(told, look.form))
        return 0
    rows = [{told["summary_by"]: name, **_counts(entry)} for name, entry in sorted(told["summary"].items())]
    typer.echo(table(rows))
    typer.echo("\n".join(f"{key}: {_cell(value)}" for key, value in told.items() if key.startswith("total_")))
    return 0


def _counts(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of a summary, its counts as text: ``FINISHED: 3, RUNNING: 1``."""
    named = {"func_or_class_name", "class_name", "task_attempt_number_counts"}
    return {
        key: ", ".join(f"{name}: {count}" for name, count in value.items()) if isinstance(value, dict) else value
        for key, value in entry.items()
        if key not in named
    }


# --- memory -----------------------------------------------------------------------------------------------------------


class MemoryView(NamedTuple):
    """How references are shown."""

    group_by: str
    sort_by: str
    units: str
    stats_only: bool
    num_entries: int


def show_memory(view: MemoryView, look: Look) -> int:
    """Print all references, grouped, with sums."""
    limit = RAY_MAX_LIMIT_FROM_API_SERVER
    part = api.Question(look.address or None, None, limit, look.timeout_s, True, False).part("objects")
    groups: dict[str, Rows] = {}
    for row in part.rows:
        groups.setdefault(str(row[GROUPED_BY[view.group_by]]), []).append(row)
    for name, rows in sorted(groups.items()):
        size = sum(max(0, row["object_size"]) for row in rows)
        typer.echo(f"{view.group_by.lower()} {name}: {len(rows)} references, {_amount(size, view.units)}")
        if view.stats_only:
            continue
        column = SORTED_BY[view.sort_by]
        rows.sort(key=lambda row: row[column], reverse=column == "object_size")
        shown = rows[: view.num_entries] if view.num_entries >= 0 else rows
        typer.echo(table([_reference(row, view.units) for row in shown]))
        if len(shown) < len(rows):
            typer.echo(f"... and {len(rows) - len(shown)} more")
    total = sum(max(0, row["object_size"]) for row in part.rows)
    typer.echo(f"total: {part.matched} references, {_amount(total, view.units)}")
    return 0


def _reference(row: dict[str, Any], units: str) -> dict[str, Any]:
    columns = ("ip", "pid", "type", "object_size", "reference_type", "task_status", "call_site", "object_id")
    size = _amount(row["object_size"], units) if row["object_size"] >= 0 else "-"
    return {column: row[column] for column in columns} | {"object_size": size}


def _amount(size: int, units: str) -> str:
    return f"{size} B" if units == "B" else f"{size / UNITS[units]:.3f} {units}"


# --- logs -------------------------------------------------------------------------------------------------------------


class LogChoice(NamedTuple):
    """Which log."""

    pattern: str
    actor_id: str
    task_id: str
    pid: int
    node_id: str
    tail: int
    follow: bool
    err: bool


def show_logs(choice: LogChoice, look: Look) -> int:
    """Print a log, or the names of all that fit the pattern."""
    address, node_id = look.address or None, choice.node_id or None
    timeout_s = int(look.timeout_s)
    one = choice.actor_id or choice.task_id or choice.pid
    names: list[str] = []
    if not one:
        files = state.list_logs(address, node_id, None, choice.pattern or None, timeout_s)
        names = sorted(name for found in files.values() for name in found)
        if len(names) != 1 or not choice.pattern:
            typer.echo("\n".join(names) or "no log files")
            return 0
    pieces = state.get_log(
        address,
        node_id,
        filename=names[0] if names else None,
        actor_id=choice.actor_id or None,
        task_id=choice.task_id or None,
        pid=choice.pid or None,
        follow=choice.follow,
        tail=choice.tail,
        timeout=timeout_s,
        suffix="err" if choice.err else "out",
        errors="replace",
    )
    try:
        for piece in pieces:
            typer.echo(piece, nl=False)
    except KeyboardInterrupt:
        pass
    return 0


# --- forms ------------------------------------------------------------------------------------------------------------


def _shown(told: Any, form: str) -> str:
    if form == "json":
        return json.dumps(told, indent=2, default=str)
    if form == "yaml":
        import yaml  # noqa: PLC0415 - start-up time

        text: str = yaml.safe_dump(told, sort_keys=False, default_flow_style=False, allow_unicode=True)
        return text.rstrip("\n")
    return table(told)


def table(rows: Rows) -> str:
    """Columns side by side, never folded: ids are there to be copied, and lines to be searched."""
    if not rows:
        return "nothing"
    lines = [[column.upper() for column in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Iterable[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, StateSchema | dict | list):
        return json.dumps(value, default=str)
    return str(value).replace("\n", " ")
