"""Tables and the results page."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import job_of, parser
from bench.engines import choose
from bench.figures import FIGURES, Summary, summarize
from bench.machine import cpu_model
from bench.peers_venv import PeersUnavailableError, peers_python, stamp_text
from bench.records import Failure, Record, Value, failures, samples, to_lines, unfinished
from bench.report import (
    count_text,
    document,
    failure_text,
    figure_table,
    markdown,
    spread_table,
    target_table,
    verdicts,
)
from bench.runner import ROOT

ENGINES = choose(["linckia", "ray"])
RECORDS: list[Record] = [
    Value("linckia", 1, "task_sync", 9000.0),
    Value("linckia", 2, "task_sync", 5000.0),
    Value("ray", 1, "task_sync", 200.0),
    Value("linckia", 1, "shutdown_s", 0.1),
    Value("ray", 1, "shutdown_s", 1.8),
    Failure("ray", 1, "put_small", "Boom: no\nluck"),
    Failure("ray", 2, "put_small", "Boom: no\nluck"),
]
MEDIANS = summarize(samples(RECORDS))


def test_table_says_how_many_times_better_we_are_in_either_direction() -> None:
    rows = figure_table(FIGURES, ENGINES, MEDIANS)
    assert rows == [
        ["figure", "unit", "Linckia", "Ray"],
        ["task, one at a time", "/s", "7,000", "200 (35x)"],
        ["shutdown, until no process is left", "s", "0.1", "1.8 (18x)"],
    ]


def test_spread_marks_noise() -> None:
    rows = spread_table(FIGURES, ENGINES, MEDIANS)
    assert ["task, one at a time", "Linckia", "7,000/s", "5,000/s", "9,000/s", "2", "57% noisy"] in rows
    assert ["shutdown, until no process is left", "Ray", "1.8 s", "1.8 s", "1.8 s", "1", ""] in rows


def test_markdown_is_aligned_and_keeps_bars_inside_cells() -> None:
    assert markdown([["a", "bb"], ["x|y", ""]]).splitlines() == ["| a    | bb |", "|------|----|", "| x\\|y |    |"]


def test_targets_are_counted_and_listed() -> None:
    judged = verdicts([figure for figure in FIGURES if figure.id in {"task_sync", "shutdown_s"}], MEDIANS)
    assert count_text(judged) == "2 targets met, 0 not met, 3 not measured"
    rows = target_table(judged)
    assert rows[1] == ["task, one at a time", ">= 30x ray", "35x", "met"]
    assert rows[2][2:] == ["", "not measured (no figure from futures)"]


def test_same_failure_of_several_rounds_is_told_once_on_one_line() -> None:
    assert failure_text(failures(RECORDS)) == "* ray, put_small (round 1): Boom: no luck"


def test_page_holds_facts_tables_and_raw_records() -> None:
    page = document({"cpu": "abacus"}, {"Medians": "| t |", "Empty": ""}, RECORDS)
    assert "* cpu: abacus" in page
    assert "## Medians\n\n| t |" in page
    assert "Empty" not in page
    raw = page.split("```json\n")[1].split("```")[0]
    assert raw == to_lines(RECORDS)
    assert json.loads(raw.splitlines()[0]) == {
        "engine": "linckia", "round": 1, "figure": "task_sync", "value": 9000.0,
    }  # fmt: skip


def test_a_dead_process_leaves_the_steps_it_had_not_begun() -> None:
    assert unfinished(("a", "b", "c", "d"), ["a", "b"]) == ("c", "d")
    assert unfinished(("a",), ["a"]) == ()


def test_options_make_the_plan() -> None:
    full = job_of(parser().parse_args([]))
    assert [run.is_long for run in full.runs].count(True) == 3
    assert [run.engine.name for run in full.runs if run.is_long] == ["linckia"] * 3
    assert max(run.round for run in full.runs) == 3
    assert {run.is_cluster for run in full.runs} == {True, False}
    cluster = job_of(parser().parse_args(["cluster", "--quick", "--scale", "0.02"]))
    assert all(run.is_cluster for run in cluster.runs)
    assert cluster.timing.scale == 0.02
    quick = job_of(parser().parse_args(["machine", "--quick", "--engines", "linckia", "--seconds", "0.1"]))
    assert [(run.round, run.is_long) for run in quick.runs] == [(1, False)]
    assert quick.timing.seconds == 0.1
    long = job_of(parser().parse_args(["--quick", "--long", "--only", "growth", "--growth-tasks", "5"]))
    assert [(run.engine.name, run.is_long) for run in long.runs] == [("linckia", True)] * 2 + [("ray", True)] * 2
    assert long.timing.growth_tasks == 5


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--seconds", "-1"], ["--growth-tasks", "0"]])
def test_options_refuse_nothing_to_measure(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(wrong)
    assert "expected more than 0" in capsys.readouterr().err


def test_prepared_peers_must_be_executable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINCKIA_BENCH_PEERS_PYTHON", "/nonexistent/python")
    with pytest.raises(PeersUnavailableError, match="expected an executable Python"):
        peers_python(ROOT, lambda _text: None)


def test_stamp_changes_with_python_and_requirements() -> None:
    stamps = {stamp_text(("a==1",), "3.11.7"), stamp_text(("a==2",), "3.11.7"), stamp_text(("a==1",), "3.12.0")}
    assert len(stamps) == 3


def test_cpu_model_is_found_or_unknown() -> None:
    assert cpu_model("processor: 0\nmodel name\t: Abacus 9000\n") == "Abacus 9000"
    assert cpu_model("") == "unknown"


def test_summary_of_one_round_has_no_spread() -> None:
    rows = spread_table(FIGURES, ENGINES, {("linckia", "put_small"): Summary(1.0, 1.0, 1.0, 1)})
    assert rows[1][-1] == ""
